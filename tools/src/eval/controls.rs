//! What the daemon is measured against: textbook ways of finding turns, exact, without a daemon.
//!
//! ```text
//! dense(q, t)  = cosine of their vectors
//! bm25(q, t)   = Σ over the different terms of q:  idf(term) · f / (f + k1 · (1 − b + b · l / l̄))
//! idf(term)    = ln(1 + (N − n + ½) / (n + ½))
//! hybrid(q, t) = ½ · bm25(q, t) / max bm25(q)
//!              + ½ · (dense(q, t) − min dense(q)) / (max dense(q) − min dense(q))
//! ```
//!
//! BM25 is that of Robertson and Zaragoza (2009, "The Probabilistic Relevance Framework") with k1
//! 1.2 and b 0.75; `f` is how often the turn has the term, `l` its length in terms, `l̄` the mean
//! length, and `n` of `N` turns have the term. Terms are those of the engine's own analyser, so
//! that no stemmer makes the difference. A turn's text has the day on which it happened behind it
//! (`8 May 2023`), because the daemon knows the time too. The mix of normalised scores is a convex
//! combination (Bruch, Gai and Ingber 2023, "An Analysis of Fusion Functions for Hybrid
//! Retrieval").
//!
//! Each comes over *windows* too (`-win`): a turn then has the words of the two turns before it and
//! the two behind it in its session as its own, and as its vector three times its own and once each
//! of theirs, added up and scaled to unit length.
//!
//! What has no term of the question is no answer of `bm25`. Among equals the earlier turn is first.

use std::collections::{HashMap, HashSet};

use engram_shards::words::Analyser;
use jiff::Timestamp;

use super::corpus::{Conversation, Turn};
use super::embeddings::Embeddings;
use crate::vectors::normalize;

const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Turns on either side that a window has.
const WINDOW: usize = 2;
/// What a turn's own vector counts in that of its window, beside 1 for each of the others.
const OWN_WEIGHT: f32 = 3.0;

/// What a control goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cue {
    Vectors,
    Words,
    Both,
}

/// See the top of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) name: &'static str,
    cue: Cue,
    is_windowed: bool,
}

pub(super) const CONTROLS: [Control; 6] = [
    Control { name: "dense", cue: Cue::Vectors, is_windowed: false },
    Control { name: "dense-win", cue: Cue::Vectors, is_windowed: true },
    Control { name: "bm25", cue: Cue::Words, is_windowed: false },
    Control { name: "bm25-win", cue: Cue::Words, is_windowed: true },
    Control { name: "hybrid", cue: Cue::Both, is_windowed: false },
    Control { name: "hybrid-win", cue: Cue::Both, is_windowed: true },
];

/// A conversation as controls search it.
#[derive(Debug)]
pub(super) struct Controls {
    plain: Index,
    windowed: Index,
}

impl Controls {
    pub(super) fn new(conversation: &Conversation, vectors: &Embeddings) -> Self {
        let turns = &conversation.turns;
        let mut analyser = Analyser::default();
        let documents: Vec<Document> =
            turns.iter().map(|turn| Document::new(&mut analyser, &told(turn))).collect();
        let own: Vec<Vec<f32>> = turns.iter().map(|turn| vectors.row(turn.row).to_vec()).collect();
        let around = windows(turns);
        let mixed = around.iter().enumerate().map(|(nth, around)| mix(&own, nth, around)).collect();
        let told = around.iter().enumerate().map(|(nth, around)| {
            let mut all = documents[nth].clone();
            around.iter().for_each(|other| all.add(&documents[*other]));
            all
        });
        let windowed = Index::new(&told.collect::<Vec<_>>(), mixed);
        Self { plain: Index::new(&documents, own), windowed }
    }

    /// The first k turns for a question, best first.
    pub(super) fn answer(&self, control: Control, text: &str, cue: &[f32], k: usize) -> Vec<usize> {
        let index = if control.is_windowed { &self.windowed } else { &self.plain };
        match control.cue {
            Cue::Vectors => best(&index.dense(cue), k, f64::NEG_INFINITY),
            Cue::Words => best(&index.bm25(&terms(text)), k, 0.0),
            Cue::Both => {
                let mixed = hybrid(&index.bm25(&terms(text)), &index.dense(cue));
                best(&mixed, k, f64::NEG_INFINITY)
            }
        }
    }
}

/// The text of a turn with its day.
fn told(turn: &Turn) -> String {
    let time = turn.at_us.and_then(|us| Timestamp::from_microsecond(us).ok());
    let day = time.map(|time| time.strftime("%-d %B %Y").to_string()).unwrap_or_default();
    format!("{}\n{day}", turn.text)
}

