//! What several episodes have in common: `EG.GIST`.

use bytes::Bytes;
use engram_shards::episode::{Conditions, Effort, Refusal};
use engram_shards::gist::ALIKE_DEFAULT;

use super::Command;
use super::arguments::{Arguments, choice, set_once, shown};
use super::checks;
use super::recall::{Cue, RECALL_CUES_MAX, REPLY_BYTES_DEFAULT, REPLY_BYTES_MAX};
use super::spread::{ConditionOptions, between};
use super::store::values;

/// Gists of one answer.
pub const GIST_K_MAX: usize = 64;
/// Episodes that are grouped.
pub const GIST_AMONG_MAX: usize = 256;
const GIST_AMONG_DEFAULT: usize = 64;
/// The most that `ALIKE` may be; it may be as far below zero.
pub const GIST_ALIKE_MAX: f32 = 1e6;

/// `EG.GIST`.
#[derive(Debug, Clone, PartialEq)]
pub struct GistCommand {
    pub space: String,
    /// Gists at most, 1 to [`GIST_K_MAX`].
    pub k: usize,
    /// As of a recall.
    pub cues: Vec<Cue>,
    /// A question in words, which may stand beside cues or for itself.
    pub text: Option<Bytes>,
    /// How many of the best that a recall finds are grouped, 1 to [`GIST_AMONG_MAX`].
    pub among: usize,
    /// How similar two groups must be on average to become one.
    pub alike: f32,
    pub conditions: Conditions,
    pub effort: Effort,
    pub parts: GistParts,
    /// Bytes of texts in the answer.
    pub bytes_max: usize,
}

/// What is told of a gist beside its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GistParts {
    /// That of the medoid.
    pub text: bool,
    pub vector: bool,
}

pub(super) fn gist(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.GIST")?)?;
    let (mut k, mut cues, mut text) = (None, Vec::new(), None);
    let (mut among, mut alike, mut exact, mut bytes_max) = (None, None, None, None);
    let (mut conditions, mut parts) = (ConditionOptions::default(), GistParts::default());
    while let Some(token) = arguments.next() {
        if conditions.read(&token, arguments)? {
            continue;
        }
        match &token.to_ascii_uppercase()[..] {
            b"K" => {
                let value = checks::whole("K", &arguments.value("K")?, &(1..=GIST_K_MAX));
                set_once(&mut k, "K", value)?;
            }
            b"VEC" => cues.push(Cue::Vector(checks::vector_blob(arguments.value("VEC")?)?)),
            b"VALUES" => cues.push(Cue::Vector(values(arguments)?)),
            b"ID" => cues.push(Cue::Id(checks::id(arguments.value("ID")?)?)),
            b"TEXT" => {
                let value = checks::question(arguments.value("TEXT")?);
                set_once(&mut text, "TEXT", value)?;
            }
            b"AMONG" => {
                let range = 1..=GIST_AMONG_MAX;
                let value = checks::whole("AMONG", &arguments.value("AMONG")?, &range);
                set_once(&mut among, "AMONG", value)?;
            }
            b"ALIKE" => {
                let value = arguments.value("ALIKE")?;
                let value = between("ALIKE", &value, -GIST_ALIKE_MAX, GIST_ALIKE_MAX);
                set_once(&mut alike, "ALIKE", value)?;
            }
            b"EXACT" => set_once(&mut exact, "EXACT", Ok(()))?,
            b"WITH" => with_part(&mut parts, arguments)?,
            b"BYTES" => {
                let range = 1..=REPLY_BYTES_MAX;
                let value = checks::whole("BYTES", &arguments.value("BYTES")?, &range);
                set_once(&mut bytes_max, "BYTES", value)?;
            }
            _ => return Err(arguments.unknown(&token)),
        }
        checks::within("list of cues", cues.len(), RECALL_CUES_MAX)?;
    }
    let Some(k) = k else {
        return Err(arguments.misuse(format_args!("K is missing")));
    };
    if cues.is_empty() && text.is_none() {
        return Err(arguments.misuse(format_args!("a cue is missing")));
    }
    Ok(Command::Gist(GistCommand {
        space,
        k,
        cues,
        text,
        among: among.unwrap_or(GIST_AMONG_DEFAULT),
        alike: alike.unwrap_or(ALIKE_DEFAULT),
        conditions: conditions.into_conditions(),
        effort: if exact.is_some() { Effort::Exact } else { Effort::Usual },
        parts,
        bytes_max: bytes_max.unwrap_or(REPLY_BYTES_DEFAULT),
    }))
}

fn with_part(parts: &mut GistParts, arguments: &mut Arguments) -> Result<(), Refusal> {
    let part = arguments.value("WITH")?;
    let is_text = choice("WITH", &part, &[("text", true), ("vec", false)])?;
    let slot = if is_text { &mut parts.text } else { &mut parts.vector };
    match std::mem::replace(slot, true) {
        true => Err(Refusal::Syntax(format!("WITH {} is given twice", shown(&part)))),
        false => Ok(()),
    }
}
