//! What must be there: every version of every id, and what was promised about it.
//!
//! A version is what a write makes of an id: an episode, or nothing. Writes of an id are sent in
//! order and answered in order, so its versions are in order too. What a reader may see is the last
//! version that is certain or any version behind it that was sent. What makes a version certain
//! depends on what happened since:
//!
//! | | nothing, or a clean stop | kill | power loss |
//! |---|---|---|---|
//! | acknowledged, `DUR disk` | certain | certain | certain |
//! | acknowledged, `DUR os` | certain | certain | certain if recovered, gone if not |
//! | not acknowledged | possible | possible | possible |
//!
//! What a restart shows is certain from then on, whatever it was before.
//!
//! A change of links is a version too: the episode of the version before it, with other links. So
//! is what supersedes an episode: of several the first counts. What that is shows when the writes
//! before it are answered, so it is worked out anew whenever one is.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::wire::Value;

/// Field of the metadata by which the memory spaces find threads.
pub const THREAD_FIELD: &str = "w";

/// By target and kind.
pub type Links = BTreeMap<(String, String), f32>;

/// The content of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    pub text: String,
    pub vector: Vec<f32>,
    pub happened_at: i64,
    /// With the provenance that it is stored with.
    pub metadata: String,
    /// Point, low and high, in eighths.
    pub confidence: [f32; 3],
    /// That it is stored with.
    pub links: Links,
}

impl Episode {
    /// The metadata without the provenance, and the names behind WRITER and SOURCE.
    pub fn provenance(&self) -> (&str, [Option<&str>; 2]) {
        let name = |field: &str| {
            let (_, behind) = self.metadata.split_once(&format!("\"{field}\":\""))?;
            behind.split('"').next()
        };
        let own = self.metadata.find("\"writer\"").or(self.metadata.find("\"source\""));
        let own = &self.metadata[..own.unwrap_or(self.metadata.len())];
        (own.trim_end_matches(['{', ',']), ["writer", "source"].map(name))
    }

    /// The one that its memory space finds in the metadata: the write, if it is there.
    fn thread(&self) -> Option<&str> {
        let (_, behind) = self.metadata.split_once(&format!("\"{THREAD_FIELD}\":"))?;
        behind.split([',', '}']).next()
    }

    pub fn blob(&self) -> Vec<u8> {
        self.vector.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The write that first had this content: its text begins with it.
    pub fn first_write(&self) -> u64 {
        writes_in(self.text.as_bytes()).next().expect("a text names its write")
    }

    fn confidence_shown(&self) -> Value {
        Value::List(self.confidence.map(|part| Value::Number(part.into())).into())
    }

    /// Whether a reply with text, vector and metadata is this episode.
    pub fn is(&self, reply: &Value) -> bool {
        let part = |name| reply.get(name).and_then(Value::bytes);
        part("text") == Some(self.text.as_bytes())
            && part("vec") == Some(&self.blob())
            && part("meta").unwrap_or_default() == self.metadata.as_bytes()
            // Hits do not tell it.
            && (reply.get("writer_uid").is_none()
                || part("thread") == self.thread().map(str::as_bytes))
            && reply.get("confidence") == Some(&self.confidence_shown())
            && reply.get("happened_at").and_then(Value::number) == Some(self.happened_at as f64)
    }
}

/// What every text begins with, in front of the number of its write and a semicolon.
pub const TEXT_MARK: &[u8] = b"write ";

/// The writes whose texts are somewhere in these bytes.
pub fn writes_in(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let marks = bytes.iter().enumerate().filter(|(_, byte)| **byte == TEXT_MARK[0]);
    let marks = marks.filter(|(at, _)| bytes[*at..].starts_with(TEXT_MARK));
    marks.filter_map(|(at, _)| {
        let rest = &bytes[at + TEXT_MARK.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_whole = rest.get(digits) == Some(&b';');
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok().filter(|_| is_whole)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Sent, and perhaps answered with an error that leaves it open.
    None,
    Os,
    Disk,
}

/// The links in a reply; `None` when two are alike.
pub fn links_of(reply: &Value) -> Option<Links> {
    let listed = reply.get("links").map(Value::list).unwrap_or_default();
    let link = |link: &Value| {
        let text = |name| link.get(name).and_then(Value::text).unwrap_or_default().to_owned();
        let weight = link.get("weight").and_then(Value::number).expect("a link has a weight");
        ((text("id"), text("kind")), weight as f32)
    };
    let mut links: Links = listed.iter().map(link).collect();
    let are_different = links.len() == listed.len();
    // No client makes such ones.
    links.retain(|(_, kind), _| kind != "dream");
    are_different.then_some(links)
}

/// What a write does to an id.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It becomes an episode, or nothing.
    Whole(Option<Rc<Episode>>),
    /// It becomes nothing, and so do all versions before.
    Erase,
    Link {
        to: String,
        kind: String,
        weight: f32,
    },
    /// Of all kinds when the kind is empty.
    Unlink {
        to: String,
        kind: String,
    },
    Supersede(By),
    /// One more presentation.
    Reinforce,
    /// It fades no more, or does again.
    Pin(bool),
}

/// What an episode is superseded by, and when that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    pub id: String,
    pub valid_until: i64,
}

impl By {
    /// What a reply shows.
    pub fn of(reply: &Value) -> Option<Self> {
        let id = reply.get("superseded_by")?.text()?.to_owned();
        let valid_until = reply.get("valid_until").and_then(Value::number).expect("both or none");
        Some(Self { id, valid_until: valid_until as i64 })
    }
}

/// What an id may be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    pub episode: Option<Rc<Episode>>,
    pub links: Links,
    pub superseded: Option<By>,
    /// The sequence that the episode was stored with, if that is known.
    pub stored: Option<u64>,
    /// Presentations besides the first.
    pub reinforced: u64,
    pub is_pinned: bool,
}

impl State {
    /// Whether a reply to a get is this, in a space whose recalls count as presentations or not.
    pub fn is_shown(&self, reply: &Value, recalls_count: bool) -> bool {
        match (&self.episode, reply) {
            (None, Value::Nil) => true,
            (Some(episode), Value::Map(_)) => {
                episode.is(reply)
                    && links_of(reply).as_ref() == Some(&self.links)
                    && By::of(reply) == self.superseded
                    && self.stored.is_none_or(|stored| stored == reply.count("seq"))
                    && reply.get("strength").is_some_and(|own| self.is_strength(own, recalls_count))
            }
            _ => false,
        }
    }

