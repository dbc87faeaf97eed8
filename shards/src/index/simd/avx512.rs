//! The kernels in AVX-512 (F, BW, VNNI).

use core::arch::x86_64::{
    __m128i, __m512, __m512i, _CMP_GE_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEG_INF,
    _mm_add_epi32, _mm_loadu_si128, _mm_storeu_si128, _mm_unpackhi_epi32, _mm_unpackhi_epi64,
    _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm256_loadu_si256, _mm512_abs_ps, _mm512_add_epi8,
    _mm512_add_epi16, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_castsi512_si256, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32, _mm512_cvtepu32_ps,
    _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_dpbusd_epi32, _mm512_extracti32x4_epi32,
    _mm512_extracti64x4_epi64, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_add_ps,
    _mm512_mask_sub_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_mullo_epi32,
    _mm512_permute_ps, _mm512_reduce_add_epi32, _mm512_roundscale_ps, _mm512_set1_epi8,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_shuffle_f32x4, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_sub_ps,
    _mm512_test_epi32_mask, _mm512_xor_si512,
};

use super::{
    ByteSums, BytesOf, CODE_ROWS, Combining, Estimating, Levels, Norms, Relation, TILE, scalar,
};

const LANES: usize = 16;

/// One butterfly across lanes: `partner` is `values` with the lanes exchanged, `signs` has the sign
/// bit where the lane is the right one of its pair.
#[inline(always)]
unsafe fn across(values: __m512, partner: __m512, signs: __m512i) -> __m512 {
    // SAFETY: the caller vouches for AVX-512F.
    unsafe {
        let signed = _mm512_xor_si512(_mm512_castps_si512(values), signs);
        _mm512_add_ps(partner, _mm512_castsi512_ps(signed))
    }
}

/// Sign bits of the lanes whose number has `bit`.
const fn sign_lanes(bit: usize) -> [u32; LANES] {
    let mut signs = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        if lane & bit != 0 {
            signs[lane] = 1 << 31;
        }
        lane += 1;
    }
    signs
}

/// # Safety
/// The CPU has AVX-512F; the length is a power of two of at least 64.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn hadamard(values: &mut [f32]) {
    let mut stride = values.len() / 2;
    while stride >= LANES {
        for pair in values.chunks_exact_mut(2 * stride) {
            let (left, right) = pair.split_at_mut(stride);
            let lanes = left.chunks_exact_mut(LANES).zip(right.chunks_exact_mut(LANES));
            for (left, right) in lanes {
                // SAFETY: both chunks hold 16 floats.
                unsafe {
                    let (a, b) = (_mm512_loadu_ps(left.as_ptr()), _mm512_loadu_ps(right.as_ptr()));
                    _mm512_storeu_ps(left.as_mut_ptr(), _mm512_add_ps(a, b));
                    _mm512_storeu_ps(right.as_mut_ptr(), _mm512_sub_ps(a, b));
                }
            }
        }
        stride /= 2;
    }
    const SIGNS: [[u32; LANES]; 4] = [sign_lanes(8), sign_lanes(4), sign_lanes(2), sign_lanes(1)];
    let mut signs = [_mm512_setzero_si512(); 4];
    for (register, lanes) in signs.iter_mut().zip(&SIGNS) {
        // SAFETY: an array of 16 words is 64 bytes.
        *register = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    }
    for lanes in values.chunks_exact_mut(LANES) {
        // SAFETY: the chunk holds 16 floats; AVX-512F is enabled here.
        unsafe {
            let v = _mm512_loadu_ps(lanes.as_ptr());
            let v = across(v, _mm512_shuffle_f32x4::<0b01_00_11_10>(v, v), signs[0]);
            let v = across(v, _mm512_shuffle_f32x4::<0b10_11_00_01>(v, v), signs[1]);
            let v = across(v, _mm512_permute_ps::<0b01_00_11_10>(v), signs[2]);
            let v = across(v, _mm512_permute_ps::<0b10_11_00_01>(v), signs[3]);
            _mm512_storeu_ps(lanes.as_mut_ptr(), v);
        }
    }
}

