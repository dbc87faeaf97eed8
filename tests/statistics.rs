//! What the daemon tells about itself: consolidation in `EG.STATS` and `INFO`, and figures that
//! begin anew.

mod common;

use common::episodes::{blob, vector};
use common::{Client, Home, Reply, eventually};

const DIMENSIONS: usize = 8;

fn store(client: &mut Client, from: u64, count: u64) {
    for number in from..from + count {
        let vector = blob(&vector(number, DIMENSIONS));
        client.ask(&command!["EG.STORE", "notes", number.to_string(), "VEC", vector]);
    }
}

#[test]
fn consolidation_is_told_for_spaces_shards_and_all() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    store(&mut client, 0, 100);
    let rows = |client: &mut Client| {
        let stats = client.ask(&command!["EG.STATS", "notes"]);
        (stats.at("rows_in_tails").int(), stats.at("rows_in_columns").int())
    };
    assert_eq!(rows(&mut client), (100, 0));
    client.ask(&command!["EG.CONSOLIDATE"]);
    store(&mut client, 100, 10);
    assert_eq!(rows(&mut client), (10, 100));

    let stats = client.ask(&command!["EG.STATS"]);
    assert_eq!(stats.at("rows_in_tails").int(), 10);
    let all = stats.at("consolidation");
    for (name, expected) in [
        ("under_way", 0),
        ("published", 2),
        ("failed", 0),
        ("rows_written", 100),
        ("rows_under_way", 0),
        ("columns_rows", 100),
        ("columns_files", 2),
        ("columns_damaged", 0),
    ] {
        assert_eq!(all.at(name).int(), expected, "{name}");
    }
    assert!(!all.keys().contains(&"last_failure"));
    let shards = stats.at("per_shard").items();
    let own = || shards.iter().map(|shard| shard.at("consolidation"));
    assert!(own().all(|own| own.at("stage").text() == "none" && own.at("through_seq").int() > 0));
    let bytes: i64 = own().map(|own| own.at("columns_bytes").int()).sum();
    assert!(bytes > 0 && all.at("columns_bytes").int() == bytes);

    let info = client.ask(&command!["INFO", "consolidation", "shards"]);
    for line in ["columns_rows:100\r\n", "published:2\r\n", ",columns_rows="] {
        assert!(info.text().contains(line), "no {line} in {}", info.text());
    }
}

#[test]
fn a_consolidation_that_failed_says_why() {
    let home = Home::new();
    let mut command = home.command(&["shards=1"]);
    command.env("ENGRAM_FAULT", "piece:1");
    let daemon = home.start_command(command);
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    store(&mut client, 0, 100);
    assert_eq!(client.call(&command!["EG.CONSOLIDATE"]).code(), "BUSY");
    let stats = client.ask(&command!["EG.STATS"]);
    let all = stats.at("consolidation");
    assert_eq!((all.at("published").int(), all.at("failed").int()), (0, 1));
    let failure = all.at("last_failure").text();
    assert!(failure.contains("shard 0: a file could not be written"), "{failure}");
    let info = client.ask(&command!["INFO", "consolidation"]);
    assert!(info.text().contains(failure), "{}", info.text());
    // The next one succeeds, and nothing is said any more.
    client.ask(&command!["EG.CONSOLIDATE"]);
    let stats = client.ask(&command!["EG.STATS"]);
    assert_eq!(stats.at("consolidation").at("published").int(), 1);
    assert!(!stats.at("consolidation").keys().contains(&"last_failure"));
}