    fn is_strength(&self, strength: &Value, recalls_count: bool) -> bool {
        let (known, told) = (1 + self.reinforced, strength.count("presentations"));
        let is_pinned = strength.count("pinned") != 0;
        (told == known || recalls_count && told > known) && is_pinned == self.is_pinned
    }

    /// What a change makes of it; a link of nothing changes nothing.
    fn with(&self, change: &Change, sequence: Option<u64>) -> Self {
        let mut state = self.clone();
        match change {
            Change::Whole(episode) => {
                let links = episode.as_ref().map(|own| own.links.clone()).unwrap_or_default();
                let (episode, stored) = (episode.clone(), sequence);
                return Self { episode, links, stored, ..Self::default() };
            }
            Change::Erase => return Self { stored: sequence, ..Self::default() },
            _ if self.episode.is_none() => {}
            Change::Supersede(by) => {
                state.superseded.get_or_insert_with(|| by.clone());
            }
            Change::Link { to, kind, weight } => {
                state.links.insert((to.clone(), kind.clone()), *weight);
            }
            Change::Unlink { to, kind } => {
                let is_kind = |own: &str| kind.is_empty() || own == kind;
                state.links.retain(|(target, own), _| target != to || !is_kind(own));
            }
            Change::Reinforce => state.reinforced += 1,
            Change::Pin(is_pinned) => state.is_pinned = *is_pinned,
        }
        state
    }
}

#[derive(Debug, Clone)]
pub struct Version {
    /// Number of the write that made it, in the order of sending.
    pub write: u64,
    pub change: Change,
    /// What it is if every write before it was carried out; then what else it may be.
    pub states: Vec<State>,
    /// The same, and what was before it if it may not have been carried out.
    after: Vec<State>,
    pub sequence: Option<u64>,
    pub promise: Promise,
}

impl Version {
    fn sent(write: u64, change: Change) -> Self {
        let state = State::default().with(&change, None);
        let (states, after) = (vec![state.clone()], vec![state]);
        Self { write, change, states, after, sequence: None, promise: Promise::None }
    }

    /// A version that is what was seen.
    pub fn seen(&self, state: State, sequence: Option<u64>) -> Self {
        let (states, after) = (vec![state.clone()], vec![state]);
        Self { states, after, sequence, ..self.clone() }
    }

    /// What it is, as far as anybody knows.
    pub fn state(&self) -> &State {
        &self.states[0]
    }

    pub fn episode(&self) -> Option<&Rc<Episode>> {
        self.state().episode.as_ref()
    }

    /// The episode, if nothing supersedes it.
    pub fn believed(&self) -> Option<&Rc<Episode>> {
        self.episode().filter(|_| self.state().superseded.is_none())
    }

