//! Spreading on shards: what it finds is what the links say, wherever they lie.

mod bench;
mod linked;

use std::collections::{BTreeMap, BTreeSet};

use bench::Bench;
use bytes::Bytes;
use engram_shards::episode::{Conditions, Effort, Fields, Hit, Metric, Refusal};
use engram_shards::links::{GistLink, StoredAt};
use engram_shards::space::Home;
use engram_shards::spread::exact::{Exact, Mass};
use engram_shards::spread::link::{WEIGHT_MAX, WEIGHT_MIN, Weight};
use engram_shards::spread::operator::{DEPTH_UNLIMITED, Operator, Settings};
use engram_shards::spreading::{
    Asked, Collected, Exchange, Given, How, Recalled, SpreadRequest, Spreading,
};
use linked::{Linked, change, id, three_parts};
use proptest::prelude::*;

const PUSH: How = How::Push { is_traced: false };
const TRACED: How = How::Push { is_traced: true };

/// Scores by id.
type Scores = BTreeMap<String, f64>;

fn operator(depth_max: u32) -> Operator {
    let threshold = 1e-9;
    Operator::new(Settings { threshold, depth_max, ..Settings::default() }).unwrap()
}

fn asked(k: usize) -> Asked {
    let (conditions, fields) = (Conditions::default(), Fields::default());
    Asked { k, conditions, fields, bytes_max: usize::MAX, recalled: None }
}

fn given(seeds: &[(&str, f64)]) -> Vec<Given> {
    let given = |(id, mass): &(&str, f64)| {
        Given::seed(Bytes::copy_from_slice(id.as_bytes()), Mass::new(*mass))
    };
    seeds.iter().map(given).collect()
}

/// What power iteration over the links finds, without any of the code that is tested.
fn truth(links: &BTreeMap<String, linked::Links>, seeds: &[(&str, f64)], depth: u32) -> Scores {
    let weight =
        |weight: f32| f64::from(Weight::new(weight.clamp(WEIGHT_MIN, WEIGHT_MAX)).unwrap().get());
    let mut now: Scores = seeds.iter().map(|(id, mass)| (id.to_string(), *mass)).collect();
    let mut scores = Scores::new();
    for round in 0..=depth.min(60) {
        let mut next = Scores::new();
        for (id, mass) in &now {
            let own = links.get(id).filter(|own| !own.is_empty());
            let Some(own) = own.filter(|_| round < depth) else {
                let kept = if own.is_some() || round == depth { 0.5 } else { 1.0 };
                *scores.entry(id.clone()).or_default() += kept * mass;
                continue;
            };
            *scores.entry(id.clone()).or_default() += 0.5 * mass;
            let sum: f64 = own.values().map(|of| weight(*of)).sum();
            for ((target, _), of) in own {
                *next.entry(target.clone()).or_default() += 0.5 * mass * weight(*of) / sum;
            }
        }
        now = next;
    }
    // Only what is there can be found, and seeds are not looked for.
    scores.retain(|id, _| links.contains_key(id) && seeds.iter().all(|(seed, _)| seed != id));
    scores
}

fn scores(hits: &[Hit]) -> Scores {
    let id = |hit: &Hit| String::from_utf8(hit.episode.id.to_vec()).unwrap();
    hits.iter().map(|hit| (id(hit), f64::from(hit.score))).collect()
}

fn assert_close(got: &Scores, truth: &Scores, tolerance: f64) {
    let ids: BTreeSet<&String> = got.keys().chain(truth.keys()).collect();
    for id in ids {
        let of = |scores: &Scores| scores.get(id).copied().unwrap_or_default();
        let (got, truth) = (of(got), of(truth));
        assert!((got - truth).abs() <= tolerance, "{id}: {got} and {truth}");
    }
}

fn begin(bench: &mut Bench, how: How, depth: u32, home: Home) -> Spreading {
    let (space, operator) = (bench.space, operator(depth));
    let request = SpreadRequest { space, home, operator, how, is_strict: true };
    bench.shard.spread(request).unwrap()
}

