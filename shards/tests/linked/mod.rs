//! A shard of episodes with links, and what they should be.

#![allow(dead_code, reason = "every test file is a crate of its own and uses a part of this")]

use std::collections::BTreeMap;

use bytes::Bytes;
use engram_shards::dream::RelearnRequest;
use engram_shards::episode::{
    BindRequest, Confidence, Durability, Episode, Fields, Link, LinkRequest, Metric, Outcome,
    Priority, Refusal, Sequence, StoreRequest, Ttl, UnlinkRequest,
};
use engram_shards::links::{GistLink, StoredAt};
use engram_shards::shard::Reply;

use crate::bench::{Bench, blob};

/// By target and kind.
pub type Links = BTreeMap<(String, String), f32>;

pub struct Linked {
    pub bench: Bench,
    pub links: BTreeMap<String, Links>,
}

pub fn id(nth: usize) -> String {
    format!("e{nth}")
}

impl Linked {
    pub fn new() -> Self {
        Self { bench: Bench::new(Metric::Cosine), links: BTreeMap::new() }
    }

    /// Stores an episode with these links.
    pub fn store(&mut self, id: &str, links: &[(&str, &str, f32)]) {
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
            dedup: false,
            ttl: Ttl::Space,
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

    pub fn forget(&mut self, id: &str) {
        self.bench.forget(id);
        self.links.remove(id);
    }

    pub fn try_link(
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
    pub fn link(&mut self, from: &str, to: &str, kind: &str, weight: f32) {
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

    /// Makes a link that belongs to a gist, or takes it away.
    pub fn try_bind(&mut self, request: BindRequest) -> Result<Reply, Refusal> {
        let ticket = self.bench.ticket();
        self.bench.shard.bind(ticket, &request)?;
        self.bench.answers().remove(0).1
    }

    /// Makes a link as a replay does, or takes it away.
    pub fn try_relearn(&mut self, request: &RelearnRequest) -> Result<Reply, Refusal> {
        let ticket = self.bench.ticket();
        self.bench.shard.relearn(ticket, request)?;
        self.bench.answers().remove(0).1
    }

    pub fn bind(&mut self, id: &str, link: GistLink) {
        let (at, _) = self.gist_links_of(id).expect("it is there");
        let (space, stored) = (self.bench.space, Sequence(at.sequence));
        let bound = self.try_bind(BindRequest { space, stored, link, is_bound: true });
        assert!(matches!(bound, Ok(Reply::Linked(_))), "{bound:?}");
    }

    /// The links of an episode that belong to gists, and where it was stored.
    pub fn gist_links_of(&self, id: &str) -> Option<(StoredAt, Vec<GistLink>)> {
        let fields = Fields { gist_links: true, ..Fields::default() };
        let found = self.bench.shard.get(self.bench.space, id.as_bytes(), fields).unwrap()?;
        Some((StoredAt { shard: 0, sequence: found.sequence.0 }, found.gist_links))
    }

    /// Unlinks, and checks the answer.
    pub fn unlink(&mut self, from: &str, to: &str, kind: &str) {
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

    pub fn links_of(&self, id: &str) -> Option<Links> {
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

    pub fn check(&mut self) {
        self.bench.check();
        for (id, links) in &self.links {
            assert_eq!(self.links_of(id).as_ref(), Some(links), "{id}");
        }
    }

    pub fn restart(self) -> Self {
        let mut linked = Self { bench: self.bench.restart(), ..self };
        linked.check();
        linked
    }
}

/// A store of a hundred episodes in two sections and a tail, all with links that changed.
pub fn three_parts() -> Linked {
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
pub fn change(linked: &mut Linked, nth: usize) {
    let own = id(nth * 7 % 40);
    match nth % 6 {
        0 | 1 => linked.link(&own, &id(nth % 11), "while", nth as f32 + 1.0),
        2 => linked.unlink(&own, "e4", ""),
        3 => linked.link(&own, "e4", "late", nth as f32 + 1.0),
        4 => linked.store(&own, &[("e5", "again", 1.0)]),
        _ => linked.forget(&own),
    }
}
