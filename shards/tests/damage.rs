//! Damage at every byte of a small store: flipped, zeroed, cut off.
//!
//! Whatever is done to one byte of one file, opening the shard ends in one of
//!
//! * everything is there, and what was found is reported unless nothing was lost or at stake;
//! * it refuses, changes nothing, and names the sequences that cannot be read; with `accept_loss`
//!   it opens, and exactly those sequences are missing.
//!
//! Never a panic, never another episode, never silence. The shard was closed, so its anchor is up
//! to date; what a crash leaves in doubt is the simulator's subject.

use std::collections::BTreeMap;

use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Fields, Metric, Priority, SpaceNumber, SpaceSettings,
    StoreRequest, Ttl,
};
use engram_shards::io::{MemoryDisk, MemoryIo};
use engram_shards::log::{
    AnchorState, LogIdentity, LogSettings, Loss, Recovered, RecoveryError, RecoverySettings,
};
use engram_shards::shard::{
    ConsolidationSettings, Effect, OpenError, Shard, ShardSettings, Ticket,
};
use engram_shards::space::Page;

const SPACE: SpaceNumber = SpaceNumber(1);
/// Small, so that the history below spans several.
const SEGMENT_BYTES: u64 = 40 << 10;

fn open(disk: &MemoryDisk, accept_loss: bool) -> Result<(Shard<MemoryIo>, Recovered), OpenError> {
    let settings = ShardSettings {
        identity: LogIdentity {
            store_id: [7; 16],
            shard: 0,
            segment_bytes: SEGMENT_BYTES,
            may_be_empty: disk.segments().is_empty(),
        },
        log: LogSettings::default(),
        recovery: RecoverySettings { accept_loss, ..RecoverySettings::default() },
        memory_bytes_max: 16 << 20,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings::default(),
    };
    Shard::open(disk.io(), &settings, &|_| {})
}

/// What one sequence of the log did.
#[derive(Debug, Clone)]
enum Step {
    CreateSpace,
    Store { id: String, text: String },
    Forget { id: String },
}

impl Step {
    fn is_store(&self) -> bool {
        matches!(self, Self::Store { .. })
    }
}

/// What the ids should lead to when these sequences are missing.
fn state_without(history: &[Step], lost: impl Fn(u64) -> bool) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    let mut has_space = false;
    for (step, _) in history.iter().zip(1..).filter(|(_, sequence)| !lost(*sequence)) {
        match step {
            Step::CreateSpace => has_space = true,
            Step::Store { id, text } if has_space => {
                state.insert(id.clone(), text.clone());
            }
            Step::Forget { id } if has_space => {
                state.remove(id);
            }
            // Without its space it cannot be applied.
            _ => {}
        }
    }
    state
}

fn settle(shard: &mut Shard<MemoryIo>) {
    let mut effects = Vec::new();
    while !shard.is_idle() {
        shard.pump();
        shard.poll(&mut effects);
    }
    assert!(effects.iter().all(|effect| !matches!(effect, Effect::Answer { result: Err(_), .. })));
}

