//! A store that is sent again with its key is answered as the first was and changes nothing.

mod common;

use std::thread;

use common::episodes::{blob, vector};
use common::{Client, Home, Reply};
use redis::Value;

fn create(client: &mut Client) {
    client.create_space("notes", 3);
}

fn store(id: &str, key: &str, number: u64) -> Vec<u8> {
    let (vector, text) = (blob(&vector(number, 3)), number.to_string());
    command!["EG.STORE", "notes", id, "VEC", vector, "TEXT", text, "KEY", key]
}

/// The second answer repeats the first, but for the outcome and for what memory says meanwhile.
fn assert_repeats(first: &Value, second: &Value) {
    assert_eq!(first.at("outcome").text(), "created");
    assert_eq!(second.at("outcome").text(), "existing");
    assert_eq!(first.at("seq"), second.at("seq"));
    assert_eq!(first.at("confidence"), second.at("confidence"));
}

fn text(client: &mut Client, id: &str) -> String {
    client.ask(&command!["EG.GET", "notes", id]).at("text").text().to_owned()
}

fn rows(client: &mut Client) -> i64 {
    client.ask(&command!["EG.STATS", "notes"]).at("rows").int()
}

#[test]
fn a_key_counts_once() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    create(&mut client);
    let first = client.ask(&store("a", "k", 1));
    for number in [1, 2] {
        assert_repeats(&first, &client.ask(&store("a", "k", number)));
    }
    assert_eq!(text(&mut client, "a"), "1");
    assert_eq!(rows(&mut client), 1);
    // Another key, or none, is another store.
    assert_eq!(client.ask(&store("a", "l", 3)).at("outcome").text(), "replaced");
    assert_eq!(text(&mut client, "a"), "3");
    assert_repeats(&first, &client.ask(&store("a", "k", 1)));
}

#[test]
fn a_key_stands_for_the_id_that_was_assigned() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    create(&mut client);
    for key in (0..20).map(|number| format!("key {number}")) {
        let first = client.ask(&store("*", &key, 1));
        let second = client.ask(&store("*", &key, 2));
        assert_repeats(&first, &second);
        assert_eq!(first.at("id"), second.at("id"));
        assert_eq!(text(&mut client, first.at("id").text()), "1");
    }
    assert_eq!(rows(&mut client), 20);
}

#[test]
fn a_key_belongs_to_its_space_and_id() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    create(&mut client);
    client.create_space("other", 3);
    let elsewhere = command!["EG.STORE", "other", "a", "VEC", blob(&vector(1, 3)), "KEY", "k"];
    for command in [store("a", "k", 1), store("b", "k", 1), store("*", "k", 1), elsewhere] {
        assert_eq!(client.ask(&command).at("outcome").text(), "created");
        assert_eq!(client.ask(&command).at("outcome").text(), "existing");
    }
    // What a space knew goes with it.
    client.ask(&command!["EG.SPACE", "DROP", "notes"]);
    create(&mut client);
    assert_eq!(client.ask(&store("a", "k", 1)).at("outcome").text(), "created");
}

#[test]
fn a_repetition_that_overtakes_the_first_answer_is_recognised() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    create(&mut client);
    client.send(&[store("a", "k", 1), store("a", "k", 2)].concat());
    let (first, second) = (client.read(), client.read());
    assert_repeats(&first, &second);
    assert_eq!(text(&mut client, "a"), "1");

    let vector = blob(&vector(1, 3));
    let item =
        |text| -> [&[u8]; 8] { [b"ITEM", b"*", b"VEC", &vector, b"KEY", b"m", b"TEXT", text] };
    let head: [&[u8]; 3] = [b"EG.MSTORE", b"notes", b"2"];
    let batch = common::client::encode(&[&head[..], &item(b"1"), &item(b"2")].concat());
    let replies = client.ask(&batch);
    let [first, second] = replies.items() else { panic!("{replies:?}") };
    assert_repeats(first, second);
    assert_eq!(text(&mut client, first.at("id").text()), "1");
}

#[test]
fn of_many_who_send_the_same_one_creates() {
    let home = Home::new();
    let daemon = home.start();
    create(&mut daemon.client());
    for round in 0..20 {
        let key = format!("key {round}");
        let replies: Vec<Value> = thread::scope(|scope| {
            let ask = |number| {
                let (daemon, key) = (&daemon, &key);
                move || daemon.client().ask(&store("*", key, number))
            };
            let asked: Vec<_> = (0..4).map(|number| scope.spawn(ask(number))).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        let outcomes = replies.iter().map(|reply| reply.at("outcome").text());
        assert_eq!(outcomes.filter(|outcome| *outcome == "created").count(), 1, "{replies:?}");
        assert!(replies.iter().all(|reply| reply.at("seq") == replies[0].at("seq")));
        assert!(replies.iter().all(|reply| reply.at("id") == replies[0].at("id")));
    }
    assert_eq!(rows(&mut daemon.client()), 20);
}

#[test]
fn keys_are_known_after_a_restart() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    create(&mut client);
    let commands = [store("a", "k", 1), store("*", "k", 1), store("*", "l", 2)];
    let first: Vec<Value> = commands.iter().map(|command| client.ask(command)).collect();
    let check = |client: &mut Client| {
        for (command, first) in commands.iter().zip(&first) {
            let again = client.ask(command);
            assert_repeats(first, &again);
            let id = |reply: &Value| reply.keys().contains(&"id").then(|| reply.at("id").clone());
            assert_eq!(id(first), id(&again));
        }
        assert_eq!(rows(client), 3);
    };
    drop(client);
    daemon.kill();
    let mut daemon = home.start();
    check(&mut daemon.client());
    assert!(daemon.stop().success());
    check(&mut home.start().client());
}

#[test]
fn a_late_repetition_does_not_bring_back_what_was_forgotten() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    create(&mut client);
    let first = client.ask(&store("a", "k", 1));
    client.ask(&command!["EG.FORGET", "notes", "a"]);
    assert_repeats(&first, &client.ask(&store("a", "k", 1)));
    assert_eq!(client.ask(&command!["EG.GET", "notes", "a"]), Value::Nil);
}
