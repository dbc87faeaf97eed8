//! The state file: what a replay of the log would have rebuilt and no columns file holds.
//!
//! A file of one header sector, records, an end record and zeros up to the next sector. It is made
//! in memory piece by piece ([`StateWriter`]) and read from memory that shows the whole file
//! ([`StateReader`]). The end record counts the records and carries the checksum of all bytes in
//! front of it, which the manifest repeats. Nothing of a file that does not verify as a whole is
//! ever given out.
//!
//! Records may come in any order, and long lists in several records, so that writing them needs no
//! more memory than one.

use bytes::Bytes;
use thiserror::Error;
use zerocopy::little_endian::{F32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    FORMAT_VERSION, HeaderError, LinkRecords, LogPlace, NamedState, SpacePayload, StoreId,
    encode_space, space_bytes,
};
use crate::episode::{Confidence, SpaceNumber, SpaceSettings, Superseded};
use crate::index::calibration::{Calibration, CalibrationPoint};
use crate::limits::SECTOR_BYTES;
use crate::links::LinkList;
use crate::space::Kept;
use crate::strength::Trace;
use crate::strength::kernel::SUMS;

const MAGIC: [u8; 8] = *b"ENGRAMCK";
/// Entries of a record at most; a longer list takes several.
pub const STATE_ENTRIES_MAX: usize = 1 << 14;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct HeaderBlock {
    magic: [u8; 8],
    version: U32,
    shard: U32,
    store_id: StoreId,
    number: U64,
    through_sequence: U64,
    segment: U64,
    offset: U64,
    chain: U32,
    last_space: U32,
    written_at_us: I64,
    zero: [u8; 4012],
    crc: U32,
}

const _: () = assert!(size_of::<HeaderBlock>() == SECTOR_BYTES);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordBlock {
    kind: U32,
    /// Of what follows, without the padding to eight.
    bytes: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct KeyBlock {
    hash: [u8; 16],
    sequence: U64,
    confidence_point: F32,
    confidence_low: F32,
    confidence_high: F32,
    is_known: U32,
}

/// Stands in front of what is said about one section.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SectionBlock {
    file: U64,
    space: U32,
    /// Of a calibration: 1 when cues that were asked for went into it.
    flag: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PointBlock {
    beam: U32,
    recall: F32,
}

/// Stands in front of the links of a row.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RowBlock {
    row: U32,
    links: U32,
}

/// Stands in front of the id of what supersedes a row.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SupersededHead {
    row: U32,
    zero: U32,
    valid_until_us: I64,
    recorded_at_us: I64,
}
/// Stands in front of strengths.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StrengthsBlock {
    space: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StrengthBlock {
    sequence: U64,
    last_us: I64,
    presentations: U32,
    is_pinned: U32,
    sums: [F32; SUMS],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EndBlock {
    records: U64,
    /// Of all bytes before it.
    crc: U32,
    zero: U32,
}

const RECORD_BYTES: usize = size_of::<RecordBlock>();
const END_BYTES: usize = RECORD_BYTES + size_of::<EndBlock>();

const END: u32 = 0;
const SPACE: u32 = 1;
const KEYS: u32 = 2;
const TOMBSTONES: u32 = 3;
const ERASURES: u32 = 4;
const CALIBRATION: u32 = 5;
const LINKS: u32 = 6;
const SUPERSEDED: u32 = 8;
const STRENGTHS: u32 = 7;

/// Whose state it is, and of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateHeader {
    pub store_id: StoreId,
    pub shard: u32,
    /// The number in the file's name.
    pub number: u64,
    /// The state is what all frames up to here made it.
    pub place: LogPlace,
    /// The highest space number ever used; it is not used again.
    pub last_space: u32,
    pub written_at_us: i64,
}

