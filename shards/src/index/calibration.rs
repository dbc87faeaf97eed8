//! What beam a graph takes for a recall that is wanted, measured on the graph itself.
//!
//! Some rows, spread evenly, are asked for as if they were not there: neither do they answer, nor
//! does a walk pass through them (leave-one-out). With them go cues that were asked for, if any are
//! known: questions may be harder than rows. The truth is the exact order of all other rows. Then
//! one beam after the other is tried until nearly everything is found. Recall is that of the
//! [`CALIBRATED_K`] nearest, of rows or of questions, whichever is less.

use super::cue::Cue;
use super::graph::search::{Effort, Found, GraphView, Search};
use super::projection::Projection;
use super::sorted::{Key, Sorted};
use crate::episode::Metric;
use crate::kernels::{key, padded, row_floats};

/// Neighbours that are looked for.
pub const CALIBRATED_K: usize = 10;
/// Rows that are asked for: a thousand neighbours to find, so that a recall of .98 is known to half
/// a percent.
const SAMPLES: usize = 128;
/// Rows that one unit of work compares with all samples: some thirty microseconds.
const ROWS_PER_STEP: usize = 8;
/// The beams that are tried, until one finds more than enough.
const BEAMS: [u32; 16] = [14, 18, 22, 26, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 512, 1024];
const ENOUGH: f32 = 0.999;
/// How the beam grows with the answers.
const GROWTH: f32 = 0.75;
/// The beam where nothing was measured.
const BEAM_UNMEASURED: usize = 56;

/// Answers that a walk keeps for k results: distances from bytes are nearly exact.
pub fn answers(k: usize) -> usize {
    k + (k / 3).max(4)
}

/// The recall that a beam was measured to have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationPoint {
    pub beam: u32,
    pub recall: f32,
}

/// What was measured of a graph, in ascending order of beams; nothing where nobody measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibration {
    points: Vec<CalibrationPoint>,
    is_of_asked: bool,
}

impl Calibration {
    /// Measured with cues that were asked for, or without. `None` when points are out of order or
    /// no recall: another program wrote them.
    pub fn new(points: Vec<CalibrationPoint>, is_of_asked: bool) -> Option<Self> {
        let ascend = points.windows(2).all(|pair| pair[0].beam < pair[1].beam);
        let are_recalls = points.iter().all(|point| (0.0..=1.0).contains(&point.recall));
        (ascend && are_recalls).then_some(Self { points, is_of_asked })
    }

    pub fn points(&self) -> &[CalibrationPoint] {
        &self.points
    }

    /// Whether cues that were asked for went into it.
    pub fn is_of_asked(&self) -> bool {
        self.is_of_asked
    }

    /// The beam for a recall of the k nearest: between two that were measured it is interpolated,
    /// beyond the last there is no better known. More than ten take a wider one, which was found to
    /// grow a little slower than their number.
    pub fn beam(&self, recall: f32, k: usize) -> usize {
        let beam = match self.points.iter().position(|point| point.recall >= recall) {
            Some(0) => self.points[0].beam as f32,
            Some(nth) => {
                let (low, high) = (self.points[nth - 1], self.points[nth]);
                let share = (recall - low.recall) / (high.recall - low.recall);
                low.beam as f32 + share * (high.beam - low.beam) as f32
            }
            None => self.points.last().map_or(BEAM_UNMEASURED as f32, |point| point.beam as f32),
        };
        let more = (answers(k) as f32 / answers(CALIBRATED_K) as f32).max(1.0);
        (beam * more.powf(GROWTH)).ceil() as usize
    }
}

/// A graph with the rows it was built of.
#[derive(Debug)]
pub struct Calibrated<'a> {
    pub metric: Metric,
    pub dimensions: usize,
    pub projection: &'a Projection,
    pub graph: GraphView<'a>,
    /// Row behind row, as the kernels take them, and what scales them.
    pub vectors: &'a [f32],
    pub scales: &'a [f32],
}

impl Calibrated<'_> {
    fn rows(&self) -> usize {
        self.scales.len()
    }

    fn vector(&self, row: usize) -> &[f32] {
        let stride = row_floats(self.dimensions);
        &self.vectors[row * stride..][..stride]
    }
}

/// A row, or a cue, that is asked for.
#[derive(Debug)]
struct Sample {
    row: Option<u32>,
    query: Vec<f32>,
    nearest: Sorted,
}

impl Sample {
    fn new(row: Option<u32>, query: Vec<f32>) -> Self {
        let mut nearest = Sorted::default();
        nearest.reset(CALIBRATED_K);
        Self { row, query, nearest }
    }
}

/// What was looked for, and found.
#[derive(Debug, Clone, Copy, Default)]
struct Score {
    found: usize,
    sought: usize,
}

impl Score {
    /// All where nothing was looked for.
    fn recall(self) -> f32 {
        if self.sought == 0 { 1.0 } else { self.found as f32 / self.sought as f32 }
    }
}

