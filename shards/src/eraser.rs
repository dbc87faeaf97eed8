//! Removing the bytes of episodes from a log that is being written.
//!
//! An erase begins as a forget: when that is durable, nobody finds the episode any more. Then one
//! pass for all erases that wait
//!
//! 1. reads the log from its first segment and notes every frame that is about one of the ids:
//!    stores, forgets, changes of its links, and what superseded it, of all times;
//! 2. logs an erase frame with their sequences. From here on a crash cannot bring anything back:
//!    the next start finishes the pass, and takes a frame that was half overwritten for what it is;
//! 3. overwrites each of them in place with a [gap](crate::format::Gap) and flushes;
//! 4. answers.
//!
//! Reading is one transfer at a time and goes on in the shard's turns: the shard serves meanwhile.
//! Segments may be let go meanwhile: what was in them is gone without being overwritten.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;

use bytes::Bytes;

use crate::arena::Region;
use crate::episode::{Refusal, Sequence, SpaceNumber};
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, BatchView, ERASED_MAX, ErasePayload, ForgetPayload, Frame,
    Gap, GapReason, LinkPayload, Operation, ReinforcePayload, SEGMENT_HEADER_BYTES, StorePayload,
    SupersedePayload, UnlinkPayload, rewrite_as_gap,
};
use crate::io::{Io, Transfer};
use crate::limits::{BATCH_BYTES_MAX, FRAME_BYTES_MAX, SECTOR_BYTES};
use crate::log::Log;
use crate::memory::Memory;
use crate::shard::{Reply, Ticket};

/// What is read at once: every batch fits, and so do the sectors of every frame.
const READ_BYTES: usize = BATCH_BYTES_MAX;

const _: () = assert!(FRAME_BYTES_MAX + 2 * SECTOR_BYTES <= READ_BYTES);

/// An episode to erase, whose forget is durable.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) ticket: Ticket,
    pub(crate) space: SpaceNumber,
    pub(crate) id: Bytes,
    /// The sequence of the forget: what was stored later stays.
    pub(crate) through: u64,
    pub(crate) existed: bool,
}

/// A frame that has to go.
#[derive(Debug)]
struct Target {
    space: SpaceNumber,
    sequence: u64,
    segment: u64,
    offset: u64,
    bytes: usize,
    /// Whose it is; an erase that a crash cut short has nobody waiting.
    wanted: Option<usize>,
    is_store: bool,
}

/// See the top of the file.
#[derive(Debug)]
enum Stage {
    Scan {
        segment: u64,
        offset: u64,
        sequence: u64,
    },
    /// The log was seen. What columns have of the episodes is still to be named.
    Seen,
    Log {
        groups: VecDeque<ErasePayload>,
        through: u64,
    },
    Overwrite {
        nth: usize,
    },
}

#[derive(Debug)]
struct Pass {
    wanted: Vec<Wanted>,
    by_id: HashMap<(SpaceNumber, Bytes), usize>,
    /// Frames that an earlier process named and did not come round to.
    unfinished: HashSet<u64>,
    through: u64,
    targets: Vec<Target>,
    stage: Stage,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct Eraser {
    waiting: Vec<Wanted>,
    unfinished: HashSet<u64>,
    pass: Option<Pass>,
    /// At home while no transfer is under way.
    region: Option<Region>,
    is_transferring: bool,
}

/// What an erase came to.
pub(crate) type Erased = (Ticket, Result<Reply, Refusal>);

impl Eraser {
    pub(crate) fn new(unfinished: HashSet<u64>) -> Self {
        Self { unfinished, ..Self::default() }
    }

    pub(crate) fn add(&mut self, wanted: Wanted) {
        self.waiting.push(wanted);
    }

    /// Whether erases wait or are under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.pass.is_none() && self.waiting.is_empty() && self.unfinished.is_empty()
    }

    /// Whether a pass is under way.
    pub(crate) fn is_passing(&self) -> bool {
        self.pass.is_some()
    }

