//! Moving rows in and out of a dimension-major block.
//!
//! These are copies in plain Rust: nothing here depends on the instruction set. Writing or reading
//! one row touches one cache line for each component; a full block is better transposed at once.

use super::BLOCK_ROWS;

/// Rows and dimensions of a tile: both sides of a tile row are one cache line.
const TILE: usize = 16;

/// Turns 64 row-major rows of `dims` components into the block that holds them.
///
/// # Panics
///
/// When `rows` or `block` does not hold exactly `64 * dims` floats.
pub fn transpose(rows: &[f32], dims: usize, block: &mut [f32]) {
    assert_eq!(rows.len(), BLOCK_ROWS * dims, "floats in 64 rows of {dims} components");
    assert_eq!(block.len(), BLOCK_ROWS * dims, "floats in a block of {dims} components");
    for (band, lines) in block.chunks_mut(TILE * BLOCK_ROWS).enumerate() {
        let first = band * TILE;
        for start in (0..BLOCK_ROWS).step_by(TILE) {
            let row = |r: usize| &rows[(start + r) * dims + first..(start + r + 1) * dims];
            transpose_tile(std::array::from_fn(row), &mut *lines, start);
        }
    }
}

/// Writes up to `TILE` components of `TILE` rows to the columns from `start` on of `lines`.
#[inline]
fn transpose_tile(rows: [&[f32]; TILE], lines: &mut [f32], start: usize) {
    for (d, line) in lines.chunks_exact_mut(BLOCK_ROWS).enumerate() {
        for (to, row) in line[start..start + TILE].iter_mut().zip(rows) {
            *to = row[d];
        }
    }
}

/// Writes `row` as row `r` of `block`.
///
/// # Panics
///
/// When `r` is not below 64 or `block` does not hold 64 floats for each component of `row`.
pub fn put_column(row: &[f32], r: usize, block: &mut [f32]) {
    check_row(row, r, block);
    for (line, &component) in block.chunks_exact_mut(BLOCK_ROWS).zip(row) {
        line[r] = component;
    }
}

/// Reads row `r` of `block` into `out`.
///
/// # Panics
///
/// When `r` is not below 64 or `block` does not hold 64 floats for each component of `out`.
pub fn get_row(block: &[f32], r: usize, out: &mut [f32]) {
    check_row(out, r, block);
    for (line, component) in block.chunks_exact(BLOCK_ROWS).zip(out) {
        *component = line[r];
    }
}

fn check_row(row: &[f32], r: usize, block: &[f32]) {
    assert!(r < BLOCK_ROWS, "a block has {BLOCK_ROWS} rows, got row {r}");
    assert_eq!(
        block.len(),
        BLOCK_ROWS * row.len(),
        "floats in a block of {} components",
        row.len()
    );
}
