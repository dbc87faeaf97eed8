//! A space against a plain map, through every order of stores, deaths and consolidations.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::arena::{CHUNK_BYTES, Region};
use crate::episode::{
    Conditions, Confidence, Durability, Effort, Episode, Link, Metric, Priority, RecallRequest,
    StoreRequest, Ttl,
};
use crate::filter::Filter;
use crate::format::columns::{ColumnsDirectory, ColumnsIdentity, ColumnsPlace, ColumnsWriter};
use crate::format::{FrameHead, Operation, StoreFacts, encode_store, store_sizes};
use crate::kernels::{kernels, padded};
use crate::recall::{Recall, Scratch};
use crate::words::Language;

const DIMENSIONS: usize = 17;
const ALL: Fields = Fields {
    text: true,
    vector: true,
    metadata: true,
    links: true,
    gist_links: true,
    strength: Some(NonZero::<i64>::MAX),
    belief: None,
    why: false,
};
const WHOSE: ([u8; 16], u32, u64) = ([7; 16], 3, 12);

/// A file in memory, aligned as a mapped one.
fn mapped(bytes: &[u8]) -> ColumnsFile {
    let mut region = Region::new(bytes.len()).unwrap();
    region.copy_from_slice(bytes);
    Arc::new(region)
}

fn identity(through: u64) -> ColumnsIdentity {
    let (store_id, shard, number) = WHOSE;
    ColumnsIdentity { store_id, shard, number, through, created_at_us: 5 }
}

fn settings(metric: Metric) -> SpaceSettings {
    SpaceSettings { metric, ..SpaceSettings::usual("notes", DIMENSIONS as u32) }
}

/// Up to three links: to others, to itself, and to what is never stored.
fn links(id: u16, bits: u32) -> Vec<Link> {
    let link = |nth: u32| {
        let bits = bits >> (3 * nth);
        let target = match bits % 7 {
            0 => format!("id-{id}"),
            1 => format!("nobody-{}", bits % 5),
            other => format!("id-{}", (u32::from(id) + other) % 40),
        };
        let kind = ["", "near", "far"][nth as usize];
        Link { target: target.into(), weight: 0.5 + nth as f32, kind: kind.into() }
    };
    let count = if bits.is_multiple_of(3) { 0 } else { bits % 4 };
    (0..count).map(link).collect()
}

/// What was stored under an id, and when.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    sequence: u64,
    episode: Episode,
}

/// A consolidation under way.
enum Work {
    Nothing,
    Ordering(TimeOrder),
    Writing(Box<SectionWriter>, ColumnsWriter),
}

struct Bench {
    arena: Arena,
    space: Space,
    model: BTreeMap<String, Stored>,
    applied: u64,
    sources: Vec<PartNumber>,
    work: Work,
    out: Vec<u8>,
    file: Option<(Vec<u8>, ColumnsPlace)>,
}

impl Bench {
    fn new(metric: Metric) -> Self {
        Self {
            arena: Arena::reserve(64 * CHUNK_BYTES as u64, &|_| {}).unwrap(),
            space: Space::new(SpaceNumber(9), settings(metric)),
            model: BTreeMap::new(),
            applied: 0,
            sources: Vec::new(),
            work: Work::Nothing,
            out: Vec::new(),
            file: None,
        }
    }

