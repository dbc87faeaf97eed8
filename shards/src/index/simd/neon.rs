//! The kernels in NEON.

use core::arch::aarch64::{
    int32x4_t, uint16x8_t, vaddq_f32, vaddq_u8, vaddq_u16, vaddvq_s32, vandq_u8, vandq_u16,
    vdupq_n_s32, vdupq_n_u8, vdupq_n_u16, veorq_u8, veorq_u32, vextq_f32, vget_high_s8,
    vget_high_u8, vget_low_s8, vget_low_s16, vget_low_u8, vld1q_f32, vld1q_s8, vld1q_u8, vld1q_u32,
    vmlal_high_s16, vmlal_s16, vmovl_s8, vmovl_u8, vqtbl1q_u8, vreinterpretq_f32_u32,
    vreinterpretq_s8_u8, vreinterpretq_s16_u16, vreinterpretq_u16_u8, vreinterpretq_u32_f32,
    vrev64q_f32, vshrq_n_u8, vshrq_n_u16, vst1q_f32, vst1q_s8, vst1q_u16, vsubq_f32,
};

use super::{
    ByteSums, BytesOf, CODE_ROWS, Combining, Estimating, Levels, Norms, Relation, TABLE_ENTRIES,
    TILE, scalar,
};

const LANES: usize = 4;
const SIGN: u32 = 1 << 31;

/// # Safety
/// The CPU has NEON; the length is a power of two of at least 64.
#[target_feature(enable = "neon")]
pub(super) unsafe fn hadamard(values: &mut [f32]) {
    let mut stride = values.len() / 2;
    while stride >= LANES {
        for pair in values.chunks_exact_mut(2 * stride) {
            let (left, right) = pair.split_at_mut(stride);
            let lanes = left.chunks_exact_mut(LANES).zip(right.chunks_exact_mut(LANES));
            for (left, right) in lanes {
                // SAFETY: both chunks hold 4 floats.
                unsafe {
                    let (a, b) = (vld1q_f32(left.as_ptr()), vld1q_f32(right.as_ptr()));
                    vst1q_f32(left.as_mut_ptr(), vaddq_f32(a, b));
                    vst1q_f32(right.as_mut_ptr(), vsubq_f32(a, b));
                }
            }
        }
        stride /= 2;
    }
    // SAFETY: arrays of 4 words.
    let (by_two, by_one) =
        unsafe { (vld1q_u32([0, 0, SIGN, SIGN].as_ptr()), vld1q_u32([0, SIGN, 0, SIGN].as_ptr())) };
    for lanes in values.chunks_exact_mut(LANES) {
        // SAFETY: the chunk holds 4 floats.
        unsafe {
            let v = vld1q_f32(lanes.as_ptr());
            let signed = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), by_two));
            let v = vaddq_f32(vextq_f32::<2>(v, v), signed);
            let signed = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), by_one));
            vst1q_f32(lanes.as_mut_ptr(), vaddq_f32(vrev64q_f32(v), signed));
        }
    }
}

fn words(register: uint16x8_t) -> [u16; 8] {
    let mut words = [0; 8];
    // SAFETY: `words` is 16 bytes; NEON is part of every aarch64 this is compiled for.
    unsafe { vst1q_u16(words.as_mut_ptr(), register) };
    words
}

/// # Safety
/// The CPU has NEON; `codes` and `tables` have the same multiple of 256 bytes, at most
/// `TABLES_BYTES_MAX`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn scan_block(codes: &[u8], tables: &[u8], sums: &mut [u32; CODE_ROWS]) {
    let nibble = vdupq_n_u8(15);
    let byte = vdupq_n_u16(255);
    let mut halves = [[vdupq_n_u16(0); 2]; 2];
    let quads = codes.chunks_exact(4 * TABLE_ENTRIES).zip(tables.chunks_exact(4 * TABLE_ENTRIES));
    for (codes, tables) in quads {
        let mut entries = [vdupq_n_u8(0); 2];
        let groups = codes.chunks_exact(TABLE_ENTRIES).zip(tables.chunks_exact(TABLE_ENTRIES));
        for (codes, table) in groups {
            // SAFETY: both chunks hold 16 bytes.
            let (code, table) = unsafe { (vld1q_u8(codes.as_ptr()), vld1q_u8(table.as_ptr())) };
            entries[0] = vaddq_u8(entries[0], vqtbl1q_u8(table, vandq_u8(code, nibble)));
            entries[1] = vaddq_u8(entries[1], vqtbl1q_u8(table, vshrq_n_u8::<4>(code)));
        }
        for (half, entries) in halves.iter_mut().zip(entries) {
            let pairs = vreinterpretq_u16_u8(entries);
            half[0] = vaddq_u16(half[0], vandq_u16(pairs, byte));
            half[1] = vaddq_u16(half[1], vshrq_n_u16::<8>(pairs));
        }
    }
    for (half, sums) in halves.into_iter().zip(sums.chunks_exact_mut(CODE_ROWS / 2)) {
        let [even, odd] = half.map(words);
        for (nth, pair) in sums.chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&[u32::from(even[nth]), u32::from(odd[nth])]);
        }
    }
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn estimate(
    with: &Estimating<'_>,
    sums: &[u32; CODE_ROWS],
    distances: &mut [f32; CODE_ROWS],
) -> u32 {
    scalar::estimate(with, sums, distances)
}

