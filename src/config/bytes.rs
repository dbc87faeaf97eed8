//! Sizes in bytes as people write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes: `4096`, `64KiB`, `12 GiB`, `1GB`. A bare `K`, `M`, `G` or `T` is binary,
/// as in systemd's unit files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a size is a whole number with an optional unit such as 64MiB or 12GB, got {got:?}")]
pub struct ByteCountError {
    got: String,
}

const BINARY: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for ByteCount {
    type Err = ByteCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ByteCountError { got: text.to_owned() };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(error()),
        };
        let number: u64 = number.parse().map_err(|_| error())?;
        number.checked_mul(factor).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for ByteCount {
    /// Exact: the largest unit that divides the number, so that it parses back to itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, factor): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*factor);
        match BINARY.iter().find(divides) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl ByteCount {
    /// Three significant digits or so, for tables: `59.6 GiB`, `32 KiB`.
    pub fn rounded(self) -> String {
        match BINARY.iter().find(|(_, factor)| self.0 >= *factor) {
            Some((unit, factor)) if self.0.is_multiple_of(*factor) => {
                format!("{} {unit}", self.0 / factor)
            }
            Some((unit, factor)) => format!("{:.1} {unit}", self.0 as f64 / *factor as f64),
            None => format!("{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<ByteCount>().map(|bytes| bytes.0);
        assert_eq!(read("4096"), Ok(4096));
        assert_eq!(read("12GiB"), Ok(12 << 30));
        assert_eq!(read(" 64 mib "), Ok(64 << 20));
        assert_eq!(read("2G"), Ok(2 << 30));
        assert_eq!(read("2GB"), Ok(2_000_000_000));
        for bad in ["", "GiB", "-1", "1.5GiB", "12 parsecs", "99999999999TiB", "1e9"] {
            assert!(read(bad).is_err(), "{bad:?} should be refused");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [0, 1, 1023, 1024, 1025, 64 << 20, 12 << 30, (1 << 40) + 1, u64::MAX] {
            assert_eq!(ByteCount(bytes).to_string().parse(), Ok(ByteCount(bytes)));
        }
        assert_eq!(ByteCount(64 << 20).to_string(), "64MiB");
        assert_eq!(ByteCount(64_000_000_000).rounded(), "59.6 GiB");
    }
}
