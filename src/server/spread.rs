//! `EG.SPREAD`, and the second half of `EG.RECALL … SPREAD`.
//!
//! A spread is driven by the shard of the connection that asked. In each exchange it gives shards
//! the mass that is theirs, all of them at once, and waits for what they hand over; what is for the
//! same shard and the same episode is added up, so that there is one message for each shard and
//! exchange. The edges that are left are divided by mass. With the last exchange goes what is
//! wanted of the result.
//!
//! | Kind | Exchanges |
//! |---|---|
//! | on one shard | one |
//! | without `HOPS` | until little is handed over, [`EXCHANGES_MAX`] at most |
//! | with `HOPS` | one for each hop, and one that delivers |
//! | `EXACT` | one for each iteration |
//!
//! What would be handed over in the last one is lost, and said so.
//!
//! A deadline ends what is under way on the shards; who has not answered a moment later is left
//! out, and the result is marked as partial.

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use engram_shards::episode::{Conditions, Fields, Hit, Refusal, SpaceSettings, Why};
use engram_shards::inquiry::fusion::Terms;
use engram_shards::space::Home;
use engram_shards::spread::exact::{Exact, Mass};
use engram_shards::spread::operator::{DEPTH_UNLIMITED, Operator, Settings, SettingsError};
use engram_shards::spreading::{
    Asked, Collected, Exchange, Exchanged, Given, How, Recalled, SpreadRequest,
};

use super::commands::{Encoded, merge, sort_best_first};
use super::core::Core;
use super::origin::Promise;
use super::outgoing::EncodedReply;
use super::request::{Answer, Request, SpreadKey, SpreadOrder};
use super::route::Route;
use crate::protocol::command::{RecallSpread, SpreadCommand, SpreadParameters};
use crate::protocol::reply;
use crate::runtime;

/// Exchanges of a spread whose hops are not bounded. In each, what is handed over gets less by the
/// same factor: about ⅓ on two shards, ½ on many.
const EXCHANGES_MAX: u32 = 8;
/// How many it usually takes: each gets its part of the time until a deadline.
const EXCHANGES_USUAL: u64 = 4;
/// With no more mass than that handed over, the next exchange is the last: what it hands over
/// in its turn, a third of that or half, is lost.
const HANDED_OVER_MIN: f64 = 0.02;
/// Hops where associations are so strong that mass would grow without end.
const HOPS_STRONG: u32 = 3;
/// How much longer than the deadline shards are waited for.
const GRACE_US: u64 = 2_000;
/// What the last seed of a recall gets of what the best one does.
const MASS_LEAST: f32 = 0.1;

/// What came of a spread on all shards.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pub(super) hits: Vec<Hit>,
    pub(super) edges: u64,
    pub(super) nodes: u64,
    pub(super) missing_max: f64,
    /// The deadline came first.
    pub(super) is_partial: bool,
    /// Shards that did not answer in time, as numbered in the space.
    out: Vec<usize>,
}

/// What a recall has found, by shards as numbered in the space.
type Found = BTreeMap<usize, Vec<Hit>>;

/// Answers `EG.SPREAD`.
pub(super) async fn spread(core: &Rc<Core>, command: SpreadCommand) -> Encoded {
    let (_, settings, route) = core.space(&command.space)?;
    let SpreadCommand { k, seeds, parameters, is_exact, conditions, fields, bytes_max, .. } =
        command;
    let how = How::of(is_exact, fields.why);
    let mut drive = Drive::new(core, route, &settings, &parameters, how)?;
    drive.is_strict = true;
    let asked = Asked { k, conditions, fields, bytes_max, recalled: None };
    drive.give_seeds(seeds.into_iter());
    let mut spread = drive.run(&asked, &Found::new()).await?;
    // Among equals the lower id comes first, be the shards as many as they may.
    sort_best_first(&mut spread.hits);
    spread.hits = merge(std::mem::take(&mut spread.hits), k, fields, bytes_max);
    let held = core.hold_reply(spread.hits.iter().map(|hit| hit.episode.optional_bytes()).sum())?;
    let bytes = spread.hits.len() * size_of::<Hit>();
    let reply = EncodedReply::new(move |encoder| {
        let Spread { hits, edges, nodes, missing_max, is_partial, .. } = &spread;
        reply::spread(encoder, hits, (*edges, *nodes), *missing_max, *is_partial);
    });
    Ok(reply.holding(vec![held]).weighing(bytes))
}