fn terms(text: &str) -> HashSet<String> {
    let mut analyser = Analyser::default();
    analyser.analyse(text.as_bytes()).terms().map(|(term, _)| term.to_owned()).collect()
}

/// The turns around each in its session.
fn windows(turns: &[Turn]) -> Vec<Vec<usize>> {
    let mut sessions: HashMap<&str, Vec<usize>> = HashMap::new();
    for (nth, turn) in turns.iter().enumerate().filter(|(_, turn)| !turn.session.is_empty()) {
        sessions.entry(&turn.session).or_default().push(nth);
    }
    let mut around = vec![Vec::new(); turns.len()];
    for session in sessions.values() {
        for (place, nth) in session.iter().enumerate() {
            let until = session.len().min(place + WINDOW + 1);
            let window = &session[place.saturating_sub(WINDOW)..until];
            around[*nth] = window.iter().copied().filter(|other| other != nth).collect();
        }
    }
    around
}

/// The vector of a window.
fn mix(own: &[Vec<f32>], nth: usize, around: &[usize]) -> Vec<f32> {
    let mut mixed = own[nth].clone();
    for (place, component) in mixed.iter_mut().enumerate() {
        let others: f32 = around.iter().map(|other| own[*other][place]).sum();
        *component = OWN_WEIGHT * *component + others;
    }
    normalize(&mut mixed);
    mixed
}

/// How often each term is there.
#[derive(Debug, Clone, Default)]
struct Document {
    terms: HashMap<String, f64>,
    length: f64,
}

impl Document {
    fn new(analyser: &mut Analyser, text: &str) -> Self {
        let document = analyser.analyse(text.as_bytes());
        let count = |(term, counts): (&str, engram_shards::words::Counts)| {
            (term.to_owned(), f64::from(counts.all()))
        };
        Self {
            terms: document.terms().map(count).collect(),
            length: f64::from(document.extent.terms()),
        }
    }

    fn add(&mut self, other: &Self) {
        for (term, count) in &other.terms {
            *self.terms.entry(term.clone()).or_default() += count;
        }
        self.length += other.length;
    }
}

/// Documents with a vector each.
#[derive(Debug)]
struct Index {
    /// By term, the documents that have it, and how often.
    postings: HashMap<String, Vec<(usize, f64)>>,
    lengths: Vec<f64>,
    vectors: Vec<Vec<f32>>,
}

impl Index {
    fn new(documents: &[Document], vectors: Vec<Vec<f32>>) -> Self {
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        for (nth, document) in documents.iter().enumerate() {
            for (term, count) in &document.terms {
                postings.entry(term.clone()).or_default().push((nth, *count));
            }
        }
        let lengths = documents.iter().map(|document| document.length).collect();
        Self { postings, lengths, vectors }
    }

    fn dense(&self, cue: &[f32]) -> Vec<f64> {
        let dot = |vector: &Vec<f32>| {
            vector.iter().zip(cue).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        self.vectors.iter().map(dot).collect()
    }

    fn bm25(&self, terms: &HashSet<String>) -> Vec<f64> {
        let documents = self.lengths.len() as f64;
        let length_mean = (self.lengths.iter().sum::<f64>() / documents.max(1.0)).max(1.0);
        let mut scores = vec![0.0; self.lengths.len()];
        // In their order, so that sums come out the same each time.
        let mut terms: Vec<&String> = terms.iter().collect();
        terms.sort_unstable();
        for postings in terms.into_iter().filter_map(|term| self.postings.get(term)) {
            let having = postings.len() as f64;
            let idf = (1.0 + (documents - having + 0.5) / (having + 0.5)).ln();
            for (document, count) in postings {
                let length = self.lengths[*document];
                let damping = K1 * (1.0 - B + B * length / length_mean);
                scores[*document] += idf * count / (count + damping);
            }
        }
        scores
    }
}

/// See the top of the file. Where all are the same, that part tells nothing.
fn hybrid(words: &[f64], dense: &[f64]) -> Vec<f64> {
    let most = |all: &[f64]| all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = dense.iter().copied().fold(f64::INFINITY, f64::min);
    let (words_max, dense_range) = (most(words), most(dense) - least);
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let mixed = words.iter().zip(dense).map(|(words, dense)| {
        0.5 * share(*words, words_max) + 0.5 * share(dense - least, dense_range)
    });
    mixed.collect()
}

/// The k best that are above a floor.
fn best(scores: &[f64], k: usize, floor: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|nth| scores[*nth] > floor).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(k);
    order
}

#[cfg(test)]
mod tests {
    use super::super::corpus::Corpus;
    use super::super::corpus::tests::Given;
    use super::*;