/// A place in the window of idempotency keys, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyEntry {
    pub hash: u128,
    /// Of the store that came with it first.
    pub sequence: u64,
    pub confidence: Confidence,
    /// False when the key was taken out with an erased episode: its place in the window stays.
    pub is_known: bool,
}

/// Rows of a section that are dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstones {
    /// The number of the columns file.
    pub file: u64,
    pub space: SpaceNumber,
    pub rows: Vec<u32>,
}

/// What was measured of the graph of a section.
#[derive(Debug, Clone, PartialEq)]
pub struct SectionCalibration {
    /// The number of the columns file.
    pub file: u64,
    pub space: SpaceNumber,
    pub calibration: Calibration,
}

/// The links of a row of a section, where they are not those of its body any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLinks {
    /// The number of the columns file.
    pub file: u64,
    pub space: SpaceNumber,
    pub row: u32,
    pub links: LinkList,
}

/// A row of a section that was superseded after the section was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSuperseded {
    /// The number of the columns file.
    pub file: u64,
    pub space: SpaceNumber,
    pub row: u32,
    pub superseded: Superseded,
}
/// What is known of episodes besides what they were stored with.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceStrengths {
    pub space: SpaceNumber,
    /// Each with the sequence that the episode was stored with.
    pub kept: Vec<(u64, Kept)>,
}

/// A part of the state.
#[derive(Debug, Clone, PartialEq)]
pub enum StateRecord {
    Space {
        space: SpaceNumber,
        settings: SpaceSettings,
    },
    Keys(Vec<KeyEntry>),
    Tombstones(Tombstones),
    /// Frames that an erase has named and that may not be overwritten yet.
    Erasures(Vec<u64>),
    Calibration(SectionCalibration),
    Links(RowLinks),
    Superseded(RowSuperseded),
    Strengths(SpaceStrengths),
}

/// Why a state file was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StateError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("it has {got} bytes, the manifest says {expected}")]
    Size { got: u64, expected: u64 },
    #[error("it ends before its end record")]
    Cut,
    #[error("its checksum does not match its bytes")]
    Checksum,
    #[error("record {nth} is malformed: {what}; another version wrote it")]
    Record { nth: u64, what: &'static str },
}

/// Makes the bytes of a state file.
#[derive(Debug)]
pub struct StateWriter {
    number: u64,
    /// What was made and not taken yet.
    waiting: Vec<u8>,
    taken: u64,
    records: u64,
    crc: u32,
}

impl StateWriter {
    pub fn new(header: &StateHeader) -> Self {
        let LogPlace { through_sequence, chain, segment, offset } = header.place;
        let mut block = HeaderBlock {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            shard: header.shard.into(),
            store_id: header.store_id,
            number: header.number.into(),
            through_sequence: through_sequence.into(),
            segment: segment.into(),
            offset: offset.into(),
            chain: chain.into(),
            last_space: header.last_space.into(),
            written_at_us: header.written_at_us.into(),
            zero: [0; 4012],
            crc: 0.into(),
        };
        block.crc = super::block_crc(block.as_bytes()).into();
        let number = header.number;
        let mut writer = Self { number, waiting: Vec::new(), taken: 0, records: 0, crc: 0 };
        writer.put(block.as_bytes());
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.waiting.extend_from_slice(bytes);
    }

