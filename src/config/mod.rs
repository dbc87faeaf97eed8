//! Configuration in two stages.
//!
//! 1. Every source — command line, environment (`ENGRAMD_*`), file, in falling precedence — is
//!    read into a [`raw::RawConfig`] of its own: all keys optional, unknown keys refused.
//! 2. The first source that names a key decides it, defaults fill the rest, and the result is
//!    checked against its bounds into a [`Config`], which is valid by construction.
//!
//! An error names the key, what is allowed, the value it got and the source it came from.
//! [`Config::load`] is the whole of it; the daemon's `main` prints what it returns.

mod args;
pub mod bounds;
mod bytes;
mod effective;
mod error;
mod host;
mod keys;
mod place;
mod raw;
mod sources;
mod validated;

pub use args::Args;
pub use bytes::{ByteCount, ByteCountError};
pub use effective::{Effective, Setting};
pub use error::ConfigError;
pub use host::Host;
pub use place::{LogPlace, LogPlaceError};
pub use sources::{DEFAULT_FILE, ENVIRONMENT_PREFIX, Source};
pub use validated::{Config, EdgeTcp, Loaded, LogLevel, SocketMode};

#[cfg(test)]
mod tests;
