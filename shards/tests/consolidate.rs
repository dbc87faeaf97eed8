//! A shard that consolidates: what is found before, during and after, and after a restart.

mod bench;

use bench::{Bench, ids, settings};
use bytes::Bytes;
use engram_shards::episode::{CodeBits, Conditions, Effort, Metric, Refusal, Tier};
use engram_shards::format::FileKind;
use engram_shards::io::{Io, WriteFault};
use engram_shards::limits::{DEGRADED_FROM, SEGMENT_BYTES_MIN};
use engram_shards::shard::{Advanced, Reply, ShardSettings};

#[test]
fn consolidated_episodes_are_found_before_and_after_a_restart() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let mut bench = Bench::new(metric);
        (0..3000).for_each(|nth| bench.store(&format!("e{nth}")));
        bench.forget("e17");
        bench.store("e18");
        bench.consolidate(|_, _| {});
        bench.check();
        let (stats, failure) = bench.shard.consolidation();
        assert_eq!((stats.published, stats.files, stats.rows, failure), (1, 1, 2999, None));
        let recall = bench.recall_at_ten(100);
        assert!(recall >= 0.95, "{metric:?}: {recall}");
        let query = bench.vector();
        let hits = bench.recall_as(&query, 10, Effort::Usual);
        assert!(hits.iter().all(|hit| hit.why.unwrap().tier == Tier::Graph), "{hits:?}");

        let mut bench = bench.restart();
        bench.check();
        let again = bench.recall_as(&query, 10, Effort::Usual);
        assert_eq!(ids(&again), ids(&hits));
        bench.store("new");
        bench.forget("e18");
        let mut bench = bench.restart();
        bench.check();
        bench.consolidate(|_, _| {});
        bench.check();
        assert_eq!(bench.shard.consolidation().0.files, 1);
    }
}

#[test]
fn an_acknowledged_episode_is_found_at_once_while_others_are_consolidated() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..1500).for_each(|nth| bench.store(&format!("e{nth}")));
    let mut stored = 0;
    bench.consolidate(|bench, unit| {
        if unit.is_multiple_of(3) {
            let id = format!("n{stored}");
            bench.store(&id);
            let vector = bench.model[&id].clone();
            let hits = bench.recall_as(&vector, 1, Effort::Usual);
            assert_eq!(ids(&hits), [id]);
            stored += 1;
        }
        if unit.is_multiple_of(7) {
            bench.forget(&format!("e{}", unit % 1500));
        }
        if unit.is_multiple_of(11) {
            let id = format!("e{}", (unit * 31) % 1500);
            bench.store(&id);
        }
    });
    assert!(stored > 50, "{stored}");
    bench.check();
    let mut bench = bench.restart();
    bench.check();
    let recall = bench.recall_at_ten(50);
    assert!(recall >= 0.95, "{recall}");
}

/// Begins a consolidation that gets no memory, and works until it waits for that.
fn consolidate_without_memory(bench: &mut Bench) {
    bench.shard.io_mut().hold_memory(true);
    let ticket = bench.ticket();
    bench.shard.consolidate(ticket, true).unwrap();
    let waits = |bench: &mut Bench| {
        let advanced = bench.shard.advance(false, &mut Vec::new());
        bench.answers();
        advanced == Advanced::Waits && bench.shard.consolidation().0.stage == Some("sections")
    };
    assert!((0..1_000_000).any(|_| waits(bench)), "it never waits");
    // Nothing else is under way, so it goes on waiting.
    assert!((0..100).all(|_| waits(bench)));
}

#[test]
fn a_consolidation_waits_for_the_memory_that_it_builds_with() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..3000).for_each(|nth| bench.store(&format!("e{nth}")));
    consolidate_without_memory(&mut bench);
    // Everybody else does not wait.
    (0..3000).for_each(|nth| bench.store(&format!("n{nth}")));
    bench.forget("e7");
    bench.check();
    bench.shard.io_mut().hold_memory(false);
    bench.settle(false);
    assert_eq!(bench.shard.consolidation().0.published, 1);
    bench.check();
    let recall = bench.recall_at_ten(50);
    assert!(recall >= 0.95, "{recall}");
    bench.restart().check();
}

