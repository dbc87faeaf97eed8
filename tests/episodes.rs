//! What is stored is read back: one by one, many at once, by id and by scan, until it is forgotten.

mod common;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use common::episodes::{blob, floats, vector};
use common::stock::{self, BOTH, Resp};
use common::{Daemon, Home, Reply};
use redis::{Cmd, Connection, Value, cmd};

const DIMENSIONS: usize = 5;

/// Runs a test in both protocols, with the space `notes` there.
fn in_both(test: impl Fn(&Daemon, &mut Connection)) {
    for resp in BOTH {
        let home = Home::new();
        let daemon = home.start();
        let mut connection = stock::connect(&daemon.socket, resp);
        create(&mut connection, "notes");
        test(&daemon, &mut connection);
    }
}

fn create(connection: &mut Connection, space: &str) {
    let mut create = cmd("EG.SPACE");
    create.arg("CREATE").arg(space).arg("DIM").arg(DIMENSIONS).arg("METRIC").arg("l2");
    create.exec(connection).unwrap();
}

fn value(command: &Cmd, connection: &mut Connection) -> Value {
    command.query(connection).unwrap()
}

/// A command from words; `#n` stands for the blob of vector n.
fn words(line: &str) -> Cmd {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap());
    for word in words {
        match word.strip_prefix('#') {
            Some(number) => command.arg(blob(&vector(number.parse().unwrap(), DIMENSIONS))),
            None => command.arg(word),
        };
    }
    command
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

fn confidence(reply: &Value) -> Vec<f64> {
    reply.at("confidence").items().iter().map(Reply::float).collect()
}

#[test]
fn a_store_answers_with_its_activation() {
    in_both(|_, connection| {
        let stored = value(&words("EG.STORE notes a VEC #1 CONF 0.5 0.25 0.75"), connection);
        let keys = ["seq", "outcome", "activation", "confidence", "pressure", "degraded"];
        assert_eq!(stored.keys(), keys);
        assert!(stored.at("seq").int() > 0);
        assert_eq!(stored.at("outcome").text(), "created");
        assert_eq!(confidence(&stored), [0.5, 0.25, 0.75]);
        let pressure = stored.at("pressure").float();
        assert!((0.0..0.1).contains(&pressure), "{pressure}");
        let expected = 0.5 * (1.0 - pressure / 2.0);
        assert!((stored.at("activation").float() - expected).abs() < 1e-6, "{stored:?}");
        assert!(matches!(stored.at("degraded"), Value::Boolean(false) | Value::Int(0)));
        let again = value(&words("EG.STORE notes a VEC #2"), connection);
        assert_eq!(again.at("outcome").text(), "replaced");
        assert_eq!(confidence(&again), [1.0, 1.0, 1.0]);
    });
}

#[test]
fn everything_that_was_stored_is_read_back() {
    in_both(|_, connection| {
        let text = "Grüße\r\nfrom $5 and *3 \u{1f9e0}";
        let meta = r#"{"lang": "de",  "n":[1, 2]}"#;
        let mut store = words("EG.STORE notes a VEC #1 AT -5 CONF 0.5 0.25 0.75 THREAD talk");
        store.arg("TEXT").arg(text).arg("META").arg(meta);
        store.arg("LINK").arg("b").arg("0.5").arg("KIND").arg("causes");
        store.arg("LINK").arg("c").arg("2");
        let before = now_us();
        let sequence = value(&store, connection).at("seq").int();

        let plain = value(&words("EG.GET notes a"), connection);
        let fixed = ["id", "seq", "confidence", "happened_at", "recorded_at", "writer_uid"];
        assert_eq!(plain.keys()[..6], fixed);
        assert_eq!(plain.keys()[6..], ["thread", "text", "meta"]);
        assert_eq!((plain.at("id").text(), plain.at("seq").int()), ("a", sequence));
        assert_eq!(plain.at("happened_at").int(), -5);
        assert!((before..=now_us()).contains(&plain.at("recorded_at").int()), "{plain:?}");
        let uid = i64::from(rustix::process::geteuid().as_raw());
        assert_eq!(plain.at("writer_uid").int(), uid);
        assert_eq!((plain.at("text").text(), plain.at("meta").text()), (text, meta));
        assert_eq!(plain.at("thread").text(), "talk");
        assert_eq!(confidence(&plain), [0.5, 0.25, 0.75]);

        let get = words("EG.GET notes a WITH vec WITH links");
        let parts = value(&get, connection);
        assert_eq!(parts.keys()[6..], ["thread", "vec", "links"]);
        assert_eq!(floats(parts.at("vec").bytes()), vector(1, DIMENSIONS));
        let [b, c] = parts.at("links").items() else { panic!("{parts:?}") };
        assert_eq!((b.at("id").text(), b.at("weight").float()), ("b", 0.5));
        assert_eq!((b.at("kind").text(), c.keys()), ("causes", vec!["id", "weight"]));
        assert_eq!((c.at("id").text(), c.at("weight").float()), ("c", 2.0));
    });
}

