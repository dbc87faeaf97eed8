//! The choice of the instruction set, made once per process, and the checks before the kernels.
#![allow(unsafe_code)]

use std::sync::LazyLock;

use super::norm::{self, NonFinite};
use super::{BLOCK_ROWS, scalar};

type Scan = unsafe fn(&[f32], &[f32], &mut [f32; BLOCK_ROWS]);
type SquareSum = unsafe fn(&[u8]) -> f64;

/// The kernels of one instruction set.
#[derive(Debug)]
pub struct Kernels {
    name: &'static str,
    /// Whether this CPU has the instruction set. A `Kernels` leaves this module only if it has:
    /// that makes the calls through the pointers below sound.
    supported: fn() -> bool,
    dot: Scan,
    l2: Scan,
    square_sum: SquareSum,
}

/// Every instruction set this build knows, the fastest first.
static CANDIDATES: &[Kernels] = &[
    #[cfg(target_arch = "x86_64")]
    Kernels {
        name: "avx512",
        supported: || is_x86_feature_detected!("avx512f"),
        dot: super::avx512::dot,
        l2: super::avx512::l2,
        square_sum: super::avx512::square_sum,
    },
    #[cfg(target_arch = "x86_64")]
    Kernels {
        name: "avx2",
        supported: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        dot: super::avx2::dot,
        l2: super::avx2::l2,
        square_sum: super::avx2::square_sum,
    },
    #[cfg(target_arch = "aarch64")]
    Kernels {
        name: "neon",
        supported: || std::arch::is_aarch64_feature_detected!("neon"),
        dot: super::neon::dot,
        l2: super::neon::l2,
        square_sum: super::neon::square_sum,
    },
    Kernels {
        name: "scalar",
        supported: || true,
        dot: scalar::dot,
        l2: scalar::l2,
        square_sum: norm::square_sum,
    },
];

/// The fastest kernels this CPU supports.
pub fn kernels() -> &'static Kernels {
    static FASTEST: LazyLock<&Kernels> =
        LazyLock::new(|| Kernels::all_supported().next().expect("scalar is always supported"));
    &FASTEST
}

impl Kernels {
    /// The kernels of every instruction set this CPU supports, the fastest first and `scalar`
    /// last: for tests and benchmarks.
    pub fn all_supported() -> impl Iterator<Item = &'static Kernels> {
        CANDIDATES.iter().filter(|kernels| (kernels.supported)())
    }

    /// The instruction set: `avx512`, `avx2`, `neon` or `scalar`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The inner products of `query` with the 64 rows of `block`, which holds 64 floats for each
    /// component of the query.
    ///
    /// # Panics
    ///
    /// When the lengths do not fit together.
    #[inline]
    pub fn pdx_dot(&self, block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
        check_lengths(block, query);
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.dot)(block, query, out) }
    }

    /// The squared Euclidean distances of `query` from the 64 rows of `block`, which holds 64
    /// floats for each component of the query.
    ///
    /// # Panics
    ///
    /// When the lengths do not fit together.
    #[inline]
    pub fn pdx_l2(&self, block: &[f32], query: &[f32], out: &mut [f32; BLOCK_ROWS]) {
        check_lengths(block, query);
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.l2)(block, query, out) }
    }

    /// Checks that a vector of little-endian f32 components is finite and returns its Euclidean
    /// norm, or its first component that is not.
    ///
    /// # Panics
    ///
    /// When the length is not a multiple of four bytes.
    #[inline]
    pub fn validate(&self, le_bytes: &[u8]) -> Result<f64, NonFinite> {
        assert!(
            le_bytes.len().is_multiple_of(size_of::<f32>()),
            "a vector of f32 has a multiple of 4 bytes, got {}",
            le_bytes.len()
        );
        // SAFETY: the CPU supports the instruction set (see `supported`).
        let square_sum = unsafe { (self.square_sum)(le_bytes) };
        norm::finish(square_sum, le_bytes)
    }
}

#[inline]
fn check_lengths(block: &[f32], query: &[f32]) {
    assert!(
        block.len() == query.len() * BLOCK_ROWS,
        "a block holds {BLOCK_ROWS} floats for each component of the query, got {} floats and {} \
         components",
        block.len(),
        query.len()
    );
}
