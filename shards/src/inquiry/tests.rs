use bytes::Bytes;

use super::Evidence;
use super::fusion::{Background, Fusion, Terms, Weights};
use crate::episode::{Confidence, Sequence};
use crate::words::score::{Spoken, Statistics};
use crate::words::{Counts, Extent};

/// An episode of ten terms, of which so many are the one that is asked for.
fn evidence(id: &str, (thread, at): (&str, i64), stated: usize, similarity: f32) -> Evidence {
    Evidence {
        id: Bytes::copy_from_slice(id.as_bytes()),
        sequence: Sequence(1),
        happened_at_us: at,
        recorded_at_us: at,
        confidence: Confidence::CERTAIN,
        retention: 1.0,
        trust: 1.0,
        writer_uid: 0,
        thread: Bytes::copy_from_slice(thread.as_bytes()),
        similarity: Some(similarity),
        spoken: spoken(stated),
        is_answer: true,
    }
}

fn spoken(stated: usize) -> Spoken {
    let mut spoken = Spoken::new(Extent::new(10, 0));
    spoken.note(0, Counts::new(stated, 0));
    spoken
}

fn background(similarity: Option<f32>) -> Background {
    let statistics = Statistics { documents: 100, terms_total: 1000, having: vec![5] };
    Background { statistics, similarity, ..Background::default() }
}

/// Ranks what was proposed and looked around with what was found there.
fn rank_around(
    proposed: Vec<Evidence>,
    around: Vec<Evidence>,
    similarity: Option<f32>,
) -> Vec<(String, Terms)> {
    let (mut fusion, background) = (Fusion::default(), background(similarity));
    fusion.add(proposed);
    fusion.places(&background, usize::MAX);
    fusion.add(around);
    let ranked = fusion.rank(&background, usize::MAX);
    let id = |evidence: &Evidence| String::from_utf8_lossy(&evidence.id).into_owned();
    ranked.into_iter().map(|(evidence, terms)| (id(&evidence), terms)).collect()
}

fn rank(evidence: Vec<Evidence>, similarity: Option<f32>) -> Vec<(String, Terms)> {
    rank_around(evidence, Vec::new(), similarity)
}

fn ids(ranked: &[(String, Terms)]) -> Vec<&str> {
    ranked.iter().map(|(id, _)| &id[..]).collect()
}

#[test]
fn each_cue_counts_against_the_best_that_it_found() {
    let all = vec![
        evidence("both", ("", 0), 1, 0.6),
        evidence("words", ("", 0), 2, 0.1),
        evidence("near", ("", 0), 0, 0.7),
        evidence("far", ("", 0), 0, -0.4),
    ];
    let ranked = rank(all.clone(), Some(0.1));
    assert_eq!(ids(&ranked), ["both", "words", "near", "far"]);
    let of = |id: &str| ranked.iter().find(|(own, _)| own == id).unwrap().1;
    assert_eq!((of("words").words, of("near").near), (1.0, 1.0));
    assert!((of("both").near - 0.5 / 0.6).abs() < 1e-6 && of("words").near == 0.0);
    assert!(of("far").score(&Weights::USUAL) < 0.0, "less near than any");
    // Without a vector nearness says nothing, and among equals the lower id is first.
    let ranked = rank(all, None);
    assert_eq!(ids(&ranked), ["words", "both", "far", "near"]);
    assert!(ranked.iter().all(|(_, terms)| terms.near == 0.0));
    // Nothing is nearer than anything: no term is a number that is none.
    let ranked = rank(vec![evidence("a", ("", 0), 0, 0.1)], Some(0.1));
    assert_eq!(ranked[0].1.score(&Weights::USUAL), 0.0);
    assert!(rank(Vec::new(), Some(0.0)).is_empty());
}

#[test]
fn evidence_from_two_sides_counts_once_and_what_only_supports_is_no_answer() {
    let mut outside = evidence("b", ("t", 2), 3, 0.9);
    outside.is_answer = false;
    let own = evidence("a", ("t", 1), 1, 0.5);
    let proposed = vec![own.clone(), outside.clone(), own.clone()];
    let ranked = rank_around(proposed, vec![own.clone(), outside.clone()], Some(0.0));
    assert_eq!(ids(&ranked), ["a"]);
    let alone = rank(vec![own], Some(0.0));
    assert!(ranked[0].1.words < alone[0].1.words, "the best words are those of b");
    // It lends what it has all the same.
    let poor = evidence("c", ("t", 3), 0, 0.0);
    assert!(rank(vec![poor, outside], Some(0.0))[0].1.words > 0.0);
}

