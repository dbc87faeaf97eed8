//! Spreading: `EG.SPREAD`, and what `EG.RECALL … SPREAD` shares with it.

use std::sync::Arc;

use bytes::Bytes;
use engram_shards::episode::{Belief, Conditions, Fields, Refusal};
use engram_shards::filter::Filter;
use engram_shards::limits::{RECALL_K_MAX, SPREAD_EDGES_MAX, SPREAD_HOPS_MAX, SPREAD_SEEDS_MAX};
use engram_shards::spread::operator::{DECAY_MAX, THRESHOLD_MAX, THRESHOLD_MIN};
use engram_shards::spread::push::{MASS_MAX, MASS_MIN};
use engram_shards::trust::{Role, Trust};

use super::Command;
use super::arguments::{Arguments, choice, is_keyword, set_once, shown};
use super::checks;
use super::recall::{REPLY_BYTES_DEFAULT, REPLY_BYTES_MAX, confidence_min, with_part};

/// Edges that a spread visits unless told otherwise.
pub const SPREAD_EDGES_DEFAULT: u64 = 4096;
/// The longest that a spread may be given.
pub const SPREAD_DEADLINE_US_MAX: u64 = 60_000_000;
/// The most that an activation of 1 may add to a similarity.
pub const SPREAD_WEIGHT_MAX: f32 = 1e6;

/// How to spread. What is not given is the memory space's or the daemon's to choose.
#[derive(Debug, Clone, PartialEq)]
pub struct SpreadParameters {
    /// Links between a seed and what mass reaches, up to [`SPREAD_HOPS_MAX`].
    pub hops: Option<u32>,
    /// Edges that are visited at most, up to [`SPREAD_EDGES_MAX`].
    pub edges_max: u64,
    pub decay: Option<f32>,
    pub threshold: Option<f32>,
    /// The share of what leaves an episode that goes to those most similar to it, 0 to 1.
    pub similar: f32,
    /// When to answer with what there is by then.
    pub deadline_us: Option<u64>,
}

/// `EG.SPREAD`.
#[derive(Debug, Clone, PartialEq)]
pub struct SpreadCommand {
    pub space: String,
    /// 1 to [`RECALL_K_MAX`].
    pub k: usize,
    /// Ids and their mass, 1 to [`SPREAD_SEEDS_MAX`].
    pub seeds: Vec<(Bytes, f32)>,
    pub parameters: SpreadParameters,
    pub is_exact: bool,
    pub conditions: Conditions,
    pub fields: Fields,
    /// Bytes of texts, vectors and metadata that the answer may carry in all.
    pub bytes_max: usize,
}

/// Words that follow the seeds: an id that is one of them comes with a `FROM` of its own.
const KEYWORDS: [&str; 19] = [
    "K",
    "FROM",
    "HOPS",
    "BUDGET",
    "DECAY",
    "THRESHOLD",
    "SIMILAR",
    "DEADLINE",
    "EXACT",
    "SINCE",
    "UNTIL",
    "ASOF",
    "ARCHIVED",
    "MINCONF",
    "FILTER",
    "MINTRUST",
    "TRUST",
    "WITH",
    "BYTES",
];

pub(super) fn spread(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.SPREAD")?)?;
    let (mut k, mut exact, mut bytes_max) = (None, None, None);
    let (mut options, mut conditions) = (SpreadOptions::default(), ConditionOptions::default());
    let (mut seeds, mut fields) = (Vec::new(), Fields::default());
    while let Some(token) = arguments.next() {
        if options.read(&token, arguments)? || conditions.read(&token, arguments)? {
            continue;
        }
        match &token.to_ascii_uppercase()[..] {
            b"K" => {
                let value = checks::whole("K", &arguments.value("K")?, &(1..=RECALL_K_MAX));
                set_once(&mut k, "K", value)?;
            }
            b"FROM" => read_seeds(&mut seeds, arguments)?,
            b"EXACT" => set_once(&mut exact, "EXACT", Ok(()))?,
            b"WITH" => with_part(&mut fields, arguments)?,
            b"BYTES" => {
                let range = 1..=REPLY_BYTES_MAX;
                let value = checks::whole("BYTES", &arguments.value("BYTES")?, &range);
                set_once(&mut bytes_max, "BYTES", value)?;
            }
            _ => return Err(arguments.unknown(&token)),
        }
    }
    let Some(k) = k else {
        return Err(arguments.misuse(format_args!("K is missing")));
    };
    if seeds.is_empty() {
        return Err(arguments.misuse(format_args!("FROM is missing")));
    }
    Ok(Command::Spread(SpreadCommand {
        space,
        k,
        seeds,
        parameters: options.into_parameters(),
        is_exact: exact.is_some(),
        conditions: conditions.into_conditions(),
        fields,
        bytes_max: bytes_max.unwrap_or(REPLY_BYTES_DEFAULT),
    }))
}