    /// Goes on as far as possible without waiting; `log_erase` appends an erase frame and answers
    /// its sequence, or nothing when the log is busy.
    pub(crate) fn advance<I: Io>(
        &mut self,
        log: &mut Log<I>,
        memory: &Memory,
        mut log_erase: impl FnMut(&mut Log<I>, &ErasePayload) -> Result<Option<u64>, Refusal>,
    ) -> Vec<Erased> {
        if self.is_transferring || log.latch().is_some() {
            return log.latch().map(|reason| self.refuse(reason)).unwrap_or_default();
        }
        let Some(pass) = &mut self.pass else {
            self.begin(log);
            return Vec::new();
        };
        if matches!(pass.stage, Stage::Seen) {
            pass.name_frames(memory);
        }
        match &mut pass.stage {
            Stage::Scan { .. } | Stage::Seen | Stage::Overwrite { .. } => Vec::new(),
            Stage::Log { groups, through } => {
                while let Some(group) = groups.front() {
                    match log_erase(log, group) {
                        Ok(Some(sequence)) => *through = sequence,
                        Ok(None) => return Vec::new(),
                        Err(refusal) => return self.give_up(&refusal),
                    }
                    groups.pop_front();
                }
                if log.durable() < *through {
                    return Vec::new();
                }
                pass.stage = Stage::Overwrite { nth: 0 };
                self.overwrite_next(log)
            }
        }
    }

    /// Starts a pass for everything that waits.
    fn begin<I: Io>(&mut self, log: &mut Log<I>) {
        if self.waiting.is_empty() && self.unfinished.is_empty() {
            return;
        }
        let segment = log.first_segment();
        let wanted = std::mem::take(&mut self.waiting);
        let unfinished = std::mem::take(&mut self.unfinished);
        let through = wanted.iter().map(|wanted| wanted.through).chain(unfinished.iter().copied());
        let pass = Pass {
            by_id: wanted
                .iter()
                .enumerate()
                .map(|(nth, wanted)| ((wanted.space, wanted.id.clone()), nth))
                .collect(),
            through: through.max().unwrap_or(0),
            wanted,
            unfinished,
            targets: Vec::new(),
            stage: Stage::Scan { segment, offset: SEGMENT_HEADER_BYTES as u64, sequence: 1 },
        };
        self.pass = Some(pass);
        self.read(log, segment, SEGMENT_HEADER_BYTES as u64, READ_BYTES);
    }

    fn read<I: Io>(&mut self, log: &mut Log<I>, segment: u64, offset: u64, bytes: usize) {
        let region = match self.region.take() {
            Some(region) => region,
            None => match Region::new(READ_BYTES) {
                Ok(region) => region,
                // Tried again in the next turn.
                Err(_) => return,
            },
        };
        let left = usize::try_from(log.segment_bytes().saturating_sub(offset));
        let bytes = left.map_or(bytes, |left| left.min(bytes));
        self.is_transferring = true;
        log.read(Transfer { ticket: 0, segment, offset, region, from: 0, bytes });
    }

    /// Takes a read that has ended.
    pub(crate) fn take_read<I: Io>(
        &mut self,
        log: &mut Log<I>,
        transfer: Transfer,
        result: io::Result<()>,
    ) -> Vec<Erased> {
        self.is_transferring = false;
        // The log may have latched meanwhile, and with it the pass has ended.
        let Some(pass) = &mut self.pass else {
            self.region = Some(transfer.region);
            return Vec::new();
        };
        if transfer.segment < log.first_segment() {
            self.region = Some(transfer.region);
            return self.skip_released(log);
        }
        if let Err(error) = result {
            self.region = Some(transfer.region);
            return self.give_up(&Refusal::Corrupt(format!("the log cannot be read: {error}")));
        }
        match pass.stage {
            Stage::Scan { .. } => {
                let next = pass.scan(log, &transfer);
                self.region = Some(transfer.region);
                match next {
                    Ok(Some((segment, offset))) => {
                        self.read(log, segment, offset, READ_BYTES);
                        Vec::new()
                    }
                    Ok(None) => {
                        pass.stage = Stage::Seen;
                        Vec::new()
                    }
                    Err(refusal) => self.give_up(&refusal),
                }
            }
            Stage::Overwrite { nth } => {
                let mut transfer = transfer;
                let target = &pass.targets[nth];
                let at = usize::try_from(target.offset - transfer.offset).expect("inside");
                let gap = Gap { through: target.sequence, reason: GapReason::Erased };
                let frame = &mut transfer.region[at..at + target.bytes];
                if rewrite_as_gap(frame, target.sequence, gap, log.store_id()) {
                    self.is_transferring = true;
                    log.overwrite(transfer);
                    return Vec::new();
                }
                self.region = Some(transfer.region);
                let what = format!("sequence {} is not where it was", target.sequence);
                self.give_up(&Refusal::Corrupt(what))
            }
            Stage::Seen | Stage::Log { .. } => unreachable!("nothing is read meanwhile"),
        }
    }

