//! What a shard proposes for a question in words is what BM25 of every row would, over tails and
//! sections: not reading most of the postings makes no difference. Nor does it that how near just
//! any row is comes from sums of them.

mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;

use bench::{Bench, blob, columns_of};
use engram_shards::episode::{Conditions, Effort, Metric};
use engram_shards::format::columns::ColumnKind;
use engram_shards::inquiry::{Found, InquiryRequest};
use engram_shards::io::Random;
use engram_shards::recall::cue;
use engram_shards::words::Analyser;

const WORDS: u64 = 400;
const EPISODES: u64 = 3000;
const COUNT: usize = 10;
const MANY: usize = 500;

/// A word; most are rare.
fn word(random: &mut Random) -> String {
    let share = random.below(1 << 20) as f64 / f64::from(1 << 20);
    format!("q{}x", (share.powi(4) * WORDS as f64) as u64)
}

fn words(random: &mut Random, from: u64, to: u64) -> String {
    let count = random.between(from, to);
    (0..count).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

/// How often each term is in a text, and how many terms it has.
fn analyse(text: &str) -> (BTreeMap<String, f64>, f64) {
    let mut analyser = Analyser::default();
    let document = analyser.analyse(text.as_bytes());
    let terms = document.terms().map(|(term, counts)| (term.to_owned(), counts.all().into()));
    let terms: BTreeMap<String, f64> = terms.collect();
    let length = terms.values().sum();
    (terms, length)
}

fn inquire(
    bench: &mut Bench,
    (question, count): (&str, usize),
    conditions: Conditions,
) -> (Vec<String>, Found) {
    let terms: Vec<String> = analyse(question).0.into_keys().collect();
    let found = inquire_near(bench, None, (&terms, count), conditions);
    (terms, found)
}

fn inquire_near(
    bench: &mut Bench,
    cue: Option<Arc<[f32]>>,
    (terms, count): (&[String], usize),
    conditions: Conditions,
) -> Found {
    let request = InquiryRequest {
        space: bench.space,
        cue,
        terms: Arc::from(terms.to_vec()),
        spans: Arc::default(),
        k: count,
        count,
        conditions,
        effort: Effort::Usual,
    };
    let mut inquiry = bench.shard.inquiry(request).unwrap();
    // In the smallest slices.
    while !bench.shard.inquiry_step(&mut inquiry, 64 << 10).unwrap() {}
    bench.shard.inquiry_finish(inquiry).unwrap()
}

/// How similar the rows that live are to a vector in the mean; under L2 how similar one is that is
/// as far as they are in the square mean.
fn background(bench: &Bench, metric: Metric, query: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let key = |row: &Vec<f32>| match metric {
        Metric::Cosine => dot(query, row) / (dot(query, query) * dot(row, row)).sqrt(),
        Metric::Dot => dot(query, row),
        Metric::L2 => dot(query, query) - 2.0 * dot(query, row) + dot(row, row),
    };
    let mean = bench.model.values().map(key).sum::<f64>() / bench.model.len() as f64;
    if metric == Metric::L2 { 1.0 / (1.0 + mean.sqrt()) } else { mean }
}

#[test]
fn how_near_just_any_row_is_comes_from_all_rows() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let mut bench = Bench::new(metric);
        let check = |bench: &mut Bench, what: &str| {
            // Without any words there is a background too.
            for terms in [&["text".to_owned()][..], &[]] {
                let query = bench.vector();
                let (_, settings) = bench.shard.space_named("s").unwrap();
                let own = cue(settings, &[blob(&query)]).unwrap();
                let found = inquire_near(bench, Some(own), (terms, COUNT), Conditions::default());
                let wanted = background(bench, metric, &query);
                let got = f64::from(found.background(metric));
                let is_same = (got - wanted).abs() <= 1e-5 * wanted.abs().max(1.0);
                assert!(is_same, "{metric:?}, {what}: {got} instead of {wanted}");
            }
        };
        (0..300).for_each(|nth| bench.store(&format!("e{nth}")));
        check(&mut bench, "a tail");
        bench.consolidate(|_, _| ());
        check(&mut bench, "a section");
        (300..350).for_each(|nth| bench.store(&format!("e{nth}")));
        check(&mut bench, "both");
        (0..350).step_by(3).for_each(|nth| bench.forget(&format!("e{nth}")));
        bench.consolidate(|_, _| ());
        check(&mut bench, "after deaths");
        bench = bench.restart();
        check(&mut bench, "after a start");
        for kind in [ColumnKind::Centroid, ColumnKind::Words] {
            let [file] = bench.columns()[..] else { panic!() };
            let columns = columns_of(&bench.disk, file);
            let own = columns.iter().find(|column| column.kind == kind).unwrap();
            bench.flip(file, own.range.start);
            bench = bench.reopen();
            check(&mut bench, "a damaged column is made up for by the rows");
            bench.flip(file, own.range.start);
        }
        bench.reopen().restart();
    }
}

