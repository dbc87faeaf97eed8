//! The kernels in AVX2.

use core::arch::x86_64::{
    __m256, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_add_epi8,
    _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16,
    _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_permute_ps, _mm256_permute2f128_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_ps, _mm256_xor_si256,
};

use super::{CODE_ROWS, TILE};

const LANES: usize = 8;

/// One butterfly across lanes: `partner` is `values` with the lanes exchanged, `signs` has the sign
/// bit where the lane is the right one of its pair.
#[inline(always)]
unsafe fn across(values: __m256, partner: __m256, signs: __m256i) -> __m256 {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let signed = _mm256_xor_si256(_mm256_castps_si256(values), signs);
        _mm256_add_ps(partner, _mm256_castsi256_ps(signed))
    }
}

const SIGN: u32 = 1 << 31;

/// # Safety
/// The CPU has AVX2; the length is a power of two of at least 64.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn hadamard(values: &mut [f32]) {
    let mut stride = values.len() / 2;
    while stride >= LANES {
        for pair in values.chunks_exact_mut(2 * stride) {
            let (left, right) = pair.split_at_mut(stride);
            let lanes = left.chunks_exact_mut(LANES).zip(right.chunks_exact_mut(LANES));
            for (left, right) in lanes {
                // SAFETY: both chunks hold 8 floats.
                unsafe {
                    let (a, b) = (_mm256_loadu_ps(left.as_ptr()), _mm256_loadu_ps(right.as_ptr()));
                    _mm256_storeu_ps(left.as_mut_ptr(), _mm256_add_ps(a, b));
                    _mm256_storeu_ps(right.as_mut_ptr(), _mm256_sub_ps(a, b));
                }
            }
        }
        stride /= 2;
    }
    const SIGNS: [[u32; LANES]; 3] = [
        [0, 0, 0, 0, SIGN, SIGN, SIGN, SIGN],
        [0, 0, SIGN, SIGN, 0, 0, SIGN, SIGN],
        [0, SIGN, 0, SIGN, 0, SIGN, 0, SIGN],
    ];
    let signs = SIGNS.map(|signs| {
        // SAFETY: an array of 8 words is 32 bytes.
        unsafe { _mm256_loadu_si256(signs.as_ptr().cast()) }
    });
    for lanes in values.chunks_exact_mut(LANES) {
        // SAFETY: the chunk holds 8 floats; AVX2 is enabled here.
        unsafe {
            let v = _mm256_loadu_ps(lanes.as_ptr());
            let v = across(v, _mm256_permute2f128_ps::<1>(v, v), signs[0]);
            let v = across(v, _mm256_permute_ps::<0b01_00_11_10>(v), signs[1]);
            let v = across(v, _mm256_permute_ps::<0b10_11_00_01>(v), signs[2]);
            _mm256_storeu_ps(lanes.as_mut_ptr(), v);
        }
    }
}

/// The 16-bit words of a register, those of both halves added.
#[inline(always)]
unsafe fn fold_parts(words: __m256i) -> [u32; 8] {
    let mut lanes = [0_u16; 16];
    // SAFETY: the caller vouches for AVX2; `lanes` is 32 bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), words) };
    std::array::from_fn(|nth| u32::from(lanes[nth]) + u32::from(lanes[nth + 8]))
}

