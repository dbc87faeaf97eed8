//! A client of a space that archives what has faded and forgets what has faded further, over all
//! lives of the daemon, while the clock jumps.
//!
//! What it knows of an episode are intervals: when it was recorded and when it was presented, each
//! between a command and its reply. The oracle computes from them between which two numbers the
//! retention is, by the formula of an exponential decay, in f64. Where both are on the same side of
//! a bound of the space's policies, what must be answered is certain. What is told to be forgotten
//! may have gone from the moment at which it may have faded that far, and must not have before; and
//! a daemon that is given the time forgets it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engram_shards::io::Random;
use engramd::runtime::{self, simulated};

use crate::machine::{Shared, now_us, trace};
use crate::wire::{Command, Connection, Value};

const SPACE: &str = "fading";
const HALF_LIFE_S: f64 = 1.0;
/// μ of a decay by half-lives.
const GAIN: f64 = 3.0;
/// Retention below which the space archives, and how old it must be at least.
const ARCHIVE: Policy = Policy { key: "archive", below: 0.6, after_s: 2 };
const FORGET: Policy = Policy { key: "forget", below: 0.3, after_s: 3 };
/// What single precision may leave of a retention.
const TOLERANCE: f64 = 1e-4;
/// The clock jumps by so many µs at most.
const JUMP_US_MAX: u64 = 1_500_000;
const IDS: u64 = 8;
const STEPS_MAX: u64 = 12;
/// Passes of a shard over its episodes begin every ten seconds; then the log is told.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(25);

struct Policy {
    key: &'static str,
    below: f64,
    after_s: u32,
}

/// Some moment between two, µs since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy)]
struct Span {
    earliest_us: i64,
    latest_us: i64,
}

/// An episode that was stored for certain.
#[derive(Debug, Clone)]
struct Known {
    recorded: Span,
    /// When it was presented, and whether that is certain.
    presented: Vec<(Span, bool)>,
    /// `None` where nobody knows.
    is_pinned: Option<bool>,
    /// It may have faded so far that it was forgotten.
    may_be_gone: bool,
    is_gone: bool,
}

/// Whether something holds, where that is known.
type Certainty = Option<bool>;

impl Known {
    /// Its retention at a time is between these.
    fn retention(&self, now: Span) -> [f64; 2] {
        if self.is_pinned == Some(true) {
            return [1.0; 2];
        }
        let halvings = |from_us: i64, to_us: i64| (from_us - to_us) as f64 / 1e6 / HALF_LIFE_S;
        // No presentation is looked at sooner than a second after the last one.
        let last_us = self.presented.iter().map(|(at, _)| at.latest_us).max().unwrap_or_default();
        let late_us = now.latest_us.max(last_us + 1_000_000);
        let certain = self.presented.iter().filter(|(_, is_certain)| *is_certain);
        let least: f64 = certain.map(|(at, _)| halvings(at.earliest_us, late_us).exp2()).sum();
        let all = self.presented.iter();
        let most: f64 = all.map(|(at, _)| halvings(at.latest_us, now.earliest_us).exp2()).sum();
        let retention = |intensity: f64| -(-GAIN * intensity).exp_m1();
        let most = if self.is_pinned.is_none() { 1.0 } else { retention(most) };
        [retention(least) - TOLERANCE, most + TOLERANCE]
    }

    /// Whether a policy holds for it at a time.
    fn has_faded(&self, policy: &Policy, now: Span) -> Certainty {
        let [least, most] = self.retention(now);
        let kept_us = i64::from(policy.after_s) * 1_000_000;
        let ages =
            [now.earliest_us - self.recorded.latest_us, now.latest_us - self.recorded.earliest_us];
        if most < policy.below && ages[0] >= kept_us {
            return Some(true);
        }
        (least >= policy.below || ages[1] < kept_us).then_some(false)
    }

    /// What may have been forgotten at a time may be gone from then on.
    fn pass(&mut self, now: Span) {
        self.may_be_gone |= self.has_faded(&FORGET, now) != Some(false);
    }
}

/// See the top of the file. Ids of whose store nobody knows what came of it have no knowledge.
#[derive(Debug, Default)]
pub struct Fading {
    fates: BTreeMap<String, Option<Known>>,
    /// The space was created for certain.
    is_created: bool,
}

/// The time since another one.
fn since(earliest_us: i64) -> Span {
    Span { earliest_us, latest_us: now_us() }
}

impl Fading {
    /// The store has lost something, and said so: nothing is known any more.
    pub fn doubt(&mut self) {
        self.fates.values_mut().for_each(|fate| *fate = None);
        self.is_created = false;
    }

    /// What was seen to be gone may be there again, if its end was not durable; it has faded.
    pub fn restart(&mut self) {
        self.fates.values_mut().flatten().for_each(|known| known.is_gone = false);
    }