    /// Takes an overwrite that has ended well; a failed one latches the log.
    pub(crate) fn take_overwritten<I: Io>(
        &mut self,
        log: &mut Log<I>,
        transfer: Transfer,
    ) -> Vec<Erased> {
        self.is_transferring = false;
        self.region = Some(transfer.region);
        if let Some(Pass { stage: Stage::Overwrite { nth }, .. }) = &mut self.pass {
            *nth += 1;
        }
        self.overwrite_next(log)
    }

    /// Goes on behind segments that were let go.
    fn skip_released<I: Io>(&mut self, log: &mut Log<I>) -> Vec<Erased> {
        let first = log.first_segment();
        match self.pass.as_mut().map(|pass| &mut pass.stage) {
            Some(Stage::Scan { segment, offset, .. }) => {
                (*segment, *offset) = (first, SEGMENT_HEADER_BYTES as u64);
                self.read(log, first, SEGMENT_HEADER_BYTES as u64, READ_BYTES);
                Vec::new()
            }
            Some(Stage::Overwrite { nth }) => {
                *nth += 1;
                self.overwrite_next(log)
            }
            Some(Stage::Seen | Stage::Log { .. }) | None => Vec::new(),
        }
    }

    fn overwrite_next<I: Io>(&mut self, log: &mut Log<I>) -> Vec<Erased> {
        let Some(Pass { stage: Stage::Overwrite { nth }, targets, .. }) = &self.pass else {
            return Vec::new();
        };
        let Some(target) = targets.get(*nth) else { return self.finish() };
        let sector = SECTOR_BYTES as u64;
        let from = target.offset / sector * sector;
        let to = (target.offset + target.bytes as u64).next_multiple_of(sector);
        let bytes = usize::try_from(to - from).expect("a frame is small");
        self.read(log, target.segment, from, bytes);
        Vec::new()
    }

    fn finish(&mut self) -> Vec<Erased> {
        let Some(Pass { wanted, targets, .. }) = self.pass.take() else { return Vec::new() };
        let answer = |(nth, wanted): (usize, Wanted)| {
            let own = || targets.iter().filter(|target| target.wanted == Some(nth));
            let reply = Reply::Erased {
                sequence: Sequence(wanted.through),
                existed: wanted.existed || own().any(|target| target.is_store),
                frames: own().count() as u64,
                bytes: own().map(|target| target.bytes as u64).sum(),
            };
            (wanted.ticket, Ok(reply))
        };
        wanted.into_iter().enumerate().map(answer).collect()
    }

    /// Ends the pass with a refusal. What it had logged is finished by the next start.
    fn give_up(&mut self, refusal: &Refusal) -> Vec<Erased> {
        let wanted = self.pass.take().map(|pass| pass.wanted).unwrap_or_default();
        wanted.into_iter().map(|wanted| (wanted.ticket, Err(refusal.clone()))).collect()
    }

    /// The log takes no more: nothing that waits will be erased.
    fn refuse(&mut self, reason: &str) -> Vec<Erased> {
        self.unfinished.clear();
        let refusal = Refusal::ReadOnly(reason.into());
        let mut refused = self.give_up(&refusal);
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        refused.extend(waiting.map(|wanted| (wanted.ticket, Err(refusal.clone()))));
        refused
    }
}

