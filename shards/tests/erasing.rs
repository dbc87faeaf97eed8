//! An erase of what is consolidated, cut short at every call to the disk.
//!
//! What an erase begins, the next start finishes: once its frame is in the log, neither a kill nor
//! the loss of power at any later call, nor another one while that start is at it, leaves a byte of
//! the episode in any file.

use std::rc::Rc;

use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Fields, Metric, Priority, SpaceNumber, SpaceSettings,
    StoreRequest, Ttl,
};
use engram_shards::format::FileKind;
use engram_shards::io::simulated::{Power, SimulatedDisk, SimulatedIo, Still, World};
use engram_shards::log::{LogIdentity, LogSettings, RecoverySettings};
use engram_shards::shard::{
    Advanced, ConsolidationSettings, Effect, Reply, Shard, ShardSettings, Ticket,
};

const SPACE: SpaceNumber = SpaceNumber(1);
const SECRET: &str = "what nobody is to read any more";
/// The space, eight episodes, the victim.
const STORED: u64 = 10;
/// The forget that an erase begins with, and the frame behind which it is finished.
const ERASE: u64 = STORED + 2;
/// So long nothing happens when nothing will any more.
const IDLE_NS: u64 = 20_000_000;

struct Machine {
    power: Rc<Power>,
    disk: SimulatedDisk,
    time: Rc<Still>,
}

fn settings() -> ShardSettings {
    let identity =
        LogIdentity { store_id: [7; 16], shard: 0, segment_bytes: 32 << 10, may_be_empty: true };
    ShardSettings {
        identity,
        log: LogSettings::default(),
        recovery: RecoverySettings::default(),
        memory_bytes_max: 32 << 20,
        memory_prefault_bytes: 0,
        consolidation: ConsolidationSettings {
            retry_after_ns: 0,
            ..ConsolidationSettings::when_asked()
        },
    }
}

