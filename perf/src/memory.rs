//! Sequential read bandwidth of one thread: the upper bound of every scan.
//!
//! The probe adds 64-bit words up with the widest vectors the CPU has and several software prefetch
//! distances, and takes the fastest: a reference line that a scan could beat only because the probe
//! was slow would be worth nothing.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use serde::Serialize;

/// What the fastest of the readers reached.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SequentialRead {
    /// Gigabytes (10⁹) per second in the fastest pass.
    pub gb_per_s: f64,
    pub reader: Reader,
}

/// A loop over memory that this CPU supports: [`readers`] makes no other.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Reader {
    pub instruction_set: &'static str,
    /// How far ahead the loop prefetches; 0 leaves that to the CPU.
    pub prefetch_bytes: usize,
    #[serde(skip)]
    sum: unsafe fn(&[u8]) -> u64,
}

impl Reader {
    /// Reads `bytes` once (fewer than 256 at the end may be left out) and returns the gigabytes
    /// per second.
    pub fn gb_per_s(&self, bytes: &[u8]) -> f64 {
        let start = Instant::now();
        // SAFETY: `readers` hands out only what the CPU supports.
        black_box(unsafe { (self.sum)(black_box(bytes)) });
        bytes.len() as f64 / start.elapsed().as_nanos() as f64
    }
}

/// The readers to choose from.
pub fn readers() -> Vec<Reader> {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! distances {
            ($name:literal, $sum:ident) => {
                [
                    (0, $sum::<0> as unsafe fn(&[u8]) -> u64),
                    (1024, $sum::<1024>),
                    (2048, $sum::<2048>),
                    (4096, $sum::<4096>),
                    (8192, $sum::<8192>),
                ]
                .map(|(prefetch_bytes, sum)| Reader {
                    instruction_set: $name,
                    prefetch_bytes,
                    sum,
                })
            };
        }
        if is_x86_feature_detected!("avx512f") {
            return distances!("avx512", sum_avx512).into();
        }
        if is_x86_feature_detected!("avx2") {
            return distances!("avx2", sum_avx2).into();
        }
    }
    vec![Reader { instruction_set: "portable", prefetch_bytes: 0, sum: sum_portable }]
}

/// Reads all of `bytes` in `passes` rounds over all readers and returns the fastest pass.
///
/// # Panics
///
/// When `passes` is 0.
pub fn sequential_read(bytes: &[u8], passes: usize) -> SequentialRead {
    (0..passes)
        .flat_map(|_| readers())
        .map(|reader| SequentialRead { gb_per_s: reader.gb_per_s(bytes), reader })
        .max_by(|a, b| a.gb_per_s.total_cmp(&b.gb_per_s))
        .expect("at least one pass")
}

/// Bytes that one step of a vector reader adds up: four cache lines.
#[cfg(target_arch = "x86_64")]
const GROUP_BYTES: usize = 256;

fn sum_portable(bytes: &[u8]) -> u64 {
    let mut sums = [0_u64; 8];
    for line in bytes.chunks_exact(64) {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks().0) {
            *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch<const PREFETCH_BYTES: usize>(group: &[u8]) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    if PREFETCH_BYTES == 0 {
        return;
    }
    for line in (0..GROUP_BYTES).step_by(64) {
        let address = group.as_ptr().wrapping_add(PREFETCH_BYTES + line);
        // SAFETY: SSE is part of the x86-64 baseline; a prefetch is a hint and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_avx512<const PREFETCH_BYTES: usize>(bytes: &[u8]) -> u64 {
    use core::arch::x86_64::{
        _mm512_add_epi64, _mm512_loadu_epi64, _mm512_reduce_add_epi64, _mm512_setzero_si512,
    };
    let mut sums = [_mm512_setzero_si512(); GROUP_BYTES / 64];
    for group in bytes.chunks_exact(GROUP_BYTES) {
        prefetch::<PREFETCH_BYTES>(group);
        for (register, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the group holds four registers of 64 bytes.
            let words = unsafe { _mm512_loadu_epi64(group.as_ptr().add(register * 64).cast()) };
            *sum = _mm512_add_epi64(*sum, words);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_epi64(sum) as u64).fold(0, u64::wrapping_add)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2<const PREFETCH_BYTES: usize>(bytes: &[u8]) -> u64 {
    use core::arch::x86_64::{
        _mm256_add_epi64, _mm256_loadu_si256, _mm256_setzero_si256, _mm256_storeu_si256,
    };
    let mut sums = [_mm256_setzero_si256(); GROUP_BYTES / 32];
    for group in bytes.chunks_exact(GROUP_BYTES) {
        prefetch::<PREFETCH_BYTES>(group);
        for (register, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the group holds eight registers of 32 bytes.
            let words = unsafe { _mm256_loadu_si256(group.as_ptr().add(register * 32).cast()) };
            *sum = _mm256_add_epi64(*sum, words);
        }
    }
    let mut words = [0_u64; GROUP_BYTES / 8];
    for (register, sum) in sums.into_iter().enumerate() {
        // SAFETY: `words` holds eight registers of four words.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().add(register * 4).cast(), sum) };
    }
    words.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_reads_every_byte() {
        let bytes: Vec<u8> = (0..4096_u32).map(|i| (i * 131 % 251) as u8).collect();
        let words = bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
        let expected = words.fold(0, u64::wrapping_add);
        assert_eq!(sum_portable(&bytes), expected);
        for reader in readers() {
            // SAFETY: `readers` hands out only what the CPU supports.
            assert_eq!(unsafe { (reader.sum)(&bytes) }, expected, "{reader:?}");
        }
    }
}
