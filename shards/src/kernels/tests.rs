//! Every instruction set of this CPU against the definition, bit by bit.

use proptest::prelude::*;

use super::{BLOCK_ROWS, Kernels, NonFinite, get_row, kernels, put_column, transpose};
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

type Scores = [f32; BLOCK_ROWS];

fn dot_by_definition(row: &[f32], query: &[f32]) -> f32 {
    row.iter().zip(query).fold(0.0, |sum, (x, q)| x.mul_add(*q, sum))
}

fn l2_by_definition(row: &[f32], query: &[f32]) -> f32 {
    row.iter().zip(query).fold(0.0, |sum, (x, q)| (x - q).mul_add(x - q, sum))
}

/// The scores of the rows of `block`, each computed by itself from its row.
fn expected(block: &[f32], query: &[f32], score: fn(&[f32], &[f32]) -> f32) -> Scores {
    let mut row = vec![0.0; query.len()];
    std::array::from_fn(|r| {
        get_row(block, r, &mut row);
        score(&row, query)
    })
}

fn bits(scores: &Scores) -> [u32; BLOCK_ROWS] {
    scores.map(f32::to_bits)
}

fn assert_all_kernels_match(block: &[f32], query: &[f32]) {
    let (dots, l2s) =
        (expected(block, query, dot_by_definition), expected(block, query, l2_by_definition));
    assert!(dots.iter().chain(&l2s).all(|score| score.is_finite()));
    for kernels in Kernels::all_supported() {
        let (name, dims) = (kernels.name(), query.len());
        let mut scores = [f32::NAN; BLOCK_ROWS];
        kernels.pdx_dot(block, query, &mut scores);
        assert_eq!(bits(&scores), bits(&dots), "dot, {name}, {dims} dimensions");
        let mut scores = [f32::NAN; BLOCK_ROWS];
        kernels.pdx_l2(block, query, &mut scores);
        assert_eq!(bits(&scores), bits(&l2s), "l2, {name}, {dims} dimensions");
    }
}

#[test]
fn a_small_block_scores_as_by_hand() {
    let mut block = vec![0.0; 3 * BLOCK_ROWS];
    put_column(&[1.0, 2.0, 3.0], 0, &mut block);
    put_column(&[-1.0, 0.5, 8.0], 63, &mut block);
    for kernels in Kernels::all_supported() {
        let mut scores = [f32::NAN; BLOCK_ROWS];
        kernels.pdx_dot(&block, &[4.0, 5.0, 6.0], &mut scores);
        assert_eq!((scores[0], scores[1], scores[63]), (32.0, 0.0, 46.5), "{}", kernels.name());
        kernels.pdx_l2(&block, &[4.0, 5.0, 6.0], &mut scores);
        assert_eq!((scores[0], scores[1], scores[63]), (27.0, 77.0, 49.25), "{}", kernels.name());
    }
}

#[test]
fn every_small_dimension_gives_the_same_bits() {
    for dims in 1..=70 {
        let mut random = Random(dims as u64);
        for _ in 0..8 {
            let block = random.components(dims * BLOCK_ROWS);
            assert_all_kernels_match(&block, &random.components(dims));
        }
    }
}

#[test]
fn overflow_saturates_to_the_same_infinity() {
    let (block, query) = (vec![f32::MAX; 5 * BLOCK_ROWS], [f32::MAX, 2.0, 1.0, 0.5, 0.0]);
    for kernels in Kernels::all_supported() {
        let mut scores = [f32::NAN; BLOCK_ROWS];
        kernels.pdx_dot(&block, &query, &mut scores);
        assert_eq!(scores, [f32::INFINITY; BLOCK_ROWS], "dot, {}", kernels.name());
        kernels.pdx_l2(&block, &query, &mut scores);
        assert_eq!(scores, [f32::INFINITY; BLOCK_ROWS], "l2, {}", kernels.name());
    }
}

#[test]
fn denormals_are_kept() {
    let smallest = f32::from_bits(1);
    let block = vec![smallest; 3 * BLOCK_ROWS];
    for kernels in Kernels::all_supported() {
        let mut scores = [f32::NAN; BLOCK_ROWS];
        kernels.pdx_dot(&block, &[1.0, 2.0, 4.0], &mut scores);
        assert_eq!(scores, [f32::from_bits(7); BLOCK_ROWS], "{}", kernels.name());
    }
}

#[test]
fn scores_do_not_depend_on_alignment() {
    let mut random = Random(7);
    let (floats, query) = (random.components(100 * BLOCK_ROWS + 15), random.components(100));
    for offset in 0..16 {
        assert_all_kernels_match(&floats[offset..offset + 100 * BLOCK_ROWS], &query);
    }
}

#[test]
fn the_chosen_kernels_are_the_first_supported() {
    let names: Vec<_> = Kernels::all_supported().map(Kernels::name).collect();
    assert_eq!(kernels().name(), names[0]);
    assert_eq!(names.last(), Some(&"scalar"));
}

#[test]
#[should_panic(expected = "got 127 floats and 2 components")]
fn a_short_block_is_refused() {
    kernels().pdx_dot(&[0.0; 127], &[0.0; 2], &mut [0.0; BLOCK_ROWS]);
}

#[test]
#[should_panic(expected = "got 192 floats and 2 components")]
fn a_long_block_is_refused() {
    kernels().pdx_l2(&[0.0; 192], &[0.0; 2], &mut [0.0; BLOCK_ROWS]);
}

#[test]
fn transposing_equals_putting_each_row() {
    for dims in (1..=70).chain([768, DIMENSIONS_MAX]) {
        let rows = Random(dims as u64).components(dims * BLOCK_ROWS);
        let (mut transposed, mut put) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
        transpose(&rows, dims, &mut transposed);
        let mut read = vec![0.0; dims];
        for (r, row) in rows.chunks_exact(dims).enumerate() {
            put_column(row, r, &mut put);
            get_row(&transposed, r, &mut read);
            assert_eq!(read, row, "row {r} of {dims} dimensions");
        }
        assert_eq!(transposed, put, "{dims} dimensions");
    }
}

#[test]
#[should_panic(expected = "a block has 64 rows, got row 64")]
fn row_64_does_not_exist() {
    put_column(&[1.0], 64, &mut [0.0; BLOCK_ROWS]);
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
    fn any_dimension_gives_the_same_bits(dims in 71..=DIMENSIONS_MAX, seed: u64) {
        let mut random = Random(seed);
        let block = random.components(dims * BLOCK_ROWS);
        assert_all_kernels_match(&block, &random.components(dims));
    }
}