    /// Adds a record.
    ///
    /// # Panics
    /// When a list has more than [`STATE_ENTRIES_MAX`] entries.
    pub fn push(&mut self, record: &StateRecord) {
        let (kind, payload) = match record {
            StateRecord::Space { space, settings } => {
                let mut payload = vec![0; space_bytes(settings)];
                encode_space(*space, settings, &mut payload);
                (SPACE, payload)
            }
            StateRecord::Keys(keys) => (KEYS, list(keys, key_block)),
            StateRecord::Tombstones(Tombstones { file, space, rows }) => {
                let rows = list(rows, |row| U32::new(*row));
                (TOMBSTONES, [SectionBlock::new(*file, *space, false).as_bytes(), &rows].concat())
            }
            StateRecord::Erasures(sequences) => {
                (ERASURES, list(sequences, |sequence| U64::new(*sequence)))
            }
            StateRecord::Calibration(SectionCalibration { file, space, calibration }) => {
                let points = list(calibration.points(), |point| PointBlock {
                    beam: point.beam.into(),
                    recall: point.recall.into(),
                });
                let head = SectionBlock::new(*file, *space, calibration.is_of_asked());
                (CALIBRATION, [head.as_bytes(), &points].concat())
            }
            StateRecord::Links(RowLinks { file, space, row, links }) => {
                let count = u32::try_from(links.len()).expect("bounded by EPISODE_LINKS_MAX");
                let head = SectionBlock::new(*file, *space, false);
                let row = RowBlock { row: (*row).into(), links: count.into() };
                (LINKS, [head.as_bytes(), row.as_bytes(), links.records().0].concat())
            }
            StateRecord::Superseded(RowSuperseded { file, space, row, superseded }) => {
                let Superseded { by, valid_until_us, recorded_at_us } = superseded;
                let head = SectionBlock::new(*file, *space, false);
                let row = SupersededHead {
                    row: (*row).into(),
                    zero: 0.into(),
                    valid_until_us: (*valid_until_us).into(),
                    recorded_at_us: (*recorded_at_us).into(),
                };
                (SUPERSEDED, [head.as_bytes(), row.as_bytes(), by].concat())
            }
            StateRecord::Strengths(SpaceStrengths { space, kept }) => {
                let head = StrengthsBlock { space: space.0.into(), zero: 0.into() };
                (STRENGTHS, [head.as_bytes(), &list(kept, strength_block)].concat())
            }
        };
        self.records += 1;
        self.put_record(kind, &payload);
    }

    fn put_record(&mut self, kind: u32, payload: &[u8]) {
        let bytes = u32::try_from(payload.len()).expect("bounded by STATE_ENTRIES_MAX");
        self.put(RecordBlock { kind: kind.into(), bytes: bytes.into() }.as_bytes());
        self.put(payload);
        self.put(&[0; 7][..payload.len().next_multiple_of(8) - payload.len()]);
    }

    /// Bytes that were made and not taken yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Fills `out` with the next bytes of the file, as far as they go; how many there were.
    pub fn take(&mut self, out: &mut [u8]) -> usize {
        let bytes = out.len().min(self.waiting.len());
        out[..bytes].copy_from_slice(&self.waiting[..bytes]);
        self.waiting.drain(..bytes);
        self.taken += bytes as u64;
        bytes
    }

    /// Ends the file; what the manifest has to say about it. Take the rest after this.
    pub fn finish(&mut self) -> NamedState {
        let bytes = (size_of::<EndBlock>() as u32).into();
        self.put(RecordBlock { kind: END.into(), bytes }.as_bytes());
        self.put(&self.records.to_le_bytes());
        let crc = self.crc;
        self.put(&u64::from(crc).to_le_bytes());
        let made = self.taken + self.waiting.len() as u64;
        let bytes = made.next_multiple_of(SECTOR_BYTES as u64);
        let padding = usize::try_from(bytes - made).expect("less than a sector");
        self.waiting.extend(std::iter::repeat_n(0, padding));
        NamedState { number: self.number, bytes, crc }
    }
}

impl SectionBlock {
    fn new(file: u64, space: SpaceNumber, flag: bool) -> Self {
        Self { file: file.into(), space: space.0.into(), flag: u32::from(flag).into() }
    }
}

fn list<T, B: IntoBytes + Immutable>(entries: &[T], block: impl Fn(&T) -> B) -> Vec<u8> {
    assert!(entries.len() <= STATE_ENTRIES_MAX, "longer lists take several records");
    let mut bytes = Vec::with_capacity(entries.len() * size_of::<B>());
    entries.iter().for_each(|entry| bytes.extend_from_slice(block(entry).as_bytes()));
    bytes
}

