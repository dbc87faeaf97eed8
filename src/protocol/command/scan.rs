//! `EG.SCAN`: going through all episodes of a memory space.

use bytes::Bytes;
use engram_shards::episode::{Fields, Refusal};
use engram_shards::space::POSITION_SHIFT;

use super::Command;
use super::arguments::{Arguments, is_keyword, set_once, shown};
use super::checks;
use super::recall::{REPLY_BYTES_DEFAULT, episode_part, or_text_and_metadata};

/// Episodes of one answer at most, and when `COUNT` is not given.
const COUNT_MAX: usize = 4096;
const COUNT_DEFAULT: usize = 64;

/// `EG.SCAN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanCommand {
    pub space: String,
    pub cursor: ScanCursor,
    pub count: usize,
    pub fields: Fields,
    /// Bytes of texts, vectors and metadata after which the answer ends early.
    pub bytes_max: usize,
}

/// Where a scan goes on: which shard of the space, and which position there. On the wire it is a
/// number that clients only hand back; 0 begins a scan and ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCursor(u64);

/// Bits of a position; the shard stands above them.
const POSITION_BITS: u32 = u64::BITS - POSITION_SHIFT;

impl ScanCursor {
    pub const END: Self = Self(0);

    pub fn at(nth_shard: usize, position: u64) -> Self {
        Self((nth_shard as u64) << POSITION_BITS | position)
    }

    /// The shard, counted within the space, and the position.
    pub fn position(self) -> (usize, u64) {
        ((self.0 >> POSITION_BITS) as usize, self.0 & ((1 << POSITION_BITS) - 1))
    }

    pub fn number(self) -> u64 {
        self.0
    }
}

pub(super) fn scan(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let space = checks::space(&arguments.value("EG.SCAN")?)?;
    let (mut cursor, mut count) = (None, None);
    let mut fields = Fields::default();
    while let Some(token) = arguments.next() {
        if is_keyword(&token, "CURSOR") {
            let value = parse_cursor(&arguments.value("CURSOR")?);
            set_once(&mut cursor, "CURSOR", value)?;
        } else if is_keyword(&token, "COUNT") {
            let value = checks::whole("COUNT", &arguments.value("COUNT")?, &(1..=COUNT_MAX));
            set_once(&mut count, "COUNT", value)?;
        } else if is_keyword(&token, "WITH") {
            episode_part(&mut fields, arguments)?;
        } else {
            return Err(arguments.unknown(&token));
        }
    }
    Ok(Command::Scan(ScanCommand {
        space,
        cursor: cursor.unwrap_or_default(),
        count: count.unwrap_or(COUNT_DEFAULT),
        fields: or_text_and_metadata(fields),
        bytes_max: REPLY_BYTES_DEFAULT,
    }))
}

fn parse_cursor(value: &Bytes) -> Result<ScanCursor, Refusal> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.map(ScanCursor).ok_or_else(|| {
        let got = shown(value);
        Refusal::Syntax(format!("CURSOR must be 0 or what EG.SCAN answered last, got {got}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_position() {
        for position in [(0, 1), (1, 0), (63, u64::MAX >> POSITION_SHIFT)] {
            let cursor = ScanCursor::at(position.0, position.1);
            let wire = Bytes::from(cursor.number().to_string());
            assert_eq!(parse_cursor(&wire).unwrap().position(), position);
            assert_ne!(cursor, ScanCursor::END);
        }
        assert!(parse_cursor(&Bytes::from_static(b"-1")).is_err());
    }
}