impl Pass {
    /// Looks through what was read; where to read on, or nothing when the pass has seen all.
    fn scan<I: Io>(
        &mut self,
        log: &Log<I>,
        transfer: &Transfer,
    ) -> Result<Option<(u64, u64)>, Refusal> {
        let Stage::Scan { segment, offset, sequence } = &mut self.stage else {
            unreachable!("only a scan looks")
        };
        let (in_segment, from) = (*segment, *offset);
        let start = log.start();
        let mut at = 0;
        loop {
            let here = from + at as u64;
            if (in_segment, here) >= (start.segment, start.offset) {
                *sequence = (*sequence).max(start.through_sequence + 1);
            }
            if *sequence > self.through {
                return Ok(None);
            }
            if at >= transfer.bytes {
                *offset = here;
                let is_end = *offset + SECTOR_BYTES as u64 > log.segment_bytes();
                if is_end {
                    (*segment, *offset) = (in_segment + 1, SEGMENT_HEADER_BYTES as u64);
                }
                return Ok(Some((*segment, *offset)));
            }
            let rest = &transfer.region[at..transfer.bytes];
            let Some(header) = BatchHeader::decode(rest, log.store_id())
                .filter(|header| (header.segment, header.offset) == (in_segment, here))
            else {
                if in_segment == start.segment && here < start.offset {
                    // What the manifest covers is not mended.
                    at += step_over(&rest[..SECTOR_BYTES], in_segment, here)?;
                    continue;
                }
                if in_segment >= log.position().0 {
                    let what = format!("sequence {sequence} is not in the log");
                    return Err(Refusal::Corrupt(what));
                }
                (*segment, *offset) = (in_segment + 1, SEGMENT_HEADER_BYTES as u64);
                return Ok(Some((*segment, *offset)));
            };
            if rest.len() < header.bytes {
                *offset = here;
                return Ok(Some((in_segment, here)));
            }
            let batch = BatchView::verify(header, rest, log.store_id())
                .map_err(|error| Refusal::Corrupt(format!("the log is damaged: {error}")))?;
            let mut frames = batch.frames();
            let mut frame_at = here + BATCH_HEADER_BYTES as u64;
            while let Some(frame) = frames.next() {
                let end = here + (header.bytes - frames.left()) as u64;
                let bytes = usize::try_from(end - frame_at).expect("a frame is small");
                let target = target(&self.by_id, &self.wanted, &self.unfinished, &frame);
                self.targets.extend(target.map(|(space, wanted, is_store)| Target {
                    space,
                    sequence: frame.sequence,
                    segment: in_segment,
                    offset: frame_at,
                    bytes,
                    wanted,
                    is_store,
                }));
                frame_at = end;
            }
            *sequence = batch.next_sequence();
            at += header.bytes.next_multiple_of(SECTOR_BYTES);
        }
    }

    /// Groups what is to be logged before it is overwritten: the frames that were seen, those that
    /// became rows of columns files, and those that only repeated one of them.
    fn name_frames(&mut self, memory: &Memory) {
        let mut by_space: BTreeMap<SpaceNumber, BTreeSet<u64>> = BTreeMap::new();
        for target in self.targets.iter().filter(|target| target.wanted.is_some()) {
            by_space.entry(target.space).or_default().insert(target.sequence);
        }
        for Wanted { space, id, through, .. } in &self.wanted {
            let rows = memory.spaces.get(space).map(|space| space.sequences_in_sections(id));
            let rows = rows.into_iter().flatten().filter(|sequence| sequence <= through);
            let sequences = by_space.entry(*space).or_default();
            sequences.extend(rows);
            let repeats = sequences.iter().flat_map(|first| memory.keys.repeats_of(*first));
            let repeats: Vec<u64> = repeats.collect();
            sequences.extend(repeats);
        }
        let groups = by_space.into_iter().flat_map(|(space, sequences)| {
            let group = move |part: &[u64]| ErasePayload { space, sequences: part.to_vec() };
            let sequences: Vec<u64> = sequences.into_iter().collect();
            sequences.chunks(ERASED_MAX).map(group).collect::<Vec<_>>()
        });
        self.stage = Stage::Log { groups: groups.collect(), through: 0 };
    }
}

/// Over a sector in which no batch begins though one should: nothing is left there, or nobody knows
/// what.
fn step_over(sector: &[u8], segment: u64, offset: u64) -> Result<usize, Refusal> {
    match sector.iter().all(|&byte| byte == 0) {
        true => Ok(SECTOR_BYTES),
        false => Err(Refusal::Corrupt(format!(
            "segment {segment} of the log is damaged at byte {offset}, so what stands there cannot \
             be erased by itself; it goes with the segment once more is consolidated"
        ))),
    }
}

