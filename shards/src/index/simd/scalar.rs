//! The kernels in plain Rust: the oracle of the tests.

use half::f16;

use super::{
    ByteSums, BytesOf, CODE_ROWS, Combining, DIMENSIONS_STEP, Estimating, Levels, Norms, Relation,
    TABLE_DIMENSIONS, TABLE_ENTRIES, TILE,
};

pub(super) fn hadamard(values: &mut [f32]) {
    let mut stride = values.len() / 2;
    while stride > 0 {
        for pair in values.chunks_exact_mut(2 * stride) {
            let (left, right) = pair.split_at_mut(stride);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        stride /= 2;
    }
}

pub(super) fn scan_block(codes: &[u8], tables: &[u8], sums: &mut [u32; CODE_ROWS]) {
    sums.fill(0);
    let groups = codes.chunks_exact(TABLE_ENTRIES).zip(tables.chunks_exact(TABLE_ENTRIES));
    for (codes, table) in groups {
        for (row, &code) in codes.iter().enumerate() {
            sums[row] += u32::from(table[usize::from(code & 15)]);
            sums[row + CODE_ROWS / 2] += u32::from(table[usize::from(code >> 4)]);
        }
    }
}

pub(super) fn estimate(
    with: &Estimating<'_>,
    sums: &[u32; CODE_ROWS],
    distances: &mut [f32; CODE_ROWS],
) -> u32 {
    let mut below = 0;
    for (nth, &sum) in sums.iter().enumerate() {
        #[allow(clippy::cast_precision_loss)]
        let product = sum as f32 * with.step + with.base;
        let relative = with.factors[nth] + with.factors[nth + CODE_ROWS] * product;
        distances[nth] = with.origin + relative * with.scale;
        below |= u32::from(distances[nth] < with.bound) << nth;
    }
    below
}

pub(super) fn dot(row: &[u8], query: &[i8]) -> i32 {
    row.iter().zip(query).map(|(&row, &query)| i32::from(row) * i32::from(query)).sum()
}

pub(super) fn dot_strip(left: &[u8], right: &[u8], products: &mut [i32]) {
    let bytes = left.len() / TILE;
    let lines = products.chunks_exact_mut(right.len() / bytes);
    for (left, line) in left.chunks_exact(bytes).zip(lines) {
        for (right, product) in right.chunks_exact(bytes).zip(line) {
            let terms = left.iter().zip(right).map(|(&l, &r)| i32::from(l) * (i32::from(r) - 128));
            *product = terms.sum();
        }
    }
}

/// The kernels below are written for sixteen lanes at a time and are the same for all: compiled for
/// an instruction set, the compiler puts the lanes into its registers.
pub(super) const LANES: usize = 16;

#[inline(always)]
pub(super) fn combine(with: &Combining<'_>, products: &[i32], distances: &mut [f32]) {
    let rows = with.steps.iter().zip(with.norms).zip(with.sums);
    for ((distance, &product), ((&step, &norm), &sum)) in
        distances.iter_mut().zip(products).zip(rows)
    {
        #[allow(clippy::cast_precision_loss)]
        let product = (product - 128 * sum) as f32;
        *distance = (with.norm + norm) - 2.0 * (product * (with.step * step));
    }
}

#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for chunk in values.chunks_exact(LANES) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            let value = value.abs();
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.into_iter().fold(0.0, f32::max)
}

pub(super) fn round_bytes(values: &[f32], scale: f32, bytes: &mut [i8]) -> ByteSums {
    let mut sums = ByteSums::default();
    for (byte, value) in bytes.iter_mut().zip(values) {
        #[allow(clippy::cast_possible_truncation)]
        let level = (value * scale).round_ties_even() as i8;
        *byte = level;
        sums.sum += i32::from(level);
        sums.squares += u32::from(level.unsigned_abs()) * u32::from(level.unsigned_abs());
    }
    sums
}