    /// Stores an episode that follows from a few bits: many have the same vector and time.
    fn store(&mut self, id: u16, bits: u32) {
        self.applied += 1;
        let vector: Vec<f32> =
            (0..DIMENSIONS).map(|d| ((bits >> (d % 3)) % 4) as f32 - 1.5).collect();
        let vector: Vec<u8> = vector.iter().flat_map(|float| float.to_le_bytes()).collect();
        let episode = Episode {
            id: format!("id-{id}").into(),
            vector: vector.into(),
            text: texts(bits).into(),
            happened_at_us: Some(i64::from(bits % 11) - 5),
            confidence: Confidence::point((bits % 5) as f32 / 4.0).unwrap(),
            metadata: format!("{{\"n\":{}}}", bits % 3).into(),
            thread: ["", "thread", "other"][bits as usize % 3].into(),
            links: links(id, bits),
        };
        let request = StoreRequest {
            space: self.space.number,
            episode: episode.clone(),
            key: format!("key-{id}").into(),
            dedup: false,
            ttl: Ttl::Space,
            priority: Priority::Normal,
            durability: Durability::Disk,
            writer_uid: 1000,
        };
        let norm = kernels().validate(&episode.vector).unwrap() as f32;
        let (sizes, bytes) = store_sizes(&request);
        let mut payload = vec![0; bytes];
        encode_store(&request, sizes, StoreFacts::lasting(norm), &mut payload);
        let head = FrameHead {
            operation: Operation::Store as u16,
            recorded_at_us: self.applied as i64,
            happened_at_us: episode.happened_at_us.unwrap(),
            writer_uid: 1000,
        };
        let frame = Frame { sequence: self.applied, head, payload: &payload };
        let store = StorePayload::decode(&payload).unwrap();
        let replaced = self.space.insert(&mut self.arena, &frame, &store);
        let stored = Stored { sequence: self.applied, episode };
        assert_eq!(replaced, self.model.insert(format!("id-{id}"), stored).is_some());
    }

    fn forget(&mut self, id: u16) {
        self.applied += 1;
        let id = format!("id-{id}");
        let existed = self.space.remove(&self.arena, id.as_bytes(), self.applied);
        assert_eq!(existed, self.model.remove(&id).is_some());
    }

    /// Erases what was stored under an id.
    fn erase(&mut self, id: u16) {
        let name = format!("id-{id}");
        let Some(stored) = self.model.remove(&name) else { return };
        self.applied += 1;
        self.space.erase(&self.arena, stored.sequence, self.applied);
        assert_eq!(self.space.find(&self.arena, name.as_bytes()), None);
    }

    /// Begins a consolidation, with all sections or as few as possible.
    fn freeze(&mut self, takes_all: bool) {
        if !matches!(self.work, Work::Nothing) {
            return;
        }
        self.space.freeze(self.applied);
        let (frozen, through) = self.space.frozen().expect("just frozen");
        let count = match (takes_all, self.space.sections().len()) {
            (true, sections) => sections,
            (false, sections) => sections.saturating_sub(SECTIONS_MAX - 1),
        };
        let sections = self.space.sections().iter().take(count).map(Section::number);
        self.sources = std::iter::once(frozen).chain(sections).collect();
        self.work =
            Work::Ordering(TimeOrder::new(&self.space, &self.arena, self.sources.clone(), through));
    }

