//! Collects what every source says, strongest first.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::raw::RawConfig;
use super::{Args, ConfigError};

/// Read when it exists and `--config` names no other.
pub const DEFAULT_FILE: &str = "/etc/engramd/engramd.toml";
/// `ENGRAMD_SHARDS` sets `shards`.
pub const ENVIRONMENT_PREFIX: &str = "ENGRAMD_";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The flag as it was typed, without its value.
    CommandLine(String),
    /// The name of the variable.
    Environment(String),
    File(PathBuf),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(flag) => write!(f, "command line: {flag}"),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::File(path) => write!(f, "file: {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What one source says. A flag or variable is a layer with one key.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) source: Source,
    pub(super) raw: RawConfig,
}

/// Reads every source, in falling precedence: flags, `--set` from last to first, environment,
/// file.
pub(super) fn collect(
    args: &Args,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    default_file: &Path,
) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    let flags = [("data", &args.data), ("socket", &args.socket), ("shards", &args.shards)];
    for (key, value) in flags {
        if let Some(value) = value {
            layers.push(single(Source::CommandLine(format!("--{key}")), key, value)?);
        }
    }
    if args.accept_loss {
        let source = Source::CommandLine("--accept-loss".to_owned());
        layers.push(single(source, "accept_loss", "true")?);
    }
    if !args.skip_sequences.is_empty() {
        let source = Source::CommandLine("--skip-sequence".to_owned());
        layers.push(single(source, "skip_sequences", &args.skip_sequences.join(","))?);
    }
    for pair in args.set.iter().rev() {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| ConfigError::NotAPair { got: pair.clone() })?;
        layers.push(single(Source::CommandLine(format!("--set {key}")), key, value)?);
    }
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let key = key.to_ascii_lowercase();
        let source = Source::Environment(name);
        let Some(value) = value.to_str() else {
            let reason = "the value is not UTF-8".to_owned();
            return Err(ConfigError::Malformed { origin: source, reason });
        };
        layers.push(single(source, &key, value)?);
    }
    layers.extend(file(args.config.as_deref(), default_file)?);
    Ok(layers)
}

/// Text from outside TOML is read as a table with one string in it, so that the same kinds and the
/// same list of keys judge every source.
fn single(source: Source, key: &str, value: &str) -> Result<Layer, ConfigError> {
    let entry = toml::Table::from_iter([(key.to_owned(), toml::Value::from(value))]);
    match entry.try_into::<RawConfig>() {
        Ok(raw) => Ok(Layer { source, raw }),
        Err(error) => {
            let reason = error.message().to_owned();
            Err(ConfigError::Malformed { origin: source, reason })
        }
    }
}

/// A file that `--config` names has to exist; the default one may be absent.
fn file(named: Option<&Path>, default_file: &Path) -> Result<Option<Layer>, ConfigError> {
    let path = named.unwrap_or(default_file);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
            return Ok(None);
        }
        Err(error) => {
            let reason = error.to_string();
            return Err(ConfigError::Unreadable { path: path.to_owned(), reason });
        }
    };
    let source = Source::File(path.to_owned());
    match toml::from_str(&text) {
        Ok(raw) => Ok(Some(Layer { source, raw })),
        Err(error) => {
            let reason = error.to_string().trim_end().to_owned();
            Err(ConfigError::Malformed { origin: source, reason })
        }
    }
}