/// Whether a frame has to go: its space, whose it is, and whether it is a store.
fn target(
    by_id: &HashMap<(SpaceNumber, Bytes), usize>,
    wanted: &[Wanted],
    unfinished: &HashSet<u64>,
    frame: &Frame<'_>,
) -> Option<(SpaceNumber, Option<usize>, bool)> {
    let (space, id, is_store) = match Operation::from_u16(frame.head.operation)? {
        Operation::Store => {
            let store = StorePayload::decode(frame.payload).ok()?;
            (store.space, store.id(), true)
        }
        Operation::Forget => {
            let forget = ForgetPayload::decode(frame.payload).ok()?;
            (forget.space, forget.id, false)
        }
        Operation::Link => {
            let link = LinkPayload::decode(frame.payload).ok()?;
            (link.space, link.from, false)
        }
        Operation::Unlink => {
            let unlink = UnlinkPayload::decode(frame.payload).ok()?;
            (unlink.space, unlink.from, false)
        }
        Operation::Supersede => {
            let supersede = SupersedePayload::decode(frame.payload).ok()?;
            (supersede.space, supersede.id, false)
        }
        Operation::Reinforce => {
            let reinforce = ReinforcePayload::decode(frame.payload).ok()?;
            (reinforce.space, reinforce.id, false)
        }
        _ => return None,
    };
    let key = (space, Bytes::copy_from_slice(id));
    let own = by_id.get(&key).copied().filter(|&nth| frame.sequence <= wanted[nth].through);
    (own.is_some() || unfinished.contains(&frame.sequence)).then_some((space, own, is_store))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::episode::{Confidence, Durability, Episode, Priority, StoreRequest, Ttl};
    use crate::format::{FrameHead, LogPlace, StoreFacts, encode_store, store_sizes};
    use crate::io::{MemoryDisk, MemoryIo};
    use crate::limits::{SEGMENT_BYTES_MIN, TEXT_BYTES_MAX};
    use crate::log::{Appending, LogEvent, LogIdentity, LogSettings, RecoverySettings};

    const IDENTITY: LogIdentity = LogIdentity {
        store_id: [5; 16],
        shard: 0,
        segment_bytes: SEGMENT_BYTES_MIN,
        may_be_empty: true,
    };

    fn head(operation: Operation) -> FrameHead {
        let operation = operation as u16;
        FrameHead { operation, recorded_at_us: 1, happened_at_us: 1, writer_uid: 0 }
    }

    /// A log of eight stores of one episode, three in each segment, and where it ends.
    fn stored(disk: &MemoryDisk) -> (Log<MemoryIo>, LogPlace) {
        let (recovery, settings) = (RecoverySettings::default(), LogSettings::default());
        let mut ignore = |_: Frame<'_>| Ok(());
        let opened = Log::open(disk.io(), IDENTITY, settings, &recovery, &mut ignore);
        let (mut log, _) = opened.unwrap();
        let episode = Episode {
            id: "a".into(),
            vector: vec![0; 8].into(),
            text: vec![b'x'; TEXT_BYTES_MAX].into(),
            happened_at_us: None,
            confidence: Confidence::CERTAIN,
            metadata: Bytes::new(),
            thread: Bytes::new(),
            links: Vec::new(),
        };
        let request = StoreRequest {
            space: SpaceNumber(1),
            episode,
            key: Bytes::new(),
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        let (sizes, bytes) = store_sizes(&request);
        for _ in 0..8 {
            let fill =
                |out: &mut [u8]| encode_store(&request, sizes, StoreFacts::lasting(1.0), out);
            log.append(&head(Operation::Store), bytes, Appending::default(), fill).unwrap();
            log.pump();
            run(&mut log, &mut Eraser::default(), |_, _| {});
        }
        let place = *log.durable_place();
        assert_eq!((place.through_sequence, place.segment), (8, 3));
        (log, place)
    }

    /// Goes on until nothing happens any more; `meanwhile` hears of every read.
    fn run(
        log: &mut Log<MemoryIo>,
        eraser: &mut Eraser,
        mut meanwhile: impl FnMut(&mut Log<MemoryIo>, &Transfer),
    ) -> Vec<Erased> {
        let mut ended = Vec::new();
        let memory = Memory::new(Arena::reserve(1 << 20, &|_| {}).unwrap());
        loop {
            ended.extend(eraser.advance(log, &memory, |log, erase| {
                let fill = |out: &mut [u8]| erase.encode(out);
                let how = Appending::default();
                Ok(log.append(&head(Operation::Erase), erase.bytes(), how, fill).ok())
            }));
            log.pump();
            let Some(event) = log.poll() else { return ended };
            match event {
                LogEvent::Apply(batch) => log.recycle(batch),
                LogEvent::Read { transfer, result } => {
                    meanwhile(log, &transfer);
                    ended.extend(eraser.take_read(log, transfer, result));
                }
                LogEvent::Overwritten { transfer } => {
                    ended.extend(eraser.take_overwritten(log, transfer));
                }
                LogEvent::Durable { .. } | LogEvent::Released { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn eraser() -> Eraser {
        let mut eraser = Eraser::default();
        let (ticket, id) = (Ticket(1), Bytes::from_static(b"a"));
        let space = SpaceNumber(1);
        eraser.add(Wanted { ticket, space, id, through: 8, existed: true });
        eraser
    }

    /// What an erase of the episode came to: how many frames were named.
    fn frames(ended: &[Erased]) -> u64 {
        match ended {
            [(Ticket(1), Ok(Reply::Erased { frames, .. }))] => *frames,
            other => panic!("{other:?}"),
        }
    }

    fn has_text(disk: &MemoryDisk) -> bool {
        let has = |bytes: &[u8]| bytes.chunks(16).any(|chunk| chunk == [b'x'; 16]);
        disk.segments().iter().any(|number| has(&disk.segment(*number)))
    }

    #[test]
    fn what_was_let_go_before_or_meanwhile_is_gone_without_being_overwritten() {
        let disk = MemoryDisk::default();
        let (mut log, place) = stored(&disk);
        assert!(has_text(&disk));
        log.release(&place);
        assert_eq!(frames(&run(&mut log, &mut eraser(), |_, _| {})), 2);
        assert!(!has_text(&disk));
        // At any read, those of the scan and those in front of an overwrite.
        for nth in 0.. {
            let disk = MemoryDisk::default();
            let (mut log, place) = stored(&disk);
            let mut reads = 0;
            let ended = run(&mut log, &mut eraser(), |log, transfer| {
                reads += 1;
                if reads == nth + 1 {
                    assert!(transfer.segment <= place.segment);
                    log.release(&place);
                }
            });
            assert!((2..=8).contains(&frames(&ended)), "released at read {nth}");
            assert!(!has_text(&disk), "released at read {nth}");
            if reads <= nth {
                assert!(nth > 12, "every read was tried: {nth}");
                return;
            }
        }
    }

    #[test]
    fn damage_in_what_is_covered_is_told_and_zeros_are_passed_over() {
        for (fill, is_erased) in [(0, true), (0xab, false)] {
            let disk = MemoryDisk::default();
            let (mut log, place) = stored(&disk);
            log.release(&place);
            let covered = SEGMENT_HEADER_BYTES..usize::try_from(place.offset).unwrap();
            disk.tamper(place.segment, |file| file[covered].fill(fill));
            let ended = run(&mut log, &mut eraser(), |_, _| {});
            match is_erased {
                true => assert_eq!(frames(&ended), 0),
                false => {
                    let [(_, Err(Refusal::Corrupt(what)))] = &ended[..] else {
                        panic!("{ended:?}")
                    };
                    assert!(what.contains("once more is consolidated"), "{what}");
                }
            }
        }
    }

    #[test]
    fn a_read_that_ends_after_the_log_has_latched_is_taken_back() {
        let disk = MemoryDisk::default();
        let (mut log, _) = stored(&disk);
        let mut eraser = eraser();
        let refused = eraser.refuse("the disk failed");
        assert!(matches!(&refused[..], [(_, Err(Refusal::ReadOnly(_)))]));
        let region = Region::new(READ_BYTES).unwrap();
        let (segment, offset) = (1, SEGMENT_HEADER_BYTES as u64);
        let transfer = Transfer { ticket: 0, segment, offset, region, from: 0, bytes: READ_BYTES };
        assert!(eraser.take_read(&mut log, transfer, Ok(())).is_empty());
    }
}