/// Spreads on one shard, a few edges at a time.
fn try_spread(
    bench: &mut Bench,
    how: How,
    depth: u32,
    seeds: &[(&str, f64)],
    asked: &Asked,
    mut meanwhile: impl FnMut(&mut Bench, usize),
) -> Result<Collected, Refusal> {
    let mut spreading = begin(bench, how, depth, Home::ALONE);
    let (masses, rounds) = (given(seeds), None);
    spreading.give(Exchange { masses, are_seeds: true, edges: 100_000, rounds, within_ns: None });
    for step in 0.. {
        match bench.shard.spread_step(&mut spreading, 7) {
            Ok(false) => meanwhile(bench, step),
            Ok(true) => break,
            Err(refusal) => {
                bench.shard.spread_end(spreading);
                return Err(refusal);
            }
        }
    }
    bench.shard.spread_finish(spreading, asked.clone())
}

fn spread(bench: &mut Bench, how: How, depth: u32, seeds: &[(&str, f64)]) -> Scores {
    let collected = try_spread(bench, how, depth, seeds, &asked(1000), |_, _| {}).unwrap();
    scores(&collected.hits)
}

/// Pushes and exact answers of all depths are what the links say.
fn check(linked: &mut Linked, seeds: &[(&str, f64)]) {
    for depth in [0, 1, 2, 5, DEPTH_UNLIMITED] {
        let truth = truth(&linked.links, seeds, depth);
        assert_close(&spread(&mut linked.bench, How::Exact, depth, seeds), &truth, 1e-7);
        assert_close(&spread(&mut linked.bench, PUSH, depth, seeds), &truth, 2e-5);
        assert_close(&spread(&mut linked.bench, TRACED, depth, seeds), &truth, 2e-5);
    }
}

#[test]
fn mass_goes_along_links_in_a_tail_a_section_and_between_both() {
    let mut linked = Linked::new();
    linked.store("a", &[("b", "", 1.0), ("c", "k", 3.0), ("nowhere", "", 4.0)]);
    linked.store("b", &[("a", "", 1.0), ("b", "", 1.0)]);
    linked.store("c", &[("b", "", 1.0)]);
    let seeds = [("a", 0.75), ("b", 0.25)];
    check(&mut linked, &seeds);
    linked.bench.consolidate(|_, _| {});
    check(&mut linked, &seeds);
    linked.store("d", &[("a", "", 2.0), ("e", "", 1.0)]);
    linked.link("c", "d", "", 0.5);
    check(&mut linked, &seeds);
    // What was nowhere is stored, what is replaced and forgotten is led to all the same.
    linked.store("nowhere", &[("d", "", 1.0)]);
    linked.store("b", &[("c", "again", 1.0)]);
    linked.forget("c");
    check(&mut linked, &seeds);
    linked.store("c", &[]);
    linked.link("b", "c", "again", 9.0);
    linked.unlink("a", "nowhere", "");
    check(&mut linked, &seeds);
    linked = linked.restart();
    check(&mut linked, &seeds);
    linked.bench.consolidate_new();
    check(&mut linked, &seeds);
}

#[test]
fn three_parts_and_everything_that_changes_between_them() {
    let mut linked = three_parts();
    let seeds = [("e0", 0.5), ("e33", 0.25), ("e38", 0.25)];
    check(&mut linked, &seeds);
    for nth in 0..40 {
        change(&mut linked, 5 * nth + 3);
        if seeds.iter().all(|(seed, _)| linked.links.contains_key(*seed)) && nth % 4 == 0 {
            check(&mut linked, &seeds);
        }
    }
}

