//! What the memory of a push costs, from the pool and from the general allocator.

use std::hint::black_box;
use std::time::Instant;

use engram_shards::spread::csr::Csr;
use engram_shards::spread::csr::Head;
use engram_shards::spread::operator::{Operator, Settings};
use engram_shards::spread::push::Push;
use engram_shards::spread::state::Packed;
use engram_shards::spread::workspace::{Pool, PoolCounters};
use serde::Serialize;

use crate::graphs::Links;
use crate::random::Random;

/// Nodes that a push touches: about as many as with 4,096 edges.
const TOUCHED: usize = 2000;
const ROUNDS: usize = 5;

/// Taking memory for a push and giving it back.
#[derive(Debug, Serialize)]
pub struct PoolPoint {
    pub nodes: u32,
    /// With nothing touched.
    pub pool_ns: f64,
    pub allocator_ns: f64,
    /// For each of 2,000 nodes that mass is put on, all else included.
    pub pool_ns_per_record: f64,
    /// The same nodes written to in states from the allocator, and nothing else.
    pub allocator_ns_per_record: f64,
    /// An allocation of 64 bytes for each of them.
    pub boxes_ns_per_record: f64,
}

/// The fastest round, for each of so many.
fn fastest_ns(count: usize, mut round: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        round();
        began.elapsed().as_secs_f64() * 1e9 / count as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

pub fn measure(nodes: u32) -> PoolPoint {
    let mut random = Random::default();
    let at: Vec<usize> =
        (0..TOUCHED).map(|_| (random.next_u64() % u64::from(nodes)) as usize).collect();
    let mut pool: Pool<Packed> = Pool::new(1 << 30);
    let heads = vec![Head::default(); nodes as usize];
    let mut graph = Csr { heads: &heads, edges: &[] };
    let operator = Operator::new(Settings::default()).expect("the default is in its bounds");
    let (many, some) = (1_000_000, 200);
    let pool_ns = fastest_ns(many, || {
        for _ in 0..many {
            let workspace = black_box(pool.acquire(nodes).expect("the pool is large"));
            pool.release(workspace);
        }
    });
    let pool_ns_per_record = fastest_ns(some * TOUCHED, || {
        for _ in 0..some {
            let mut push = Push::new(operator, 0, pool.acquire(nodes).expect("the pool is large"));
            for &node in &at {
                push.receive(&graph, node as u32, 1.0).expect("the node is there");
            }
            pool.release(push.finish(&mut graph).into_workspace());
        }
    });
    let allocate = |times: usize, touched: &[usize]| {
        for _ in 0..times {
            let mut states = black_box(vec![0_u64; nodes as usize]);
            touched.iter().for_each(|at| states[*at] = 1);
            black_box(states);
        }
    };
    let boxes = || {
        for _ in 0..some {
            let records: Vec<Box<[u64; 8]>> =
                at.iter().map(|at| Box::new([*at as u64; 8])).collect();
            black_box(records);
        }
    };
    PoolPoint {
        nodes,
        pool_ns,
        allocator_ns: fastest_ns(some, || allocate(some, &[])),
        pool_ns_per_record,
        allocator_ns_per_record: fastest_ns(some * TOUCHED, || allocate(some, &at)),
        boxes_ns_per_record: fastest_ns(some * TOUCHED, boxes),
    }
}

/// Very many pushes from one pool.
#[derive(Debug, Serialize)]
pub struct Endurance {
    pub spreads: u64,
    pub bytes_after_a_tenth: usize,
    pub bytes_at_the_end: usize,
    pub bytes_high_water: usize,
    pub hits: u64,
    pub misses: u64,
    pub dropped: u64,
    /// Workspaces that were let go because the bound was lowered.
    pub pressures: u64,
}

/// Spreads so many times, two at once, from one seed each and a few edges far. A thousand times in
/// between the bound is lowered as under pressure, and raised again.
pub fn endure(links: &Links, spreads: u64) -> Endurance {
    let bytes_max = 1 << 26;
    let mut pool: Pool<Packed> = Pool::new(bytes_max);
    let operator = Operator::new(Settings::default()).expect("the default is in its bounds");
    let mut graph = links.graph();
    let mut random = Random::default();
    let (mut bytes_after_a_tenth, mut pressures) = (0, 0);
    let mut begin = |pool: &mut Pool<Packed>| {
        let workspace = pool.acquire(links.nodes()).expect("the pool holds two");
        let mut push = Push::new(operator, 16, workspace);
        let seed = (random.next_u64() % u64::from(links.nodes())) as u32;
        push.receive(&graph, seed, 1.0).expect("the seed is a node");
        push.run(&mut graph);
        push.finish(&mut graph).into_workspace()
    };
    for nth in 0..spreads / 2 {
        let both = [begin(&mut pool), begin(&mut pool)];
        both.into_iter().for_each(|workspace| pool.release(workspace));
        if nth % (spreads / 2000).max(1) == 0 {
            pool.set_bytes_max(0);
            pool.set_bytes_max(bytes_max);
            pressures += 1;
        }
        if nth == spreads / 20 {
            bytes_after_a_tenth = pool.bytes_high_water();
        }
    }
    let PoolCounters { hits, misses, dropped, .. } = pool.counters();
    Endurance {
        spreads: spreads / 2 * 2,
        bytes_after_a_tenth,
        bytes_at_the_end: pool.bytes(),
        bytes_high_water: pool.bytes_high_water(),
        hits,
        misses,
        dropped,
        pressures,
    }
}