#[test]
fn ids_are_any_text_and_keep_their_case() {
    in_both(|_, connection| {
        for id in ["*x", "ITEM", "with space", "ключ", "\r\n", "A"] {
            let mut store = cmd("EG.STORE");
            store.arg("notes").arg(id).arg("VEC").arg(blob(&vector(1, DIMENSIONS)));
            store.arg("TEXT").arg(id).exec(connection).unwrap();
        }
        for id in ["*x", "ITEM", "with space", "ключ", "\r\n", "A"] {
            let found = value(cmd("EG.GET").arg("notes").arg(id), connection);
            assert_eq!((found.at("id").text(), found.at("text").text()), (id, id));
        }
        assert_eq!(value(&words("EG.GET notes a"), connection), Value::Nil);
    });
}

#[test]
fn an_assigned_id_leads_to_its_episode() {
    in_both(|_, connection| {
        let [one, two] =
            [1, 2].map(|n| value(&words(&format!("EG.STORE notes * VEC #{n}")), connection));
        assert_ne!(one.at("id"), two.at("id"));
        for (stored, number) in [(one, 1), (two, 2)] {
            let mut get = cmd("EG.GET");
            get.arg("notes").arg(stored.at("id").text()).arg("WITH").arg("vec");
            let found = value(&get, connection);
            assert_eq!(floats(found.at("vec").bytes()), vector(number, DIMENSIONS));
            assert_eq!(found.at("seq"), stored.at("seq"));
        }
    });
}

#[test]
fn unknown_ids_are_nil() {
    in_both(|_, connection| {
        value(&words("EG.STORE notes a VEC #1 TEXT first"), connection);
        value(&words("EG.STORE notes b VEC #2"), connection);
        assert_eq!(value(&words("EG.GET notes nobody"), connection), Value::Nil);
        assert_eq!(value(&words("EG.FORGET notes nobody"), connection), Value::Nil);
        let many = value(&words("EG.MGET notes 5 b nobody a a nobody"), connection);
        let ids: Vec<_> = many
            .items()
            .iter()
            .map(|item| (*item != Value::Nil).then(|| item.at("id").text()))
            .collect();
        assert_eq!(ids, [Some("b"), None, Some("a"), Some("a"), None]);
        assert_eq!(many.items()[2].at("text").text(), "first");
    });
}

#[test]
fn what_is_forgotten_is_gone_at_once() {
    in_both(|_, connection| {
        let stored = value(&words("EG.STORE notes a VEC #1"), connection);
        let forgotten = value(&words("EG.FORGET notes a DUR disk"), connection);
        assert_eq!(forgotten.at("outcome").text(), "forgotten");
        assert!(forgotten.at("seq").int() > stored.at("seq").int());
        assert_eq!(value(&words("EG.GET notes a"), connection), Value::Nil);
        let recalled = value(&words("EG.RECALL notes K 5 VEC #1"), connection);
        assert!(recalled.items().is_empty(), "{recalled:?}");
        assert_eq!(value(&words("EG.FORGET notes a"), connection), Value::Nil);
        let again = value(&words("EG.STORE notes a VEC #2"), connection);
        assert_eq!(again.at("outcome").text(), "created");
    });
}

/// What a store answers but for what differs between two stores of the same.
fn activation(reply: &Value) -> (String, Vec<f64>) {
    (reply.at("outcome").text().to_owned(), confidence(reply))
}

#[test]
fn a_batch_stores_what_single_stores_would() {
    in_both(|_, connection| {
        create(connection, "singles");
        let item = |number: usize| {
            let id = number % 40;
            format!("e{id} VEC #{number} TEXT t{number} AT {number} CONF 0.{number:02}")
        };
        let batch: Vec<String> = (10..99).map(|number| format!("ITEM {}", item(number))).collect();
        let batch = words(&format!("EG.MSTORE notes {} {}", batch.len(), batch.join(" ")));
        let batched = value(&batch, connection);
        let singles: Vec<Value> = (10..99)
            .map(|number| value(&words(&format!("EG.STORE singles {}", item(number))), connection))
            .collect();
        let of = |replies: &[Value]| replies.iter().map(activation).collect::<Vec<_>>();
        assert_eq!(of(batched.items()), of(&singles));
        for id in 0..40 {
            let get = |space: &str, connection: &mut Connection| {
                let mut get = words(&format!("EG.GET {space} e{id} WITH text WITH vec"));
                let found = value(get.arg("WITH").arg("meta"), connection);
                let part = |name| found.at(name).bytes().to_vec();
                (part("text"), part("vec"), part("meta"), found.at("happened_at").int())
            };
            assert_eq!(get("notes", connection), get("singles", connection), "{id}");
        }
    });
}