/// Adds 16 products, as words.
#[target_feature(enable = "neon")]
unsafe fn add_products(sum: int32x4_t, row: *const u8, query: *const i8) -> int32x4_t {
    // SAFETY: the caller vouches for 16 bytes behind each pointer.
    let (row, query) = unsafe { (vld1q_u8(row), vld1q_s8(query)) };
    let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(row)));
    let high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(row)));
    let (q_low, q_high) = (vmovl_s8(vget_low_s8(query)), vmovl_s8(vget_high_s8(query)));
    let sum = vmlal_s16(sum, vget_low_s16(low), vget_low_s16(q_low));
    let sum = vmlal_high_s16(sum, low, q_low);
    let sum = vmlal_s16(sum, vget_low_s16(high), vget_low_s16(q_high));
    vmlal_high_s16(sum, high, q_high)
}

/// # Safety
/// The CPU has NEON; both sides have the same multiple of 64 bytes.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot(row: &[u8], query: &[i8]) -> i32 {
    let mut sum = vdupq_n_s32(0);
    for (row, query) in row.chunks_exact(16).zip(query.chunks_exact(16)) {
        // SAFETY: both chunks hold 16 bytes.
        sum = unsafe { add_products(sum, row.as_ptr(), query.as_ptr()) };
    }
    vaddvq_s32(sum)
}

/// # Safety
/// The CPU has NEON; `left` has four rows of the same multiple of 64 bytes, `right` a multiple of
/// four such rows, `products` a place for each pair.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot_strip(left: &[u8], right: &[u8], products: &mut [i32]) {
    let bytes = left.len() / TILE;
    let bias = vdupq_n_u8(128);
    let mut unbiased = [0_i8; 16];
    let lines = products.chunks_exact_mut(right.len() / bytes);
    for (left, line) in left.chunks_exact(bytes).zip(lines) {
        for (right, product) in right.chunks_exact(bytes).zip(line) {
            let mut sum = vdupq_n_s32(0);
            for (left, right) in left.chunks_exact(16).zip(right.chunks_exact(16)) {
                // SAFETY: both chunks hold 16 bytes, and so does `unbiased`.
                unsafe {
                    let flipped = veorq_u8(vld1q_u8(right.as_ptr()), bias);
                    vst1q_s8(unbiased.as_mut_ptr(), vreinterpretq_s8_u8(flipped));
                    sum = add_products(sum, left.as_ptr(), unbiased.as_ptr());
                }
            }
            *product = vaddvq_s32(sum);
        }
    }
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn combine(with: &Combining<'_>, products: &[i32], distances: &mut [f32]) {
    scalar::combine(with, products, distances);
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn largest(values: &[f32]) -> f32 {
    scalar::largest(values)
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn round_bytes(values: &[f32], scale: f32, bytes: &mut [i8]) -> ByteSums {
    scalar::round_bytes(values, scale, bytes)
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn fill_tables(values: &[f32], scale: f32, tables: &mut [u8]) {
    scalar::fill_tables(values, scale, tables);
}

/// # Safety
/// The CPU has NEON. Conversions of halves are no stable intrinsics there; the compiler makes the
/// best of the plain form.
#[target_feature(enable = "neon")]
pub(super) unsafe fn widen(halves: &[u8; 4 * CODE_ROWS], wide: &mut [f32; 2 * CODE_ROWS]) {
    scalar::widen(halves, wide);
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn relate(own: BytesOf<'_>, other: BytesOf<'_>, signs: &mut [u64]) -> Relation {
    scalar::relate(own, other, signs)
}

/// # Safety
/// The CPU has NEON; there are 64 values for each word of signs.
#[target_feature(enable = "neon")]
pub(super) unsafe fn signs(values: &[f32], signs: &mut [u64]) -> Norms {
    scalar::signs(values, signs)
}

/// # Safety
/// The CPU has NEON; there are as many values as others, and a word for every 64 of them in each
/// plane.
#[target_feature(enable = "neon")]
pub(super) unsafe fn levels(
    values: &[f32],
    others: &[f32],
    scale: f32,
    planes: &mut [u64],
) -> Levels {
    scalar::levels(values, others, scale, planes)
}
