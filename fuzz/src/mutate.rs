//! The corpus, and mutations of it from a seed: what finds regressions where libFuzzer is missing.
//!
//! There is no feedback from coverage here. The corpus has it instead: it was grown by libFuzzer
//! and reaches what the targets can reach; a mutation of it stays near.

use std::fs;
use std::path::PathBuf;

/// Bytes of an input at most.
const INPUT_BYTES_MAX: usize = 8 << 10;
/// Changes made to an input at most.
const CHANGES_MAX: u64 = 6;
/// Numbers at which something may change.
const NOTABLE: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xfff,
    0x1000,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Where the inputs of a target are kept.
pub fn corpus_folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The inputs of a target in the order of their names.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = corpus_folder(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> =
        files.map(|file| file.expect("the folder can be listed").path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).expect("an input can be read")).collect()
}

/// An endless row of inputs, the same for the same corpus and seed.
#[derive(Debug)]
pub struct Mutator {
    corpus: Vec<Vec<u8>>,
    /// SplitMix64 (Steele, Lea and Flood 2014).
    state: u64,
}

impl Mutator {
    pub fn new(corpus: Vec<Vec<u8>>, seed: u64) -> Self {
        assert!(!corpus.is_empty(), "there is nothing to mutate");
        Self { corpus, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0..bound`; 0 when that is empty.
    fn below(&mut self, bound: usize) -> usize {
        let number = self.next() as usize;
        number.checked_rem(bound).unwrap_or(0)
    }

    fn pick(&mut self) -> Vec<u8> {
        let nth = self.below(self.corpus.len());
        self.corpus[nth].clone()
    }

    /// The next input.
    pub fn mutation(&mut self) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..=self.next() % CHANGES_MAX {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.next() % 9 {
            _ if input.is_empty() => input.push(self.next() as u8),
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.next() as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            4 => {
                let to = self.below(input.len() + 1);
                let copy = input[at..end].to_vec();
                input.splice(to..to, copy);
            }
            5 => {
                // The front of one and the back of another.
                let other = self.pick();
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => {
                let other = self.pick();
                let from = self.below(other.len());
                let to = other.len().min(from + 64);
                input.splice(at..at, other[from..to].iter().copied());
            }
            7 => {
                let number = NOTABLE[self.below(NOTABLE.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(input.len() - at);
                input[at..at + width].copy_from_slice(&number[..width]);
            }
            _ => input[at] = input[at].wrapping_add(if self.next() & 1 == 0 { 1 } else { 0xff }),
        }
    }
}
