//! Estimates of codes against the distances that they are estimates of.

use zerocopy::IntoBytes;

use super::*;
use crate::episode::Metric;
use crate::index::projection::Projection;
use crate::index::rotation::split_mix;

/// Every class of lengths: below, at and above the step, with one transform and with two.
const DIMENSIONS: [usize; 13] = [1, 15, 16, 63, 64, 65, 100, 384, 767, 768, 1024, 1536, 4096];
const QUERIES: usize = 8;

fn random(dimensions: usize, state: &mut u64) -> Vec<f32> {
    let mut uniform = || (split_mix(state) >> 40) as f32 / 8_388_608.0 - 1.0;
    let length = 1.0 + uniform().abs() * 9.0;
    (0..dimensions).map(|_| length * uniform()).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Rows, queries and how they are compared.
struct Case {
    metric: Metric,
    projection: Projection,
    is_streaming: bool,
    norm_max: f64,
    rows: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
}

impl Case {
    fn new(metric: Metric, dimensions: usize, is_streaming: bool) -> Self {
        let mut state = dimensions as u64;
        let rows: Vec<_> = (0..CODE_ROWS).map(|_| random(dimensions, &mut state)).collect();
        let mut queries: Vec<_> = (0..QUERIES).map(|_| random(dimensions, &mut state)).collect();
        if metric == Metric::Cosine {
            for query in &mut queries {
                let norm = dot(query, query).sqrt() as f32;
                query.iter_mut().for_each(|value| *value /= norm);
            }
        }
        let norm_max = rows.iter().map(|row| dot(row, row).sqrt()).fold(0.0, f64::max);
        let projection = match is_streaming {
            true => Projection::streaming(metric, dimensions),
            false => Projection::new(metric, dimensions, norm_max as f32),
        };
        Self { metric, projection, is_streaming, norm_max, rows, queries }
    }

    fn scale(&self, row: &[f32]) -> f64 {
        if self.metric == Metric::Cosine { 1.0 / dot(row, row).sqrt() } else { 1.0 }
    }

    fn block(&self, layout: CodeLayout) -> Vec<f32> {
        let mut block = vec![0.0_f32; layout.block_bytes() / size_of::<f32>()];
        let mut point = vec![0.0; layout.padded];
        for (nth, row) in self.rows.iter().enumerate() {
            self.projection.row(row, self.scale(row) as f32, &mut point);
            layout.put(&point, nth, block.as_mut_bytes());
        }
        block
    }

    /// What is estimated, and the inner product at most that the error belongs to.
    fn exact(&self, query: &[f32], row: &[f32]) -> (f64, f64) {
        let product = dot(query, row);
        let (query_norm, row_norm) = (dot(query, query).sqrt(), dot(row, row).sqrt());
        let squares = query_norm * query_norm + row_norm * row_norm;
        match (self.metric, self.is_streaming) {
            (Metric::Cosine, _) => (2.0 - 2.0 * product / row_norm, 2.0),
            (Metric::L2, true) => (squares - 2.0 * product, 2.0 * query_norm * row_norm),
            (Metric::L2, false) => {
                let unit = self.norm_max * self.norm_max;
                ((squares - 2.0 * product) / unit, 2.0 * query_norm * row_norm / unit)
            }
            (Metric::Dot, true) => (-product, query_norm * row_norm),
            (Metric::Dot, false) => (2.0 - 2.0 * product / (query_norm * self.norm_max), 2.0),
        }
    }

    /// The errors of all estimates, as shares of what they could be at most.
    fn errors(&self, bits: CodeBits) -> Vec<f64> {
        let estimand = self.projection.estimand();
        let layout = CodeLayout { padded: self.projection.padded(), bits, estimand };
        let block = self.block(layout);
        let codes = FlatCodes { layout, blocks: block.as_bytes() };
        let mut errors = Vec::new();
        let (mut cue, mut estimates) = (Cue::default(), [0.0; CODE_ROWS]);
        for query in &self.queries {
            self.projection.cue(query, &mut cue);
            codes.estimate(&cue, 0, f32::INFINITY, &mut estimates);
            for (row, estimate) in self.rows.iter().zip(estimates) {
                let (exact, most) = self.exact(query, row);
                errors.push((f64::from(estimate) - exact) / most);
            }
        }
        errors
    }
}

/// The error of codes in √dimensions: what rounding loses of a normal coordinate, and what the
/// tables of a query lose beside it, with room for chance. A rotation of few coordinates gives few
/// different ones, which are not normal.
fn error_max(dimensions: usize, bits: CodeBits) -> f64 {
    let error = match bits {
        CodeBits::One => 1.0,
        CodeBits::Two => 0.5,
        CodeBits::Four => 0.18,
    };
    if dimensions < 16 { 2.0 * error } else { error }
}

#[test]
fn estimates_are_near_what_they_estimate_and_on_neither_side_of_it() {
    for dimensions in DIMENSIONS {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            for is_streaming in [true, false] {
                let case = Case::new(metric, dimensions, is_streaming);
                for bits in CodeBits::ALL {
                    let errors = case.errors(bits);
                    let count = errors.len() as f64;
                    let mean = errors.iter().sum::<f64>() / count;
                    let root =
                        (errors.iter().map(|error| error * error).sum::<f64>() / count).sqrt();
                    let padded = case.projection.padded() as f64;
                    let most = error_max(dimensions, bits) / padded.sqrt();
                    let what = format!("{metric:?} {dimensions} {is_streaming} {bits:?}");
                    assert!(root < most, "{what}: {root} of {most}");
                    assert!(mean.abs() < most / 3.0, "{what}: {mean} of {most}");
                }
            }
        }
    }
}

