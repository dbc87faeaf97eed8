//! Columns files that are damaged: when that is found, who is told, and what goes on beside it.

mod bench;

use bench::{Bench, IN_VECTORS, settings};
use bytes::Bytes;
use engram_shards::episode::{Effort, Fields, Metric, Refusal};
use engram_shards::format::columns::ColumnKind;
use engram_shards::shard::Notice;

#[test]
fn damage_is_not_copied_into_new_columns() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..100).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let columns = bench.columns();
    bench.flip(columns[0], IN_VECTORS);
    let mut bench = bench.reopen();
    bench.store("new");
    assert!(matches!(bench.ask(), Err(Refusal::Busy { .. })));
    let (stats, failure) = bench.shard.consolidation();
    assert_eq!((stats.published, stats.blocks_damaged, bench.columns()), (0, 1, columns));
    assert!(failure.unwrap().contains("Vectors of memory space #1 is damaged"), "{failure:?}");
    assert!(bench.shard.get(bench.space, b"new", Fields::default()).unwrap().is_some());
}

#[test]
fn new_rows_go_beside_a_damaged_file_until_there_is_no_room() {
    let mut settings = settings();
    settings.consolidation.retry_after_ns = 0;
    let mut bench = Bench::with(settings, Metric::Cosine);
    (0..100).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let first = bench.columns()[0];
    bench.flip(first, IN_VECTORS);
    let mut bench = bench.reopen();

    // Whoever asked for everything is told, and what is new is written without the damaged file.
    bench.store("one");
    assert!(matches!(bench.ask(), Err(Refusal::Busy { .. })));
    bench.settle(false);
    let (stats, failure) = bench.shard.consolidation();
    assert_eq!((stats.published, stats.files, stats.blocks_damaged), (1, 2, 1));
    assert!(failure.unwrap().contains(&first.to_string()), "{failure:?}");
    assert_eq!(bench.shard.stats().rows_in_tails, 0);
    // From then on what can be merged is, though the answer says that it was not all.
    bench.store("two");
    bench.forget("one");
    let refusal = bench.ask().unwrap_err();
    assert!(matches!(&refusal, Refusal::Corrupt(what) if what.contains(&first.to_string())));
    let (stats, _) = bench.shard.consolidation();
    assert_eq!((stats.published, stats.files, stats.rows), (2, 2, 101));
    assert_eq!(stats.through_sequence, bench.shard.stats().applied);
    // The other file is not written again and again for the sake of what is dead in this one.
    (0..90).for_each(|nth| bench.forget(&format!("e{nth}")));
    bench.settle(true);
    assert_eq!(bench.shard.consolidation().0.published, 2);
    // What may be in it cannot be called erased.
    let ticket = bench.ticket();
    bench.shard.erase(ticket, bench.space, &Bytes::from("e95"), 0).unwrap();
    bench.model.remove("e95");
    let answered = (0..1_000_000).map(|_| bench.work().0).find(|answers| !answers.is_empty());
    assert!(matches!(&answered.unwrap()[..], [(_, Err(Refusal::Corrupt(_)))]));
    bench.settle(false);

    // With both damaged there is room for none: it is said, and everything else goes on.
    let second = bench.columns()[1];
    bench.flip(second, IN_VECTORS);
    let mut bench = bench.reopen();
    bench.store("three");
    for _ in 0..3 {
        assert!(matches!(bench.ask(), Err(Refusal::Busy { .. })));
    }
    let (stats, failure) = bench.shard.consolidation();
    let failure = failure.unwrap();
    assert_eq!((stats.published, stats.files, stats.blocks_damaged), (0, 2, 2));
    assert!(failure.contains(&first.to_string()) && failure.contains(&second.to_string()));
    bench.settle(false);
    bench.store("four");
    assert!(bench.shard.get(bench.space, b"three", Fields::default()).unwrap().is_some());

    // What was told to do helps.
    [first, second].into_iter().for_each(|file| bench.flip(file, IN_VECTORS));
    let mut bench = bench.reopen();
    bench.consolidate(|_, _| {});
    let (stats, failure) = bench.shard.consolidation();
    assert_eq!((stats.files, stats.blocks_damaged, failure), (1, 0, None));
    bench.check();
}

#[test]
fn columns_of_the_start_are_looked_at_when_the_shard_is_quiet() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..100).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let file = bench.columns()[0];
    // The vectors end before the eleventh page.
    [IN_VECTORS, (11 << 12) + 10].into_iter().for_each(|at| bench.flip(file, at));
    let mut bench = bench.reopen();
    assert_eq!(bench.settle(false), []);
    assert_eq!(bench.shard.consolidation().0.blocks_damaged, 0);
    let query = bench.vector();
    assert_eq!(bench.recall_as(&query, 10, Effort::Exact).len(), 10);
    let damaged = |kind| {
        let space = "s".to_owned();
        Notice::Damaged { file, space, kind, block: 0 }
    };
    let told = [damaged(ColumnKind::Vectors), damaged(ColumnKind::Scales)];
    assert_eq!(bench.settle(true), told);
    let sentence = told[0].to_string();
    for word in ["columns-0000000001.seg", "'s'", "Vectors", "block 0"] {
        assert!(sentence.contains(word), "{sentence}");
    }
    let (stats, failure) = bench.shard.consolidation();
    assert_eq!(stats.blocks_damaged, 2);
    assert!(failure.unwrap().contains("put the same file of a snapshot in its place"));
    // Nothing is looked at twice, and no attempt has to fail to leave the file alone.
    assert_eq!(bench.settle(true), []);
    bench.store("new");
    assert!(matches!(bench.ask(), Err(Refusal::Corrupt(_))));
    let (stats, _) = bench.shard.consolidation();
    assert_eq!((stats.published, stats.failed, stats.files), (1, 0, 2));
}
