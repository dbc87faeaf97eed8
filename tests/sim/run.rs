//! One run: rounds of a daemon's life, with a look at everything after each start.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use engram_shards::format::FileKind;
use engram_shards::io::Random;
use engram_shards::io::simulated::{Faults, SimulatedDisk};
use engram_shards::log::RecoveryError;
use engram_shards::shard::{OpenError, RestoreError};
use engramd::runtime::simulated::{self, Group};
use engramd::server::{Route, ServeError};

use crate::abstracting::check_abstractions;
use crate::expiring::{self, Timed};
use crate::fading::{self, Fading};
use crate::follower::{Follower, follow};
use crate::machine::{Daemon, Machine, NotServing, Shared, trace, until_dark, wait_until};
use crate::model::{By, End, Existence, History, Space, State, Version, links_of};
use crate::plan::{Plan, Round, Trouble};
use crate::spreading::Asked;
use crate::superseding::check_as_of;
use crate::trusting::check_trust;
use crate::wire::{Command, Connection, Value};
use crate::workload::{Client, Keeper, Model, SHELF, create, recall_command};

/// Questions in words that are asked of a space when all is certain.
const QUESTIONS: usize = 3;
/// The space that somebody follows.
const FOLLOWED: usize = 1;
/// Longer than any client may wait, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a daemon takes to end whose disks do what they should, in virtual time, and far less
/// than it may.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Runs a seed; what went on, as a checksum.
pub fn run(plan: &Plan) -> u64 {
    simulated::run(plan.seed, async {
        trace(format_args!("{plan:?}"));
        World::new(plan).live().await;
    });
    crate::machine::told()
}

/// How many calls to disks a run makes, and how many columns files it leaves.
pub fn calls(plan: &Plan) -> (u64, usize) {
    simulated::run(plan.seed, async {
        let world = World::new(plan);
        let (power, disks) = (Rc::clone(&world.machine.power), world.machine.disks.clone());
        world.live().await;
        let files = disks.iter().flat_map(SimulatedDisk::files);
        (power.calls(), files.filter(|file| file.kind == FileKind::Columns).count())
    })
}

struct World<'a> {
    plan: &'a Plan,
    machine: Machine,
    model: Shared<Model>,
    follower: Shared<Follower>,
    timed: Shared<Timed>,
    fading: Shared<Fading>,
    random: Random,
    /// See [`Plan::dies_at`].
    dies_at: Vec<u64>,
}