    /// An erase that was not answered may have overwritten the version before it. When then what
    /// says so is lost, those before that one are back.
    fn is_open_erase(&self) -> bool {
        self.change == Change::Erase && self.promise == Promise::None
    }

    /// Works out what the change makes of the version before.
    fn follow(&mut self, before: &Self) {
        self.states.clear();
        for state in &before.after {
            let state = state.with(&self.change, self.sequence);
            if !self.states.contains(&state) {
                self.states.push(state);
            }
        }
        self.after = self.states.clone();
        if self.promise == Promise::None {
            let is_new = |state: &&State| !self.states.contains(state);
            self.after.extend(before.after.iter().filter(is_new).cloned());
        }
    }
}

/// How a daemon's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Drained,
    Killed,
    PowerLost,
}

/// The versions of one id, from the last that was certain.
#[derive(Debug, Clone)]
pub struct History {
    versions: Vec<Version>,
    /// Sent beside others, so their place is not known until they are answered.
    floating: Vec<Version>,
    /// Versions that were replaced; when what replaced them is lost they come back.
    past: Vec<Version>,
    /// All writes of an episode that were ever sent, with the one that first had this content; and
    /// of links, whose targets may name them too.
    sent: Vec<(u64, u64)>,
    /// All links that were ever sent, and all that was to supersede it.
    linked: Vec<((String, String), f32)>,
    superseded: Vec<By>,
}

impl Default for History {
    fn default() -> Self {
        let nothing = Version { promise: Promise::Disk, ..Version::sent(0, Change::Whole(None)) };
        Self {
            versions: vec![nothing],
            floating: Vec::new(),
            past: Vec::new(),
            sent: Vec::new(),
            linked: Vec::new(),
            superseded: Vec::new(),
        }
    }
}

impl History {
    pub fn send(&mut self, write: u64, episode: Option<Rc<Episode>>) {
        self.sent.extend(episode.iter().map(|episode| (write, episode.first_write())));
        self.send_change(write, Change::Whole(episode));
    }

    pub fn send_link(&mut self, write: u64, change: Change) {
        self.sent.push((write, write));
        self.send_change(write, change);
    }

    pub fn send_erase(&mut self, write: u64) {
        self.send_change(write, Change::Erase);
    }

    fn send_change(&mut self, write: u64, change: Change) {
        match &change {
            Change::Link { to, kind, weight } => {
                self.linked.push(((to.clone(), kind.clone()), *weight));
            }
            Change::Whole(Some(episode)) => self.linked.extend(episode.links.clone()),
            Change::Supersede(by) => self.superseded.push(by.clone()),
            Change::Whole(None)
            | Change::Erase
            | Change::Unlink { .. }
            | Change::Reinforce
            | Change::Pin(_) => {}
        }
        self.versions.push(Version::sent(write, change));
        self.follow();
    }

    pub fn send_floating(&mut self, write: u64, episode: Rc<Episode>) {
        self.linked.extend(episode.links.clone());
        let mut version = Version::sent(write, Change::Whole(Some(episode)));
        version.follow(&self.versions[0]);
        self.floating.push(version);
    }

    /// Works out every version from the first on.
    fn follow(&mut self) {
        for nth in 1..self.versions.len() {
            let (before, own) = self.versions.split_at_mut(nth);
            own[0].follow(&before[nth - 1]);
        }
    }

    /// The version that the next write changes, as far as anybody knows.
    pub fn last(&self) -> &Version {
        self.versions.last().expect("there is always one")
    }

    /// Whether all of these links were sent at some time.
    pub fn has_sent(&self, links: &Links) -> bool {
        links.iter().all(|(link, weight)| self.linked.contains(&(link.clone(), *weight)))
    }

    /// Whether this was sent at some time.
    pub fn has_sent_superseder(&self, by: &By) -> bool {
        self.superseded.contains(by)
    }

    /// First writes of contents that were sent before a write and not again since.
    pub fn contents_before(&self, write: u64) -> impl Iterator<Item = u64> {
        let is_again = move |first: u64| {
            self.sent.iter().any(|(sent, other)| *sent > write && *other == first)
        };
        let before = self.sent.iter().filter(move |(sent, _)| *sent < write);
        before.map(|(_, first)| *first).filter(move |first| !is_again(*first))
    }

    /// The write happened before this, and nobody knows before what else.
    pub fn land(&mut self, write: u64) {
        let landed = self.floating.extract_if(.., |version| version.write == write);
        self.versions.extend(landed);
        self.follow();
    }