#[test]
fn memory_that_comes_late_is_nobody_s() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..3000).for_each(|nth| bench.store(&format!("e{nth}")));
    consolidate_without_memory(&mut bench);
    // Given up: its space is gone, and with it what was asked for.
    let ticket = bench.ticket();
    bench.shard.drop_space(ticket, bench.space, 0).unwrap();
    bench.settle(false);
    assert_eq!(bench.shard.consolidation().0.failed, 1);
    assert_eq!(bench.shard.stats().memory_bytes, 0, "all is given back");
    bench.space = bench.create("s", Metric::Cosine, CodeBits::One);
    bench.model.clear();
    (0..3000).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.shard.io_mut().hold_memory(false);
    bench.consolidate(|_, _| {});
    bench.check();
    // Nor is it, when the whole shard goes first.
    (0..3000).for_each(|nth| bench.store(&format!("f{nth}")));
    consolidate_without_memory(&mut bench);
    bench.restart().check();
}

#[test]
fn conditions_never_cost_a_result() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..6000).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    (0..700).for_each(|nth| bench.store(&format!("t{nth}")));
    let last = bench.tickets as i64;
    for share in [1, 2, 5, 20, 100, 1000, 4000] {
        let conditions =
            Conditions { since_us: Some(last - last / share), ..Conditions::default() };
        let query = bench.vector();
        let exact = bench.recall_with(&query, 20, Effort::Exact, conditions.clone());
        let usual = bench.recall_with(&query, 20, Effort::Usual, conditions);
        assert_eq!(usual.len(), exact.len(), "one in {share}");
        let exact = ids(&exact);
        let missed = ids(&usual).iter().filter(|id| !exact.contains(id)).count();
        assert!(missed <= 3, "one in {share}: {missed} of {}", usual.len());
    }
}

#[test]
fn codes_of_any_width_are_found_by_and_stay_what_they_are() {
    let mut compared = Vec::new();
    // Around a centre these points lie in all directions alike, as real ones do not.
    for (codes, least) in CodeBits::ALL.into_iter().zip([0.7, 0.8, 0.95]) {
        let mut bench = Bench::with_codes(Metric::Cosine, codes);
        (0..6000).for_each(|nth| bench.store(&format!("e{nth}")));
        while bench.work().1 {}
        let recall = bench.recall_at_ten(100);
        assert!(recall >= least, "{codes:?}: {recall}");
        let query = bench.vector();
        let why = bench.recall_as(&query, 10, Effort::Usual)[0].why.unwrap();
        assert_eq!(why.tier, Tier::Codes);
        compared.push(why.rows_compared);

        bench.consolidate(|_, _| {});
        let mut bench = bench.restart();
        assert_eq!(bench.shard.space_named("s").unwrap().1.codes, codes);
        bench.check();
        let last = bench.tickets as i64;
        let conditions =
            Conditions { since_us: Some(last - 1000), until_us: None, ..Conditions::default() };
        let exact = bench.recall_with(&query, 10, Effort::Exact, conditions.clone());
        let usual = bench.recall_with(&query, 10, Effort::Usual, conditions);
        let missed = ids(&usual).iter().filter(|id| !ids(&exact).contains(id)).count();
        assert!(usual.len() == 10 && missed <= 1, "{codes:?}: {missed}");
        // What was consolidated with these codes is consolidated again.
        (0..100).for_each(|nth| bench.store(&format!("e{nth}")));
        bench.consolidate(|_, _| {});
        bench.check();
    }
    assert!(compared.is_sorted_by(|wide, narrow| wide > narrow), "{compared:?}");
}

#[test]
fn the_log_is_let_go_and_old_files_are_gone() {
    let mut bench = Bench::new(Metric::Cosine);
    for round in 0..3 {
        // More than two segments.
        (0..24_000).for_each(|nth| bench.store(&format!("e{}", nth % 2000)));
        bench.consolidate(|_, _| {});
        let mut io = bench.disk.io();
        let segments = io.segments().unwrap();
        assert!(segments.len() <= 2, "{segments:?}");
        let kinds: Vec<_> = io.files().unwrap().into_iter().map(|(file, _)| file.kind).collect();
        assert_eq!(kinds, [FileKind::Columns, FileKind::State], "round {round}");
    }
    let mut bench = bench.restart();
    bench.check();
}