pub(super) fn fill_tables(values: &[f32], scale: f32, tables: &mut [u8]) {
    let groups = values.chunks_exact(TABLE_DIMENSIONS);
    for (table, group) in tables.chunks_exact_mut(TABLE_ENTRIES).zip(groups) {
        let lift = |nth: usize| (-group[nth]).max(0.0);
        let lowest = (lift(0) + lift(1)) + (lift(2) + lift(3));
        for (number, entry) in table.iter_mut().enumerate() {
            let mut sum = lowest;
            for (bit, value) in group.iter().enumerate() {
                sum += if number & 1 << bit == 0 { 0.0 } else { *value };
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let rounded = (sum * scale).round_ties_even() as u8;
            *entry = rounded;
        }
    }
}

pub(super) fn widen(halves: &[u8; 4 * CODE_ROWS], wide: &mut [f32; 2 * CODE_ROWS]) {
    for (wide, le) in wide.iter_mut().zip(halves.chunks_exact(2)) {
        *wide = f16::from_le_bytes([le[0], le[1]]).to_f32();
    }
}

/// The sum of sixteen lanes, halves added to halves.
#[inline(always)]
pub(super) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for nth in 0..width {
            lanes[nth] += lanes[nth + width];
        }
        width /= 2;
    }
    lanes[0]
}

pub(super) fn signs(values: &[f32], signs: &mut [u64]) -> Norms {
    let [mut squares, mut absolute] = [[0.0; LANES]; 2];
    for (word, values) in signs.iter_mut().zip(values.chunks_exact(DIMENSIONS_STEP)) {
        *word = 0;
        for (nth, &value) in values.iter().enumerate() {
            squares[nth % LANES] += value * value;
            absolute[nth % LANES] += value.abs();
            *word |= u64::from(value >= 0.0) << nth;
        }
    }
    Norms { squares: sum_lanes(squares), absolute: sum_lanes(absolute) }
}

#[inline(always)]
pub(super) fn levels(values: &[f32], others: &[f32], scale: f32, planes: &mut [u64]) -> Levels {
    let words = values.len() / DIMENSIONS_STEP;
    let [lowest, highest] = level_bounds(planes.len() / words);
    planes.fill(0);
    let [mut along, mut beside] = [[0.0; LANES]; 2];
    for (nth, (&value, &other)) in values.iter().zip(others).enumerate() {
        let scaled = value * scale;
        let scaled = if scaled > lowest { scaled } else { lowest };
        let scaled = if scaled < highest { scaled } else { highest };
        let floor = scaled.floor();
        let odd = 2.0 * floor + 1.0;
        along[nth % LANES] += value * odd;
        beside[nth % LANES] += other * odd;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let level = (floor - lowest) as u32;
        let (word, bit) = (nth / DIMENSIONS_STEP, nth % DIMENSIONS_STEP);
        for (weight, plane) in planes.chunks_exact_mut(words).enumerate() {
            plane[word] |= u64::from(level >> weight & 1) << bit;
        }
    }
    Levels { along: sum_lanes(along), beside: sum_lanes(beside) }
}

/// The lowest and the highest level, before they are made odd.
#[inline(always)]
pub(super) fn level_bounds(bits: usize) -> [f32; 2] {
    #[allow(clippy::cast_precision_loss)]
    let half = (1 << bits >> 1) as f32;
    [-half, half - 1.0]
}

pub(super) fn relate(own: BytesOf<'_>, other: BytesOf<'_>, signs: &mut [u64]) -> Relation {
    let [mut squares, mut absolute, mut along] = [[0.0; LANES]; 3];
    let words =
        own.bytes.chunks_exact(DIMENSIONS_STEP).zip(other.bytes.chunks_exact(DIMENSIONS_STEP));
    for (word, (owns, others)) in signs.iter_mut().zip(words) {
        *word = 0;
        for (nth, (&own_byte, &other_byte)) in owns.iter().zip(others).enumerate() {
            let value = (f32::from(own_byte) - 128.0) * own.step;
            let difference = (f32::from(other_byte) - 128.0) * other.step - value;
            let is_negative = difference < 0.0;
            squares[nth % LANES] += difference * difference;
            absolute[nth % LANES] += difference.abs();
            along[nth % LANES] += if is_negative { -value } else { value };
            *word |= u64::from(!is_negative) << nth;
        }
    }
    Relation { squares: sum_lanes(squares), absolute: sum_lanes(absolute), along: sum_lanes(along) }
}
