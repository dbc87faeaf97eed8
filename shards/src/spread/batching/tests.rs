//! A machine that is made up: stretches whose cost scatters, jumps and is now and then absurd.

use proptest::prelude::*;

use super::*;

/// This project's usual machine: 1 MiB of L2 for a core, 14 GB/s of scattered lines.
const MACHINE: Machine = Machine { l2_bytes: 1 << 20, memory_bytes_per_second: 14_000_000_000 };
/// Stretches from a guess eight times wrong until the size is in the band.
const STRETCHES_TO_CONVERGE: usize = 6 * WINDOW;

/// Stretches on a machine on which an edge takes so long.
struct Simulated {
    state: u64,
    ns_per_edge: f64,
    /// The standard deviation of the logarithm of a stretch's time.
    noise: f64,
    /// The share of stretches during which the thread was not running for a while.
    outliers: f64,
}

impl Simulated {
    fn new(ns_per_edge: f64, noise: f64, outliers: f64) -> Self {
        Self { state: 0x9E37_79B9_7F4A_7C15, ns_per_edge, noise, outliers }
    }

    fn unit(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal: the sum of twelve evenly spread numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// The time of a stretch; beginning it takes 300 ns.
    fn elapsed_ns(&mut self, edges: u64) -> u64 {
        let noise = (self.noise * self.normal()).exp();
        let held_up = if self.unit() < self.outliers { 2e6 } else { 0.0 };
        ((300.0 + edges as f64 * self.ns_per_edge) * noise + held_up) as u64
    }

    /// How large the batcher's size becomes over so many stretches, window by window.
    fn drive(&mut self, batcher: &mut Batcher, stretches: usize) -> Vec<u64> {
        let mut sizes = Vec::new();
        for nth in 1..=stretches {
            let edges = batcher.edges();
            batcher.note(edges, self.elapsed_ns(edges));
            if nth % WINDOW == 0 {
                sizes.push(batcher.edges());
            }
        }
        sizes
    }
}

fn batcher_at(edges: u64) -> Batcher {
    Batcher { edges, ..Batcher::new(MACHINE, TARGET_NS) }
}

/// By which factor a size is off what takes the target, larger or smaller.
fn off_by(edges: u64, ns_per_edge: f64) -> f64 {
    let right = TARGET_NS as f64 / ns_per_edge;
    (edges as f64 / right).max(right / edges as f64)
}

#[test]
fn the_first_guess_is_the_mean_of_what_is_known() {
    let guess = Guess::new(MACHINE, TARGET_NS);
    let (cache, bandwidth) = (guess.cache.unwrap(), guess.bandwidth.unwrap());
    assert_eq!((cache.round(), bandwidth.round(), guess.processor), (10_923.0, 7292.0, 5000.0));
    let mean = f64::cbrt(cache * bandwidth * guess.processor);
    assert_eq!(guess.edges(), mean.round() as u64);
    // 12 ns for an edge: the guess is within a factor of two before anything was measured.
    assert!(off_by(guess.edges(), 12.0) < 2.0);
}

#[test]
fn a_larger_cache_a_faster_memory_and_more_time_make_it_larger() {
    let edges = |l2_bytes, memory_bytes_per_second, target_ns| {
        Guess::new(Machine { l2_bytes, memory_bytes_per_second }, target_ns).edges()
    };
    let Machine { l2_bytes: l2, memory_bytes_per_second: memory } = MACHINE;
    assert!(edges(2 * l2, memory, TARGET_NS) > edges(l2, memory, TARGET_NS));
    assert!(edges(l2, 2 * memory, TARGET_NS) > edges(l2, memory, TARGET_NS));
    assert!(edges(l2, memory, 2 * TARGET_NS) > edges(l2, memory, TARGET_NS));
}

#[test]
fn what_a_machine_does_not_say_is_left_out() {
    assert_eq!(Guess::new(Machine::default(), TARGET_NS).edges(), 5000);
    let no_memory = Machine { memory_bytes_per_second: 0, ..MACHINE };
    let mean = f64::sqrt(5000.0 * (1 << 20) as f64 / BYTES_PER_EDGE);
    assert_eq!(Guess::new(no_memory, TARGET_NS).edges(), mean.round() as u64);
}

#[test]
fn it_converges_from_eight_times_too_many_and_too_few() {
    let right = (TARGET_NS / 12) as f64;
    for start in [right * 8.0, right / 8.0] {
        let mut batcher = batcher_at(start as u64);
        let mut machine = Simulated::new(12.0, 0.2, 0.0);
        let sizes = machine.drive(&mut batcher, STRETCHES_TO_CONVERGE);
        assert!(off_by(*sizes.last().unwrap(), 12.0) < 1.25, "from {start}: {sizes:?}");
    }
}

#[test]
fn where_it_has_come_to_it_stays() {
    let mut batcher = batcher_at(1000);
    let mut machine = Simulated::new(12.0, 0.2, 0.03);
    machine.drive(&mut batcher, STRETCHES_TO_CONVERGE);
    let changes_before = batcher.changes();
    let sizes = machine.drive(&mut batcher, 1000 * WINDOW);
    let steps: Vec<bool> =
        sizes.windows(2).filter(|two| two[0] != two[1]).map(|two| two[1] > two[0]).collect();
    let turns = steps.windows(2).filter(|two| two[0] != two[1]).count();
    assert!(turns <= 2, "changed direction {turns} times in 1,000 windows");
    assert!(batcher.changes() - changes_before <= 4, "changed {} times", batcher.changes());
    assert!(sizes.iter().all(|edges| off_by(*edges, 12.0) < 1.3));
}

#[test]
fn without_noise_it_rests_for_good() {
    let mut batcher = batcher_at(60_000);
    let mut machine = Simulated::new(12.0, 0.0, 0.0);
    machine.drive(&mut batcher, 2 * STRETCHES_TO_CONVERGE);
    let changes = batcher.changes();
    machine.drive(&mut batcher, 1000 * WINDOW);
    assert_eq!(batcher.changes(), changes);
}

#[test]
fn it_follows_when_an_edge_suddenly_costs_four_times_as_much_and_back() {
    let mut batcher = batcher_at(TARGET_NS / 10);
    let mut machine = Simulated::new(10.0, 0.2, 0.02);
    for ns_per_edge in [40.0, 10.0] {
        machine.ns_per_edge = ns_per_edge;
        let sizes = machine.drive(&mut batcher, STRETCHES_TO_CONVERGE);
        assert!(off_by(*sizes.last().unwrap(), ns_per_edge) < 1.25, "{ns_per_edge}: {sizes:?}");
    }
}

#[test]
fn a_thread_that_was_not_running_does_not_move_it() {
    let size_after = |outliers| {
        let mut batcher = batcher_at(4096);
        let sizes = Simulated::new(12.0, 0.1, outliers).drive(&mut batcher, 100 * WINDOW);
        *sizes.last().unwrap()
    };
    // Forty times too long, once in ten stretches.
    assert!(off_by(size_after(0.1), 12.0) < 1.25);
    assert!(off_by(size_after(0.0), 12.0) < 1.25);
    // Seven stretches at once say nothing against the other nine.
    let mut batcher = batcher_at(4096);
    for nth in 0..10 * WINDOW {
        let is_held_up = nth % WINDOW < 7;
        batcher.note(4096, if is_held_up { 10_000_000 } else { TARGET_NS });
    }
    assert_eq!((batcher.edges(), batcher.changes()), (4096, 0));
}

#[test]
fn stretches_that_ended_at_once_say_nothing() {
    let mut batcher = batcher_at(4096);
    for _ in 0..10 * WINDOW {
        batcher.note(EDGES_MIN - 1, 1_000_000);
    }
    assert_eq!((batcher.edges(), batcher.changes()), (4096, 0));
}

#[test]
fn the_same_stretches_give_the_same_sizes() {
    let sizes = || Simulated::new(15.0, 0.3, 0.05).drive(&mut batcher_at(500), 50 * WINDOW);
    assert_eq!(sizes(), sizes());
}

proptest! {
    #[test]
    fn it_is_always_within_its_bounds(
        machine in (any::<u64>(), any::<u64>()),
        target_ns in any::<u64>(),
        notes in prop::collection::vec((any::<u64>(), any::<u64>()), 0..400),
    ) {
        let (l2_bytes, memory_bytes_per_second) = machine;
        let machine = Machine { l2_bytes, memory_bytes_per_second };
        let mut batcher = Batcher::new(machine, target_ns);
        prop_assert!((EDGES_MIN..=EDGES_MAX).contains(&batcher.edges()));
        for (edges, elapsed_ns) in notes {
            let before = batcher.edges();
            batcher.note(edges, elapsed_ns);
            prop_assert!((EDGES_MIN..=EDGES_MAX).contains(&batcher.edges()));
            let step = batcher.edges() as f64 / before as f64;
            prop_assert!((0.49..=2.01).contains(&step), "from {before} to {}", batcher.edges());
        }
    }
}
