//! The kernels in plain Rust: the oracle of the tests.

use super::{CODE_ROWS, TABLE_ENTRIES, TILE};

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

pub(super) fn dot(row: &[u8], query: &[i8]) -> i32 {
    row.iter().zip(query).map(|(&row, &query)| i32::from(row) * i32::from(query)).sum()
}

pub(super) fn dot_tile(left: &[u8], right: &[u8], products: &mut [[i32; TILE]; TILE]) {
    let bytes = left.len() / TILE;
    for (left, products) in left.chunks_exact(bytes).zip(products) {
        for (right, product) in right.chunks_exact(bytes).zip(products) {
            let terms = left.iter().zip(right).map(|(&l, &r)| i32::from(l) * (i32::from(r) - 128));
            *product = terms.sum();
        }
    }
}