/// Lets associations take part in a recall that found these, best first.
pub(super) async fn spread_recalled(
    core: &Rc<Core>,
    (route, settings): (Route, &SpaceSettings),
    best: Vec<Hit>,
    command: &RecallSpread,
    asked: &Asked,
    is_exact: bool,
) -> Result<Spread, Refusal> {
    let how = How::of(is_exact, asked.fields.why);
    let mut drive = Drive::new(core, route, settings, &command.parameters, how)?;
    let until_ns = drive.until_ns;
    let seeds = masses(&best[..best.len().min(command.seeds)]);
    let seeds: Vec<Seed> = seeds.collect();
    drive.give_seeds(seeds.iter().map(|seed| (seed.id.clone(), seed.mass)));
    let whys: BTreeMap<Bytes, (Option<Why>, Option<Terms>)> =
        best.iter().map(|hit| (hit.episode.id.clone(), (hit.why, hit.fused))).collect();
    let mut found = Found::new();
    for hit in best {
        found.entry(drive.nth_of(&hit.episode.id)).or_default().push(hit);
    }
    let mut spread = drive.run(asked, &found).await?;
    let mut hits = std::mem::take(&mut spread.hits);
    for hit in spread.out.iter().filter_map(|nth| found.remove(nth)).flatten() {
        hits.push(Hit { activation: Some(0.0), ..hit });
    }
    spread.hits = merge(hits, asked.k, asked.fields, asked.bytes_max);
    for hit in &mut spread.hits {
        (hit.why, hit.fused) = whys.get(&hit.episode.id).copied().unwrap_or_default();
    }
    if asked.fields.belief.is_some() && !spread.is_partial {
        let drive = || {
            let how = How::of(is_exact, false);
            let drive = Drive::new(core, route, settings, &command.parameters, how)?;
            Ok(Drive { until_ns, ..drive })
        };
        bound_activations(&mut spread.hits, &seeds, drive).await?;
    }
    Ok(spread)
}

/// Bounds what came to hits by how sure the seeds are.
///
/// An activation is a sum over the seeds, of each in proportion to its mass. So the bounds are the
/// activations that come of it if each seed has only the part of its mass that the low, or the
/// high, end of the belief in it says. That takes a spread for each end at which seeds differ.
/// Where there is no time left for that, there are no bounds.
async fn bound_activations<'a>(
    hits: &mut [Hit],
    seeds: &[Seed],
    drive: impl Fn() -> Result<Drive<'a>, Refusal>,
) -> Result<(), Refusal> {
    let ends: [fn((f32, f32)) -> f32; 2] = [|(low, _)| low, |(_, high)| high];
    let mut bounds: Vec<[f32; 2]> = vec![[0.0; 2]; hits.len()];
    for (nth, end) in ends.into_iter().enumerate() {
        let parts: Vec<f32> = seeds.iter().map(|seed| seed.belief.map_or(1.0, end)).collect();
        let of_all = parts.first().copied().filter(|first| parts.iter().all(|own| own == first));
        let activations = match of_all {
            Some(part) => {
                hits.iter().map(|hit| part * hit.activation.unwrap_or_default()).collect()
            }
            None => match activations(hits, seeds, &parts, drive()?).await? {
                Some(activations) => activations,
                None => return Ok(()),
            },
        };
        bounds.iter_mut().zip(activations).for_each(|(own, bound): (_, f32)| own[nth] = bound);
    }
    for (hit, [low, high]) in hits.iter_mut().zip(bounds) {
        // Each is as exact as the spread that it comes from.
        hit.activation_bounds = Some((low.min(high), high));
    }
    Ok(())
}

