use std::num::NonZero;

use bytes::Bytes;
use engram_shards::episode::{
    Belief, CodeBits, Confidence, Durability, Effort, FadingPolicy, Fields, Lifetime, Link, Metric,
    Priority, Refusal, Reinforcement, SpaceFan, SpaceNumber, Ttl, WordSettings,
};
use engram_shards::inquiry::fusion::Weights;
use engram_shards::limits::{
    DIMENSIONS_MAX, ID_BYTES_MAX, KEY_BYTES_MAX, LINK_KIND_BYTES_MAX, LINKS_MAX,
    METADATA_BYTES_MAX, RECALL_K_MAX, SPACE_NAME_BYTES_MAX, SUPERSEDES_MAX, TEXT_BYTES_MAX,
    THREAD_BYTES_MAX,
};
use engram_shards::strength::Decay;
use engram_shards::words::Language;
use proptest::prelude::*;

use super::{
    ClientCommand, ClientLibrary, Command, CommandQuery, Cue, Hello, OBSERVE_CREDIT_MAX,
    ObserveOpen, RECALL_CUES_MAX, REPLY_BYTES_DEFAULT, SpaceCreate, StoreCommand, SupersedeCommand,
    WATCH_CREDIT_MAX, WatchCommand, spec::CommandSpec, table::COMMANDS,
};
use crate::protocol::ProtocolVersion;

mod abstracting;
mod trusting;

const VECTOR: [u8; 8] = [0, 0, 128, 63, 0, 0, 0, 64];

/// The words of a line; `@` stands for a vector blob of two components.
fn words(line: &str) -> Vec<Bytes> {
    let word = |word: &str| match word {
        "@" => Bytes::from_static(&VECTOR),
        word => Bytes::copy_from_slice(word.as_bytes()),
    };
    line.split(' ').map(word).collect()
}

fn parse(line: &str) -> Result<Command, Refusal> {
    Command::parse(words(line))
}

fn refusal(line: &str) -> String {
    let refusal = parse(line).unwrap_err();
    format!("{} {refusal}", refusal.code())
}

fn store(line: &str) -> StoreCommand {
    match parse(line).unwrap() {
        Command::Store { store, .. } => store,
        other => panic!("{other:?}"),
    }
}

fn plain(id: &'static str) -> StoreCommand {
    StoreCommand {
        id: Some(Bytes::from(id)),
        vector: Bytes::from_static(&VECTOR),
        text: Bytes::new(),
        happened_at_us: None,
        confidence: Confidence::CERTAIN,
        metadata: Bytes::new(),
        thread: Bytes::new(),
        links: Vec::new(),
        supersedes: Vec::new(),
        key: Bytes::new(),
        dedup: false,
        near: None,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
    }
}

#[test]
fn stock_client_commands() {
    let hello = |version, has_credentials, client_name: Option<&str>| {
        let client_name = client_name.map(str::to_owned);
        Ok(Command::Hello(Hello { version, has_credentials, client_name }))
    };
    assert_eq!(parse("hello"), hello(None, false, None));
    assert_eq!(
        parse("HELLO 3 AUTH default secret SETNAME me"),
        hello(Some(ProtocolVersion::Resp3), true, Some("me"))
    );
    assert_eq!(parse("HELLO 2"), hello(Some(ProtocolVersion::Resp2), false, None));
    assert!(refusal("HELLO 4").contains("HELLO 2 and HELLO 3"));
    assert!(refusal("HELLO 3 AUTH default").contains("AUTH needs a value"));
    assert_eq!(parse("ping"), Ok(Command::Ping { message: None }));
    assert_eq!(parse("PING a"), Ok(Command::Ping { message: Some(Bytes::from("a")) }));
    assert_eq!(parse("ECHO a"), Ok(Command::Echo { message: Bytes::from("a") }));
    assert_eq!(parse("Quit"), Ok(Command::Quit));
    let sections = vec!["server".to_owned(), "memory".to_owned()];
    assert_eq!(parse("INFO Server memory"), Ok(Command::Info { sections }));
    let docs = CommandQuery::Docs(vec!["eg.space|create".to_owned()]);
    assert_eq!(parse("command docs EG.SPACE|CREATE"), Ok(Command::Command(docs)));
    assert_eq!(parse("COMMAND"), Ok(Command::Command(CommandQuery::Info(Vec::new()))));
    assert_eq!(parse("COMMAND COUNT"), Ok(Command::Command(CommandQuery::Count)));
}

#[test]
fn client_is_about_the_connection() {
    let client = |command| Ok(Command::Client(command));
    assert_eq!(parse("CLIENT ID"), client(ClientCommand::Id));
    assert_eq!(
        parse("client setinfo lib-name redis-py"),
        client(ClientCommand::SetInfo(ClientLibrary::Name, "redis-py".to_owned()))
    );
    assert_eq!(parse("CLIENT SETNAME "), client(ClientCommand::SetName(String::new())));
    assert_eq!(parse("CLIENT NO-EVICT on"), client(ClientCommand::NoEvict(true)));
    assert!(refusal("CLIENT SETNAME a\nb").contains("without spaces"));
    assert!(refusal("CLIENT REPLY OFF").contains("unknown subcommand 'REPLY' of CLIENT"));
    assert!(refusal("CLIENT").contains("usage: CLIENT ID|GETNAME|SETNAME"));
    assert!(refusal("CLIENT ID x").contains("wrong number of arguments for CLIENT ID"));
}