    /// Goes on with the consolidation by a slice; whether it ended with a publication.
    fn advance(&mut self) -> bool {
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Nothing => false,
            Work::Ordering(mut order) => {
                self.work = match order.step(&self.space, &self.arena, 40) {
                    false => Work::Ordering(order),
                    true => return self.begin_writing(order.finish()),
                };
                false
            }
            Work::Writing(mut section, mut writer) => {
                let done = section.step(&self.space, &self.arena, &mut writer, &mut self.out, 6000);
                if !done.unwrap() {
                    self.work = Work::Writing(section, writer);
                    return false;
                }
                let place = writer.finish(&mut self.out);
                assert_eq!(place.file_bytes(), self.out.len() as u64);
                self.file = Some((std::mem::take(&mut self.out), place));
                let (bytes, place) = self.file.as_ref().unwrap();
                let section_read = open(bytes, place);
                assert_eq!(section_read.verify(Language::English), Vec::<String>::new());
                check_links(&section_read);
                self.publish(Some(section_read), section.finish());
                true
            }
        }
    }

    fn begin_writing(&mut self, order: Vec<RowAt>) -> bool {
        let sources = &self.sources;
        let wanted = |part: Part<'_>| match sources.contains(&part.number()) {
            true => part.rows(),
            false => 0,
        };
        while !self.space.read_text(&self.arena, wanted, 3) {}
        let times: Vec<_> = order
            .iter()
            .map(|at| {
                let part = self.space.part(&self.arena, at.part).unwrap();
                part.columns(at.row).happened_at_us
            })
            .collect();
        assert!(times.is_sorted());
        if order.is_empty() {
            let moved = Moved::new(&self.space, &self.arena, &self.sources);
            self.publish(None, moved);
            return true;
        }
        let through = self.space.frozen().expect("it is being written").1;
        let mut writer = ColumnsWriter::new(identity(through), &mut self.out);
        let section = SectionWriter::new(
            &self.space,
            &self.arena,
            &self.sources,
            order,
            &mut writer,
            &mut self.out,
        );
        self.work = Work::Writing(Box::new(section), writer);
        false
    }

    fn publish(&mut self, mut section: Option<Section>, mut moved: Moved) {
        let in_memory = self.space.rows_in_memory();
        if let Some(section) = &mut section {
            // All but a few deaths follow before.
            moved.follow(&self.space, &self.arena, section, 3);
        }
        let is_some = section.is_some();
        let (part, mut retired) = self.space.publish(&self.arena, section, moved);
        assert_eq!(part.is_some(), is_some);
        assert_eq!(self.space.rows_in_memory(), in_memory - retired.rows());
        assert_eq!(self.space.frozen(), None);
        while !retired.release(&mut self.arena, 1) {}
    }

    fn consolidate(&mut self, takes_all: bool) {
        self.freeze(takes_all);
        while !self.advance() {}
    }

    fn check(&self) {
        assert_eq!(self.space.verify(&self.arena), Vec::<String>::new());
        assert_eq!(self.space.episodes(), self.model.len());
        for id in 0..40 {
            let id = format!("id-{id}");
            let found = self.space.find(&self.arena, id.as_bytes());
            let found = found.map(|at| self.space.read(&self.arena, at, ALL).unwrap());
            let found =
                found.map(|found| Stored { sequence: found.sequence.0, episode: found.into() });
            assert_eq!(found.as_ref(), self.model.get(&id));
        }
        let (mut seen, mut from) = (Vec::new(), Some(0));
        while let Some(position) = from {
            let page = self.space.scan(&self.arena, position, (7, usize::MAX), ALL).unwrap();
            seen.extend(page.episodes.iter().map(|episode| episode.sequence.0));
            from = page.next;
        }
        let mut wanted: Vec<_> = self.model.iter().collect();
        wanted.sort_by_key(|(id, _)| id_hash(id.as_bytes()));
        assert_eq!(seen, wanted.iter().map(|(_, stored)| stored.sequence).collect::<Vec<_>>());
        [0, self.applied / 2, self.applied].into_iter().for_each(|after| self.check_news(after));
    }

    /// Who follows from a sequence on sees what lives, each once, in order, in small pieces as well
    /// as at once.
    fn check_news(&self, after: u64) {
        let behind = self.model.values().filter(|stored| stored.sequence > after);
        let mut wanted: Vec<_> = behind.cloned().collect();
        wanted.sort_by_key(|stored| stored.sequence);
        for (count, rows_max) in [(usize::MAX, usize::MAX), (2, 3), (1, 1)] {
            let limits = NewsLimits { count, bytes_max: 100, rows_max };
            let (mut seen, mut from) = (Vec::new(), after);
            while from < self.applied {
                let asked = (from, self.applied);
                let news = self.space.news(&self.arena, asked, limits, ALL).unwrap();
                assert!(news.episodes.len() <= count && news.through >= from);
                seen.extend(news.episodes.into_iter().map(|episode| {
                    let sequence = episode.sequence.0;
                    Stored { sequence, episode: episode.into() }
                }));
                from = news.through;
            }
            assert_eq!(seen, wanted);
        }
    }
}

/// A text that follows from a few bits.
fn texts(bits: u32) -> String {
    let words = ["paint", "lake", "Rome?", "x", "sunrise.", "when", "Painted!"];
    let words = words.iter().enumerate().filter(|(nth, _)| bits >> nth & 1 == 1);
    let text = words.map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
    text + &"-".repeat(bits as usize % 50)
}