    fn pass(&mut self, now: Span) {
        self.fates.values_mut().flatten().for_each(|known| known.pass(now));
    }

    /// Compares what was shown of an id in some way that shows all that are there.
    fn check_there(&mut self, id: &str, is_shown: bool, now: Span) {
        let Some(Some(known)) = self.fates.get_mut(id) else { return };
        known.pass(now);
        match is_shown {
            true => assert!(!known.is_gone, "{id} was forgotten: {known:?}, {now:?}"),
            false => {
                assert!(known.may_be_gone, "{id} has not faded: {known:?}, {now:?}");
                known.is_gone = true;
            }
        }
    }

    /// Compares what was shown of an id by one who does not ask for what is archived.
    fn check_unarchived(&mut self, id: &str, is_shown: bool, now: Span) {
        let Some(Some(known)) = self.fates.get_mut(id) else { return };
        known.pass(now);
        let is_archived = known.has_faded(&ARCHIVE, now);
        match is_shown {
            true => assert!(
                !known.is_gone && is_archived != Some(true),
                "{id} is archived: {known:?}, {now:?}"
            ),
            false => assert!(
                known.may_be_gone || is_archived != Some(false),
                "{id} is not archived: {known:?}, {now:?}"
            ),
        }
    }
}

/// Creates the space, stores, strengthens, lets time pass, and looks, until the daemon is gone or
/// all is done.
pub async fn work(
    fading: &Shared<Fading>,
    random: &mut Random,
    connection: &mut Connection,
) -> Option<()> {
    connection.call(&Command::of("HELLO 3")).await?;
    let policy = |own: Policy| {
        let Policy { key, below, after_s } = own;
        format!("{} BELOW {below} AFTER {after_s}", key.to_uppercase())
    };
    let policies = [ARCHIVE, FORGET].map(policy).join(" ");
    let line = format!("EG.SPACE CREATE {SPACE} DIM 2 DECAY {HALF_LIFE_S} {policies}");
    match connection.call(&Command::of(&line)).await? {
        Value::Error(error) => {
            let is_full = error.starts_with("READONLY") || error.starts_with("BUSY");
            assert!(is_full, "{line}: {error}");
            return Some(());
        }
        _ => fading.borrow_mut().is_created = true,
    }
    for _ in 0..random.between(1, STEPS_MAX) {
        match random.below(10) {
            0..3 => store(fading, random, connection).await?,
            3..6 => strengthen(fading, random, connection).await?,
            6..8 => {
                let us = random.below(JUMP_US_MAX);
                trace(format_args!("the clock jumps by {us} µs"));
                simulated::shift_wall_clock(us.cast_signed());
            }
            8 if random.chance(300_000) => {
                connection.call(&Command::of("EG.CONSOLIDATE")).await?;
            }
            _ => look(fading, connection).await?,
        }
    }
    Some(())
}

async fn store(
    fading: &Shared<Fading>,
    random: &mut Random,
    connection: &mut Connection,
) -> Option<()> {
    let id = format!("fading-{}", random.below(IDS));
    let from_us = now_us();
    let happened_us = random.chance(300_000).then(|| {
        // Some seconds ago: faded sooner than it is old enough.
        from_us - random.below(5_000_000).cast_signed()
    });
    let at = happened_us.map(|us| format!(" AT {us}")).unwrap_or_default();
    fading.borrow_mut().fates.insert(id.clone(), None);
    let line = format!("EG.STORE {SPACE} {id} VALUES 2 1 {} TEXT kettle{at}", random.below(9));
    let reply = connection.call(&Command::of(&line)).await?;
    if let Value::Map(_) = reply {
        let recorded = since(from_us);
        let happened = happened_us.map_or(recorded, |us| Span { earliest_us: us, latest_us: us });
        let known = Known {
            recorded,
            presented: vec![(happened, true)],
            is_pinned: Some(false),
            may_be_gone: false,
            is_gone: false,
        };
        fading.borrow_mut().fates.insert(id, Some(known));
    }
    Some(())
}

