//! Every instruction set of this CPU against the definition, bit by bit.

use proptest::prelude::*;

use super::{Kernels, NonFinite, kernels, padded, row_floats};
use crate::limits::DIMENSIONS_MAX;

/// Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Usually a number near 1; every other time of any magnitude from the denormals to 2⁵⁶,
    /// whose squared differences still add up over 4096 dimensions without overflow.
    fn component(&mut self) -> f32 {
        let bits = self.next();
        let exponent = match bits % 2 {
            0 => 120 + (bits >> 40) as u32 % 8,
            _ => (bits >> 40) as u32 % (127 + 56),
        };
        let (sign, mantissa) = ((bits >> 1) as u32 & (1 << 31), (bits >> 8) as u32 & 0x7F_FFFF);
        f32::from_bits(sign | exponent << 23 | mantissa)
    }

    fn components(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.component()).collect()
    }
}

/// The score of one row as the top of `mod.rs` defines it, without a thought of speed.
fn by_definition(query: &[f32], row: &[f32], step: fn(f32, f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; 64];
    for (d, (&row, &query)) in row.iter().zip(query).enumerate() {
        sums[d % 64] = step(row, query, sums[d % 64]);
    }
    let mut sums = sums.to_vec();
    while sums.len() > 1 {
        let (lower, upper) = sums.split_at(sums.len() / 2);
        sums = lower.iter().zip(upper).map(|(lower, upper)| lower + upper).collect();
    }
    sums[0]
}

fn dot_by_definition(query: &[f32], row: &[f32]) -> f32 {
    by_definition(query, row, |x, q, sum| x.mul_add(q, sum))
}