/// Pairs of an id and its mass, one at least.
fn read_seeds(seeds: &mut Vec<(Bytes, f32)>, arguments: &mut Arguments) -> Result<(), Refusal> {
    loop {
        let id = checks::id(arguments.value("FROM")?)?;
        let value = arguments.value("FROM")?;
        let mass = checks::finite("the mass of a seed", &value)?;
        if !(MASS_MIN..=MASS_MAX).contains(&mass) {
            return Err(Refusal::Syntax(format!(
                "the mass of a seed must be from {MASS_MIN} to {MASS_MAX}, got {}",
                shown(&value)
            )));
        }
        checks::within("list of seeds", seeds.len() + 1, SPREAD_SEEDS_MAX)?;
        seeds.push((id, mass));
        let is_option = |next: &Bytes| KEYWORDS.iter().any(|word| is_keyword(next, word));
        if arguments.peek().is_none_or(is_option) {
            return Ok(());
        }
    }
}

/// The options of spreading that were read so far.
#[derive(Debug, Default)]
pub(super) struct SpreadOptions {
    hops: Option<u32>,
    edges_max: Option<u64>,
    decay: Option<f32>,
    threshold: Option<f32>,
    similar: Option<f32>,
    deadline_us: Option<u64>,
}

impl SpreadOptions {
    /// Takes an option if it is one of these; whether it is.
    pub(super) fn read(&mut self, token: &[u8], from: &mut Arguments) -> Result<bool, Refusal> {
        match &token.to_ascii_uppercase()[..] {
            b"HOPS" => {
                let value = checks::whole("HOPS", &from.value("HOPS")?, &(0..=SPREAD_HOPS_MAX));
                set_once(&mut self.hops, "HOPS", value)?;
            }
            b"BUDGET" => {
                let range = 0..=SPREAD_EDGES_MAX;
                let value = checks::whole("BUDGET", &from.value("BUDGET")?, &range);
                set_once(&mut self.edges_max, "BUDGET", value)?;
            }
            b"DECAY" => {
                let value = between("DECAY", &from.value("DECAY")?, 0.0, DECAY_MAX);
                set_once(&mut self.decay, "DECAY", value)?;
            }
            b"THRESHOLD" => {
                let value = from.value("THRESHOLD")?;
                let value = between("THRESHOLD", &value, THRESHOLD_MIN, THRESHOLD_MAX);
                set_once(&mut self.threshold, "THRESHOLD", value)?;
            }
            b"SIMILAR" => {
                let value = between("SIMILAR", &from.value("SIMILAR")?, 0.0, 1.0);
                set_once(&mut self.similar, "SIMILAR", value)?;
            }
            b"DEADLINE" => {
                let range = 1..=SPREAD_DEADLINE_US_MAX;
                let value = checks::whole("DEADLINE", &from.value("DEADLINE")?, &range);
                set_once(&mut self.deadline_us, "DEADLINE", value)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether none was given.
    pub(super) fn is_empty(&self) -> bool {
        let Self { hops, edges_max, decay, threshold, similar, deadline_us } = self;
        hops.is_none()
            && edges_max.is_none()
            && decay.is_none()
            && threshold.is_none()
            && similar.is_none()
            && deadline_us.is_none()
    }

    pub(super) fn into_parameters(self) -> SpreadParameters {
        let Self { hops, edges_max, decay, threshold, similar, deadline_us } = self;
        let edges_max = edges_max.unwrap_or(SPREAD_EDGES_DEFAULT);
        let similar = similar.unwrap_or_default();
        SpreadParameters { hops, edges_max, decay, threshold, similar, deadline_us }
    }
}

/// A number with both bounds included.
pub(super) fn between(what: &str, value: &[u8], least: f32, most: f32) -> Result<f32, Refusal> {
    let number = checks::finite(what, value)?;
    match (least..=most).contains(&number) {
        true => Ok(number),
        false => {
            let got = shown(value);
            Err(Refusal::Syntax(format!("{what} must be from {least} to {most}, got {got}")))
        }
    }
}

/// The conditions that were read so far.
#[derive(Debug, Default)]
pub(super) struct ConditionOptions {
    since_us: Option<i64>,
    until_us: Option<i64>,
    as_of_us: Option<i64>,
    archived: Option<()>,
    confidence_min: Option<f32>,
    filter: Option<Arc<Filter>>,
    trust_min: Option<f32>,
    trust: Option<Trust>,
}

impl ConditionOptions {
    /// Takes an option if it is one of these; whether it is.
    pub(super) fn read(&mut self, token: &[u8], from: &mut Arguments) -> Result<bool, Refusal> {
        match &token.to_ascii_uppercase()[..] {
            b"SINCE" => {
                let value = checks::time_us("SINCE", &from.value("SINCE")?);
                set_once(&mut self.since_us, "SINCE", value)?;
            }
            b"UNTIL" => {
                let value = checks::time_us("UNTIL", &from.value("UNTIL")?);
                set_once(&mut self.until_us, "UNTIL", value)?;
            }
            b"ASOF" => {
                let value = checks::time_us("ASOF", &from.value("ASOF")?);
                set_once(&mut self.as_of_us, "ASOF", value)?;
            }
            b"ARCHIVED" => set_once(&mut self.archived, "ARCHIVED", Ok(()))?,
            b"MINCONF" => {
                let value = confidence_min(&from.value("MINCONF")?);
                set_once(&mut self.confidence_min, "MINCONF", value)?;
            }
            b"FILTER" => {
                let value = Filter::parse(&from.value("FILTER")?).map(Arc::new);
                set_once(&mut self.filter, "FILTER", value)?;
            }
            b"MINTRUST" => {
                let value = between("MINTRUST", &from.value("MINTRUST")?, 0.0, 1.0);
                set_once(&mut self.trust_min, "MINTRUST", value)?;
            }
            b"TRUST" => read_trust(self.trust.get_or_insert_default(), from)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn into_conditions(self) -> Conditions {
        let Self { since_us, until_us, as_of_us, archived, .. } = self;
        let Self { confidence_min, filter, trust_min, trust, .. } = self;
        let belief = as_of_us.map_or(Belief::Now, Belief::AsOf);
        Conditions {
            belief,
            archived: archived.is_some(),
            since_us,
            until_us,
            confidence_min,
            filter,
            trust_min,
            trust: trust.map(Arc::new),
        }
    }
}

/// Who is named behind `TRUST`.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Role(Role),
    User,
    Others,
}

/// `WRITER name t`, `SOURCE name t`, `UID n t` or `* t`.
fn read_trust(trust: &mut Trust, from: &mut Arguments) -> Result<(), Refusal> {
    let whose = [
        ("WRITER", Whose::Role(Role::Writer)),
        ("SOURCE", Whose::Role(Role::Source)),
        ("UID", Whose::User),
        ("*", Whose::Others),
    ];
    let degree = |from: &mut Arguments| between("trust", &from.value("TRUST")?, 0.0, 1.0);
    match choice("TRUST", &from.value("TRUST")?, &whose)? {
        Whose::Role(role) => {
            let name = checks::provenance("the name behind TRUST", &from.value("TRUST")?)?;
            trust.add(role, name, degree(from)?)
        }
        Whose::User => {
            let uid = checks::whole("UID", &from.value("TRUST")?, &(0..=u32::MAX))?;
            trust.add_user(uid, degree(from)?)
        }
        Whose::Others => trust.set_others(degree(from)?),
    }
}
