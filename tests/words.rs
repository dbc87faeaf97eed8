//! Questions in words through the socket: what they find in memory and in columns, on one shard and
//! over two, what was said around it, when it happened, and what they refuse.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::episodes::{blob, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;

const DIMENSIONS: usize = 8;
const SPACES: [(&str, &str); 2] = [("one", "1"), ("two", "2")];
/// 2023-05-07 12:00 UTC.
const MAY_US: i64 = 1_683_460_800_000_000;
const DAY_US: i64 = 86_400_000_000;

/// A conversation of two sessions, and a note that belongs to none: id, thread, text.
const TALK: [(&str, &str, &str); 10] = [
    ("a1", "first", "Anna: Hello Ben, good to see you!"),
    ("a2", "first", "Ben: Did you paint anything at the lake?"),
    ("a3", "first", "Anna: Only the sunrise, twice. It was cold."),
    ("a4", "first", "Ben: Sounds lovely."),
    ("b1", "second", "Anna: I adopted a cat from the shelter."),
    ("b2", "second", "Ben: What do you call it?"),
    ("b3", "second", "Anna: Biscuit, since it is what it steals."),
    ("b4", "second", "Ben: The shelter must be glad."),
    ("b5", "second", "Anna: They gave me a blanket and some toys."),
    ("n1", "", "The marathon starts at nine in the harbour."),
];

struct Stage {
    home: Home,
    daemon: Daemon,
    client: Client,
}

fn ids(reply: &Value) -> Vec<String> {
    reply.items().iter().map(|hit| hit.at("id").text().to_owned()).collect()
}

/// What an answer is but for when it was stored and where.
fn scores(reply: &Value) -> Vec<(String, f64)> {
    let hits = reply.items().iter();
    hits.map(|hit| (hit.at("id").text().to_owned(), hit.at("score").float())).collect()
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        for (space, shards) in SPACES {
            let dimensions = DIMENSIONS.to_string();
            // Nothing fades between two answers that are compared.
            client.ask(&command![
                "EG.SPACE", "CREATE", space, "DIM", dimensions, "SHARDS", shards, "DECAY", "none"
            ]);
            for (nth, (id, thread, text)) in TALK.into_iter().enumerate() {
                let at = (MAY_US + nth as i64 * DAY_US).to_string();
                store(&mut client, space, id, (thread, text), &at);
            }
        }
        Self { home, daemon, client }
    }

    fn recall(&mut self, space: &str, words: &[&str]) -> Value {
        let words = [&["EG.RECALL", space, "K", "5"], words].concat();
        self.client.ask(&common::client::encode(&words))
    }

    fn found(&mut self, space: &str, question: &str) -> Vec<String> {
        ids(&self.recall(space, &["TEXT", question]))
    }
}

fn store(client: &mut Client, space: &str, id: &str, (thread, text): (&str, &str), at: &str) {
    let nth = TALK.iter().position(|(own, ..)| *own == id).unwrap_or(TALK.len());
    let vector = blob(&vector(nth as u64, DIMENSIONS));
    let mut words: Vec<&[u8]> =
        vec![b"EG.STORE", space.as_bytes(), id.as_bytes(), b"VEC", &vector, b"TEXT"];
    words.extend([text.as_bytes(), b"AT", at.as_bytes()]);
    if !thread.is_empty() {
        words.extend([&b"THREAD"[..], thread.as_bytes()]);
    }
    client.ask(&common::client::encode(&words));
}

#[test]
fn what_was_said_is_found_by_its_words_and_by_those_around_it() {
    let mut stage = Stage::new();
    for (space, _) in SPACES {
        assert_eq!(stage.found(space, "When does the marathon start?"), ["n1"]);
        assert_eq!(stage.found(space, "MARATHONS"), ["n1"]);
        let painted = stage.found(space, "What did Anna paint at the lake?");
        // It has none of the words but her name: the question before it has them.
        assert_eq!(painted[0], "a3", "{painted:?}");
        assert!(!painted.contains(&"n1".to_owned()));
        let named = stage.found(space, "What is the cat called?");
        assert!(named[..3].contains(&"b3".to_owned()), "{named:?}");
        assert_eq!(stage.found(space, "submarine"), Vec::<String>::new());
        assert_eq!(stage.found(space, "what is it?"), Vec::<String>::new(), "stop words alone");
    }
}

