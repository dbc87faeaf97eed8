//! Small files of two sectors that are written in turn: the file of anchors and the manifest.
//!
//! A torn write costs the slot that was being written and never both. The blocks in them count
//! themselves; the highest number that verifies is the newest. A slot that holds nothing is zero.

use super::{HeaderError, StoreId};
use crate::limits::SECTOR_BYTES;

/// Slots of a file.
pub const SLOTS: usize = 2;

/// A block that stands in a slot.
pub trait SlotBlock: Clone {
    fn decode(bytes: &[u8; SECTOR_BYTES]) -> Result<Self, HeaderError>;

    fn number(&self) -> u64;

    /// Whose it is.
    fn place(&self) -> (StoreId, u32);
}

/// What a file of slots is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState<T> {
    /// The newest block; all that was ever written verifies.
    Sound(T),
    Missing,
    /// The file was made and nothing was written yet.
    Blank,
    /// Not all of the file is what was written; the newest block that verifies, if one does.
    Damaged(Option<T>),
}

impl<T: Clone> SlotState<T> {
    pub fn newest(&self) -> Option<T> {
        match self {
            Self::Sound(block) => Some(block.clone()),
            Self::Missing | Self::Blank => None,
            Self::Damaged(block) => block.clone(),
        }
    }
}

/// A file of slots that was read.
#[derive(Debug, Clone)]
pub struct Slots<T> {
    pub state: SlotState<T>,
    /// The number of the block in each slot, as far as it verifies.
    pub numbers: [Option<u64>; SLOTS],
}

impl<T: SlotBlock> Slots<T> {
    /// Reads what the file holds, if there is one. Blocks of another log count as damage.
    pub fn read(bytes: Option<&[u8]>, store_id: &StoreId, shard: u32) -> Self {
        let mut numbers = [None; SLOTS];
        let Some(bytes) = bytes else { return Self { state: SlotState::Missing, numbers } };
        let (slots, rest) = bytes.as_chunks::<SECTOR_BYTES>();
        let mut is_sound = slots.len() == SLOTS && rest.is_empty();
        let mut newest: Option<T> = None;
        let mut is_blank = is_sound;
        for (nth, slot) in slots.iter().enumerate().take(SLOTS) {
            if slot.iter().all(|&byte| byte == 0) {
                continue;
            }
            is_blank = false;
            let block = T::decode(slot).ok().filter(|block| block.place() == (*store_id, shard));
            is_sound &= block.is_some();
            numbers[nth] = block.as_ref().map(T::number);
            newest = newest.into_iter().chain(block).max_by_key(T::number);
        }
        let state = match newest {
            Some(block) if is_sound => SlotState::Sound(block),
            None if is_blank => SlotState::Blank,
            newest => SlotState::Damaged(newest),
        };
        Self { state, numbers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Anchor;

    const ID: StoreId = [3; 16];

    fn anchor(number: u64) -> Anchor {
        let (segment, offset) = (1, 4096);
        let (durable_sequence, written_at_us) = (number * 10, 0);
        Anchor { store_id: ID, shard: 1, number, durable_sequence, segment, offset, written_at_us }
    }

    fn read(slots: &[&[u8]]) -> Slots<Anchor> {
        Slots::read(Some(&slots.concat()), &ID, 1)
    }

    #[test]
    fn every_pair_of_slots_has_its_state() {
        let zero = [0; SECTOR_BYTES];
        let (old, new) = (anchor(4).encode(), anchor(5).encode());
        let mut torn = new;
        torn[100] ^= 1;
        let elsewhere = Anchor { shard: 2, ..anchor(9) }.encode();
        let sound = SlotState::Sound;
        let damaged = SlotState::Damaged;
        for (slots, state) in [
            ([&old[..], &new[..]], sound(anchor(5))),
            ([&new, &old], sound(anchor(5))),
            ([&new, &new], sound(anchor(5))),
            ([&zero, &new], sound(anchor(5))),
            ([&new, &zero], sound(anchor(5))),
            ([&zero, &zero], SlotState::Blank),
            ([&torn, &old], damaged(Some(anchor(4)))),
            ([&old, &torn], damaged(Some(anchor(4)))),
            ([&torn, &zero], damaged(None)),
            ([&torn, &torn], damaged(None)),
            ([&elsewhere, &old], damaged(Some(anchor(4)))),
            ([&elsewhere, &zero], damaged(None)),
            ([&old, &new[..100]], damaged(Some(anchor(4)))),
            ([&zero, &[]], damaged(None)),
        ] {
            assert_eq!(read(&slots).state, state);
        }
        assert_eq!(read(&[&new, &torn]).numbers, [Some(5), None]);
        assert_eq!(read(&[&old, &new, &zero]).state, damaged(Some(anchor(5))), "too long");
        assert_eq!(Slots::<Anchor>::read(None, &ID, 1).state, SlotState::Missing);
    }
}
