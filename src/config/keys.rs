//! Decides one key after the other: the strongest source's value or the default, inside its bounds.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use engram_shards::limits::{SECTOR_BYTES, SHARDS_MAX};

use super::raw::{Count, Ids, Places, RawConfig, Switch};
use super::sources::Layer;
use super::{
    ByteCount, ConfigError, EdgeTcp, LogLevel, LogPlace, Setting, SocketMode, Source, bounds,
};

/// The layers, strongest first, and the account of what was decided.
pub(super) struct Keys<'a> {
    layers: &'a [Layer],
    pub(super) settings: Vec<Setting>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(layers: &'a [Layer]) -> Self {
        Self { layers, settings: Vec::new() }
    }

    /// The strongest source that names the key.
    fn pick<T>(&self, get: impl Fn(&RawConfig) -> Option<T>) -> Option<(T, Source)> {
        self.layers.iter().find_map(|layer| Some((get(&layer.raw)?, layer.source.clone())))
    }

    fn record(&mut self, key: &'static str, value: String, source: Source) {
        self.settings.push(Setting { key, value: Some(value), source, note: "" });
    }

    pub(super) fn count(
        &mut self,
        key: &'static str,
        get: impl Fn(&RawConfig) -> Option<Count>,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, ConfigError> {
        let (value, origin) =
            self.pick(get).map_or((default, Source::Default), |(count, from)| (count.0, from));
        if !range.contains(&value) {
            let allowed = format!("{} to {}", range.start(), range.end());
            return Err(ConfigError::OutOfBounds { key, allowed, got: value.to_string(), origin });
        }
        self.record(key, value.to_string(), origin);
        Ok(value)
    }

    pub(super) fn bytes(
        &mut self,
        key: &'static str,
        get: impl Fn(&RawConfig) -> Option<ByteCount>,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, ConfigError> {
        let (value, origin) = self.pick(get).unwrap_or((ByteCount(default), Source::Default));
        if !range.contains(&value.0) {
            let allowed = format!("{} to {}", ByteCount(*range.start()), ByteCount(*range.end()));
            return Err(ConfigError::OutOfBounds { key, allowed, got: value.to_string(), origin });
        }
        self.record(key, quoted(&value.to_string()), origin);
        Ok(value.0)
    }

    pub(super) fn segment_bytes(&mut self) -> Result<u64, ConfigError> {
        let key = "segment_bytes";
        let get = |raw: &RawConfig| raw.segment_bytes;
        if let Some((value, origin)) = self.pick(get)
            && !value.0.is_multiple_of(SECTOR_BYTES as u64)
        {
            let allowed = format!("a multiple of {SECTOR_BYTES} bytes");
            let got = value.0.to_string();
            return Err(ConfigError::OutOfBounds { key, allowed, got, origin });
        }
        self.bytes(key, get, bounds::SEGMENT_BYTES, 64 << 20)
    }

    pub(super) fn shards(&mut self) -> Result<Option<usize>, ConfigError> {
        if self.pick(|raw| raw.shards).is_some() {
            let shards = self.count("shards", |raw| raw.shards, bounds::SHARDS, 1)?;
            return Ok(Some(shards as usize));
        }
        self.settings.push(Setting {
            key: "shards",
            value: None,
            source: Source::Default,
            note: "what the data directory says; one for each allowed core when it is made",
        });
        Ok(None)
    }

    pub(super) fn path(
        &mut self,
        key: &'static str,
        get: impl Fn(&RawConfig) -> Option<PathBuf>,
        default: &str,
        bytes_max: usize,
    ) -> Result<PathBuf, ConfigError> {
        let (path, origin) = self.pick(get).unwrap_or((PathBuf::from(default), Source::Default));
        let bytes = path.as_os_str().len();
        if bytes == 0 || bytes > bytes_max {
            let allowed = match bytes_max {
                usize::MAX => "a path that is not empty".to_owned(),
                _ => format!("a path of 1 to {bytes_max} bytes"),
            };
            let got = format!("{bytes} bytes: {}", quoted(&path.to_string_lossy()));
            return Err(ConfigError::OutOfBounds { key, allowed, got, origin });
        }
        self.record(key, quoted(&path.to_string_lossy()), origin);
        Ok(path)
    }

    pub(super) fn socket_mode(&mut self) -> Result<SocketMode, ConfigError> {
        let key = "socket_mode";
        let (text, origin) = self
            .pick(|raw| raw.socket_mode.clone())
            .unwrap_or_else(|| ("0660".to_owned(), Source::Default));
        let octal = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if octal && mode <= 0o777 => {
                self.record(key, quoted(&format!("{mode:04o}")), origin);
                Ok(SocketMode(mode))
            }
            _ => {
                let allowed = "an octal string of 0000 to 0777".to_owned();
                Err(ConfigError::OutOfBounds { key, allowed, got: quoted(&text), origin })
            }
        }
    }

    pub(super) fn ids(
        &mut self,
        key: &'static str,
        get: impl Fn(&RawConfig) -> Option<Ids>,
        default: &[u32],
    ) -> Result<Vec<u32>, ConfigError> {
        let (Ids(ids), origin) =
            self.pick(get).unwrap_or_else(|| (Ids(default.to_vec()), Source::Default));
        if ids.len() > bounds::ALLOWED_IDS {
            let allowed = format!("a list of 0 to {} ids", bounds::ALLOWED_IDS);
            let got = format!("{} ids", ids.len());
            return Err(ConfigError::OutOfBounds { key, allowed, got, origin });
        }
        self.record(key, format!("{ids:?}"), origin);
        Ok(ids)
    }

    pub(super) fn switch(
        &mut self,
        key: &'static str,
        get: impl Fn(&RawConfig) -> Option<Switch>,
        default: bool,
    ) -> bool {
        let (Switch(value), origin) = self.pick(get).unwrap_or((Switch(default), Source::Default));
        self.record(key, value.to_string(), origin);
        value
    }

    /// The address for HTTP over TCP, and the file of the token that it takes.
    pub(super) fn edge_tcp(&mut self) -> Result<Option<EdgeTcp>, ConfigError> {
        let listen = self.pick(|raw| raw.edge_listen.clone());
        let token = self.pick(|raw| raw.edge_token_file.clone());
        let note = "HTTP is spoken on the Unix socket alone";
        let unset = |key| Setting { key, value: None, source: Source::Default, note };
        let address = match listen {
            None => None,
            Some((text, origin)) => {
                let address = text.parse::<SocketAddr>().ok().filter(|at| at.ip().is_loopback());
                let Some(address) = address else {
                    let key = "edge_listen";
                    let allowed = "a loopback address with a port, such as 127.0.0.1:7700";
                    let (allowed, got) = (allowed.to_owned(), quoted(&text));
                    return Err(ConfigError::OutOfBounds { key, allowed, got, origin });
                };
                self.record("edge_listen", quoted(&address.to_string()), origin.clone());
                Some((address, origin))
            }
        };
        if address.is_none() {
            self.settings.push(unset("edge_listen"));
        }
        match &token {
            Some((path, origin)) => {
                let path = quoted(&path.to_string_lossy());
                self.record("edge_token_file", path, origin.clone());
            }
            None => self.settings.push(unset("edge_token_file")),
        }
        match (address, token) {
            (None, _) => Ok(None),
            (Some((address, _)), Some((token_file, _))) => {
                Ok(Some(EdgeTcp { address, token_file }))
            }
            (Some((_, origin)), None) => {
                let key = "edge_token_file";
                let allowed = "the path of a file with a token where edge_listen is set".to_owned();
                Err(ConfigError::OutOfBounds { key, allowed, got: "nothing".to_owned(), origin })
            }
        }
    }

    pub(super) fn places(
        &mut self,
        key: &'static str,
        get: impl Fn(&RawConfig) -> Option<Places>,
    ) -> Result<Vec<LogPlace>, ConfigError> {
        let (Places(mut places), origin) =
            self.pick(get).unwrap_or_else(|| (Places::default(), Source::Default));
        places.sort_unstable();
        places.dedup();
        let is_inside =
            |place: &&LogPlace| (place.shard as usize) < SHARDS_MAX && place.sequence > 0;
        let wrong = if places.len() > bounds::SKIPPED_SEQUENCES {
            let allowed = format!("a list of 0 to {} places", bounds::SKIPPED_SEQUENCES);
            Some((allowed, format!("{} places", places.len())))
        } else {
            let allowed = format!("shards of 0 to {} with sequences from 1", SHARDS_MAX - 1);
            let beyond = places.iter().find(|place| !is_inside(place));
            beyond.map(|place| (allowed, place.to_string()))
        };
        if let Some((allowed, got)) = wrong {
            return Err(ConfigError::OutOfBounds { key, allowed, got, origin });
        }
        let list: Vec<String> = places.iter().map(LogPlace::to_string).collect();
        self.record(key, format!("{list:?}"), origin);
        Ok(places)
    }

    pub(super) fn log_level(&mut self) -> Result<LogLevel, ConfigError> {
        let (text, origin) = self
            .pick(|raw| raw.log_level.clone())
            .unwrap_or_else(|| (LogLevel::Info.name().to_owned(), Source::Default));
        match LogLevel::ALL.into_iter().find(|level| level.name() == text) {
            Some(level) => {
                self.record("log_level", quoted(&text), origin);
                Ok(level)
            }
            None => Err(ConfigError::OutOfBounds {
                key: "log_level",
                allowed: format!("one of {}", LogLevel::ALL.map(LogLevel::name).join(", ")),
                got: quoted(&text),
                origin,
            }),
        }
    }
}

/// Text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