/// What is known about a log when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    /// Everything that was promised is there.
    Full,
    /// Everything but these sequences of a shard, which were named.
    Without { shard: usize, lost: BTreeSet<u64> },
    /// The disk lied in a way that the end of a log cannot show.
    Silent,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut random = Random::new(plan.seed ^ 0x3a11);
        let machine = Machine::new(random.draw(), plan);
        let model = Model::new(&mut random, plan);
        let (model, dies_at) = (Rc::new(RefCell::new(model)), plan.dies_at.clone());
        let (follower, timed, fading) = Default::default();
        Self { plan, machine, model, follower, timed, fading, random, dies_at }
    }

    async fn live(mut self) {
        let mut end = End::Drained;
        for &round in &self.plan.rounds {
            let Some(daemon) = self.open(&mut end, Some(round)).await else { return };
            self.serve(&daemon, round).await;
            end = if self.machine.power.is_off() { End::PowerLost } else { round.end };
            trace(format_args!("the end: {end:?}"));
            let began_ns = simulated::now_ns();
            self.machine.end(daemon, end).await;
            // What was taken is answered, and nothing waits for the time to run out.
            let took = Duration::from_nanos(simulated::now_ns() - began_ns);
            let is_sound = self.plan.trouble == Trouble::Crashes;
            assert!(took < DRAIN_MAX || !is_sound, "the end took {took:?}");
            self.consider_failures(&mut end);
            self.verify();
        }
        self.set_faults(Faults::default());
        let Some(daemon) = self.open(&mut end, None).await else { return };
        self.catch_up(&daemon).await;
        self.machine.end(daemon, End::Drained).await;
        self.verify();
    }

    /// Lets the follower go on until it has everything.
    async fn catch_up(&mut self, daemon: &Daemon) {
        let (power, name) = (Rc::clone(&self.machine.power), model_name(FOLLOWED));
        let found = async { scan(&mut daemon.greet().await?, &name).await };
        let Some(found) = until_dark(&power, found).await else { return };
        let group = simulated::group();
        self.spawn_follower(group, daemon);
        let follower = Rc::clone(&self.follower);
        let done = wait_until(&power, PATIENCE, || follower.borrow().has_all(&found)).await;
        let is_sound = self.plan.trouble != Trouble::Misdirection;
        assert!(done || !is_sound || power.is_off(), "{follower:?} has not all of {found:?}");
        simulated::kill(group);
        if is_sound && self.random.chance(250_000) {
            let forgotten =
                async { fading::check_forgotten(&self.fading, &mut daemon.greet().await?).await };
            until_dark(&power, forgotten).await;
        }
    }

    fn spawn_follower(&mut self, group: Group, daemon: &Daemon) {
        let (follower, model) = (Rc::clone(&self.follower), Rc::clone(&self.model));
        let (mut random, mut connection) = (self.random.fork(), daemon.connect());
        simulated::spawn_in(group, async move {
            let has = |id: &str| model.borrow().spaces[FOLLOWED].ids.contains_key(id);
            follow(&model_name(FOLLOWED), &follower, &has, &mut random, &mut connection).await;
        });
    }

    /// What is on the disks agrees with itself, wherever writes have not gone astray.
    fn verify(&self) {
        if self.plan.trouble != Trouble::Misdirection {
            let verified = self.machine.verify();
            trace(format_args!("{verified} shards are verified"));
        }
    }

    fn set_faults(&self, faults: Faults) {
        self.machine.disks.iter().for_each(|disk| disk.set_faults(faults));
    }

    /// Starts a daemon, however often it takes, and looks at everything; `None` when the disk is
    /// beyond repair and the daemon said so.
    async fn open(&mut self, end: &mut End, round: Option<Round>) -> Option<Daemon> {
        if self.plan.trouble == Trouble::Rot && *end != End::PowerLost {
            self.try_with_rot(*end).await;
        }
        let mut crashes_left = 2;
        let mut trust = self.trust();
        loop {
            if !self.dies_at.is_empty() {
                let call = self.dies_at.remove(0);
                self.machine.power.fail_at(self.machine.power.calls() + call);
            } else if let Some(call) = round.and_then(|round| round.dies_at_call)
                && crashes_left > 0
            {
                let call = if crashes_left == 2 { call } else { self.random.between(1, 12) };
                self.machine.power.fail_at(self.machine.power.calls() + call);
            }
            if self.plan.trouble == Trouble::Errors && round.is_some() {
                self.set_faults(self.plan.faults);
            }
            let started = self.machine.start().await;
            // What a start writes behind what it has lost makes no lie show any more.
            if trust == Trust::Full {
                trust = self.trust();
            }
            if started.is_err() {
                self.consider_failures(end);
            }
            match started {
                Ok(daemon) => {
                    let power = Rc::clone(&self.machine.power);
                    let looked = until_dark(&power, self.look(&daemon, *end, &trust)).await;
                    if looked.is_some() {
                        self.machine.forget_reached();
                        if self.plan.trouble == Trouble::Misdirection {
                            self.set_faults(self.plan.faults);
                        }
                        if trust == Trust::Silent {
                            return None;
                        }
                        return Some(daemon);
                    }
                    assert!(self.machine.power.is_off(), "the daemon hung up");
                    self.machine.end(daemon, End::PowerLost).await;
                    weaken(end);
                    self.consider_failures(end);
                }
                Err(NotServing::PowerFailed) => {
                    trace(format_args!("the power failed during the start"));
                    self.machine.settle();
                    weaken(end);
                }
                Err(NotServing::Refused(error)) => {
                    trace(format_args!("refused: {error}"));
                    if self.machine.power.is_off() {
                        self.machine.settle();
                        weaken(end);
                    } else if self.plan.trouble == Trouble::Misdirection && names_damage(&error) {
                        assert!(self.disk_has_lied(), "a sound log was refused: {error}");
                        return None;
                    } else {
                        let may_fail = self.plan.trouble == Trouble::Errors && is_io(&error);
                        assert!(may_fail && round.is_some(), "a sound log was refused: {error}");
                        self.set_faults(Faults::default());
                        return self.open_again(end).await;
                    }
                }
            }
            crashes_left -= 1;
        }
    }

    /// After a start that failed because the disk did, and now does not.
    async fn open_again(&mut self, end: &mut End) -> Option<Daemon> {
        match Box::pin(self.open(end, None)).await {
            Some(daemon) => {
                self.set_faults(self.plan.faults);
                Some(daemon)
            }
            None => None,
        }
    }

    /// What was written and not flushed may be gone also when the flush failed.
    fn consider_failures(&self, end: &mut End) {
        if self.machine.disks.iter().filter(|disk| disk.has_failed()).count() > 0 {
            *end = End::PowerLost;
        }
    }

    fn disk_has_lied(&self) -> bool {
        self.machine.disks.iter().any(|disk| disk.lies() > 0)
    }

    fn trust(&self) -> Trust {
        let in_flight_max = self.plan.log.in_flight_max;
        let shows = |disk: &SimulatedDisk| disk.lies_would_show(in_flight_max);
        if self.machine.disks.iter().all(shows) { Trust::Full } else { Trust::Silent }
    }

    /// Damages one place: the daemon refuses and names what is lost, or everything is there.
    async fn try_with_rot(&mut self, end: End) {
        let disks = &self.machine.disks;
        let before: Vec<_> = disks.iter().map(SimulatedDisk::snapshot).collect();
        let nth = self.random.index(disks.len());
        // A log that was closed has noted where it ends; after a kill only later batches tell.
        let spared = if end == End::Drained { 0 } else { self.plan.log.in_flight_max + 1 };
        let Some(rot) = disks[nth].rot(spared) else { return };
        trace(format_args!("disk {nth}: {rot:?}"));
        let damaged = disks[nth].snapshot();
        match self.machine.start().await {
            Ok(daemon) => {
                trace(format_args!("the damage was harmless"));
                self.look(&daemon, end, &Trust::Full).await.expect("the power is on");
                self.machine.end(daemon, End::Killed).await;
            }
            Err(NotServing::Refused(error)) => {
                trace(format_args!("refused: {error}"));
                assert!(names_damage(&error), "damage is called damage: {error}");
                let same = self.machine.disks[nth].is_as(&damaged);
                assert!(same, "a refused start has changed the log");
                if self.random.chance(500_000) && self.go_on_without(nth, &error, end).await {
                    return;
                }
                for (disk, before) in self.machine.disks.iter().zip(&before) {
                    disk.restore(before);
                }
            }
            Err(NotServing::PowerFailed) => panic!("nobody touched the power"),
        }
    }

    /// Starts with `--accept-loss`: exactly what the refusal named is missing. Whether there was
    /// anything to accept.
    async fn go_on_without(&mut self, shard: usize, error: &ServeError, end: End) -> bool {
        let Some(RecoveryError::Damage { losses, orphans, .. }) = recovery_error(error) else {
            return false;
        };
        let lost = losses.iter().flat_map(|loss| loss.first..=loss.last).chain(orphans.clone());
        let trust = Trust::Without { shard, lost: lost.collect() };
        self.machine.accept_loss.set(true);
        let started = self.machine.start().await;
        self.machine.accept_loss.set(false);
        let daemon = started.unwrap_or_else(|error| panic!("loss was accepted: {error:?}"));
        let recovered = &daemon.opened[shard].recovered;
        assert_eq!((&recovered.losses, &recovered.skipped), (losses, orphans), "what was named");
        assert!(!self.machine.disks[shard].quarantine().is_empty(), "the damaged file is kept");
        self.look(&daemon, end, &trust).await.expect("the power is on");
        self.machine.end(daemon, End::Killed).await;
        true
    }

    /// Lets the clients work until the round is over.
    async fn serve(&mut self, daemon: &Daemon, round: Round) {
        let open = Rc::new(Cell::new(0));
        let group = simulated::group();
        for space in 0..self.model.borrow().spaces.len() {
            open.set(open.get() + 1);
            let (model, random) = (Rc::clone(&self.model), self.random.fork());
            let disks = self.machine.disks.clone();
            let connection = daemon.connect();
            let open = Rc::clone(&open);
            simulated::spawn_in(group, async move {
                work(space, model, random, disks, connection, round.bursts).await;
                open.set(open.get() - 1);
            });
        }
        self.spawn_follower(group, daemon);
        let (timed, mut random) = (Rc::clone(&self.timed), self.random.fork());
        let mut connection = daemon.connect();
        simulated::spawn_in(group, async move {
            expiring::work(&timed, &mut random, &mut connection).await;
        });
        let (fading, mut random) = (Rc::clone(&self.fading), self.random.fork());
        let mut connection = daemon.connect();
        simulated::spawn_in(group, async move {
            fading::work(&fading, &mut random, &mut connection).await;
        });
        let is_long = self.random.chance(400_000);
        let limit = if is_long { PATIENCE } else { Duration::from_micros(round.after_us) };
        let done = wait_until(&self.machine.power, limit, || open.get() == 0).await;
        assert!(done || !is_long || self.machine.power.is_off(), "a client waits for ever");
        simulated::kill(group);
    }

    /// Looks at everything there is; `None` when the power failed meanwhile.
    async fn look(&mut self, daemon: &Daemon, end: End, trust: &Trust) -> Option<()> {
        let mut connection = daemon.greet().await?;
        let listed = connection.call(&Command::of("EG.SPACE LIST")).await?;
        let listed: Vec<&str> = listed.list().iter().filter_map(Value::text).collect();
        let reached = self.machine.reached();
        trace(format_args!("recovered up to {reached:?} after {end:?}, {trust:?}: {listed:?}"));
        let spaces = self.model.borrow().spaces.len();
        let mut seen = Vec::new();
        for nth in 0..spaces {
            let name = self.model.borrow().spaces[nth].name.clone();
            let found = match listed.contains(&name.as_str()) {
                true => Some(scan(&mut connection, &name).await?),
                false => None,
            };
            // After an accepted loss shard 0 may have learned of the space from another one.
            let known = daemon.opened.iter().flat_map(|opened| &opened.spaces);
            let route = known.into_iter().find(|(_, settings)| settings.name == name);
            let route = route.map(|(number, it)| Route::new(*number, it, self.machine.shards()));
            let place = |id: &str| {
                route.map_or((None, 0), |route| {
                    let owner = route.owner(id.as_bytes());
                    (Some(owner), reached[owner])
                })
            };
            seen.push(self.compare(nth, found.as_ref(), end, trust, place));
        }
        match trust {
            Trust::Full => self.follower.borrow().check_recovered(&reached),
            Trust::Without { .. } | Trust::Silent => {
                self.follower.borrow_mut().forget();
                self.timed.borrow_mut().doubt();
                self.fading.borrow_mut().doubt();
            }
        }
        if *trust == Trust::Silent {
            return Some(());
        }
        expiring::look(&self.timed, &mut connection).await?;
        self.fading.borrow_mut().restart();
        fading::look(&self.fading, &mut connection).await?;
        self.settle(seen, &reached, daemon, trust);
        self.model.borrow().check_erased(&self.machine.disks);
        for nth in 0..spaces {
            if self.model.borrow().spaces[nth].existence == Existence::Yes {
                self.look_closer(nth, &mut connection).await?;
            } else if nth != SHELF {
                create(&self.model, nth, &mut connection).await?;
            }
        }
        Some(())
    }

    /// Compares what a space shows with what may be there; what every id turned out to be.
    fn compare(
        &self,
        nth: usize,
        found: Option<&BTreeMap<String, Value>>,
        end: End,
        trust: &Trust,
        place: impl Fn(&str) -> (Option<usize>, u64),
    ) -> (bool, BTreeMap<String, Version>) {
        let model = self.model.borrow();
        let space = &model.spaces[nth];
        if *trust == Trust::Full {
            let expected = match space.existence {
                Existence::Yes => Some(true),
                Existence::No => Some(false),
                Existence::Open => None,
            };
            let is_right = expected.is_none_or(|expected| expected == found.is_some());
            assert!(is_right, "space {} is there: {}", space.name, found.is_some());
        }
        let invented = found.iter().flat_map(|found| found.keys());
        let invented: Vec<_> = invented.filter(|id| !space.ids.contains_key(*id)).collect();
        assert!(invented.is_empty(), "{invented:?} in {} were never stored", space.name);
        let mut seen = BTreeMap::new();
        for (id, history) in &space.ids {
            let reply = found.and_then(|found| found.get(id)).unwrap_or(&Value::Nil);
            let (owner, reached) = place(id);
            let possible = match trust {
                Trust::Full => history.possible_after(end, reached),
                Trust::Without { shard, lost } => {
                    let here = owner.is_none() || owner == Some(*shard);
                    let is_lost = |n: u64| here && (lost.contains(&n) || owner.is_none());
                    history.possible_after_loss(end, reached, is_lost)
                }
                Trust::Silent => history.possible_after_silent_loss(reached),
            };
            if *trust != Trust::Silent && found.is_some() {
                let needed = history.must_reach(end);
                assert!(needed <= reached, "{id}: {needed} was promised, {reached} was recovered");
            }
            let shown = |version: &&Version| match trust {
                // A change of links or strength in the midst of others may be among what is lost.
                Trust::Without { .. } => {
                    shown_but_for_changes(version, history, reply, space.recalls_count)
                }
                Trust::Full | Trust::Silent => {
                    let mut states = version.states.iter();
                    states.find(|state| state.is_shown(reply, space.recalls_count)).cloned()
                }
            };
            let found = possible.iter().rev().find_map(|version| Some((*version, shown(version)?)));
            let (version, state) = found.unwrap_or_else(|| {
                panic!(
                    "{id} in {} after {end:?} up to {reached} is {reply:?}; possible {possible:#?}",
                    space.name
                )
            });
            let stored = reply.get("seq").map(|_| reply.count("seq"));
            let sequence = version.sequence.or(stored);
            seen.insert(id.clone(), version.seen(State { stored, ..state }, sequence));
        }
        (found.is_some(), seen)
    }

    /// What was seen is certain from now on.
    fn settle(
        &self,
        seen: Vec<(bool, BTreeMap<String, Version>)>,
        reached: &[u64],
        daemon: &Daemon,
        trust: &Trust,
    ) {
        let model = &mut *self.model.borrow_mut();
        let mut places = BTreeMap::new();
        for (space, (exists, versions)) in model.spaces.iter_mut().zip(seen) {
            space.existence = if exists { Existence::Yes } else { Existence::No };
            let mut opened = daemon.opened[0].spaces.iter();
            let route = opened.find(|(_, settings)| settings.name == space.name);
            let route = route.map(|(number, it)| Route::new(*number, it, self.machine.shards()));
            for (id, version) in versions {
                if let (Some(sequence), Some(route)) = (version.state().stored, route) {
                    let before = places.insert((route.owner(id.as_bytes()), sequence), id.clone());
                    assert_eq!(before, None, "{id} has the same place in the order");
                }
                let history = space.ids.get_mut(&id).expect("compared just now");
                history.settle(version);
            }
            for keyed in model.keyed.iter_mut() {
                if model_name(keyed.space) == space.name {
                    let owner = route.map(|route| route.owner(keyed.id.as_bytes()));
                    let lost = |owner: usize, n: &u64| match trust {
                        Trust::Without { shard, lost } => owner == *shard && lost.contains(n),
                        Trust::Full | Trust::Silent => false,
                    };
                    let kept = |n: &u64| {
                        owner.is_some_and(|owner| *n <= reached[owner] && !lost(owner, n))
                    };
                    keyed.sequence = keyed.sequence.filter(kept);
                }
            }
        }
    }

    /// A spread from episodes that are there, when all is certain.
    fn spread(&mut self, nth: usize) -> Asked {
        let model = self.model.borrow();
        let there = model.spaces[nth].ids.iter().filter(|(_, history)| {
            history.certain(u64::MAX).is_some_and(|version| version.episode().is_some())
        });
        let there: Vec<&String> = there.map(|(id, _)| id).collect();
        let id = |random: &mut Random| there[random.index(there.len())].clone();
        Asked::draw(&mut self.random, u64::MAX, id)
    }

    /// Other ways to see the same: figures, a recall, a spread, a repeated key.
    async fn look_closer(&mut self, nth: usize, connection: &mut Connection) -> Option<()> {
        let (name, dimensions, recalls_count, fan, fan_cap, episodes) = {
            let space = &self.model.borrow().spaces[nth];
            let there = space.ids.values().filter(|history| {
                history.certain(u64::MAX).is_some_and(|version| version.episode().is_some())
            });
            let Space { name, dimensions, recalls_count, fan, fan_cap, .. } = space;
            let (fan_cap, episodes) = (u64::from(*fan_cap), there.count() as u64);
            (name.clone(), *dimensions, *recalls_count, *fan, fan_cap, episodes)
        };
        let info = connection.call(&Command::of(&format!("EG.SPACE INFO {name}"))).await?;
        assert_eq!(info.count("episodes"), episodes, "episodes of {name}");
        assert_eq!(info.get("fan").and_then(Value::text), Some(fan), "the fan of {name}");
        assert_eq!(info.count("fan_cap"), fan_cap, "the cap of the fan of {name}");
        let cue: Vec<f32> = (0..dimensions).map(|_| self.random.below(9) as f32 + 0.5).collect();
        let k = self.random.between(1, 12) as usize;
        let reply = connection.call(&recall_command((&name, recalls_count), k, &cue)).await?;
        let known: Vec<_> = {
            let model = self.model.borrow();
            assert!(model.spaces[nth].check_recall(u64::MAX, &cue, k, &reply), "all is certain");
            let keyed = model.keyed.iter().filter(|keyed| keyed.space == nth);
            keyed.filter(|keyed| keyed.sequence.is_some()).cloned().collect()
        };
        let written = self.model.borrow().spaces[nth].written();
        for _ in 0..QUESTIONS.min(written.len()) {
            let write = written[self.random.index(written.len())];
            let line = format!("EG.RECALL {name} K 5 TEXT {write} NOREINFORCE");
            let reply = connection.call(&Command::of(&line)).await?;
            self.model.borrow().spaces[nth].check_question(write, &reply);
        }
        if episodes > 0 {
            let asked = self.spread(nth);
            let reply = connection.call(&asked.command(&name)).await?;
            self.model.borrow().spaces[nth].check_spread(&asked, &reply);
        }
        check_as_of(connection, &name, dimensions).await?;
        let (found, measure) =
            (scan(connection, &name).await?, self.model.borrow().spaces[nth].measure);
        check_abstractions(connection, (&name, measure), &found, &cue).await?;
        let dreams = self.plan.dreams;
        check_trust(connection, (&name, dimensions, dreams), &found, &mut self.random).await?;
        for keyed in known.iter().rev().take(2) {
            let mut words = crate::workload::store_words(&name, &keyed.id, &keyed.episode, "disk");
            words.extend([b"KEY".to_vec(), keyed.key.clone().into_bytes()]);
            let reply = connection.call(&Command::new(&words)).await?;
            if self.plan.trouble == Trouble::Errors && matches!(reply, Value::Error(_)) {
                continue;
            }
            let outcome = reply.get("outcome").and_then(Value::text);
            let is_same = outcome == Some("existing") && Some(reply.count("seq")) == keyed.sequence;
            assert!(is_same, "{} of {} is repeated: {reply:?}", keyed.key, keyed.id);
        }
        Some(())
    }
}

