//! Memory spaces and the store: `EG.SPACE …`, `EG.STATS`, `EG.CONSOLIDATE`, `EG.SNAPSHOT`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use engram_shards::episode::{
    CodeBits, FadingPolicy, Lifetime, Metric, Refusal, SpaceFan, Ttl, WordSettings,
};
use engram_shards::limits::{DIMENSIONS_MAX, MODEL_BYTES_MAX, SHARDS_MAX, THREAD_PATH_BYTES_MAX};
use engram_shards::strength::Decay;
use engram_shards::words::Language;

use super::Command;
use super::arguments::{Arguments, choice, is_keyword, set_once, shown};
use super::{checks, recall};

/// Bytes of a path: what the kernel takes, but for the zero at its end.
const PATH_BYTES_MAX: usize = 4095;

/// `EG.SPACE CREATE`.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceCreate {
    pub name: String,
    /// 1 to [`DIMENSIONS_MAX`].
    pub dimensions: u32,
    /// Empty when none was given.
    pub model: String,
    pub metric: Metric,
    pub codes: CodeBits,
    pub fan: SpaceFan,
    /// 1 at least; no hubs are inhibited when `None`.
    pub fan_cap: Option<u32>,
    pub decay: Decay,
    pub lifetime: Lifetime,
    pub words: WordSettings,
    /// Names with dots between them; empty when none was given.
    pub thread_path: String,
    /// How many shards to span, 1 to [`SHARDS_MAX`]; all of the data directory when `None`.
    pub shards: Option<u32>,
}

pub(super) fn create(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let name = checks::space(&arguments.value("EG.SPACE CREATE")?)?;
    let (mut dimensions, mut model, mut shards) = (None, None, None);
    let (mut metric, mut codes, mut fan, mut fan_cap) = (None, None, None, None);
    let (mut decay, mut ttl, mut archive, mut forget) = (None, None, None, None);
    let (mut language, mut weights, mut thread) = (None, None, None);
    while let Some(option) = arguments.next() {
        match &option.to_ascii_uppercase()[..] {
            b"DIM" => {
                let range = 1..=DIMENSIONS_MAX as u32;
                let value = checks::whole("DIM", &arguments.value("DIM")?, &range);
                set_once(&mut dimensions, "DIM", value)?;
            }
            b"MODEL" => {
                let value = checks::name("MODEL", &arguments.value("MODEL")?, MODEL_BYTES_MAX);
                set_once(&mut model, "MODEL", value)?;
            }
            b"METRIC" => {
                let metrics =
                    [("cosine", Metric::Cosine), ("dot", Metric::Dot), ("l2", Metric::L2)];
                let value = choice("METRIC", &arguments.value("METRIC")?, &metrics);
                set_once(&mut metric, "METRIC", value)?;
            }
            b"CODES" => {
                let widths = [("1", CodeBits::One), ("2", CodeBits::Two), ("4", CodeBits::Four)];
                let value = choice("CODES", &arguments.value("CODES")?, &widths);
                set_once(&mut codes, "CODES", value)?;
            }
            b"FAN" => {
                let value = space_fan(&arguments.value("FAN")?);
                set_once(&mut fan, "FAN", value)?;
            }
            b"FANCAP" => {
                let value = checks::whole("FANCAP", &arguments.value("FANCAP")?, &(1..=u32::MAX));
                set_once(&mut fan_cap, "FANCAP", value)?;
            }
            b"DECAY" => {
                let value = space_decay(&arguments.value("DECAY")?);
                set_once(&mut decay, "DECAY", value)?;
            }
            b"TTL" => {
                let value = checks::ttl(&arguments.value("TTL")?);
                set_once(&mut ttl, "TTL", value)?;
            }
            b"ARCHIVE" => {
                set_once(&mut archive, "ARCHIVE", fading_policy("ARCHIVE", arguments))?;
            }
            b"FORGET" => set_once(&mut forget, "FORGET", fading_policy("FORGET", arguments))?,
            b"LANGUAGE" => {
                let value = space_language(&arguments.value("LANGUAGE")?);
                set_once(&mut language, "LANGUAGE", value)?;
            }
            b"WEIGHTS" => {
                let value = recall::weights(arguments);
                set_once(&mut weights, "WEIGHTS", value)?;
            }
            b"THREAD" => {
                let value = thread_path(&arguments.value("THREAD")?);
                set_once(&mut thread, "THREAD", value)?;
            }
            b"SHARDS" => {
                let value = shard_count(&arguments.value("SHARDS")?);
                set_once(&mut shards, "SHARDS", value)?;
            }
            _ => return Err(arguments.unknown(&option)),
        }
    }
    let Some(dimensions) = dimensions else {
        return Err(arguments.misuse(format_args!("DIM is missing")));
    };
    let decay = decay.unwrap_or_default();
    for (name, policy) in [("ARCHIVE", archive), ("FORGET", forget)] {
        if policy.is_some() && decay == Decay::None {
            return Err(arguments.misuse(format_args!(
                "{name} lets go what has faded, and with DECAY none nothing does"
            )));
        }
    }
    Ok(Command::SpaceCreate(SpaceCreate {
        name,
        dimensions,
        model: model.unwrap_or_default(),
        metric: metric.unwrap_or_default(),
        codes: codes.unwrap_or_default(),
        fan: fan.unwrap_or_default(),
        fan_cap,
        decay,
        lifetime: Lifetime { ttl_s: ttl.and_then(Ttl::seconds), archive, forget },
        words: WordSettings {
            language: language.unwrap_or_default(),
            weights: weights.unwrap_or_default(),
        },
        thread_path: thread.unwrap_or_default(),
        shards: shards.flatten(),
    }))
}