#[test]
fn the_answer_is_the_same_in_memory_and_in_columns_on_one_shard_and_on_two() {
    let mut stage = Stage::new();
    let questions = ["What did Anna paint?", "a blanket from the shelter on 11 May 2023", "Ben"];
    let mut first = Vec::new();
    for turn in 0..4 {
        let mut all = Vec::new();
        for question in questions {
            let answers =
                SPACES.map(|(space, _)| scores(&stage.recall(space, &["TEXT", question])));
            assert_eq!(answers[0], answers[1], "{question}");
            assert!(!answers[0].is_empty());
            all.push(answers[0].clone());
        }
        if first.is_empty() {
            first.clone_from(&all);
        }
        assert_eq!(all, first, "turn {turn}");
        match turn {
            0 => _ = stage.client.ask(&command!["EG.CONSOLIDATE"]),
            1 => {
                assert!(stage.daemon.stop().success());
                stage.daemon = stage.home.start();
                stage.client = stage.daemon.client();
            }
            // In the tail again, while others stay in columns.
            _ => {
                for (space, _) in SPACES {
                    for nth in [2, 6] {
                        let (id, thread, text) = TALK[nth];
                        let at = (MAY_US + nth as i64 * DAY_US).to_string();
                        store(&mut stage.client, space, id, (thread, text), &at);
                    }
                }
                stage.client.ask(&command!["EG.CONSOLIDATE"]);
            }
        }
    }
}