/// Measures a graph, some microseconds at a time.
#[derive(Debug)]
pub struct Calibrator {
    samples: Vec<Sample>,
    /// The next row that the samples are compared with.
    row: usize,
    /// The beam that is tried and the sample that walks next.
    beam: usize,
    sample: usize,
    rows: Score,
    asked: Score,
    points: Vec<CalibrationPoint>,
    search: Search,
    cue: Cue,
    answers: Vec<Found>,
}

impl Calibrator {
    pub fn new(graph: &Calibrated<'_>, asked: &[Vec<f32>]) -> Self {
        let rows = graph.rows();
        let samples = SAMPLES.min(rows);
        let of_row = |nth: usize| {
            let row = nth * rows / samples;
            let mut query = graph.vector(row).to_vec();
            if graph.metric == Metric::Cosine {
                query.iter_mut().for_each(|value| *value *= graph.scales[row]);
            }
            Sample::new(Some(u32::try_from(row).expect("rows are counted in u32")), query)
        };
        let of_asked = asked.iter().map(|cue| Sample::new(None, padded(cue)));
        Self {
            samples: (0..samples).map(of_row).chain(of_asked).collect(),
            row: 0,
            beam: 0,
            sample: 0,
            rows: Score::default(),
            asked: Score::default(),
            points: Vec::new(),
            search: Search::default(),
            cue: Cue::default(),
            answers: Vec::new(),
        }
    }

    /// Does one unit of work; the result when all is measured. The graph is the same every time.
    pub fn step(&mut self, graph: &Calibrated<'_>) -> Option<Calibration> {
        if self.row < graph.rows() {
            self.compare(graph);
            return None;
        }
        if self.sample < self.samples.len() {
            self.walk(graph);
            return None;
        }
        let recall = self.rows.recall().min(self.asked.recall());
        // Nothing is found less for having looked harder; what seems so is chance.
        let recall = self.points.last().map_or(recall, |last| recall.max(last.recall));
        self.points.push(CalibrationPoint { beam: BEAMS[self.beam], recall });
        let is_of_asked = self.asked.sought > 0;
        (self.beam, self.sample) = (self.beam + 1, 0);
        (self.rows, self.asked) = (Score::default(), Score::default());
        let is_done = recall >= ENOUGH || self.beam == BEAMS.len();
        is_done.then(|| Calibration { points: std::mem::take(&mut self.points), is_of_asked })
    }

    /// Compares some rows with all samples.
    fn compare(&mut self, graph: &Calibrated<'_>) {
        let rows = self.row..graph.rows().min(self.row + ROWS_PER_STEP);
        self.row = rows.end;
        for sample in &mut self.samples {
            for row in rows.clone() {
                if sample.row.is_some_and(|own| own as usize == row) {
                    continue;
                }
                let scale = || graph.scales[row];
                let distance = -key(graph.metric, &sample.query, graph.vector(row), scale);
                if distance < sample.nearest.bound() {
                    sample.nearest.insert(Key::new(distance, row as u32));
                }
            }
        }
    }

    fn walk(&mut self, graph: &Calibrated<'_>) {
        let Sample { row, query, nearest } = &self.samples[self.sample];
        graph.projection.cue(query, &mut self.cue);
        if let Some(row) = *row {
            self.search.hide(row, graph.graph.nodes());
        }
        let effort = Effort::with_beam(BEAMS[self.beam] as usize, answers(CALIBRATED_K));
        self.search.run(&graph.graph, &self.cue, effort, |_| true, &mut self.answers);
        let is_found = |key: &&Key| self.answers.iter().any(|found| found.node == key.number());
        let score = if row.is_some() { &mut self.rows } else { &mut self.asked };
        score.sought += nearest.iter().count();
        score.found += nearest.iter().filter(is_found).count();
        self.sample += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(points: &[(u32, f32)]) -> Calibration {
        let points = points.iter().map(|&(beam, recall)| CalibrationPoint { beam, recall });
        Calibration::new(points.collect(), false).unwrap()
    }

    #[test]
    fn beams_are_interpolated_between_those_measured() {
        let measured = calibration(&[(16, 0.9), (32, 0.96), (64, 0.98), (128, 0.98)]);
        for (recall, beam) in
            [(0.5, 16), (0.9, 16), (0.93, 24), (0.96, 32), (0.97, 48), (0.98, 64), (0.999, 128)]
        {
            assert!(measured.beam(recall, 10).abs_diff(beam) <= 1, "{recall}");
            assert_eq!(measured.beam(recall, 1), measured.beam(recall, 10));
            assert!(measured.beam(recall, 100) > 2 * beam);
        }
        assert_eq!(Calibration::default().beam(0.98, 10), BEAM_UNMEASURED);
    }

    #[test]
    fn points_that_no_measurement_leaves_are_refused() {
        for points in [&[(16, 0.9), (16, 0.95)][..], &[(16, 1.5)], &[(16, f32::NAN)]] {
            let points = points.iter().map(|&(beam, recall)| CalibrationPoint { beam, recall });
            assert_eq!(Calibration::new(points.collect(), false), None);
        }
    }
}