#[test]
fn what_holds_a_gist_together_is_no_association() {
    let mut linked = three_parts();
    let seeds = [("e0", 0.5), ("e33", 0.25), ("e38", 0.25)];
    check(&mut linked, &seeds);
    let ids: Vec<String> = linked.links.keys().cloned().collect();
    let bound = |linked: &Linked, id: &str| linked.gist_links_of(id).map(|(_, links)| links);
    let mut expected = Vec::new();
    for (nth, id) in ids.iter().enumerate().filter(|(nth, _)| nth % 3 != 1) {
        let at = StoredAt { shard: 7, sequence: nth as u64 };
        let links = [GistLink::ToHead(at), GistLink::ToMember(at)];
        links.into_iter().for_each(|link| linked.bind(id, link));
        expected.push((id, links));
    }
    for round in 0..3 {
        linked.check();
        check(&mut linked, &seeds);
        for (id, links) in &expected {
            assert_eq!(bound(&linked, id).as_deref(), Some(&links[..]), "{id}, round {round}");
        }
        match round {
            0 => linked = linked.restart(),
            _ => linked.bench.consolidate_new(),
        }
    }
    // They go with their episode, and a link beside them is counted alone.
    let (own, _) = expected[0];
    linked.link(own, "e5", "beside", 2.0);
    linked.unlink(own, "e5", "");
    linked.store(own, &[("e5", "", 1.0)]);
    assert_eq!(bound(&linked, own), Some(Vec::new()));
    linked.forget(expected[1].0);
    linked.store(expected[1].0, &[]);
    assert_eq!(bound(&linked, expected[1].0), Some(Vec::new()));
    check(&mut linked, &seeds);
}

#[test]
fn a_spread_begins_again_when_rows_move_and_finds_the_same() {
    for how in [PUSH, TRACED, How::Exact] {
        let mut linked = three_parts();
        let seeds = [("e0", 0.5), ("e33", 0.5)];
        let truth = truth(&linked.links, &seeds, DEPTH_UNLIMITED);
        let ticket = linked.bench.ticket();
        let collected = try_spread(
            &mut linked.bench,
            how,
            DEPTH_UNLIMITED,
            &seeds,
            &asked(1000),
            |bench, step| {
                if step == 1 {
                    bench.shard.consolidate(ticket, true).unwrap();
                    while bench.work().0.is_empty() {}
                }
            },
        );
        assert!(linked.bench.shard.consolidation().0.published > 2, "it came to nothing in time");
        assert_close(&scores(&collected.unwrap().hits), &truth, 2e-5);
        assert_eq!(linked.bench.shard.verify(), Vec::<String>::new());
    }
}

#[test]
fn conditions_fields_and_ways_of_what_is_found() {
    let mut linked = Linked::new();
    linked.store("a", &[("b", "causes", 3.0), ("c", "", 1.0)]);
    linked.store("b", &[("d", "is", 1.0)]);
    linked.store("c", &[]);
    linked.store("d", &[]);
    for _ in 0..2 {
        let fields = Fields { text: true, ..Fields::default() };
        let two = Asked { fields, ..asked(2) };
        let collected =
            try_spread(&mut linked.bench, TRACED, 9, &[("a", 1.0)], &two, |_, _| {}).unwrap();
        let hit = &collected.hits[0];
        assert_eq!((collected.hits.len(), &hit.episode.id[..]), (2, &b"b"[..]));
        assert_eq!(hit.episode.text.as_deref(), Some(&b"text of b"[..]));
        assert_eq!((hit.similarity, hit.activation), (None, Some(hit.score)));
        let last = &collected.hits[1];
        let path = last.path.as_ref().unwrap();
        let steps: Vec<_> = path.iter().map(|s| (&s.from[..], &s.to[..], &s.kind[..])).collect();
        assert_eq!(&last.episode.id[..], b"d");
        assert_eq!(steps, [(&b"a"[..], &b"b"[..], &b"causes"[..]), (b"b", b"d", b"is")]);
        let none = Conditions { confidence_min: Some(1.5), ..Conditions::default() };
        let none = Asked { conditions: none, ..asked(9) };
        let collected =
            try_spread(&mut linked.bench, PUSH, 9, &[("a", 1.0)], &none, |_, _| {}).unwrap();
        assert_eq!((collected.hits.len(), collected.edges > 0), (0, true));
        linked.bench.consolidate(|_, _| {});
    }
}