    pub fn acknowledge(&mut self, write: u64, sequence: Option<u64>, promise: Promise) {
        let before = self.versions.iter().filter(|version| version.write < write);
        let last = before.filter_map(|version| version.sequence).max();
        assert!(
            sequence.is_none() || last.is_none() || sequence > last,
            "write {write} has sequence {sequence:?}, one before it had {last:?}"
        );
        let version = self.versions.iter_mut().find(|version| version.write == write);
        let version = version.unwrap_or_else(|| panic!("write {write} is open"));
        (version.sequence, version.promise) = (sequence, promise);
        self.follow();
    }

    /// A repetition was answered with the sequence of the first store: what was promised for the
    /// repetition holds for it.
    pub fn confirm(&mut self, sequence: u64, promise: Promise) {
        let first = self.versions.iter_mut().find(|version| version.sequence == Some(sequence));
        if let Some(first) = first {
            first.promise = first.promise.max(promise);
        }
    }

    /// The write changed nothing.
    pub fn take_back(&mut self, write: u64) {
        self.versions.retain(|version| version.write != write);
        self.floating.retain(|version| version.write != write);
        self.follow();
    }

    /// What a reader that was sent after this write may see.
    pub fn possible(&self, write: u64) -> impl Iterator<Item = &Version> {
        let certain = |version: &Version| version.promise > Promise::None && version.write <= write;
        let from = self.versions.iter().rposition(certain).unwrap_or(0);
        self.versions[from..].iter().chain(&self.floating)
    }

    /// The only thing a reader may see, if there is only one.
    pub fn certain(&self, write: u64) -> Option<&Version> {
        let mut possible = self.possible(write);
        let first = possible.next();
        first.filter(|first| possible.next().is_none() && first.states.len() == 1)
    }

    /// The version right before a write, if it is certain.
    pub fn before(&self, write: u64) -> Option<&Version> {
        let before = self.versions.iter().rev().find(|version| version.write < write)?;
        let is_certain = before.promise > Promise::None && before.states.len() == 1;
        (is_certain && self.floating.is_empty()).then_some(before)
    }

    /// What a restart may show when everything up to a sequence was recovered.
    pub fn possible_after(&self, end: End, reached: u64) -> Vec<&Version> {
        let certain = |version: &Version| match version.promise {
            Promise::Disk => true,
            Promise::Os => end != End::PowerLost || version.sequence.is_some_and(|n| n <= reached),
            Promise::None => version.sequence.is_some_and(|n| n <= reached),
        };
        let from = self.versions.iter().rposition(certain).unwrap_or(0);
        let lost = |version: &&Version| version.sequence.is_some_and(|n| n > reached);
        let kept = self.versions[from..].iter().chain(&self.floating);
        kept.filter(|version| !lost(version) || version.promise == Promise::Disk).collect()
    }

    /// What a restart may show when the end of the log is lost and nothing can tell: what was
    /// recovered is in order all the same.
    pub fn possible_after_silent_loss(&self, reached: u64) -> Vec<&Version> {
        let is_there = |version: &Version| version.sequence.is_some_and(|n| n <= reached);
        let from = self.versions.iter().rposition(is_there).unwrap_or(0);
        let kept = self.versions[from..].iter().chain(&self.floating);
        let mut possible: Vec<_> =
            kept.filter(|version| version.sequence.is_none_or(|n| n <= reached)).collect();
        if possible.iter().any(|version| version.is_open_erase()) {
            possible.extend(self.past.iter().chain(&self.versions));
        }
        possible
    }

    /// The sequence that must have survived.
    pub fn must_reach(&self, end: End) -> u64 {
        let least = if end == End::PowerLost { Promise::Disk } else { Promise::Os };
        let last = self.versions.iter().rfind(|version| version.promise >= least);
        last.and_then(|version| version.sequence).unwrap_or(0)
    }

    /// What a restart may show when some sequences are lost, and said to be.
    pub fn possible_after_loss(
        &self,
        end: End,
        reached: u64,
        is_lost: impl Fn(u64) -> bool,
    ) -> Vec<&Version> {
        let is_there = |version: &Version| !version.sequence.is_some_and(&is_lost);
        let mut possible = self.possible_after(end, reached);
        // Links may be left that changed behind a store that is lost.
        let is_stored = |version: &Version| !version.state().stored.is_some_and(&is_lost);
        let is_certain = possible
            .first()
            .is_some_and(|last| last.sequence.is_some() && is_there(last) && is_stored(last));
        let is_erasing = possible.iter().any(|version| version.is_open_erase());
        possible.retain(|version| is_there(version));
        if !is_certain || is_erasing {
            // A forget or a drop may be among what is lost.
            let before = self.past.iter().chain(&self.versions);
            possible.extend(before.filter(|version| is_there(version)));
        }
        possible
    }