#[test]
fn an_answer_tells_the_version_that_fulfilled_the_conditions() {
    let mut stage = Stage::new();
    let mut replacing = stage.daemon.client();
    let cue = blob(&vector(3, DIMENSIONS));
    let versions = [("apple", r#"{"version":1}"#), ("banana", r#"{"version":2}"#)];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in (0..20_000).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                for (text, meta) in versions {
                    replacing.ask(&command![
                        "EG.STORE", "two", "x", "VEC", &cue, "TEXT", text, "META", meta
                    ]);
                }
            }
        });
        let filter = ["FILTER", r#"{"version":1}"#, "WITH", "meta", "WITH", "text"];
        let mut found = 0;
        for _ in 0..400 {
            for words in [&["TEXT", "apple"][..], &["ID", "n1", "SPREAD"]] {
                for hit in stage.recall("two", &[words, &filter].concat()).items() {
                    assert_eq!(hit.at("text").text(), "apple", "{words:?}");
                    assert!(hit.at("meta").text().contains('1'), "{words:?}");
                    found += 1;
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(found > 0);
    });
}

#[test]
fn turns_of_one_moment_stand_in_the_order_in_which_they_were_stored() {
    let mut stage = Stage::new();
    let questions: Vec<String> = (0..40).map(|nth| format!("subject{nth}")).collect();
    for (space, _) in SPACES {
        // A session whose turns all have its time, with ids in another order.
        for nth in 0..40_u32 {
            let id = format!("t{:02}", nth * 17 % 40);
            let text =
                if nth % 4 == 0 { format!("What of subject{nth}?") } else { "Hm".to_owned() };
            store(&mut stage.client, space, &id, ("moment", &text), "5000");
        }
    }
    for turn in ["tail", "columns"] {
        for (nth, question) in questions.iter().enumerate().step_by(4) {
            let found = SPACES.map(|(space, _)| stage.found(space, question));
            assert_eq!(found[0], found[1], "{question}, {turn}");
            // What was asked lends most to what was said right behind it.
            let behind = (nth + 1) * 17 % 40;
            assert_eq!(found[0][0], format!("t{behind:02}"), "{question}, {turn}");
        }
        stage.client.ask(&command!["EG.CONSOLIDATE"]);
    }
}

#[test]
fn a_vector_beside_the_words_adds_what_is_similar() {
    let mut stage = Stage::new();
    for (space, _) in SPACES {
        let plain = stage.recall(space, &["ID", "n1"]);
        let words = ["ID", "n1", "TEXT", "shelter blanket", "WITH", "why", "WITH", "text"];
        let both = stage.recall(space, &words);
        assert_eq!((ids(&plain)[0].as_str(), both.items().len()), ("n1", 5));
        assert!(ids(&both)[..2].contains(&"n1".to_owned()), "the nearest: {:?}", ids(&both));
        assert!(ids(&both)[..2].iter().any(|id| id.starts_with('b')), "the words");
        for hit in both.items() {
            let why = hit.at("why");
            assert_eq!(why.at("tier").text(), "fused");
            let [words, near, time, stating, strength] =
                ["words", "near", "time", "stating", "strength"].map(|term| why.at(term).float());
            let sum = (words + 0.85 * near + 0.8 * time) * stating * strength;
            assert!((hit.at("score").float() - sum).abs() < 1e-5, "{hit:?}");
            assert_eq!(strength, 1.0, "{hit:?}");
            assert!((0.0..=1.0).contains(&words) && near <= 1.0 && (0.5..=1.0).contains(&stating));
            assert!(!hit.at("text").text().is_empty());
            assert!(hit.keys().contains(&"similarity"));
        }
        let alone = stage.recall(space, &["TEXT", "shelter"]);
        assert!(alone.items().iter().all(|hit| !hit.keys().contains(&"similarity")));
        // Words that say nothing leave what is near.
        let near = stage.recall(space, &["ID", "n1", "TEXT", "what is it"]);
        assert_eq!(ids(&near)[0], "n1");
        // What has no room is left out from there on.
        let short = stage.recall(space, &["TEXT", "shelter", "WITH", "text", "BYTES", "60"]);
        let texts: Vec<bool> =
            short.items().iter().map(|hit| hit.keys().contains(&"text")).collect();
        assert!(texts[0] && !texts[texts.len() - 1] && texts.is_sorted_by(|a, b| a >= b));
    }
}

#[test]
fn associations_add_to_the_score_of_words_where_they_are_asked_for() {
    let mut stage = Stage::new();
    let mut answers = Vec::new();
    for (space, _) in SPACES {
        for (from, to) in [("n1", "a4"), ("a4", "b4"), ("b1", "n1")] {
            stage.client.ask(&command!["EG.LINK", space, from, to, "1"]);
        }
        let question = ["TEXT", "When does the marathon start?"];
        let plain = stage.recall(space, &question);
        assert_eq!(ids(&plain), ["n1"]);
        let spread = ["SPREAD", "EXACT", "WITH", "why"];
        let both = stage.recall(space, &[&question[..], &spread].concat());
        assert_eq!(ids(&both)[..3], ["n1", "a4", "b4"], "what the words found, and where it leads");
        for hit in both.items() {
            let activation = hit.at("activation").float();
            let words = if hit.at("id").text() == "n1" {
                let why = hit.at("why");
                assert_eq!(why.at("tier").text(), "fused");
                let [words, near, time, stating, strength] =
                    ["words", "near", "time", "stating", "strength"]
                        .map(|term| why.at(term).float());
                (words + 0.85 * near + 0.8 * time) * stating * strength
            } else {
                0.0
            };
            assert!((hit.at("score").float() - (words + activation)).abs() < 1e-5, "{hit:?}");
        }
        // Only what is not exact knows the ways.
        let ways = stage.recall(space, &[&question[..], &["SPREAD", "WITH", "why"]].concat());
        for hit in ways.items().iter().filter(|hit| hit.at("id").text() != "n1") {
            assert_eq!(hit.at("why").at("tier").text(), "spread", "{hit:?}");
        }
        // n1 keeps half of its mass and passes the rest on; a4 keeps half of that; b4, which has no
        // links, what is left.
        let activations: Vec<f64> =
            both.items().iter().map(|hit| hit.at("activation").float()).collect();
        let expected = [0.0, 0.25, 0.25];
        let is_right = |(own, expected): (&f64, &f64)| (own - expected).abs() < 1e-3;
        assert!(activations.iter().zip(&expected).all(is_right), "{activations:?}");
        answers.push(scores(&both));
        let path = ["SPREAD", "WITH", "why"];
        let path = stage.recall(space, &[&question[..], &path].concat());
        let step = &path.items()[1].at("why").at("path").items()[0];
        assert_eq!((step.at("from").text(), step.at("to").text()), ("n1", "a4"));
        // Without weight it is the answer without associations, as far as that goes.
        let none = ["SPREAD", "WEIGHT", "0"];
        let none = stage.recall(space, &[&question[..], &none].concat());
        assert_eq!(scores(&none)[0], scores(&plain)[0]);
        assert!(scores(&none)[1..].iter().all(|(_, score)| *score == 0.0));
        // A cue beside the words: what is found has its similarity too.
        let cue = ["ID", "b1", "SPREAD", "SEEDS", "1"];
        let cued = stage.recall(space, &[&question[..], &cue].concat());
        assert!(cued.items().iter().all(|hit| hit.keys().contains(&"similarity")));
        // Conditions hold for what associations bring as well.
        let since = (MAY_US + 9 * DAY_US).to_string();
        let late = ["SPREAD", "SINCE", &since];
        assert_eq!(ids(&stage.recall(space, &[&question[..], &late].concat())), ["n1"]);
    }
    for (one, two) in answers[0].iter().zip(&answers[1]) {
        assert!(one.0 == two.0 && (one.1 - two.1).abs() < 1e-6, "{answers:?}");
    }
}

#[test]
fn what_counts_how_much_can_be_said_in_the_question() {
    let mut stage = Stage::new();
    for (space, _) in SPACES {
        let question = ["TEXT", "What did Anna paint at the lake on 15 May 2023?"];
        let weighed = |stage: &mut Stage, weights: [&str; 3]| {
            let whole = ["0.2", "0.5", "WITH", "why"];
            let words = [&question[..], &["WEIGHTS"], &weights, &whole].concat();
            stage.recall(space, &words)
        };
        let usual = weighed(&mut stage, ["0.85", "1", "0.8"]);
        assert_eq!(scores(&usual), scores(&stage.recall(space, &question)));
        assert!(ids(&usual).contains(&"a3".to_owned()));
        // Of itself a3 has the name alone, like every other line of hers.
        let alone = weighed(&mut stage, ["0.85", "0", "0"]);
        assert_eq!(ids(&alone)[0], "a2", "the question has the words");
        for hit in alone.items() {
            let factors = ["words", "stating", "strength", "confidence"];
            let product: f64 = factors.map(|term| hit.at("why").at(term).float()).iter().product();
            assert!((hit.at("score").float() - product).abs() < 1e-5);
        }
        let late = weighed(&mut stage, ["0", "0", "1000"]);
        assert_eq!(ids(&late)[0], "b5", "it happened on that day");
    }
}

#[test]
fn a_space_has_a_language_and_weights_of_its_own() {
    let Stage { home, daemon: mut running, mut client } = Stage::new();
    for (space, language) in [("deutsch", "german"), ("wortlaut", "any")] {
        client.ask(&command![
            "EG.SPACE", "CREATE", space, "DIM", "8", "LANGUAGE", language, "WEIGHTS", "0", "0.5",
            "0", "0", "0"
        ]);
        for (id, text) in
            [("a1", "Die alten Häuser am Hafen"), ("a2", "Der Kessel steht auf dem Herd")]
        {
            store(&mut client, space, id, ("", text), "1");
        }
    }
    for is_consolidated in [false, true] {
        if is_consolidated {
            client.ask(&command!["EG.CONSOLIDATE"]);
            assert!(running.stop().success());
            running = home.start();
            client = running.client();
        }
        for (space, question, wanted) in [
            ("deutsch", "ein altes Haus", &["a1"][..]),
            ("deutsch", "am dem auf", &[]),
            ("wortlaut", "altes Haus", &[]),
            ("wortlaut", "HÄUSER", &["a1"]),
            ("wortlaut", "dem", &["a2"]),
        ] {
            let found = client.ask(&command!["EG.RECALL", space, "K", "5", "TEXT", question]);
            assert_eq!(ids(&found), wanted, "{space}: {question}, {is_consolidated}");
        }
        let space = client.ask(&command!["EG.SPACE", "INFO", "deutsch"]);
        assert_eq!(space.at("language").text(), "german");
        let weights = space.at("weights").items().iter().map(Reply::float);
        assert!(weights.eq([0.0, 0.5, 0.0, 0.0, 0.0]));
    }
    // Of a question that says nothing else.
    let cue = blob(&vector(0, DIMENSIONS));
    let mut near = |weights: &[&[u8]]| {
        let words: [&[u8]; 9] =
            [b"EG.RECALL", b"deutsch", b"K", b"1", b"TEXT", b"Haus", b"VEC", &cue, b"WITH"];
        let words = [&words[..], &[b"why"], weights].concat();
        let found = client.ask(&common::client::encode(&words));
        found.items()[0].at("score").float()
    };
    let usual: [&[u8]; 6] = [b"WEIGHTS", b"0.85", b"1", b"0.8", b"0.2", b"0.5"];
    assert!(near(&[]) < near(&usual));
}

#[test]
fn a_named_time_finds_what_happened_then() {
    let mut stage = Stage::new();
    for (space, _) in SPACES {
        let on = |day: i64| format!("What did Anna say on {} May 2023?", 7 + day);
        assert_eq!(stage.found(space, &on(2))[0], "a3");
        assert_eq!(stage.found(space, &on(8))[0], "b5");
        let why = stage.recall(space, &["TEXT", "Anna, May 9th 2023", "WITH", "why"]);
        let times: Vec<f64> =
            why.items().iter().map(|hit| hit.at("why").at("time").float()).collect();
        assert!(times[0] > 0.99 && times.iter().all(|time| (0.0..=1.0).contains(time)));
        let outside = stage.recall(space, &["TEXT", "Anna in June 2019", "WITH", "why"]);
        assert!(outside.items().iter().all(|hit| hit.at("why").at("time").float() < 1e-6));
    }
}

#[test]
fn a_time_alone_finds_what_happened_then_whatever_it_says() {
    let mut stage = Stage::new();
    for (space, _) in SPACES {
        // As many as either way proposes, and as many again, fit the words better.
        for nth in 0..100 {
            let (id, text) = (format!("walk{nth}"), "A walk in the park");
            store(&mut stage.client, space, &id, ("", text), &(nth * DAY_US).to_string());
        }
        let late = MAY_US + 100 * DAY_US;
        let mill = "After lunch Carl took a long walk with us to the old mill behind the harbour";
        store(&mut stage.client, space, "mill", ("", mill), &late.to_string());
        for turn in ["tail", "columns"] {
            let question = "Where did we walk on 15 August 2023?";
            assert_eq!(stage.found(space, question)[0], "mill", "{turn}");
            assert_eq!(stage.found(space, "What happened on 15 August 2023?"), ["mill"], "{turn}");
            // Similar to a vector that others are more similar to.
            let similar = ["ID", "walk1", "TEXT", "What was on 15 August 2023?"];
            let near = stage
                .recall(space, &[&similar[..], &["WEIGHTS", "0.1", "1", "1", "0", "0"]].concat());
            assert_eq!(ids(&near)[0], "mill", "{turn}");
            // Conditions hold, weights too, and another time is another one.
            let text = "What happened on 15 August 2023?";
            let until = (late - 1).to_string();
            assert!(stage.recall(space, &["TEXT", text, "UNTIL", &until]).items().is_empty());
            let timeless = ["TEXT", text, "WEIGHTS", "0.85", "1", "0", "0", "0"];
            assert!(stage.recall(space, &timeless).items().is_empty());
            assert!(stage.found(space, "What happened on 15 August 2022?").is_empty());
            let may = stage.found(space, "What was there in May 2023?");
            assert_eq!(may.len(), 5, "the latest of ten: {may:?}");
            stage.client.ask(&command!["EG.CONSOLIDATE"]);
        }
        stage.client.ask(&command!["EG.FORGET", space, "mill"]);
        assert!(stage.found(space, "What happened on 15 August 2023?").is_empty());
    }
}

#[test]
fn conditions_leave_out_what_only_supports_others() {
    let mut stage = Stage::new();
    let until = (MAY_US + 3 * DAY_US - 1).to_string();
    let since = (MAY_US + 2 * DAY_US).to_string();
    for (space, _) in SPACES {
        let question = ["TEXT", "What did she paint at the lake?"];
        let all = ids(&stage.recall(space, &question));
        assert!(all.contains(&"a2".to_owned()) && all.contains(&"a3".to_owned()));
        let words = [&question[..], &["SINCE", &since, "UNTIL", &until]].concat();
        assert_eq!(ids(&stage.recall(space, &words)), ["a3"], "the question before it is outside");
        let words = [&question[..], &["FILTER", r#"{"colour": "red"}"#]].concat();
        assert_eq!(ids(&stage.recall(space, &words)), Vec::<String>::new());
        assert_eq!(stage.recall(space, &["TEXT", "shelter", "MINCONF", "1"]).items().len(), 5);
    }
}

#[test]
fn what_is_gone_is_not_found_by_its_words_any_more() {
    let mut stage = Stage::new();
    for turn in ["tail", "columns"] {
        for (space, _) in SPACES {
            let id = format!("x-{turn}");
            let text = format!("The {turn}zebra sleeps.");
            let question = format!("{turn}zebra");
            store(&mut stage.client, space, &id, ("", &text), "1");
            assert_eq!(stage.found(space, &question), [id.as_str()], "found at once");
            if turn == "columns" {
                stage.client.ask(&command!["EG.CONSOLIDATE"]);
                assert_eq!(stage.found(space, &question), [id.as_str()]);
            }
            store(&mut stage.client, space, &id, ("", "The giraffe sleeps."), "2");
            assert_eq!(stage.found(space, &question), Vec::<String>::new(), "replaced");
            assert_eq!(stage.found(space, "giraffe"), [id.as_str()]);
            stage.client.ask(&command!["EG.FORGET", space, id]);
            assert_eq!(stage.found(space, "giraffe"), Vec::<String>::new(), "forgotten");
        }
    }
    let (id, _, text) = TALK[9];
    stage.client.ask(&command!["EG.ERASE", "one", id]);
    assert_eq!(stage.found("one", text), Vec::<String>::new(), "erased");
    assert_eq!(stage.found("two", text)[0], id);
}

#[test]
fn what_is_no_question_is_refused_with_a_reason() {
    let mut stage = Stage::new();
    let long = "x".repeat(64 << 10);
    for (words, says) in [
        (&["TEXT", ""][..], "got none"),
        (&["TEXT", "a", "TEXT", "b"], "TEXT is given twice"),
        (&["ID", "n1", "WEIGHTS", "1", "1", "1", "1", "1"], "WEIGHTS need TEXT"),
        (&["TEXT", "a", "WEIGHTS", "1", "1"], "WEIGHTS"),
        (&["TEXT", "a", "WEIGHTS", "1", "x", "1", "1", "1"], "the weight of around"),
        (&["TEXT", "a", "WEIGHTS", "1", "1", "1", "2", "1"], "the weight of strength"),
        (&["TEXT", "a", "SEEDS", "2"], "need SPREAD"),
        (&["TEXT"], "TEXT"),
        (&["EXACT", "NOREINFORCE"], "cue is missing"),
        (&[], "wrong number of arguments"),
    ] {
        let words = [&["EG.RECALL", "one", "K", "5"], words].concat();
        let (code, sentence) = stage.client.refused(&common::client::encode(&words));
        assert_eq!((code.as_str(), sentence.contains(says)), ("SYNTAX", true), "{sentence}");
    }
    assert_eq!(stage.found("one", &long), Vec::<String>::new());
    let longer = long + "x";
    let (code, _) = stage.client.refused(&command!["EG.RECALL", "one", "K", "5", "TEXT", longer]);
    assert_eq!(code, "TOOBIG");
    let bytes = b"\xff\xfe".to_vec();
    let (code, _) = stage.client.refused(&command!["EG.RECALL", "one", "K", "5", "TEXT", bytes]);
    assert_eq!(code, "SYNTAX");
    let (code, _) = stage.client.refused(&command!["EG.RECALL", "none", "K", "5", "TEXT", "a"]);
    assert_eq!(code, "NOSPACE");
    // The first so many words are looked for, wherever in the alphabet.
    let words = |count: usize| (0..count).map(|nth| format!("aword{nth} ")).collect::<String>();
    assert_eq!(stage.found("one", &(words(63) + "marathon?")), ["n1"]);
    assert_eq!(stage.found("one", &(words(64) + "marathon?")), Vec::<String>::new());
    stage.recall("one", &["TEXT", &words(500)]);
    assert_eq!(stage.found("one", "\u{202e} 🙂 \u{0} marathon"), ["n1"]);
}