#[test]
fn spaces() {
    let create = SpaceCreate {
        name: "notes".to_owned(),
        dimensions: 768,
        model: "bge".to_owned(),
        metric: Metric::L2,
        codes: CodeBits::Four,
        fan: SpaceFan::Strength { hundredths: 150 },
        fan_cap: Some(500),
        decay: Decay::Exponential { half_life_s: 86_400 },
        lifetime: Lifetime {
            ttl_s: NonZero::new(3600),
            archive: FadingPolicy::of_parts(2500, 0),
            forget: FadingPolicy::of_parts(1250, 60),
        },
        words: WordSettings {
            language: Language::Turkish,
            weights: Weights {
                near: 0.5,
                around: 0.0,
                time: 1000.0,
                strength: 1.0,
                confidence: 0.0,
            },
        },
        thread_path: "chat.id".to_owned(),
        shards: Some(2),
    };
    assert_eq!(
        parse(
            "eg.space create notes dim 768 MODEL bge metric L2 codes 4 fan 1.50 fancap 500 decay \
             86400 ttl 3600 archive below .25 forget below .125 after 60 language Turkish weights \
             .5 0 1000 1 0 thread chat.id shards 2"
        ),
        Ok(Command::SpaceCreate(create))
    );
    match parse("EG.SPACE CREATE notes SHARDS all DIM 1").unwrap() {
        Command::SpaceCreate(create) => {
            assert_eq!((create.shards, create.metric), (None, Metric::Cosine));
            assert_eq!(create.codes, CodeBits::One);
            assert_eq!((create.fan, create.fan_cap), (SpaceFan::Degree, None));
            assert_eq!((create.decay, create.lifetime), (Decay::Power, Lifetime::default()));
            assert_eq!(create.words, WordSettings::default());
            assert_eq!(create.thread_path, "");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(parse("EG.SPACE LIST"), Ok(Command::SpaceList));
    assert_eq!(parse("EG.SPACE DROP a"), Ok(Command::SpaceDrop { space: "a".to_owned() }));
    assert_eq!(parse("EG.STATS"), Ok(Command::Stats { space: None }));
    for (line, part) in [
        ("EG.SPACE CREATE notes DIM 0", "from 1 to 4096, got '0'"),
        ("EG.SPACE CREATE notes DIM 4097", "from 1 to 4096, got '4097'"),
        ("EG.SPACE CREATE notes DIM 5 DIM 5", "DIM is given twice"),
        ("EG.SPACE CREATE notes METRIC l2", "DIM is missing; usage: EG.SPACE CREATE space DIM"),
        ("EG.SPACE CREATE notes DIM 5 METRIC l3", "cosine, dot, l2, got 'l3'"),
        ("EG.SPACE CREATE notes DIM 5 LANGUAGE klingon", "turkish, any; got 'klingon'"),
        ("EG.SPACE CREATE notes DIM 5 WEIGHTS 1 1 1 1.1 0", "the weight of strength"),
        ("EG.SPACE CREATE notes DIM 5 CODES 3", "CODES is one of 1, 2, 4, got '3'"),
        ("EG.SPACE CREATE notes DIM 5 FAN 0", "FAN must be degree, or a strength from 0.01 to 8"),
        ("EG.SPACE CREATE notes DIM 5 FAN 8.01", "to 8 in steps of 0.01, got '8.01'"),
        ("EG.SPACE CREATE notes DIM 5 FAN NaN", "got 'NaN'"),
        ("EG.SPACE CREATE notes DIM 5 FAN -1", "got '-1'"),
        ("EG.SPACE CREATE notes DIM 5 FAN 1.234", "in steps of 0.01, got '1.234'"),
        ("EG.SPACE CREATE notes DIM 5 FAN 2 FAN degree", "FAN is given twice"),
        ("EG.SPACE CREATE notes DIM 5 FANCAP 0", "FANCAP must be a whole number from 1 to 4294"),
        ("EG.SPACE CREATE notes DIM 5 FANCAP 4294967296", "to 4294967295, got '4294967296'"),
        ("EG.SPACE CREATE notes DIM 5 FANCAP 1.5", "got '1.5'"),
        ("EG.SPACE CREATE notes DIM 5 DECAY 0", "DECAY must be power, two, none, or a half-life"),
        ("EG.SPACE CREATE notes DIM 5 DECAY 4294967296", "whole seconds, got '4294967296'"),
        ("EG.SPACE CREATE notes DIM 5 DECAY two DECAY two", "DECAY is given twice"),
        (
            "EG.SPACE CREATE notes DIM 5 TTL 0",
            "TTL (or none) must be a whole number from 1 to 4294",
        ),
        ("EG.SPACE CREATE notes DIM 5 FORGET 0.1", "FORGET goes on with BELOW"),
        ("EG.SPACE CREATE notes DIM 5 ARCHIVE 0.1", "ARCHIVE goes on with BELOW"),
        ("EG.SPACE CREATE notes DIM 5 ARCHIVE BELOW 1", "from 0.0001 to 0.9999 in steps of 0.0001"),
        (
            "EG.SPACE CREATE notes DIM 5 DECAY none ARCHIVE BELOW 0.1",
            "with DECAY none nothing does",
        ),
        ("EG.SPACE CREATE notes DIM 5 FORGET BELOW 1", "from 0.0001 to 0.9999 in steps of 0.0001"),
        ("EG.SPACE CREATE notes DIM 5 FORGET BELOW 0", "in steps of 0.0001, got '0'"),
        ("EG.SPACE CREATE notes DIM 5 FORGET BELOW 0.12345", "got '0.12345'"),
        ("EG.SPACE CREATE notes DIM 5 FORGET BELOW 0.1 AFTER -1", "AFTER must be a whole number"),
        ("EG.SPACE CREATE notes DIM 5 DECAY none FORGET BELOW 0.1", "with DECAY none nothing does"),
        ("EG.SPACE CREATE notes DIM 5 TTL 4294967296", "to 4294967295, got '4294967296'"),
        ("EG.SPACE CREATE notes DIM 5 SHARDS 65", "from 1 to 64, got '65'"),
        ("EG.SPACE CREATE notes DIM 5 THREAD chat..id", "dots between them; got 'chat..id'"),
        ("EG.SPACE CREATE notes DIM 5 THREAD .chat", "dots between them; got '.chat'"),
        ("EG.SPACE CREATE notes DIM 5 THREAD a THREAD a", "THREAD is given twice"),
        ("EG.SPACE CREATE notes DIM 5 COLOR red", "unknown option 'COLOR'; usage"),
        ("EG.SPACE CREATE no\ttes DIM 5", "no control characters"),
        ("EG.SPACE CREATE  DIM 5", "1 to 128 bytes"),
        ("EG.SPACE", "usage: EG.SPACE CREATE|LIST|INFO|DROP"),
    ] {
        let refusal = refusal(line);
        assert!(refusal.starts_with("SYNTAX ") && refusal.contains(part), "{line}: {refusal}");
    }
}

#[test]
fn a_store_with_every_field() {
    let expected = StoreCommand {
        text: Bytes::from("hello"),
        happened_at_us: Some(-5),
        confidence: Confidence { point: 0.5, low: 0.25, high: 0.75 },
        metadata: Bytes::from("{\"a\":1}"),
        thread: Bytes::from("t1"),
        links: vec![
            Link { target: Bytes::from("x"), weight: 0.5, kind: Bytes::from("cause") },
            Link { target: Bytes::from("y"), weight: 2.0, kind: Bytes::new() },
        ],
        supersedes: vec![Bytes::from("old"), Bytes::from("ITEM")],
        key: Bytes::from("k1"),
        dedup: true,
        near: Some(0.875),
        ttl: Ttl::Seconds(NonZero::new(60).unwrap()),
        priority: Priority::High,
        durability: Durability::Os,
        ..plain("e1")
    };
    let line = "EG.STORE notes e1 VEC @ TEXT hello AT -5 CONF 0.5 0.25 0.75 META {\"a\":1} THREAD \
                t1 LINK x 0.5 KIND cause LINK y 2 SUPERSEDES old KEY k1 DEDUP NEAR 0.875 TTL 60 \
                SUPERSEDES ITEM PRIO HIGH DUR os";
    assert_eq!(store(line), expected);
    let request = expected.into_request(SpaceNumber(7), Bytes::from("e1"), 1000);
    assert_eq!((request.space, request.writer_uid), (SpaceNumber(7), 1000));
    assert!(request.dedup && request.ttl.seconds() == NonZero::new(60));
    assert_eq!(store("EG.STORE notes e1 VEC @ ttl NONE").ttl, Ttl::Never);
    assert_eq!((&request.episode.id[..], &request.episode.text[..]), (&b"e1"[..], &b"hello"[..]));
}

#[test]
fn what_a_store_may_supersede() {
    let supersedes = |ids: &[String]| {
        let words: Vec<String> = ids.iter().map(|id| format!(" SUPERSEDES {id}")).collect();
        format!("EG.STORE notes e1 VEC @{}", words.concat())
    };
    let ids = |count| (0..count).map(|nth| format!("x{nth}")).collect::<Vec<_>>();
    assert_eq!(store(&supersedes(&ids(SUPERSEDES_MAX))).supersedes.len(), SUPERSEDES_MAX);
    let refused = refusal(&supersedes(&ids(SUPERSEDES_MAX + 1)));
    assert!(refused.starts_with("TOOBIG SUPERSEDES"), "{refused}");
    for (line, part) in [
        ("SUPERSEDES a SUPERSEDES a", "SUPERSEDES names 'a' twice"),
        ("SUPERSEDES e1", "'e1' cannot supersede itself"),
        ("SUPERSEDES", "SUPERSEDES needs a value"),
        ("DEDUP DEDUP", "DEDUP is given twice"),
        ("TTL 1 TTL none", "TTL is given twice"),
        ("TTL 0.5", "TTL (or none) must be a whole number from 1 to 4294967295, got '0.5'"),
        ("NEAR high", "NEAR must be a finite number, got 'high'"),
        ("NEAR 0.5 NEAR 0.5", "NEAR is given twice"),
    ] {
        let refused = refusal(&format!("EG.STORE notes e1 VEC @ {line}"));
        assert!(refused.starts_with("SYNTAX ") && refused.contains(part), "{line}: {refused}");
    }
}

#[test]
fn an_episode_is_superseded_by_another() {
    let parsed = |valid_until_us, durability| {
        let (id, by) = (Bytes::from("old"), Bytes::from("new"));
        let space = "notes".to_owned();
        Ok(Command::Supersede(SupersedeCommand { space, id, by, valid_until_us, durability }))
    };
    assert_eq!(parse("EG.SUPERSEDE notes old BY new"), parsed(None, Durability::Disk));
    let all = "eg.supersede notes old dur os at -5 by new";
    assert_eq!(parse(all), parsed(Some(-5), Durability::Os));
    for (line, part) in [
        ("EG.SUPERSEDE notes old AT 5 DUR os", "BY is missing; usage: EG.SUPERSEDE space id BY id"),
        ("EG.SUPERSEDE notes old BY old", "'old' cannot supersede itself"),
        ("EG.SUPERSEDE notes old BY a BY b", "BY is given twice"),
        ("EG.SUPERSEDE notes old BY new KEY k", "unknown option 'KEY'"),
        ("EG.SUPERSEDE notes old", "wrong number of arguments"),
    ] {
        let refused = refusal(line);
        assert!(refused.starts_with("SYNTAX ") && refused.contains(part), "{line}: {refused}");
    }
}

#[test]
fn a_store_with_the_least() {
    assert_eq!(store("eg.store notes e1 vec @"), plain("e1"));
    assert_eq!(store("EG.STORE notes * VALUES 2 1 2.0"), StoreCommand { id: None, ..plain("") });
    assert_eq!(
        store("EG.STORE notes e1 CONF 0.5 VEC @").confidence,
        Confidence::point(0.5).unwrap()
    );
    assert_eq!(
        store("EG.STORE notes e1 VEC @ CONF 0.5").confidence,
        Confidence::point(0.5).unwrap()
    );
    assert_eq!(&store("EG.STORE notes e1 VEC @ TEXT ").text[..], b"");
}

#[test]
fn a_value_may_look_like_a_keyword() {
    let store = store("EG.STORE VEC TEXT TEXT VEC VEC @ KEY ITEM");
    assert_eq!((&store.text[..], &store.key[..]), (&b"VEC"[..], &b"ITEM"[..]));
}

#[test]
fn stores_are_refused_with_a_remedy() {
    for (fields, expected) in [
        ("TEXT a", "SYNTAX the vector is missing; usage: EG.STORE space id|* VEC blob|VALUES"),
        ("VEC @ VEC @", "SYNTAX the vector is given twice"),
        ("VEC @ VALUES 1 1", "SYNTAX the vector is given twice"),
        ("VEC @ TEXT", "SYNTAX TEXT needs a value; usage"),
        ("VEC abc", "BADVEC a vector blob has 4 bytes"),
        ("VEC ", "BADVEC a vector blob has 4 bytes"),
        ("VALUES 3 1 2", "SYNTAX VALUES announces 3 components and 2 are there"),
        ("VALUES 2 1 nan", "BADVEC component 2 of VALUES must be a finite f32, got 'nan'"),
        ("VALUES 2 1 -inf", "BADVEC component 2"),
        ("VALUES 1 1e39", "BADVEC component 1"),
        ("VALUES 0", "SYNTAX n of VALUES must be a whole number from 1"),
        ("VALUES 4097 1", "TOOBIG VALUES has 4097 bytes or items, the bound is 4096"),
        ("VEC @ AT 1.5", "SYNTAX AT must be whole microseconds"),
        ("VEC @ CONF 1.5", "SYNTAX confidence must satisfy"),
        ("VEC @ CONF nan", "SYNTAX CONF must be a finite number, got 'nan'"),
        ("VEC @ CONF 0.5 0.6 0.7", "SYNTAX confidence must satisfy"),
        ("VEC @ CONF 0.5 0.4", "SYNTAX CONF p low high needs a value"),
        ("VEC @ META [1]", "SYNTAX metadata must be a JSON object"),
        ("VEC @ META {\"a\":", "SYNTAX metadata must be a JSON object"),
        ("VEC @ LINK a 0", "SYNTAX weight of a link must be finite and greater than 0, got '0'"),
        ("VEC @ LINK a inf", "SYNTAX weight of a link must be a finite number, got 'inf'"),
        ("VEC @ LINK a 1e-60", "SYNTAX weight of a link must be finite and greater than 0"),
        ("VEC @ KIND a", "SYNTAX unknown option 'KIND'"),
        ("VEC @ KEY ", "SYNTAX KEY must have 1 to 256 bytes"),
        ("VEC @ THREAD ", "SYNTAX THREAD must have 1 to 256 bytes"),
        ("VEC @ PRIO urgent", "SYNTAX PRIO is one of high, normal, low, got 'urgent'"),
        ("VEC @ DUR ram", "SYNTAX DUR is one of disk, os, got 'ram'"),
        ("VEC @ DUR os DUR os", "SYNTAX DUR is given twice"),
        ("VEC @ ITEM", "SYNTAX unknown option 'ITEM'"),
        ("VEC @ SPREAD", "SYNTAX unknown option 'SPREAD'"),
    ] {
        let line = format!("EG.STORE notes e1 {fields}");
        let refusal = refusal(&line);
        assert!(refusal.starts_with(expected), "{line}: {refusal}");
    }
}

#[test]
fn bounds_are_inclusive_and_named() {
    let base = words("EG.STORE notes e1 VEC @");
    let with = |extra: &[Bytes]| Command::parse([&base, extra].concat()).map(|_| ());
    let long = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
    let json = |bytes: usize| Bytes::from(format!("{{{}}}", " ".repeat(bytes - 2)));
    let link = |target, kind| {
        vec![Bytes::from("LINK"), target, Bytes::from("1"), Bytes::from("KIND"), kind]
    };
    let field = |name: &'static str, value| vec![Bytes::from(name), value];
    type Extra<'a> = &'a dyn Fn(usize) -> Vec<Bytes>;
    let cases: [(&str, usize, Extra<'_>); 6] = [
        ("TEXT", TEXT_BYTES_MAX, &|bytes| field("TEXT", long(bytes))),
        ("META", METADATA_BYTES_MAX, &|bytes| field("META", json(bytes))),
        ("THREAD", THREAD_BYTES_MAX, &|bytes| field("THREAD", long(bytes))),
        ("KEY", KEY_BYTES_MAX, &|bytes| field("KEY", long(bytes))),
        ("id", ID_BYTES_MAX, &|bytes| link(long(bytes), long(1))),
        ("KIND", LINK_KIND_BYTES_MAX, &|bytes| link(long(1), long(bytes))),
    ];
    for (what, max, extra) in cases {
        assert_eq!(with(&extra(max)), Ok(()), "{what}");
        assert_eq!(with(&extra(max + 1)), Err(Refusal::TooBig { what, got: max + 1, max }));
    }
    let links = |count| vec![link(long(1), long(1)); count].concat();
    assert_eq!(with(&links(LINKS_MAX)), Ok(()));
    assert_eq!(with(&links(LINKS_MAX + 1)).unwrap_err().code(), "TOOBIG");
    let get = |space: usize, id: usize| {
        Command::parse(vec![Bytes::from("EG.GET"), long(space), long(id)]).map(|_| ())
    };
    assert_eq!(get(SPACE_NAME_BYTES_MAX, ID_BYTES_MAX), Ok(()));
    assert_eq!(get(SPACE_NAME_BYTES_MAX + 1, 1).unwrap_err().code(), "TOOBIG");
    assert_eq!(get(1, ID_BYTES_MAX + 1).unwrap_err().code(), "TOOBIG");
    assert_eq!(get(1, 0).unwrap_err().code(), "SYNTAX");
    let blob = |components: usize| {
        let blob = Bytes::from(vec![0; components * 4]);
        Command::parse([words("EG.STORE notes e1 VEC"), vec![blob]].concat()).map(|_| ())
    };
    assert_eq!(blob(DIMENSIONS_MAX), Ok(()));
    assert_eq!(blob(DIMENSIONS_MAX + 1).unwrap_err().code(), "TOOBIG");
}

#[test]
fn text_is_utf8() {
    for name in ["TEXT", "THREAD"] {
        let invalid = Bytes::from_static(b"ab\xff");
        let line = [words("EG.STORE notes e1 VEC @"), vec![Bytes::from(name), invalid]].concat();
        let refusal = Command::parse(line).unwrap_err().to_string();
        assert!(refusal.contains("UTF-8") && refusal.contains("byte at 2"), "{refusal}");
    }
    let get = [&b"EG.GET"[..], b"notes", b"\xc3"].map(Bytes::from_static);
    assert_eq!(Command::parse(get.to_vec()).unwrap_err().code(), "SYNTAX");
}

fn items(line: &str) -> Vec<Result<StoreCommand, Refusal>> {
    match parse(line).unwrap() {
        Command::StoreMany { items, .. } => items,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_equals_its_singles() {
    let items =
        items("EG.MSTORE notes 3 ITEM a VEC @ item * TEXT ITEM VEC @ ITEM ITEM CONF 1 VEC @");
    let second = StoreCommand { id: None, text: Bytes::from("ITEM"), ..plain("") };
    assert_eq!(items, [Ok(plain("a")), Ok(second), Ok(plain("ITEM"))]);
}

#[test]
fn a_bad_item_is_refused_alone() {
    for bad in [
        "VEC abc TEXT ITEM",
        "TEXT ITEM",
        "VEC @ PRIO urgent TEXT ITEM CONF 2",
        "VEC @ COLOR red",
        "VEC @ TEXT a TEXT ITEM",
        "VALUES x 1 2",
        "VALUES 2 1 x TEXT ITEM",
        "LINK a x KIND ITEM VEC @",
    ] {
        let items = items(&format!("EG.MSTORE notes 2 ITEM a {bad} ITEM b VEC @"));
        assert!(items[0].is_err(), "{bad}");
        assert_eq!(items[1], Ok(plain("b")), "{bad}");
    }
    let items = items("EG.MSTORE notes 2 ITEM  VEC @ ITEM b VEC");
    assert_eq!(items[0].as_ref().unwrap_err().to_string(), "id must have 1 to 256 bytes, got none");
    assert_eq!(items[1].as_ref().unwrap_err().to_string(), "VEC needs a value");
}

#[test]
fn a_batch_that_can_not_be_told_apart_is_refused() {
    for (line, part) in [
        ("EG.MSTORE notes 1 a VEC @ TEXT b", "expected ITEM, got 'a'"),
        ("EG.MSTORE notes 2 ITEM a VEC @", "n is 2 and there are 1 items"),
        ("EG.MSTORE notes 1 ITEM a VEC @ ITEM b VEC @", "n is 1 and there are 2 items"),
        ("EG.MSTORE notes 2 ITEM a VEC @ CONF ITEM b VEC @", "n is 2 and there are 1 items"),
        ("EG.MSTORE notes 0 ITEM a VEC @", "n must be a whole number from 1 to 65536, got '0'"),
        ("EG.MSTORE notes -1 ITEM a VEC @", "got '-1'"),
        ("EG.MSTORE notes 1", "wrong number of arguments for EG.MSTORE"),
    ] {
        let refusal = refusal(line);
        assert!(refusal.starts_with("SYNTAX ") && refusal.contains(part), "{line}: {refusal}");
    }
}

#[test]
fn recall_with_every_option() {
    let line = "EG.RECALL notes K 10 VEC @ VALUES 2 1 2 ID e1 SINCE 1 UNTIL 2 MINCONF 0.5 FILTER \
                {\"a\":1} EXACT GISTS NOREINFORCE WITH text WITH why BYTES 1000";
    let Command::Recall(recall) = parse(line).unwrap() else { panic!() };
    let vector = Cue::Vector(Bytes::from_static(&VECTOR));
    assert_eq!(recall.cues, [vector.clone(), vector, Cue::Id(Bytes::from("e1"))]);
    assert_eq!((recall.k, recall.bytes_max), (10, 1000));
    assert!(recall.effort == Effort::Exact && !recall.reinforces && recall.gists);
    assert_eq!(recall.fields, Fields { text: true, why: true, ..Fields::default() });
    let conditions = recall.conditions;
    assert_eq!((conditions.since_us, conditions.until_us), (Some(1), Some(2)));
    assert_eq!(conditions.confidence_min, Some(0.5));
    assert!(conditions.filter.unwrap().matches(b"{\"a\": 1}"));

    let Command::Recall(recall) = parse("EG.RECALL notes K 1 ID a TARGET 0.95").unwrap() else {
        panic!()
    };
    assert_eq!(recall.effort, Effort::Target(0.95));
    let Command::Recall(recall) = parse("eg.recall notes id e1 k 4096").unwrap() else { panic!() };
    assert!(recall.effort == Effort::Usual && recall.reinforces && !recall.gists);
    assert_eq!((recall.k, recall.bytes_max), (RECALL_K_MAX, REPLY_BYTES_DEFAULT));
    assert_eq!(recall.fields, Fields::default());
}

#[test]
fn recalls_are_refused_with_a_remedy() {
    for (options, expected) in [
        ("ID a EXACT NOREINFORCE", "SYNTAX K is missing; usage: EG.RECALL space K k"),
        ("K 5 EXACT NOREINFORCE", "SYNTAX a cue is missing"),
        ("K 5 ID a GISTS GISTS", "SYNTAX GISTS is given twice"),
        ("K 5 ID a GISTS ASOF 7", "SYNTAX GISTS and ASOF exclude each other"),
        ("K 0 ID a", "SYNTAX K must be a whole number from 1 to 4096, got '0'"),
        ("K 4097 ID a", "SYNTAX K must be a whole number from 1 to 4096, got '4097'"),
        ("K 5 ID a EXACT BEAM 9", "SYNTAX EXACT, BEAM and TARGET exclude each other"),
        ("K 5 ID a BEAM 9 TARGET 0.9", "SYNTAX EXACT, BEAM and TARGET exclude each other"),
        ("K 5 ID a TARGET 0", "SYNTAX TARGET must be above 0 and below 1, got '0'"),
        ("K 5 ID a TARGET 1", "SYNTAX TARGET must be above 0 and below 1, got '1'"),
        ("K 5 ID a TARGET nan", "SYNTAX TARGET must be a finite number, got 'nan'"),
        ("K 5 ID a BEAM 0", "SYNTAX BEAM must be a whole number from 1 to 4096, got '0'"),
        ("K 5 ID a BEAM 4097", "SYNTAX BEAM must be a whole number from 1 to 4096, got '4097'"),
        ("K 5 K 5 ID a", "SYNTAX K is given twice"),
        ("K 5 ID a MINCONF 1.1", "SYNTAX MINCONF must be from 0 to 1, got '1.1'"),
        ("K 5 ID a MINCONF nan", "SYNTAX MINCONF must be a finite number"),
        ("K 5 ID a FILTER {", "SYNTAX FILTER is not valid JSON"),
        ("K 5 ID a WITH vec WITH vec", "SYNTAX WITH 'vec' is given twice"),
        (
            "K 5 ID a WITH all",
            "SYNTAX WITH is one of text, vec, meta, links, strength, belief, why, got 'all'",
        ),
        ("K 5 ID a BYTES 0", "SYNTAX BYTES must be a whole number from 1 to 67108864"),
        ("K 5 TEXT hello TEXT again", "SYNTAX TEXT is given twice"),
        ("K 5 ID a WEIGHTS 1 1 1 1 1", "SYNTAX WEIGHTS need TEXT"),
        ("K 5 TEXT a WEIGHTS 1 1 1 0 1.5", "SYNTAX the weight of confidence must be from 0 to 1"),
        (
            "K 5 TEXT a WEIGHTS 1 2 -1 0 0",
            "SYNTAX the weight of time must be from 0 to 1000, got '-1'",
        ),
        ("K 5 QUERY hello", "SYNTAX unknown option 'QUERY'"),
        (
            "K 5 ID a WEIGHT 2",
            "SYNTAX HOPS, BUDGET, DECAY, THRESHOLD, SIMILAR, DEADLINE, SEEDS and",
        ),
        ("K 5 ID a SPREAD SPREAD", "SYNTAX SPREAD is given twice"),
    ] {
        let line = format!("EG.RECALL notes {options}");
        let refusal = refusal(&line);
        assert!(refusal.starts_with(expected), "{line}: {refusal}");
    }
    let cues = |count| format!("EG.RECALL notes K 5{}", " ID a".repeat(count));
    assert!(parse(&cues(RECALL_CUES_MAX)).is_ok());
    assert!(refusal(&cues(RECALL_CUES_MAX + 1)).starts_with("TOOBIG"));
}

#[test]
fn reads_and_forgetting() {
    let (space, id) = ("notes".to_owned(), Bytes::from("e1"));
    let fields = Fields { text: true, metadata: true, ..Fields::default() };
    let belief = Belief::Now;
    let get = Command::Get { space: space.clone(), id: id.clone(), fields, belief };
    assert_eq!(parse("EG.GET notes e1"), Ok(get));
    let fields = Fields { vector: true, links: true, ..Fields::default() };
    let ids = vec![id.clone(), Bytes::from("WITH")];
    let belief = Belief::AsOf(-7);
    let get = Command::GetMany { space: space.clone(), ids, fields, belief };
    assert_eq!(parse("EG.MGET notes 2 e1 WITH WITH vec asof -7 with links"), Ok(get));
    for (name, what) in [
        ("EG.REINFORCE", Reinforcement::Present),
        ("EG.PIN", Reinforcement::Pin),
        ("EG.UNPIN", Reinforcement::Unpin),
    ] {
        let (space, id, durability) = (space.clone(), id.clone(), Durability::Os);
        let reinforce = Command::Reinforce { space, id, what, durability };
        assert_eq!(parse(&format!("{name} notes e1 DUR os")), Ok(reinforce), "{name}");
        assert!(refusal(&format!("{name} notes")).contains(&format!("usage: {name} space id")));
        assert!(refusal(&format!("{name} notes e1 twice")).contains("unknown option 'twice'"));
    }
    let forget = Command::Forget { space, id, durability: Durability::Os };
    assert_eq!(parse("EG.FORGET notes e1 DUR os"), Ok(forget));
    for (line, part) in [
        ("EG.GET notes e1 WITH why", "WITH is one of text, vec, meta, links, strength, got 'why'"),
        ("EG.GET notes e1 ASOF now", "ASOF must be whole microseconds since 1970"),
        ("EG.GET notes e1 ASOF 1 ASOF 1", "ASOF is given twice"),
        ("EG.GET notes e1 e2", "unknown option 'e2'; usage: EG.GET space id"),
        ("EG.GET notes", "wrong number of arguments for EG.GET; usage: EG.GET space id"),
        ("EG.MGET notes 3 a b", "n is 3 and 2 ids are there"),
        ("EG.MGET notes 1 a b", "unknown option 'b'"),
        ("EG.MGET notes 4097 a", "n must be a whole number from 1 to 4096"),
        ("EG.FORGET notes e1 now", "unknown option 'now'"),
        ("EG.FORGET notes e1 DUR", "DUR needs a value"),
        ("EG.REMEMBER notes a", "unknown command 'EG.REMEMBER'; COMMAND LIST"),
        ("get a", "unknown command 'get'"),
    ] {
        let refusal = refusal(line);
        assert!(refusal.starts_with("SYNTAX ") && refusal.contains(part), "{line}: {refusal}");
    }
}

#[test]
fn errors_repeat_little_of_what_was_sent() {
    let refusal = Command::parse(vec![Bytes::from(vec![b'x'; 1 << 20])]).unwrap_err();
    assert!(refusal.to_string().len() < 200);
    assert!(Command::parse(Vec::new()).is_err());
}

#[test]
fn usage_and_arity_come_from_the_description() {
    let all = || COMMANDS.iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let spec = |name| all().find(|spec: &&CommandSpec| spec.name == name).unwrap();
    assert_eq!(
        spec("EG.STORE").usage(),
        "EG.STORE space id|* VEC blob|VALUES n f [f ...] [TEXT text] [AT microseconds] [CONF p \
         [low high]] [META json] [WRITER name] [SOURCE name] [THREAD thread] [LINK id weight \
         [KIND kind] [LINK id weight [KIND kind] ...]] [SUPERSEDES id [SUPERSEDES id ...]] [KEY \
         key] [DEDUP] [NEAR s] [TTL seconds|none] [PRIO high|normal|low] [DUR disk|os]"
    );
    assert_eq!(
        spec("HELLO").usage(),
        "HELLO [protover [AUTH username password] [SETNAME clientname]]"
    );
    for (name, arity) in [
        ("PING", -1),
        ("ECHO", 2),
        ("QUIT", 1),
        ("COMMAND", -1),
        ("CLIENT", -2),
        ("CLIENT SETINFO", 4),
        ("EG.SPACE", -2),
        ("EG.SPACE CREATE", -5),
        ("EG.SPACE LIST", 2),
        ("EG.STORE", -5),
        ("EG.MSTORE", -7),
        ("EG.RECALL", -6),
        ("EG.GET", -3),
        ("EG.MGET", -4),
    ] {
        assert_eq!(spec(name).arity(), arity, "{name}");
    }
    for spec in all() {
        assert!(spec.parse.is_some() || !spec.subcommands.is_empty(), "{}", spec.name);
        assert_eq!(spec.name, spec.name.to_ascii_uppercase());
        assert!(spec.summary.ends_with('.') && !spec.since.is_empty());
    }
}

/// Words that get past the first check.
fn plausible_words() -> impl Strategy<Value = Vec<Bytes>> {
    let words = "EG.STORE EG.MSTORE EG.RECALL EG.GET EG.MGET EG.FORGET \
                 EG.REINFORCE EG.SPACE CREATE HELLO \
                 CLIENT SETINFO COMMAND DOCS INFO ITEM VEC VALUES TEXT AT CONF META WRITER \
                 SOURCE THREAD LINK KIND KEY PRIO DUR K ID SINCE UNTIL MINCONF FILTER MINTRUST \
                 TRUST EXACT BEAM TARGET \
                 GISTS NOREINFORCE WITH BYTES DIM MODEL METRIC CODES FAN FANCAP DECAY SHARDS \
                 degree 1.5 power \
                 notes e1 * {} {\"a\":1} \
                 0 1 2 3 -1 0.5 nan 18446744073709551616 text meta disk all @";
    let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
    let word = prop_oneof![
        20 => prop::sample::select(words).prop_map(|word| match word {
            "@" => Bytes::from_static(&VECTOR),
            word => Bytes::from(word),
        }),
        1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from),
    ];
    prop::collection::vec(word, 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_words_are_a_command_or_a_refusal(words in plausible_words(), first in 0_usize..6) {
        let names = ["EG.STORE", "EG.MSTORE", "EG.RECALL", "EG.MGET", "EG.SPACE", "HELLO"];
        let mut line = vec![Bytes::from(names[first]), Bytes::from("notes")];
        line.extend(words.iter().cloned());
        for words in [words, line] {
            if let Err(refusal) = Command::parse(words) {
                prop_assert!(["SYNTAX", "TOOBIG", "BADVEC"].contains(&refusal.code()));
            }
        }
    }

    #[test]
    fn values_are_the_blob_they_spell(components in prop::collection::vec(-1e30_f32..1e30, 1..20)) {
        let spelled: Vec<String> = components.iter().map(f32::to_string).collect();
        let line =
            format!("EG.STORE notes e1 VALUES {} {}", spelled.len(), spelled.join(" "));
        let blob: Vec<u8> = components.iter().flat_map(|each| each.to_le_bytes()).collect();
        prop_assert_eq!(&store(&line).vector[..], &blob[..]);
    }

    #[test]
    fn a_batch_of_good_and_bad_items_answers_each(
        bad in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let item = |&bad: &bool| if bad { "ITEM a VEC abc TEXT ITEM" } else { "ITEM a VEC @" };
        let line: Vec<&str> = bad.iter().map(item).collect();
        let items = items(&format!("EG.MSTORE notes {} {}", bad.len(), line.join(" ")));
        let are_bad: Vec<bool> = items.iter().map(Result::is_err).collect();
        prop_assert_eq!(are_bad, bad);
    }
}

#[test]
fn a_watch_names_where_it_begins_and_what_it_may_send() {
    let fields = Fields { text: true, metadata: true, ..Fields::default() };
    let space = || "notes".to_owned();
    let plain = WatchCommand { space: space(), from: vec![], credit: 1024, fields };
    assert_eq!(parse("EG.WATCH notes"), Ok(Command::Watch(plain.clone())));
    let fields = Fields { vector: true, ..Fields::default() };
    let from = vec![(0, 7), (1, 0), (63, u64::MAX)];
    let full = WatchCommand { space: space(), from, credit: WATCH_CREDIT_MAX, fields };
    let line = "eg.watch notes from 0 7 1 0 with vec FROM 63 18446744073709551615 CREDIT 1048576";
    assert_eq!(parse(line), Ok(Command::Watch(full)));
    let more = Command::WatchMore { watch: 3, credit: 9 };
    assert_eq!(parse("EG.WATCH more 3 9"), Ok(more));
    assert_eq!(parse("EG.UNWATCH 3"), Ok(Command::Unwatch { watch: 3 }));
    let more = WatchCommand { space: "MORE".into(), credit: 2, ..plain };
    assert_eq!(parse("EG.WATCH MORE CREDIT 2"), Ok(Command::Watch(more)), "a space of that name");
    for (line, part) in [
        ("EG.WATCH", "wrong number of arguments for EG.WATCH; usage: EG.WATCH space"),
        ("EG.WATCH notes FROM", "FROM needs a value"),
        ("EG.WATCH notes FROM 0", "FROM shard needs a value"),
        ("EG.WATCH notes FROM 64 1", "shard of FROM must be a whole number from 0 to 63, got '64'"),
        ("EG.WATCH notes FROM 0 -1", "seq of FROM must be a whole number from 0"),
        ("EG.WATCH notes FROM 0 1 0 2", "FROM names shard 0 twice"),
        ("EG.WATCH notes FROM 0 1 CREDIT 0", "CREDIT must be a whole number from 1 to 1048576"),
        ("EG.WATCH notes CREDIT 1048577", "CREDIT must be a whole number from 1 to 1048576"),
        ("EG.WATCH notes CREDIT 1 CREDIT 2", "CREDIT is given twice"),
        ("EG.WATCH notes WITH why", "WITH is one of text, vec, meta, links, strength, got 'why'"),
        ("EG.WATCH notes NOW", "unknown option 'NOW'"),
        ("EG.WATCH MORE 0 1", "watch must be a whole number from 1"),
        ("EG.WATCH MORE 1", "MORE needs a value"),
        ("EG.WATCH MORE 1 0", "n of MORE must be a whole number from 1 to 1048576"),
        ("EG.WATCH MORE 1 2 3", "unknown option '3'"),
        ("EG.UNWATCH x", "watch must be a whole number"),
    ] {
        let refusal = refusal(line);
        assert!(refusal.starts_with("SYNTAX ") && refusal.contains(part), "{line}: {refusal}");
    }
}

#[test]
fn an_observation_that_is_wrong_still_knows_its_stream() {
    let space = || "notes".to_owned();
    let (priority, durability) = (Priority::Normal, Durability::Disk);
    let open = ObserveOpen { space: space(), priority, durability, credit: 1024 };
    assert_eq!(parse("EG.OBSERVE OPEN notes"), Ok(Command::ObserveOpen(open)));
    let (priority, durability) = (Priority::Low, Durability::Os);
    let open = ObserveOpen { space: space(), priority, durability, credit: OBSERVE_CREDIT_MAX };
    let line = "eg.observe open notes CREDIT 4096 DUR os PRIO low";
    assert_eq!(parse(line), Ok(Command::ObserveOpen(open)));
    assert_eq!(parse("EG.OBSERVE CLOSE 2"), Ok(Command::ObserveClose { stream: 2 }));
    let observation = |line: &str| match parse(line).unwrap() {
        Command::Observe { stream: 7, observation } => observation.map(|boxed| *boxed),
        other => panic!("{other:?}"),
    };
    let stored = |line| observation(line).unwrap().into_store(priority, durability);
    let of_stream = StoreCommand { priority, durability, ..plain("e1") };
    assert_eq!(stored("EG.OBSERVE 7 e1 VEC @"), of_stream);
    assert_eq!(stored("EG.OBSERVE 7 e1 VEC @ PRIO normal DUR disk"), plain("e1"));
    assert_eq!(stored("EG.OBSERVE 7 * VEC @ PRIO normal DUR disk").id, None);
    for (line, part) in [
        ("EG.OBSERVE 7 e1", "the vector is missing"),
        ("EG.OBSERVE 7 e1 VEC", "VEC needs a value"),
        ("EG.OBSERVE 7 e1 VEC abc TEXT x", "a vector blob has 4 bytes"),
        ("EG.OBSERVE 7 e1 FOO VEC @", "unknown option 'FOO'"),
    ] {
        let refusal = observation(line).unwrap_err().to_string();
        assert!(refusal.contains(part) && !refusal.contains("usage"), "{line}: {refusal}");
    }
    for (line, part) in [
        ("EG.OBSERVE", "wrong number of arguments for EG.OBSERVE; usage: EG.OBSERVE OPEN space"),
        ("EG.OBSERVE 7", "wrong number of arguments for EG.OBSERVE"),
        (
            "EG.OBSERVE seven e1 VEC @",
            "expected OPEN, CLOSE or the number of a stream, got 'seven'",
        ),
        ("EG.OBSERVE 0 e1 VEC @", "expected OPEN, CLOSE or the number of a stream, got '0'"),
        ("EG.OBSERVE OPEN notes CREDIT 4097", "CREDIT must be a whole number from 1 to 4096"),
        ("EG.OBSERVE OPEN notes CREDIT 0", "CREDIT must be a whole number from 1 to 4096"),
        ("EG.OBSERVE OPEN notes PRIO urgent", "PRIO is one of high, normal, low"),
        ("EG.OBSERVE OPEN notes KEY a", "unknown option 'KEY'"),
        ("EG.OBSERVE CLOSE x", "stream must be a whole number"),
        ("EG.OBSERVE CLOSE 1 2", "unknown option '2'"),
    ] {
        let refusal = refusal(line);
        assert!(refusal.starts_with("SYNTAX ") && refusal.contains(part), "{line}: {refusal}");
    }
}

#[test]
fn protocol_md_has_the_usage_of_every_command() {
    let document = include_str!("../PROTOCOL.md");
    let all = COMMANDS.iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    for spec in all.filter(|spec| spec.parse.is_some()) {
        let usage = spec.usage();
        assert!(document.lines().any(|line| line == usage), "PROTOCOL.md lacks: {usage}");
    }
}
