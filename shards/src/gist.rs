//! Gist: what episodes have in common, told of several at once.
//!
//! A gist is made of traces when it is asked for, as MINERVA 2 has it (Hintzman, "Schema
//! abstraction in a multiple-trace memory model", 1986): what was forgotten or erased is in no gist
//! from then on. Nothing of what is below is stored; of a gist that is kept, only
//! [which episodes](crate::links::GistLink) belong to it.
//!
//! Episodes that a recall found are put together as long as two groups are alike enough on average
//! (UPGMA: Sokal and Michener 1958). Of each group:
//!
//! | Part | Is |
//! |---|---|
//! | vector | the mean of its members, each at unit length under cosine, and then itself |
//! | medoid | the member that is most similar to that; its text stands for all |
//! | confidence | the mean of theirs, bound by bound (the linear opinion pool: Stone 1961) |
//! | span | from the first that happened to the last |
//!
//! Members may go back to one source, so their agreement does not make a gist surer. For sources
//! that may be dependent subjective logic has averaging belief fusion (Jøsang 2016), which weighs
//! opinions by how certain they are. Here that would be a default that decides: an episode stored
//! without a confidence is certain, and a single one would outweigh all that came with an interval.
//! The mean also comes to the same whether [trust](crate::trust) discounts its members or itself.

use crate::episode::{Confidence, Metric};

/// Members of a gist at least.
pub const GIST_MEMBERS_MIN: usize = 3;
/// Members of a gist that is kept, at most.
pub const GIST_KEPT_MAX: usize = 16;
/// How alike two groups must be on average, unless it is said. Of 64 turns of a LoCoMo conversation
/// that are nearest to a question it leaves six groups of eight on average.
pub const ALIKE_DEFAULT: f32 = 0.6;

/// An episode as far as it matters here.
#[derive(Debug, Clone)]
pub struct Member {
    /// As it was stored.
    pub vector: Vec<f32>,
    pub confidence: Confidence,
    pub happened_at_us: i64,
}

/// See the top of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Gist {
    /// Places in the list of members, with the similarity of each to the vector; the best first.
    pub members: Vec<(usize, f32)>,
    pub vector: Vec<f32>,
    pub confidence: Confidence,
    /// The first and the last `happened_at`.
    pub span_us: (i64, i64),
}

/// Grouping under way: each [`step`](Self::step) is a little work.
#[derive(Debug)]
pub struct Grouping {
    metric: Metric,
    /// At unit length under cosine.
    members: Vec<Member>,
    /// Mean similarity of every two groups; of a group that has gone, nothing counts.
    similarities: Vec<f64>,
    groups: Vec<Vec<usize>>,
    alike_min: f64,
    /// Members that were compared with all before them.
    compared: usize,
}

impl Grouping {
    pub fn new(metric: Metric, members: Vec<Member>, alike_min: f32) -> Self {
        let members = of_unit_length(metric, members);
        let count = members.len();
        Self {
            metric,
            similarities: vec![f64::NEG_INFINITY; count * count],
            groups: (0..count).map(|nth| vec![nth]).collect(),
            members,
            alike_min: f64::from(alike_min),
            compared: 0,
        }
    }

    /// Compares one member with those before it, or puts two groups together; false when there is
    /// no more to do.
    pub fn step(&mut self) -> bool {
        let count = self.members.len();
        if self.compared < count {
            let nth = self.compared;
            for other in 0..nth {
                let (own, other_vector) = (&self.members[nth].vector, &self.members[other].vector);
                let similarity = similarity(self.metric, own, other_vector);
                self.similarities[nth * count + other] = similarity;
                self.similarities[other * count + nth] = similarity;
            }
            self.compared += 1;
            return true;
        }
        let Some((one, other)) = self.most_alike() else { return false };
        let moved = std::mem::take(&mut self.groups[other]);
        let (own, more) = (self.groups[one].len() as f64, moved.len() as f64);
        for third in 0..count {
            let [a, b] = [one, other].map(|group| self.similarities[group * count + third]);
            let mean = (own * a + more * b) / (own + more);
            for (row, column) in [(one, third), (third, one)] {
                self.similarities[row * count + column] = mean;
            }
            for (row, column) in [(other, third), (third, other)] {
                self.similarities[row * count + column] = f64::NEG_INFINITY;
            }
        }
        self.similarities[one * count + one] = f64::NEG_INFINITY;
        self.groups[one].extend(moved);
        true
    }

