//! Reads and forgetting: `EG.RECALL`, `EG.GET`, `EG.MGET`, `EG.FORGET`, `EG.ERASE`.

use std::num::NonZero;

use bytes::Bytes;
use engram_shards::episode::{
    Belief, Conditions, Durability, Effort, Fields, Refusal, Reinforcement,
};
use engram_shards::inquiry::fusion::{WEIGHT_MAX, Weights};
use engram_shards::limits::{RECALL_BEAM_MAX, RECALL_K_MAX, SPREAD_SEEDS_MAX};

use super::Command;
use super::arguments::{Arguments, choice, durability, is_keyword, set_once, shown};
use super::checks;
use super::spread::{
    ConditionOptions, SPREAD_WEIGHT_MAX, SpreadOptions, SpreadParameters, between,
};
use super::store::values;

/// Cues of one recall.
pub const RECALL_CUES_MAX: usize = 64;
/// Ids of one `EG.MGET`.
pub const MGET_IDS_MAX: usize = 4096;
/// Bytes of texts, vectors and metadata in an answer that `BYTES` did not limit.
pub const REPLY_BYTES_DEFAULT: usize = 16 << 20;
/// The most that `BYTES` may allow.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// Of what is nearest to a cue as many are seeds.
pub const RECALL_SEEDS_DEFAULT: usize = 10;
/// What an activation of 1 adds to a similarity unless told otherwise.
pub const RECALL_WEIGHT_DEFAULT: f32 = 1.0;

/// The most that each of `WEIGHTS` may be.
pub const FUSION_WEIGHT_MAX: f32 = WEIGHT_MAX;

/// `EG.RECALL`.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallCommand {
    pub space: String,
    /// 1 to [`RECALL_K_MAX`].
    pub k: usize,
    /// Up to [`RECALL_CUES_MAX`]; what is looked for is their mean.
    pub cues: Vec<Cue>,
    /// A question in words, which may stand beside cues or for itself.
    pub text: Option<Bytes>,
    /// What counts how much in an answer to that.
    /// Those of the space when `None`.
    pub weights: Option<Weights>,
    pub conditions: Conditions,
    pub effort: Effort,
    /// Whether associations take part.
    pub spread: Option<RecallSpread>,
    /// Whether kept gists are found too.
    pub gists: bool,
    /// Whether being recalled strengthens an episode.
    pub reinforces: bool,
    pub fields: Fields,
    /// Bytes of texts, vectors and metadata that the answer may carry in all.
    pub bytes_max: usize,
}

/// How associations take part in a recall.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallSpread {
    pub parameters: SpreadParameters,
    /// How many of the best that were found are the seeds, 1 to [`SPREAD_SEEDS_MAX`].
    pub seeds: usize,
    /// What an activation of 1 adds to a score.
    pub weight: f32,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cue {
    /// Little-endian f32, unchecked but for its size, as in a store.
    Vector(Bytes),
    /// The vector of a known episode.
    Id(Bytes),
}

/// The parts an answer can carry, by their names behind `WITH`.
#[derive(Debug, Clone, Copy)]
enum Part {
    Text,
    Vector,
    Metadata,
    Links,
    Strength,
    Belief,
    Why,
}

pub(super) fn recall(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.RECALL")?)?;
    let mut options = RecallOptions::default();
    while let Some(token) = arguments.next() {
        options.read(&token, arguments)?;
    }
    let Some(k) = options.k else {
        return Err(arguments.misuse(format_args!("K is missing")));
    };
    if options.cues.is_empty() && options.text.is_none() {
        return Err(arguments.misuse(format_args!("a cue is missing")));
    }
    let effort = match (options.exact, options.beam, options.target) {
        (None, None, None) => Effort::Usual,
        (None, Some(beam), None) => Effort::Beam(beam),
        (None, None, Some(recall)) => Effort::Target(recall),
        (Some(()), None, None) => Effort::Exact,
        _ => {
            let what = format_args!("EXACT, BEAM and TARGET exclude each other");
            return Err(arguments.misuse(what));
        }
    };
    let spread = match (options.spread, &options.spreading) {
        (Some(()), _) => Some(RecallSpread {
            parameters: options.spreading.into_parameters(),
            seeds: options.seeds.unwrap_or(RECALL_SEEDS_DEFAULT),
            weight: options.weight.unwrap_or(RECALL_WEIGHT_DEFAULT),
        }),
        (None, spreading)
            if spreading.is_empty() && options.seeds.is_none() && options.weight.is_none() =>
        {
            None
        }
        (None, _) => {
            let what =
                "HOPS, BUDGET, DECAY, THRESHOLD, SIMILAR, DEADLINE, SEEDS and WEIGHT need SPREAD";
            return Err(arguments.misuse(format_args!("{what}")));
        }
    };
    if options.weights.is_some() && options.text.is_none() {
        return Err(arguments.misuse(format_args!("WEIGHTS need TEXT")));
    }
    let conditions = options.conditions.into_conditions();
    if options.gists.is_some() && conditions.belief != Belief::Now {
        return Err(arguments.misuse(format_args!("GISTS and ASOF exclude each other")));
    }
    Ok(Command::Recall(RecallCommand {
        space,
        k,
        cues: options.cues,
        text: options.text,
        weights: options.weights,
        conditions,
        effort,
        spread,
        gists: options.gists.is_some(),
        reinforces: options.no_reinforce.is_none(),
        fields: options.fields,
        bytes_max: options.bytes_max.unwrap_or(REPLY_BYTES_DEFAULT),
    }))
}

