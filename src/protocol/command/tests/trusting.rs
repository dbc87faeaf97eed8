//! Who wrote an episode, and whom who asks trusts.

use engram_shards::episode::Conditions;
use engram_shards::limits::{PROVENANCE_BYTES_MAX, TRUST_ENTRIES_MAX};

use super::*;
use crate::protocol::command::redacted;

fn stored(options: &str) -> Result<StoreCommand, Refusal> {
    match parse(format!("EG.STORE notes e1 VEC @ {options}").trim_end())? {
        Command::Store { store, .. } => Ok(store),
        other => panic!("{other:?}"),
    }
}

#[test]
fn provenance_becomes_metadata() {
    for (options, metadata) in [
        ("", ""),
        ("WRITER ada", r#"{"writer":"ada"}"#),
        ("source told WRITER ada", r#"{"writer":"ada","source":"told"}"#),
        (r#"WRITER ada META {"a":1}"#, r#"{"a":1,"writer":"ada"}"#),
        (r#"META {"writer":"ada"} WRITER ada"#, r#"{"writer":"ada"}"#),
        ("CONF 0.5 WRITER ada", r#"{"writer":"ada"}"#),
    ] {
        assert_eq!(stored(options).unwrap().metadata, metadata.as_bytes(), "{options}");
    }
    let longest = "x".repeat(PROVENANCE_BYTES_MAX);
    assert!(stored(&format!("WRITER {longest} SOURCE {longest}")).is_ok());
    for (options, expected) in [
        ("WRITER", "SYNTAX WRITER needs a value"),
        ("WRITER a WRITER a", "SYNTAX WRITER is given twice"),
        ("SOURCE a SOURCE b", "SYNTAX SOURCE is given twice"),
        (r#"META {"writer":"eve"} WRITER ada"#, "SYNTAX META has another 'writer' than WRITER"),
        (r#"META {"source":1} SOURCE told"#, "SYNTAX META has another 'source' than SOURCE"),
        (&format!("WRITER {longest}x"), "TOOBIG WRITER has 257 bytes or items, the bound is 256"),
        (&format!("SOURCE {longest}x"), "TOOBIG SOURCE has 257 bytes"),
    ] {
        let refused = refusal(&format!("EG.STORE notes e1 VEC @ {options}"));
        assert!(refused.starts_with(expected), "{options}: {refused}");
    }
    for name in [&b""[..], b"a\nb", b"\xff"] {
        let words = [b"EG.STORE", &b"notes"[..], b"e1", b"VEC", &VECTOR, b"WRITER", name];
        let refused = Command::parse(words.map(Bytes::copy_from_slice).to_vec()).unwrap_err();
        assert_eq!(refused.code(), "SYNTAX", "{name:?}");
    }
}

#[test]
fn a_batch_and_a_stream_name_writers_too() {
    let line = "EG.MSTORE notes 2 ITEM a VEC @ WRITER ada ITEM b VEC @ SOURCE told";
    let Command::StoreMany { items, .. } = parse(line).unwrap() else { panic!() };
    let metadata: Vec<_> = items.into_iter().map(|item| item.unwrap().metadata).collect();
    assert_eq!(metadata, [&br#"{"writer":"ada"}"#[..], br#"{"source":"told"}"#]);
    let line = "EG.OBSERVE 1 a VEC @ WRITER ada";
    let Command::Observe { observation, .. } = parse(line).unwrap() else { panic!() };
    let store = observation.unwrap().into_store(Priority::Normal, Durability::Disk);
    assert_eq!(store.metadata, &br#"{"writer":"ada"}"#[..]);
}

fn conditions(command: Command) -> Conditions {
    match command {
        Command::Recall(recall) => recall.conditions,
        Command::Spread(spread) => spread.conditions,
        Command::Complete(complete) => complete.conditions,
        Command::Gist(gist) => gist.conditions,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_asks_says_whom_it_trusts() {
    let options = "trust writer ada 0.5 TRUST SOURCE told 0.25 MINTRUST 0.125 TRUST * 0 \
                   TRUST uid 1000 0.75";
    for line in [
        "EG.RECALL notes K 1 ID a",
        "EG.SPREAD notes K 1 FROM a 1",
        "EG.COMPLETE notes VEC @",
        "EG.GIST notes K 1 ID a",
    ] {
        let own = conditions(parse(&format!("{line} {options}")).unwrap());
        let trust = own.trust.clone().unwrap();
        for (metadata, uid, expected) in [
            (r#"{"writer":"ada"}"#, 1, 0.5),
            (r#"{"writer":"ada","source":"told"}"#, 0, 0.125),
            (r#"{"writer":"told"}"#, 0, 0.0),
            (r#"{"writer":"told"}"#, 1000, 0.75),
            (r#"{"writer":"ada"}"#, 1000, 0.375),
        ] {
            assert_eq!(trust.of(metadata.as_bytes(), uid), Some(expected), "{line}: {metadata}");
        }
        assert!(own.trust_min == Some(0.125) && !own.is_free(), "{line}");
        // Trust alone is no condition.
        let own = conditions(parse(&format!("{line} TRUST WRITER ada 0")).unwrap());
        assert!(own.trust.is_some() && own.is_free(), "{line}");
        assert_eq!(conditions(parse(line).unwrap()), Conditions::default(), "{line}");
    }
    let Command::Recall(recall) = parse("EG.RECALL notes K 1 ID a WITH belief").unwrap() else {
        panic!()
    };
    assert!(recall.fields.belief.is_some() && recall.fields.strength.is_none());
}

#[test]
fn trust_is_refused_with_a_remedy() {
    for (options, expected) in [
        ("TRUST", "SYNTAX TRUST needs a value"),
        ("TRUST WRITER", "SYNTAX TRUST needs a value"),
        ("TRUST WRITER ada", "SYNTAX TRUST needs a value"),
        ("TRUST ada 0.5", "SYNTAX TRUST is one of WRITER, SOURCE, UID, *, got 'ada'"),
        ("TRUST UID 1000", "SYNTAX TRUST needs a value"),
        ("TRUST UID ada 1", "SYNTAX UID must be a whole number from 0 to 4294967295"),
        ("TRUST UID -1 1", "SYNTAX UID must be a whole number from 0 to 4294967295"),
        ("TRUST UID 4294967296 1", "SYNTAX UID must be a whole number from 0 to 4294967295"),
        ("TRUST UID 7 2", "SYNTAX trust must be from 0 to 1, got '2'"),
        ("TRUST UID 7 0 TRUST UID 07 1", "SYNTAX TRUST names the user 7 twice"),
        ("TRUST WRITER ada nan", "SYNTAX trust must be a finite number, got 'nan'"),
        ("TRUST WRITER ada -0.1", "SYNTAX trust must be from 0 to 1, got '-0.1'"),
        ("TRUST SOURCE told 1.1", "SYNTAX trust must be from 0 to 1, got '1.1'"),
        ("TRUST * inf", "SYNTAX trust must be a finite number, got 'inf'"),
        ("TRUST * 0 TRUST * 0", "SYNTAX TRUST * is given twice"),
        ("TRUST WRITER a 0 TRUST WRITER a 1", "SYNTAX TRUST names the writer 'a' twice"),
        ("MINTRUST 1.1", "SYNTAX MINTRUST must be from 0 to 1, got '1.1'"),
        ("MINTRUST nan", "SYNTAX MINTRUST must be a finite number"),
        ("MINTRUST 0 MINTRUST 0", "SYNTAX MINTRUST is given twice"),
        ("WITH belief WITH belief", "SYNTAX WITH 'belief' is given twice"),
    ] {
        let refused = refusal(&format!("EG.RECALL notes K 5 ID a {options}"));
        assert!(refused.starts_with(expected), "{options}: {refused}");
    }
    // Who reads an episode by its id is asked by nobody whom it trusts.
    let refused = refusal("EG.GET notes a WITH belief");
    assert!(refused.starts_with("SYNTAX WITH is one of text, vec, meta, links, strength, got"));
    let entries = |count: usize| -> String {
        let entry = |nth| format!(" TRUST WRITER w{nth} 0.5");
        "EG.RECALL notes K 5 ID a TRUST * 1".to_owned() + &(0..count).map(entry).collect::<String>()
    };
    assert!(parse(&entries(TRUST_ENTRIES_MAX)).is_ok());
    let refused = refusal(&entries(TRUST_ENTRIES_MAX + 1));
    assert!(refused.starts_with("TOOBIG list of TRUST has 65 bytes or items, the bound is 64"));
}

#[test]
fn names_are_content_that_no_log_keeps() {
    let line = "EG.RECALL notes K 5 ID a TRUST WRITER ada 0.5 TRUST * 0 MINTRUST 0.5";
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let kept = redacted("EG.RECALL", words.iter().map(|word| (*word, word.len()))).join(" ");
    assert!(!kept.contains("ada") && kept.contains("TRUST WRITER (3 bytes) 0.5"), "{kept}");
}