    /// The two groups that are most alike, if they are enough; among equals the first.
    fn most_alike(&self) -> Option<(usize, usize)> {
        let count = self.members.len();
        let mut best = (self.alike_min, None);
        for one in 0..count {
            let row = &self.similarities[one * count..][..count];
            for (other, similarity) in row.iter().enumerate().skip(one + 1) {
                if *similarity > best.0 || *similarity == best.0 && best.1.is_none() {
                    best = (*similarity, Some((one, other)));
                }
            }
        }
        best.1
    }

    /// The gists in the order of the first member of each; to be called when there is no more to
    /// do.
    pub fn finish(self) -> Vec<Gist> {
        let Self { metric, members, groups, .. } = self;
        let large = groups.into_iter().filter(|group| group.len() >= GIST_MEMBERS_MIN);
        large.map(|group| gist(metric, &members, group)).collect()
    }
}

impl Gist {
    /// What all of these have in common; `None` if they are too few.
    pub fn of(metric: Metric, members: Vec<Member>) -> Option<Self> {
        let is_enough = members.len() >= GIST_MEMBERS_MIN;
        let members = of_unit_length(metric, members);
        is_enough.then(|| gist(metric, &members, (0..members.len()).collect()))
    }

    /// How similar it is to a cue, which is of unit length under cosine.
    pub fn similarity(&self, metric: Metric, cue: &[f32]) -> f32 {
        #[allow(clippy::cast_possible_truncation)]
        let similarity = similarity(metric, &self.vector, cue) as f32;
        similarity
    }
}

/// How similar a vector is to each of some others on average: what lets it join them, as a group of
/// its own.
pub fn mean_similarity(metric: Metric, own: &Member, others: &[Member]) -> f64 {
    let all = std::iter::once(own).chain(others).cloned().collect();
    let members = of_unit_length(metric, all);
    let (own, others) = members.split_first().expect("there is the own");
    let all = others.iter().map(|other| similarity(metric, &own.vector, &other.vector));
    all.sum::<f64>() / others.len().max(1) as f64
}

fn gist(metric: Metric, members: &[Member], mut group: Vec<usize>) -> Gist {
    // The order in which they came together is not theirs.
    group.sort_unstable();
    let count = group.len() as f64;
    let mut sum = vec![0.0; members[group[0]].vector.len()];
    let (mut point, mut low, mut high) = (0.0, 0.0, 0.0);
    for member in group.iter().map(|nth| &members[*nth]) {
        sum.iter_mut().zip(&member.vector).for_each(|(sum, own)| *sum += f64::from(*own));
        point += f64::from(member.confidence.point);
        low += f64::from(member.confidence.low);
        high += f64::from(member.confidence.high);
    }
    #[allow(clippy::cast_possible_truncation)]
    let mut vector: Vec<f32> = sum.into_iter().map(|sum| (sum / count) as f32).collect();
    if metric == Metric::Cosine {
        to_unit(&mut vector);
    }
    #[allow(clippy::cast_possible_truncation)]
    let [point, low, high] = [point, low, high].map(|sum| (sum / count) as f32);
    let times = || group.iter().map(|nth| members[*nth].happened_at_us);
    let span_us = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    #[allow(clippy::cast_possible_truncation)]
    let similar = |nth: usize| similarity(metric, &vector, &members[nth].vector) as f32;
    let mut told: Vec<(usize, f32)> = group.iter().map(|nth| (*nth, similar(*nth))).collect();
    // A stable sort: among equals what came first.
    told.sort_by(|a, b| b.1.total_cmp(&a.1));
    Gist { members: told, vector, confidence: Confidence { point, low, high }, span_us }
}

/// What clients know as similarity; of vectors at unit length under cosine.
fn similarity(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    match metric {
        Metric::Cosine | Metric::Dot => pairs().map(|(a, b)| a * b).sum(),
        Metric::L2 => 1.0 / (1.0 + pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()),
    }
}

/// Where that is what is compared.
fn of_unit_length(metric: Metric, mut members: Vec<Member>) -> Vec<Member> {
    if metric == Metric::Cosine {
        members.iter_mut().for_each(|member| to_unit(&mut member.vector));
    }
    members
}

