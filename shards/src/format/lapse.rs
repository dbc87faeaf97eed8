//! The payload of a frame that ends episodes whose time is over, and an entry of the column that
//! says when those of a section expire.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::PayloadError;
use super::payload::Cursor;
use crate::episode::{Lapse, SpaceNumber};

/// Episodes that one frame ends.
pub const LAPSED_MAX: usize = 64;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LapseBlock {
    space: U32,
    why: u8,
    zero: [u8; 3],
}

/// A frame that ends episodes of a space, by the sequences that they were stored with. So it tells
/// nothing of them, and ends nothing that was stored under their ids since.
#[derive(Debug, Clone, Copy)]
pub struct LapsePayload<'a> {
    pub space: SpaceNumber,
    pub why: Lapse,
    sequences: &'a [U64],
}

impl<'a> LapsePayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "lapse", what };
        let (block, rest) = LapseBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let sequences = <[U64]>::ref_from_bytes(rest)
            .map_err(|_| malformed("its parts do not add up to its length"))?;
        if !(1..=LAPSED_MAX).contains(&sequences.len()) {
            return Err(malformed("so many episodes are not written in one"));
        }
        let why = match block.why {
            0 => Lapse::Expired,
            1 => Lapse::Faded,
            _ => return Err(malformed("an unknown reason")),
        };
        Ok(Self { space: SpaceNumber(block.space.get()), why, sequences })
    }

    pub fn sequences(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.sequences.iter().map(|sequence| sequence.get())
    }
}

pub fn lapse_bytes(sequences: &[u64]) -> usize {
    size_of::<LapseBlock>() + size_of_val(sequences)
}

pub fn encode_lapse(space: SpaceNumber, why: Lapse, sequences: &[u64], out: &mut [u8]) {
    let block = LapseBlock {
        space: space.0.into(),
        why: match why {
            Lapse::Expired => 0,
            Lapse::Faded => 1,
        },
        zero: [0; 3],
    };
    let mut out = Cursor(out);
    out.put(block.as_bytes());
    sequences.iter().for_each(|sequence| out.put(&sequence.to_le_bytes()));
    out.finish();
}

/// A row of a section that expires, as a columns file has it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExpiryBlock {
    pub expires_at_us: I64,
    pub row: U32,
    pub zero: U32,
}

const _: () = assert!(size_of::<ExpiryBlock>() == 16);

impl ExpiryBlock {
    pub fn new(expires_at_us: i64, row: u32) -> Self {
        Self { expires_at_us: expires_at_us.into(), row: row.into(), zero: 0.into() }
    }

    /// What they are ordered by.
    pub fn key(&self) -> (i64, u32) {
        (self.expires_at_us.get(), self.row.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lapsed_reads_back_as_written_and_of_no_other_length() {
        let sequences = [5, u64::MAX, 1];
        for (why, byte) in [(Lapse::Expired, 0), (Lapse::Faded, 1)] {
            let mut payload = vec![0xff; lapse_bytes(&sequences)];
            encode_lapse(SpaceNumber(7), why, &sequences, &mut payload);
            // As in FORMAT.md.
            assert_eq!(payload[..8], [7, 0, 0, 0, byte, 0, 0, 0]);
            assert_eq!(payload[8..16], *b"\x05\0\0\0\0\0\0\0");
            let read = LapsePayload::decode(&payload).unwrap();
            assert_eq!((read.space, read.why), (SpaceNumber(7), why));
            assert_eq!(read.sequences().collect::<Vec<_>>(), sequences);
            for cut in (0..payload.len()).filter(|cut| cut % 8 != 0 || *cut < 16) {
                assert!(LapsePayload::decode(&payload[..cut]).is_err(), "{cut}");
            }
            payload[4] = 2;
            assert!(LapsePayload::decode(&payload).is_err(), "an unknown reason");
        }
        let mut payload = vec![0; 8 * (2 + LAPSED_MAX)];
        assert!(LapsePayload::decode(&payload).is_err(), "one more than there may be");
        payload.truncate(8 * (1 + LAPSED_MAX));
        assert!(LapsePayload::decode(&payload).is_ok());
    }
}
