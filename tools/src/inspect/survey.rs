//! A shard's log from end to end, batch by batch.

use std::num::NonZero;

use engram_shards::episode::Metric;
use engram_shards::format::{BatchView, Frame, LogPlace, SegmentHeader};
use engram_shards::log::{Found, Obstacle, Reached, RecoveryError, Verdict, Walk};
use serde::Serialize;

use super::contents::{KnownSpace, Ledger, OperationCounts};
use super::covered::{Covered, CoveredFiles};
use super::directory::Directory;
use super::read_only::ReadOnlyIo;

/// Problems that are told one by one; the others are counted.
const PROBLEMS_MAX: usize = 20;
/// How often a shard is looked at whose daemon consolidates it meanwhile.
const LOOKS_MAX: usize = 3;

/// What a shard's log holds.
#[derive(Debug, Serialize)]
pub(crate) struct Survey {
    pub(crate) shard: u32,
    /// What was consolidated: the log is looked at behind it.
    pub(super) covered: Option<CoveredFiles>,
    pub(crate) frames: u64,
    pub(crate) batches: u64,
    /// Of batches, padding included.
    pub(crate) bytes: u64,
    /// 0 while the log is empty.
    pub(crate) last_sequence: u64,
    pub(crate) operations: OperationCounts,
    pub(crate) first_recorded_at_us: Option<i64>,
    pub(crate) last_recorded_at_us: Option<i64>,
    /// Where the log ends.
    pub(crate) end: End,
    pub(crate) tail: Tail,
    pub(crate) segments: Vec<Segment>,
    pub(crate) spaces: Vec<Space>,
    /// What is wrong, in words; [`PROBLEMS_MAX`] of them.
    pub(crate) problems: Vec<String>,
    pub(crate) problem_count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct End {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// What lies behind the last batch.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Tail {
    Clean,
    /// A daemon is writing there.
    UnderWay {
        bytes: u64,
    },
    /// Never acknowledged; the next start cuts it.
    Torn {
        bytes: u64,
        obstacle: String,
    },
    /// Acknowledged sequences cannot be read.
    Damaged {
        first_sequence: u64,
        last_sequence: u64,
        obstacle: String,
    },
    /// Reading came to an error before the end.
    Unknown,
}

impl Tail {
    fn is_sound(&self) -> bool {
        !matches!(self, Self::Damaged { .. } | Self::Unknown)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Segment {
    pub(crate) segment: u64,
    pub(crate) state: State,
    pub(crate) file_bytes: u64,
    /// Header and batches.
    pub(crate) used_bytes: u64,
    pub(crate) batches: u64,
    pub(crate) frames: u64,
    pub(crate) first_sequence: Option<u64>,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) activated_at_us: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Closed: the next one continues it.
    Full,
    /// The log ends in it.
    Active,
    /// Prepared or being prepared, never written to.
    Unused,
    /// Used, but the log does not come to it.
    Unreached,
}

#[derive(Debug, Serialize)]
pub(crate) struct Space {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) dimensions: u32,
    pub(crate) metric: &'static str,
    pub(crate) codes: u32,
    pub(crate) fan: String,
    pub(crate) fan_cap: Option<u32>,
    pub(crate) decay: String,
    pub(crate) ttl: Option<u32>,
    pub(crate) language: &'static str,
    /// What counts how much in answers to questions in words.
    pub(crate) weights: [f32; 5],
    pub(crate) model: String,
    pub(crate) shards: u32,
    /// Into this shard; forgotten and replaced episodes included.
    pub(crate) stores: u64,
}

impl Survey {
    /// Walks through the log of a shard.
    pub(crate) fn of(directory: &Directory, shard: u32) -> Self {
        let identity = directory.identity(shard);
        let mut io = directory.io(shard);
        let mut covered = Covered::read(&mut io, &identity);
        for _ in 1..LOOKS_MAX {
            let survey = Self::behind(&covered, directory, shard);
            let now = Covered::read(&mut io, &identity);
            if survey.is_sound() || now.place == covered.place {
                return survey;
            }
            covered = now;
        }
        Self::behind(&covered, directory, shard)
    }