/// Opposite members may leave no direction; then it stays as it is.
fn to_unit(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 {
        #[allow(clippy::cast_possible_truncation)]
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(vector: &[f32], (point, low, high): (f32, f32, f32), at: i64) -> Member {
        let confidence = Confidence { point, low, high };
        Member { vector: vector.to_vec(), confidence, happened_at_us: at }
    }

    fn gists(metric: Metric, members: &[Member], alike: f32) -> Vec<Gist> {
        let mut grouping = Grouping::new(metric, members.to_vec(), alike);
        while grouping.step() {}
        grouping.finish()
    }

    /// Two groups of three, one of two and one alone.
    fn some() -> Vec<Member> {
        vec![
            member(&[2.0, 0.1, 0.0], (0.9, 0.8, 1.0), 30),
            member(&[0.0, 1.0, 0.1], (1.0, 1.0, 1.0), -5),
            member(&[1.0, 0.0, 0.0], (0.6, 0.2, 0.7), 10),
            member(&[0.0, 3.0, 0.0], (1.0, 1.0, 1.0), 7),
            member(&[0.5, 0.0, 0.05], (0.3, 0.2, 0.7), 20),
            member(&[0.1, 1.0, 0.0], (0.5, 0.5, 0.5), 6),
            member(&[0.0, 0.0, 1.0], (1.0, 1.0, 1.0), 0),
            member(&[-1.0, 0.0, 0.0], (1.0, 1.0, 1.0), 0),
        ]
    }

    #[test]
    fn what_is_alike_comes_together_and_what_is_alone_stays_out() {
        let gists = gists(Metric::Cosine, &some(), 0.6);
        let groups: Vec<Vec<usize>> = gists
            .iter()
            .map(|gist| {
                let mut members: Vec<usize> = gist.members.iter().map(|(nth, _)| *nth).collect();
                members.sort_unstable();
                members
            })
            .collect();
        assert_eq!(groups, [vec![0, 2, 4], vec![1, 3, 5]]);
        let first = &gists[0];
        assert_eq!(first.span_us, (10, 30));
        let Confidence { point, low, high } = first.confidence;
        for (own, expected) in [(point, 0.6), (low, 0.4), (high, 0.8)] {
            assert!((own - expected).abs() < 1e-6, "{:?}", first.confidence);
        }
        // However long its members are.
        let length: f32 = first.vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-6 && first.vector[0] > 0.99);
        assert_eq!(first.members[0].0, 2, "the medoid lies between the others");
        assert!(first.members.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(self::gists(Metric::Cosine, &some(), 0.9999).is_empty());
        assert_eq!(self::gists(Metric::Cosine, &some(), -1.0)[0].members.len(), 8);
        assert!(self::gists(Metric::Cosine, &[], 0.5).is_empty());
    }

    #[test]
    fn trust_in_all_members_is_trust_in_the_gist() {
        let pooled = |trust: f32| {
            let mut members = some();
            let discount = |own: &mut Member| own.confidence = own.confidence.discounted(trust);
            members.iter_mut().for_each(discount);
            gists(Metric::Cosine, &members, 0.6)[0].confidence
        };
        for trust in [0.0, 0.25, 0.7, 1.0] {
            let (one, other) = (pooled(trust), pooled(1.0).discounted(trust));
            for (one, other) in
                [(one.point, other.point), (one.low, other.low), (one.high, other.high)]
            {
                assert!((one - other).abs() < 1e-6, "{trust}: {one} {other}");
            }
        }
    }

    #[test]
    fn groups_are_those_of_a_search_that_averages_every_pair() {
        let mut state = 7_u64;
        let mut component = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let alike = 0.3;
            let members: Vec<Member> = (0..24)
                .map(|_| member(&[component(), component(), component()], (1.0, 1.0, 1.0), 0))
                .collect();
            let unit = |member: &Member| {
                let mut vector = member.vector.clone();
                if metric == Metric::Cosine {
                    to_unit(&mut vector);
                }
                vector
            };
            let vectors: Vec<Vec<f32>> = members.iter().map(unit).collect();
            let mean = |a: &[usize], b: &[usize]| {
                let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
                let sum: f64 =
                    pairs.map(|(a, b)| similarity(metric, &vectors[a], &vectors[b])).sum();
                sum / (a.len() * b.len()) as f64
            };
            let mut groups: Vec<Vec<usize>> = (0..members.len()).map(|nth| vec![nth]).collect();
            loop {
                let pairs = (0..groups.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
                let best = pairs.map(|(a, b)| (mean(&groups[a], &groups[b]), a, b));
                let best = best.max_by(|x, y| x.0.total_cmp(&y.0));
                let Some((_, a, b)) = best.filter(|best| best.0 >= alike) else { break };
                let moved = groups.remove(b);
                groups[a].extend(moved);
            }
            let sorted = |mut group: Vec<usize>| {
                group.sort_unstable();
                group
            };
            let mut expected: Vec<Vec<usize>> =
                groups.into_iter().filter(|group| group.len() >= 3).map(sorted).collect();
            expected.sort();
            let found = gists(metric, &members, alike as f32);
            let members_of = |gist: &Gist| gist.members.iter().map(|(nth, _)| *nth).collect();
            let mut found: Vec<Vec<usize>> =
                found.iter().map(|gist| sorted(members_of(gist))).collect();
            found.sort();
            assert_eq!(found, expected, "{metric:?}");
            assert!(!found.is_empty());
        }
    }
}