fn key_block(key: &KeyEntry) -> KeyBlock {
    let Confidence { point, low, high } = key.confidence;
    KeyBlock {
        hash: key.hash.to_le_bytes(),
        sequence: key.sequence.into(),
        confidence_point: point.into(),
        confidence_low: low.into(),
        confidence_high: high.into(),
        is_known: u32::from(key.is_known).into(),
    }
}

fn strength_block((sequence, kept): &(u64, Kept)) -> StrengthBlock {
    let Trace { sums, last_us, presentations } = kept.trace;
    StrengthBlock {
        sequence: (*sequence).into(),
        last_us: last_us.into(),
        presentations: presentations.into(),
        is_pinned: u32::from(kept.is_pinned).into(),
        sums: sums.map(F32::new),
    }
}

/// Reads a state file that verifies. Iterates over its records.
#[derive(Debug)]
pub struct StateReader<'a> {
    header: StateHeader,
    rest: &'a [u8],
    nth: u64,
    records: u64,
}

impl<'a> StateReader<'a> {
    /// Verifies the whole file: it is the one that the manifest of this shard names.
    pub fn new(
        bytes: &'a [u8],
        named: &NamedState,
        store_id: &StoreId,
        shard: u32,
    ) -> Result<Self, StateError> {
        let got = bytes.len() as u64;
        if got != named.bytes {
            return Err(StateError::Size { got, expected: named.bytes });
        }
        let (head, rest) = bytes.split_first_chunk::<SECTOR_BYTES>().ok_or(StateError::Cut)?;
        let header = decode_header(head)?;
        super::same("store id", &header.store_id, store_id)?;
        super::same("shard", &header.shard, &shard)?;
        super::same("file number", &header.number, &named.number)?;
        let end = find_end(rest)?;
        let crc = crc32c::crc32c(&bytes[..SECTOR_BYTES + end + RECORD_BYTES + size_of::<U64>()]);
        let (block, padding) =
            EndBlock::ref_from_prefix(&rest[end + RECORD_BYTES..]).map_err(|_| StateError::Cut)?;
        let is_intact = block.crc.get() == crc
            && block.zero.get() == 0
            && crc == named.crc
            && bytes.len().is_multiple_of(SECTOR_BYTES)
            && padding.len() < SECTOR_BYTES
            && padding.iter().all(|&byte| byte == 0);
        match is_intact {
            true => Ok(Self { header, rest: &rest[..end], nth: 0, records: block.records.get() }),
            false => Err(StateError::Checksum),
        }
    }

    pub fn header(&self) -> &StateHeader {
        &self.header
    }

