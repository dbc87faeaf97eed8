//! Byte strings by numbers: each has one, in the order in which they came.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{FarBlock, KIND_OTHER};
use crate::spread::link::KIND_SIMILAR;

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Both as the column of targets has them.
    pub(super) entries: Vec<FarBlock>,
    pub(super) bytes: Vec<u8>,
    by_name: HashTable<u32>,
}

impl Names {
    pub(crate) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(crate) fn get(&self, number: u32) -> Option<&[u8]> {
        FarBlock::get(&self.entries, &self.bytes, number).map(|(_, name)| name)
    }

    fn find(&self, hash: u64, name: &[u8]) -> Option<u32> {
        let Self { entries, bytes, by_name } = self;
        let is_it = |number: &u32| FarBlock::get(entries, bytes, *number) == Some((hash, name));
        by_name.find(hash, is_it).copied()
    }

    /// The number of a name. A new one gets the next if there are fewer than `count_max`.
    fn number_below(&mut self, count_max: u32, name: &[u8]) -> Option<u32> {
        let hash = xxh3_64(name);
        let found = self.find(hash, name);
        if found.is_some() || self.len() >= count_max {
            return found;
        }
        let number = self.len();
        let Self { entries, bytes, by_name } = self;
        entries.push(FarBlock::new(hash, bytes.len()));
        bytes.extend_from_slice(name);
        by_name.insert_unique(hash, number, |number| entries[*number as usize].hash());
        Some(number)
    }

    /// The number of a name, the next one if it is new.
    pub(crate) fn number(&mut self, name: &[u8]) -> u32 {
        self.number_below(u32::MAX, name).expect("there are fewer names")
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<FarBlock>()
            + self.bytes.capacity()
            + self.by_name.allocation_size()
    }
}

/// Names of kinds. Those for which there is no number left are one.
#[derive(Debug, Default)]
pub(crate) struct Kinds(pub(super) Names);

impl Kinds {
    /// The number of a kind, the next one if it is new; [`KIND_OTHER`] if there is none left.
    pub(crate) fn number(&mut self, name: &[u8]) -> u16 {
        let number = self.0.number_below(KIND_SIMILAR.into(), name);
        number.map_or(KIND_OTHER, |number| number as u16)
    }

    pub(crate) fn name(&self, number: u16) -> Option<&[u8]> {
        self.0.get(number.into())
    }
}