#[test]
fn what_is_similar_is_found_without_a_link_once_it_is_consolidated() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..3000).for_each(|nth| bench.store(&id(nth)));
    let similar = |bench: &mut Bench, share: f32| {
        let settings = Settings { similar: share, depth_max: 1, ..Settings::default() };
        let operator = Operator::new(settings).unwrap();
        let (space, home) = (bench.space, Home::ALONE);
        let request = SpreadRequest { space, home, operator, how: TRACED, is_strict: true };
        let mut spreading = bench.shard.spread(request).unwrap();
        let masses = given(&[("e7", 1.0)]);
        spreading.give(Exchange {
            masses,
            are_seeds: true,
            edges: 100,
            rounds: None,
            within_ns: None,
        });
        while !bench.shard.spread_step(&mut spreading, 7).unwrap() {}
        bench.shard.spread_finish(spreading, asked(20)).unwrap().hits
    };
    assert_eq!(similar(&mut bench, 1.0), [], "a tail does not know it");
    bench.consolidate(|_, _| {});
    assert_eq!(similar(&mut bench, 0.0), []);
    let found = similar(&mut bench, 1.0);
    assert!((5..=8).contains(&found.len()), "{}", found.len());
    let path = found[0].path.as_ref().unwrap();
    assert_eq!((&path[0].from[..], &path[0].kind[..]), (&b"e7"[..], &b"similar"[..]));
    let vector = bench.model["e7"].clone();
    let nearest = bench::ids(&bench.recall_as(&vector, 31, Effort::Exact));
    let among = bench::ids(&found).iter().filter(|id| nearest.contains(id)).count();
    assert!(among >= 5, "{among} of {:?} are among the thirty nearest", bench::ids(&found));
}

#[test]
fn a_seed_that_is_stored_again_meanwhile_is_a_seed_all_the_same() {
    for how in [PUSH, TRACED, How::Exact] {
        let mut linked = Linked::new();
        linked.store("seed", &[("a", "", 1.0)]);
        linked.store("a", &[("seed", "", 1.0), ("b", "", 1.0)]);
        linked.store("b", &[("a", "", 1.0)]);
        let (depth, seeds) = (DEPTH_UNLIMITED, [("seed", 1.0)]);
        let mut stored = 0;
        let collected =
            try_spread(&mut linked.bench, how, depth, &seeds, &asked(9), |bench, step| {
                if step == 1 {
                    bench.store("seed");
                    stored += 1;
                }
            });
        let found = bench::ids(&collected.unwrap().hits);
        assert_eq!((stored, found), (1, vec!["a".to_owned(), "b".to_owned()]), "{how:?}");
    }
}

/// What a recall is that has found these.
fn recalled(bench: &Bench, cue: &str, ids: &[&str], weight: f32) -> Recalled {
    let (_, settings) = bench.shard.space_named("s").unwrap();
    let cue = engram_shards::recall::cue(settings, &[bench::blob(&bench.model[cue])]).unwrap();
    let ids = ids.iter().map(|id| (*id).to_owned().into()).collect();
    Recalled { cue: Some(cue), weight, ids, scores: None }
}

#[test]
fn what_a_seed_of_a_recall_keeps_does_not_count_though_it_is_stored_again_meanwhile() {
    let mut linked = Linked::new();
    linked.store("seed", &[("a", "", 1.0)]);
    linked.store("a", &[("b", "", 1.0)]);
    linked.store("b", &[("a", "", 1.0)]);
    let recalled = Some(recalled(&linked.bench, "seed", &["seed"], 1.0));
    let wanted = Asked { recalled, ..asked(3) };
    let mut stored = 0;
    let seeds = [("seed", 1.0)];
    let again = |bench: &mut Bench, step: usize| {
        if step == 1 {
            bench.store("seed");
            stored += 1;
        }
    };
    let bench = &mut linked.bench;
    let collected = try_spread(bench, PUSH, DEPTH_UNLIMITED, &seeds, &wanted, again).unwrap();
    let seed = collected.hits.iter().find(|hit| hit.episode.id == "seed").unwrap();
    assert_eq!(stored, 1);
    assert!(seed.activation.unwrap() < 1e-6, "{seed:?}");
}