/// The name of the space with this number in every model.
fn model_name(space: usize) -> String {
    if space == SHELF { "shelf".into() } else { format!("client-{space}") }
}

async fn work(
    space: usize,
    model: Shared<Model>,
    random: Random,
    disks: Vec<SimulatedDisk>,
    mut connection: Connection,
    bursts: u64,
) {
    if connection.call(&Command::of("HELLO 3")).await.is_none() {
        return;
    }
    if space == SHELF {
        Keeper { model, random }.work(connection, bursts).await;
    } else if model.borrow().spaces[space].existence == Existence::Yes {
        Client { space, model, random, disks }.work(connection, bursts).await;
    }
}

/// Every episode of a space, by its id.
async fn scan(connection: &mut Connection, space: &str) -> Option<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let with = "WITH text WITH vec WITH meta WITH links WITH strength";
        let line = format!("EG.SCAN {space} CURSOR {cursor} {with}");
        let reply = connection.call(&Command::of(&line)).await?;
        let [next, episodes] = reply.list() else { panic!("a scan is answered: {reply:?}") };
        for episode in episodes.list() {
            let id = episode.id().to_owned();
            assert!(found.insert(id.clone(), episode.clone()).is_none(), "{id} is there twice");
        }
        cursor = next.text().expect("a cursor").to_owned();
        if cursor == "0" {
            return Some(found);
        }
    }
}