fn space_fan(value: &[u8]) -> Result<SpaceFan, Refusal> {
    checks::utf8("FAN", value)?
        .parse::<SpaceFan>()
        .map_err(|error| Refusal::Syntax(format!("FAN {error}, got {}", shown(value))))
}

/// `BELOW retention [AFTER seconds]`.
fn fading_policy(name: &str, arguments: &mut Arguments) -> Result<FadingPolicy, Refusal> {
    if !arguments.take_keyword("BELOW") {
        return Err(arguments.misuse(format_args!("{name} goes on with BELOW")));
    }
    let value = arguments.value("BELOW")?;
    let units = f64::from(checks::finite("BELOW", &value)?) * f64::from(FadingPolicy::UNITS);
    // A bound that the log can hold, as it was written.
    let is_step = (units - units.round()).abs() < 1e-2;
    let after_s = match arguments.take_keyword("AFTER") {
        true => checks::whole("AFTER", &arguments.value("AFTER")?, &(0..=u32::MAX))?,
        false => 0,
    };
    let units = if is_step { units.round() as u16 } else { 0 };
    FadingPolicy::of_parts(units, after_s).ok_or_else(|| {
        let got = shown(&value);
        Refusal::Syntax(format!(
            "BELOW must be a retention from 0.0001 to 0.9999 in steps of 0.0001, got {got}"
        ))
    })
}

fn space_language(value: &[u8]) -> Result<Language, Refusal> {
    checks::utf8("LANGUAGE", value)?
        .parse::<Language>()
        .map_err(|error| Refusal::Syntax(format!("LANGUAGE {error}; got {}", shown(value))))
}

fn thread_path(value: &[u8]) -> Result<String, Refusal> {
    let path = checks::name("THREAD", value, THREAD_PATH_BYTES_MAX)?;
    match path.split('.').any(str::is_empty) {
        false => Ok(path),
        true => Err(Refusal::Syntax(format!(
            "THREAD is a path in the metadata, names with dots between them; got {}",
            shown(value)
        ))),
    }
}

fn space_decay(value: &[u8]) -> Result<Decay, Refusal> {
    checks::utf8("DECAY", value)?
        .parse::<Decay>()
        .map_err(|error| Refusal::Syntax(format!("DECAY {error}, got {}", shown(value))))
}

/// `all` is `None`.
fn shard_count(value: &[u8]) -> Result<Option<u32>, Refusal> {
    if is_keyword(value, "all") {
        return Ok(None);
    }
    checks::whole("SHARDS (or all)", value, &(1..=SHARDS_MAX as u32)).map(Some)
}

pub(super) fn list(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::SpaceList)
}

pub(super) fn info(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::SpaceInfo { space: checks::space(&arguments.value("EG.SPACE INFO")?)? })
}

pub(super) fn drop(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::SpaceDrop { space: checks::space(&arguments.value("EG.SPACE DROP")?)? })
}

pub(super) fn consolidate(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = arguments.next().map(|space| checks::space(&space)).transpose()?;
    Ok(Command::Consolidate { space })
}

pub(super) fn snapshot(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let path = arguments.value("EG.SNAPSHOT")?;
    checks::within("path", path.len(), PATH_BYTES_MAX)?;
    if path.is_empty() || path.contains(&0) {
        let got = shown(&path);
        return Err(arguments.misuse(format_args!("a folder has a name without zeros, not {got}")));
    }
    Ok(Command::Snapshot { path: OsString::from_vec(path.to_vec()).into() })
}

pub(super) fn stats(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = arguments.next().map(|space| checks::space(&space)).transpose()?;
    Ok(Command::Stats { space })
}