#[test]
fn mass_that_was_not_spread_before_the_end_is_missing() {
    let mut linked = Linked::new();
    let targets: Vec<String> = (0..256).map(id).collect();
    let links: Vec<_> = targets.iter().map(|target| (&target[..], "", 1.0)).collect();
    (0..100).for_each(|nth| linked.store(&id(nth), &links));
    linked.bench.consolidate(|_, _| {});
    for how in [PUSH, TRACED, How::Exact] {
        linked = linked.restart();
        let bench = &mut linked.bench;
        let mut spreading = begin(bench, how, 9, Home::ALONE);
        for (id, mass, are_seeds) in [("e0", 0.5, true), ("e1", 0.25, false)] {
            let masses = given(&[(id, mass)]);
            spreading.give(Exchange { masses, are_seeds, edges: 9, ..Exchange::default() });
        }
        // The links of a section are tried first, and these take more than one step.
        assert!(!bench.shard.spread_step(&mut spreading, 7).unwrap());
        let collected = bench.shard.spread_finish(spreading, asked(9)).unwrap();
        assert_eq!((collected.hits.len(), collected.missing_max), (0, 0.75), "{how:?}");
        // What a recall has found is there without it.
        let recalled = Some(recalled(bench, "e2", &["e1", "e2", "e3"], 1.0));
        let mut spreading = begin(bench, how, 9, Home::ALONE);
        spreading.give(Exchange { masses: given(&[("e0", 1.0)]), ..Exchange::default() });
        let asked = Asked { recalled, ..asked(2) };
        let collected = bench.shard.spread_finish(spreading, asked.clone()).unwrap();
        assert_eq!((collected.hits.len(), collected.missing_max), (2, 1.0), "{how:?}");
        assert_eq!(collected.hits[0].episode.id, "e2");
        assert_eq!(collected.hits[0].activation, Some(0.0));
    }
}

#[test]
fn seeds_that_are_not_there_are_named() {
    let mut linked = Linked::new();
    linked.store("a", &[("b", "", 1.0)]);
    let refused =
        try_spread(&mut linked.bench, PUSH, 9, &[("a", 0.5), ("b", 0.5)], &asked(9), |_, _| {});
    assert_eq!(refused, Err(Refusal::NoEpisode("b".into())));
}

#[test]
fn a_recall_adds_what_is_associated_to_what_is_similar() {
    let mut linked = Linked::new();
    linked.store("cue", &[("friend", "", 1.0)]);
    linked.store("friend", &[]);
    (0..50).for_each(|nth| linked.store(&id(nth), &[]));
    for (weight, first) in [(0.0, "e1"), (10.0, "friend")] {
        let recalled = Some(recalled(&linked.bench, "cue", &["cue", "e1"], weight));
        let wanted = Asked { recalled, ..asked(3) };
        let seeds = [("cue", 1.0)];
        let collected = try_spread(&mut linked.bench, PUSH, 9, &seeds, &wanted, |_, _| {}).unwrap();
        let found = bench::ids(&collected.hits);
        assert_eq!(found.len(), 3);
        let place = |id: &str| found.iter().position(|own| own == id).unwrap();
        let cue = &collected.hits[place("cue")];
        // Nothing comes back to the seed, and what it keeps is not counted.
        assert!(cue.activation.unwrap() < 1e-6 && cue.similarity.unwrap() > 0.999);
        assert_eq!(place(first), usize::from(weight == 0.0), "{found:?}");
    }
    assert_eq!(linked.bench.model.len(), 52);
}

// ---- Several shards ------------------------------------------------------------------------

/// The same episodes and links on so many shards.
struct Spanned {
    shards: Vec<Linked>,
    /// Whether before each exchange but the first the rows of a shard move.
    moves_rows: bool,
}