/// The activations of hits if each seed has only a part of its mass; `None` when time was over.
async fn activations(
    hits: &[Hit],
    seeds: &[Seed],
    parts: &[f32],
    mut drive: Drive<'_>,
) -> Result<Option<Vec<f32>>, Refusal> {
    let masses = seeds.iter().zip(parts).map(|(seed, part)| (&seed.id, seed.mass * part));
    let masses: Vec<(&Bytes, f32)> = masses.filter(|(_, mass)| *mass > 0.0).collect();
    let total = |masses: &mut dyn Iterator<Item = f32>| masses.map(f64::from).sum::<f64>();
    let (all, left) = (
        total(&mut seeds.iter().map(|seed| seed.mass)),
        total(&mut masses.iter().map(|(_, mass)| *mass)),
    );
    drive.give_seeds(masses.into_iter().map(|(id, mass)| (id.clone(), mass)));
    let mut found = Found::new();
    for hit in hits {
        let of_shard = found.entry(drive.nth_of(&hit.episode.id)).or_default();
        // Better than whatever else is active: these are wanted and no others.
        of_shard.push(Hit { score: 1.0, ..hit.clone() });
    }
    let recalled = Recalled { cue: None, weight: 0.0, ids: Vec::new(), scores: Some(Vec::new()) };
    let asked = Asked {
        k: hits.len(),
        conditions: Conditions::default(),
        fields: Fields::default(),
        bytes_max: 0,
        recalled: Some(recalled),
    };
    let spread = drive.run(&asked, &found).await?;
    if spread.is_partial {
        return Ok(None);
    }
    let known = spread.hits.iter().map(|hit| (&hit.episode.id, hit.activation));
    let known: BTreeMap<&Bytes, Option<f32>> = known.collect();
    #[allow(clippy::cast_possible_truncation)]
    let share = (left / all) as f32;
    let own = |hit: &Hit| known.get(&hit.episode.id).copied().flatten().unwrap_or_default();
    Ok(Some(hits.iter().map(|hit| share * own(hit)).collect()))
}

/// An episode that a recall spreads from.
struct Seed {
    id: Bytes,
    mass: f32,
    /// The low and the high end of what may be believed of it, if that was asked for.
    belief: Option<(f32, f32)>,
}

/// The mass of seeds by how good they are: the best 1, the last [`MASS_LEAST`].
fn masses(best: &[Hit]) -> impl Iterator<Item = Seed> {
    let most = best.first().map_or(0.0, |hit| hit.score);
    let range = most - best.last().map_or(0.0, |hit| hit.score);
    best.iter().map(move |hit| {
        let below = if range > 0.0 { (most - hit.score) / range } else { 0.0 };
        let belief = hit.opinion.map(|opinion| opinion.confidence);
        let belief = belief.map(|confidence| (confidence.low, confidence.high));
        Seed { id: hit.episode.id.clone(), mass: 1.0 - (1.0 - MASS_LEAST) * below, belief }
    })
}

/// The operator that the parameters and the settings of the space come to.
fn operator(parameters: &SpreadParameters, settings: &SpaceSettings) -> Result<Operator, Refusal> {
    let usual = Settings::default();
    let asked = |depth_max| Settings {
        decay: parameters.decay.unwrap_or(usual.decay),
        threshold: parameters.threshold.unwrap_or(usual.threshold),
        depth_max,
        fan: settings.fan.spread(),
        fan_cap: settings.fan_cap.unwrap_or(u32::MAX),
        similar: parameters.similar,
    };
    let operator = match parameters.hops {
        Some(hops) => Operator::new(asked(hops)),
        None => match Operator::new(asked(DEPTH_UNLIMITED)) {
            Err(SettingsError::Depth { .. }) => Operator::new(asked(HOPS_STRONG)),
            operator => operator,
        },
    };
    operator.map_err(|error| Refusal::Syntax(error.to_string()))
}

