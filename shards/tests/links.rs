//! Links of a shard: what they are after every change, restart and consolidation.

mod bench;

use std::collections::BTreeMap;

use bench::{Bench, blob, settings};
use bytes::Bytes;
use engram_shards::episode::{
    Confidence, Durability, Episode, Fields, Link, LinkRequest, Metric, Outcome, Priority, Refusal,
    StoreRequest, UnlinkRequest,
};
use engram_shards::io::Io;
use engram_shards::limits::EPISODE_LINKS_MAX;
use engram_shards::shard::{Reply, ShardSettings};
use proptest::prelude::*;

/// By target and kind.
type Links = BTreeMap<(String, String), f32>;

struct Linked {
    bench: Bench,
    links: BTreeMap<String, Links>,
}

fn id(nth: usize) -> String {
    format!("e{nth}")
}

impl Linked {
    fn new() -> Self {
        Self { bench: Bench::new(Metric::Cosine), links: BTreeMap::new() }
    }

    /// Stores an episode with these links.
    fn store(&mut self, id: &str, links: &[(&str, &str, f32)]) {
        let vector = self.bench.vector();
        let link = |(target, kind, weight): &(&str, &str, f32)| Link {
            target: Bytes::copy_from_slice(target.as_bytes()),
            weight: *weight,
            kind: Bytes::copy_from_slice(kind.as_bytes()),
        };
        let episode = Episode {
            id: id.to_owned().into(),
            vector: blob(&vector),
            text: format!("text of {id}").into(),
            happened_at_us: None,
            confidence: Confidence::CERTAIN,
            metadata: Bytes::new(),
            thread: Bytes::new(),
            links: links.iter().map(link).collect(),
        };
        let request = StoreRequest {
            space: self.bench.space,
            episode,
            key: Bytes::new(),
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        let ticket = self.bench.ticket();
        self.bench.shard.store(ticket, &request).unwrap();
        assert!(matches!(&self.bench.answers()[..], [(_, Ok(Reply::Stored(_)))]));
        self.bench.model.insert(id.into(), vector);
        let own = links
            .iter()
            .map(|(target, kind, weight)| ((target.to_string(), kind.to_string()), *weight));
        self.links.insert(id.into(), own.collect());
    }

    fn forget(&mut self, id: &str) {
        self.bench.forget(id);
        self.links.remove(id);
    }

    fn try_link(
        &mut self,
        from: &str,
        to: &str,
        kind: &str,
        weight: f32,
    ) -> Result<Reply, Refusal> {
        let request = LinkRequest {
            space: self.bench.space,
            from: from.to_owned().into(),
            to: to.to_owned().into(),
            kind: kind.to_owned().into(),
            weight,
            durability: Durability::Disk,
            writer_uid: 0,
        };
        let ticket = self.bench.ticket();
        self.bench.shard.link(ticket, &request)?;
        let mut answers = self.bench.answers();
        assert_eq!((answers.len(), answers[0].0), (1, ticket));
        answers.remove(0).1
    }

    /// Links what is there, and checks the answer.
    fn link(&mut self, from: &str, to: &str, kind: &str, weight: f32) {
        let answer = self.try_link(from, to, kind, weight);
        let Some(own) = self.links.get_mut(from) else {
            assert_eq!(answer, Err(Refusal::NoEpisode(from.into())));
            return;
        };
        let Ok(Reply::Linked(linked)) = answer else { panic!("{answer:?}") };
        let replaced = own.insert((to.into(), kind.into()), weight).is_some();
        let outcome = if replaced { Outcome::Replaced } else { Outcome::Created };
        assert_eq!((linked.outcome, linked.links), (outcome, own.len()));
        assert_eq!(linked.sequence.0, self.bench.shard.stats().applied);
    }

    /// Unlinks, and checks the answer.
    fn unlink(&mut self, from: &str, to: &str, kind: &str) {
        let request = UnlinkRequest {
            space: self.bench.space,
            from: from.to_owned().into(),
            to: to.to_owned().into(),
            kind: kind.to_owned().into(),
            durability: Durability::Disk,
            writer_uid: 0,
        };
        let ticket = self.bench.ticket();
        self.bench.shard.unlink(ticket, &request).unwrap();
        let answers = self.bench.answers();
        let [(_, Ok(Reply::Unlinked(unlinked)))] = &answers[..] else { panic!("{answers:?}") };
        let expected = self.links.get_mut(from).map(|own| {
            let before = own.len();
            own.retain(|(target, own), _| target != to || !kind.is_empty() && own != kind);
            (before - own.len(), own.len())
        });
        assert_eq!(unlinked.map(|unlinked| (unlinked.removed, unlinked.links)), expected);
    }

    fn links_of(&self, id: &str) -> Option<Links> {
        let fields = Fields { links: true, ..Fields::default() };
        let found = self.bench.shard.get(self.bench.space, id.as_bytes(), fields).unwrap()?;
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let links = found.links.unwrap();
        let count = links.len();
        let links: Links = links
            .into_iter()
            .map(|Link { target, weight, kind }| ((text(target), text(kind)), weight))
            .collect();
        assert_eq!(links.len(), count, "no two links of {id} are alike");
        Some(links)
    }

    fn check(&mut self) {
        self.bench.check();
        for (id, links) in &self.links {
            assert_eq!(self.links_of(id).as_ref(), Some(links), "{id}");
        }
    }

    fn restart(self) -> Self {
        let mut linked = Self { bench: self.bench.restart(), ..self };
        linked.check();
        linked
    }
}

#[test]
fn links_are_made_reweighted_removed_and_replayed() {
    let mut linked = Linked::new();
    linked.store("a", &[("b", "", 1.0), ("c", "k", 2.0)]);
    linked.store("b", &[]);
    linked.link("a", "b", "", 0.25);
    linked.link("a", "b", "k", 3.0);
    linked.link("a", "a", "", f32::MIN_POSITIVE);
    linked.link("b", "never stored", "k", f32::MAX);
    linked.link("nobody", "a", "", 1.0);
    linked.check();
    linked.unlink("a", "c", "other");
    linked.unlink("a", "b", "");
    linked.unlink("a", "b", "");
    linked.unlink("nobody", "a", "");
    linked = linked.restart();

    // What is stored again has the links that it came with.
    linked.store("a", &[("x", "", 1.0)]);
    linked.check();
    linked.link("a", "y", "", 1.0);
    linked.forget("a");
    linked.link("a", "z", "", 1.0);
    linked.store("a", &[]);
    assert_eq!(linked.links_of("a"), Some(Links::new()));
    linked.restart();
}

#[test]
fn of_two_links_alike_in_a_store_the_last_counts_once_links_change() {
    let mut linked = Linked::new();
    linked.store("a", &[("b", "", 1.0), ("b", "", 2.0)]);
    linked.link("a", "c", "", 3.0);
    linked.check();
    linked.restart();
}

#[test]
fn an_episode_has_no_more_links_than_the_bound() {
    let mut linked = Linked::new();
    linked.store("hub", &[]);
    (0..EPISODE_LINKS_MAX).for_each(|nth| linked.link("hub", &id(nth), "", 1.0));
    let refused = linked.try_link("hub", "one more", "", 1.0).unwrap_err();
    let max = EPISODE_LINKS_MAX;
    let Refusal::TooBig { got, max: bound, .. } = refused else { panic!("{refused}") };
    assert_eq!((got, bound), (max + 1, max));
    linked.link("hub", "e77", "", 2.0);
    linked.check();
    linked = linked.restart();
    linked.bench.consolidate(|_, _| {});
    linked.check();
    assert!(linked.try_link("hub", "one more", "", 1.0).is_err());
    linked.unlink("hub", "e78", "");
    linked.link("hub", "one more", "", 1.0);
    linked = linked.restart();
    linked.bench.store("other");
    linked.bench.consolidate_new();
    linked.restart();
}

#[test]
fn memory_of_links_is_counted_and_given_back() {
    let mut linked = Linked::new();
    linked.store("a", &[]);
    let before = linked.bench.shard.stats().memory_bytes;
    (0..1000).for_each(|nth| linked.link("a", &id(nth), "kind", 1.0));
    let taken = linked.bench.shard.stats().memory_bytes - before;
    let bytes: usize = (0..1000).map(|nth| 8 + id(nth).len() + 4).sum();
    assert!((bytes as u64..bytes as u64 + 1000).contains(&taken), "{taken} for {bytes}");
    linked.bench.consolidate(|_, _| {});
    linked.bench.settle(true);
    assert_eq!(linked.bench.shard.stats().memory_bytes, 0);
    linked.check();
}

#[test]
fn links_that_press_on_the_memory_are_written_into_their_sections() {
    let settings = ShardSettings { memory_bytes_max: 16 << 20, ..settings() };
    let mut linked =
        Linked { bench: Bench::with(settings, Metric::Cosine), links: BTreeMap::new() };
    (0..40).for_each(|nth| linked.store(&id(nth), &[]));
    linked.bench.consolidate(|_, _| {});
    linked.bench.settle(false);
    let long = "x".repeat(250);
    // Five megabytes on one row of forty: neither rows nor tails are a reason to consolidate.
    (0..18_000).for_each(|nth| linked.link("e7", &format!("{long}{}", nth % 16_000), "", 1.0));
    assert!(linked.bench.shard.stats().memory_bytes > 4 << 20);
    linked.bench.settle(false);
    assert_eq!(linked.bench.shard.stats().memory_bytes, 0);
    assert_eq!(linked.bench.shard.consolidation().0.published, 2);
    linked.restart();
}

/// A store of a hundred episodes in two sections and a tail, all with links that changed.
fn three_parts() -> Linked {
    let mut linked = Linked::new();
    (0..32).for_each(|nth| linked.store(&id(nth), &[("e1", "", 1.0), ("gone", "k", 2.0)]));
    // So many that the large section stays as it is.
    (0..60).for_each(|nth| linked.store(&format!("other{nth}"), &[]));
    linked.bench.consolidate(|_, _| {});
    (32..36).for_each(|nth| linked.store(&id(nth), &[("e2", "", 1.0)]));
    linked.bench.consolidate_new();
    assert_eq!(linked.bench.shard.consolidation().0.files, 2);
    (36..40).for_each(|nth| linked.store(&id(nth), &[("e3", "", 1.0)]));
    for nth in (0..40).step_by(7) {
        linked.link(&id(nth), "e4", "late", nth as f32 + 0.5);
        linked.unlink(&id(nth), "e1", "");
    }
    linked
}

/// Changes one thing or another.
fn change(linked: &mut Linked, nth: usize) {
    let own = id(nth * 7 % 40);
    match nth % 6 {
        0 | 1 => linked.link(&own, &id(nth % 11), "while", nth as f32 + 1.0),
        2 => linked.unlink(&own, "e4", ""),
        3 => linked.link(&own, "e4", "late", nth as f32 + 1.0),
        4 => linked.store(&own, &[("e5", "again", 1.0)]),
        _ => linked.forget(&own),
    }
}

#[test]
fn links_change_while_they_are_consolidated_and_at_whatever_unit_the_daemon_dies() {
    for merges_all in [true, false] {
        let mut units = 0;
        for dies_at in 0.. {
            let mut linked = three_parts();
            let ticket = linked.bench.ticket();
            linked.bench.shard.consolidate(ticket, merges_all).unwrap();
            let mut is_done = false;
            for unit in 0..dies_at {
                let (answers, _) = linked.bench.work();
                is_done |= !answers.is_empty();
                if unit % 5 == 3 {
                    change(&mut linked, unit);
                }
            }
            linked.check();
            let mut linked = linked.restart();
            (0..6).for_each(|nth| change(&mut linked, nth + 100));
            linked.bench.consolidate(|_, _| {});
            linked.check();
            let linked = linked.restart();
            assert_eq!(linked.bench.shard.stats().memory_bytes, 0, "all is in the columns");
            units = dies_at;
            if is_done {
                break;
            }
        }
        assert!(units > 50, "{units}");
    }
}

#[test]
fn sections_that_stay_have_their_links_from_the_state_file() {
    let mut linked = three_parts();
    // The tail alone is written, again and again.
    for round in 0..3 {
        linked.link("e3", "e4", "late", round as f32 + 9.0);
        linked.store("tail", &[]);
        linked.bench.consolidate_new();
        assert_eq!(linked.bench.shard.consolidation().0.files, 2, "the large one stays");
        linked.check();
        linked = linked.restart();
    }
    // Dead rows take none with them.
    linked.forget("e3");
    linked.store("tail", &[]);
    linked.bench.consolidate_new();
    assert_eq!(linked.bench.shard.consolidation().0.files, 2);
    linked = linked.restart();
    linked.store("e3", &[]);
    assert_eq!(linked.links_of("e3"), Some(Links::new()));
}

#[test]
fn many_changed_links_of_a_large_section_are_written_when_the_shard_is_quiet() {
    let mut linked = Linked::new();
    (0..40).for_each(|nth| linked.store(&id(nth), &[]));
    linked.bench.consolidate(|_, _| {});
    (0..10).for_each(|nth| linked.link(&id(nth), "e1", "", 1.0));
    linked.bench.settle(true);
    assert_eq!(linked.bench.shard.consolidation().0.published, 1, "a quarter may be in memory");
    linked.link("e10", "e1", "", 1.0);
    linked.bench.settle(true);
    assert_eq!(linked.bench.shard.consolidation().0.published, 2);
    linked.bench.settle(true);
    assert_eq!(linked.bench.shard.consolidation().0.published, 2);
    assert_eq!(linked.bench.shard.stats().memory_bytes, 0);
    linked.restart();
}

#[test]
fn what_is_erased_takes_its_links_and_leaves_those_that_lead_to_it() {
    let secret = "whom nobody is to know";
    let mut linked = Linked::new();
    (0..20).for_each(|nth| linked.store(&id(nth), &[]));
    linked.link("e5", secret, "before", 1.0);
    linked.bench.consolidate(|_, _| {});
    linked.link("e5", secret, "between", 1.0);
    linked.store("tail", &[]);
    linked.bench.consolidate_new();
    linked.link("e5", secret, "after", 1.0);
    linked.unlink("e5", secret, "before");
    linked.link("e6", "e5", "", 1.0);
    let ticket = linked.bench.ticket();
    linked.bench.shard.erase(ticket, linked.bench.space, &Bytes::from("e5"), 0).unwrap();
    linked.bench.model.remove("e5");
    linked.links.remove("e5");
    let mut answered = linked.bench.answers();
    for _ in 0..1_000_000 {
        if !answered.is_empty() {
            break;
        }
        answered = linked.bench.work().0;
    }
    let [(_, Ok(Reply::Erased { existed: true, .. }))] = &answered[..] else {
        panic!("{answered:?}")
    };
    let has = |bytes: &[u8]| bytes.windows(secret.len()).any(|own| own == secret.as_bytes());
    let mut io = linked.bench.disk.io();
    for (file, _) in io.files().unwrap() {
        assert!(!has(&io.map_file(file).unwrap()), "{file}");
    }
    for segment in linked.bench.disk.segments() {
        assert!(!has(&linked.bench.disk.segment(segment)), "segment {segment}");
    }
    linked.check();
    linked.restart();
}

#[derive(Debug, Clone)]
enum Step {
    Store(usize, u8),
    Forget(usize),
    Link(usize, usize, u8, u8),
    Unlink(usize, usize, u8),
    Consolidate { merges_all: bool, changes: usize },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (one, other) = (0..8_usize, 0..8_usize);
    prop_oneof![
        3 => (one.clone(), 0..4_u8).prop_map(|(own, links)| Step::Store(own, links)),
        1 => one.clone().prop_map(Step::Forget),
        6 => (one.clone(), other.clone(), 0..3_u8, 1..9_u8)
            .prop_map(|(from, to, kind, weight)| Step::Link(from, to, kind, weight)),
        2 => (one, other, 0..3_u8).prop_map(|(from, to, kind)| Step::Unlink(from, to, kind)),
        1 => (any::<bool>(), 0..6_usize)
            .prop_map(|(merges_all, changes)| Step::Consolidate { merges_all, changes }),
        1 => Just(Step::Restart),
    ]
}

fn take(linked: &mut Linked, step: &Step) {
    const KINDS: [&str; 3] = ["", "k", "kind"];
    match *step {
        Step::Store(own, links) => {
            let all = [("e0", "", 1.0), ("e1", "k", 2.0), ("e1", "", 3.0)];
            linked.store(&id(own), &all[..usize::from(links)]);
        }
        Step::Forget(own) => linked.forget(&id(own)),
        Step::Link(from, to, kind, weight) => {
            linked.link(&id(from), &id(to), KINDS[usize::from(kind)], f32::from(weight));
        }
        Step::Unlink(from, to, kind) => {
            linked.unlink(&id(from), &id(to), KINDS[usize::from(kind)]);
        }
        Step::Consolidate { .. } | Step::Restart => unreachable!("not while anything else is"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn links_are_what_all_changes_made_them(
        steps in prop::collection::vec(step(), 1..60),
        mut meanwhile in prop::collection::vec(step(), 24),
    ) {
        let mut linked = Linked::new();
        meanwhile.retain(|step| !matches!(step, Step::Consolidate { .. } | Step::Restart));
        for step in &steps {
            match step {
                Step::Restart => linked = linked.restart(),
                Step::Consolidate { merges_all, changes } => {
                    let ticket = linked.bench.ticket();
                    linked.bench.shard.consolidate(ticket, *merges_all).unwrap();
                    let mut changes = meanwhile.iter().cycle().take(*changes * 4);
                    while linked.bench.work().0.is_empty() {
                        if let Some(step) = changes.next() {
                            take(&mut linked, step);
                        }
                    }
                    linked.check();
                }
                step => take(&mut linked, step),
            }
        }
        linked.check();
        linked.restart();
    }
}
