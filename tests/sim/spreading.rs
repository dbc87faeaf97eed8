//! What a spread must find: power iteration over the links of the model, in f64.
//!
//! Exact answers alone are compared: what a push may leave out is the business of others. What a
//! spread reads is what the model holds possible. When that are several states, because writes
//! before it are open, one of them must explain the whole answer. Writes that were sent behind it
//! may come in its midst, some before and some behind what it reads; then nothing is asked but that
//! what it has found may be there, and that links may lead to it.

use std::collections::{BTreeMap, BTreeSet};

use engram_shards::io::Random;
use engram_shards::spread::link::Weight;

use crate::model::{Links, Space};
use crate::wire::{Command, Value};

/// The part of its mass that an episode passes on, as nobody asks for another.
const DECAY: f64 = 0.5;
/// With less on its way an answer is exact enough.
const REST: f64 = 1e-13;
/// What single precision makes of a score of 1. A link's share is that inexact, and where mass
/// comes round again and again, so that scores grow, the error comes round with it: it grows by the
/// square.
const TOLERANCE: f64 = 1e-6;
/// More states together than this are not tried in turn.
const STATES_MAX: usize = 256;
/// More than there are ids.
const K: usize = 4096;

/// An exact spread that was asked for.
pub struct Asked {
    /// The last write that was sent before.
    pub write: u64,
    pub seeds: Vec<(String, f32)>,
    pub hops: Option<u32>,
}

impl Asked {
    /// From one to three of the ids, which may be the same.
    pub fn draw(
        random: &mut Random,
        write: u64,
        mut id: impl FnMut(&mut Random) -> String,
    ) -> Self {
        let seeds = (0..random.between(1, 3))
            .map(|_| (id(random), random.between(1, 9) as f32 / 3.0))
            .collect();
        let hops = random.chance(500_000).then(|| random.below(4) as u32);
        Self { write, seeds, hops }
    }

    pub fn command(&self, space: &str) -> Command {
        let mut words: Vec<String> =
            ["EG.SPREAD", space, "K", &K.to_string()].map(Into::into).into();
        for (id, mass) in &self.seeds {
            words.extend(["FROM".into(), id.clone(), mass.to_string()]);
        }
        words.extend(self.hops.iter().flat_map(|hops| ["HOPS".into(), hops.to_string()]));
        words.push("EXACT".into());
        Command::new(&words)
    }

    fn is_seed(&self, id: &str) -> bool {
        self.seeds.iter().any(|(seed, _)| seed == id)
    }
}

/// Scores by id.
type Scores<'a> = BTreeMap<&'a str, f64>;

/// An episode that is there: its links, and whether it is answered, as nothing supersedes it.
type Node<'a> = (&'a Links, bool);
type Graph<'a> = BTreeMap<&'a str, Node<'a>>;

/// What an id may be: an episode, or nothing.
struct May<'a> {
    states: Vec<Option<Node<'a>>>,
    /// Writes that were sent behind the spread may change it.
    is_moving: bool,
}

impl Space {
    /// Checks an exact spread.
    pub fn check_spread(&self, asked: &Asked, reply: &Value) {
        if self.dreams {
            // Mass goes along links that nobody here knows of.
            return;
        }
        let may = self.may_reach(asked);
        let combinations: usize =
            may.values().map(|may| may.states.len()).fold(1, usize::saturating_mul);
        if may.values().any(|may| may.is_moving) || combinations > STATES_MAX {
            return self.check_plausible(asked, &may, reply);
        }
        let mut closest = String::new();
        for nth in 0..combinations {
            let (mut left, mut graph) = (nth, Graph::new());
            for (id, may) in &may {
                let node = may.states[left % may.states.len()];
                graph.extend(node.map(|node| (*id, node)));
                left /= may.states.len();
            }
            match self.compare(asked, &graph, reply) {
                Ok(()) => return,
                Err(difference) => closest = difference,
            }
        }
        let Asked { seeds, hops, .. } = asked;
        panic!("a spread in {} from {seeds:?} over {hops:?}: {closest}; {reply:?}", self.name);
    }