    /// What was seen after a restart is certain.
    pub fn settle(&mut self, seen: Version) {
        // Before its first version an id led nowhere, and does again when that one is lost.
        let may_return =
            |version: &Version| version.sequence.is_some() || version.episode().is_none();
        self.past.extend(self.versions.drain(..).filter(may_return));
        self.versions = vec![Version { promise: Promise::Disk, ..seen }];
        self.floating.clear();
    }

    /// Every version that was ever sent and may still matter.
    pub fn all(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter().chain(&self.floating)
    }
}

/// Whether a memory space is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    Yes,
    No,
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Cosine,
    Dot,
    L2,
}

impl Measure {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::L2 => "l2",
        }
    }

    /// By definition, in f64.
    pub fn similarity(self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot = |x: &[f32], y: &[f32]| -> f64 {
            x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        match self {
            Self::Dot => dot(a, b),
            Self::Cosine => dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()),
            Self::L2 => 1.0 / (1.0 + pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Space {
    pub name: String,
    pub dimensions: usize,
    pub code_bits: u32,
    /// As it is written.
    pub fan: &'static str,
    pub fan_cap: u32,
    pub measure: Measure,
    /// Links may come that no client has asked for.
    pub dreams: bool,
    /// How many shards it spans.
    pub span: usize,
    /// Whether being recalled is a presentation: else recalls only look.
    pub recalls_count: bool,
    pub existence: Existence,
    pub ids: BTreeMap<String, History>,
}

impl Space {
    /// A drop is a forget of everything.
    pub fn send_drop(&mut self, write: u64) {
        self.existence = Existence::Open;
        self.ids.values_mut().for_each(|history| history.send(write, None));
    }

    pub fn acknowledge_drop(&mut self, write: u64) {
        self.existence = Existence::No;
        for history in self.ids.values_mut() {
            if history.all().any(|version| version.write == write) {
                history.acknowledge(write, None, Promise::Disk);
            }
        }
    }

    /// Everything that was ever written to the space, to ask for by its words.
    pub fn written(&self) -> Vec<u64> {
        let versions = self.ids.values().flat_map(History::all);
        let episodes = versions.filter_map(Version::episode);
        episodes.map(|episode| episode.first_write()).collect()
    }

    /// Checks what a question for the number of a write found: the text that names it, if it is
    /// there, and nothing else. Everything is certain.
    pub fn check_question(&self, write: u64, reply: &Value) {
        let there = self.ids.iter().filter(|(_, history)| {
            let version = history.certain(u64::MAX).expect("all is certain");
            version.believed().is_some_and(|episode| episode.first_write() == write)
        });
        let expected: Vec<&str> = there.map(|(id, _)| &id[..]).collect();
        let hits = reply.list().iter();
        let found: Vec<&str> = hits.filter_map(|hit| hit.get("id").and_then(Value::text)).collect();
        assert_eq!(found, expected, "a question for write {write} in {}", self.name);
    }

    /// Checks a recall against a scan of the episodes that are there for certain; `false` when not
    /// everything is certain.
    pub fn check_recall(&self, write: u64, cue: &[f32], k: usize, reply: &Value) -> bool {
        let mut expected = Vec::new();
        for (id, history) in &self.ids {
            let Some(version) = history.certain(write) else { return false };
            let Some(episode) = version.believed() else { continue };
            expected.push((self.measure.similarity(cue, &episode.vector), id, version));
        }
        let is_shown = |version: &Version, hit: &Value| {
            version.episode().is_some_and(|episode| episode.is(hit))
                && links_of(hit).as_ref() == Some(&version.state().links)
        };
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        let hits = reply.list();
        assert_eq!(hits.len(), k.min(expected.len()), "hits of a recall in {}", self.name);
        for (hit, (best, ..)) in hits.iter().zip(&expected) {
            let id = hit.id();
            let (own, _, version) = expected
                .iter()
                .find(|(_, expected, _)| *expected == id)
                .unwrap_or_else(|| panic!("a recall in {} found {id}", self.name));
            let got = hit.get("similarity").and_then(Value::number).expect("a similarity");
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * (1.0 + a.abs());
            assert!(
                close(got, *own) && close(got, *best) && is_shown(version, hit),
                "a recall in {} found {id} with {got}: it has {own}, the next best {best}",
                self.name
            );
        }
        true
    }
}