/// # Safety
/// The CPU has AVX2; `codes` and `tables` have the same multiple of 256 bytes, at most
/// `TABLES_BYTES_MAX`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn scan_block(codes: &[u8], tables: &[u8], sums: &mut [u32; CODE_ROWS]) {
    let nibble = _mm256_set1_epi8(15);
    let byte = _mm256_set1_epi16(255);
    let mut words = [_mm256_setzero_si256(); 4];
    for at in (0..codes.len()).step_by(128) {
        let mut low = _mm256_setzero_si256();
        let mut high = _mm256_setzero_si256();
        for group in 0..4 {
            let at = at + 32 * group;
            // SAFETY: lengths are the same multiple of 256, so 32 bytes follow in both.
            let (code, table) = unsafe {
                (
                    _mm256_loadu_si256(codes.as_ptr().add(at).cast()),
                    _mm256_loadu_si256(tables.as_ptr().add(at).cast()),
                )
            };
            let lower = _mm256_and_si256(code, nibble);
            let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(code), nibble);
            low = _mm256_add_epi8(low, _mm256_shuffle_epi8(table, lower));
            high = _mm256_add_epi8(high, _mm256_shuffle_epi8(table, upper));
        }
        words[0] = _mm256_add_epi16(words[0], _mm256_and_si256(low, byte));
        words[1] = _mm256_add_epi16(words[1], _mm256_srli_epi16::<8>(low));
        words[2] = _mm256_add_epi16(words[2], _mm256_and_si256(high, byte));
        words[3] = _mm256_add_epi16(words[3], _mm256_srli_epi16::<8>(high));
    }
    for (half, words) in words.chunks_exact(2).enumerate() {
        // SAFETY: AVX2 is enabled here.
        let (even, odd) = unsafe { (fold_parts(words[0]), fold_parts(words[1])) };
        for nth in 0..8 {
            sums[half * 16 + 2 * nth] = even[nth];
            sums[half * 16 + 2 * nth + 1] = odd[nth];
        }
    }
}

/// The sum over the lanes.
#[inline(always)]
unsafe fn sum_lanes(lanes: __m256i) -> i32 {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let (low, high) = (_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        let four = _mm_add_epi32(low, high);
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }
}

/// Adds 32 products, as words: the byte products of `maddubs` would saturate.
#[inline(always)]
unsafe fn add_products(sum: __m256i, row: __m256i, query: __m256i) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let low = _mm256_madd_epi16(
            _mm256_cvtepu8_epi16(_mm256_castsi256_si128(row)),
            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(query)),
        );
        let high = _mm256_madd_epi16(
            _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(row)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(query)),
        );
        _mm256_add_epi32(sum, _mm256_add_epi32(low, high))
    }
}

/// # Safety
/// The CPU has AVX2; both sides have the same multiple of 64 bytes.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot(row: &[u8], query: &[i8]) -> i32 {
    let mut sum = _mm256_setzero_si256();
    for (row, query) in row.chunks_exact(32).zip(query.chunks_exact(32)) {
        // SAFETY: both chunks hold 32 bytes; AVX2 is enabled here.
        unsafe {
            let row = _mm256_loadu_si256(row.as_ptr().cast());
            let query = _mm256_loadu_si256(query.as_ptr().cast());
            sum = add_products(sum, row, query);
        }
    }
    // SAFETY: AVX2 is enabled here.
    unsafe { sum_lanes(sum) }
}

/// # Safety
/// The CPU has AVX2; both sides have the same multiple of four times 64 bytes.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot_tile(left: &[u8], right: &[u8], products: &mut [[i32; TILE]; TILE]) {
    let bytes = left.len() / TILE;
    let bias = _mm256_set1_epi8(i8::MIN);
    for (left, products) in left.chunks_exact(bytes).zip(products) {
        let mut sums = [_mm256_setzero_si256(); TILE];
        for at in (0..bytes).step_by(32) {
            // SAFETY: each row holds `bytes`, a multiple of 64; AVX2 is enabled here.
            unsafe {
                let left = _mm256_loadu_si256(left.as_ptr().add(at).cast());
                for (row, sum) in sums.iter_mut().enumerate() {
                    let right = _mm256_loadu_si256(right.as_ptr().add(row * bytes + at).cast());
                    *sum = add_products(*sum, left, _mm256_xor_si256(right, bias));
                }
            }
        }
        // SAFETY: AVX2 is enabled here.
        *products = sums.map(|sum| unsafe { sum_lanes(sum) });
    }
}