/// The columns of links say what the bodies say.
fn check_links(section: &Section) {
    assert!(section.links().is_none(), "nobody has tried them");
    while section.try_links(1) {}
    let (mut linked, none) = (0, Overlays::default());
    for row in 0..section.rows() {
        let part = Part::Section(section);
        let body = part.links(row, &none).unwrap();
        let mut said: Vec<_> =
            body.map(|(weight, target, kind)| (target.to_vec(), kind.to_vec(), weight)).collect();
        said.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        linked += said.len();
        let Some(links) = section.links() else { continue };
        assert_eq!(links.csr().scale(row).fan as usize, said.len());
        let id_of = |target: u32| match target.checked_sub(links.rows()) {
            None => part.body(target).unwrap().id.to_vec(),
            Some(far) => {
                let (hash, id) = links.far(far).unwrap();
                assert_eq!(hash, id_hash(id));
                assert!((0..section.rows()).all(|row| part.body(row).unwrap().id != id));
                id.to_vec()
            }
        };
        let edges = links.csr().edges_of(row).iter();
        let mut found: Vec<_> = edges
            .map(|edge| {
                let kind = links.kind(edge.kind).unwrap().to_vec();
                (id_of(edge.target), kind, edge.weight.get())
            })
            .collect();
        found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        assert_eq!(found, said);
    }
    assert_eq!(section.links().is_some(), linked > 0, "columns are there when they are needed");
}

fn open(bytes: &[u8], place: &ColumnsPlace) -> Section {
    let mut directory = ColumnsDirectory::decode(bytes, place, WHOSE).unwrap();
    assert_eq!(directory.sections.len(), 1);
    Section::open(mapped(bytes), directory.sections.remove(0)).unwrap()
}

fn request(metric: Metric, nth: u32) -> RecallRequest {
    let mut cue: Vec<f32> = (0..DIMENSIONS).map(|d| ((nth >> (d % 5)) % 3) as f32 - 0.8).collect();
    if metric == Metric::Cosine {
        let norm = cue.iter().map(|x| x * x).sum::<f32>().sqrt();
        cue.iter_mut().for_each(|x| *x /= norm);
    }
    let filter = || Arc::new(Filter::parse(b"{\"n\": {\"$lt\": 2}}").unwrap());
    let conditions = Conditions {
        since_us: nth.is_multiple_of(2).then_some(-3),
        until_us: nth.is_multiple_of(3).then_some(4),
        confidence_min: nth.is_multiple_of(5).then_some(0.25),
        filter: nth.is_multiple_of(7).then(filter),
        ..Conditions::default()
    };
    let k = 1 + nth as usize % 9;
    let space = SpaceNumber(9);
    RecallRequest {
        space,
        k,
        cue: cue.into(),
        conditions,
        effort: Effort::Usual,
        fields: ALL,
        bytes_max: usize::MAX,
    }
}

