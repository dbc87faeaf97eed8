//! Links of a shard: what they are after every change, restart and consolidation.

mod bench;
mod linked;

use std::collections::BTreeMap;

use bench::{Bench, settings};
use bytes::Bytes;
use engram_shards::dream::{Change, KIND, RelearnRequest};
use engram_shards::episode::{
    BindRequest, Conditions, Fields, Link, Metric, Outcome, Refusal, Sequence, StoredRequest,
};
use engram_shards::io::Io;
use engram_shards::limits::EPISODE_LINKS_MAX;
use engram_shards::links::{GistLink, StoredAt};
use engram_shards::shard::{Reply, ShardSettings};
use linked::{Linked, Links, change, id, three_parts};
use proptest::prelude::*;

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
fn an_episode_is_found_by_its_sequence_as_long_as_it_is_that_one() {
    let mut linked = three_parts();
    let ids: Vec<String> = linked.links.keys().cloned().collect();
    let places: Vec<(u64, String)> = ids
        .iter()
        .map(|id| (linked.gist_links_of(id).expect("it is there").0.sequence, id.clone()))
        .collect();
    let found = |linked: &Linked| -> Vec<(u64, String)> {
        let request = StoredRequest {
            space: linked.bench.space,
            sequences: places.iter().map(|(sequence, _)| *sequence).chain([0, u64::MAX]).collect(),
            conditions: Conditions::default(),
            fields: Fields::default(),
            bytes_max: 0,
        };
        let found = linked.bench.shard.get_stored(&request).unwrap().into_iter();
        let id = |id: Bytes| String::from_utf8(id.to_vec()).unwrap();
        found.map(|episode| (episode.sequence.0, id(episode.id))).collect()
    };
    assert_eq!(found(&linked), places);
    linked.forget(&ids[2]);
    linked.store(&ids[7], &[]);
    let mut left = places.clone();
    left.retain(|(_, id)| *id != ids[2] && *id != ids[7]);
    for round in 0..3 {
        assert_eq!(found(&linked), left, "round {round}");
        match round {
            0 => linked = linked.restart(),
            _ => linked.bench.consolidate(|_, _| {}),
        }
    }
}

#[test]
fn what_is_on_its_way_out_is_bound_to_nothing() {
    let mut linked = Linked::new();
    for id in ["a", "b", "c"] {
        linked.store(id, &[]);
    }
    let place = |linked: &Linked, id: &str| linked.gist_links_of(id).unwrap().0;
    let [a, b, c] = ["a", "b", "c"].map(|id| place(&linked, id));
    let space = linked.bench.space;
    let request = |of: StoredAt, link, is_bound| {
        let stored = Sequence(of.sequence);
        BindRequest { space, stored, link, is_bound }
    };
    linked.bind("a", GistLink::ToMember(b));
    linked.bind("a", GistLink::ToMember(c));
    let taken = linked.try_bind(request(a, GistLink::ToMember(c), false));
    assert!(matches!(taken, Ok(Reply::Unlinked(Some(own))) if own.removed == 1), "{taken:?}");
    assert_eq!(linked.gist_links_of("a"), Some((a, vec![GistLink::ToMember(b)])));
    // A replay's links are links as any other.
    let relearn = |of: StoredAt, weight| {
        let change = Change { target: Bytes::from("c"), weight };
        RelearnRequest { space, stored: Sequence(of.sequence), change }
    };
    for (weight, outcome) in [(0.5, Outcome::Created), (0.25, Outcome::Replaced)] {
        let learnt = linked.try_relearn(&relearn(a, Some(weight)));
        assert!(matches!(learnt, Ok(Reply::Linked(own)) if own.outcome == outcome), "{learnt:?}");
        let fields = Fields { links: true, ..Fields::default() };
        let links = linked.bench.shard.get(space, b"a", fields).unwrap().unwrap().links.unwrap();
        let (target, kind) = (Bytes::from("c"), Bytes::from_static(KIND));
        assert_eq!(links, [Link { target, weight, kind }]);
    }
    let gone = linked.try_relearn(&relearn(a, None));
    assert!(matches!(gone, Ok(Reply::Unlinked(Some(own))) if own.removed == 1), "{gone:?}");
    // Neither what has gone, nor what is going and still there.
    linked.forget("b");
    for weight in [Some(1.0), None] {
        let of_b = linked.try_relearn(&relearn(b, weight));
        assert!(matches!(of_b, Err(Refusal::NoEpisode(_))), "{of_b:?}");
    }
    let of_b = linked.try_bind(request(b, GistLink::ToHead(a), true));
    assert!(matches!(of_b, Err(Refusal::NoEpisode(_))), "{of_b:?}");
    let ticket = linked.bench.ticket();
    linked.bench.shard.erase(ticket, space, &Bytes::from("a"), 0).unwrap();
    assert!(linked.gist_links_of("a").is_some());
    let ticket = linked.bench.ticket();
    let of_a = request(a, GistLink::ToMember(c), true);
    let of_a = linked.bench.shard.bind(ticket, &of_a);
    assert!(matches!(of_a, Err(Refusal::NoEpisode(_))), "{of_a:?}");
    for weight in [Some(1.0), None] {
        let ticket = linked.bench.ticket();
        let of_a = linked.bench.shard.relearn(ticket, &relearn(a, weight));
        assert!(matches!(of_a, Err(Refusal::NoEpisode(_))), "{of_a:?}");
    }
    // Who is stored again is somebody else.
    linked.bench.answers();
    linked.store("a", &[]);
    let of_a = linked.try_relearn(&relearn(a, Some(1.0)));
    assert!(matches!(of_a, Err(Refusal::NoEpisode(_))), "{of_a:?}");
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