    fn next_record(&mut self) -> Result<StateRecord, StateError> {
        let nth = self.nth;
        let malformed = |what| StateError::Record { nth, what };
        let (block, rest) = RecordBlock::ref_from_prefix(self.rest).map_err(|_| StateError::Cut)?;
        let bytes = block.bytes.get() as usize;
        let payload = &rest[..bytes];
        self.rest = &rest[bytes.next_multiple_of(8)..];
        self.nth += 1;
        match block.kind.get() {
            SPACE => {
                let space = SpacePayload::decode(payload).map_err(|error| malformed(error.what))?;
                let SpacePayload { space, settings } = space;
                Ok(StateRecord::Space { space, settings })
            }
            KEYS => {
                let keys = <[KeyBlock]>::ref_from_bytes(payload);
                let keys = keys.map_err(|_| malformed("no whole number of keys"))?;
                Ok(StateRecord::Keys(keys.iter().map(KeyBlock::entry).collect()))
            }
            TOMBSTONES => {
                let (head, rows) = SectionBlock::ref_from_prefix(payload)
                    .map_err(|_| malformed("shorter than its fixed part"))?;
                let rows = <[U32]>::ref_from_bytes(rows);
                let rows = rows.map_err(|_| malformed("no whole number of rows"))?;
                Ok(StateRecord::Tombstones(Tombstones {
                    file: head.file.get(),
                    space: SpaceNumber(head.space.get()),
                    rows: rows.iter().map(|row| row.get()).collect(),
                }))
            }
            ERASURES => {
                let sequences = <[U64]>::ref_from_bytes(payload);
                let sequences = sequences.map_err(|_| malformed("no whole number of sequences"))?;
                Ok(StateRecord::Erasures(sequences.iter().map(|one| one.get()).collect()))
            }
            CALIBRATION => {
                let (head, points) = SectionBlock::ref_from_prefix(payload)
                    .map_err(|_| malformed("shorter than its fixed part"))?;
                let points = <[PointBlock]>::ref_from_bytes(points);
                let points = points.map_err(|_| malformed("no whole number of points"))?;
                let points = points.iter().map(|point| CalibrationPoint {
                    beam: point.beam.get(),
                    recall: point.recall.get(),
                });
                let calibration = Calibration::new(points.collect(), head.flag.get() != 0);
                Ok(StateRecord::Calibration(SectionCalibration {
                    file: head.file.get(),
                    space: SpaceNumber(head.space.get()),
                    calibration: calibration.ok_or(malformed("no measurement"))?,
                }))
            }
            LINKS => {
                let (head, rest) = SectionBlock::ref_from_prefix(payload)
                    .map_err(|_| malformed("shorter than its fixed part"))?;
                let (row, records) = RowBlock::ref_from_prefix(rest)
                    .map_err(|_| malformed("shorter than its fixed part"))?;
                let links = LinkList::of_records(LinkRecords(records));
                if links.len() != row.links.get() as usize || links.bytes() != records.len() {
                    return Err(malformed("its links do not add up to its length"));
                }
                let (file, space) = (head.file.get(), SpaceNumber(head.space.get()));
                Ok(StateRecord::Links(RowLinks { file, space, row: row.row.get(), links }))
            }
            SUPERSEDED => {
                let (head, rest) = SectionBlock::ref_from_prefix(payload)
                    .map_err(|_| malformed("shorter than its fixed part"))?;
                let (row, by) = SupersededHead::ref_from_prefix(rest)
                    .map_err(|_| malformed("shorter than its fixed part"))?;
                Ok(StateRecord::Superseded(RowSuperseded {
                    file: head.file.get(),
                    space: SpaceNumber(head.space.get()),
                    row: row.row.get(),
                    superseded: Superseded {
                        by: Bytes::copy_from_slice(by),
                        valid_until_us: row.valid_until_us.get(),
                        recorded_at_us: row.recorded_at_us.get(),
                    },
                }))
            }
            STRENGTHS => {
                let (head, kept) = StrengthsBlock::ref_from_prefix(payload)
                    .map_err(|_| malformed("shorter than its fixed part"))?;
                let kept = <[StrengthBlock]>::ref_from_bytes(kept);
                let kept = kept.map_err(|_| malformed("no whole number of strengths"))?;
                let kept = kept.iter().map(StrengthBlock::kept).collect();
                let space = SpaceNumber(head.space.get());
                Ok(StateRecord::Strengths(SpaceStrengths { space, kept }))
            }
            _ => Err(malformed("of an unknown kind")),
        }
    }
}

impl Iterator for StateReader<'_> {
    type Item = Result<StateRecord, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest.is_empty() {
            true if self.nth == self.records => None,
            true => {
                self.records = self.nth;
                Some(Err(StateError::Record { nth: self.nth, what: "the count is another" }))
            }
            false => Some(self.next_record()),
        }
    }
}

impl StrengthBlock {
    fn kept(&self) -> (u64, Kept) {
        let trace = Trace {
            sums: self.sums.map(|sum| sum.get()),
            last_us: self.last_us.get(),
            presentations: self.presentations.get(),
        };
        (self.sequence.get(), Kept { trace, is_pinned: self.is_pinned.get() != 0 })
    }
}