/// What a recall has to find: sequences, best first.
fn expected(model: &BTreeMap<String, Stored>, metric: Metric, request: &RecallRequest) -> Vec<u64> {
    let conditions = &request.conditions;
    let query = padded(&request.cue);
    let mut scored: Vec<_> = model
        .values()
        .filter(|stored| {
            let (episode, time) = (&stored.episode, stored.episode.happened_at_us.unwrap());
            conditions.since_us.is_none_or(|since| time >= since)
                && conditions.until_us.is_none_or(|until| time <= until)
                && conditions.confidence_min.is_none_or(|min| episode.confidence.point >= min)
                && conditions.filter.as_ref().is_none_or(|f| f.matches(&episode.metadata))
        })
        .map(|stored| {
            let bytes = &stored.episode.vector;
            let floats: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|le| f32::from_le_bytes(le.try_into().unwrap()))
                .collect();
            let key = match metric {
                Metric::Cosine => {
                    let norm = kernels().validate(bytes).unwrap() as f32;
                    kernels().dot(&query, &padded(&floats)) * (1.0 / norm)
                }
                Metric::Dot => kernels().dot(&query, &padded(&floats)),
                Metric::L2 => -kernels().l2(&query, &padded(&floats)),
            };
            (key, stored.sequence)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(request.k).map(|(_, sequence)| sequence).collect()
}

/// A recall under way, and what it has to find.
struct Asked {
    recall: Recall,
    model: BTreeMap<String, Stored>,
}

fn finish(bench: &Bench, metric: Metric, mut asked: Asked) {
    while !asked.recall.step(&bench.space, &bench.arena, &mut Scratch::default(), bench.applied, 1)
    {
    }
    let wanted = expected(&asked.model, metric, asked.recall.request());
    let hits = asked.recall.finish(&bench.space, &bench.arena).unwrap();
    let found: Vec<_> = hits.iter().map(|hit| hit.episode.sequence.0).collect();
    assert_eq!(found, wanted);
}

#[derive(Debug, Clone)]
enum Step {
    Store(u16, u32),
    Forget(u16),
    Erase(u16),
    Freeze(bool),
    Advance,
    Ask(u32),
    Finish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0..40_u16, any::<u32>()).prop_map(|(id, bits)| Step::Store(id, bits)),
        8 => (0..40_u16).prop_map(Step::Forget),
        2 => (0..40_u16).prop_map(Step::Erase),
        2 => any::<bool>().prop_map(Step::Freeze),
        20 => Just(Step::Advance),
        4 => any::<u32>().prop_map(Step::Ask),
        4 => Just(Step::Finish),
    ];
    proptest::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn behaves_like_a_map(
        metric in prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::L2)],
        steps in steps(),
    ) {
        let mut bench = Bench::new(metric);
        let mut asked: Option<Asked> = None;
        for step in steps {
            match step {
                Step::Store(id, bits) => bench.store(id, bits),
                Step::Forget(id) => bench.forget(id),
                Step::Erase(id) => bench.erase(id),
                Step::Freeze(takes_all) => bench.freeze(takes_all),
                Step::Advance => {
                    let published = bench.advance();
                    if let Some(asked) = asked.as_mut().filter(|_| published) {
                        // It begins again with its next step, which is now.
                        asked.model = bench.model.clone();
                        let scratch = &mut Scratch::default();
                        asked.recall.step(&bench.space, &bench.arena, scratch, bench.applied, 0);
                    }
                    if published {
                        bench.check();
                    }
                }
                Step::Ask(nth) => {
                    let request = request(metric, nth);
                    let recall =
                        Recall::new(request, &bench.space, &bench.arena, (bench.applied, 0));
                    let model = bench.model.clone();
                    if let Some(asked) = asked.replace(Asked { recall, model }) {
                        finish(&bench, metric, asked);
                    }
                }
                Step::Finish => {
                    if let Some(asked) = asked.take() {
                        finish(&bench, metric, asked);
                    }
                }
            }
        }
        bench.check();
        bench.consolidate(true);
        bench.check();
        for nth in 0..8 {
            let request = request(metric, nth);
            let recall = Recall::new(request, &bench.space, &bench.arena, (bench.applied, 0));
            finish(&bench, metric, Asked { recall, model: bench.model.clone() });
        }
        let in_use = bench.arena.bytes_in_use();
        let mut retired = bench.space.retire();
        while !retired.release(&mut bench.arena, 1) {}
        prop_assert!(bench.arena.bytes_in_use() == 0 && in_use <= 4 * CHUNK_BYTES as u64);
    }

    /// Whatever a columns file holds that nobody has verified, reading it ends.
    #[test]
    fn a_damaged_section_is_read_without_a_panic(
        flips in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..40),
        nth: u32,
    ) {
        let mut bench = Bench::new(Metric::Dot);
        (0..150).for_each(|id| bench.store(id, u32::from(id).wrapping_mul(0x9e37_79b9)));
        bench.consolidate(true);
        let (mut bytes, place) = bench.file.take().unwrap();
        let data = 4096..usize::try_from(place.directory_offset).unwrap();
        let sound = open(&bytes, &place);
        let mut changed = false;
        for (at, bits) in flips {
            let at = data.start + at as usize % data.len();
            let columns = &sound.entry().columns;
            changed |= bits != 0 && columns.iter().any(|column| column.range.contains(&at));
            bytes[at] ^= bits;
        }
        let section = open(&bytes, &place);
        let is_damaged = bytes.iter().zip(sound.file().iter()).any(|(a, b)| a != b);
        prop_assert_eq!(section.verify(Language::English).is_empty(), !(changed && is_damaged));
        let mut space = Space::new(SpaceNumber(9), settings(Metric::Dot));
        space.adopt(section);
        for id in 0..150 {
            let found = space.find(&bench.arena, format!("id-{id}").as_bytes());
            prop_assert!(found.is_none_or(|at| space.read(&bench.arena, at, ALL).is_ok()));
        }
        for sequence in 0..160 {
            space.erase(&bench.arena, sequence, 1000);
        }
        let _ = space.scan(&bench.arena, 0, (usize::MAX, usize::MAX), ALL);
        let _ = space.verify(&bench.arena);
        let mut recall = Recall::new(request(Metric::Dot, nth), &space, &bench.arena, (2000, 0));
        while !recall.step(&space, &bench.arena, &mut Scratch::default(), 2000, 1) {}
        let _ = recall.finish(&space, &bench.arena);
    }
}