/// The sums of the 16 rows of one half: `even` has those of the even rows in the low bytes of each
/// lane's words, `odd` those of the odd rows, still apart for the four 128-bit parts.
#[inline(always)]
unsafe fn store_half(even: __m512i, odd: __m512i, sums: *mut u32) {
    // SAFETY: the caller vouches for AVX-512BW and for 16 words behind `sums`.
    unsafe {
        let even = fold_parts(even);
        let odd = fold_parts(odd);
        let low = _mm_unpacklo_epi32(even.0, odd.0);
        let high = _mm_unpackhi_epi32(even.0, odd.0);
        _mm_storeu_si128(sums.cast(), low);
        _mm_storeu_si128(sums.add(4).cast(), high);
        let low = _mm_unpacklo_epi32(even.1, odd.1);
        let high = _mm_unpackhi_epi32(even.1, odd.1);
        _mm_storeu_si128(sums.add(8).cast(), low);
        _mm_storeu_si128(sums.add(12).cast(), high);
    }
}

/// Adds the four 128-bit parts of 16-bit sums, widened to 32 bits.
#[inline(always)]
unsafe fn fold_parts(words: __m512i) -> (__m128i, __m128i) {
    // SAFETY: the caller vouches for AVX-512BW.
    unsafe {
        let low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words));
        let high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(words));
        let both = _mm512_add_epi32(low, high);
        // Words 0..4, then 4..8, of parts 0 and 2 with those of parts 1 and 3.
        let first = _mm_add_epi32(
            _mm512_extracti32x4_epi32::<0>(both),
            _mm512_extracti32x4_epi32::<2>(both),
        );
        let second = _mm_add_epi32(
            _mm512_extracti32x4_epi32::<1>(both),
            _mm512_extracti32x4_epi32::<3>(both),
        );
        (first, second)
    }
}

/// # Safety
/// The CPU has AVX-512BW; `codes` and `tables` have the same multiple of 256 bytes, at most
/// `TABLES_BYTES_MAX`.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn scan_block(codes: &[u8], tables: &[u8], sums: &mut [u32; CODE_ROWS]) {
    let nibble = _mm512_set1_epi8(15);
    let byte = _mm512_set1_epi16(255);
    let mut words = [_mm512_setzero_si512(); 4];
    for at in (0..codes.len()).step_by(256) {
        let mut low = _mm512_setzero_si512();
        let mut high = _mm512_setzero_si512();
        for group in 0..4 {
            let at = at + 64 * group;
            // SAFETY: lengths are the same multiple of 256, so 64 bytes follow in both.
            let (code, table) = unsafe {
                (
                    _mm512_loadu_si512(codes.as_ptr().add(at).cast()),
                    _mm512_loadu_si512(tables.as_ptr().add(at).cast()),
                )
            };
            let lower = _mm512_and_si512(code, nibble);
            let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(code), nibble);
            low = _mm512_add_epi8(low, _mm512_shuffle_epi8(table, lower));
            high = _mm512_add_epi8(high, _mm512_shuffle_epi8(table, upper));
        }
        words[0] = _mm512_add_epi16(words[0], _mm512_and_si512(low, byte));
        words[1] = _mm512_add_epi16(words[1], _mm512_srli_epi16::<8>(low));
        words[2] = _mm512_add_epi16(words[2], _mm512_and_si512(high, byte));
        words[3] = _mm512_add_epi16(words[3], _mm512_srli_epi16::<8>(high));
    }
    // SAFETY: AVX-512BW is enabled here; each half of `sums` has 16 words.
    unsafe {
        store_half(words[0], words[1], sums.as_mut_ptr());
        store_half(words[2], words[3], sums.as_mut_ptr().add(CODE_ROWS / 2));
    }
}