/// What a reply shows of this version, with links and a superseder that were sent at some time and
/// a strength that lacks some presentations.
fn shown_but_for_changes(
    version: &Version,
    history: &History,
    reply: &Value,
    recalls_count: bool,
) -> Option<State> {
    let links = links_of(reply).filter(|links| history.has_sent(links));
    let strength = reply.get("strength");
    let by = By::of(reply);
    let was_sent = by.as_ref().is_none_or(|by| history.has_sent_superseder(by));
    let states = version.states.iter().map(|state| {
        let links = links.clone().unwrap_or_else(|| state.links.clone());
        let told = strength.map(|own| (own.count("presentations") - 1, own.count("pinned") != 0));
        let (reinforced, is_pinned) = told.unwrap_or_default();
        let reinforced = reinforced.min(state.reinforced);
        let superseded = if was_sent { by.clone() } else { state.superseded.clone() };
        State { links, reinforced, is_pinned, superseded, ..state.clone() }
    });
    states.into_iter().find(|state| state.is_shown(reply, recalls_count))
}

/// A crash of the machine during the start, after an earlier end.
fn weaken(end: &mut End) {
    if *end == End::Killed {
        *end = End::PowerLost;
    }
}

fn recovery_error(error: &ServeError) -> Option<&RecoveryError> {
    match error {
        ServeError::Open { error: OpenError::Recovery(error), .. } => Some(error),
        _ => None,
    }
}

fn is_io(error: &ServeError) -> bool {
    matches!(
        error,
        ServeError::Ring { .. }
            | ServeError::Reconcile { .. }
            | ServeError::Open { error: OpenError::Recovery(RecoveryError::Io(_)), .. }
            | ServeError::Open { error: OpenError::Restore(RestoreError::Io { .. }), .. }
    )
}

/// Whether it says which segment or sequences cannot be read.
fn names_damage(error: &ServeError) -> bool {
    let error = recovery_error(error);
    matches!(
        error,
        Some(
            RecoveryError::Damage { .. }
                | RecoveryError::Header { .. }
                | RecoveryError::Missing { .. }
                | RecoveryError::Unmendable { .. }
        )
    )
}
