//! A place in a log as people write it: `SHARD:SEQUENCE`.

use std::fmt;
use std::str::FromStr;

/// One write: the shard that logged it and its sequence there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    pub shard: u32,
    pub sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a write is named by SHARD:SEQUENCE such as 0:17, as the refused start said it, got {got:?}"
)]
pub struct LogPlaceError {
    got: String,
}

impl FromStr for LogPlace {
    type Err = LogPlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (shard, sequence) = text.split_once(':')?;
            Some(Self { shard: shard.parse().ok()?, sequence: sequence.parse().ok()? })
        };
        parse().ok_or_else(|| LogPlaceError { got: text.to_owned() })
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let place = LogPlace { shard: 3, sequence: u64::MAX };
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "3", "3:", ":7", "3:7:9", "-1:7", "3:x", "3 : 7"] {
            assert!(bad.parse::<LogPlace>().is_err(), "{bad:?} should be refused");
        }
    }
}