/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn estimate(
    with: &Estimating<'_>,
    sums: &[u32; CODE_ROWS],
    distances: &mut [f32; CODE_ROWS],
) -> u32 {
    let (step, base) = (_mm512_set1_ps(with.step), _mm512_set1_ps(with.base));
    let (scale, origin) = (_mm512_set1_ps(with.scale), _mm512_set1_ps(with.origin));
    let bound = _mm512_set1_ps(with.bound);
    let mut below = 0;
    for from in [0, LANES] {
        // SAFETY: 16 of 32 words, of 32 addends and of 32 factors, from 0 or 16 on.
        let (sums, addends, factors) = unsafe {
            (
                _mm512_loadu_si512(sums.as_ptr().add(from).cast()),
                _mm512_loadu_ps(with.factors.as_ptr().add(from)),
                _mm512_loadu_ps(with.factors.as_ptr().add(CODE_ROWS + from)),
            )
        };
        let product = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepu32_ps(sums), step), base);
        let relative = _mm512_add_ps(addends, _mm512_mul_ps(factors, product));
        let distance = _mm512_add_ps(origin, _mm512_mul_ps(relative, scale));
        // SAFETY: 16 of 32 floats from 0 or 16 on.
        unsafe { _mm512_storeu_ps(distances.as_mut_ptr().add(from), distance) };
        below |= u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(distance, bound)) << from;
    }
    below
}

/// # Safety
/// The CPU has AVX-512 VNNI; both sides have the same multiple of 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn dot(row: &[u8], query: &[i8]) -> i32 {
    let mut sums = [_mm512_setzero_si512(); 2];
    for (nth, (row, query)) in row.chunks_exact(64).zip(query.chunks_exact(64)).enumerate() {
        // SAFETY: both chunks hold 64 bytes.
        let (row, query) = unsafe {
            (_mm512_loadu_si512(row.as_ptr().cast()), _mm512_loadu_si512(query.as_ptr().cast()))
        };
        sums[nth % 2] = _mm512_dpbusd_epi32(sums[nth % 2], row, query);
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
}

#[inline(always)]
unsafe fn load(from: *const u8) -> __m512i {
    // SAFETY: the caller vouches for AVX-512F and for 64 bytes.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// The four 128-bit parts of a register, added.
#[inline(always)]
unsafe fn fold_lanes(register: __m512i) -> __m128i {
    // SAFETY: the caller vouches for AVX-512F.
    unsafe {
        let low = _mm_add_epi32(
            _mm512_extracti32x4_epi32::<0>(register),
            _mm512_extracti32x4_epi32::<1>(register),
        );
        let high = _mm_add_epi32(
            _mm512_extracti32x4_epi32::<2>(register),
            _mm512_extracti32x4_epi32::<3>(register),
        );
        _mm_add_epi32(low, high)
    }
}

/// The sums over the lanes of four registers.
#[inline(always)]
unsafe fn sum_lanes(registers: &[__m512i; 4], out: &mut [i32]) {
    assert_eq!(out.len(), 4);
    // SAFETY: the caller vouches for AVX-512F; `out` is 16 bytes.
    unsafe {
        let (a, b) = (fold_lanes(registers[0]), fold_lanes(registers[1]));
        let (c, d) = (fold_lanes(registers[2]), fold_lanes(registers[3]));
        let ab = _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let cd = _mm_add_epi32(_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        let sums = _mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
        _mm_storeu_si128(out.as_mut_ptr().cast(), sums);
    }
}

/// # Safety
/// The CPU has AVX-512 VNNI; `left` has four rows of the same multiple of 64 bytes, `right` a
/// multiple of four such rows, `products` a place for each pair.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn dot_strip(left: &[u8], right: &[u8], products: &mut [i32]) {
    let bytes = left.len() / TILE;
    let count = right.len() / bytes;
    let bias = _mm512_set1_epi8(i8::MIN);
    for (tile, right) in right.chunks_exact(TILE * bytes).enumerate() {
        let mut sums = [[_mm512_setzero_si512(); TILE]; TILE];
        for at in (0..bytes).step_by(64) {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: each side holds four rows of `bytes`, a multiple of 64.
                let left = unsafe { load(left.as_ptr().add(row * bytes + at)) };
                for (row, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let right = unsafe { load(right.as_ptr().add(row * bytes + at)) };
                    *sum = _mm512_dpbusd_epi32(*sum, left, _mm512_xor_si512(right, bias));
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let line = &mut products[row * count + tile * TILE..][..TILE];
            // SAFETY: AVX-512F is enabled here.
            unsafe { sum_lanes(sums, line) }
        }
    }
}

/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn combine(with: &Combining<'_>, products: &[i32], distances: &mut [f32]) {
    scalar::combine(with, products, distances);
}

/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn largest(values: &[f32]) -> f32 {
    scalar::largest(values)
}

/// # Safety
/// The CPU has AVX-512F; `values` and `bytes` have the same multiple of 64 entries.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn round_bytes(values: &[f32], scale: f32, bytes: &mut [i8]) -> ByteSums {
    let scale = _mm512_set1_ps(scale);
    let (mut sum, mut squares) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (values, bytes) in values.chunks_exact(LANES).zip(bytes.chunks_exact_mut(LANES)) {
        // SAFETY: 16 floats are read, 16 bytes written.
        unsafe {
            let levels = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(values.as_ptr()), scale));
            sum = _mm512_add_epi32(sum, levels);
            squares = _mm512_add_epi32(squares, _mm512_mullo_epi32(levels, levels));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(levels));
        }
    }
    ByteSums {
        sum: _mm512_reduce_add_epi32(sum),
        squares: _mm512_reduce_add_epi32(squares).cast_unsigned(),
    }
}

