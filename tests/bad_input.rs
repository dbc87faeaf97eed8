//! Bad input is refused with its code and a sentence, and nothing else happens: what was stored
//! before is still there, and the daemon goes on serving.

mod common;

use std::io::Write;

use common::episodes::{Random, blob, vector};
use common::{Client, Daemon, Home, Reply};
use redis::Value;

/// A daemon with an episode in it that must outlive everything the tests do.
struct Stage {
    _home: Home,
    daemon: Daemon,
    client: Client,
    witness: Value,
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let daemon = home.start();
        let mut client = daemon.client();
        client.create_space("notes", 3);
        client.ask(&command!["EG.STORE", "notes", "witness", "VEC", ones(3), "TEXT", "I stay"]);
        let witness = client.ask(&command!["EG.GET", "notes", "witness"]);
        assert_eq!(witness.at("text").text(), "I stay");
        Self { _home: home, daemon, client, witness }
    }

    /// The command is refused so, and the connection goes on.
    fn refused(&mut self, command: &[u8], code: &str, words: &[&str]) {
        let (got, sentence) = self.client.refused(command);
        let shown = String::from_utf8_lossy(&command[..command.len().min(200)]);
        assert_eq!(got, code, "{shown}: {sentence}");
        for word in words {
            assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
        }
        self.nothing_is_lost();
    }

    /// The bytes are answered with one error, and then the daemon hangs up.
    fn cut_off(&self, bytes: &[u8], code: &str, words: &[&str]) {
        let mut client = self.daemon.client();
        // The daemon may hang up before everything is written.
        let _ = client.stream().write_all(bytes);
        let reply = client.read();
        assert_eq!(reply.code(), code, "{reply:?}");
        let sentence = format!("{reply:?}");
        for word in words {
            assert!(sentence.contains(word), "no '{word}' in '{sentence}'");
        }
        assert!(client.is_hung_up());
    }

    fn nothing_is_lost(&mut self) {
        let found = self.client.ask(&command!["EG.GET", "notes", "witness"]);
        assert_eq!(found, self.witness);
        let space = self.client.ask(&command!["EG.SPACE", "INFO", "notes"]);
        assert_eq!(space.at("episodes").int(), 1);
    }

    /// As [`Self::nothing_is_lost`], asked on a connection of its own.
    fn serves(&mut self) {
        self.client = self.daemon.client();
        self.nothing_is_lost();
    }
}