#[test]
fn large_episodes_are_consolidated_by_what_they_hold_in_memory() {
    let settings = ShardSettings { memory_bytes_max: 24 << 20, ..settings() };
    let mut bench = Bench::with(settings, Metric::Cosine);
    let text = "x".repeat(1 << 20);
    let mut refusals = 0;
    for nth in 0..100 {
        let (id, vector) = (format!("e{nth}"), bench.vector());
        while let [(_, Err(refusal))] = &bench.try_store(&id, &vector, text.clone())[..] {
            assert!(matches!(refusal, Refusal::Busy { .. }), "{refusal}");
            refusals += 1;
            assert!(refusals < 1_000_000, "{nth} are stored: {:?}", bench.shard.consolidation());
            bench.work();
        }
        bench.model.insert(id, vector);
    }
    bench.settle(false);
    let (stats, in_tails) = (bench.shard.consolidation().0, bench.shard.stats().memory_bytes);
    assert!(stats.published >= 5 && in_tails <= 12 << 20, "{stats:?} {in_tails}");
    bench.check();
    // What is left in the tail is less than half: nothing begins again for its sake.
    bench.settle(false);
    assert_eq!(bench.shard.consolidation().0, stats);
    bench.restart().check();
}

#[test]
fn stores_that_outrun_a_consolidation_are_taken_all_the_time_that_it_takes() {
    let settings = ShardSettings { memory_bytes_max: 64 << 20, ..settings() };
    let mut bench = Bench::with(settings, Metric::Cosine);
    let (vector, text) = (bench.vector(), "x".repeat(16 << 10));
    let mut stored = 0;
    // By consolidation: how many were stored before each unit of its work.
    let mut taken: Vec<Vec<usize>> = vec![Vec::new()];
    while taken.len() <= 2 {
        let before = stored;
        while stored < before + 8 {
            let answers = bench.try_store(&format!("e{stored}"), &vector, text.clone());
            if let [(_, Err(refusal))] = &answers[..] {
                assert!(matches!(refusal, Refusal::Busy { .. }), "{refusal}");
                let pressure = bench.shard.stats().pressure;
                assert!(pressure >= DEGRADED_FROM, "refused without a warning: {pressure}");
                break;
            }
            stored += 1;
        }
        bench.work();
        let stats = bench.shard.consolidation().0;
        if stats.stage.is_some() {
            taken.last_mut().unwrap().push(stored - before);
        }
        if stats.published == taken.len() as u64 {
            taken.push(Vec::new());
        }
    }
    // Of the first nothing was known. Memory is taken in chunks of 2 MiB.
    let parts: Vec<usize> =
        taken[1].chunks(taken[1].len() / 4).map(|part| part.iter().sum()).collect();
    let all: usize = parts.iter().sum();
    assert!(parts[..4].iter().all(|part| part * 10 > all), "{parts:?}");
}

#[test]
fn memory_that_no_tail_holds_does_not_consolidate_for_ever() {
    // A space with anything in its tail takes two chunks, which is all there are.
    let settings = ShardSettings { memory_bytes_max: 4 << 20, ..settings() };
    let mut bench = Bench::with(settings, Metric::Cosine);
    bench.settle(true);
    assert_eq!(bench.shard.consolidation().0.published, 0);
    bench.store("e");
    bench.settle(true);
    bench.settle(true);
    assert_eq!(bench.shard.consolidation().0.published, 1);
    assert_eq!(bench.shard.stats().memory_bytes, 0);
    bench.check();
}

#[test]
fn a_long_log_is_let_go_though_no_row_is_new() {
    let mut settings = settings();
    settings.consolidation.log_bytes_forced = 2 * SEGMENT_BYTES_MIN;
    let mut bench = Bench::with(settings, Metric::Cosine);
    bench.store("e");
    bench.settle(true);
    let mut frames = 0;
    while bench.shard.stats().log_segment < 5 {
        bench.forget("nobody");
        bench.work();
        frames += 1;
    }
    bench.settle(false);
    let (stats, _) = bench.shard.consolidation();
    assert!(stats.through_sequence > frames / 2, "{stats:?} of {frames}");
    let segments = bench.disk.io().segments().unwrap();
    assert!(segments.len() <= 3 && segments[0].0 >= 3, "{segments:?}");
    bench.settle(true);
    assert_eq!(bench.shard.consolidation().0, stats);
    bench.restart().check();
}

