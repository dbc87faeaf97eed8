//! The choice of the instruction set, made once per process, and the checks before the kernels.
#![allow(unsafe_code)]

use std::sync::LazyLock;

use super::norm::{self, NonFinite};
use super::{ROW_FLOATS_STEP, scalar};

type Scan = unsafe fn(&[f32], &[f32], &mut [f32]);
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

    /// The inner product of `query` and `row`, which have the same length: a multiple of
    /// [`ROW_FLOATS_STEP`] floats.
    ///
    /// # Panics
    ///
    /// When the lengths do not fit together.
    #[inline]
    pub fn dot(&self, query: &[f32], row: &[f32]) -> f32 {
        let mut score = [0.0];
        self.dot_rows(query, row, &mut score);
        score[0]
    }

    /// The squared Euclidean distance of `query` and `row`; lengths as for [`dot`](Self::dot).
    ///
    /// # Panics
    ///
    /// When the lengths do not fit together.
    #[inline]
    pub fn l2(&self, query: &[f32], row: &[f32]) -> f32 {
        let mut score = [0.0];
        self.l2_rows(query, row, &mut score);
        score[0]
    }

    /// The inner products of `query` with as many rows as `out` has places. `rows` holds them one
    /// behind the other, each as long as the query. A row scores the same bits as by itself.
    ///
    /// # Panics
    ///
    /// When the lengths do not fit together.
    #[inline]
    pub fn dot_rows(&self, query: &[f32], rows: &[f32], out: &mut [f32]) {
        check_lengths(query, rows, out);
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.dot)(query, rows, out) }
    }

    /// The squared Euclidean distances of `query` from as many rows as `out` has places; lengths
    /// as for [`dot_rows`](Self::dot_rows).
    ///
    /// # Panics
    ///
    /// When the lengths do not fit together.
    #[inline]
    pub fn l2_rows(&self, query: &[f32], rows: &[f32], out: &mut [f32]) {
        check_lengths(query, rows, out);
        // SAFETY: the CPU supports the instruction set (see `supported`); lengths were checked.
        unsafe { (self.l2)(query, rows, out) }
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
fn check_lengths(query: &[f32], rows: &[f32], out: &[f32]) {
    let stride = query.len();
    assert!(
        stride > 0 && stride.is_multiple_of(ROW_FLOATS_STEP),
        "a row is padded to a multiple of {ROW_FLOATS_STEP} floats, the query has {stride}"
    );
    assert!(
        rows.len() == stride * out.len(),
        "{} rows as long as the query have {} floats, got {}",
        out.len(),
        stride * out.len(),
        rows.len()
    );
}