/// The options read so far.
#[derive(Debug, Default)]
struct RecallOptions {
    k: Option<usize>,
    cues: Vec<Cue>,
    text: Option<Bytes>,
    weights: Option<Weights>,
    conditions: ConditionOptions,
    spread: Option<()>,
    spreading: SpreadOptions,
    seeds: Option<usize>,
    weight: Option<f32>,
    gists: Option<()>,
    exact: Option<()>,
    beam: Option<usize>,
    target: Option<f32>,
    no_reinforce: Option<()>,
    fields: Fields,
    bytes_max: Option<usize>,
}

impl RecallOptions {
    fn read(&mut self, token: &[u8], arguments: &mut Arguments) -> Result<(), Refusal> {
        if self.conditions.read(token, arguments)? || self.spreading.read(token, arguments)? {
            return Ok(());
        }
        match &token.to_ascii_uppercase()[..] {
            b"K" => {
                let value = checks::whole("K", &arguments.value("K")?, &(1..=RECALL_K_MAX));
                set_once(&mut self.k, "K", value)
            }
            b"VEC" => self.cue(Cue::Vector(checks::vector_blob(arguments.value("VEC")?)?)),
            b"VALUES" => self.cue(Cue::Vector(values(arguments)?)),
            b"ID" => self.cue(Cue::Id(checks::id(arguments.value("ID")?)?)),
            b"TEXT" => {
                let value = checks::question(arguments.value("TEXT")?);
                set_once(&mut self.text, "TEXT", value)
            }
            b"WEIGHTS" => {
                let value = weights(arguments);
                set_once(&mut self.weights, "WEIGHTS", value)
            }
            b"SPREAD" => set_once(&mut self.spread, "SPREAD", Ok(())),
            b"SEEDS" => {
                let range = 1..=SPREAD_SEEDS_MAX;
                let value = checks::whole("SEEDS", &arguments.value("SEEDS")?, &range);
                set_once(&mut self.seeds, "SEEDS", value)
            }
            b"WEIGHT" => {
                let value = between("WEIGHT", &arguments.value("WEIGHT")?, 0.0, SPREAD_WEIGHT_MAX);
                set_once(&mut self.weight, "WEIGHT", value)
            }
            b"GISTS" => set_once(&mut self.gists, "GISTS", Ok(())),
            b"EXACT" => set_once(&mut self.exact, "EXACT", Ok(())),
            b"BEAM" => {
                let range = 1..=RECALL_BEAM_MAX;
                let value = checks::whole("BEAM", &arguments.value("BEAM")?, &range);
                set_once(&mut self.beam, "BEAM", value)
            }
            b"TARGET" => {
                let value = target(&arguments.value("TARGET")?);
                set_once(&mut self.target, "TARGET", value)
            }
            b"NOREINFORCE" => set_once(&mut self.no_reinforce, "NOREINFORCE", Ok(())),
            b"WITH" => with_part(&mut self.fields, arguments),
            b"BYTES" => {
                let range = 1..=REPLY_BYTES_MAX;
                let value = checks::whole("BYTES", &arguments.value("BYTES")?, &range);
                set_once(&mut self.bytes_max, "BYTES", value)
            }
            _ => Err(arguments.unknown(token)),
        }
    }

    fn cue(&mut self, cue: Cue) -> Result<(), Refusal> {
        checks::within("list of cues", self.cues.len() + 1, RECALL_CUES_MAX)?;
        self.cues.push(cue);
        Ok(())
    }
}

/// The five numbers behind `WEIGHTS`.
pub(super) fn weights(arguments: &mut Arguments) -> Result<Weights, Refusal> {
    let mut weight = |of: &str, most: f32| {
        let what = format!("the weight of {of}");
        between(&what, &arguments.value("WEIGHTS")?, 0.0, most)
    };
    let most = FUSION_WEIGHT_MAX;
    let [near, around, time] =
        [weight("near", most)?, weight("around", most)?, weight("time", most)?];
    let [strength, confidence] = [weight("strength", 1.0)?, weight("confidence", 1.0)?];
    Ok(Weights { near, around, time, strength, confidence })
}

pub(super) fn confidence_min(value: &[u8]) -> Result<f32, Refusal> {
    let number = checks::finite("MINCONF", value)?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err(Refusal::Syntax(format!("MINCONF must be from 0 to 1, got {}", shown(value))))
    }
}

fn target(value: &[u8]) -> Result<f32, Refusal> {
    let number = checks::finite("TARGET", value)?;
    if number > 0.0 && number < 1.0 {
        Ok(number)
    } else {
        let shown = shown(value);
        Err(Refusal::Syntax(format!("TARGET must be above 0 and below 1, got {shown}; see EXACT")))
    }
}