#[test]
fn a_code_of_a_difference_says_what_one_of_the_whole_does() {
    let mut state = 3;
    for dimensions in DIMENSIONS {
        let padded = dimensions.next_multiple_of(64);
        let [mut near, query] = [0, 1].map(|_| random(padded, &mut state));
        let centre = near.clone();
        near.iter_mut().for_each(|value| *value += random(1, &mut state)[0] / 100.0);
        let difference: Vec<f32> = near.iter().zip(&centre).map(|(a, b)| a - b).collect();
        let mut cue = Cue::default();
        cue.of_rotated(&query);
        for bits in CodeBits::ALL {
            let layout = CodeLayout { padded, bits, estimand: Estimand::SquaredDistance };
            let mut block = vec![0.0_f32; layout.block_bytes() / size_of::<f32>()];
            layout.put_difference(&difference, &centre, 9, block.as_mut_bytes());
            let squares = |a: &[f32]| dot(a, a) + dot(&query, &query) - 2.0 * dot(a, &query);
            let mut estimates = [0.0; CODE_ROWS];
            let origin = squares(&centre) as f32;
            layout.estimate(&cue, block.as_bytes(), origin, f32::INFINITY, &mut estimates);
            let share = 4.0 * error_max(padded, bits) / (padded as f64).sqrt();
            let reach = 2.0 * (squares(&centre) * dot(&difference, &difference)).sqrt();
            let most = share * reach + 1e-5 * squares(&centre);
            let error = f64::from(estimates[9]) - squares(&near);
            assert!(error.abs() < most, "{dimensions}, {bits:?}: {error} of {most}");
        }
    }
}

#[test]
fn a_row_of_zeros_has_a_code() {
    for bits in CodeBits::ALL {
        let layout = CodeLayout { padded: 64, bits, estimand: Estimand::SquaredDistance };
        let mut block = vec![0.0_f32; layout.block_bytes() / size_of::<f32>()];
        layout.put(&[0.0; 64], 31, block.as_mut_bytes());
        let mut cue = Cue::default();
        cue.of_rotated(&[0.5; 64]);
        let codes = FlatCodes { layout, blocks: block.as_bytes() };
        let mut estimates = [0.0; CODE_ROWS];
        codes.estimate(&cue, 0, f32::INFINITY, &mut estimates);
        assert!((estimates[31] - 16.0).abs() < 1e-3, "{bits:?}: {}", estimates[31]);
    }
}
