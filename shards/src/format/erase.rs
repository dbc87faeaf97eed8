//! The payload of an erase: which frames the log is about to lose.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::PayloadError;
use crate::episode::SpaceNumber;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EraseBlock {
    space: U32,
    sequences: U32,
}

/// Sequences that one erase names at most; a longer list takes several.
pub const ERASED_MAX: usize = 1 << 14;

/// The frames with these sequences become gaps. An erase names sequences and not the id, which is
/// among what has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasePayload {
    pub space: SpaceNumber,
    pub sequences: Vec<u64>,
}

impl ErasePayload {
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "erase", what };
        let (block, rest) = EraseBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let sequences = <[U64]>::ref_from_bytes(rest)
            .ok()
            .filter(|sequences| sequences.len() == block.sequences.get() as usize)
            .ok_or_else(|| malformed("its parts do not add up to its length"))?;
        Ok(Self {
            space: SpaceNumber(block.space.get()),
            sequences: sequences.iter().map(|sequence| sequence.get()).collect(),
        })
    }

    pub fn bytes(&self) -> usize {
        size_of::<EraseBlock>() + self.sequences.len() * size_of::<U64>()
    }

    pub fn encode(&self, out: &mut [u8]) {
        let sequences = u32::try_from(self.sequences.len()).expect("at most ERASED_MAX");
        let block = EraseBlock { space: self.space.0.into(), sequences: sequences.into() };
        let (head, rest) = out.split_at_mut(size_of::<EraseBlock>());
        head.copy_from_slice(block.as_bytes());
        for (entry, sequence) in rest.chunks_exact_mut(size_of::<U64>()).zip(&self.sequences) {
            entry.copy_from_slice(&sequence.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erase_reads_back_and_any_other_length_is_refused() {
        let erase = ErasePayload { space: SpaceNumber(4), sequences: vec![1, 9, u64::MAX] };
        let mut payload = vec![0xff; erase.bytes()];
        erase.encode(&mut payload);
        assert_eq!(ErasePayload::decode(&payload), Ok(erase));
        for cut in 0..payload.len() {
            assert!(ErasePayload::decode(&payload[..cut]).is_err(), "{cut}");
        }
    }
}