    /// What every id may be that links may lead to, the seeds among them.
    fn may_reach<'a>(&'a self, asked: &'a Asked) -> BTreeMap<&'a str, May<'a>> {
        let mut reached = BTreeMap::new();
        let mut waiting: Vec<&str> = asked.seeds.iter().map(|(id, _)| id.as_str()).collect();
        while let Some(id) = waiting.pop() {
            if reached.contains_key(id) {
                continue;
            }
            let mut may = May { states: Vec::new(), is_moving: false };
            for version in self.ids.get(id).iter().flat_map(|own| own.possible(asked.write)) {
                may.is_moving |= version.write > asked.write;
                for state in &version.states {
                    let episode = state.episode.as_ref();
                    let node = episode.map(|_| (&state.links, state.superseded.is_none()));
                    if !may.states.contains(&node) {
                        may.states.push(node);
                        let links = node.iter().flat_map(|(links, _)| links.keys());
                        waiting.extend(links.map(|(to, _)| &**to));
                    }
                }
            }
            if may.states.is_empty() {
                may.states.push(None);
            }
            reached.insert(id, may);
        }
        reached
    }

    fn check_plausible(&self, asked: &Asked, may: &BTreeMap<&str, May<'_>>, reply: &Value) {
        let may_be =
            |id: &str| may.get(id).is_some_and(|may| may.states.iter().any(Option::is_some));
        if is_unknown(reply) {
            let may_lack = |id: &str| may[id].states.contains(&None);
            let is_so = asked.seeds.iter().any(|(id, _)| may_lack(id));
            return assert!(is_so, "all seeds are there in {}: {reply:?}", self.name);
        }
        let there = asked.seeds.iter().all(|(id, _)| may_be(id));
        assert!(there, "a seed is not there in {}: {reply:?}", self.name);
        let may_answer = |id: &str| {
            let is_one = |node: &Option<Node<'_>>| node.is_some_and(|(_, is_answer)| is_answer);
            may.get(id).is_some_and(|may| may.states.iter().any(is_one))
        };
        for (id, score) in scores(reply) {
            let is_found = may_answer(id) && !asked.is_seed(id) && score > 0.0;
            let Asked { write, seeds, hops } = asked;
            assert!(
                is_found,
                "a spread in {} from {seeds:?} over {hops:?} behind {write}: {id} has {score}",
                self.name
            );
        }
    }

    /// Whether the answer is that of these links; what is different.
    fn compare(&self, asked: &Asked, graph: &Graph<'_>, reply: &Value) -> Result<(), String> {
        let absent = asked.seeds.iter().find(|(id, _)| !graph.contains_key(id.as_str()));
        match (absent, is_unknown(reply)) {
            (Some(_), true) => return Ok(()),
            (Some((id, _)), false) => return Err(format!("the seed {id} is not there")),
            (None, true) => return Err("all seeds are there".into()),
            (None, false) => {}
        }
        let missing_max = reply.get("missing_max").and_then(Value::number);
        assert_eq!(missing_max, Some(0.0), "an exact answer is whole: {reply:?}");
        let (truth, got) = (self.truth(asked, graph), scores(reply));
        let ids: BTreeSet<&str> = truth.keys().chain(got.keys()).copied().collect();
        for id in ids {
            let of = |scores: &Scores<'_>| scores.get(id).copied().unwrap_or_default();
            let (own, got) = (of(&truth), of(&got));
            if (own - got).abs() > TOLERANCE * own.max(1.0).powi(2) {
                return Err(format!("{id} has {own}, got {got}"));
            }
        }
        Ok(())
    }

    /// The score of every episode but the seeds.
    fn truth<'a>(&self, asked: &'a Asked, graph: &Graph<'a>) -> Scores<'a> {
        let total: f64 = asked.seeds.iter().map(|(_, mass)| f64::from(*mass)).sum();
        let mut now = Scores::new();
        for (id, mass) in &asked.seeds {
            *now.entry(id).or_default() += f64::from(*mass) / total;
        }
        let mut scores = Scores::new();
        let mut round = 0;
        while now.values().sum::<f64>() > REST {
            let is_last = asked.hops == Some(round);
            let mut next = Scores::new();
            for (id, mass) in now {
                let links = graph.get(id).map(|(links, _)| *links);
                let links = links.filter(|links| !links.is_empty());
                let kept = if links.is_some() || is_last { 1.0 - DECAY } else { 1.0 };
                *scores.entry(id).or_default() += kept * mass;
                let Some(links) = links.filter(|_| !is_last) else { continue };
                let sum: f64 = links.values().map(|weight| at_rest(*weight)).sum();
                let passed = DECAY * mass * self.outflow(links.len()) / sum;
                for ((to, _), weight) in links {
                    *next.entry(to).or_default() += passed * at_rest(*weight);
                }
            }
            (now, round) = (next, round + 1);
        }
        let is_answer = |id: &&str| graph.get(id).is_some_and(|(_, is_answer)| *is_answer);
        scores.retain(|id, _| is_answer(id) && !asked.is_seed(id));
        scores
    }

    /// How much of what an episode with so many links would pass on leaves it.
    fn outflow(&self, links: usize) -> f64 {
        let (fan, cap) = (links as f64, f64::from(self.fan_cap));
        let outflow = match self.fan.parse::<f64>() {
            Ok(strength) => (strength - fan.ln()).max(0.0) * fan,
            Err(_) => 1.0,
        };
        if fan > cap { outflow * cap / fan } else { outflow }
    }
}

/// A weight as half of a single precision has it.
fn at_rest(weight: f32) -> f64 {
    f64::from(Weight::new(weight).expect("no weight is out of bounds").get())
}

fn is_unknown(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with("NOEPISODE"))
}

/// What was found, the best first.
fn scores(reply: &Value) -> Scores<'_> {
    let number = |map: &Value, name| map.get(name).and_then(Value::number).expect("a number");
    assert_eq!(number(reply, "partial"), 0.0, "there was no deadline: {reply:?}");
    let hits = reply.get("hits").expect("a spread has hits").list();
    let hit = |hit: &'_ Value| number(hit, "score");
    assert!(hits.is_sorted_by(|a, b| hit(a) >= hit(b)), "the best come first: {reply:?}");
    let found: Scores<'_> = hits
        .iter()
        .map(|hit| {
            let score = number(hit, "score");
            assert_eq!(score, number(hit, "activation"));
            (hit.id(), score)
        })
        .collect();
    assert_eq!(found.len(), hits.len(), "one was found twice: {reply:?}");
    found
}