fn store(id: &str, text: &str) -> StoreRequest {
    StoreRequest {
        space: SPACE,
        episode: Episode {
            id: id.to_owned().into(),
            vector: [1.0_f32, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
            text: text.to_owned().into(),
            happened_at_us: None,
            confidence: Confidence::CERTAIN,
            metadata: Bytes::new(),
            thread: Bytes::new(),
            links: Vec::new(),
        },
        key: Bytes::new(),
        dedup: false,
        ttl: Ttl::Space,
        priority: Priority::Normal,
        durability: Durability::Disk,
        writer_uid: 0,
    }
}

/// What a life came to: whether the erase was answered, and whether its frame was durable.
#[derive(Debug, Default, Clone, Copy)]
struct Life {
    is_answered: bool,
    is_begun: bool,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let power = Rc::new(Power::default());
        let disk = SimulatedDisk::new(seed, &power);
        Self { power, disk, time: Rc::default() }
    }

    /// A start; nothing when the power fails in it.
    fn open(&self) -> Option<Shard<SimulatedIo>> {
        let io = self.disk.io(Rc::<Still>::clone(&self.time));
        match Shard::open(io, &settings(), &|_| {}) {
            Ok((shard, _)) => Some(shard),
            Err(_) if self.power.is_off() => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets a shard work until nothing is left to do, or the power is off; what was answered.
    fn settle(&self, shard: &mut Shard<SimulatedIo>) -> Vec<Reply> {
        let (mut effects, mut busy_ns) = (Vec::new(), self.time.now_ns());
        while !self.power.is_off() && self.time.now_ns() < busy_ns + IDLE_NS {
            self.time.advance_to(self.time.now_ns() + 50_000);
            shard.pump();
            shard.poll(&mut effects);
            if shard.advance(true, &mut effects) != Advanced::Idle || !shard.is_idle() {
                busy_ns = self.time.now_ns();
            }
        }
        let replies = effects.into_iter().filter_map(|effect| match effect {
            Effect::Answer { result, .. } => result.ok(),
            _ => None,
        });
        replies.collect()
    }

    /// Stores some episodes, the victim among them, and consolidates them.
    fn prepare(&self) {
        let mut shard = self.open().unwrap();
        let settings = SpaceSettings { metric: Metric::L2, ..SpaceSettings::usual("s", 2) };
        shard.create_space(Ticket(0), None, &settings, 0).unwrap();
        self.settle(&mut shard);
        for nth in 0..8 {
            shard.store(Ticket(0), &store(&format!("e{nth}"), "of no matter")).unwrap();
        }
        shard.store(Ticket(0), &store("victim", SECRET)).unwrap();
        self.settle(&mut shard);
        shard.consolidate(Ticket(0), true).unwrap();
        self.settle(&mut shard);
        assert_eq!((shard.stats().applied, shard.consolidation().0.files), (STORED, 1));
        assert!(self.has_secret(FileKind::Columns));
    }

    /// A start, and the erase as far as it gets.
    fn erase(&self) -> Life {
        let Some(mut shard) = self.open() else { return Life::default() };
        shard.erase(Ticket(0), SPACE, &Bytes::from("victim"), 0).unwrap();
        let answered = self.settle(&mut shard);
        let is_answered = answered.iter().any(|reply| matches!(reply, Reply::Erased { .. }));
        Life { is_answered, is_begun: shard.stats().durable >= ERASE }
    }

    fn restart(&self, loses_power: bool) {
        if loses_power {
            self.disk.lose_power();
        }
        self.power.restore();
    }

    fn has_secret(&self, kind: FileKind) -> bool {
        let mut has_secret = false;
        self.disk.look(|file, bytes| {
            let mut windows = bytes.windows(SECRET.len());
            has_secret |= file.kind == kind && windows.any(|window| window == SECRET.as_bytes());
        });
        has_secret
    }
}

#[test]
fn the_next_start_finishes_an_erase_that_was_cut_short_at_any_call() {
    let machine = Machine::new(1);
    machine.prepare();
    let (base, before) = (machine.disk.snapshot(), machine.power.calls());
    let life = machine.erase();
    assert!(life.is_answered && !machine.has_secret(FileKind::Columns));
    let calls = machine.power.calls() - before;
    assert!(calls > 20, "{calls} calls are no erase");

    let (mut begun, mut merged) = (0, 0);
    for call in 1..=calls {
        for (loses_power, again) in [(false, 0), (true, 0), (false, 4), (true, 9), (true, 17)] {
            let case = format!("call {call}, power lost: {loses_power}, again at {again}");
            machine.disk.restore(&base);
            machine.power.fail_at(machine.power.calls() + call);
            let life = machine.erase();
            machine.restart(loses_power);
            if again > 0 {
                machine.power.fail_at(machine.power.calls() + again);
                if let Some(mut shard) = machine.open() {
                    machine.settle(&mut shard);
                }
                machine.restart(loses_power);
            }
            let was_in_columns = machine.has_secret(FileKind::Columns);
            let mut shard = machine.open().expect("nothing fails any more");
            let is_begun = shard.stats().applied >= ERASE;
            assert!(is_begun || !life.is_begun, "{case}: {life:?}");
            machine.settle(&mut shard);
            let fields = Fields::default();
            assert!(shard.get(SPACE, b"e0", fields).unwrap().is_some(), "{case}");
            if is_begun {
                assert!(shard.get(SPACE, b"victim", fields).unwrap().is_none(), "{case}");
                for kind in [FileKind::Columns, FileKind::State, FileKind::Log] {
                    assert!(!machine.has_secret(kind), "{case}: {kind:?}");
                }
                begun += 1;
                merged += u64::from(was_in_columns);
            } else {
                assert!(!life.is_answered, "{case}");
            }
        }
    }
    assert!(begun > 40 && merged > 20, "{begun} were begun, {merged} left to merge, {calls} calls");
}
