//! `EG.COMPLETE` and `EG.GIST`.

use super::*;

#[test]
fn a_completion_with_every_option_and_with_none() {
    let complete = |line: &str| match parse(line).unwrap() {
        Command::Complete(complete) => complete,
        other => panic!("{other:?}"),
    };
    let plain = complete("EG.COMPLETE notes VEC @");
    assert_eq!((plain.k, plain.rounds, plain.beta, plain.effort), (64, 8, 64.0, Effort::Usual));
    assert_eq!((plain.unknown.len(), plain.bytes_max), (0, REPLY_BYTES_DEFAULT));
    let all = complete(
        "eg.complete notes k 3 values 2 1 2 unknown 0 3 UNKNOWN 7 7 rounds 5 beta 0.5 exact since \
         5 minconf 0.5 with text bytes 9",
    );
    assert_eq!((all.vector, all.unknown), (Bytes::from_static(&VECTOR), vec![(0, 3), (7, 7)]));
    assert_eq!((all.k, all.rounds, all.beta, all.effort), (3, 5, 0.5, Effort::Exact));
    assert_eq!((all.conditions.since_us, all.bytes_max), (Some(5), 9));
    assert!(all.fields.text && !all.fields.vector);
    for (line, part) in [
        ("UNKNOWN 0 1", "a vector is missing; usage: EG.COMPLETE space VEC blob|VALUES"),
        ("VEC @ VALUES 1 1", "the vector is given twice"),
        ("VEC @ UNKNOWN 3 2", "UNKNOWN must be a whole number from 3 to 4095, got '2'"),
        ("VEC @ UNKNOWN 0 4096", "from 0 to 4095, got '4096'"),
        ("VEC @ UNKNOWN 1", "UNKNOWN needs a value"),
        ("VEC @ K 257", "K must be a whole number from 1 to 256"),
        ("VEC @ ROUNDS 0", "ROUNDS must be a whole number from 1 to 32"),
        ("VEC @ BETA -1", "BETA must be from 0 to 10000, got '-1'"),
        ("VEC @ WITH why", "WITH is one of text, vec, meta, links, strength"),
        ("VEC @ TEXT a", "unknown option 'TEXT'"),
    ] {
        let refused = refusal(&format!("EG.COMPLETE notes {line}"));
        assert!(refused.starts_with("SYNTAX ") && refused.contains(part), "{line}: {refused}");
    }
}

#[test]
fn a_gist_with_every_option_and_with_none() {
    let gist = |line: &str| match parse(line).unwrap() {
        Command::Gist(gist) => gist,
        other => panic!("{other:?}"),
    };
    let plain = gist("EG.GIST notes TEXT tea K 5");
    assert_eq!((plain.k, plain.among, plain.alike, plain.effort), (5, 64, 0.6, Effort::Usual));
    assert_eq!((plain.text.as_deref(), plain.cues.len()), (Some(&b"tea"[..]), 0));
    assert!(!plain.parts.text && !plain.parts.vector);
    let all = gist(
        "eg.gist notes k 1 vec @ id x values 1 2 among 9 alike -0.5 exact until 5 with vec with \
         text bytes 9",
    );
    assert_eq!((all.cues.len(), all.among, all.alike, all.bytes_max), (3, 9, -0.5, 9));
    assert!(all.effort == Effort::Exact && all.parts.text && all.parts.vector);
    for (line, part) in [
        ("ID a ID b", "K is missing; usage: EG.GIST space K k"),
        ("K 1 AMONG 9", "a cue is missing"),
        ("K 65 ID a", "K must be a whole number from 1 to 64"),
        ("K 1 ID a AMONG 257", "AMONG must be a whole number from 1 to 256"),
        ("K 1 ID a ALIKE x", "ALIKE must be a finite number, got 'x'"),
        ("K 1 ID a WITH why", "WITH is one of text, vec, got 'why'"),
        ("K 1 ID a WITH vec WITH vec", "WITH 'vec' is given twice"),
        ("K 1 ID a SPREAD", "unknown option 'SPREAD'"),
    ] {
        let refused = refusal(&format!("EG.GIST notes {line}"));
        assert!(refused.starts_with("SYNTAX ") && refused.contains(part), "{line}: {refused}");
    }
    let cues = |count: usize| format!("EG.GIST notes K 1{}", " ID a".repeat(count));
    assert_eq!(gist(&cues(RECALL_CUES_MAX)).cues.len(), RECALL_CUES_MAX);
    assert!(refusal(&cues(RECALL_CUES_MAX + 1)).starts_with("TOOBIG list of cues"));
}
