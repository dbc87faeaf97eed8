//! What a seed decides before anything runs.

use engram_shards::io::Random;
use engram_shards::io::simulated::Faults;
use engram_shards::log::LogSettings;
use engram_shards::shard::ConsolidationSettings;

use crate::model::End;

/// What goes wrong in a run, beside crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing: every start must succeed with everything that was promised.
    Crashes,
    /// Calls fail, end early, take long, or find no room.
    Errors,
    /// What lies on the disk is damaged between two starts.
    Rot,
    /// Writes go to the wrong place.
    Misdirection,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub shards: usize,
    pub segment_bytes: u64,
    pub log: LogSettings,
    pub trouble: Trouble,
    pub faults: Faults,
    pub clients: usize,
    pub consolidation: ConsolidationSettings,
    /// How many ids a client uses: few are replaced and forgotten often.
    pub ids: u64,
    /// Vectors are long enough for an index.
    pub has_graphs: bool,
    /// Episodes are replayed whenever there is little else to do.
    pub dreams: bool,
    /// Gists are found and kept, likewise.
    pub keeps_gists: bool,
    pub rounds: Vec<Round>,
    /// The power fails at the first of these calls, counted from the very first one, and then,
    /// counted from each start that follows, at the next ones.
    pub dies_at: Vec<u64>,
}

/// One life of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub end: End,
    /// The power fails at this call to a disk, counted from the start of the daemon.
    pub dies_at_call: Option<u64>,
    /// Otherwise the end comes after this time, or earlier when all clients are done.
    pub after_us: u64,
    /// How many bursts of commands each client sends.
    pub bursts: u64,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let trouble = match random.below(20) {
            0..=9 => Trouble::Crashes,
            10..=14 => Trouble::Errors,
            15..=17 => Trouble::Rot,
            _ => Trouble::Misdirection,
        };
        let log = LogSettings {
            in_flight_max: random.between(1, 4) as usize,
            linger_us: if random.chance(200_000) { random.between(1, 500) } else { 0 },
            frames_max: random.between(1, 8) as u32,
        };
        let has_graphs = random.chance(150_000);
        Self {
            seed,
            consolidation: consolidation(random),
            ids: if has_graphs { 60 } else { random.between(4, 16) },
            has_graphs,
            dreams: seed % 4 == 3,
            keeps_gists: seed % 4 >= 2,
            shards: random.between(1, 3) as usize,
            segment_bytes: 4096 * random.between(10, 40),
            log,
            trouble,
            faults: faults(random, trouble),
            clients: random.between(1, 3) as usize,
            rounds: (0..random.between(2, 4)).map(|_| Round::draw(random)).collect(),
            dies_at: Vec::new(),
        }
    }
}

impl Round {
    fn draw(random: &mut Random) -> Self {
        let end = match random.below(10) {
            0..=5 => End::PowerLost,
            6..=7 => End::Killed,
            _ => End::Drained,
        };
        let dies = end == End::PowerLost && random.chance(500_000);
        Self {
            end,
            dies_at_call: dies.then(|| random.between(1, 150)),
            after_us: random.between(100, 40_000),
            bursts: random.between(1, 12),
        }
    }
}

/// Consolidations that begin after few rows, and are tried again soon.
fn consolidation(random: &mut Random) -> ConsolidationSettings {
    let rows_idle = random.between(5, 40);
    ConsolidationSettings {
        rows_idle,
        rows_forced: rows_idle + random.between(5, 60),
        retry_after_ns: random.between(1, 20) * 1_000_000,
        index_rows_min: random.between(4, 40) as usize,
        log_bytes_forced: random.between(16, 512) << 10,
    }
}

fn faults(random: &mut Random, trouble: Trouble) -> Faults {
    let slow = if random.chance(300_000) { 20_000 } else { 0 };
    let mut faults = Faults { slow, ..Faults::default() };
    match trouble {
        Trouble::Crashes | Trouble::Rot => {}
        Trouble::Misdirection => faults.write_misdirected = 40_000,
        Trouble::Errors => {
            let some = [
                &mut faults.write_error,
                &mut faults.write_short,
                &mut faults.flush_error,
                &mut faults.read_error,
                &mut faults.read_short,
                &mut faults.no_space,
                &mut faults.prepare_error,
            ];
            for rate in some {
                if random.chance(400_000) {
                    *rate = random.between(2_000, 60_000) as u32;
                }
            }
        }
    }
    faults
}