pub(super) fn get(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.GET")?)?;
    let id = checks::id(arguments.value("EG.GET")?)?;
    let (fields, belief) = get_fields(arguments)?;
    Ok(Command::Get { space, id, fields, belief })
}

pub(super) fn get_many(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.MGET")?)?;
    let count = checks::whole("n", &arguments.value("n")?, &(1..=MGET_IDS_MAX))?;
    if arguments.left() < count {
        return Err(
            arguments.misuse(format_args!("n is {count} and {} ids are there", arguments.left()))
        );
    }
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(checks::id(arguments.value("EG.MGET")?)?);
    }
    let (fields, belief) = get_fields(arguments)?;
    Ok(Command::GetMany { space, ids, fields, belief })
}

pub(super) fn forget(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.FORGET")?)?;
    let id = checks::id(arguments.value("EG.FORGET")?)?;
    Ok(Command::Forget { space, id, durability: given_durability(arguments)? })
}

pub(super) fn reinforce(arguments: &mut Arguments) -> Result<Command, Refusal> {
    reinforcement("EG.REINFORCE", Reinforcement::Present, arguments)
}

pub(super) fn pin(arguments: &mut Arguments) -> Result<Command, Refusal> {
    reinforcement("EG.PIN", Reinforcement::Pin, arguments)
}

pub(super) fn unpin(arguments: &mut Arguments) -> Result<Command, Refusal> {
    reinforcement("EG.UNPIN", Reinforcement::Unpin, arguments)
}

fn reinforcement(
    name: &'static str,
    what: Reinforcement,
    arguments: &mut Arguments,
) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value(name)?)?;
    let id = checks::id(arguments.value(name)?)?;
    Ok(Command::Reinforce { space, id, what, durability: given_durability(arguments)? })
}

/// `[DUR disk|os]`.
fn given_durability(arguments: &mut Arguments) -> Result<Durability, Refusal> {
    match arguments.take_keyword("DUR") {
        true => durability(&arguments.value("DUR")?),
        false => Ok(Durability::default()),
    }
}

pub(super) fn erase(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.ERASE")?)?;
    let id = checks::id(arguments.value("EG.ERASE")?)?;
    Ok(Command::Erase { space, id })
}

const RECALL_PARTS: [(&str, Part); 7] = [
    ("text", Part::Text),
    ("vec", Part::Vector),
    ("meta", Part::Metadata),
    ("links", Part::Links),
    ("strength", Part::Strength),
    ("belief", Part::Belief),
    ("why", Part::Why),
];

/// What to read, and of which time.
fn get_fields(arguments: &mut Arguments) -> Result<(Fields, Belief), Refusal> {
    let (mut fields, mut as_of_us) = (Fields::default(), None);
    while let Some(token) = arguments.next() {
        if is_keyword(&token, "ASOF") {
            let value = checks::time_us("ASOF", &arguments.value("ASOF")?);
            set_once(&mut as_of_us, "ASOF", value)?;
        } else if is_keyword(&token, "WITH") {
            episode_part(&mut fields, arguments)?;
        } else {
            return Err(arguments.unknown(&token));
        }
    }
    let belief = as_of_us.map_or(Belief::Now, Belief::AsOf);
    Ok((or_text_and_metadata(fields), belief))
}

/// A part of an episode that is read by its id: only a recall says whom it trusts, and has a reason
/// to give.
pub(super) fn episode_part(fields: &mut Fields, arguments: &mut Arguments) -> Result<(), Refusal> {
    with(fields, arguments, &RECALL_PARTS[..5])
}

/// A part of an episode that was found.
pub(super) fn with_part(fields: &mut Fields, arguments: &mut Arguments) -> Result<(), Refusal> {
    with(fields, arguments, &RECALL_PARTS)
}

/// Text and metadata unless parts are asked for: then exactly those.
pub(super) fn or_text_and_metadata(fields: Fields) -> Fields {
    if fields == Fields::default() {
        Fields { text: true, metadata: true, ..fields }
    } else {
        fields
    }
}

fn with(
    fields: &mut Fields,
    arguments: &mut Arguments,
    parts: &[(&str, Part)],
) -> Result<(), Refusal> {
    let part = arguments.value("WITH")?;
    let is_repeated = match choice("WITH", &part, parts)? {
        Part::Text => std::mem::replace(&mut fields.text, true),
        Part::Vector => std::mem::replace(&mut fields.vector, true),
        Part::Metadata => std::mem::replace(&mut fields.metadata, true),
        Part::Links => std::mem::replace(&mut fields.links, true),
        // Which time it is, the shard knows.
        Part::Strength => fields.strength.replace(NonZero::<i64>::MIN).is_some(),
        Part::Belief => fields.belief.replace(NonZero::<i64>::MIN).is_some(),
        Part::Why => std::mem::replace(&mut fields.why, true),
    };
    if is_repeated {
        return Err(Refusal::Syntax(format!("WITH {} is given twice", shown(&part))));
    }
    Ok(())
}
