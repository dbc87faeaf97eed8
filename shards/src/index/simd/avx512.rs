//! The kernels in AVX-512 (F, BW, VNNI).

use core::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_add_epi32, _mm_storeu_si128, _mm_unpackhi_epi32,
    _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm512_add_epi8, _mm512_add_epi16,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_castsi512_si256, _mm512_cvtepu16_epi32, _mm512_dpbusd_epi32, _mm512_extracti32x4_epi32,
    _mm512_extracti64x4_epi64, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_permute_ps,
    _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_shuffle_f32x4, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_sub_ps,
    _mm512_xor_si512,
};

use super::{CODE_ROWS, TILE};

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
    let signs = SIGNS.map(|signs| {
        // SAFETY: an array of 16 words is 64 bytes.
        unsafe { _mm512_loadu_si512(signs.as_ptr().cast()) }
    });
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

/// The sums over the lanes of four registers.
#[inline(always)]
unsafe fn sum_lanes(registers: [__m512i; 4], out: &mut [i32; 4]) {
    // SAFETY: the caller vouches for AVX-512F; `out` is 16 bytes.
    unsafe {
        let [a, b, c, d] = registers.map(|register| {
            let low = _mm_add_epi32(
                _mm512_extracti32x4_epi32::<0>(register),
                _mm512_extracti32x4_epi32::<1>(register),
            );
            let high = _mm_add_epi32(
                _mm512_extracti32x4_epi32::<2>(register),
                _mm512_extracti32x4_epi32::<3>(register),
            );
            _mm_add_epi32(low, high)
        });
        let ab = _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let cd = _mm_add_epi32(_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        let sums = _mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
        _mm_storeu_si128(out.as_mut_ptr().cast(), sums);
    }
}

/// # Safety
/// The CPU has AVX-512 VNNI; both sides have the same multiple of four times 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn dot_tile(left: &[u8], right: &[u8], products: &mut [[i32; TILE]; TILE]) {
    let bytes = left.len() / TILE;
    let bias = _mm512_set1_epi8(i8::MIN);
    let mut sums = [[_mm512_setzero_si512(); TILE]; TILE];
    for at in (0..bytes).step_by(64) {
        let load = |side: &[u8], row: usize| {
            // SAFETY: each side holds four rows of `bytes`, a multiple of 64.
            unsafe { _mm512_loadu_si512(side.as_ptr().add(row * bytes + at).cast()) }
        };
        let right: [__m512i; TILE] =
            std::array::from_fn(|row| _mm512_xor_si512(load(right, row), bias));
        for (row, sums) in sums.iter_mut().enumerate() {
            let left = load(left, row);
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = _mm512_dpbusd_epi32(*sum, left, right);
            }
        }
    }
    for (sums, products) in sums.into_iter().zip(products) {
        // SAFETY: AVX-512F is enabled here.
        unsafe { sum_lanes(sums, products) }
    }
}
