//! Strengths: the payloads of the frames that change how episodes are remembered.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::PayloadError;
use super::payload::{Cursor, narrow};
use crate::episode::{ReinforceRequest, Reinforcement, SpaceNumber};

/// Episodes that one frame says were recalled.
pub const RECALLED_MAX: usize = 64;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ReinforceBlock {
    space: U32,
    id_bytes: U16,
    what: u8,
    durability: u8,
}

/// The payload of a reinforcement, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReinforcePayload<'a> {
    pub space: SpaceNumber,
    pub id: &'a [u8],
    pub what: Reinforcement,
}

impl<'a> ReinforcePayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "reinforcement", what };
        let (block, id) = ReinforceBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        if id.len() != usize::from(block.id_bytes.get()) {
            return Err(malformed("its parts do not add up to its length"));
        }
        let what = match block.what {
            0 => Reinforcement::Present,
            1 => Reinforcement::Pin,
            2 => Reinforcement::Unpin,
            _ => return Err(malformed("an unknown way of it")),
        };
        Ok(Self { space: SpaceNumber(block.space.get()), id, what })
    }
}

pub fn reinforce_bytes(request: &ReinforceRequest) -> usize {
    size_of::<ReinforceBlock>() + request.id.len()
}

pub fn encode_reinforce(request: &ReinforceRequest, out: &mut [u8]) {
    let block = ReinforceBlock {
        space: request.space.0.into(),
        id_bytes: narrow::<u16>(request.id.len()).into(),
        what: match request.what {
            Reinforcement::Present => 0,
            Reinforcement::Pin => 1,
            Reinforcement::Unpin => 2,
        },
        durability: request.durability as u8,
    };
    let mut out = Cursor(out);
    out.put(block.as_bytes());
    out.put(&request.id);
    out.finish();
}

/// The payload of a frame that says which episodes of a space answers told, by the sequences that
/// they were stored with: a space, and the sequences.
#[derive(Debug, Clone, Copy)]
pub struct RecalledPayload<'a> {
    pub space: SpaceNumber,
    sequences: &'a [U64],
}

impl<'a> RecalledPayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "recalled", what };
        let (space, rest) =
            U64::ref_from_prefix(payload).map_err(|_| malformed("shorter than its fixed part"))?;
        let space = u32::try_from(space.get()).map_err(|_| malformed("an unknown field"))?;
        let sequences = <[U64]>::ref_from_bytes(rest)
            .map_err(|_| malformed("its parts do not add up to its length"))?;
        if !(1..=RECALLED_MAX).contains(&sequences.len()) {
            return Err(malformed("so many episodes are not written in one"));
        }
        Ok(Self { space: SpaceNumber(space), sequences })
    }

    pub fn sequences(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.sequences.iter().map(|sequence| sequence.get())
    }
}

pub fn recalled_bytes(sequences: &[u64]) -> usize {
    size_of::<u64>() * (1 + sequences.len())
}

pub fn encode_recalled(space: SpaceNumber, sequences: &[u64], out: &mut [u8]) {
    let mut out = Cursor(out);
    for number in std::iter::once(u64::from(space.0)).chain(sequences.iter().copied()) {
        out.put(&number.to_le_bytes());
    }
    out.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::Durability;

    #[test]
    fn a_reinforcement_reads_back_as_written_and_of_no_other_length() {
        for what in [Reinforcement::Present, Reinforcement::Pin, Reinforcement::Unpin] {
            let (space, durability) = (SpaceNumber(3), Durability::Os);
            let request =
                ReinforceRequest { space, id: "id".into(), what, durability, writer_uid: 0 };
            let mut payload = vec![0xff; reinforce_bytes(&request)];
            encode_reinforce(&request, &mut payload);
            let wanted = ReinforcePayload { space, id: b"id", what };
            assert_eq!(ReinforcePayload::decode(&payload), Ok(wanted));
            for cut in 0..payload.len() {
                assert!(ReinforcePayload::decode(&payload[..cut]).is_err(), "{cut}");
            }
            payload[6] = 3;
            assert!(ReinforcePayload::decode(&payload).is_err(), "an unknown way");
        }
    }

    #[test]
    fn what_was_recalled_reads_back_as_written_and_of_no_other_length() {
        let sequences = [5, u64::MAX, 1];
        let mut payload = vec![0xff; recalled_bytes(&sequences)];
        encode_recalled(SpaceNumber(7), &sequences, &mut payload);
        // As in FORMAT.md.
        assert_eq!(payload[..16], *b"\x07\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
        let read = RecalledPayload::decode(&payload).unwrap();
        assert_eq!(
            (read.space, read.sequences().collect::<Vec<_>>()),
            (SpaceNumber(7), sequences.into())
        );
        for cut in (0..payload.len()).filter(|cut| cut % 8 != 0 || *cut < 16) {
            assert!(RecalledPayload::decode(&payload[..cut]).is_err(), "{cut}");
        }
        let mut payload = vec![0; 8 * (2 + RECALLED_MAX)];
        assert!(RecalledPayload::decode(&payload).is_err(), "one more than there may be");
        payload.truncate(8 * (1 + RECALLED_MAX));
        assert!(RecalledPayload::decode(&payload).is_ok());
        payload[4] = 1;
        assert!(RecalledPayload::decode(&payload).is_err(), "a space has four bytes");
    }
}
