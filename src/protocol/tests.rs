//! What is encoded, read back by a stock client's reader.

use std::num::NonZero;

use bytes::Bytes;
use engram_shards::episode::{
    Activation, CodeBits, Confidence, FadingPolicy, Hit, Lifetime, Link, Metric, Outcome, PathStep,
    Refusal, Reinforced, Sequence, SpaceFan, SpaceSettings, StoredEpisode, Strength, Superseded,
    Tier, Why, WordSettings,
};
use engram_shards::strength::{Decay, Trace};
use engram_shards::trust::Opinion;
use engram_shards::words::Language;
use proptest::prelude::*;
use redis::Value;

use super::command::CommandQuery;
use super::reply::StoredBeside;
use super::{Encoder, ProtocolError, ProtocolVersion, reply};
use ProtocolVersion::{Resp2, Resp3};

fn encode(version: ProtocolVersion, write: impl FnOnce(&mut Encoder<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Encoder::new(&mut out, version));
    out
}

fn text(version: ProtocolVersion, write: impl FnOnce(&mut Encoder<'_>)) -> String {
    String::from_utf8(encode(version, write)).unwrap()
}

fn read(version: ProtocolVersion, write: impl FnOnce(&mut Encoder<'_>)) -> Value {
    let bytes = encode(version, write);
    let value = redis::parse_redis_value(&bytes).unwrap();
    // The reader stops behind the first value: a second one would have been too much.
    let mut doubled = encode(version, |encoder| encoder.array(2));
    doubled.extend(bytes.repeat(2));
    let twice = redis::parse_redis_value(&doubled).unwrap();
    assert_eq!(twice, Value::Array(vec![value.clone(), value.clone()]));
    value
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

/// A map as the version writes it.
fn map(version: ProtocolVersion, pairs: Vec<(&str, Value)>) -> Value {
    let pairs = pairs.into_iter().map(|(key, value)| (bulk(key), value));
    match version {
        Resp2 => Value::Array(pairs.flat_map(|(key, value)| [key, value]).collect()),
        Resp3 => Value::Map(pairs.collect()),
    }
}

fn double(version: ProtocolVersion, value: f64) -> Value {
    match version {
        Resp2 => bulk(&value.to_string()),
        Resp3 => Value::Double(value),
    }
}

fn point(version: ProtocolVersion, values: [f64; 3]) -> Value {
    Value::Array(values.map(|value| double(version, value)).to_vec())
}

#[test]
fn every_type_in_both_versions() {
    type Write = fn(&mut Encoder<'_>);
    let cases: [(Write, &str, &str); 15] = [
        (|encoder| encoder.simple("OK"), "+OK\r\n", "+OK\r\n"),
        (|encoder| encoder.integer(-12), ":-12\r\n", ":-12\r\n"),
        (|encoder| encoder.count(u64::MAX), ":9223372036854775807\r\n", ":9223372036854775807\r\n"),
        (|encoder| encoder.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
        (|encoder| encoder.double_f32(0.1), "$3\r\n0.1\r\n", ",0.1\r\n"),
        (|encoder| encoder.double(-2.0), "$2\r\n-2\r\n", ",-2\r\n"),
        (|encoder| encoder.double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n"),
        (|encoder| encoder.double_f32(f32::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
        (|encoder| encoder.null(), "$-1\r\n", "_\r\n"),
        (|encoder| encoder.boolean(true), ":1\r\n", "#t\r\n"),
        (|encoder| encoder.boolean(false), ":0\r\n", "#f\r\n"),
        (|encoder| encoder.map(3), "*6\r\n", "%3\r\n"),
        (|encoder| encoder.set(3), "*3\r\n", "~3\r\n"),
        (|encoder| encoder.push(3), "*3\r\n", ">3\r\n"),
        (|encoder| encoder.verbatim("é"), "$2\r\né\r\n", "=6\r\ntxt:é\r\n"),
    ];
    for (write, resp2, resp3) in cases {
        assert_eq!(text(Resp2, write), resp2);
        assert_eq!(text(Resp3, write), resp3);
    }
}

#[test]
fn an_error_is_one_line_whatever_it_repeats() {
    let refusal = Refusal::NoSpace("a\r\n+OK\r\n".to_owned());
    assert_eq!(
        text(Resp3, |encoder| encoder.refusal(&refusal)),
        "-NOSPACE no memory space named 'a  +OK  '; create it with EG.SPACE CREATE\r\n"
    );
    let error = ProtocolError::UnbalancedQuote;
    let line = text(Resp2, |encoder| encoder.protocol_error(&error));
    assert!(line.starts_with("-SYNTAX Protocol error: ") && line.ends_with("\r\n"), "{line}");
}

#[test]
fn replies_to_writes() {
    let confidence = Confidence { point: 0.75, low: 0.5, high: 1.0 };
    let activation = Activation {
        sequence: Sequence(7),
        outcome: Outcome::Replaced,
        activation: 0.7,
        confidence,
        pressure: 0.125,
        degraded: true,
    };
    for version in [Resp2, Resp3] {
        let degraded = if version == Resp2 { Value::Int(1) } else { Value::Boolean(true) };
        let expected = [
            ("id", bulk("e1")),
            ("seq", Value::Int(7)),
            ("outcome", bulk("replaced")),
            ("activation", double(version, 0.7)),
            ("confidence", point(version, [0.75, 0.5, 1.0])),
            ("pressure", double(version, 0.125)),
            ("degraded", degraded),
        ];
        let stored = |beside: &StoredBeside| {
            read(version, |encoder| reply::stored(encoder, Some(b"e1"), &activation, beside))
        };
        assert_eq!(stored(&StoredBeside::default()), map(version, expected.to_vec()));
        let superseded = Some(vec![Bytes::from("a"), Bytes::from("b")]);
        let near = [("id", bulk("n")), ("similarity", double(version, 0.5))];
        let mut beside = expected.to_vec();
        beside.push(("superseded", Value::Array(vec![bulk("a"), bulk("b")])));
        beside.push(("near", map(version, near.to_vec())));
        let near = Some(Some((Bytes::from("n"), 0.5)));
        assert_eq!(stored(&StoredBeside { superseded, near }), map(version, beside));
        let mut none = expected.to_vec();
        none.push(("near", Value::Nil));
        let beside = StoredBeside { superseded: None, near: Some(None) };
        assert_eq!(stored(&beside), map(version, none));
        let answer = Ok(activation);
        let given = read(version, |encoder| reply::stored_item(encoder, None, &answer));
        assert_eq!(given, map(version, expected[1..].to_vec()));
        let forgotten = read(version, |encoder| reply::forgotten(encoder, Some(Sequence(9))));
        let expected = vec![("seq", Value::Int(9)), ("outcome", bulk("forgotten"))];
        assert_eq!(forgotten, map(version, expected));
        assert_eq!(read(version, |encoder| reply::forgotten(encoder, None)), Value::Nil);
        for (is_by, outcome) in [(true, "superseded"), (false, "unchanged")] {
            let superseded = Some((Sequence(9), is_by));
            let got = read(version, |encoder| reply::superseded(encoder, superseded));
            let expected = vec![("seq", Value::Int(9)), ("outcome", bulk(outcome))];
            assert_eq!(got, map(version, expected));
        }
        assert_eq!(read(version, |encoder| reply::superseded(encoder, None)), Value::Nil);
    }
    let refused = Err(Refusal::Dimension { expected: 3, got: 4 });
    let line = text(Resp3, |encoder| reply::stored_item(encoder, None, &refused));
    assert!(line.starts_with("-DIM "), "{line}");
}

fn stored_episode() -> StoredEpisode {
    StoredEpisode {
        id: Bytes::from("e1"),
        sequence: Sequence(3),
        happened_at_us: -1,
        recorded_at_us: 5,
        confidence: Confidence::CERTAIN,
        writer_uid: 1000,
        text: None,
        vector: None,
        metadata: None,
        thread: Bytes::new(),
        links: None,
        superseded: None,
        expires_at_us: None,
        gist_links: Vec::new(),
        strength: None,
    }
}

/// Of one presentation, at 7 µs.
fn strength_of(version: ProtocolVersion, base_level: Value, retention: f64) -> Value {
    let pinned = match version {
        Resp2 => Value::Int(0),
        Resp3 => Value::Boolean(false),
    };
    let entries = vec![
        ("retention", double(version, retention)),
        ("base_level", base_level),
        ("presentations", Value::Int(1)),
        ("last_presented_at", Value::Int(7)),
        ("pinned", pinned),
    ];
    map(version, entries)
}

#[test]
fn replies_to_reads() {
    let bare = stored_episode();
    let trace = Trace::first(Decay::Exponential { half_life_s: 1 }, 7);
    let mut strength = Strength { decay: Decay::None, trace, is_pinned: false, at_us: 0 };
    let full = StoredEpisode {
        strength: Some(Box::new(strength)),
        text: Some(Bytes::from("hello")),
        vector: Some(Bytes::from("\0\0\0\0")),
        metadata: Some(Bytes::new()),
        thread: Bytes::from("t1"),
        links: Some(vec![Link { target: Bytes::from("x"), weight: 0.1, kind: Bytes::from("k") }]),
        ..bare.clone()
    };
    let hits = [
        Hit {
            score: 0.25,
            similarity: Some(0.3),
            activation: None,
            activation_bounds: None,
            episode: bare.clone(),
            opinion: None,
            why: None,
            path: None,
            fused: None,
        },
        Hit {
            score: 0.5,
            similarity: Some(0.1),
            fused: None,
            activation: Some(0.2),
            activation_bounds: Some((0.1, 0.2)),
            episode: full.clone(),
            opinion: Some(Opinion::new(Confidence::CERTAIN, 0.5, 0.5)),
            path: Some(vec![PathStep {
                from: Bytes::from("x"),
                to: Bytes::from("e1"),
                kind: Bytes::from("k"),
            }]),
            why: Some(Why {
                tier: Tier::Graph,
                rows_compared: 9,
                rows_estimated: 7,
                rows_judged: 6,
                rows_filtered: 5,
                hops: 3,
                beam: 64,
            }),
        },
    ];
    for version in [Resp2, Resp3] {
        let head = [
            ("confidence", point(version, [1.0, 1.0, 1.0])),
            ("happened_at", Value::Int(-1)),
            ("recorded_at", Value::Int(5)),
        ];
        let link = vec![("id", bulk("x")), ("weight", double(version, 0.1)), ("kind", bulk("k"))];
        let parts = [
            ("text", bulk("hello")),
            ("vec", bulk("\0\0\0\0")),
            ("meta", bulk("")),
            ("links", Value::Array(vec![map(version, link)])),
            ("strength", strength_of(version, Value::Nil, 1.0)),
        ];
        let hit = |score, similarity| {
            vec![
                ("id", bulk("e1")),
                ("score", double(version, score)),
                ("similarity", double(version, similarity)),
            ]
        };
        let step = vec![("from", bulk("x")), ("to", bulk("e1")), ("kind", bulk("k"))];
        let why = vec![
            ("tier", bulk("graph")),
            ("rows_compared", Value::Int(9)),
            ("rows_estimated", Value::Int(7)),
            ("rows_judged", Value::Int(6)),
            ("rows_filtered", Value::Int(5)),
            ("hops", Value::Int(3)),
            ("beam", Value::Int(64)),
            ("path", Value::Array(vec![map(version, step)])),
        ];
        let why = ("why", map(version, why));
        let bare_hit = map(version, [hit(0.25, 0.3), head.to_vec()].concat());
        let activation = vec![
            ("activation", double(version, 0.2)),
            ("activation_low", double(version, 0.1)),
            ("activation_high", double(version, 0.2)),
        ];
        let belief = vec![
            ("point", double(version, 0.625)),
            ("low", double(version, 0.25)),
            ("high", double(version, 1.0)),
            ("trust", double(version, 0.5)),
            ("retention", double(version, 0.5)),
        ];
        let rest = [("belief", map(version, belief)), why];
        let full_hit =
            [hit(0.5, 0.1), activation, head.to_vec(), parts.to_vec(), rest.to_vec()].concat();
        let recalled = read(version, |encoder| reply::recalled(encoder, &hits, false));
        assert_eq!(recalled, Value::Array(vec![bare_hit, map(version, full_hit.clone())]));
        let partial = match version {
            Resp2 => Value::Int(1),
            Resp3 => Value::Boolean(true),
        };
        let recalled = read(version, |encoder| reply::recalled(encoder, &hits[1..], true));
        let full_hit = [full_hit, vec![("partial", partial)]].concat();
        assert_eq!(recalled, Value::Array(vec![map(version, full_hit)]));

        let start = [("id", bulk("e1")), ("seq", Value::Int(3))];
        let writer = [("writer_uid", Value::Int(1000))];
        let thread = [("thread", bulk("t1"))];
        let expected = [&start[..], &head, &writer].concat();
        let got = read(version, |encoder| reply::episode(encoder, Some(&bare)));
        assert_eq!(got, map(version, expected.clone()));
        let expected = [&expected[..], &thread, &parts].concat();
        let got = read(version, |encoder| reply::episode(encoder, Some(&full)));
        assert_eq!(got, map(version, expected.clone()));
        let by = Superseded { by: "e2".into(), valid_until_us: -7, recorded_at_us: 6 };
        let superseded = StoredEpisode { superseded: Some(by), ..bare.clone() };
        let by = [("superseded_by", bulk("e2")), ("valid_until", Value::Int(-7))];
        let expected = [&start[..], &head, &writer, &by].concat();
        let got = read(version, |encoder| reply::episode(encoder, Some(&superseded)));
        assert_eq!(got, map(version, expected));
        let expiring = StoredEpisode { expires_at_us: Some(-9), ..bare.clone() };
        let expected = [&start[..], &head, &writer, &[("expires_at", Value::Int(-9))]].concat();
        let got = read(version, |encoder| reply::episode(encoder, Some(&expiring)));
        assert_eq!(got, map(version, expected));
        assert_eq!(read(version, |encoder| reply::episode(encoder, None)), Value::Nil);
        // Half of a presentation is left after a half-life.
        (strength.decay, strength.at_us) = (Decay::Exponential { half_life_s: 1 }, 1_000_007);
        let reinforced = Reinforced { sequence: Sequence(8), strength: Box::new(strength) };
        let got = read(version, |encoder| reply::reinforced(encoder, Some(&reinforced)));
        let level = strength.base_level().unwrap();
        assert!((level - 0.5_f64.ln()).abs() < 1e-9, "{level}");
        // The shortest number that is this one in single precision.
        let retention = strength.retention().to_string().parse().unwrap();
        let expected = vec![
            ("seq", Value::Int(8)),
            ("strength", strength_of(version, double(version, level), retention)),
        ];
        assert_eq!(got, map(version, expected));
        assert_eq!(read(version, |encoder| reply::reinforced(encoder, None)), Value::Nil);
    }
}

#[test]
fn replies_about_spaces_and_the_daemon() {
    let settings = SpaceSettings {
        metric: Metric::Dot,
        codes: CodeBits::Two,
        fan: SpaceFan::Strength { hundredths: 150 },
        fan_cap: Some(500),
        decay: Decay::TwoComponent,
        lifetime: Lifetime {
            ttl_s: NonZero::new(60),
            archive: FadingPolicy::of_parts(5000, 3),
            forget: FadingPolicy::of_parts(2500, 7),
        },
        words: WordSettings { language: Language::German, ..WordSettings::default() },
        thread_path: "chat.id".to_owned(),
        shards: 2,
        ..SpaceSettings::usual("notes", 768)
    };
    let expected = vec![
        ("name", bulk("notes")),
        ("dim", Value::Int(768)),
        ("metric", bulk("dot")),
        ("codes", Value::Int(2)),
        ("fan", bulk("1.5")),
        ("fan_cap", Value::Int(500)),
        ("decay", bulk("two")),
        ("ttl", Value::Int(60)),
        ("archive_after", Value::Int(3)),
        ("forget_after", Value::Int(7)),
        ("language", bulk("german")),
        ("thread", bulk("chat.id")),
        ("model", bulk("")),
        ("shards", Value::Int(2)),
        ("episodes", Value::Int(5)),
    ];
    for version in [Resp2, Resp3] {
        let mut expected = expected.clone();
        expected.insert(8, ("archive_below", double(version, 0.5)));
        expected.insert(10, ("forget_below", double(version, 0.25)));
        let weights = [0.85, 1.0, 0.8, 0.2, 0.5].map(|weight| double(version, weight));
        expected.insert(13, ("weights", Value::Array(weights.to_vec())));
        let space = read(version, |encoder| reply::space(encoder, &settings, 5));
        assert_eq!(space, map(version, expected));
    }
    let plain = SpaceSettings { fan: SpaceFan::Degree, fan_cap: None, ..settings };
    let space = read(Resp3, |encoder| reply::space(encoder, &plain, 0));
    assert_eq!((at(&space, "fan"), at(&space, "fan_cap")), (&bulk("degree"), &Value::Int(0)));
    let names = read(Resp2, |encoder| reply::space_names(encoder, ["a", "b"].into_iter()));
    assert_eq!(names, Value::Array(vec![bulk("a"), bulk("b")]));
    let Value::Map(hello) = read(Resp3, |encoder| reply::hello(encoder, Resp3, "0.1.0", 4)) else {
        panic!("HELLO answers a map");
    };
    assert!(hello.contains(&(bulk("proto"), Value::Int(3))));
}

/// The value behind a key.
fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    let pairs = value.as_map_iter().unwrap_or_else(|| panic!("no map: {value:?}"));
    let mut found = pairs.filter(|(name, _)| **name == bulk(key));
    found.next().unwrap_or_else(|| panic!("no {key} in {value:?}")).1
}

#[test]
fn command_docs_have_the_shape_that_redis_cli_asserts() {
    for version in [Resp2, Resp3] {
        let answer = |query: CommandQuery| read(version, |encoder| query.answer(encoder));
        let docs = answer(CommandQuery::Docs(Vec::new()));
        let store = at(&docs, "eg.store");
        for key in ["summary", "since", "group"] {
            assert!(matches!(at(store, key), Value::BulkString(_)), "{key}");
        }
        let Value::Array(arguments) = at(store, "arguments") else { panic!("{store:?}") };
        assert_eq!(at(&arguments[0], "name"), &bulk("space"));
        assert_eq!(at(&arguments[0], "type"), &bulk("string"));
        let Value::Array(fields) = at(&arguments[2], "arguments") else { panic!("{store:?}") };
        assert_eq!(at(&fields[1], "token"), &bulk("TEXT"));
        let optional = vec![Value::SimpleString("optional".to_owned())];
        let flags = if version == Resp2 { Value::Array(optional) } else { Value::Set(optional) };
        assert_eq!(at(&fields[1], "flags"), &flags);
        let space = at(at(&docs, "eg.space"), "subcommands");
        assert!(matches!(at(space, "eg.space|create"), Value::Map(_) | Value::Array(_)));

        let names = vec!["ping".to_owned(), "nothing".to_owned()];
        let one = answer(CommandQuery::Docs(names.clone()));
        assert_eq!(one.as_map_iter().unwrap().count(), 1);
        let Value::Array(infos) = answer(CommandQuery::Info(names)) else { panic!("no array") };
        assert_eq!(infos[1], Value::Nil);
        let Value::Array(ping) = &infos[0] else { panic!("{infos:?}") };
        assert_eq!((&ping[0], &ping[1], ping.len()), (&bulk("ping"), &Value::Int(-1), 10));
        let Value::Array(list) = answer(CommandQuery::List) else { panic!("no array") };
        assert_eq!(answer(CommandQuery::Count), Value::Int(list.len() as i64));
        let Value::Array(all) = answer(CommandQuery::Info(Vec::new())) else { panic!("no array") };
        assert_eq!(all.len(), list.len());
    }
}

proptest! {
    #[test]
    fn numbers_read_back_the_same(bits in any::<u64>(), integer in any::<i64>()) {
        let value = f64::from_bits(bits);
        let short = f32::from_bits(bits as u32);
        prop_assume!(!value.is_nan() && !short.is_nan());
        let number = |line: String| line[1..line.len() - 2].to_owned();
        let line = number(text(Resp3, |encoder| encoder.double(value)));
        prop_assert_eq!(line.parse::<f64>().unwrap().to_bits(), value.to_bits());
        let line = number(text(Resp3, |encoder| encoder.double_f32(short)));
        prop_assert_eq!(line.parse::<f32>().unwrap().to_bits(), short.to_bits());
        prop_assert_eq!(read(Resp2, |encoder| encoder.integer(integer)), Value::Int(integer));
    }

    #[test]
    fn bulk_strings_read_back_the_same(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let value = read(Resp3, |encoder| encoder.bulk(&bytes));
        prop_assert_eq!(value, Value::BulkString(bytes));
    }
}
