//! Completing a partial cue: `EG.COMPLETE`.

use bytes::Bytes;
use engram_shards::completion::BETA_DEFAULT;
use engram_shards::episode::{Conditions, Effort, Fields, Refusal};
use engram_shards::limits::DIMENSIONS_MAX;

use super::Command;
use super::arguments::{Arguments, set_once};
use super::checks;
use super::recall::{REPLY_BYTES_DEFAULT, REPLY_BYTES_MAX, episode_part};
use super::spread::{ConditionOptions, between};
use super::store::values;

/// Patterns that take part in a round.
pub const COMPLETE_K_MAX: usize = 256;
const COMPLETE_K_DEFAULT: usize = 64;
/// Rounds of one completion.
pub const COMPLETE_ROUNDS_MAX: usize = 32;
const COMPLETE_ROUNDS_DEFAULT: usize = 8;
/// The sharpest that weights may be.
pub const COMPLETE_BETA_MAX: f32 = 10_000.0;

/// `EG.COMPLETE`.
#[derive(Debug, Clone, PartialEq)]
pub struct CompleteCommand {
    pub space: String,
    /// Little-endian f32, unchecked but for its size, as in a store.
    pub vector: Bytes,
    /// Ranges of dimensions that are not known, from and to including; at most
    /// [`DIMENSIONS_MAX`] of them.
    pub unknown: Vec<(usize, usize)>,
    /// Episodes that take part in a round, 1 to [`COMPLETE_K_MAX`].
    pub k: usize,
    /// Rounds at most, 1 to [`COMPLETE_ROUNDS_MAX`].
    pub rounds: usize,
    /// How sharply the most similar is preferred, 0 to [`COMPLETE_BETA_MAX`].
    pub beta: f32,
    pub conditions: Conditions,
    pub effort: Effort,
    /// Of the episodes that the answer rests on.
    pub fields: Fields,
    /// Bytes of texts, vectors and metadata of these.
    pub bytes_max: usize,
}

pub(super) fn complete(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.COMPLETE")?)?;
    let (mut vector, mut unknown, mut conditions) = (None, Vec::new(), ConditionOptions::default());
    let (mut k, mut rounds, mut beta, mut exact) = (None, None, None, None);
    let (mut fields, mut bytes_max) = (Fields::default(), None);
    while let Some(token) = arguments.next() {
        if conditions.read(&token, arguments)? {
            continue;
        }
        match &token.to_ascii_uppercase()[..] {
            b"VEC" => {
                let value = checks::vector_blob(arguments.value("VEC")?);
                set_once(&mut vector, "the vector", value)?;
            }
            b"VALUES" => {
                let value = values(arguments);
                set_once(&mut vector, "the vector", value)?;
            }
            b"UNKNOWN" => {
                checks::within("list of unknown ranges", unknown.len() + 1, DIMENSIONS_MAX)?;
                let dimensions = 0..=DIMENSIONS_MAX - 1;
                let first = checks::whole("UNKNOWN", &arguments.value("UNKNOWN")?, &dimensions)?;
                let rest = first..=DIMENSIONS_MAX - 1;
                let last = checks::whole("UNKNOWN", &arguments.value("UNKNOWN")?, &rest)?;
                unknown.push((first, last));
            }
            b"K" => {
                let value = checks::whole("K", &arguments.value("K")?, &(1..=COMPLETE_K_MAX));
                set_once(&mut k, "K", value)?;
            }
            b"ROUNDS" => {
                let range = 1..=COMPLETE_ROUNDS_MAX;
                let value = checks::whole("ROUNDS", &arguments.value("ROUNDS")?, &range);
                set_once(&mut rounds, "ROUNDS", value)?;
            }
            b"BETA" => {
                let value = between("BETA", &arguments.value("BETA")?, 0.0, COMPLETE_BETA_MAX);
                set_once(&mut beta, "BETA", value)?;
            }
            b"EXACT" => set_once(&mut exact, "EXACT", Ok(()))?,
            b"WITH" => episode_part(&mut fields, arguments)?,
            b"BYTES" => {
                let range = 1..=REPLY_BYTES_MAX;
                let value = checks::whole("BYTES", &arguments.value("BYTES")?, &range);
                set_once(&mut bytes_max, "BYTES", value)?;
            }
            _ => return Err(arguments.unknown(&token)),
        }
    }
    let Some(vector) = vector else {
        return Err(arguments.misuse(format_args!("a vector is missing")));
    };
    Ok(Command::Complete(CompleteCommand {
        space,
        vector,
        unknown,
        k: k.unwrap_or(COMPLETE_K_DEFAULT),
        rounds: rounds.unwrap_or(COMPLETE_ROUNDS_DEFAULT),
        beta: beta.unwrap_or(BETA_DEFAULT),
        conditions: conditions.into_conditions(),
        effort: if exact.is_some() { Effort::Exact } else { Effort::Usual },
        fields,
        bytes_max: bytes_max.unwrap_or(REPLY_BYTES_DEFAULT),
    }))
}