/// A reinforcement, or a pin or its removal.
async fn strengthen(
    fading: &Shared<Fading>,
    random: &mut Random,
    connection: &mut Connection,
) -> Option<()> {
    let id = format!("fading-{}", random.below(IDS));
    let (name, pinned) = [
        ("EG.REINFORCE", None),
        ("EG.REINFORCE", None),
        ("EG.PIN", Some(true)),
        ("EG.UNPIN", Some(false)),
    ][random.index(4)];
    let from_us = now_us();
    // As it would be if nothing came of it, and how it is until that is known.
    let before = fading.borrow().fates.get(&id).cloned().flatten();
    if let Some(Some(known)) = fading.borrow_mut().fates.get_mut(&id) {
        known.pass(since(from_us));
        match pinned {
            Some(_) => known.is_pinned = None,
            None => {
                let at = Span { earliest_us: from_us, latest_us: i64::MAX / 2 };
                known.presented.push((at, false));
            }
        }
    }
    let reply = connection.call(&Command::of(&format!("{name} {SPACE} {id}"))).await?;
    trace(format_args!("{name} {id}: {reply:?}"));
    let now = since(from_us);
    let Some(mut known) = before else { return Some(()) };
    known.pass(now);
    match &reply {
        Value::Map(_) => {
            assert!(!known.is_gone, "{id} was forgotten: {known:?}, {now:?}");
            known.may_be_gone = false;
            match pinned {
                Some(_) => known.is_pinned = pinned,
                None => known.presented.push((now, true)),
            }
            // Unpinned, it may be forgotten at once.
            known.pass(since(now_us()));
        }
        Value::Nil => {
            assert!(known.may_be_gone, "{id} has not faded: {known:?}, {now:?}");
            known.is_gone = true;
        }
        // Refused, or nobody knows.
        Value::Error(error) if error.starts_with("BUSY") => {}
        _ => return Some(()),
    }
    fading.borrow_mut().fates.insert(id, Some(known));
    Some(())
}

/// Asks for everything in every way, and compares.
pub async fn look(fading: &Shared<Fading>, connection: &mut Connection) -> Option<()> {
    let info = connection.call(&Command::of(&format!("EG.SPACE INFO {SPACE}"))).await?;
    if let Value::Error(error) = &info {
        let may_be_missing = !fading.borrow().is_created || !error.starts_with("NOSPACE");
        assert!(may_be_missing, "{SPACE}: {error}");
        return Some(());
    }
    for Policy { key, below, after_s } in [ARCHIVE, FORGET] {
        let told = info.get(&format!("{key}_below")).and_then(Value::number).expect("a bound");
        assert!((told - below).abs() < 1e-6, "{key}: {info:?}");
        assert_eq!(info.count(&format!("{key}_after")), u64::from(after_s), "{info:?}");
    }
    let ids: Vec<String> = fading.borrow().fates.keys().cloned().collect();
    for id in &ids {
        let (from_us, line) = (now_us(), format!("EG.GET {SPACE} {id}"));
        let is_shown = match connection.call(&Command::of(&line)).await? {
            Value::Map(_) => true,
            Value::Nil => false,
            other => {
                trace(format_args!("{line}: {other:?}"));
                return Some(());
            }
        };
        fading.borrow_mut().check_there(id, is_shown, since(from_us));
    }
    let cue = "VALUES 2 1 1";
    for (options, is_all) in [
        (format!("{cue} NOREINFORCE"), false),
        (format!("{cue} EXACT NOREINFORCE"), false),
        ("TEXT kettle NOREINFORCE".to_owned(), false),
        (format!("{cue} ARCHIVED NOREINFORCE"), true),
        ("TEXT kettle ARCHIVED NOREINFORCE".to_owned(), true),
        (format!("{cue} ASOF {} NOREINFORCE", i64::MAX), true),
    ] {
        let (from_us, line) = (now_us(), format!("EG.RECALL {SPACE} K 100 {options}"));
        let reply = connection.call(&Command::of(&line)).await?;
        if let Value::Error(error) = &reply {
            trace(format_args!("{line}: {error}"));
            continue;
        }
        let shown: BTreeSet<&str> = reply.list().iter().map(Value::id).collect();
        let (now, fading) = (since(from_us), &mut *fading.borrow_mut());
        assert!(shown.iter().all(|id| fading.fates.contains_key(*id)), "{line}: {shown:?}");
        for id in &ids {
            match is_all {
                true => fading.check_there(id, shown.contains(&id[..]), now),
                false => fading.check_unarchived(id, shown.contains(&id[..]), now),
            }
        }
    }
    fading.borrow_mut().pass(since(now_us()));
    Some(())
}

/// Gives a daemon whose disks do what they should the time, and looks whether it has forgotten.
pub async fn check_forgotten(fading: &Shared<Fading>, connection: &mut Connection) -> Option<()> {
    let now = since(now_us());
    let faded = |known: &Known| known.has_faded(&FORGET, now) == Some(true);
    let faded: BTreeSet<String> = {
        let fading = fading.borrow();
        let known = fading.fates.iter().filter_map(|(id, fate)| Some((id, fate.as_ref()?)));
        known.filter(|(_, known)| faded(known)).map(|(id, _)| id.clone()).collect()
    };
    if faded.is_empty() {
        return Some(());
    }
    runtime::sleep(FORGOTTEN_WITHIN).await;
    for id in faded {
        let reply = connection.call(&Command::of(&format!("EG.GET {SPACE} {id}"))).await?;
        assert_eq!(reply, Value::Nil, "{id} has faded: {:?}", fading.borrow().fates[&id]);
    }
    Some(())
}
