//! Placement of shards on machines that do not exist: each test names the machine and the seats it
//! expects.
#![cfg(feature = "numa")]

use engramd::topology::{
    Binding, CacheLevel, Node, Origin, Placement, Topology, TopologyError, Unbound, place,
};

/// Two memory nodes with four cores each, no caches named, one hardware thread per core.
const TWO_NODES: &str = "numa:2 core:4 pu:1";
/// Two sockets; in each one memory node, two L3 caches with four cores each, two hardware threads
/// per core. Processors 2c and 2c + 1 are the threads of core c.
const TWO_SOCKETS: &str = "pack:2 [numa(memory=64GB)] l3:2(size=32MB) l2:4(size=1MB) \
                           l1d:1(size=32KB) core:1 pu:2";

fn machine(description: &str) -> Topology {
    Topology::synthetic(description).expect("hwloc accepts the description")
}

/// (processor, node) of each shard.
fn seats(placement: &Placement) -> Vec<(usize, usize)> {
    placement.seats.iter().map(|seat| (seat.cpu, seat.node)).collect()
}

#[test]
fn the_description_is_read_completely() {
    let topology = machine(TWO_SOCKETS);
    let node = |index| Node { index, memory_bytes: 64_000_000_000 };
    assert_eq!(topology.nodes(), [node(0), node(1)]);
    assert_eq!(topology.cores().len(), 16);
    assert_eq!(topology.cores()[9].cpus, [18, 19]);
    assert_eq!(topology.cores()[9].node, 1);
    assert_eq!(topology.cpus(), (0..32).collect::<Vec<_>>());
    assert_eq!(*topology.origin(), Origin::Synthetic(TWO_SOCKETS.to_owned()));
    for (level, size_bytes, cpus) in [
        (CacheLevel::L3, 32_000_000, (16..24).collect::<Vec<_>>()),
        (CacheLevel::L2, 1_000_000, vec![18, 19]),
        (CacheLevel::L1d, 32_000, vec![18, 19]),
    ] {
        let cache = topology.cache_of(18, level).unwrap();
        assert_eq!((cache.size_bytes, &cache.cpus), (size_bytes, &cpus));
    }
}

#[test]
fn shards_alternate_between_the_nodes() {
    let placement = place(&machine(TWO_NODES), 4);
    assert_eq!(seats(&placement), [(0, 0), (4, 1), (1, 0), (5, 1)]);
    assert_eq!(placement.spare_cpus, [2, 3, 6, 7]);
    assert_eq!(placement.sharing(), None);
}

#[test]
fn an_odd_number_of_shards_differs_by_one_between_the_nodes() {
    let placement = place(&machine(TWO_NODES), 5);
    assert_eq!(seats(&placement), [(0, 0), (4, 1), (1, 0), (5, 1), (2, 0)]);
    assert_eq!(placement.spare_cpus, [3, 6, 7]);
}

#[test]
fn few_shards_get_an_l3_cache_each() {
    let placement = place(&machine(TWO_SOCKETS), 4);
    assert_eq!(seats(&placement), [(0, 0), (16, 1), (8, 0), (24, 1)]);
}

#[test]
fn every_first_hardware_thread_comes_before_a_second_one() {
    let topology = machine(TWO_SOCKETS);
    let placement = place(&topology, 16);
    let first_threads: Vec<usize> = placement.seats.iter().map(|seat| seat.cpu).collect();
    assert_eq!(first_threads, [0, 16, 8, 24, 2, 18, 10, 26, 4, 20, 12, 28, 6, 22, 14, 30]);
    assert_eq!(placement.sharing(), None);
    assert!(placement.spare_cpus.is_empty(), "a second thread of a busy core is not spare");

    let crowded = place(&topology, 18);
    assert_eq!(seats(&crowded)[16..], [(1, 0), (17, 1)]);
    assert_eq!(
        crowded.sharing().as_deref(),
        Some("18 shards on 16 allowed cores: up to 2 shards share a core and slow each other down")
    );
}

#[test]
fn with_more_shards_than_processors_the_seats_are_dealt_again() {
    let placement = place(&machine(TWO_NODES), 19);
    let order = [(0, 0), (4, 1), (1, 0), (5, 1), (2, 0), (6, 1), (3, 0), (7, 1)];
    let expected: Vec<_> = order.iter().cycle().take(19).copied().collect();
    assert_eq!(seats(&placement), expected);
    assert_eq!(placement.shards_per_core_max(), 3);
    assert!(placement.sharing().unwrap().starts_with("19 shards on 8 allowed cores: up to 3"));
}

#[test]
fn one_node_fills_core_by_core() {
    let placement = place(&machine("core:4 pu:2"), 3);
    assert_eq!(seats(&placement), [(0, 0), (2, 0), (4, 0)]);
    assert_eq!(placement.spare_cpus, [6, 7]);
    let one_core = place(&machine("core:1 pu:1"), 2);
    assert_eq!(seats(&one_core), [(0, 0), (0, 0)]);
    assert!(one_core.sharing().unwrap().contains("2 shards on 1 allowed core:"));
}