#[test]
fn damaged_columns_are_told_soon_after_a_start() {
    let home = Home::new();
    let mut daemon = home.start_with(&["shards=1"]);
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    store(&mut client, 0, 100);
    client.ask(&command!["EG.CONSOLIDATE"]);
    drop(client);
    assert!(daemon.stop().success());
    let file = home.data().join("shard-000").join("columns-0000000001.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    // In the first vector, behind the header page.
    bytes[4100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let daemon = home.start_with(&["shards=1"]);
    let mut client = daemon.client();
    let mut consolidation = || client.ask(&command!["EG.STATS"]).at("consolidation").clone();
    eventually("the damage is found", || consolidation().at("columns_damaged").int() == 1);
    let failure = consolidation().at("last_failure").text().to_owned();
    assert!(failure.contains("columns-0000000001.seg"), "{failure}");
    let line = "columns-0000000001.seg is damaged: memory space 'notes', column Vectors, block 0";
    assert!(home.said().contains(line), "{}", home.said());
    // It serves on, also when it cannot merge everything.
    store(&mut client, 100, 10);
    assert_eq!(client.call(&command!["EG.CONSOLIDATE"]).code(), "CORRUPT");
    let stats = client.ask(&command!["EG.STATS", "notes"]);
    assert_eq!((stats.at("rows_in_tails").int(), stats.at("episodes").int()), (0, 110));
}

#[test]
fn figures_of_a_phase_begin_anew() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_space("notes", DIMENSIONS);
    store(&mut client, 0, 20);
    let recall = || {
        let cue = blob(&vector(1, DIMENSIONS));
        command!["EG.RECALL", "notes", "K", "3", "VEC", cue]
    };
    (0..5).for_each(|_| drop(client.ask(&recall())));
    client.ask(&command!["CONFIG", "RESETSTAT"]);
    let stats = client.ask(&command!["EG.STATS"]);
    for name in ["commit", "recall"] {
        assert_eq!(stats.at("latency_us").at(name).at("count").int(), 0, "{name}");
    }
    client.ask(&command!["EG.CONSOLIDATE"]);
    let worked = client.ask(&command!["EG.STATS"]).at("latency_us").at("work").at("count").int();
    assert!(worked > 0, "a consolidation is made of units");
    assert!(client.ask(&command!["INFO", "latency"]).text().contains("work_us:count="));
    assert_eq!((stats.at("stores").int(), stats.at("recalls").int()), (0, 0));
    assert_eq!(stats.at("episodes").int(), 20);
    assert!(stats.at("connections_open").int() >= 1);
    client.ask(&recall());
    let stats = client.ask(&command!["EG.STATS"]);
    // One of each shard.
    assert_eq!(stats.at("latency_us").at("recall").at("count").int(), 2);
    assert_eq!(client.refused(&command!["CONFIG", "GET", "x"]).0, "SYNTAX");
}

#[test]
fn spreads_are_counted_measured_and_predicted() {
    let home = Home::new();
    let daemon = home.start();
    let mut client = daemon.client();
    client.ask(&command!["EG.SPACE", "CREATE", "ring", "DIM", "1", "SHARDS", "1"]);
    for nth in 0..30 {
        let (id, next) = (format!("e{nth}"), format!("e{}", (nth + 1) % 30));
        let store = command!["EG.STORE", "ring", id, "VALUES", "1", "1", "LINK", next, "1"];
        client.ask(&store);
    }
    for nth in 0..40 {
        let id = format!("e{}", nth % 30);
        client.ask(&command!["EG.SPREAD", "ring", "K", "3", "FROM", id, "1"]);
    }
    let stats = client.ask(&command!["EG.STATS"]);
    assert_eq!((stats.at("spreads").int(), stats.at("recalls").int()), (40, 0));
    assert_eq!(stats.at("latency_us").at("spread").at("count").int(), 40);
    let spreading = stats.at("spreading");
    let figure = |name: &str| spreading.at(name).int();
    // The first found no memory; each has found some since, and visits some links of the ring.
    assert_eq!((figure("pool_hits"), figure("pool_misses"), figure("pool_refused")), (39, 1, 0));
    assert!(figure("pool_bytes") > 0 && figure("pool_bytes_high_water") > 0);
    assert!(figure("edges") >= 40 * 10 && figure("edges") == figure("slice_edges"));
    assert!(figure("nodes") >= 40 * 10 && figure("turns") == figure("edges"));
    assert!(figure("slices") >= 40 && figure("slice_edges") <= figure("slice_edges_max"));
    assert!(figure("turns_prefetched") <= figure("turns"));
    assert!((64..=65_536).contains(&figure("batch_edges")));
    assert_eq!(figure("predictions"), 5, "one in eight");
    assert!(figure("predictions_within_20_percent") <= 5);
    assert!(spreading.at("latency_p95_us").float() >= spreading.at("latency_p50_us").float());
    assert!(client.ask(&command!["INFO", "spreading"]).text().contains("pool_hits:39"));
}
