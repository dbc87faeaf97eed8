//! What a command costs before a shard sees it, and what a metadata filter costs per row.
//!
//! `cargo bench -p engram-perf --bench parse`

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engram_shards::filter::Filter;
use engramd::protocol::{Command, Parser, ParserLimits};
use serde_json::{Value, json};

/// Commands in one buffer, as a pipelining client sends them.
const STORES: usize = 64;

fn frame(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn stores(criterion: &mut Criterion) {
    let vector = vec![0x3e_u8; 768 * 4];
    let store =
        frame(&[b"EG.STORE", b"notes", b"episode-000001", b"VEC", &vector, b"TEXT", &[b't'; 200]]);
    let pipeline = store.repeat(STORES);
    let mut group = criterion.benchmark_group("64 pipelined stores, 768-d, 200 bytes of text");
    group.throughput(Throughput::Elements(STORES as u64));
    let buffer = || BytesMut::from(&pipeline[..]);
    group.bench_function("frame", |bencher| {
        let parse = |mut buffer| {
            let mut parser = Parser::new(ParserLimits::DEFAULT);
            while let Some(arguments) = parser.next(&mut buffer).expect("valid") {
                black_box(arguments);
            }
        };
        bencher.iter_batched(buffer, parse, BatchSize::SmallInput);
    });
    group.bench_function("frame and command", |bencher| {
        let parse = |mut buffer| {
            let mut parser = Parser::new(ParserLimits::DEFAULT);
            while let Some(arguments) = parser.next(&mut buffer).expect("valid") {
                black_box(Command::parse(arguments).expect("valid"));
            }
        };
        bencher.iter_batched(buffer, parse, BatchSize::SmallInput);
    });
    group.finish();
}

/// A command that arrives in pieces is not looked at again from its start.
fn pieces(criterion: &mut Criterion) {
    let argument = vec![b'x'; 3072];
    let command = frame(&vec![&argument[..]; 2_000]);
    let mut group = criterion.benchmark_group("one command of 6 MB");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(command.len() as u64));
    for piece_bytes in [command.len(), 64 << 10, 4 << 10] {
        group.bench_function(format!("in pieces of {piece_bytes} bytes"), |bencher| {
            let parse = |mut buffer: BytesMut| {
                let mut parser = Parser::new(ParserLimits::DEFAULT);
                for piece in command.chunks(piece_bytes) {
                    buffer.extend_from_slice(piece);
                    black_box(parser.next(&mut buffer).expect("valid"));
                }
            };
            let room = || BytesMut::with_capacity(command.len());
            bencher.iter_batched(room, parse, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn filters(criterion: &mut Criterion) {
    let filter = json!({"lang": "en", "year": {"$gte": 2020}, "tags": "memory"}).to_string();
    let filter = Filter::parse(filter.as_bytes()).expect("valid");
    let metadata = json!({
        "source": "conversation", "lang": "en", "year": 2021, "score": 0.25,
        "author": {"name": "Ada", "team": "research"}, "tags": ["durable", "memory"],
    })
    .to_string();
    let mut group = criterion.benchmark_group("three comparisons in 132 bytes of metadata");
    group.bench_function("filter", |bencher| {
        bencher.iter(|| filter.matches(black_box(metadata.as_bytes())));
    });
    group.bench_function("building the document, for comparison", |bencher| {
        bencher.iter(|| serde_json::from_str::<Value>(black_box(&metadata)));
    });
    group.finish();
}

criterion_group!(benches, stores, pieces, filters);
criterion_main!(benches);