#[test]
fn processors_outside_the_affinity_do_not_exist() {
    // One whole core and a second hardware thread on node 0, three cores on node 1.
    let allowed = [0, 1, 5, 16, 17, 18, 24];
    let topology = machine(TWO_SOCKETS).restricted_to(&allowed).unwrap();
    assert_eq!(topology.cpus(), allowed);
    let placement = place(&topology, 5);
    assert_eq!(seats(&placement), [(0, 0), (16, 1), (5, 0), (24, 1), (18, 1)]);
    assert_eq!(placement.sharing(), None);
    assert_eq!(seats(&place(&topology, 7))[5..], [(1, 0), (17, 1)]);
    assert_eq!(topology.cache_of(16, CacheLevel::L3).unwrap().cpus, [16, 17, 18]);
}

#[test]
fn a_node_without_an_allowed_core_gets_no_shard() {
    let topology = machine(TWO_NODES).restricted_to(&[5, 6]).unwrap();
    let placement = place(&topology, 3);
    assert_eq!(seats(&placement), [(5, 1), (6, 1), (5, 1)]);
    assert_eq!(topology.nodes().len(), 2, "its memory is still there");
    assert!(topology.map(&placement).to_string().contains("no allowed core"));
}

#[test]
fn an_affinity_that_leaves_nothing_is_an_error() {
    let error = machine(TWO_NODES).restricted_to(&[64]).unwrap_err();
    assert!(matches!(&error, TopologyError::NoProcessor { allowed } if *allowed == [64]));
    assert!(error.to_string().contains("AllowedCPUs="), "{error}");
}

#[test]
fn a_description_that_hwloc_cannot_read_is_an_error() {
    let error = Topology::synthetic("two of everything").unwrap_err();
    assert!(matches!(error, TopologyError::Hwloc { .. }), "{error}");
}

#[test]
fn memory_of_a_synthetic_machine_is_not_bound_and_says_so() {
    let topology = machine(TWO_NODES);
    let mut region = vec![0; 8192];
    let binding = topology.bind_memory(&mut region, 1).unwrap();
    assert_eq!(binding, Binding::Unbound(Unbound::Synthetic));
    assert_eq!(binding.to_string(), "not bound: the topology is synthetic");
    let error = topology.bind_memory(&mut region, 2).unwrap_err().to_string();
    assert_eq!(error, "there is no memory node 2; the machine has the nodes [0, 1]");
}

#[test]
fn this_machine_has_a_seat_for_a_shard_and_takes_its_memory() {
    let topology = Topology::of_this_machine().unwrap();
    let placement = place(&topology, 1);
    let seat = placement.seats[0];
    assert!(topology.cpus().contains(&seat.cpu));
    let mut region = vec![0; 1 << 20];
    match (topology.bind_memory(&mut region, seat.node), topology.nodes().len()) {
        (binding, 1) => assert_eq!(binding.unwrap(), Binding::Unbound(Unbound::OneNode)),
        (Ok(binding), _) => assert_eq!(binding, Binding::Bound { node: seat.node }),
        // Container runtimes filter the call; then the error has to name it.
        (Err(error), _) => assert!(error.to_string().contains("mbind"), "{error}"),
    }
}

#[test]
fn the_map_shows_each_core_with_its_caches_and_shards() {
    let topology = machine(
        "pack:2 [numa(memory=64GiB)] l3:1(size=32MiB) l2:2(size=1MiB) l1d:1(size=32KiB) core:1 \
         pu:2",
    );
    let map = topology.map(&place(&topology, 5)).to_string();
    let expected = "\
2 memory nodes, 4 allowed cores, 8 hardware threads; synthetic \"pack:2 [numa(memory=64GiB)] \
                    l3:1(size=32MiB) l2:2(size=1MiB) l1d:1(size=32KiB) core:1 pu:2\"
5 shards on 4 allowed cores: up to 2 shards share a core and slow each other down

node 0   64 GiB   2 cores
  L3 32 MiB for 2 cores
    core 0   cpu 0,1   L2 1 MiB   L1d 32 KiB   shard 0 on cpu 0, shard 4 on cpu 1
    core 1   cpu 2,3   L2 1 MiB   L1d 32 KiB   shard 2 on cpu 2

node 1   64 GiB   2 cores
  L3 32 MiB for 2 cores
    core 2   cpu 4,5   L2 1 MiB   L1d 32 KiB   shard 1 on cpu 4
    core 3   cpu 6,7   L2 1 MiB   L1d 32 KiB   shard 3 on cpu 6
";
    assert_eq!(map, expected, "\n{map}");

    let plain = machine(TWO_NODES);
    let map = plain.map(&place(&plain, 3)).to_string();
    assert!(map.contains("processors left for other threads: 2,3,5-7"), "{map}");
    assert!(map.contains("    core 7   cpu 7   –\n"), "{map}");
}