impl Spanned {
    fn of(span: u32, links: &BTreeMap<String, linked::Links>, consolidated: usize) -> Self {
        let mut shards: Vec<Linked> = (0..span).map(|_| Linked::new()).collect();
        for (nth, (id, own)) in links.iter().enumerate() {
            let at = Home::of(shards[0].bench.space, id.as_bytes(), span) as usize;
            let own: Vec<(&str, &str, f32)> =
                own.iter().map(|((to, kind), of)| (&to[..], &kind[..], *of)).collect();
            shards[at].store(id, &own);
            if nth == consolidated {
                shards.iter_mut().for_each(|shard| shard.bench.consolidate(|_, _| {}));
            }
        }
        Self { shards, moves_rows: false }
    }

    /// Drives a spread over all shards, as the daemon does.
    fn spread(&mut self, how: How, depth: u32, exchanges_max: u32, seeds: &[(&str, f64)]) -> Found {
        let span = self.shards.len() as u32;
        let space = self.shards[0].bench.space;
        let home_of = |id: &[u8]| Home::of(space, id, span) as usize;
        let mut spreads: Vec<Spreading> = (0..)
            .zip(&mut self.shards)
            .map(|(nth, shard)| begin(&mut shard.bench, how, depth, Home { nth, span }))
            .collect();
        let mut masses: Vec<Vec<Given>> = vec![Vec::new(); span as usize];
        given(seeds).into_iter().for_each(|given| masses[home_of(&given.id)].push(given));
        let is_bounded = depth != DEPTH_UNLIMITED && how != How::Exact;
        for exchange in 0.. {
            if self.moves_rows && exchange > 0 {
                let nth = exchange as usize % self.shards.len();
                self.shards[nth].bench.consolidate(|_, _| {});
            }
            let is_last = how != How::Exact && exchange + 1 >= exchanges_max;
            let rounds = is_bounded.then_some(u32::from(!is_last));
            let mut next: Vec<Vec<Given>> = vec![Vec::new(); span as usize];
            let mut on_its_way = Mass::default();
            for (nth, spreading) in spreads.iter_mut().enumerate() {
                let masses = std::mem::take(&mut masses[nth]);
                let are_seeds = exchange == 0;
                spreading.give(Exchange {
                    masses,
                    are_seeds,
                    edges: 100_000,
                    rounds,
                    within_ns: None,
                });
                let shard = &mut self.shards[nth].bench.shard;
                while !shard.spread_step(spreading, 11).unwrap() {}
                if is_last {
                    continue;
                }
                let exchanged = spreading.take();
                on_its_way.add(exchanged.on_its_way);
                for given in exchanged.handed_over {
                    on_its_way.add(given.mass);
                    next[home_of(&given.id)].push(given);
                }
            }
            masses = next;
            let is_over =
                how == How::Exact && Exact::is_enough(operator(depth), exchange + 1, on_its_way);
            if is_last || is_over {
                break;
            }
        }
        let mut found = Found { missing_max: 0.0, hits: Vec::new() };
        for (shard, spreading) in self.shards.iter_mut().zip(spreads) {
            let collected = shard.bench.shard.spread_finish(spreading, asked(1000)).unwrap();
            found.missing_max += collected.missing_max;
            found.hits.extend(collected.hits);
        }
        found
    }
}

struct Found {
    missing_max: f64,
    hits: Vec<Hit>,
}

