//! Running into the byte budget of a shard: what gives way first, and that `-BUSY` comes last.

mod common;

use std::time::{Duration, Instant};

use common::episodes::{blob, vector};
use common::{Client, Home, Reply};
use redis::Value;

const SETTINGS: [&str; 2] = ["memory_bytes_max=64MiB", "shards=2"];
/// Of each of the two shards.
const SHARD_BYTES_MAX: i64 = 32 << 20;
/// What is in the log's batches and not in memory when the budget is reached: 8 of 2 MiB at most.
const OVERSHOOT_BYTES_MAX: i64 = 16 << 20;
/// Large vectors: to index them takes longer than to store them, so a flood gets ahead.
const DIMENSIONS: usize = 1024;
/// As many as a client may have under way.
const FLOOD: usize = 1024;
const DEADLINE: Duration = Duration::from_secs(60);

/// How an answer ranks on the way from plenty to nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Stored,
    Degraded,
    Busy,
}

fn step(reply: &Value) -> Step {
    if reply.is_error() {
        let sentence = format!("{reply:?}");
        assert_eq!(reply.code(), "BUSY", "{sentence}");
        assert!(sentence.contains("the shard's memory is full; retry in"), "{sentence}");
        return Step::Busy;
    }
    let pressure = reply.at("pressure").float();
    let degraded = matches!(reply.at("degraded"), Value::Boolean(true) | Value::Int(1));
    assert_eq!(degraded, pressure >= 0.8, "{reply:?}");
    let expected = reply.at("confidence").items()[0].float() * (1.0 - pressure / 2.0);
    assert!((reply.at("activation").float() - expected).abs() < 1e-4, "{reply:?}");
    if degraded { Step::Degraded } else { Step::Stored }
}

fn store(nth: usize) -> Vec<u8> {
    command!["EG.STORE", "notes", format!("e{nth}"), "VEC", blob(&vector(nth as u64, DIMENSIONS))]
}

fn statistic(client: &mut Client, path: &[&str]) -> i64 {
    let stats = client.ask(&command!["EG.STATS"]);
    path.iter().fold(&stats, |value, key| value.at(key)).int()
}

/// Lays out the memory of a spread and leaves it idle in its pool.
fn fill_the_pool(client: &mut Client) {
    let vector = blob(&vector(1, DIMENSIONS));
    client.ask(&command!["EG.STORE", "notes", "a", "VEC", vector, "LINK", "b", "1"]);
    client.ask(&command!["EG.STORE", "notes", "b", "VEC", vector]);
    client.ask(&command!["EG.SPREAD", "notes", "K", "1", "FROM", "a", "1"]);
    assert!(statistic(client, &["spreading", "pool_bytes"]) > 0);
}

#[test]
fn pools_shrink_and_answers_say_degraded_before_stores_are_refused() {
    let home = Home::new();
    let daemon = home.start_with(&SETTINGS);
    let mut client = daemon.client();
    let dimensions = DIMENSIONS.to_string();
    client.ask(&command!["EG.SPACE", "CREATE", "notes", "DIM", dimensions, "SHARDS", "1"]);
    fill_the_pool(&mut client);

    let (mut steps, until) = (Vec::new(), Instant::now() + DEADLINE);
    while !steps.contains(&Step::Busy) {
        assert!(Instant::now() < until, "the budget was never reached");
        let next = steps.len()..steps.len() + FLOOD;
        client.send(&next.flat_map(store).collect::<Vec<u8>>());
        steps.extend(client.read_many(FLOOD).iter().map(step));
        let bytes = statistic(&mut client, &["memory_bytes"]);
        assert!(bytes <= SHARD_BYTES_MAX + OVERSHOOT_BYTES_MAX, "{bytes} bytes");
    }
    let first = |wanted| steps.iter().position(|step| *step == wanted).unwrap();
    assert_eq!(steps[0], Step::Stored);
    let (degraded, busy) = (first(Step::Degraded), first(Step::Busy));
    assert!(degraded < busy, "refused before it said degraded: {degraded}, {busy}");
    let refused = steps.iter().filter(|step| **step == Step::Busy).count();
    assert_eq!(statistic(&mut client, &["episodes"]), (steps.len() - refused) as i64 + 2);
    assert_eq!(statistic(&mut client, &["refusals", "BUSY"]), refused as i64);

    // Whoever comes again gets all of it stored, as fast as it is consolidated.
    let until = Instant::now() + DEADLINE;
    for (nth, _) in steps.iter().enumerate().filter(|(_, step)| **step == Step::Busy) {
        while step(&client.call(&store(nth))) == Step::Busy {
            assert!(Instant::now() < until, "memory is not given back");
        }
        let bytes = statistic(&mut client, &["memory_bytes"]);
        assert!(bytes <= SHARD_BYTES_MAX + OVERSHOOT_BYTES_MAX, "{bytes} bytes");
    }
    assert_eq!(statistic(&mut client, &["episodes"]), steps.len() as i64 + 2);
    assert!(statistic(&mut client, &["spreading", "pool_dropped"]) > 0, "pools did not shrink");
    let consolidations = ["published", "under_way"]
        .map(|which| statistic(&mut client, &["consolidation", which]))
        .into_iter();
    assert!(consolidations.sum::<i64>() > 0, "nobody asked for it yet");

    client.ask(&command!["EG.CONSOLIDATE"]);
    assert_eq!(step(&client.call(&store(0))), Step::Stored, "pressure stays");
}