#[test]
fn asking_lets_the_log_go_though_no_row_is_new() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..50).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let before = bench.shard.consolidation().0;
    // More than a segment.
    while bench.shard.stats().log_segment < 3 {
        (0..100).for_each(|_| bench.forget("nobody"));
    }
    let other = bench.create("other", Metric::L2, CodeBits::One);
    let ticket = bench.ticket();
    bench.shard.drop_space(ticket, other, 0).unwrap();
    bench.answers();
    bench.consolidate(|_, _| {});
    let after = bench.shard.consolidation().0;
    assert_eq!(after.through_sequence, bench.shard.stats().applied);
    assert_eq!(bench.disk.io().segments().unwrap()[0].0, bench.shard.stats().log_segment);
    assert_eq!((after.rows_written, after.files), (before.rows_written, 1), "no row is copied");
    // With nothing new there is nothing to do.
    bench.consolidate(|_, _| {});
    assert_eq!(bench.shard.consolidation().0, after);
    let mut bench = bench.restart();
    bench.check();
    assert!(bench.create("third", Metric::Dot, CodeBits::One) > other);
}

#[test]
fn what_is_erased_leaves_the_columns_too() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..1200).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let ticket = bench.ticket();
    bench.shard.erase(ticket, bench.space, &Bytes::from("e77"), 0).unwrap();
    bench.model.remove("e77");
    let mut answered = bench.answers();
    for _ in 0..1_000_000 {
        if !answered.is_empty() {
            break;
        }
        answered = bench.work().0;
    }
    match &answered[..] {
        [(_, Ok(Reply::Erased { existed: true, .. }))] => {}
        other => panic!("{other:?}"),
    }
    let mut io = bench.disk.io();
    for (file, _) in io.files().unwrap() {
        let mapped = io.map_file(file).unwrap();
        let text = b"text of e77{";
        assert!(!mapped.windows(text.len()).any(|window| window == text), "{file}");
        assert!(
            mapped.windows(12).any(|window| window == b"text of e770")
                || file.kind == FileKind::State
        );
    }
    bench.check();
    let mut bench = bench.restart();
    bench.check();
}

#[test]
fn a_latched_log_ends_the_wait_for_a_consolidation() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..10).for_each(|nth| bench.store(&format!("e{nth}")));
    let ticket = bench.ticket();
    bench.shard.consolidate(ticket, true).unwrap();
    bench.disk.fail_next(WriteFault::Manifest);
    let answered = (0..1_000_000).map(|_| bench.work().0).find(|answers| !answers.is_empty());
    match &answered.unwrap()[..] {
        [(got, Err(Refusal::ReadOnly(reason)))] => {
            assert_eq!(*got, ticket);
            assert!(reason.contains("manifest"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.shard.consolidate(ticket, true).is_err());
    bench.restart().check();
}

#[test]
fn spaces_come_and_go_between_and_during_consolidations() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..1100).for_each(|nth| bench.store(&format!("e{nth}")));
    let other = bench.create("other", Metric::L2, CodeBits::Four);
    let own = std::mem::replace(&mut bench.space, other);
    let vector = bench.vector();
    (0..1100).for_each(|nth| bench.store_vector(&format!("o{nth}"), &vector));
    bench.space = own;
    bench.consolidate(|bench, unit| {
        if unit == 40 {
            let ticket = bench.ticket();
            bench.shard.drop_space(ticket, other, 0).unwrap();
            assert!(matches!(&bench.answers()[..], [(_, Ok(Reply::SpaceDropped))]));
        }
    });
    bench.check();
    let mut bench = bench.restart();
    bench.check();
    assert!(bench.shard.space_named("other").is_err());
    let third = bench.create("third", Metric::Dot, CodeBits::Two);
    assert!(third > other);
    bench.consolidate(|_, _| {});
    let mut bench = bench.restart();
    bench.check();
    assert_eq!(bench.shard.space_named("third").unwrap().0, third);
    assert_eq!(bench.shard.consolidation().0.rows, 1100);
}

