//! The kernels in AVX2.

use core::arch::x86_64::{
    __m256, __m256i, _CMP_LT_OQ, _mm_add_epi32, _mm_cvtsi32_si128, _mm_cvtsi128_si32,
    _mm_loadu_si128, _mm_shuffle_epi32, _mm256_add_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_extracti128_si256,
    _mm256_floor_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_ps,
    _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_mullo_epi32, _mm256_packs_epi16,
    _mm256_packs_epi32, _mm256_permute_ps, _mm256_permute2f128_ps, _mm256_permutevar8x32_epi32,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sll_epi32, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_ps, _mm256_xor_si256,
};

use super::{
    ByteSums, BytesOf, CODE_ROWS, Combining, Estimating, Levels, Norms, Relation, TILE, scalar,
};

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
    let mut signs = [_mm256_setzero_si256(); 3];
    for (register, lanes) in signs.iter_mut().zip(&SIGNS) {
        // SAFETY: an array of 8 words is 32 bytes.
        *register = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
    }
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

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn estimate(
    with: &Estimating<'_>,
    sums: &[u32; CODE_ROWS],
    distances: &mut [f32; CODE_ROWS],
) -> u32 {
    let (step, base) = (_mm256_set1_ps(with.step), _mm256_set1_ps(with.base));
    let (scale, origin) = (_mm256_set1_ps(with.scale), _mm256_set1_ps(with.origin));
    let bound = _mm256_set1_ps(with.bound);
    let mut below = 0;
    for from in (0..CODE_ROWS).step_by(LANES) {
        // SAFETY: 8 of 32 words, of 32 addends and of 32 factors. Sums are below 2^31, so their
        // sign does not matter.
        let (sums, addends, factors) = unsafe {
            (
                _mm256_loadu_si256(sums.as_ptr().add(from).cast()),
                _mm256_loadu_ps(with.factors.as_ptr().add(from)),
                _mm256_loadu_ps(with.factors.as_ptr().add(CODE_ROWS + from)),
            )
        };
        let product = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), step), base);
        let relative = _mm256_add_ps(addends, _mm256_mul_ps(factors, product));
        let distance = _mm256_add_ps(origin, _mm256_mul_ps(relative, scale));
        // SAFETY: 8 of 32 floats.
        unsafe { _mm256_storeu_ps(distances.as_mut_ptr().add(from), distance) };
        let lower = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(distance, bound));
        below |= lower.cast_unsigned() << from;
    }
    below
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
/// The CPU has AVX2; `left` has four rows of the same multiple of 64 bytes, `right` a multiple of
/// four such rows, `products` a place for each pair.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot_strip(left: &[u8], right: &[u8], products: &mut [i32]) {
    let bytes = left.len() / TILE;
    let lines = products.chunks_exact_mut(right.len() / bytes);
    let bias = _mm256_set1_epi8(i8::MIN);
    for (left, line) in left.chunks_exact(bytes).zip(lines) {
        let tiles = right.chunks_exact(TILE * bytes).zip(line.chunks_exact_mut(TILE));
        for (right, products) in tiles {
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
            for (product, sum) in products.iter_mut().zip(sums) {
                // SAFETY: AVX2 is enabled here.
                *product = unsafe { sum_lanes(sum) };
            }
        }
    }
}

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn combine(with: &Combining<'_>, products: &[i32], distances: &mut [f32]) {
    scalar::combine(with, products, distances);
}

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn largest(values: &[f32]) -> f32 {
    scalar::largest(values)
}

/// Eight levels of each of four registers, in bytes.
#[inline(always)]
unsafe fn narrow(levels: [__m256i; 4]) -> __m256i {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let words = _mm256_packs_epi16(
            _mm256_packs_epi32(levels[0], levels[1]),
            _mm256_packs_epi32(levels[2], levels[3]),
        );
        // Packing works on halves: it leaves the quadruples in the order 0 2 4 6 1 3 5 7.
        _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
    }
}

