use bytes::Bytes;

use super::Evidence;
use super::fusion::{Fusion, Terms};
use crate::episode::{Confidence, Sequence, StoredEpisode};
use crate::words::score::{Spoken, Statistics};
use crate::words::when::When;
use crate::words::{Counts, Extent};

/// An episode of ten terms, of which so many are the one that is asked for.
fn evidence(id: &str, (thread, at): (&str, i64), stated: usize, similarity: f32) -> Evidence {
    Evidence {
        episode: StoredEpisode {
            id: Bytes::copy_from_slice(id.as_bytes()),
            sequence: Sequence(1),
            happened_at_us: at,
            recorded_at_us: at,
            confidence: Confidence::CERTAIN,
            writer_uid: 0,
            text: None,
            vector: None,
            metadata: None,
            thread: Bytes::copy_from_slice(thread.as_bytes()),
            links: None,
            superseded: None,
            strength: None,
        },
        similarity: Some(similarity),
        spoken: Spoken { counts: vec![Counts::new(stated, 0)], extent: Extent::new(10, 0) },
        is_answer: true,
        is_proposed: true,
    }
}

fn rank(evidence: Vec<Evidence>, background: Option<f32>) -> Vec<(String, Terms)> {
    let statistics = Statistics { documents: 100, terms_total: 1000, having: vec![5] };
    let ranked = Fusion::new(evidence).rank(&statistics, background, &When::default());
    let id = |evidence: &Evidence| String::from_utf8_lossy(&evidence.episode.id).into_owned();
    ranked.into_iter().map(|(evidence, terms)| (id(&evidence), terms)).collect()
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
    assert!(of("far").score() < 0.0, "less near than any");
    // Without a vector nearness says nothing, and among equals the lower id is first.
    let ranked = rank(all, None);
    assert_eq!(ids(&ranked), ["words", "both", "far", "near"]);
    assert!(ranked.iter().all(|(_, terms)| terms.near == 0.0));
    // Nothing is nearer than anything: no term is a number that is none.
    let ranked = rank(vec![evidence("a", ("", 0), 0, 0.1)], Some(0.1));
    assert_eq!(ranked[0].1.score(), 0.0);
    assert!(rank(Vec::new(), Some(0.0)).is_empty());
}

#[test]
fn evidence_from_two_sides_counts_once_and_what_only_supports_is_no_answer() {
    let mut beside = evidence("a", ("t", 1), 1, 0.5);
    beside.is_proposed = false;
    let mut outside = evidence("b", ("t", 2), 3, 0.9);
    outside.is_answer = false;
    let own = evidence("a", ("t", 1), 1, 0.5);
    let ranked = rank(vec![beside.clone(), own.clone(), beside, outside.clone()], Some(0.0));
    assert_eq!(ids(&ranked), ["a"]);
    let alone = rank(vec![own], Some(0.0));
    assert!(ranked[0].1.words < alone[0].1.words, "the best words are those of b");
    // It lends what it has all the same.
    let poor = || evidence("c", ("t", 3), 0, 0.0);
    assert!(rank(vec![poor(), outside], Some(0.0))[0].1.score() > 0.0);
}

#[test]
fn only_those_lend_that_are_known_to_stand_next_to_each_other() {
    let beside = |mut evidence: Evidence| {
        evidence.is_proposed = false;
        evidence
    };
    // What lies between b and y was never asked for: more may stand there.
    let near = [evidence("a", ("t", 1), 2, 0.0), beside(evidence("b", ("t", 2), 0, 0.0))];
    let between: Vec<Evidence> =
        (3..6).map(|at| beside(evidence(&format!("m{at}"), ("t", at), 0, 0.0))).collect();
    let far = beside(evidence("y", ("t", 90), 2, 0.0));
    let all =
        [near.to_vec(), between, vec![far, beside(evidence("z", ("t", 91), 0, 0.0))]].concat();
    let ranked = rank(all, None);
    let words = |id: &str| ranked.iter().find(|(own, _)| own == id).unwrap().1.words;
    assert!(words("b") > words("m3") && words("m3") > 0.0);
    assert_eq!(words("z"), 0.0, "y is right before it, as far as is known, but that is not known");
    // Other threads lend nothing, nor do those without one.
    let others = vec![evidence("a", ("t", 1), 2, 0.0), evidence("b", ("u", 2), 0, 0.0)];
    assert_eq!(rank(others, None)[1].1.words, 0.0);
    let others = vec![evidence("a", ("", 1), 2, 0.0), evidence("b", ("", 2), 0, 0.0)];
    assert_eq!(rank(others, None)[1].1.words, 0.0);
}
