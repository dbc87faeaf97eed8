//! The payload of a supersession, and an entry of the column that has those of a section.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::PayloadError;
use super::payload::{Cursor, narrow};
use crate::episode::{Durability, SpaceNumber};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SupersedeBlock {
    space: U32,
    id_bytes: U16,
    by_bytes: U16,
    valid_until_us: I64,
    recorded_at_us: I64,
    durability: u8,
    zero: [u8; 7],
}

const _: () = assert!(size_of::<SupersedeBlock>() == 32);

/// The payload of a supersession, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupersedePayload<'a> {
    pub space: SpaceNumber,
    /// The episode that is superseded.
    pub id: &'a [u8],
    /// The one that supersedes it.
    pub by: &'a [u8],
    /// When that happened.
    pub valid_until_us: i64,
    /// When that was recorded.
    pub recorded_at_us: i64,
}

impl<'a> SupersedePayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "supersession", what };
        let (block, rest) = SupersedeBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let (id, by) = rest
            .split_at_checked(block.id_bytes.get().into())
            .filter(|(_, by)| by.len() == usize::from(block.by_bytes.get()))
            .ok_or_else(|| malformed("its parts do not add up to its length"))?;
        Ok(Self {
            space: SpaceNumber(block.space.get()),
            id,
            by,
            valid_until_us: block.valid_until_us.get(),
            recorded_at_us: block.recorded_at_us.get(),
        })
    }
}

pub fn supersede_bytes(payload: &SupersedePayload<'_>) -> usize {
    size_of::<SupersedeBlock>() + payload.id.len() + payload.by.len()
}

/// Writes a supersession into a payload of [`supersede_bytes`] bytes.
pub fn encode_supersede(payload: &SupersedePayload<'_>, durability: Durability, out: &mut [u8]) {
    let SupersedePayload { space, id, by, valid_until_us, recorded_at_us } = *payload;
    let block = SupersedeBlock {
        space: space.0.into(),
        id_bytes: narrow::<u16>(id.len()).into(),
        by_bytes: narrow::<u16>(by.len()).into(),
        valid_until_us: valid_until_us.into(),
        recorded_at_us: recorded_at_us.into(),
        durability: durability as u8,
        zero: [0; 7],
    };
    let mut out = Cursor(out);
    [block.as_bytes(), id, by].into_iter().for_each(|part| out.put(part));
    out.finish();
}

/// A row of a section that is superseded, as a columns file has it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SupersededBlock {
    pub row: U32,
    pub by_bytes: U16,
    pub zero: U16,
    pub valid_until_us: I64,
    pub recorded_at_us: I64,
    /// Where in the column of their ids the id of the superseder begins.
    pub by_offset: U64,
}

const _: () = assert!(size_of::<SupersededBlock>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supersession_reads_back_as_written_and_at_no_other_length() {
        let wanted = SupersedePayload {
            space: SpaceNumber(3),
            id: b"tea",
            by: b"coffee",
            valid_until_us: -2,
            recorded_at_us: 1 << 40,
        };
        let mut payload = vec![0xff; supersede_bytes(&wanted)];
        encode_supersede(&wanted, Durability::Os, &mut payload);
        // As in FORMAT.md.
        let expected = *b"\x03\0\0\0\x03\0\x06\0\xfe\xff\xff\xff\xff\xff\xff\xff\
                          \0\0\0\0\0\x01\0\0\x01\0\0\0\0\0\0\0teacoffee";
        assert_eq!(payload, expected);
        assert_eq!(SupersedePayload::decode(&payload), Ok(wanted));
        for cut in 0..payload.len() {
            assert!(SupersedePayload::decode(&payload[..cut]).is_err(), "{cut}");
        }
        payload.push(0);
        assert!(SupersedePayload::decode(&payload).is_err());
    }
}