#[test]
fn only_those_lend_that_are_known_to_stand_next_to_each_other() {
    // What lies between b and y was never asked for: more may stand there.
    let proposed = vec![evidence("a", ("t", 1), 2, 0.0)];
    let mut around = vec![evidence("b", ("t", 2), 0, 0.0)];
    around.extend((3..6).map(|at| evidence(&format!("m{at}"), ("t", at), 0, 0.0)));
    around.extend([evidence("y", ("t", 90), 2, 0.0), evidence("z", ("t", 91), 0, 0.0)]);
    let ranked = rank_around(proposed, around, None);
    let words = |id: &str| ranked.iter().find(|(own, _)| own == id).unwrap().1.words;
    assert!(words("b") > words("m3") && words("m3") > 0.0);
    assert_eq!(words("z"), 0.0, "y is right before it, as far as is known, but that is not known");
    // Other threads lend nothing, nor do those without one.
    let others = vec![evidence("a", ("t", 1), 2, 0.0), evidence("b", ("u", 2), 0, 0.0)];
    assert_eq!(rank(others, None)[1].1.words, 0.0);
    let others = vec![evidence("a", ("", 1), 2, 0.0), evidence("b", ("", 2), 0, 0.0)];
    assert_eq!(rank(others, None)[1].1.words, 0.0);
}

#[test]
fn the_best_that_have_threads_are_looked_around() {
    let all = || {
        vec![
            evidence("poor", ("t", 1), 0, 0.0),
            evidence("best", ("", 0), 9, 0.9),
            evidence("good", ("t", 2), 2, 0.3),
            evidence("fair", ("u", 3), 1, 0.2),
        ]
    };
    let places = |count: usize| {
        let mut fusion = Fusion::default();
        fusion.add(all());
        let places = fusion.places(&background(Some(0.0)), count);
        let mut at: Vec<(Bytes, i64)> =
            places.into_iter().map(|place| (place.thread, place.moment.0)).collect();
        at.sort_unstable();
        at
    };
    let place = |thread: &'static str, at: i64| (Bytes::from_static(thread.as_bytes()), at);
    assert_eq!(places(1), [place("t", 2)]);
    assert_eq!(places(2), [place("t", 2), place("u", 3)]);
    assert_eq!(places(3), [place("t", 1), place("t", 2), place("u", 3)]);
    // What was not looked around borrows only within reach of what was.
    let mut fusion = Fusion::default();
    fusion.add(all());
    assert_eq!(fusion.places(&background(None), 0), []);
    let ranked = fusion.rank(&background(None), 10);
    let words = |id: &str| ranked.iter().find(|(own, _)| own.id == id).unwrap().1.words;
    assert_eq!(words("poor"), 0.0);
}

#[test]
fn what_trust_leaves_of_the_point_is_what_counts() {
    let with = |id: &str, point: f32, trust: f32| {
        let confidence = Confidence::point(point).unwrap();
        Evidence { confidence, trust, ..evidence(id, ("", 0), 1, 0.5) }
    };
    let ranked = rank(vec![with("sure", 1.0, 0.0), with("fair", 0.75, 1.0)], Some(0.0));
    assert_eq!(ids(&ranked), ["fair", "sure"], "nobody's word is worth a half");
    let counts: Vec<f32> = ranked.iter().map(|(_, terms)| terms.confidence).collect();
    assert_eq!(counts, [0.875, 0.75]);
    // Where all are trusted not a bit of a score changes.
    for nth in 0..=1000 {
        let point = nth as f32 / 1000.0;
        let ranked = rank(vec![with("a", point, 1.0)], None);
        let expected = 1.0 - 0.5 * (1.0 - point);
        assert_eq!(ranked[0].1.confidence.to_bits(), expected.to_bits());
    }
}