    fn index(texts: &[&str]) -> Index {
        let mut analyser = Analyser::default();
        let documents: Vec<Document> =
            texts.iter().map(|text| Document::new(&mut analyser, text)).collect();
        let vectors = vec![Vec::new(); texts.len()];
        Index::new(&documents, vectors)
    }

    #[test]
    fn bm25_is_its_formula() {
        let index = index(&["cat cat dog", "dog", "bird bird", "fish bird"]);
        // N 4, mean length 2; cat: n 1, idf ln(1 + 3.5/1.5); dog: n 2, idf ln(1 + 2.5/2.5).
        let (cat, dog) = ((1.0_f64 + 3.5 / 1.5).ln(), 2.0_f64.ln());
        let long = 1.2 * (0.25 + 0.75 * 1.5);
        let short = 1.2 * (0.25 + 0.75 * 0.5);
        let expected =
            [cat * 2.0 / (2.0 + long) + dog / (1.0 + long), dog / (1.0 + short), 0.0, 0.0];
        let scores = index.bm25(&terms("Cats and a dog, cat?"));
        for (score, expected) in scores.iter().zip(expected) {
            assert!((score - expected).abs() < 1e-12, "{scores:?}");
        }
        assert_eq!(best(&scores, 10, 0.0), [0, 1], "what has no term is no answer");
    }

    #[test]
    fn hybrid_is_half_of_each_after_normalising() {
        let mixed = hybrid(&[4.0, 1.0, 0.0], &[0.1, 0.3, 0.5]);
        for (own, expected) in mixed.iter().zip([0.5, 0.375, 0.5]) {
            assert!((own - expected).abs() < 1e-12, "{mixed:?}");
        }
        assert_eq!(hybrid(&[0.0, 0.0], &[0.2, 0.4]), [0.0, 0.5], "no word fits");
        assert_eq!(hybrid(&[1.0, 0.0], &[0.2, 0.2]), [0.5, 0.0], "all are equally near");
        assert_eq!(best(&[0.5, 0.4, 0.5, 0.6], 3, f64::NEG_INFINITY), [3, 0, 2]);
    }

    #[test]
    fn windows_stay_within_their_session() {
        let turns = [
            ("a", "1", "x", "red"),
            ("a", "2", "x", "green"),
            ("a", "3", "x", "blue"),
            ("a", "4", "x", "pink"),
            ("a", "5", "y", "black"),
            ("a", "6", "", "white"),
        ];
        let asked = [("a", "black?", "c", &["5"][..])];
        let corpus = Corpus::read(&Given { turns: &turns, questions: &asked }).unwrap();
        let conversation = &corpus.conversations[0];
        let expected: [&[usize]; 6] = [&[1, 2], &[0, 2, 3], &[0, 1, 3], &[1, 2], &[], &[]];
        assert_eq!(windows(&conversation.turns), expected);

        let unit = |at: usize| (0..6).map(|n| f32::from(u8::from(n == at))).collect();
        let vectors = Embeddings::of((0..6).map(unit).collect());
        let mixed = mix(&(0..6).map(unit).collect::<Vec<_>>(), 0, &[1, 2]);
        // The root of 3² + 1² + 1².
        for (own, expected) in mixed.iter().zip([3.0, 1.0, 1.0, 0.0, 0.0, 0.0]) {
            assert!((own - expected / 11.0_f32.sqrt()).abs() < 1e-6, "{mixed:?}");
        }

        let controls = Controls::new(conversation, &vectors);
        let cue = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let answer = |name: &str, text: &str, k| {
            let control = CONTROLS.iter().find(|control| control.name == name).unwrap();
            controls.answer(*control, text, &cue, k)
        };
        assert_eq!(answer("dense", "", 1), [3]);
        assert_eq!(answer("dense-win", "", 3), [3, 1, 2], "turns 2 and 3 have turn 4 around them");
        assert_eq!(answer("bm25", "blue", 9), [2]);
        assert_eq!(answer("bm25-win", "blue", 9), [0, 3, 1, 2], "the shorter windows come first");
        assert_eq!(answer("hybrid", "black", 2), [3, 4]);
        assert_eq!(answer("hybrid-win", "red", 1), [1], "beside 1 in words, beside 4 in meaning");
    }

    #[test]
    fn the_day_is_part_of_what_a_turn_tells() {
        let turns = [("a", "1", "", "We met.")];
        let asked = [("a", "?", "c", &["1"][..])];
        let mut corpus = Corpus::read(&Given { turns: &turns, questions: &asked }).unwrap();
        let turn = &mut corpus.conversations[0].turns[0];
        assert_eq!(told(turn), "We met.\n");
        turn.at_us = Some(1_683_554_160_000_000);
        assert_eq!(told(turn), "We met.\n8 May 2023");
    }
}