#[test]
fn a_bad_item_of_a_batch_fails_alone() {
    in_both(|daemon, _| {
        // The stock client makes an error inside an array an error of the whole call.
        let mut client = daemon.client();
        let mut batch = words("EG.MSTORE notes 6 ITEM a VEC #1 ITEM b VEC #2 COLOUR red");
        batch.arg("ITEM").arg("c").arg("VEC").arg(blob(&[1.0, 2.0]));
        batch.arg("ITEM").arg("d").arg("VEC").arg(blob(&[f32::NAN; DIMENSIONS]));
        batch.arg("ITEM").arg("").arg("VEC").arg(blob(&vector(5, DIMENSIONS)));
        batch.arg("ITEM").arg("f").arg("VEC").arg(blob(&vector(6, DIMENSIONS)));
        let replies = client.ask(&batch.get_packed_command());
        let [a, b, c, d, e, f] = replies.items() else { panic!("{replies:?}") };
        assert_eq!([a, f].map(|reply| reply.at("outcome").text()), ["created", "created"]);
        assert_eq!([b, c, d, e].map(Reply::code), ["SYNTAX", "DIM", "BADVEC", "SYNTAX"]);
        let found = client.ask(&words("EG.MGET notes 5 a b c d f").get_packed_command());
        let are_there = found.items().iter().map(|item| *item != Value::Nil);
        assert_eq!(are_there.collect::<Vec<_>>(), [true, false, false, false, true]);
    });
}

#[test]
fn a_batch_of_another_length_than_announced_stores_nothing() {
    in_both(|_, connection| {
        let batch = words("EG.MSTORE notes 3 ITEM a VEC #1 ITEM b VEC #2");
        assert_eq!(batch.query::<Value>(connection).unwrap_err().code(), Some("SYNTAX"));
        let found = value(&words("EG.MGET notes 2 a b"), connection);
        assert_eq!(found.items(), [Value::Nil, Value::Nil]);
    });
}

#[test]
fn a_large_batch_is_answered_in_order() {
    let home = Home::new();
    let daemon = home.start();
    let connection = &mut stock::connect(&daemon.socket, Resp::Three);
    create(connection, "notes");
    let items: Vec<String> =
        (0..6000).map(|number| format!("ITEM e{number} VEC #{number}")).collect();
    let batch = words(&format!("EG.MSTORE notes 6000 {}", items.join(" ")));
    let stored = value(&batch, connection);
    let sequences: Vec<i64> = stored.items().iter().map(|item| item.at("seq").int()).collect();
    for (number, sequence) in sequences.iter().enumerate().step_by(97) {
        let found = value(&words(&format!("EG.GET notes e{number}")), connection);
        assert_eq!(found.at("seq").int(), *sequence, "{number}");
    }
}

/// All episodes of a scan, id to vector, and the answers it took.
fn scan(connection: &mut Connection, options: &str) -> (BTreeMap<String, Vec<f32>>, usize) {
    let mut found = BTreeMap::new();
    let mut cursor = "0".to_owned();
    for answers in 1.. {
        let scan = words(&format!("EG.SCAN notes CURSOR {cursor}{options} WITH vec"));
        let answer = value(&scan, connection);
        let [next, episodes] = answer.items() else { panic!("{answer:?}") };
        for episode in episodes.items() {
            let id = episode.at("id").text().to_owned();
            let twice = found.insert(id, floats(episode.at("vec").bytes()));
            assert!(twice.is_none(), "{episode:?}");
        }
        next.text().clone_into(&mut cursor);
        if cursor == "0" {
            return (found, answers);
        }
    }
    unreachable!("the range has no end")
}

#[test]
fn a_scan_goes_through_all_shards_once() {
    in_both(|_, connection| {
        assert_eq!(scan(connection, ""), (BTreeMap::new(), 2));
        for number in 0..300 {
            value(&words(&format!("EG.STORE notes e{number} VEC #{number}")), connection);
        }
        for number in (0..300).step_by(3) {
            value(&words(&format!("EG.FORGET notes e{number}")), connection);
        }
        for number in (1..300).step_by(3) {
            let other = number + 1000;
            value(&words(&format!("EG.STORE notes e{number} VEC #{other}")), connection);
        }
        let expected: BTreeMap<_, _> = (0..300_u64)
            .filter(|number| number % 3 != 0)
            .map(|number| {
                let vector = vector(if number % 3 == 1 { number + 1000 } else { number }, 5);
                (format!("e{number}"), vector)
            })
            .collect();
        let (found, few_answers) = scan(connection, "");
        assert_eq!(found, expected);
        let (found, many_answers) = scan(connection, " COUNT 7");
        assert_eq!(found, expected);
        assert!(many_answers > few_answers && many_answers >= 200 / 7, "{many_answers}");
    });
}
