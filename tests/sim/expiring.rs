//! A client that stores episodes for a time, over all lives of the daemon, while the clock jumps.
//!
//! What it knows of each is an interval: an episode expires so many seconds after some moment
//! between its being sent and its being acknowledged. Before that it must be there, if it was
//! acknowledged and nothing is known to be lost; behind it nobody may be shown it, whatever was
//! lost: no frame has to say so.

use std::collections::BTreeMap;

use engram_shards::io::Random;
use engramd::runtime::simulated;

use crate::machine::{Shared, now_us, trace};
use crate::wire::{Command, Connection, Value};

const SPACE: &str = "timed";
/// Seconds that an episode of the space lives which does not say otherwise.
const TTL_S: u64 = 2;
/// The clock jumps by so many µs at most.
const JUMP_US_MAX: u64 = 1_500_000;
/// Ids that are stored again and again.
const IDS: u64 = 12;
/// Stores and looks of a round.
const STEPS_MAX: u64 = 12;

/// What is known of an id.
#[derive(Debug, Clone, Copy)]
struct Fate {
    /// The store was acknowledged, and so was nothing sent before it that is open.
    is_certain: bool,
    /// It lives before this time.
    earliest_us: i64,
    /// It does not from this time on.
    latest_us: i64,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Timed {
    fates: BTreeMap<String, Fate>,
}

impl Timed {
    /// The store has lost something, and said so: all may be gone.
    pub fn doubt(&mut self) {
        self.fates.values_mut().for_each(|fate| fate.is_certain = false);
    }

    /// Compares what was shown of some ids, asked for and answered between two times.
    fn check(&self, asked: &[String], shown: &[String], (from_us, until_us): (i64, i64)) {
        for id in asked {
            let Some(fate) = self.fates.get(id) else { continue };
            match shown.contains(id) {
                true => assert!(from_us < fate.latest_us, "{id} has expired: {fate:?}, {from_us}"),
                false => assert!(
                    !fate.is_certain || until_us >= fate.earliest_us,
                    "{id} has not expired: {fate:?}, {until_us}"
                ),
            }
        }
        let unknown = shown.iter().find(|id| !self.fates.contains_key(*id));
        assert_eq!(unknown, None, "it was never stored");
    }
}

/// Stores, lets time pass, and looks, until the daemon is gone or all is done.
pub async fn work(
    timed: &Shared<Timed>,
    random: &mut Random,
    connection: &mut Connection,
) -> Option<()> {
    connection.call(&Command::of("HELLO 3")).await?;
    let line = format!("EG.SPACE CREATE {SPACE} DIM 2 TTL {TTL_S}");
    if let Value::Error(error) = connection.call(&Command::of(&line)).await? {
        trace(format_args!("{SPACE}: {error}"));
        return Some(());
    }
    for _ in 0..random.between(1, STEPS_MAX) {
        match random.below(8) {
            0..4 => store(timed, random, connection).await?,
            4 => {
                let us = random.below(JUMP_US_MAX);
                trace(format_args!("the clock jumps by {us} µs"));
                simulated::shift_wall_clock(us.cast_signed());
            }
            5 if random.chance(300_000) => {
                connection.call(&Command::of("EG.CONSOLIDATE")).await?;
            }
            _ => look(timed, connection).await?,
        }
    }
    Some(())
}

async fn store(
    timed: &Shared<Timed>,
    random: &mut Random,
    connection: &mut Connection,
) -> Option<()> {
    let id = format!("timed-{}", random.below(IDS));
    let (words, seconds) = match random.below(4) {
        0 => ("", Some(TTL_S)),
        1 => (" TTL none", None),
        2 => (" TTL 1", Some(1)),
        _ => (" TTL 3", Some(3)),
    };
    let ttl_us = seconds.map(|seconds| seconds.cast_signed() * 1_000_000);
    let from_us = now_us();
    let expires = |at_us: i64| ttl_us.map_or(i64::MAX, |ttl_us| at_us + ttl_us);
    // Until it is answered it may be there, as what was there before it.
    {
        let fates = &mut timed.borrow_mut().fates;
        let nothing = Fate { is_certain: false, earliest_us: i64::MAX, latest_us: i64::MIN };
        let before = fates.get(&id).copied().unwrap_or(nothing);
        let open = Fate {
            is_certain: false,
            earliest_us: before.earliest_us.min(expires(from_us)),
            latest_us: i64::MAX,
        };
        fates.insert(id.clone(), open);
    }
    let line = format!("EG.STORE {SPACE} {id} VALUES 2 1 {} TEXT kettle{words}", random.below(9));
    let reply = connection.call(&Command::of(&line)).await?;
    if let Value::Map(_) = reply {
        let (earliest_us, latest_us) = (expires(from_us), expires(now_us()));
        let fate = Fate { is_certain: true, earliest_us, latest_us };
        timed.borrow_mut().fates.insert(id, fate);
    }
    Some(())
}

/// Asks for everything in every way, and compares.
pub async fn look(timed: &Shared<Timed>, connection: &mut Connection) -> Option<()> {
    let ids: Vec<String> = timed.borrow().fates.keys().cloned().collect();
    let from_us = now_us();
    let mut shown = Vec::new();
    for id in &ids {
        let line = format!("EG.GET {SPACE} {id}");
        match connection.call(&Command::of(&line)).await? {
            Value::Map(_) => shown.push(id.clone()),
            // The space is not there yet, or the daemon is busy.
            Value::Error(error) => {
                trace(format_args!("{line}: {error}"));
                return Some(());
            }
            _ => {}
        }
    }
    timed.borrow().check(&ids, &shown, (from_us, now_us()));
    for line in [
        format!("EG.RECALL {SPACE} K 100 VALUES 2 1 1"),
        format!("EG.RECALL {SPACE} K 100 TEXT kettle NOREINFORCE"),
        format!("EG.RECALL {SPACE} K 100 VALUES 2 1 1 EXACT ASOF {}", i64::MAX),
    ] {
        let from_us = now_us();
        let reply = connection.call(&Command::of(&line)).await?;
        if let Value::Error(error) = &reply {
            trace(format_args!("{line}: {error}"));
            continue;
        }
        let shown: Vec<String> = reply.list().iter().map(|hit| hit.id().to_owned()).collect();
        timed.borrow().check(&ids, &shown, (from_us, now_us()));
    }
    let (from_us, mut shown, mut cursor) = (now_us(), Vec::new(), "0".to_owned());
    loop {
        let line = format!("EG.SCAN {SPACE} CURSOR {cursor}");
        let reply = connection.call(&Command::of(&line)).await?;
        if let Value::Error(error) = &reply {
            trace(format_args!("{line}: {error}"));
            return Some(());
        }
        let [next, episodes] = reply.list() else { panic!("a scan is answered: {reply:?}") };
        shown.extend(episodes.list().iter().map(|episode| episode.id().to_owned()));
        cursor = next.text().expect("a cursor").to_owned();
        if cursor == "0" {
            break;
        }
    }
    timed.borrow().check(&ids, &shown, (from_us, now_us()));
    Some(())
}
