//! The first stage: what one source says, before anybody asks whether it makes sense.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::{ByteCount, LogPlace};

/// The keys of the configuration. A source that does not mention a key leaves it `None`; a key
/// that is not here is an error in every source.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) data: Option<PathBuf>,
    pub(super) socket: Option<PathBuf>,
    pub(super) shards: Option<Count>,
    pub(super) memory_bytes_max: Option<ByteCount>,
    pub(super) memory_prefault_bytes: Option<ByteCount>,
    pub(super) segment_bytes: Option<ByteCount>,
    pub(super) commit_linger_us: Option<Count>,
    pub(super) commit_frames_max: Option<Count>,
    pub(super) commits_in_flight: Option<Count>,
    pub(super) connections_max: Option<Count>,
    pub(super) socket_mode: Option<String>,
    pub(super) allow_uids: Option<Ids>,
    pub(super) allow_gids: Option<Ids>,
    pub(super) log_level: Option<String>,
    pub(super) drain_timeout_ms: Option<Count>,
    pub(super) stream_patience_ms: Option<Count>,
    pub(super) slowlog_us: Option<Count>,
    pub(super) slowlog_entries_max: Option<Count>,
    pub(super) trace_sample: Option<Count>,
    pub(super) clock_ahead_seconds: Option<Count>,
    pub(super) crash_loop_starts: Option<Count>,
    pub(super) crash_loop_seconds: Option<Count>,
    pub(super) accept_loss: Option<Switch>,
    pub(super) skip_sequences: Option<Places>,
    pub(super) offline: Option<Switch>,
    pub(super) dream_ms: Option<Count>,
    pub(super) gist_ms: Option<Count>,
    pub(super) edge: Option<Switch>,
    pub(super) edge_listen: Option<String>,
    pub(super) edge_token_file: Option<PathBuf>,
}

/// Yes or no, written as a boolean or as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switch(pub(super) bool);

/// Places in logs, `SHARD:SEQUENCE`: a list of strings, or text with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places(pub(super) Vec<LogPlace>);

/// A whole number, written as one or (in the environment and on the command line) as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(pub(super) u64);

/// User or group ids: a list of numbers, or text with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ids(pub(super) Vec<u32>);

/// Reads a value that may be a number or text.
struct NumberOrText<T> {
    expected: &'static str,
    from_text: fn(&str) -> Option<T>,
    from_number: fn(u64) -> T,
}

impl<T> Visitor<'_> for NumberOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.from_text)(text.trim())
            .ok_or_else(|| E::custom(format!("expected {}, got {text:?}", self.expected)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok((self.from_number)(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number)
            .map(self.from_number)
            .map_err(|_| E::custom(format!("expected {}, got {number}", self.expected)))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText {
            expected: "a whole number of 0 or more",
            from_text: |text| text.parse().ok().map(Self),
            from_number: Self,
        })
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText {
            expected: "a number of bytes or a size such as \"64MiB\"",
            from_text: |text| text.parse().ok(),
            from_number: Self,
        })
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SwitchVisitor)
    }
}

struct SwitchVisitor;

impl Visitor<'_> for SwitchVisitor {
    type Value = Switch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Switch, E> {
        Ok(Switch(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Switch, E> {
        let value = text.trim().parse().map(Switch);
        value.map_err(|_| E::custom(format!("expected true or false, got {text:?}")))
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlacesVisitor)
    }
}

struct PlacesVisitor;

impl<'de> Visitor<'de> for PlacesVisitor {
    type Value = Places;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of SHARD:SEQUENCE such as [\"0:17\", \"1:40\"]")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Places, E> {
        let places = text.split(',').map(str::trim).filter(|place| !place.is_empty());
        places.map(|place| place.parse().map_err(E::custom)).collect::<Result<_, _>>().map(Places)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Places, A::Error> {
        let mut places = Vec::new();
        while let Some(place) = list.next_element::<String>()? {
            places.push(place.parse().map_err(A::Error::custom)?);
        }
        Ok(Places(places))
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdsVisitor)
    }
}

struct IdsVisitor;

impl<'de> Visitor<'de> for IdsVisitor {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numeric ids such as [1000, 1001]")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Ids, E> {
        let list = text.trim().trim_start_matches('[').trim_end_matches(']');
        let ids = list.split(',').map(str::trim).filter(|id| !id.is_empty());
        ids.map(|id| {
            id.parse().map_err(|_| E::custom(format!("{id:?} is not a numeric id of 0 to 2^32-1")))
        })
        .collect::<Result<_, _>>()
        .map(Ids)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = list.next_element()? {
            ids.push(id);
        }
        Ok(Ids(ids))
    }
}
