//! What can be wrong with a configuration, in words for the operator.

use std::path::PathBuf;

use super::Source;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {} cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },

    /// Not TOML, an unknown key, or a value of the wrong kind; the reason points at the line.
    #[error("{source_name}: {reason}", source_name = origin)]
    Malformed { origin: Source, reason: String },

    #[error("--set takes key=value, for example --set commit_linger_us=200, got {got:?}")]
    NotAPair { got: String },

    #[error("{key} must be {allowed}, got {got} ({origin})")]
    OutOfBounds { key: &'static str, allowed: String, got: String, origin: Source },
}
