//! What stands in the log where a frame was: erased, skipped or lost.
//!
//! The checksums of a log are chained, so a frame cannot simply change. A gap takes the place of
//! one frame, or of a run of frames, keeps the chain value that stood behind them in its `crc`
//! field, and vouches for itself with a seal of its own. Everything behind it verifies as before.
//! A gap needs no more than a frame's header, so it fits wherever a frame was.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::batch::{FRAME_HEADER_BYTES, Frame, FrameBlock, Operation};
use super::{PayloadError, StoreId};

/// The header of a frame, read as a gap: what it covers stands where other frames have their times.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct GapBlock {
    bytes: U32,
    crc: U32,
    sequence: U64,
    through: U64,
    reason: U32,
    seal: U32,
    operation: U16,
    zero_a: U16,
    zero_b: U32,
    payload_bytes: U32,
    zero_c: U32,
}

/// The smallest gap.
pub const GAP_FRAME_BYTES: usize = size_of::<GapBlock>();

const _: () = assert!(GAP_FRAME_BYTES == FRAME_HEADER_BYTES);

/// Why a frame is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
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
    /// Reads a gap of a verified batch.
    pub fn decode(frame: &Frame<'_>) -> Result<Self, PayloadError> {
        let through = frame.head.recorded_at_us.cast_unsigned();
        let reason = (frame.head.happened_at_us.cast_unsigned() & 0xffff_ffff) as u32;
        Self::new(through, reason).ok_or(PayloadError { operation: "gap", what: "unknown reason" })
    }

    fn new(through: u64, reason: u32) -> Option<Self> {
        let reason = match reason {
            1 => GapReason::Erased,
            2 => GapReason::Lost,
            3 => GapReason::Skipped,
            _ => return None,
        };
        Some(Self { through, reason })
    }

    /// Reads and checks a whole frame that says it is a gap.
    pub(super) fn verify(frame: &[u8], store_id: &StoreId) -> Option<Self> {
        let (block, rest) = GapBlock::ref_from_prefix(frame).ok()?;
        let is_sealed = block.seal.get() == seal(block, store_id);
        let gap = Self::new(block.through.get(), block.reason.get()).filter(|_| is_sealed)?;
        rest.iter().all(|&byte| byte == 0).then_some(gap)
    }

    /// Writes a gap over `frame`, whose length stays. `chain` is the checksum that what follows
    /// continues.
    pub fn write(&self, frame: &mut [u8], sequence: u64, chain: u32, store_id: &StoreId) {
        let bytes = u32::try_from(frame.len()).expect("a frame is at most FRAME_BYTES_MAX");
        let mut block = GapBlock {
            bytes: bytes.into(),
            crc: chain.into(),
            sequence: sequence.into(),
            through: self.through.into(),
            reason: (self.reason as u32).into(),
            seal: 0.into(),
            operation: (Operation::Gap as u16).into(),
            zero_a: 0.into(),
            zero_b: 0.into(),
            payload_bytes: (bytes - GAP_FRAME_BYTES as u32).into(),
            zero_c: 0.into(),
        };
        block.seal = seal(&block, store_id).into();
        frame.fill(0);
        frame[..GAP_FRAME_BYTES].copy_from_slice(block.as_bytes());
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

/// Over everything but itself, seeded with the store's random id, like the header of a batch.
fn seal(block: &GapBlock, store_id: &StoreId) -> u32 {
    let seed = crc32c::crc32c(store_id);
    let (before, after) = (&block.as_bytes()[..28], &block.as_bytes()[32..]);
    crc32c::crc32c_append(crc32c::crc32c_append(seed, before), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: StoreId = [4; 16];

    #[test]
    fn a_gap_reads_back_and_every_flipped_bit_is_noticed() {
        let gap = Gap { through: 12, reason: GapReason::Lost };
        for bytes in [GAP_FRAME_BYTES, 96] {
            let mut frame = vec![0xff; bytes];
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
}
