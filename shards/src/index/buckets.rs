//! Buckets: how a large tail is searched without looking at all of it.
//!
//! A graph cannot be built as fast as episodes may arrive, and scanning the codes of a million rows
//! takes milliseconds. In between stands an inverted file: a row is *routed* to the bucket of the
//! nearest of some thousand centroids, and its code describes the difference from that centroid,
//! which is shorter than the vector and so estimated more exactly. A query looks into the buckets
//! whose centroids are nearest.
//!
//! Routing has two levels: the nearest of [`TOPS`] centroids, then the nearest of the [`SUBS`]
//! below it. That makes 64 byte products a row, half a microsecond at 768 dimensions. The centroids
//! come from a few rounds of Lloyd's algorithm over the first rows of the tail ([`RouterBuilder`],
//! in slices); rows that arrive later are not what they were chosen for, which costs some evenness
//! and no correctness.

use super::bytes::{ByteRow, distance, quantize};
use super::codes::Estimand;
use super::cue::{BIAS, Cue};
use super::rotation::split_mix;
use super::sorted::{Key, Sorted};

/// Centroids of the first level, and below each of them.
pub const TOPS: usize = 32;
pub const SUBS: usize = 32;
/// Rounds of Lloyd's algorithm at each level.
const ROUNDS: usize = 4;
/// First-level centroids whose buckets a query considers.
const TOPS_PROBED: usize = 16;

/// Centroids in bytes.
#[derive(Debug, Default)]
struct Centroids {
    bytes: Vec<u8>,
    rows: Vec<ByteRow>,
}

impl Centroids {
    fn push(&mut self, point: &[f32]) {
        let from = self.bytes.len();
        self.bytes.resize(from + point.len(), 0);
        let (row, _) = quantize(point, &mut self.bytes[from..]);
        self.rows.push(row);
    }

    fn bytes(&self, nth: usize, padded: usize) -> &[u8] {
        &self.bytes[nth * padded..][..padded]
    }

    /// The squared distance of a centroid from a query.
    #[inline]
    fn distance(&self, nth: usize, cue: &Cue) -> f32 {
        distance(cue, self.bytes(nth, cue.bytes.len()), self.rows[nth])
    }

    /// The nearest to a query of some of the centroids.
    fn nearest(&self, cue: &Cue, among: std::ops::Range<usize>) -> usize {
        let first = among.start;
        let mut best = (f32::INFINITY, first);
        for nth in among {
            let distance = self.distance(nth, cue);
            if distance < best.0 {
                best = (distance, nth);
            }
        }
        best.1
    }
}

/// Sends points to buckets.
#[derive(Debug)]
pub struct Router {
    tops: Centroids,
    subs: Centroids,
}

impl Router {
    pub fn buckets(&self) -> usize {
        TOPS * SUBS
    }

    /// The bucket of a point.
    pub fn route(&self, point: &Cue) -> usize {
        let top = self.tops.nearest(point, 0..TOPS);
        self.subs.nearest(point, top * SUBS..(top + 1) * SUBS)
    }

    /// The buckets near a query, the nearest first, with the squared distances of their centroids.
    pub fn probe(&self, cue: &Cue, nearest: &mut Sorted) {
        let mut tops = Sorted::default();
        tops.reset(TOPS_PROBED);
        for top in 0..TOPS {
            tops.insert(Key::new(self.tops.distance(top, cue), top as u32));
        }
        for top in tops.iter().map(Key::number) {
            for sub in top as usize * SUBS..(top as usize + 1) * SUBS {
                let distance = self.subs.distance(sub, cue);
                if distance < nearest.bound() {
                    nearest.insert(Key::new(distance, sub as u32));
                }
            }
        }
    }

    /// Writes the centroid of a bucket, which the codes of its rows are differences from.
    pub fn centre(&self, bucket: usize, out: &mut [f32]) {
        let (bytes, step) = (self.subs.bytes(bucket, out.len()), self.subs.rows[bucket].step);
        for (value, byte) in out.iter_mut().zip(bytes) {
            *value = (f32::from(*byte) - f32::from(BIAS)) * step;
        }
    }

    /// What the estimates of a bucket's rows have in common.
    pub fn origin(&self, bucket: usize, cue: &Cue, estimand: Estimand) -> f32 {
        let distance = self.subs.distance(bucket, cue);
        match estimand {
            Estimand::SquaredDistance => distance,
            // -<q, c> = (|q - c|² - |q|² - |c|²) / 2
            Estimand::InnerProduct => {
                (distance - cue.norm_squared - self.subs.rows[bucket].norm_squared) / 2.0
            }
        }
    }
}