#[test]
fn a_large_tail_is_searched_by_its_buckets() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let mut bench = Bench::new(metric);
        (0..20_000).for_each(|nth| bench.store(&format!("e{nth}")));
        while bench.work().1 {}
        (0..500).for_each(|nth| bench.store(&format!("late{nth}")));
        (0..500).for_each(|nth| bench.forget(&format!("e{}", nth * 7)));
        let recall = bench.recall_at_ten(100);
        // Around a centre these points lie in all directions alike, as real ones do not.
        assert!(recall >= 0.9, "{metric:?}: {recall}");
        let query = bench.vector();
        let why = bench.recall_as(&query, 10, Effort::Usual)[0].why.unwrap();
        assert_eq!(why.tier, Tier::Codes);
        assert!(why.rows_estimated < 19_000 && why.rows_compared < 2000, "{why:?}");
        for nth in 0..500 {
            let id = format!("late{nth}");
            let vector = bench.model[&id].clone();
            if metric != Metric::Dot {
                assert_eq!(ids(&bench.recall_as(&vector, 1, Effort::Usual)), [id]);
            }
        }
        // A frozen tail keeps its buckets while its rows are consolidated.
        bench.consolidate(|bench, unit| {
            if unit.is_multiple_of(2000) {
                bench.recall_at_ten(1);
            }
        });
        bench.check();
    }
}

#[test]
fn the_beam_is_what_the_section_was_measured_to_need() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
        let mut bench = Bench::new(metric);
        (0..12_000).for_each(|nth| bench.store(&format!("e{nth}")));
        bench.consolidate(|_, _| {});
        let query = bench.vector();
        let beams = |bench: &mut Bench| {
            [0.5, 0.9, 0.98].map(|target| {
                let why = bench.recall_as(&query, 10, Effort::Target(target))[0].why.unwrap();
                assert_eq!(why.tier, Tier::Graph);
                why.beam
            })
        };
        let measured = beams(&mut bench);
        assert!(measured.is_sorted() && measured[0] < measured[2], "{metric:?}: {measured:?}");
        let recall = bench.recall_at_ten(100);
        assert!(recall >= 0.96, "{metric:?}: {recall}");
        let mut bench = bench.restart();
        assert_eq!(beams(&mut bench), measured);
        // It stays with a section that the next consolidation does not touch.
        (0..50).for_each(|nth| bench.store(&format!("late{nth}")));
        bench.consolidate_new();
        assert_eq!(beams(&mut bench), measured);
        assert_eq!(beams(&mut bench.restart()), measured);
    }
}

#[test]
fn questions_unlike_the_episodes_widen_the_beam() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..12_000).for_each(|nth| bench.store(&format!("e{nth}")));
    bench.consolidate(|_, _| {});
    let between = |bench: &mut Bench| {
        let (one, other) = (bench.vector(), bench.vector());
        one.iter().zip(&other).map(|(one, other)| one + other).collect::<Vec<_>>()
    };
    let questions: Vec<_> = (0..64).map(|_| between(&mut bench)).collect();
    let beam = |bench: &mut Bench| {
        let hits = bench.recall_as(&questions[0], 10, Effort::Target(0.98));
        hits[0].why.unwrap().beam
    };
    let of_rows = beam(&mut bench);
    questions.iter().for_each(|question| drop(bench.recall_as(question, 10, Effort::Usual)));
    assert_eq!(beam(&mut bench), of_rows, "nothing is measured while there is other work");
    while bench.shard.advance(true, &mut Vec::new()) != Advanced::Idle {}
    let of_questions = beam(&mut bench);
    assert!(of_questions > of_rows, "{of_questions} {of_rows}");
    let found = [of_rows, of_questions].map(|beam| {
        let found = questions.iter().map(|question| {
            let exact = ids(&bench.recall_as(question, 10, Effort::Exact));
            let hits = ids(&bench.recall_as(question, 10, Effort::Beam(beam)));
            hits.iter().filter(|id| exact.contains(id)).count()
        });
        found.sum::<usize>()
    });
    assert!(found[1] > found[0], "{found:?} of 640, with {of_rows}, {of_questions}");
}

#[test]
fn a_tail_of_which_little_lives_answers_with_all_of_it() {
    let mut bench = Bench::new(Metric::Cosine);
    (0..20_000).for_each(|nth| bench.store(&format!("e{nth}")));
    while bench.work().1 {}
    (0..20_000).filter(|nth| nth % 1000 != 7).for_each(|nth| bench.forget(&format!("e{nth}")));
    let query = bench.vector();
    for k in [1, 10, 20, 50] {
        let hits = bench.recall_as(&query, k, Effort::Usual);
        assert_eq!(hits.len(), k.min(20));
        if k >= 20 {
            assert_eq!(ids(&hits), ids(&bench.recall_as(&query, k, Effort::Exact)));
        }
    }
}