    fn behind(covered: &Covered, directory: &Directory, shard: u32) -> Self {
        let mut surveyor = Surveyor::begin(covered);
        let mut io = directory.io(shard);
        let may_grow = directory.is_in_use();
        let walk = Walk::new(&mut io, directory.identity(shard), &covered.place);
        let (reached, tail) = match walk {
            Ok(mut walk) => {
                for segment in walk.missing() {
                    surveyor.report(format!("log segment {segment} is missing"));
                }
                let tail = surveyor.survey(&mut walk, may_grow);
                let tail = tail.unwrap_or_else(|error| surveyor.stop(&error));
                surveyor.list_the_rest(&mut walk, may_grow && tail.is_sound());
                (*walk.reached(), tail)
            }
            Err(error) => (Reached::START, surveyor.stop(&error)),
        };
        if let Tail::Damaged { first_sequence, last_sequence, obstacle } = &tail {
            let Reached { segment, offset, .. } = reached;
            surveyor.report(format!(
                "segment {segment} is damaged at byte {offset} ({obstacle}): the acknowledged \
                 sequences {first_sequence} to {last_sequence} cannot be read; restore the store \
                 from a copy"
            ));
        }
        surveyor.finish(shard, covered.files.clone(), &reached, tail)
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.problem_count == 0
    }
}

#[derive(Default)]
struct Surveyor {
    ledger: Ledger,
    segments: Vec<Segment>,
    batches: u64,
    recorded_at_us: Option<(i64, i64)>,
    problems: Vec<String>,
    problem_count: u64,
}

impl Surveyor {
    /// Knows what a shard's files say, and the segment in which they end.
    fn begin(covered: &Covered) -> Self {
        let mut surveyor = Self::default();
        for (number, settings) in covered.spaces.clone() {
            surveyor.ledger.spaces.insert(number, KnownSpace { settings, stores: 0 });
        }
        if let Some(problem) = &covered.problem {
            surveyor.report(problem.clone());
        }
        let LogPlace { through_sequence, segment, offset, .. } = covered.place;
        if through_sequence > 0 {
            surveyor.segments.push(Segment {
                segment,
                state: State::Active,
                file_bytes: 0,
                used_bytes: offset,
                batches: 0,
                frames: 0,
                first_sequence: None,
                last_sequence: None,
                activated_at_us: None,
            });
        }
        surveyor
    }

    fn survey(
        &mut self,
        walk: &mut Walk<'_, ReadOnlyIo>,
        is_in_use: bool,
    ) -> Result<Tail, RecoveryError> {
        let mut stopped_at = None;
        loop {
            while let Some(found) = walk.next()? {
                match found {
                    Found::Segment(header) => self.enter(&header),
                    Found::Batch(batch) => self.take(&batch),
                }
            }
            let verdict = walk.judge()?;
            let next_sequence = walk.reached().next_sequence;
            let is_damage = matches!(verdict, Verdict::Damage { .. });
            // A batch may have been written between the look at its place and the look behind it.
            // If so, a second look finds it.
            if !is_in_use || !is_damage || stopped_at == Some(next_sequence) {
                return Ok(tail_of(verdict, walk.obstacle(), is_in_use));
            }
            stopped_at = Some(next_sequence);
            walk.refresh()?;
        }
    }

    fn enter(&mut self, header: &SegmentHeader) {
        if let Some(before) = self.segments.last_mut() {
            before.state = State::Full;
        }
        self.segments.push(Segment {
            segment: header.segment,
            state: State::Active,
            file_bytes: 0,
            used_bytes: engram_shards::format::SEGMENT_HEADER_BYTES as u64,
            batches: 0,
            frames: 0,
            first_sequence: Some(header.first_sequence),
            last_sequence: None,
            activated_at_us: Some(header.activated_at_us),
        });
    }