/// A spread that is driven from here.
struct Drive<'a> {
    core: &'a Rc<Core>,
    route: Route,
    key: SpreadKey,
    operator: Operator,
    how: How,
    is_strict: bool,
    edges_left: u64,
    until_ns: Option<u64>,
    /// What each shard is to be given next, and whether these are the seeds.
    masses: Vec<Vec<Given>>,
    are_seeds: bool,
    shards: Vec<Taking>,
    is_partial: bool,
}

/// How far a shard takes part.
#[derive(Debug, Clone, Copy, Default)]
struct Taking {
    has_begun: bool,
    /// It did not answer in time.
    is_out: bool,
    edges: u64,
}

impl<'a> Drive<'a> {
    fn new(
        core: &'a Rc<Core>,
        route: Route,
        settings: &SpaceSettings,
        parameters: &SpreadParameters,
        how: How,
    ) -> Result<Self, Refusal> {
        let deadline = parameters.deadline_us;
        Ok(Self {
            core,
            route,
            key: core.make_spread_key(),
            operator: operator(parameters, settings)?,
            how,
            is_strict: false,
            edges_left: parameters.edges_max,
            until_ns: deadline.map(|us| core.now_ns() + us * 1000),
            masses: vec![Vec::new(); route.span()],
            are_seeds: true,
            shards: vec![Taking::default(); route.span()],
            is_partial: false,
        })
    }

    /// Which of the shards of the space an episode belongs to.
    fn nth_of(&self, id: &[u8]) -> usize {
        Home::of(self.route.space(), id, self.route.span() as u32) as usize
    }

    /// Divides a mass of 1 by that of the seeds.
    fn give_seeds(&mut self, seeds: impl Iterator<Item = (Bytes, f32)>) {
        let seeds: Vec<(Bytes, f32)> = seeds.collect();
        let total: f64 = seeds.iter().map(|(_, mass)| f64::from(*mass)).sum();
        for (id, mass) in seeds {
            let nth = self.nth_of(&id);
            self.masses[nth].push(Given::seed(id, Mass::new(f64::from(mass) / total)));
        }
    }

    /// Spreads, and collects what is asked for; `found` is what a recall found on which shard.
    async fn run(mut self, asked: &Asked, found: &Found) -> Result<Spread, Refusal> {
        let core = Rc::clone(self.core);
        let _pass = match self.route.span() {
            1 => None,
            _ => Some(core.spreads.enter().await),
        };
        let mut exchanges = 0;
        while !self.is_last(exchanges) {
            let handed_over = self.exchange().await?;
            exchanges += 1;
            let is_done = self.is_done(exchanges, &handed_over);
            for given in handed_over.masses {
                let nth = self.nth_of(&given.id);
                self.masses[nth].push(given);
            }
            if is_done {
                break;
            }
        }
        self.finish(asked, found).await
    }

    fn is_exact(&self) -> bool {
        self.how == How::Exact
    }

    /// Whether the exchange behind so many is the last one, as it was to be or because it is late.
    fn is_last(&mut self, exchanges: u32) -> bool {
        let depth_max = self.operator.settings().depth_max;
        let is_last = match self.how {
            _ if self.route.span() == 1 => true,
            How::Exact => false,
            How::Push { .. } if self.is_bounded() => exchanges >= depth_max,
            How::Push { .. } => exchanges + 1 >= EXCHANGES_MAX,
        };
        let is_cut = !is_last && self.is_late();
        self.is_partial |= is_cut;
        is_last || is_cut
    }

    fn is_late(&self) -> bool {
        self.until_ns.is_some_and(|until| self.core.now_ns() >= until)
    }