/// # Safety
/// The CPU has AVX-512F; `values` has a multiple of 64 entries, `tables` 16 bytes for each four.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn fill_tables(values: &[f32], scale: f32, tables: &mut [u8]) {
    let scale = _mm512_set1_ps(scale);
    let groups = values.chunks_exact(LANES).zip(tables.chunks_exact_mut(4 * LANES));
    for (values, tables) in groups {
        let mut lowest = [0.0; LANES];
        // SAFETY: 16 floats are read and 16 written.
        unsafe {
            let negative = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_loadu_ps(values.as_ptr()));
            let lift = _mm512_max_ps(negative, _mm512_setzero_ps());
            let pair = _mm512_add_ps(lift, _mm512_permute_ps::<0b10_11_00_01>(lift));
            let four = _mm512_add_ps(pair, _mm512_permute_ps::<0b01_00_11_10>(pair));
            _mm512_storeu_ps(lowest.as_mut_ptr(), four);
        }
        for (nth, table) in tables.chunks_exact_mut(LANES).enumerate() {
            let group = &values[4 * nth..4 * nth + 4];
            let sum = _mm512_set1_ps(lowest[4 * nth]);
            let sum = _mm512_mask_add_ps(sum, 0xaaaa, sum, _mm512_set1_ps(group[0]));
            let sum = _mm512_mask_add_ps(sum, 0xcccc, sum, _mm512_set1_ps(group[1]));
            let sum = _mm512_mask_add_ps(sum, 0xf0f0, sum, _mm512_set1_ps(group[2]));
            let sum = _mm512_mask_add_ps(sum, 0xff00, sum, _mm512_set1_ps(group[3]));
            let entries = _mm512_cvtps_epi32(_mm512_mul_ps(sum, scale));
            // SAFETY: 16 bytes are written.
            unsafe { _mm_storeu_si128(table.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(entries)) }
        }
    }
}

/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn widen(halves: &[u8; 4 * CODE_ROWS], wide: &mut [f32; 2 * CODE_ROWS]) {
    for (halves, wide) in halves.chunks_exact(2 * LANES).zip(wide.chunks_exact_mut(LANES)) {
        // SAFETY: 32 bytes are read, 16 floats written.
        unsafe {
            let halves = _mm256_loadu_si256(halves.as_ptr().cast());
            _mm512_storeu_ps(wide.as_mut_ptr(), _mm512_cvtph_ps(halves));
        }
    }
}

/// # Safety
/// The CPU has AVX-512F; there are 64 values for each word of signs.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn signs(values: &[f32], signs: &mut [u64]) -> Norms {
    let [mut squares, mut absolute] = [_mm512_setzero_ps(); 2];
    for (nth, word) in signs.iter_mut().enumerate() {
        *word = 0;
        for part in 0..64 / LANES {
            // SAFETY: 16 of 64 values; AVX-512F is enabled here.
            let value = unsafe { _mm512_loadu_ps(values.as_ptr().add(64 * nth + LANES * part)) };
            let positive = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(value, _mm512_setzero_ps());
            squares = _mm512_add_ps(squares, _mm512_mul_ps(value, value));
            absolute = _mm512_add_ps(absolute, _mm512_abs_ps(value));
            *word |= u64::from(positive) << (LANES * part);
        }
    }
    // SAFETY: AVX-512F is enabled here.
    unsafe { Norms { squares: sum_floats(squares), absolute: sum_floats(absolute) } }
}

