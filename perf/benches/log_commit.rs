//! Durable records: the raw ring, the engine's log, and the log without group commit.
//!
//! One iteration is one record, so the throughput is records per second. Each sample keeps a closed
//! loop of writers going for a fixed time and is scaled to the records that were asked for; the
//! records per flush are printed beside the times.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use engram_perf::commit::{CommitLoad, CommitProbe, reference_loads};
use engram_perf::engine_log::{EngineLog, GroupCommit};

/// Long enough for hundreds of flushes.
const SAMPLE: Duration = Duration::from_millis(100);

fn scaled(records: u64, records_per_s: f64) -> Duration {
    Duration::from_secs_f64(records as f64 / records_per_s)
}

fn raw(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, load: CommitLoad) {
    let mut probe = CommitProbe::new(&std::env::temp_dir()).expect("a disk for the probe");
    group.bench_function(format!("raw-ring/{name}"), |bencher| {
        bencher.iter_custom(|records| {
            let figures = probe.run(load, SAMPLE).expect("the disk takes commits");
            scaled(records, figures.records_per_s)
        });
    });
}

fn engine(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    load: CommitLoad,
    group_commit: GroupCommit,
) {
    let dir = std::env::temp_dir();
    let mut log = EngineLog::new(&dir, load, group_commit).expect("a disk for the log");
    let mut records_per_flush = None;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|records| {
            let figures = log.run(SAMPLE).expect("the disk takes commits");
            log.trim().expect("full segments can be removed");
            records_per_flush = Some(figures.records_per_flush);
            scaled(records, figures.records_per_s)
        });
    });
    if let Some(records) = records_per_flush {
        println!("{name}: {records:.1} records per flush");
    }
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log-commit");
    group.sample_size(10).warm_up_time(SAMPLE).measurement_time(SAMPLE * 10);
    group.throughput(Throughput::Elements(1));
    for load in reference_loads() {
        let name =
            format!("{}-records-{}-in-flight", load.records_per_commit, load.commits_in_flight);
        raw(&mut group, &name, load);
        engine(&mut group, &format!("engine/{name}"), load, GroupCommit::On);
        let alone = format!("engine-without-group-commit/{name}");
        engine(&mut group, &alone, load, GroupCommit::Off);
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