    /// Whether what was handed over last is so little that it need not go further than to whom it
    /// is handed over.
    fn is_done(&self, exchanges: u32, handed_over: &HandedOver) -> bool {
        match self.how {
            How::Exact => Exact::is_enough(self.operator, exchanges, handed_over.on_its_way),
            How::Push { .. } if self.is_bounded() => handed_over.masses.is_empty(),
            How::Push { .. } => handed_over.on_its_way <= Mass::new(HANDED_OVER_MIN),
        }
    }

    fn is_bounded(&self) -> bool {
        self.operator.settings().depth_max != DEPTH_UNLIMITED
    }

    /// How far an exchange goes, where that is not left to the operator.
    fn rounds(&self, is_last: bool) -> Option<u32> {
        match self.how {
            _ if self.route.span() == 1 => None,
            // An exact answer is there before it is asked for.
            How::Exact => is_last.then_some(0),
            How::Push { .. } => self.is_bounded().then_some(u32::from(!is_last)),
        }
    }

    /// Gives everyone what is theirs; what they hand over.
    async fn exchange(&mut self) -> Result<HandedOver, Refusal> {
        let promises = self.order(None, &Found::new());
        let mut handed_over = HandedOver::default();
        for (nth, answer) in self.answers(promises).await {
            match answer {
                Answer::Exchanged(Ok(exchanged)) => {
                    let Exchanged { handed_over: masses, edges, on_its_way, was_cut } = exchanged;
                    self.is_partial |= was_cut;
                    let visited = edges - self.shards[nth].edges;
                    self.edges_left = self.edges_left.saturating_sub(visited);
                    self.shards[nth].edges = edges;
                    handed_over.on_its_way.add(on_its_way);
                    masses.iter().for_each(|given| handed_over.on_its_way.add(given.mass));
                    handed_over.masses.extend(masses);
                }
                Answer::Exchanged(Err(refusal)) => return Err(self.give_up(nth, refusal)),
                other => unreachable!("an exchange was answered with {other:?}"),
            }
        }
        Ok(handed_over)
    }

    /// The last exchange.
    async fn finish(mut self, asked: &Asked, found: &Found) -> Result<Spread, Refusal> {
        let promises = self.order(Some(asked), found);
        let mut spread = Spread::default();
        for (nth, answer) in self.answers(promises).await {
            match answer {
                Answer::Collected(Ok(collected)) => {
                    let Collected { hits, edges, nodes, missing_max, was_cut, .. } = *collected;
                    match spread.hits.is_empty() {
                        true => spread.hits = hits,
                        false => spread.hits.extend(hits),
                    }
                    spread.edges += edges;
                    spread.nodes += nodes;
                    spread.missing_max += missing_max;
                    self.is_partial |= was_cut;
                }
                Answer::Collected(Err(refusal)) => return Err(self.give_up(nth, refusal)),
                other => unreachable!("the end of a spread was answered with {other:?}"),
            }
        }
        spread.is_partial = self.is_partial;
        // Nobody knows what is on its way in an iteration that was cut, and on a shard that is out.
        let is_unknown = self.is_partial && self.is_exact();
        spread.out = (0..self.shards.len()).filter(|nth| self.shards[*nth].is_out).collect();
        if is_unknown || !spread.out.is_empty() {
            spread.missing_max = 1.0;
        }
        Ok(spread)
    }