/// # Safety
/// The CPU has AVX2; `values` and `bytes` have the same multiple of 64 entries.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn round_bytes(values: &[f32], scale: f32, bytes: &mut [i8]) -> ByteSums {
    let scale = _mm256_set1_ps(scale);
    let (mut sum, mut squares) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for (values, bytes) in values.chunks_exact(32).zip(bytes.chunks_exact_mut(32)) {
        let mut levels = [_mm256_setzero_si256(); 4];
        for (nth, levels) in levels.iter_mut().enumerate() {
            // SAFETY: 8 of 32 floats.
            let values = unsafe { _mm256_loadu_ps(values.as_ptr().add(LANES * nth)) };
            *levels = _mm256_cvtps_epi32(_mm256_mul_ps(values, scale));
            sum = _mm256_add_epi32(sum, *levels);
            squares = _mm256_add_epi32(squares, _mm256_mullo_epi32(*levels, *levels));
        }
        // SAFETY: 32 bytes are written; AVX2 is enabled here.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), narrow(levels)) };
    }
    // SAFETY: AVX2 is enabled here.
    unsafe { ByteSums { sum: sum_lanes(sum), squares: sum_lanes(squares).cast_unsigned() } }
}

/// # Safety
/// The CPU has AVX2; `values` has a multiple of 64 entries, `tables` 16 bytes for each four.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn fill_tables(values: &[f32], scale: f32, tables: &mut [u8]) {
    scalar::fill_tables(values, scale, tables);
}

/// # Safety
/// The CPU has AVX2 and F16C.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn widen(halves: &[u8; 4 * CODE_ROWS], wide: &mut [f32; 2 * CODE_ROWS]) {
    for (halves, wide) in halves.chunks_exact(2 * LANES).zip(wide.chunks_exact_mut(LANES)) {
        // SAFETY: 16 bytes are read, 8 floats written.
        unsafe {
            let halves = _mm_loadu_si128(halves.as_ptr().cast());
            _mm256_storeu_ps(wide.as_mut_ptr(), _mm256_cvtph_ps(halves));
        }
    }
}

/// # Safety
/// The CPU has AVX2; both rows have 64 bytes for each word of signs.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn relate(own: BytesOf<'_>, other: BytesOf<'_>, signs: &mut [u64]) -> Relation {
    scalar::relate(own, other, signs)
}

/// # Safety
/// The CPU has AVX2; there are 64 values for each word of signs.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn signs(values: &[f32], signs: &mut [u64]) -> Norms {
    scalar::signs(values, signs)
}

/// # Safety
/// The CPU has AVX2; there are as many values as others, and a word for every 64 of them in each
/// plane.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn levels(
    values: &[f32],
    others: &[f32],
    scale: f32,
    planes: &mut [u64],
) -> Levels {
    let words = values.len() / 64;
    let [lowest, highest] =
        scalar::level_bounds(planes.len() / words).map(|bound| _mm256_set1_ps(bound));
    // Sixteen lanes, as everywhere: of two registers each.
    let [mut along, mut beside] = [[_mm256_set1_ps(0.0); 2]; 2];
    planes.fill(0);
    for at in (0..values.len()).step_by(LANES) {
        // SAFETY: 8 of both; AVX2 is enabled here.
        let (value, other) = unsafe {
            (_mm256_loadu_ps(values.as_ptr().add(at)), _mm256_loadu_ps(others.as_ptr().add(at)))
        };
        let scaled = _mm256_max_ps(_mm256_mul_ps(value, _mm256_set1_ps(scale)), lowest);
        let floor = _mm256_floor_ps(_mm256_min_ps(scaled, highest));
        let odd = _mm256_add_ps(_mm256_add_ps(floor, floor), _mm256_set1_ps(1.0));
        let half = at / LANES % 2;
        along[half] = _mm256_add_ps(along[half], _mm256_mul_ps(value, odd));
        beside[half] = _mm256_add_ps(beside[half], _mm256_mul_ps(other, odd));
        let level = _mm256_cvtps_epi32(_mm256_sub_ps(floor, lowest));
        for (weight, plane) in planes.chunks_exact_mut(words).enumerate() {
            // The bit of that weight, where a register keeps its signs.
            let shift = _mm_cvtsi32_si128(31 - weight as i32);
            let signs = _mm256_castsi256_ps(_mm256_sll_epi32(level, shift));
            let bits = _mm256_movemask_ps(signs).cast_unsigned();
            plane[at / 64] |= u64::from(bits) << (at % 64);
        }
    }
    // SAFETY: AVX2 is enabled here.
    unsafe { Levels { along: sum_floats(along), beside: sum_floats(beside) } }
}

/// The sum of sixteen lanes.
#[inline(always)]
unsafe fn sum_floats(registers: [__m256; 2]) -> f32 {
    let mut lanes = [0.0; scalar::LANES];
    for (lanes, register) in lanes.chunks_exact_mut(LANES).zip(registers) {
        // SAFETY: the caller vouches for AVX2; 8 floats are written.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), register) };
    }
    scalar::sum_lanes(lanes)
}