/// Finds the centroids of a router among some points, in slices.
#[derive(Debug)]
pub struct RouterBuilder {
    padded: usize,
    points: Vec<f32>,
    /// The centroid of the first level that each point is nearest to.
    top_of: Vec<u32>,
    tops: Centroids,
    subs: Centroids,
    level: Option<Clustering>,
    random: u64,
}

/// Lloyd's algorithm over some points.
#[derive(Debug)]
struct Clustering {
    members: Vec<u32>,
    nearest: Vec<u32>,
    centroids: Centroids,
    sums: Vec<f32>,
    counts: Vec<u32>,
    next: usize,
    round: usize,
}

/// Points that one step assigns.
const ASSIGNED: usize = 32;

impl RouterBuilder {
    pub fn new(padded: usize) -> Self {
        Self {
            padded,
            points: Vec::new(),
            top_of: Vec::new(),
            tops: Centroids::default(),
            subs: Centroids::default(),
            level: None,
            random: padded as u64,
        }
    }

    /// Adds a point, before the first step.
    pub fn push(&mut self, point: &[f32]) {
        self.points.extend_from_slice(point);
    }

    pub fn points(&self) -> usize {
        self.points.len() / self.padded
    }

    /// Does one unit of work; the router when that was all. There are points.
    pub fn step(&mut self) -> Option<Router> {
        let Some(mut level) = self.level.take() else {
            self.level = Some(self.begin());
            return None;
        };
        if !level.step(&self.points, self.padded, &mut self.random) {
            self.level = Some(level);
            return None;
        }
        if self.tops.rows.is_empty() {
            self.top_of = level.nearest;
            self.tops = level.centroids;
            return None;
        }
        self.subs.rows.extend(level.centroids.rows);
        self.subs.bytes.extend(level.centroids.bytes);
        let is_last = self.subs.rows.len() == TOPS * SUBS;
        is_last.then(|| Router {
            tops: std::mem::take(&mut self.tops),
            subs: std::mem::take(&mut self.subs),
        })
    }

    /// The first level, or the next group of the second.
    fn begin(&mut self) -> Clustering {
        let all = 0..self.points() as u32;
        let members: Vec<u32> = if self.tops.rows.is_empty() {
            all.collect()
        } else {
            let top = (self.subs.rows.len() / SUBS) as u32;
            all.filter(|nth| self.top_of[*nth as usize] == top).collect()
        };
        let count = if self.tops.rows.is_empty() { TOPS } else { SUBS };
        // A centroid that nothing is nearest to has no members; any point will do for a start.
        let members = if members.is_empty() { vec![0] } else { members };
        Clustering::new(members, count, &self.points, self.padded, &mut self.random)
    }
}

impl Clustering {
    fn new(
        members: Vec<u32>,
        count: usize,
        points: &[f32],
        padded: usize,
        random: &mut u64,
    ) -> Self {
        let mut centroids = Centroids::default();
        for _ in 0..count {
            centroids.push(draw(&members, points, padded, random));
        }
        Self {
            nearest: vec![0; members.len()],
            members,
            centroids,
            sums: vec![0.0; count * padded],
            counts: vec![0; count],
            next: 0,
            round: 0,
        }
    }

    /// Assigns some members, and behind the last of them moves the centroids; whether that was the
    /// last round.
    fn step(&mut self, points: &[f32], padded: usize, random: &mut u64) -> bool {
        let until = self.members.len().min(self.next + ASSIGNED);
        let mut cue = Cue::default();
        for nth in self.next..until {
            let point = &points[self.members[nth] as usize * padded..][..padded];
            cue.of_point(point);
            let nearest = self.centroids.nearest(&cue, 0..self.counts.len());
            self.nearest[nth] = nearest as u32;
            self.counts[nearest] += 1;
            let sum = &mut self.sums[nearest * padded..][..padded];
            sum.iter_mut().zip(point).for_each(|(sum, value)| *sum += value);
        }
        self.next = until;
        if until < self.members.len() {
            return false;
        }
        self.next = 0;
        self.round += 1;
        let mut moved = Centroids::default();
        for (sum, count) in self.sums.chunks_exact_mut(padded).zip(&self.counts) {
            if *count == 0 {
                moved.push(draw(&self.members, points, padded, random));
            } else {
                #[allow(clippy::cast_precision_loss)]
                let share = 1.0 / *count as f32;
                sum.iter_mut().for_each(|value| *value *= share);
                moved.push(sum);
            }
        }
        self.centroids = moved;
        self.sums.fill(0.0);
        self.counts.fill(0);
        self.round == ROUNDS
    }
}