fn store(id: &str, text: &str) -> StoreRequest {
    StoreRequest {
        space: SPACE,
        episode: Episode {
            id: Bytes::copy_from_slice(id.as_bytes()),
            vector: [1_f32, 2.0, 3.0].iter().flat_map(|float| float.to_le_bytes()).collect(),
            text: Bytes::copy_from_slice(text.as_bytes()),
            happened_at_us: Some(5),
            confidence: Confidence::CERTAIN,
            metadata: Bytes::new(),
            thread: Bytes::new(),
            links: Vec::new(),
        },
        key: Bytes::new(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 1,
    }
}

/// A store over three segments: batches of one frame and of several, replacements and forgets.
fn make() -> (MemoryDisk, Vec<Step>) {
    let disk = MemoryDisk::default();
    let (mut shard, _) = open(&disk, false).unwrap();
    let mut history = vec![Step::CreateSpace];
    let settings = SpaceSettings { metric: Metric::Dot, ..SpaceSettings::usual("s", 3) };
    shard.create_space(Ticket(0), None, &settings, 1).unwrap();
    settle(&mut shard);
    for round in 0..9 {
        for nth in 0..=round % 3 {
            let (id, text) = (
                format!("id-{}", (round * 2 + nth) % 7),
                format!("text {round}.{nth} ").repeat(10),
            );
            shard.store(Ticket(0), &store(&id, &text)).unwrap();
            history.push(Step::Store { id, text });
        }
        if round % 4 == 3 {
            let id = format!("id-{}", round % 7);
            shard.forget(Ticket(0), SPACE, id.as_bytes(), Durability::Disk, 1).unwrap();
            history.push(Step::Forget { id });
        }
        settle(&mut shard);
    }
    shard.close();
    settle(&mut shard);
    (disk, history)
}

fn state_of(shard: &Shard<MemoryIo>) -> BTreeMap<String, String> {
    let fields = Fields { text: true, ..Fields::default() };
    let Ok(Page { episodes, next: None }) = shard.scan(SPACE, 0, usize::MAX, usize::MAX, fields)
    else {
        return BTreeMap::new();
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    episodes.iter().map(|e| (text(&e.id), text(e.text.as_ref().unwrap()))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing was lost, and nothing that was noticed is worth a word.
    Unharmed,
    /// Nothing was lost, and recovery says what it found.
    Reported,
    /// Refused by sequence; with `accept_loss` everything else is there.
    Named,
}

fn is_lost(losses: &[Loss], sequence: u64) -> bool {
    losses.iter().any(|loss| (loss.first..=loss.last).contains(&sequence))
}

/// Opens a damaged copy and says how that went; panics at a violation.
fn judge(disk: &MemoryDisk, history: &[Step], what: &str) -> Outcome {
    let refused = match open(disk, false) {
        Ok((shard, recovered)) => {
            assert_eq!(state_of(&shard), state_without(history, |_| false), "{what}");
            assert_eq!(shard.verify(), Vec::<String>::new(), "{what}");
            assert!(recovered.losses.is_empty(), "{what}");
            let is_silent = recovered.torn_tail.is_none()
                && recovered.mended.is_empty()
                && recovered.short_segment.is_none()
                && matches!(recovered.anchor, AnchorState::Sound(_));
            return if is_silent { Outcome::Unharmed } else { Outcome::Reported };
        }
        Err(OpenError::Recovery(error)) => error,
        Err(other) => panic!("{what}: {other}"),
    };
    let named = match &refused {
        RecoveryError::Damage { losses, .. } => losses.clone(),
        other => panic!("{what}: {other}"),
    };
    let (shard, recovered) = open(disk, true).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(recovered.losses, named, "{what}");
    let orphans = |sequence: &u64| is_lost(&named, 1) && history[*sequence as usize - 1].is_store();
    assert!(recovered.skipped.iter().all(orphans), "{what}: {:?}", recovered.skipped);
    let lost = |sequence| is_lost(&named, sequence) || recovered.skipped.contains(&sequence);
    assert_eq!(state_of(&shard), state_without(history, lost), "{what}");
    drop(shard);
    // What was mended stays mended.
    let (shard, recovered) = open(disk, false).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(recovered.losses.is_empty() && recovered.mended.is_empty(), "{what}");
    assert_eq!(state_of(&shard), state_without(history, lost), "{what}");
    Outcome::Named
}

type Table = BTreeMap<(&'static str, Outcome), u64>;

/// A kind of damage, and how it is done to a file.
type Change<'a> = (&'static str, &'a dyn Fn(&mut Vec<u8>));

const FLIP: &str = "a bit of a segment is flipped";
const ZERO: &str = "a byte of a segment is zeroed";
const CUT: &str = "a segment is cut off";
const ANCHOR: &str = "a bit of the anchor is flipped";
const ANCHOR_CUT: &str = "the file of anchors is cut off";

/// Damages a copy at one place in every way.
fn damage(pristine: &MemoryDisk, history: &[Step], segment: u64, at: usize, table: &mut Table) {
    let byte = pristine.segment(segment)[at];
    let flip = |file: &mut Vec<u8>| file[at] ^= 1 << (at % 8);
    let zero = |file: &mut Vec<u8>| file[at] = 0;
    let cut = |file: &mut Vec<u8>| file.truncate(at);
    let kinds: [Change<'_>; 3] = [(FLIP, &flip), (ZERO, &zero), (CUT, &cut)];
    for (kind, change) in kinds.into_iter().filter(|(kind, _)| byte != 0 || *kind != ZERO) {
        let disk = pristine.duplicate();
        disk.tamper(segment, change);
        let what = format!("{kind}: byte {at} of segment {segment}");
        *table.entry((kind, judge(&disk, history, &what))).or_default() += 1;
    }
}

fn damage_anchor(pristine: &MemoryDisk, history: &[Step], at: usize, table: &mut Table) {
    let flip = |file: &mut Vec<u8>| file[at] ^= 1 << (at % 8);
    let cut = |file: &mut Vec<u8>| file.truncate(at);
    let kinds: [Change<'_>; 2] = [(ANCHOR, &flip), (ANCHOR_CUT, &cut)];
    for (kind, change) in kinds {
        let disk = pristine.duplicate();
        disk.tamper_anchors(|anchors| change(anchors.as_mut().expect("the shard was closed")));
        let outcome = judge(&disk, history, &format!("{kind}: byte {at}"));
        *table.entry((kind, outcome)).or_default() += 1;
    }
}

/// Goes through the places that `takes` chooses, by segment, place and whether a byte is used.
fn survey(takes: impl Fn(u64, usize, bool) -> bool) -> Table {
    let (pristine, history) = make();
    assert_eq!(judge(&pristine.duplicate(), &history, "pristine"), Outcome::Unharmed);
    let mut table = Table::new();
    for segment in pristine.segments() {
        let bytes = pristine.segment(segment);
        let places = (0..bytes.len()).filter(|&at| takes(segment, at, bytes[at] != 0));
        places.for_each(|at| damage(&pristine, &history, segment, at, &mut table));
    }
    let places = (0..8192).filter(|&at| takes(0, at, at % 4096 < 80));
    places.for_each(|at| damage_anchor(&pristine, &history, at, &mut table));
    table
}

/// Places that cannot be told apart by where they are: a sample that begins elsewhere everywhere.
#[test]
fn damage_is_survived_or_named() {
    let table = survey(|segment, at, is_used| {
        let step = if is_used { 13 } else { 701 };
        (at + segment as usize).is_multiple_of(step)
    });
    assert!(table[&(FLIP, Outcome::Named)] > 100, "{table:?}");
}

/// Every byte of every file, for `make damage`; prints the table.
#[test]
#[ignore = "takes minutes; `make damage` runs it"]
fn damage_at_every_byte_is_survived_or_named() {
    println!("| damage | unharmed | reported | refused by sequence |");
    println!("|---|---|---|---|");
    let table = survey(|_, _, _| true);
    for kind in [FLIP, ZERO, CUT, ANCHOR, ANCHOR_CUT] {
        let outcomes = [Outcome::Unharmed, Outcome::Reported, Outcome::Named];
        let [unharmed, reported, named] =
            outcomes.map(|outcome| table.get(&(kind, outcome)).copied().unwrap_or(0));
        println!("| {kind} | {unharmed} | {reported} | {named} |");
    }
}