fn l2_by_definition(query: &[f32], row: &[f32]) -> f32 {
    by_definition(query, row, |x, q, sum| (x - q).mul_add(x - q, sum))
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// Rows one behind the other, padded.
fn padded_rows(random: &mut Random, dims: usize, count: usize) -> Vec<f32> {
    (0..count).flat_map(|_| padded(&random.components(dims))).collect()
}

fn assert_all_kernels_match(query: &[f32], rows: &[f32]) {
    let scores = |score: fn(&[f32], &[f32]) -> f32| -> Vec<f32> {
        rows.chunks_exact(query.len()).map(|row| score(query, row)).collect()
    };
    let (dots, l2s) = (scores(dot_by_definition), scores(l2_by_definition));
    assert!(dots.iter().chain(&l2s).all(|score| score.is_finite()));
    for kernels in Kernels::all_supported() {
        let (name, floats) = (kernels.name(), query.len());
        let mut scores = vec![f32::NAN; dots.len()];
        kernels.dot_rows(query, rows, &mut scores);
        assert_eq!(bits(&scores), bits(&dots), "dot, {name}, rows of {floats} floats");
        scores.fill(f32::NAN);
        kernels.l2_rows(query, rows, &mut scores);
        assert_eq!(bits(&scores), bits(&l2s), "l2, {name}, rows of {floats} floats");
        for (row, (dot, l2)) in rows.chunks_exact(floats).zip(dots.iter().zip(&l2s)) {
            assert_eq!(kernels.dot(query, row).to_bits(), dot.to_bits(), "dot alone, {name}");
            assert_eq!(kernels.l2(query, row).to_bits(), l2.to_bits(), "l2 alone, {name}");
        }
    }
}

#[test]
fn small_rows_score_as_by_hand() {
    let rows = [[1.0, 2.0, 3.0], [0.0; 3], [-1.0, 0.5, 8.0]].map(|row| padded(&row)).concat();
    let query = padded(&[4.0, 5.0, 6.0]);
    for kernels in Kernels::all_supported() {
        let mut scores = [f32::NAN; 3];
        kernels.dot_rows(&query, &rows, &mut scores);
        assert_eq!(scores, [32.0, 0.0, 46.5], "{}", kernels.name());
        kernels.l2_rows(&query, &rows, &mut scores);
        assert_eq!(scores, [27.0, 77.0, 49.25], "{}", kernels.name());
    }
}

#[test]
fn every_kind_of_dimension_gives_the_same_bits() {
    for dims in (1..=130).chain([768, 1024, 1536, DIMENSIONS_MAX]) {
        let mut random = Random(dims as u64);
        for count in 1..=9 {
            let query = padded(&random.components(dims));
            let rows = padded_rows(&mut random, dims, count);
            assert_all_kernels_match(&query, &rows);
        }
    }
}

#[test]
fn padding_is_to_whole_lines_and_zero() {
    assert_eq!([1, 16, 17, 768].map(row_floats), [16, 16, 32, 768]);
    let query = padded(&[3.0; 17]);
    assert_eq!((&query[..17], &query[17..]), (&[3.0; 17][..], &[0.0; 15][..]));
}

#[test]
fn overflow_saturates_to_the_same_infinity() {
    let (rows, query) = ([f32::MAX; 5 * 16], padded(&[f32::MAX, 2.0, 1.0, 0.5, 0.0]));
    for kernels in Kernels::all_supported() {
        let mut scores = [f32::NAN; 5];
        kernels.dot_rows(&query, &rows, &mut scores);
        assert_eq!(scores, [f32::INFINITY; 5], "dot, {}", kernels.name());
        kernels.l2_rows(&query, &rows, &mut scores);
        assert_eq!(scores, [f32::INFINITY; 5], "l2, {}", kernels.name());
    }
}

#[test]
fn denormals_are_kept() {
    let rows = [f32::from_bits(1); 6 * 16];
    for kernels in Kernels::all_supported() {
        let mut scores = [f32::NAN; 6];
        kernels.dot_rows(&padded(&[1.0, 2.0, 4.0]), &rows, &mut scores);
        assert_eq!(scores, [f32::from_bits(7); 6], "{}", kernels.name());
    }
}

#[test]
fn scores_do_not_depend_on_alignment() {
    let mut random = Random(7);
    let (floats, query) = (random.components(112 * 7 + 15), random.components(112));
    for offset in 0..16 {
        assert_all_kernels_match(&query, &floats[offset..offset + 112 * 7]);
    }
}

#[test]
fn the_chosen_kernels_are_the_first_supported() {
    let names: Vec<_> = Kernels::all_supported().map(Kernels::name).collect();
    assert_eq!(kernels().name(), names[0]);
    assert_eq!(names.last(), Some(&"scalar"));
}

#[test]
#[should_panic(expected = "multiple of 16 floats, the query has 17")]
fn a_query_that_is_not_padded_is_refused() {
    kernels().dot(&[0.0; 17], &[0.0; 17]);
}

#[test]
#[should_panic(expected = "multiple of 16 floats, the query has 0")]
fn an_empty_query_is_refused() {
    kernels().l2(&[], &[]);
}

#[test]
#[should_panic(expected = "2 rows as long as the query have 64 floats, got 63")]
fn a_short_row_is_refused() {
    kernels().dot_rows(&[0.0; 32], &[0.0; 63], &mut [0.0; 2]);
}

#[test]
#[should_panic(expected = "2 rows as long as the query have 64 floats, got 96")]
fn a_row_too_many_is_refused() {
    kernels().l2_rows(&[0.0; 32], &[0.0; 96], &mut [0.0; 2]);
}

fn le_bytes(components: &[f32]) -> Vec<u8> {
    components.iter().flat_map(|component| component.to_le_bytes()).collect()
}

#[test]
fn the_norm_has_the_same_bits_everywhere() {
    for dims in (0..=100).chain([768, 1536, DIMENSIONS_MAX]) {
        let components = Random(dims as u64).components(dims);
        let mut lanes = [0.0_f64; 16];
        for (i, component) in components.iter().enumerate() {
            lanes[i % 16] += f64::from(*component) * f64::from(*component);
        }
        let norm = lanes.iter().fold(0.0, |sum, lane| sum + lane).sqrt();
        for kernels in Kernels::all_supported() {
            let validated = kernels.validate(&le_bytes(&components)).expect("finite");
            assert_eq!(validated.to_bits(), norm.to_bits(), "{}, {dims}", kernels.name());
        }
    }
}

#[test]
fn a_small_norm_is_as_by_hand() {
    for kernels in Kernels::all_supported() {
        assert_eq!(kernels.validate(&le_bytes(&[3.0, -4.0])), Ok(5.0), "{}", kernels.name());
    }
}

#[test]
fn the_norm_of_powers_of_two_is_exact() {
    for kernels in Kernels::all_supported() {
        assert_eq!(kernels.validate(&le_bytes(&[-0.0; 33])), Ok(0.0));
        let huge = 2.0_f32.powi(127);
        let largest = kernels.validate(&le_bytes(&[huge; DIMENSIONS_MAX]));
        assert_eq!(largest, Ok(f64::from(huge) * 64.0));
        let smallest = kernels.validate(&le_bytes(&[f32::from_bits(1); 4]));
        assert_eq!(smallest, Ok(f64::from(f32::from_bits(1)) * 2.0));
    }
}

#[test]
fn the_first_component_that_is_not_finite_is_named() {
    for kernels in Kernels::all_supported() {
        for index in 0..70 {
            for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let mut components = [1.0; 70];
                components[index..].fill(f32::INFINITY);
                components[index] = value;
                let error = kernels.validate(&le_bytes(&components)).expect_err("not finite");
                assert_eq!(error.index, index, "{}", kernels.name());
                assert_eq!(error.value.to_bits(), value.to_bits(), "{}", kernels.name());
            }
        }
    }
    assert_eq!(
        NonFinite { index: 3, value: f32::NAN }.to_string(),
        "component 3 is NaN; every component must be a finite number"
    );
}

#[test]
#[should_panic(expected = "a multiple of 4 bytes, got 7")]
fn a_blob_cut_in_a_component_is_refused() {
    let _ = kernels().validate(&[0; 7]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_dimension_gives_the_same_bits(
        dims in 131..=DIMENSIONS_MAX, rows in 1..9_usize, seed: u64
    ) {
        let mut random = Random(seed);
        let query = padded(&random.components(dims));
        assert_all_kernels_match(&query, &padded_rows(&mut random, dims, rows));
    }
}
