//! The inner product of one row-major row: what the engine's dimension-major scan is compared with.
//!
//! Four vector sums per row hide the latency of the multiply-add, as any good row-major kernel
//! does; each row then pays for one horizontal sum, and each instruction set rounds differently.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
};

/// A row-major inner product in one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct RowDot {
    dot: unsafe fn(&[f32], &[f32]) -> f32,
}

impl RowDot {
    /// The row-major counterpart of the engine's kernels of that name, if this CPU supports it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            #[cfg(target_arch = "x86_64")]
            "avx512" if is_x86_feature_detected!("avx512f") => Some(Self { dot: dot_avx512 }),
            #[cfg(target_arch = "x86_64")]
            "avx2" if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
                Some(Self { dot: dot_avx2 })
            }
            "scalar" => Some(Self { dot: dot_scalar }),
            _ => None,
        }
    }

    /// The inner product of `row` and `query`, over the length of the shorter.
    #[inline]
    pub fn dot(self, row: &[f32], query: &[f32]) -> f32 {
        // SAFETY: `named` hands out only what the CPU supports.
        unsafe { (self.dot)(row, query) }
    }
}

fn dot_scalar(row: &[f32], query: &[f32]) -> f32 {
    row.iter().zip(query).fold(0.0, |sum, (row, query)| row.mul_add(*query, sum))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dot_avx512(row: &[f32], query: &[f32]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); 4];
    let (mut rows, mut queries) = (row.chunks_exact(64), query.chunks_exact(64));
    for (row, query) in (&mut rows).zip(&mut queries) {
        for (register, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both chunks hold 64 floats, four registers of 16.
            let (row, query) = unsafe {
                (
                    _mm512_loadu_ps(row.as_ptr().add(register * 16)),
                    _mm512_loadu_ps(query.as_ptr().add(register * 16)),
                )
            };
            *sum = _mm512_fmadd_ps(row, query, *sum);
        }
    }
    let [a, b, c, d] = sums;
    let sum = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
    sum + dot_scalar(rows.remainder(), queries.remainder())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dot_avx2(row: &[f32], query: &[f32]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 4];
    let (mut rows, mut queries) = (row.chunks_exact(32), query.chunks_exact(32));
    for (row, query) in (&mut rows).zip(&mut queries) {
        for (register, sum) in sums.iter_mut().enumerate() {
            // SAFETY: both chunks hold 32 floats, four registers of 8.
            let (row, query) = unsafe {
                (
                    _mm256_loadu_ps(row.as_ptr().add(register * 8)),
                    _mm256_loadu_ps(query.as_ptr().add(register * 8)),
                )
            };
            *sum = _mm256_fmadd_ps(row, query, *sum);
        }
    }
    let [a, b, c, d] = sums;
    let mut lanes = [0.0; 8];
    // SAFETY: `lanes` holds 8 floats.
    unsafe {
        _mm256_storeu_ps(
            lanes.as_mut_ptr(),
            _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)),
        );
    }
    lanes.iter().sum::<f32>() + dot_scalar(rows.remainder(), queries.remainder())
}