/// # Safety
/// The CPU has AVX-512F; there are as many values as others, and a word for every 64 of them in
/// each plane.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn levels(
    values: &[f32],
    others: &[f32],
    scale: f32,
    planes: &mut [u64],
) -> Levels {
    const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    let words = values.len() / 64;
    let [lowest, highest] =
        scalar::level_bounds(planes.len() / words).map(|bound| _mm512_set1_ps(bound));
    let [mut along, mut beside] = [_mm512_setzero_ps(); 2];
    planes.fill(0);
    for at in (0..values.len()).step_by(LANES) {
        // SAFETY: 16 of both; AVX-512F is enabled here.
        let (value, other) = unsafe {
            (_mm512_loadu_ps(values.as_ptr().add(at)), _mm512_loadu_ps(others.as_ptr().add(at)))
        };
        let scaled = _mm512_max_ps(_mm512_mul_ps(value, _mm512_set1_ps(scale)), lowest);
        let floor = _mm512_roundscale_ps::<DOWN>(_mm512_min_ps(scaled, highest));
        let odd = _mm512_add_ps(_mm512_add_ps(floor, floor), _mm512_set1_ps(1.0));
        along = _mm512_add_ps(along, _mm512_mul_ps(value, odd));
        beside = _mm512_add_ps(beside, _mm512_mul_ps(other, odd));
        let level = _mm512_cvtps_epi32(_mm512_sub_ps(floor, lowest));
        for (weight, plane) in planes.chunks_exact_mut(words).enumerate() {
            let bits = _mm512_test_epi32_mask(level, _mm512_set1_epi32(1 << weight));
            plane[at / 64] |= u64::from(bits) << (at % 64);
        }
    }
    // SAFETY: AVX-512F is enabled here.
    unsafe { Levels { along: sum_floats(along), beside: sum_floats(beside) } }
}

/// Sixteen coordinates of a row of bytes.
#[inline(always)]
unsafe fn coordinates(bytes: *const u8, step: __m512) -> __m512 {
    // SAFETY: the caller vouches for AVX-512F and for 16 bytes.
    unsafe {
        let levels = _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.cast()));
        let levels = _mm512_sub_ps(_mm512_cvtepi32_ps(levels), _mm512_set1_ps(128.0));
        _mm512_mul_ps(levels, step)
    }
}

/// # Safety
/// The CPU has AVX-512F; both rows have 64 bytes for each word of signs.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn relate(own: BytesOf<'_>, other: BytesOf<'_>, signs: &mut [u64]) -> Relation {
    let (own_step, other_step) = (_mm512_set1_ps(own.step), _mm512_set1_ps(other.step));
    let [mut squares, mut absolute, mut along] = [_mm512_setzero_ps(); 3];
    for (nth, word) in signs.iter_mut().enumerate() {
        *word = 0;
        for part in 0..64 / LANES {
            let at = 64 * nth + LANES * part;
            // SAFETY: 16 bytes follow in both; AVX-512F is enabled here.
            let (value, other) = unsafe {
                (
                    coordinates(own.bytes.as_ptr().add(at), own_step),
                    coordinates(other.bytes.as_ptr().add(at), other_step),
                )
            };
            let difference = _mm512_sub_ps(other, value);
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(difference, _mm512_setzero_ps());
            squares = _mm512_add_ps(squares, _mm512_mul_ps(difference, difference));
            absolute = _mm512_add_ps(absolute, _mm512_abs_ps(difference));
            let signed = _mm512_mask_sub_ps(value, negative, _mm512_setzero_ps(), value);
            along = _mm512_add_ps(along, signed);
            *word |= u64::from(!negative) << (LANES * part);
        }
    }
    // SAFETY: AVX-512F is enabled here.
    unsafe {
        Relation {
            squares: sum_floats(squares),
            absolute: sum_floats(absolute),
            along: sum_floats(along),
        }
    }
}

#[inline(always)]
unsafe fn sum_floats(register: __m512) -> f32 {
    let mut lanes = [0.0; LANES];
    // SAFETY: the caller vouches for AVX-512F; 16 floats are written.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), register) };
    scalar::sum_lanes(lanes)
}