    /// Sends the orders of an exchange; with the last one goes what is asked for.
    fn order(&mut self, asked: Option<&Asked>, found: &Found) -> Vec<(usize, Rc<Promise>)> {
        let all = std::mem::take(&mut self.masses);
        self.masses = vec![Vec::new(); all.len()];
        let mass = |given: &[Given]| given.iter().map(|given| given.mass.get()).sum::<f64>();
        let given_masses: Vec<f64> = all.iter().map(|given| mass(given)).collect();
        let total: f64 = given_masses.iter().sum();
        let rounds = self.rounds(asked.is_some());
        // A part of what is left, where others will have to go on.
        let parts = if self.route.span() == 1 { 1 } else { EXCHANGES_USUAL };
        let now_ns = self.core.now_ns();
        let within_ns = self.until_ns.map(|until| until.saturating_sub(now_ns) / parts);
        let are_seeds = std::mem::replace(&mut self.are_seeds, false);
        let mut promises = Vec::new();
        for (nth, masses) in all.into_iter().enumerate() {
            let Taking { has_begun, is_out, .. } = self.shards[nth];
            let takes_part =
                !masses.is_empty() || has_begun || self.is_exact() || found.contains_key(&nth);
            if is_out || !takes_part {
                continue;
            }
            let share = if total > 0.0 { given_masses[nth] / total } else { 0.0 };
            let edges = (self.edges_left as f64 * share).ceil() as u64;
            let home = Home { nth: nth as u32, span: self.route.span() as u32 };
            let begin = (!has_begun).then(|| SpreadRequest {
                space: self.route.space(),
                home,
                operator: self.operator,
                how: self.how,
                is_strict: self.is_strict,
            });
            let finish = asked.map(|asked| {
                let mut asked = asked.clone();
                if let Some(recalled) = &mut asked.recalled {
                    let hits = found.get(&nth).into_iter().flatten();
                    recalled.ids = hits.clone().map(|hit| hit.episode.id.clone()).collect();
                    if let Some(scores) = &mut recalled.scores {
                        *scores = hits.map(|hit| hit.score).collect();
                    }
                }
                asked
            });
            let exchange = Exchange { masses, are_seeds, edges, rounds, within_ns };
            let (key, until_ns) = (self.key, self.until_ns);
            let order = SpreadOrder { key, begin, exchange, until_ns, finish };
            self.shards[nth].has_begun = true;
            let owner = self.route.nth(nth);
            promises.push((nth, self.core.ask(owner, Request::Spread(Box::new(order)))));
        }
        self.core.turn();
        promises
    }

    /// The answers of an exchange. Who has not answered in time is out.
    async fn answers(&mut self, promises: Vec<(usize, Rc<Promise>)>) -> Vec<(usize, Answer)> {
        let mut answers = Vec::with_capacity(promises.len());
        for (nth, promise) in promises {
            let answer = match self.until_ns {
                None => Some(promise.wait().await),
                Some(until_ns) => {
                    let wait_ns = (until_ns + GRACE_US * 1000).saturating_sub(self.core.now_ns());
                    wait(&promise, Duration::from_nanos(wait_ns)).await
                }
            };
            match answer {
                Some(answer) => answers.push((nth, answer)),
                None => {
                    self.is_partial = true;
                    self.shards[nth].is_out = true;
                    self.end(nth);
                }
            }
        }
        answers
    }

    /// Lets go of what others still have, because of a refusal that ended it on one shard.
    fn give_up(&mut self, at: usize, refusal: Refusal) -> Refusal {
        self.shards[at].is_out = true;
        for nth in 0..self.shards.len() {
            if self.shards[nth].has_begun && !self.shards[nth].is_out {
                self.end(nth);
            }
        }
        self.core.turn();
        refusal
    }

    /// Has a shard let go of the spread; nobody waits for the answer.
    fn end(&self, nth: usize) {
        self.core.ask(self.route.nth(nth), Request::EndSpread(self.key));
    }
}

/// What all shards together hand over in an exchange.
#[derive(Debug, Default)]
struct HandedOver {
    masses: Vec<Given>,
    on_its_way: Mass,
}

/// The answer, unless it takes longer than that.
async fn wait(promise: &Promise, longest: Duration) -> Option<Answer> {
    let mut answer = pin!(promise.wait());
    let mut timer = pin!(runtime::sleep(longest));
    std::future::poll_fn(|context| {
        if let Poll::Ready(answer) = answer.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        timer.as_mut().poll(context).map(|()| None)
    })
    .await
}