fn draw<'a>(members: &[u32], points: &'a [f32], padded: usize, random: &mut u64) -> &'a [f32] {
    let nth = (split_mix(random) % members.len() as u64) as usize;
    &points[members[nth] as usize * padded..][..padded]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::CodeBits;
    use crate::index::codes::CodeLayout;
    use crate::index::rotation::Rotation;
    use crate::index::simd::CODE_ROWS;

    const DIMENSIONS: usize = 128;

    fn points(count: usize) -> Vec<Vec<f32>> {
        let mut state = 5;
        let mut uniform = move || (split_mix(&mut state) >> 40) as f32 / 8_388_608.0 - 1.0;
        let centres: Vec<Vec<f32>> =
            (0..60).map(|_| (0..DIMENSIONS).map(|_| uniform()).collect()).collect();
        let rotation = Rotation::new(DIMENSIONS);
        let around = |nth: usize, noise: &mut dyn FnMut() -> f32| {
            let point: Vec<f32> =
                centres[nth % centres.len()].iter().map(|value| value + 0.3 * noise()).collect();
            let mut rotated = vec![0.0; rotation.padded()];
            rotation.rotate(&point, 1.0, &mut rotated);
            rotated
        };
        (0..count).map(|nth| around(nth, &mut uniform)).collect()
    }

    fn router(points: &[Vec<f32>]) -> Router {
        let mut builder = RouterBuilder::new(points[0].len());
        points.iter().for_each(|point| builder.push(point));
        (0..100_000).find_map(|_| builder.step()).expect("it ends")
    }

    #[test]
    fn a_point_is_probed_for_where_it_was_routed_to() {
        let points = points(3000);
        let router = router(&points);
        let (mut cue, mut nearest) = (Cue::default(), Sorted::default());
        let mut first = 0;
        for point in &points {
            cue.of_point(point);
            let bucket = router.route(&cue);
            nearest.reset(24);
            router.probe(&cue, &mut nearest);
            let probed: Vec<_> = nearest.iter().map(|key| key.number() as usize).collect();
            assert!(probed.contains(&bucket), "{bucket}, {probed:?}");
            first += usize::from(probed[0] == bucket);
        }
        assert!(first * 10 > points.len() * 9, "{first}");
    }

    #[test]
    fn estimates_are_near_the_distance() {
        let points = points(2000);
        let router = router(&points);
        let padded = points[0].len();
        let mut query = Cue::default();
        query.of_rotated(&points[7]);
        for (bits, error_max) in CodeBits::ALL.into_iter().zip([0.03, 0.015, 0.005]) {
            let mut error = 0.0;
            for point in &points[100..400] {
                let mut cue = Cue::default();
                cue.of_point(point);
                let bucket = router.route(&cue);
                let mut centre = vec![0.0; padded];
                router.centre(bucket, &mut centre);
                let difference: Vec<f32> = point.iter().zip(&centre).map(|(a, b)| a - b).collect();
                for estimand in [Estimand::SquaredDistance, Estimand::InnerProduct] {
                    let layout = CodeLayout { padded, bits, estimand };
                    let mut block = vec![0.0_f32; layout.block_bytes() / 4];
                    let block = zerocopy::IntoBytes::as_mut_bytes(&mut block[..]);
                    layout.put_difference(&difference, &centre, 5, block);
                    let origin = router.origin(bucket, &query, estimand);
                    let mut estimates = [0.0; CODE_ROWS];
                    layout.estimate(&query, block, origin, f32::INFINITY, &mut estimates);
                    let pairs = || points[7].iter().zip(point);
                    let exact: f32 = match estimand {
                        Estimand::SquaredDistance => pairs().map(|(a, b)| (a - b) * (a - b)).sum(),
                        Estimand::InnerProduct => -pairs().map(|(a, b)| a * b).sum::<f32>(),
                    };
                    let scale: f32 = pairs().map(|(a, b)| a * a + b * b).sum();
                    error += (estimates[5] - exact).abs() / scale;
                }
            }
            assert!(error / 600.0 < error_max, "{bits:?}: {}", error / 600.0);
        }
    }
}