    fn take(&mut self, batch: &BatchView<'_>) {
        let header = batch.header();
        let segment = self.segments.last_mut().expect("a batch lies in a segment");
        segment.batches += 1;
        segment.first_sequence.get_or_insert(header.first_sequence);
        segment.frames += u64::from(header.frames);
        segment.last_sequence = Some(batch.next_sequence() - 1);
        segment.used_bytes = header.offset + padded(header.bytes);
        self.batches += 1;
        for frame in batch.frames() {
            self.check(&frame);
        }
    }

    fn check(&mut self, frame: &Frame<'_>) {
        let at = frame.head.recorded_at_us;
        let (first, _) = self.recorded_at_us.unwrap_or((at, at));
        self.recorded_at_us = Some((first, at));
        if let Err(problem) = self.ledger.enter(frame) {
            self.report(format!("sequence {}: {problem}", frame.sequence));
        }
    }

    fn report(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    fn stop(&mut self, error: &RecoveryError) -> Tail {
        self.report(error.to_string());
        Tail::Unknown
    }

    /// Lists the segments that the walk did not come to, and the sizes of all. A log that has grown
    /// since may have come into use behind its end.
    fn list_the_rest(&mut self, walk: &mut Walk<'_, ReadOnlyIo>, has_grown: bool) {
        let files = walk.segments().to_vec();
        for (segment, _) in files.iter().skip(self.segments.len()) {
            let header = walk.header(*segment);
            let is_unused = has_grown || matches!(header, Ok(None));
            let state = if is_unused { State::Unused } else { State::Unreached };
            let header = header.ok().flatten().filter(|_| !is_unused);
            self.segments.push(Segment {
                segment: *segment,
                state,
                file_bytes: 0,
                used_bytes: 0,
                batches: 0,
                frames: 0,
                first_sequence: header.map(|header| header.first_sequence),
                last_sequence: None,
                activated_at_us: header.map(|header| header.activated_at_us),
            });
        }
        for (segment, (_, bytes)) in self.segments.iter_mut().zip(files) {
            segment.file_bytes = bytes;
        }
    }

    fn finish(
        self,
        shard: u32,
        covered: Option<CoveredFiles>,
        reached: &Reached,
        tail: Tail,
    ) -> Survey {
        let space = |(number, KnownSpace { settings, stores })| {
            let engram_shards::episode::SpaceNumber(number) = number;
            Space {
                number,
                name: settings.name,
                dimensions: settings.dimensions,
                metric: metric_name(settings.metric),
                codes: settings.codes as u32,
                fan: settings.fan.to_string(),
                fan_cap: settings.fan_cap,
                decay: settings.decay.to_string(),
                ttl: settings.lifetime.ttl_s.map(NonZero::get),
                language: settings.words.language.name(),
                weights: settings.words.weights.to_array(),
                model: settings.model,
                shards: settings.shards,
                stores,
            }
        };
        Survey {
            shard,
            covered,
            frames: reached.frames,
            batches: self.batches,
            bytes: reached.bytes,
            last_sequence: reached.next_sequence - 1,
            operations: self.ledger.counts,
            first_recorded_at_us: self.recorded_at_us.map(|(first, _)| first),
            last_recorded_at_us: self.recorded_at_us.map(|(_, last)| last),
            end: End { segment: reached.segment, offset: reached.offset },
            tail,
            segments: self.segments,
            spaces: self.ledger.spaces.into_iter().map(space).collect(),
            problems: self.problems,
            problem_count: self.problem_count,
        }
    }
}

fn tail_of(verdict: Verdict, obstacle: &Obstacle, is_in_use: bool) -> Tail {
    let obstacle = obstacle.to_string();
    match verdict {
        Verdict::Clean => Tail::Clean,
        Verdict::Torn(torn) if is_in_use => Tail::UnderWay { bytes: torn.bytes },
        Verdict::Torn(torn) => Tail::Torn { bytes: torn.bytes, obstacle },
        Verdict::Damage { first, last } => {
            Tail::Damaged { first_sequence: first, last_sequence: last, obstacle }
        }
    }
}

fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(engram_shards::limits::SECTOR_BYTES) as u64
}

pub(super) fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::Dot => "dot",
        Metric::L2 => "l2",
    }
}