#[test]
fn vectors_come_back_bit_by_bit_from_every_part() {
    let mut bench = Bench::new(Metric::L2);
    (0..700).for_each(|id| bench.store(id % 300, u32::from(id) * 77));
    bench.consolidate(false);
    (300..330).for_each(|id| bench.store(id, u32::from(id)));
    bench.consolidate(false);
    assert_eq!(bench.space.sections().len(), 2);
    (0..10).for_each(|id| bench.store(id, u32::from(id)));
    bench.check();
    assert_eq!(bench.space.rows_dead(), 10);
    bench.consolidate(true);
    assert_eq!((bench.space.sections().len(), bench.space.rows_dead()), (1, 0));
    assert_eq!((bench.space.rows(), bench.space.rows_in_memory()), (330, 0));
    bench.check();
}

#[test]
fn what_dies_later_is_still_news() {
    let mut bench = Bench::new(Metric::L2);
    (0..5).for_each(|id| bench.store(id, 1));
    let durable = bench.applied;
    bench.forget(1);
    bench.store(3, 2);
    let limits = NewsLimits { count: 100, bytes_max: usize::MAX, rows_max: 100 };
    let news = |snapshot| {
        let news = bench.space.news(&bench.arena, (0, snapshot), limits, ALL).unwrap();
        assert_eq!(news.through, snapshot);
        news.episodes.iter().map(|episode| episode.sequence.0).collect::<Vec<_>>()
    };
    assert_eq!(news(durable), [1, 2, 3, 4, 5], "what replaces and forgets may be lost yet");
    assert_eq!(news(durable + 1), [1, 3, 4, 5]);
    assert_eq!(news(durable + 2), [1, 3, 5, 7]);
}

#[test]
fn what_died_before_a_restart_stays_dead() {
    let mut bench = Bench::new(Metric::Dot);
    (0..80).for_each(|id| bench.store(id, u32::from(id)));
    bench.consolidate(true);
    (0..80).step_by(3).for_each(|id| bench.forget(id));
    let dead: Vec<_> = bench.space.sections()[0].deaths().all().collect();
    let (bytes, place) = bench.file.take().unwrap();
    let mut section = open(&bytes, &place);
    dead.iter().for_each(|(row, at)| section.bury(*row, *at));
    section.bury(80, 1);
    let mut space = Space::new(SpaceNumber(9), settings(Metric::Dot));
    space.adopt(section);
    bench.space = space;
    bench.check();
}

#[test]
fn an_attempt_that_failed_is_made_again_with_what_died_since() {
    let mut bench = Bench::new(Metric::Dot);
    (0..80).for_each(|id| bench.store(id, u32::from(id)));
    bench.freeze(true);
    let through = bench.space.frozen().unwrap();
    bench.forget(5);
    (0..3).for_each(|_| assert!(!bench.advance()));
    bench.forget(6);
    bench.work = Work::Nothing;
    bench.out.clear();
    bench.store(7, 1);
    bench.freeze(true);
    assert_eq!(bench.space.frozen(), Some(through), "the first freeze holds");
    bench.consolidate(true);
    assert_eq!(bench.space.sections()[0].rows(), 80, "deaths may not be durable: all are written");
    bench.check();
}
