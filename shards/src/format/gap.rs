//! What stands in the log where a frame was: erased, skipped or lost.
//!
//! The checksums of a log are chained, so a frame cannot simply change. A gap takes the place of one
//! frame, or of a run of frames, keeps the chain value that stood behind them in its `crc` field,
//! and vouches for itself with a seal of its own. Everything behind it verifies as before.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::batch::{FRAME_HEADER_BYTES, FrameBlock, Operation};
use super::{PayloadError, StoreId};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GapBlock {
    through: U64,
    reason: U16,
    zero: U16,
    seal: U32,
}

/// The smallest gap. Every other frame is at least as long: a forget has an id of a byte or more.
pub const GAP_FRAME_BYTES: usize = FRAME_HEADER_BYTES + size_of::<GapBlock>();

/// Why a frame is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum GapReason {
    /// A client asked for its bytes to be removed.
    Erased = 1,
    /// It was damaged, and the operator accepted the loss.
    Lost = 2,
    /// It could not be applied, and the operator had it skipped.
    Skipped = 3,
}

/// The sequences from the frame's own to `through` are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub through: u64,
    pub reason: GapReason,
}

impl Gap {
    /// Reads a gap's payload; whoever reads a verified batch need not look at the seal again.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "gap", what };
        let (block, _) = GapBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let reason = match block.reason.get() {
            1 => GapReason::Erased,
            2 => GapReason::Lost,
            3 => GapReason::Skipped,
            _ => return Err(malformed("an unknown reason")),
        };
        Ok(Self { through: block.through.get(), reason })
    }

    /// Reads and checks a whole frame that says it is a gap.
    pub(super) fn verify(frame: &[u8], store_id: &StoreId) -> Option<Self> {
        let (head, payload) = frame.split_at_checked(FRAME_HEADER_BYTES)?;
        let (block, rest) = GapBlock::ref_from_prefix(payload).ok()?;
        let sealed = block.seal.get() == seal(head, block, store_id);
        let gap = Self::decode(payload).ok().filter(|_| sealed)?;
        rest.iter().all(|&byte| byte == 0).then_some(gap)
    }

    /// Writes a gap over `frame`, whose length stays. `chain` is the checksum that what follows
    /// continues.
    pub fn write(&self, frame: &mut [u8], sequence: u64, chain: u32, store_id: &StoreId) {
        let bytes = u32::try_from(frame.len()).expect("a frame is at most FRAME_BYTES_MAX");
        let head = FrameBlock {
            bytes: bytes.into(),
            crc: chain.into(),
            sequence: sequence.into(),
            recorded_at_us: 0.into(),
            happened_at_us: 0.into(),
            operation: (Operation::Gap as u16).into(),
            zero_a: 0.into(),
            writer_uid: 0.into(),
            payload_bytes: (bytes - FRAME_HEADER_BYTES as u32).into(),
            zero_b: 0.into(),
        };
        let mut block = GapBlock {
            through: self.through.into(),
            reason: (self.reason as u16).into(),
            zero: 0.into(),
            seal: 0.into(),
        };
        block.seal = seal(head.as_bytes(), &block, store_id).into();
        frame.fill(0);
        frame[..FRAME_HEADER_BYTES].copy_from_slice(head.as_bytes());
        frame[FRAME_HEADER_BYTES..GAP_FRAME_BYTES].copy_from_slice(block.as_bytes());
    }
}

/// Turns the frame with this sequence into a gap; false when these bytes are not that frame.
pub fn rewrite_as_gap(frame: &mut [u8], sequence: u64, gap: Gap, store_id: &StoreId) -> bool {
    let Ok((block, _)) = FrameBlock::ref_from_prefix(frame) else { return false };
    if block.sequence.get() != sequence || block.bytes.get() as usize != frame.len() {
        return false;
    }
    let chain = block.crc.get();
    gap.write(frame, sequence, chain, store_id);
    true
}

/// Seeded with the store's random id, like the header of a batch.
fn seal(head: &[u8], block: &GapBlock, store_id: &StoreId) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(store_id), head);
    crc32c::crc32c_append(seed, &block.as_bytes()[..size_of::<GapBlock>() - 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: StoreId = [4; 16];

    #[test]
    fn a_gap_reads_back_and_every_flipped_bit_is_noticed() {
        let gap = Gap { through: 12, reason: GapReason::Lost };
        let mut frame = vec![0xff; 96];
        gap.write(&mut frame, 9, 77, &ID);
        assert_eq!(Gap::verify(&frame, &ID), Some(gap));
        assert_eq!(Gap::verify(&frame, &[5; 16]), None);
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Gap::verify(&bad, &ID), None, "bit {bit}");
        }
    }
}