fn ones(dimensions: usize) -> Vec<u8> {
    blob(&vec![1.0; dimensions])
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// A store of `id` into `notes` with a sound vector and more words.
fn store(id: &str, more: &[&str]) -> Vec<u8> {
    let vector = ones(3);
    let mut words: Vec<&[u8]> = vec![b"EG.STORE", b"notes", id.as_bytes(), b"VEC", &vector];
    words.extend(more.iter().map(|word| word.as_bytes()));
    common::client::encode(&words)
}

#[test]
fn vectors_that_are_none() {
    let mut stage = Stage::new();
    let with = |vector: &[u8]| command!["EG.STORE", "notes", "a", "VEC", vector];
    stage.refused(&with(&ones(2)), "DIM", &["3 dimensions", "has 2"]);
    stage.refused(&with(&ones(4)), "DIM", &["3 dimensions", "has 4"]);
    stage.refused(&with(&ones(3)[..11]), "BADVEC", &["got 11 bytes"]);
    stage.refused(&with(b""), "BADVEC", &["got 0 bytes"]);
    stage.refused(&with(&ones(4097)), "TOOBIG", &["16388", "16384"]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in 0..3 {
            let mut vector = [1.0; 3];
            vector[place] = bad;
            stage.refused(&with(&blob(&vector)), "BADVEC", &[]);
        }
    }
    stage.refused(&with(&blob(&[0.0; 3])), "BADVEC", &["zero vector"]);
    stage.refused(&with(&blob(&[-0.0; 3])), "BADVEC", &["zero vector"]);
    stage.refused(&with(&blob(&[1e30; 3])), "BADVEC", &["norm", "scale it"]);
    let values = |values: &[&str]| {
        let mut words = vec!["EG.STORE", "notes", "a", "VALUES"];
        words.extend(values);
        common::client::encode(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    };
    stage.refused(&values(&["3", "1", "nan", "1"]), "BADVEC", &["component 2", "'nan'"]);
    stage.refused(&values(&["3", "1", "1", "-inf"]), "BADVEC", &["component 3"]);
    stage.refused(&values(&["3", "1", "1", "1e39"]), "BADVEC", &["component 3"]);
    stage.refused(&values(&["3", "1", "1", "one"]), "BADVEC", &["'one'"]);
    stage.refused(&values(&["3", "1", "1"]), "SYNTAX", &["announces 3", "2 are there"]);
    stage.refused(&values(&["4097", "1"]), "TOOBIG", &["4097", "4096"]);
    stage.refused(&values(&["-1", "1"]), "SYNTAX", &["'-1'"]);
    stage.refused(&values(&["2", "1", "1"]), "DIM", &["has 2"]);
    for cue in [ones(2), blob(&[f32::NAN; 3]), blob(&[0.0; 3])] {
        let code = if cue.len() == 8 { "DIM" } else { "BADVEC" };
        stage.refused(&command!["EG.RECALL", "notes", "K", "1", "VEC", cue], code, &[]);
    }
    let opposite =
        command!["EG.RECALL", "notes", "K", "1", "VEC", ones(3), "VEC", blob(&[-1.0; 3])];
    stage.refused(&opposite, "BADVEC", &["cancel"]);
}

#[test]
fn a_zero_vector_has_no_direction_but_a_place() {
    let mut stage = Stage::new();
    for metric in ["dot", "l2"] {
        let space = command!["EG.SPACE", "CREATE", metric, "DIM", "3", "METRIC", metric];
        stage.client.ask(&space);
        stage.client.ask(&command!["EG.STORE", metric, "a", "VEC", blob(&[0.0; 3])]);
        let found = command!["EG.RECALL", metric, "K", "1", "VEC", blob(&[0.0; 3])];
        assert_eq!(stage.client.ask(&found).items().len(), 1);
    }
}

#[test]
fn names_that_nobody_has() {
    let mut stage = Stage::new();
    let commands = [
        command!["EG.STORE", "nowhere", "a", "VEC", ones(3)],
        command!["EG.MSTORE", "nowhere", "1", "ITEM", "a", "VEC", ones(3)],
        command!["EG.RECALL", "nowhere", "K", "1", "VEC", ones(3)],
        command!["EG.GET", "nowhere", "witness"],
        command!["EG.MGET", "nowhere", "1", "witness"],
        command!["EG.FORGET", "nowhere", "witness"],
        command!["EG.SCAN", "nowhere"],
        command!["EG.STATS", "nowhere"],
        command!["EG.SPACE", "INFO", "nowhere"],
        command!["EG.SPACE", "DROP", "nowhere"],
    ];
    for command in commands {
        stage.refused(&command, "NOSPACE", &["'nowhere'", "EG.SPACE CREATE"]);
    }
    let cue = command!["EG.RECALL", "notes", "K", "1", "ID", "nobody"];
    stage.refused(&cue, "NOEPISODE", &["'nobody'"]);
}

#[test]
fn every_bound_holds_and_the_value_at_it_is_taken() {
    let mut stage = Stage::new();
    let stored_then_gone = |stage: &mut Stage, id: &str, more: &[&str]| {
        stage.client.ask(&store(id, more));
        let found = stage.client.ask(&command!["EG.GET", "notes", id, "WITH", "text"]);
        let told = more.iter().skip_while(|word| **word != "TEXT").nth(1).unwrap_or(&"");
        assert!(found.at("text").text() == *told, "the text came back changed");
        stage.client.ask(&command!["EG.FORGET", "notes", id]);
    };
    for (bound, keyword) in [(1 << 20, "TEXT"), (256, "THREAD"), (256, "KEY")] {
        stored_then_gone(&mut stage, "a", &[keyword, &text(bound)]);
        let over = (bound + 1).to_string();
        let words = [keyword, &over, &bound.to_string()];
        stage.refused(&store("a", &[keyword, &text(bound + 1)]), "TOOBIG", &words);
    }
    stored_then_gone(&mut stage, &text(256), &[]);
    stage.refused(&store(&text(257), &[]), "TOOBIG", &["id", "257", "256"]);
    stage.refused(&store("", &[]), "SYNTAX", &["id", "1 to 256 bytes"]);
    let meta = |bytes: usize| format!(r#"{{"a":"{}"}}"#, text(bytes - 8));
    stored_then_gone(&mut stage, "a", &["META", &meta(65_536)]);
    stage.refused(&store("a", &["META", &meta(65_537)]), "TOOBIG", &["65537", "65536"]);
    let links: Vec<&str> = ["LINK", "b", "1"].repeat(256);
    stored_then_gone(&mut stage, "a", &links);
    let links = ["LINK", "b", "1"].repeat(257);
    stage.refused(&store("a", &links), "TOOBIG", &["LINK", "257", "256"]);
    stage.refused(&store("a", &["LINK", &text(257), "1"]), "TOOBIG", &["257"]);
    stage.refused(&store("a", &["LINK", "b", "1", "KIND", &text(65)]), "TOOBIG", &["65", "64"]);
}

#[test]
fn the_bounds_of_spaces() {
    let mut stage = Stage::new();
    let create = |name: &str, dim: &str| command!["EG.SPACE", "CREATE", name, "DIM", dim];
    for dim in ["0", "4097", "-1", "3.5", "many", ""] {
        let got = format!("'{dim}'");
        stage.refused(&create("s", dim), "SYNTAX", &["from 1 to 4096", &got]);
    }
    for dimensions in [1, 4096] {
        let (name, dim) = (format!("s{dimensions}"), dimensions.to_string());
        stage.client.ask(&create(&name, &dim));
        let wide = vector(1, dimensions);
        stage.client.ask(&command!["EG.STORE", name, "a", "VEC", blob(&wide)]);
        let found = stage.client.ask(&command!["EG.GET", name, "a", "WITH", "vec"]);
        assert_eq!(common::episodes::floats(found.at("vec").bytes()), wide);
    }
    stage.client.ask(&create(&text(128), "3"));
    stage.refused(&create(&text(129), "3"), "TOOBIG", &["129", "128"]);
    stage.refused(&create("", "3"), "SYNTAX", &["1 to 128 bytes"]);
    stage.refused(&create("a\nb", "3"), "SYNTAX", &["control characters"]);
    stage.refused(&command!["EG.SPACE", "CREATE", "s"], "SYNTAX", &["DIM", "usage"]);
    let metric = command!["EG.SPACE", "CREATE", "s", "DIM", "3", "METRIC", "cubic"];
    stage.refused(&metric, "SYNTAX", &["cosine, dot, l2", "'cubic'"]);
    let shards = command!["EG.SPACE", "CREATE", "s", "DIM", "3", "SHARDS", "3"];
    stage.refused(&shards, "SYNTAX", &["1 to 2", "3"]);
}

#[test]
fn the_bounds_of_recalls() {
    let mut stage = Stage::new();
    let recall = |more: &[&str]| {
        let vector = ones(3);
        let mut words: Vec<&[u8]> = vec![b"EG.RECALL", b"notes", b"VEC", &vector];
        words.extend(more.iter().map(|word| word.as_bytes()));
        common::client::encode(&words)
    };
    assert_eq!(stage.client.ask(&recall(&["K", "1"])).items().len(), 1);
    assert_eq!(stage.client.ask(&recall(&["K", "4096"])).items().len(), 1);
    for k in ["0", "4097", "-1", "1.5", "x"] {
        stage.refused(&recall(&["K", k]), "SYNTAX", &["from 1 to 4096", k]);
    }
    stage.refused(&recall(&["EXACT", "NOREINFORCE"]), "SYNTAX", &["K is missing", "usage"]);
    stage.refused(&recall(&["K", "1", "K", "1"]), "SYNTAX", &["K is given twice"]);
    stage.refused(
        &command!["EG.RECALL", "notes", "K", "1", "EXACT", "NOREINFORCE"],
        "SYNTAX",
        &["a cue is missing"],
    );
    stage.refused(&recall(&["K", "1", "BYTES", "0"]), "SYNTAX", &["67108864", "'0'"]);
    stage.refused(&recall(&["K", "1", "BYTES", "67108865"]), "SYNTAX", &["67108864"]);
    stage.refused(&recall(&["K", "1", "MINCONF", "1.01"]), "SYNTAX", &["from 0 to 1", "'1.01'"]);
    stage.refused(&recall(&["K", "1", "SINCE", "now"]), "SYNTAX", &["microseconds", "'now'"]);
    stage.refused(&recall(&["K", "1", "WITH", "smell"]), "SYNTAX", &["text, vec", "'smell'"]);
    stage.refused(&recall(&["K", "1", "FILTER", "{"]), "SYNTAX", &[]);
    stage.refused(&recall(&["K", "1", "FILTER", r#"{"a": {"$near": 1}}"#]), "SYNTAX", &["$near"]);
    let deep = format!("{}{}{}", r#"{"$not":"#.repeat(20), "{}", "}".repeat(20));
    stage.refused(&recall(&["K", "1", "FILTER", &deep]), "TOOBIG", &["16"]);
    let cues: Vec<&str> = ["ID", "witness"].repeat(63);
    assert_eq!(stage.client.ask(&recall(&[&["K", "1"], &cues[..]].concat())).items().len(), 1);
    let cues: Vec<&str> = ["ID", "witness"].repeat(64);
    stage.refused(&recall(&[&["K", "1"], &cues[..]].concat()), "TOOBIG", &["65", "64"]);
}

#[test]
fn values_that_make_no_sense() {
    let mut stage = Stage::new();
    let cases: [(&[&str], &[&str]); 16] = [
        (&["CONF", "1.5"], &["1.5"]),
        (&["CONF", "-0.1"], &["-0.1"]),
        (&["CONF", "nan"], &["'nan'"]),
        (&["CONF", "0.5", "0.6", "0.7"], &["0.6"]),
        (&["CONF", "0.5", "0.4", "0.45"], &["0.45"]),
        (&["AT", "yesterday"], &["microseconds", "'yesterday'"]),
        (&["AT", "9223372036854775808"], &["microseconds"]),
        (&["META", "[1]"], &["object"]),
        (&["META", "{\"a\": }"], &[]),
        (&["LINK", "b", "0"], &["greater than 0", "'0'"]),
        (&["LINK", "b", "inf"], &["'inf'"]),
        (&["KEY", ""], &["KEY"]),
        (&["PRIO", "urgent"], &["high, normal, low", "'urgent'"]),
        (&["DUR", "ram"], &["disk, os", "'ram'"]),
        (&["COLOUR", "red"], &["unknown option 'COLOUR'", "usage"]),
        (&["TEXT", "a", "TEXT", "b"], &["TEXT is given twice"]),
    ];
    for (more, words) in cases {
        stage.refused(&store("a", more), "SYNTAX", words);
    }
    let without = command!["EG.STORE", "notes", "a", "TEXT", "x"];
    stage.refused(&without, "SYNTAX", &["the vector is missing"]);
}

#[test]
fn bytes_that_are_not_utf8() {
    let mut stage = Stage::new();
    let bad: &[u8] = b"ab\xff";
    let commands = [
        command!["EG.STORE", "notes", bad, "VEC", ones(3)],
        command!["EG.STORE", "notes", "a", "VEC", ones(3), "TEXT", bad],
        command!["EG.STORE", "notes", "a", "VEC", ones(3), "THREAD", bad],
        command!["EG.STORE", bad, "a", "VEC", ones(3)],
        command!["EG.GET", "notes", bad],
        command!["EG.FORGET", "notes", bad],
        command!["EG.SPACE", "CREATE", bad, "DIM", "3"],
    ];
    for command in commands {
        stage.refused(&command, "SYNTAX", &["UTF-8", "invalid byte at 2"]);
    }
    let meta = command!["EG.STORE", "notes", "a", "VEC", ones(3), "META", b"{\"a\": \"\xff\"}"];
    stage.refused(&meta, "SYNTAX", &[]);
}

#[test]
fn commands_that_do_not_exist() {
    let mut stage = Stage::new();
    stage.refused(&command!["GET", "a"], "SYNTAX", &["unknown command 'GET'", "COMMAND LIST"]);
    stage.refused(&command!["EG.STORE"], "SYNTAX", &["usage"]);
    stage.refused(&command!["EG.SPACE", "RENAME"], "SYNTAX", &["'RENAME'", "CREATE"]);
    stage.refused(&command!["EG.SPACE"], "SYNTAX", &[]);
    stage.refused(&command!["EG.GET", "notes", "a", "b"], "SYNTAX", &["'b'"]);
    stage.refused(&command![""], "SYNTAX", &["unknown command"]);
    stage.refused(&command![text(1 << 20)], "SYNTAX", &["unknown command", "…"]);
    stage.refused(&command![b"\xff\x00\r\n"], "SYNTAX", &["unknown command"]);
    // A line that people type is a command too, and a wrong one keeps the connection.
    stage.refused(b"make coffee\r\n", "SYNTAX", &["unknown command 'make'"]);
}

#[test]
fn frames_over_the_bounds() {
    let mut stage = Stage::new();
    stage.cut_off(b"*2\r\n$2097153\r\n", "TOOBIG", &["2097153", "2097152"]);
    stage.cut_off(b"*4194305\r\n", "TOOBIG", &["4194305", "4194304"]);
    stage.cut_off(b"*99999999999999999999999\r\n", "SYNTAX", &["1 to 20 digits"]);
    stage.cut_off(&[b'x'; 65_537], "TOOBIG", &["inline", "65536"]);
    let bulk = [b"$2097152\r\n", &[b'x'; 2 << 20][..], b"\r\n"].concat();
    let command = [b"*65\r\n".to_vec(), bulk.repeat(64)].concat();
    stage.cut_off(&command, "TOOBIG", &["134217728"]);
    // The largest bulk string that passes is judged by the command.
    let largest = [b"*2\r\n$4\r\nPING\r\n".to_vec(), bulk].concat();
    assert_eq!(stage.client.ask(&largest).bytes().len(), 2 << 20);
    stage.serves();
}

#[test]
fn frames_that_are_none() {
    let mut stage = Stage::new();
    stage.cut_off(&b"*1\r\n".repeat(10_000), "SYNTAX", &["expected '$'", "'*'"]);
    stage.cut_off(b"*-1\r\n", "SYNTAX", &["argument count", "'-'"]);
    stage.cut_off(b"*1\r\n$-1\r\n", "SYNTAX", &["bulk length", "'-'"]);
    stage.cut_off(b"*1\r\n$4\r\nPINGxx", "SYNTAX", &["CRLF after 4 bytes", "'x'"]);
    stage.cut_off(b"*1\n$4\r\nPING\r\n", "SYNTAX", &["byte 0x0a"]);
    stage.cut_off(b"\x16\x03\x01\x02\x00\x01\x00", "SYNTAX", &["byte 0x16"]);
    stage.cut_off(b"$4\r\nPING\r\n", "SYNTAX", &["'$'"]);
    stage.cut_off(b"say \"hello\r\n", "SYNTAX", &["quote"]);
    stage.serves();
}

#[test]
fn what_came_before_garbage_is_carried_out() {
    let mut stage = Stage::new();
    let mut client = stage.daemon.client();
    let bytes = [store("a", &[]), b"\xff\xff".to_vec(), store("b", &[])].concat();
    client.send(&bytes);
    assert_eq!(client.read().at("outcome").text(), "created");
    assert_eq!(client.read().code(), "SYNTAX");
    assert!(client.is_hung_up());
    let found = stage.client.ask(&command!["EG.MGET", "notes", "2", "a", "b"]);
    assert_eq!(found.items()[0].at("id").text(), "a");
    assert_eq!(found.items()[1], Value::Nil);
}

#[test]
fn half_a_frame_holds_up_nobody() {
    let mut stage = Stage::new();
    let whole = store("late", &["TEXT", "after all"]);
    let (mut silent, mut gone) = (stage.daemon.client(), stage.daemon.client());
    silent.send(&whole[..whole.len() / 2]);
    gone.send(&whole[..whole.len() / 2]);
    stage.nothing_is_lost();
    stage.serves();
    drop(gone);
    common::eventually("the connection that hung up is closed", || {
        stage.client.ask(&command!["EG.STATS"]).at("connections_open").int() == 2
    });
    stage.nothing_is_lost();
    silent.send(&whole[whole.len() / 2..]);
    assert_eq!(silent.read().at("outcome").text(), "created");
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let mut stage = Stage::new();
    for byte in command!["ECHO", "a\r\nb"] {
        stage.client.send(&[byte]);
    }
    assert_eq!(stage.client.read().text(), "a\r\nb");
}

#[test]
fn noise_ends_connections_and_nothing_else() {
    let mut stage = Stage::new();
    let mut random = Random::new(1);
    for _ in 0..200 {
        let client = stage.daemon.client();
        let mut noise = match random.below(4) {
            0 => b"*3\r\n$8\r\nEG.STORE\r\n$5\r\nnotes\r\n".to_vec(),
            1 => b"*2\r\n".to_vec(),
            _ => Vec::new(),
        };
        let bytes = random.below(2000);
        noise.extend((0..bytes).map(|_| random.next() as u8));
        // The daemon may hang up before everything is written.
        let _ = client.stream().write_all(&noise);
    }
    stage.serves();
}