fn any_links() -> impl Strategy<Value = BTreeMap<String, linked::Links>> {
    let own = proptest::collection::btree_map(
        ((0..40_usize).prop_map(id), prop_oneof![Just(String::new()), Just("k".to_owned())]),
        0.01_f32..100.0,
        0..6,
    );
    proptest::collection::vec(own, 30).prop_map(|all| (0..).map(id).zip(all).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_exact_answer_has_the_same_bits_on_any_number_of_shards_and_wherever_links_lie(
        links in any_links(), depth in prop_oneof![0..4_u32, Just(DEPTH_UNLIMITED)],
        consolidated in 0..40_usize,
    ) {
        let seeds = [("e0", 0.5), ("e1", 0.3), ("e2", 0.2)];
        let bits = |hits: &[Hit]| -> BTreeMap<Bytes, u32> {
            hits.iter().map(|hit| (hit.episode.id.clone(), hit.score.to_bits())).collect()
        };
        let mut alone = Spanned::of(1, &links, 99);
        let alone = alone.spread(How::Exact, depth, u32::MAX, &seeds).hits;
        assert_close(&scores(&alone), &truth(&links, &seeds, depth), 1e-7);
        for span in [1, 2, 3] {
            let mut spanned = Spanned::of(span, &links, consolidated);
            let found = spanned.spread(How::Exact, depth, u32::MAX, &seeds);
            prop_assert_eq!(bits(&found.hits), bits(&alone));
        }
    }

    #[test]
    fn a_push_over_shards_lacks_no_more_than_it_says(
        links in any_links(), exchanges_max in 1..5_u32, span in 2..4_u32,
        consolidated in 0..40_usize,
    ) {
        let seeds = [("e0", 0.5), ("e1", 0.3), ("e2", 0.2)];
        let truth = truth(&links, &seeds, DEPTH_UNLIMITED);
        let mut spanned = Spanned::of(span, &links, consolidated);
        for how in [PUSH, TRACED] {
            let found = spanned.spread(how, DEPTH_UNLIMITED, exchanges_max, &seeds);
            let got = scores(&found.hits);
            let lacking: f64 = truth
                .iter()
                .map(|(id, score)| score - got.get(id).copied().unwrap_or_default())
                .sum();
            let missing_max = found.missing_max;
            prop_assert!(lacking.abs() <= missing_max + 1e-5, "{lacking} {missing_max}");
        }
    }

    #[test]
    fn what_was_handed_over_is_not_handed_over_again_when_rows_move(
        links in any_links(), span in 2..4_u32, consolidated in 0..20_usize,
    ) {
        let seeds = [("e0", 0.5), ("e1", 0.3), ("e2", 0.2)];
        let truth = truth(&links, &seeds, DEPTH_UNLIMITED);
        for how in [PUSH, TRACED, How::Exact] {
            let mut spanned = Spanned::of(span, &links, consolidated);
            spanned.moves_rows = true;
            let found = spanned.spread(how, DEPTH_UNLIMITED, 12, &seeds);
            let got = scores(&found.hits);
            for (id, score) in &got {
                let most = truth.get(id).copied().unwrap_or_default();
                prop_assert!(*score <= most + 2e-5, "{id} has {score} of {most}");
            }
            let lacking = truth.values().sum::<f64>() - got.values().sum::<f64>();
            prop_assert!(lacking <= found.missing_max + 2e-5, "{lacking} {}", found.missing_max);
        }
    }

    #[test]
    fn hops_are_counted_over_shards(
        links in any_links(), hops in 0..4_u32, span in 2..4_u32, consolidated in 0..40_usize,
    ) {
        let seeds = [("e0", 0.5), ("e1", 0.3), ("e2", 0.2)];
        let mut spanned = Spanned::of(span, &links, consolidated);
        let found = spanned.spread(PUSH, hops, hops + 1, &seeds);
        assert_close(&scores(&found.hits), &truth(&links, &seeds, hops), 2e-5);
    }
}

#[test]
fn spreads_share_what_is_laid_out_and_give_their_memory_back() {
    let mut linked = three_parts();
    let before = linked.bench.shard.spread_pools().figures();
    for _ in 0..50 {
        let _ = spread(&mut linked.bench, PUSH, 9, &[("e38", 1.0)]);
    }
    let after = linked.bench.shard.spread_pools().figures();
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (49, 1));
    let bytes = linked.bench.shard.spread_fresh_bytes(linked.bench.space).unwrap();
    assert!(bytes > 0 && bytes < 100_000, "{bytes}");
    assert!(after.bytes > 0 && after.bytes == after.bytes_high_water);
}