/// The BM25 of an episode, with how common words are as the shard counts it.
fn score(text: &str, terms: &[String], found: &Found) -> f64 {
    let (own, length) = analyse(text);
    let weights = found.statistics.weights();
    let mean = f64::from(found.statistics.mean_terms());
    let of = |(term, weight): (&String, &f32)| {
        let frequency = own.get(term).copied().unwrap_or_default();
        f64::from(*weight) * frequency / (frequency + 1.2 * (0.25 + 0.75 * length / mean))
    };
    terms.iter().zip(&weights).map(of).sum()
}

#[test]
fn the_best_rows_are_those_of_every_row_by_itself() {
    let (mut bench, mut random) = (Bench::new(Metric::Cosine), Random::new(7));
    let mut texts = BTreeMap::new();
    for nth in 0..EPISODES {
        let (id, text) = (format!("e{nth}"), words(&mut random, 3, 24));
        let vector = bench.vector();
        assert_eq!(bench.try_store(&id, &vector, text.clone()).len(), 1);
        bench.model.insert(id.clone(), vector);
        texts.insert(id, text);
        if nth == EPISODES / 2 {
            bench.consolidate(|_, _| ());
        }
    }
    for stage in ["a section and a tail", "some forgotten", "one section"] {
        match stage {
            "some forgotten" => {
                for nth in (0..EPISODES).step_by(7) {
                    let id = format!("e{nth}");
                    bench.forget(&id);
                    texts.remove(&id);
                }
            }
            "one section" => bench.consolidate(|_, _| ()),
            _ => {}
        }
        for nth in 0..60 {
            let question = words(&mut random, 1, 9);
            // Of many the evidence is read in several slices.
            let count = if nth % 4 == 0 { MANY } else { COUNT };
            // Everyone is certain: the second has conditions that all fulfil.
            let certain = Conditions { confidence_min: Some(0.5), ..Conditions::default() };
            for conditions in [Conditions::default(), certain] {
                let (terms, found) = inquire(&mut bench, (&question, count), conditions);
                let mut all: Vec<f64> =
                    texts.values().map(|text| score(text, &terms, &found)).collect();
                all.sort_by(|a, b| b.total_cmp(a));
                let best = all.into_iter().take_while(|score| *score > 0.0).take(count);
                let text = |id: &[u8]| &texts[std::str::from_utf8(id).unwrap()];
                let ids = found.evidence.iter().map(|own| &own.id[..]);
                let mut got: Vec<f64> = ids.map(|id| score(text(id), &terms, &found)).collect();
                got.sort_by(|a, b| b.total_cmp(a));
                let best: Vec<f64> = best.collect();
                let is_same = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4;
                let are_same = got.len() == best.len() && got.iter().zip(&best).all(is_same);
                assert!(are_same, "{stage}: '{question}' {got:?} instead of {best:?}");
            }
        }
    }
}