impl KeyBlock {
    fn entry(&self) -> KeyEntry {
        KeyEntry {
            hash: u128::from_le_bytes(self.hash),
            sequence: self.sequence.get(),
            confidence: Confidence {
                point: self.confidence_point.get(),
                low: self.confidence_low.get(),
                high: self.confidence_high.get(),
            },
            is_known: self.is_known.get() != 0,
        }
    }
}

fn decode_header(bytes: &[u8; SECTOR_BYTES]) -> Result<StateHeader, HeaderError> {
    let block: &HeaderBlock = zerocopy::transmute_ref!(bytes);
    super::check_block(bytes, &MAGIC, "a state file of an Engram shard", block.version.get())?;
    Ok(StateHeader {
        store_id: block.store_id,
        shard: block.shard.get(),
        number: block.number.get(),
        place: LogPlace {
            through_sequence: block.through_sequence.get(),
            chain: block.chain.get(),
            segment: block.segment.get(),
            offset: block.offset.get(),
        },
        last_space: block.last_space.get(),
        written_at_us: block.written_at_us.get(),
    })
}

/// Where the end record begins. Lengths lead there; the checksum proves them afterwards.
fn find_end(records: &[u8]) -> Result<usize, StateError> {
    let mut at = 0;
    loop {
        let rest = records.get(at..).ok_or(StateError::Cut)?;
        let (block, _) = RecordBlock::ref_from_prefix(rest).map_err(|_| StateError::Cut)?;
        let bytes = block.bytes.get() as usize;
        if block.kind.get() == END {
            let is_end = bytes == size_of::<EndBlock>() && rest.len() >= END_BYTES;
            return if is_end { Ok(at) } else { Err(StateError::Cut) };
        }
        at += RECORD_BYTES + bytes.next_multiple_of(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::{CodeBits, Metric, SpaceFan};
    use crate::strength::Decay;

    const ID: StoreId = [3; 16];

    fn header() -> StateHeader {
        let place = LogPlace { through_sequence: 99, chain: 7, segment: 3, offset: 8192 };
        let (last_space, written_at_us) = (4, -5);
        StateHeader { store_id: ID, shard: 1, number: 6, place, last_space, written_at_us }
    }

    fn records() -> Vec<StateRecord> {
        let settings = SpaceSettings {
            metric: Metric::Dot,
            codes: CodeBits::Two,
            fan: SpaceFan::Strength { hundredths: 800 },
            fan_cap: Some(u32::MAX),
            decay: Decay::Exponential { half_life_s: 86_400 },
            shards: 2,
            ..SpaceSettings::usual("notes", 3)
        };
        let key = |hash| KeyEntry {
            hash,
            sequence: 9,
            confidence: Confidence { point: 0.5, low: 0.25, high: 1.0 },
            is_known: hash > 1,
        };
        let kept = |sequence| {
            let mut trace = Trace::first(Decay::Power, -7);
            trace.present(Decay::Power, 5_000_000);
            (sequence, Kept { trace, is_pinned: sequence == 1 })
        };
        let (file, space) = (2, SpaceNumber(4));
        let points = [(16, 0.5), (24, 0.75)];
        let points = points.map(|(beam, recall)| CalibrationPoint { beam, recall });
        let calibration = Calibration::new(points.to_vec(), true).unwrap();
        let mut links = LinkList::default();
        links.set(b"a", b"kind", 0.5).unwrap();
        links.set(b"longer", b"", 2.0).unwrap();
        let (valid_until_us, recorded_at_us) = (-3, i64::MAX);
        let superseded = Superseded { by: "newer".into(), valid_until_us, recorded_at_us };
        vec![
            StateRecord::Space { space: SpaceNumber(4), settings },
            StateRecord::Keys(vec![key(1), key(u128::MAX)]),
            StateRecord::Keys(vec![]),
            StateRecord::Tombstones(Tombstones { file, space, rows: vec![0, 7, u32::MAX] }),
            StateRecord::Erasures(vec![1, u64::MAX]),
            StateRecord::Calibration(SectionCalibration { file, space, calibration }),
            StateRecord::Links(RowLinks { file, space, row: 7, links }),
            StateRecord::Links(RowLinks { file, space, row: 9, links: LinkList::default() }),
            StateRecord::Superseded(RowSuperseded { file, space, row: 11, superseded }),
            StateRecord::Strengths(SpaceStrengths { space, kept: vec![kept(1), kept(u64::MAX)] }),
        ]
    }

    /// Made in pieces of this many bytes.
    fn make(records: &[StateRecord], piece_bytes: usize) -> (Vec<u8>, NamedState) {
        let mut writer = StateWriter::new(&header());
        let mut file = Vec::new();
        let mut piece = vec![0; piece_bytes];
        for record in records {
            writer.push(record);
            while writer.waiting() >= piece_bytes {
                let bytes = writer.take(&mut piece);
                file.extend_from_slice(&piece[..bytes]);
            }
        }
        let named = writer.finish();
        while writer.waiting() > 0 {
            let bytes = writer.take(&mut piece);
            file.extend_from_slice(&piece[..bytes]);
        }
        (file, named)
    }

    fn read(file: &[u8], named: &NamedState) -> Result<Vec<StateRecord>, StateError> {
        StateReader::new(file, named, &ID, 1)?.collect()
    }

    #[test]
    fn reads_what_it_wrote_in_pieces_of_any_size() {
        for piece_bytes in [1, 100, SECTOR_BYTES, 1 << 20] {
            let (file, named) = make(&records(), piece_bytes);
            assert_eq!((named.number, named.bytes), (6, file.len() as u64));
            assert!(file.len().is_multiple_of(SECTOR_BYTES));
            assert_eq!(StateReader::new(&file, &named, &ID, 1).unwrap().header(), &header());
            assert_eq!(read(&file, &named).unwrap(), records());
        }
        let (empty, named) = make(&[], 64);
        assert_eq!(read(&empty, &named).unwrap(), []);
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        let (good, named) = make(&records(), 4096);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(StateReader::new(&bad, &named, &ID, 1).is_err(), "bit {bit}");
        }
        for bytes in (0..good.len()).step_by(8) {
            let cut = NamedState { bytes: bytes as u64, ..named };
            assert!(StateReader::new(&good[..bytes], &named, &ID, 1).is_err(), "{bytes}");
            assert!(StateReader::new(&good[..bytes], &cut, &ID, 1).is_err(), "{bytes}");
        }
    }

    #[test]
    fn the_file_of_another_shard_store_number_or_manifest_is_refused() {
        let (file, named) = make(&records(), 4096);
        assert!(StateReader::new(&file, &named, &[4; 16], 1).is_err());
        assert!(StateReader::new(&file, &named, &ID, 2).is_err());
        let other = NamedState { number: 7, ..named };
        assert!(StateReader::new(&file, &other, &ID, 1).is_err());
        let other = NamedState { crc: !named.crc, ..named };
        assert_eq!(StateReader::new(&file, &other, &ID, 1).unwrap_err(), StateError::Checksum);
    }

    #[test]
    fn a_kind_of_record_that_a_later_build_writes_is_named() {
        let mut writer = StateWriter::new(&header());
        writer.put_record(77, &[1, 2, 3]);
        writer.records += 1;
        let named = writer.finish();
        let mut file = vec![0; writer.waiting()];
        writer.take(&mut file);
        let error = read(&file, &named).unwrap_err();
        assert!(matches!(error, StateError::Record { nth: 0, .. }), "{error}");
    }
}
