//! One memory space on one shard: a few parts, and one live row for each id.
//!
//! | Part | Holds | Where |
//! |---|---|---|
//! | active [`Tail`] | what was stored since the last freeze | in memory, grows |
//! | frozen [`Tail`] | during a consolidation, what it writes | in memory |
//! | [`Section`]s, two at most | what was consolidated | mapped |
//!
//! Rows are numbered inside their part and never move while it lives. An episode that is replaced
//! or forgotten leaves a dead row where it lies; recalls that began before still see it. An id that
//! lives is alive in exactly one part.
//!
//! # A consolidation, as a space sees it
//!
//! 1. [`freeze`](Space::freeze): the active tail takes no more rows, a new one does. Every part
//!    begins to note who dies in it.
//! 2. [`TimeOrder`] or an index decides the order of the survivors; [`SectionWriter`] writes them.
//!    Both work in slices, while rows of the sources go on dying.
//! 3. [`publish`](Space::publish): the section takes the place of its sources. What was noted since
//!    the freeze dies in it too, by [`Moved`]. [`Retired`] is what they leave behind.
//!
//! Should it fail between 1 and 3, the frozen tail stays, and the next attempt takes it again.

mod archive;
mod asked;
mod associations;
mod bodies;
mod buckets;
mod centroid;
mod codes;
mod deaths;
mod expiries;
mod fading;
mod fresh;
mod ids;
mod links;
mod news;
mod opinions;
mod part;
mod rows;
mod section;
mod section_writer;
mod sorter;
mod strengths;
mod superseded;
mod tail;
#[cfg(test)]
mod tests;
mod text;
mod text_writer;

use std::collections::VecDeque;

use crate::arena::Arena;
use crate::episode::{FadingPolicy, Fields, Refusal, SpaceNumber, SpaceSettings, StoredEpisode};
use crate::format::{Frame, LinkPayload, LinkRecords, StorePayload, StoreSizes, UnlinkPayload};
use crate::limits::EPISODE_LINKS_MAX;
use crate::links::{LinkList, TooManyLinks};
use crate::words::Analyser;
use asked::Asked;
use bodies::BodyAt;
use fading::fades_us;
use fresh::Fresh;
use links::Change;

pub use archive::Standing;
pub use associations::Associations;
pub use buckets::TailBuckets;
pub use codes::{CATCH_UP_ROWS, CODED_DIMENSIONS_MIN, CODED_ROWS_MIN, TailCodes};
pub use deaths::{ALIVE, Deaths};
pub use expiries::NEVER;
pub use fading::FadingPass;
pub use fresh::FreshUser;
pub use ids::{Home, POSITION_SHIFT, id_hash, position};
pub use links::{Marks, Overlays};
pub use news::{News, NewsLimits};
pub use part::{BlockView, Body, Damaged, Part, PartNumber, RowAt, Zone};
pub use rows::{Columns, Record};
pub use section::{ColumnsFile, MappedBytes, Section, TRIED_BLOCKS};
pub use section_writer::{Moved, SectionWriter, TimeOrder};
pub(crate) use strengths::Changed;
pub use strengths::{Kept, Strengths};
pub use superseded::{SupersededBy, Supersessions};
pub use tail::Tail;

/// Sections of a space: a large one, and a medium one that is merged into it from time to time.
pub const SECTIONS_MAX: usize = 2;
/// Rows whose links are given back at once, and what superseded them.
const RELEASED_LINKS: usize = 64;
const RELEASED_SUPERSESSIONS: usize = 64;
/// Entries of strengths that are given back at once.
const RELEASED_STRENGTHS: usize = 1024;

/// See the top of the file.
#[derive(Debug)]
pub struct Space {
    pub number: SpaceNumber,
    pub settings: SpaceSettings,
    tail: Tail,
    frozen: Option<Tail>,
    /// What had been applied when the frozen tail was frozen.
    frozen_through: u64,
    /// The newest first.
    sections: Vec<Section>,
    last_part: u64,
    /// How often parts were replaced by others.
    publications: u64,
    asked: Asked,
    overlays: Overlays,
    strengths: Strengths,
    /// Episodes that came with an id that was not there.
    added: u64,
    /// See [`newest`](Self::newest).
    newest: u64,
    /// Rows that expire by this time are hidden; of these, those that wait for a frame to end them.
    expired_us: i64,
    expired: VecDeque<u64>,
    /// How long an episode that was presented once is not archived, in µs.
    archived_after_us: i64,
    /// Once a text was read.
    analyser: Option<Box<Analyser>>,
    /// Whether anyone ever asked for words.
    asked_for_words: bool,
    /// Once something was spread.
    fresh: Option<Box<Fresh>>,
}

/// Parts that a section has replaced, or of a space that was dropped. Giving back a large tail
/// takes long, so it is done in slices.
#[derive(Debug)]
#[must_use = "the memory of a tail is the arena's"]
pub struct Retired {
    tails: Vec<Tail>,
    sections: Vec<Section>,
    overlays: Overlays,
    strengths: Strengths,
}

impl Retired {
    /// Rows that are not in memory any more.
    pub fn rows(&self) -> u64 {
        self.tails.iter().map(|tail| u64::from(tail.deaths.rows())).sum()
    }

    /// Gives up to `chunks` of memory back; whether that was all.
    pub fn release(&mut self, arena: &mut Arena, chunks: usize) -> bool {
        self.sections.retain_mut(|section| {
            let has_text = section.text.as_mut().is_some_and(|text| !text.release_some());
            has_text || !section.supersessions.release_some(RELEASED_SUPERSESSIONS)
        });
        if !self.sections.is_empty() {
            return false;
        }
        if !self.overlays.release_some(RELEASED_LINKS) {
            return false;
        }
        if !self.strengths.release_some(RELEASED_STRENGTHS) {
            return false;
        }
        if self.tails.last_mut().is_some_and(|tail| tail.release_some(arena, chunks)) {
            self.tails.pop();
        }
        self.tails.is_empty()
    }
}

/// A row that was ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    /// The sequence that it was stored with.
    stored: u64,
    /// Whether readers saw it until then.
    was_seen: bool,
}

/// One page of a scan.
#[derive(Debug)]
pub struct Page {
    pub episodes: Vec<StoredEpisode>,
    /// The position where the next page begins; `None` at the end.
    pub next: Option<u64>,
}

impl Space {
    pub fn new(number: SpaceNumber, settings: SpaceSettings) -> Self {
        let tail = Tail::new(PartNumber(1), &settings);
        let below = settings.lifetime.archive.map(FadingPolicy::below);
        Self {
            number,
            archived_after_us: below.map_or(i64::MAX, |below| fades_us(settings.decay, below)),
            settings,
            tail,
            frozen: None,
            frozen_through: 0,
            sections: Vec::new(),
            last_part: 1,
            publications: 0,
            asked: Asked::default(),
            overlays: Overlays::default(),
            strengths: Strengths::default(),
            added: 0,
            newest: 0,
            expired_us: i64::MIN,
            expired: VecDeque::new(),
            analyser: None,
            asked_for_words: false,
            fresh: None,
        }
    }

    fn next_part(&mut self) -> PartNumber {
        self.last_part += 1;
        PartNumber(self.last_part)
    }

    pub fn dimensions(&self) -> usize {
        self.settings.dimensions as usize
    }

    /// Adds a section that was written before the process began; the newest comes last.
    ///
    /// # Panics
    /// When it is of another space, or one too many.
    pub fn adopt(&mut self, mut section: Section) -> PartNumber {
        let own = (self.number, self.settings.dimensions);
        assert_eq!((section.space(), section.dimensions()), own, "sections belong to one space");
        assert!(self.sections.len() < SECTIONS_MAX, "a space has {SECTIONS_MAX} sections at most");
        section.number = self.next_part();
        section.open_index(self.settings.metric);
        section.hide_expired(self.expired_us);
        let number = section.number;
        self.sections.insert(0, section);
        number
    }

    /// The parts, in the order in which an id is looked for.
    pub fn parts<'a>(&'a self, arena: &'a Arena) -> impl Iterator<Item = Part<'a>> {
        let tails = std::iter::once(&self.tail).chain(&self.frozen);
        let tails = tails.map(|tail| Part::Tail(tail, arena));
        tails.chain(self.sections.iter().map(Part::Section))
    }

    pub fn part<'a>(&'a self, arena: &'a Arena, number: PartNumber) -> Option<Part<'a>> {
        self.parts(arena).find(|part| part.number() == number)
    }

    /// The newest first.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Takes note of a cue that a recall looked for.
    pub fn note_asked(&mut self, cue: &[f32]) {
        self.asked.note(cue);
    }

    /// Cues that were asked for, once there are enough to measure anything.
    pub fn asked(&self) -> Option<&[Vec<f32>]> {
        self.asked.enough()
    }

    /// A section, to be measured with what was asked for.
    pub(crate) fn section_and_asked(
        &mut self,
        part: PartNumber,
    ) -> Option<(&mut Section, Option<&[Vec<f32>]>)> {
        let section = self.sections.iter_mut().find(|section| section.number == part)?;
        Some((section, self.asked.enough()))
    }

    /// How often parts were replaced by others: who holds rows across such a moment has to begin
    /// again.
    pub fn publications(&self) -> u64 {
        self.publications
    }

    /// Episodes that a recall can find.
    pub fn episodes(&self) -> usize {
        let hidden: usize = self.all_deaths().map(|deaths| deaths.hidden() as usize).sum();
        self.rows() - self.rows_dead() - hidden
    }

    /// Rows of all parts, dead ones included.
    pub fn rows(&self) -> usize {
        self.all_deaths().map(|deaths| deaths.rows() as usize).sum()
    }

    pub fn rows_dead(&self) -> usize {
        self.all_deaths().map(|deaths| deaths.dead() as usize).sum()
    }

    /// Rows that are in memory.
    pub fn rows_in_memory(&self) -> u64 {
        std::iter::once(&self.tail).chain(&self.frozen).map(|t| u64::from(t.deaths.rows())).sum()
    }

    /// Rows of the frozen tail, dead ones included.
    pub fn rows_frozen(&self) -> u64 {
        self.frozen.as_ref().map_or(0, |frozen| u64::from(frozen.deaths.rows()))
    }

    /// Rows of a part that no frame up to `snapshot` had ended.
    pub fn rows_kept(&self, part: PartNumber, snapshot: u64) -> u64 {
        let own = |deaths: &Deaths| deaths.count_kept(snapshot);
        let tails = std::iter::once(&self.tail).chain(&self.frozen);
        let tails = tails.map(|tail| (tail.number, &tail.deaths));
        let sections = self.sections.iter().map(|section| (section.number, &section.deaths));
        tails
            .chain(sections)
            .find(|(number, _)| *number == part)
            .map_or(0, |(_, deaths)| own(deaths))
    }

    fn all_deaths(&self) -> impl Iterator<Item = &Deaths> {
        let tails = std::iter::once(&self.tail).chain(&self.frozen).map(|tail| &tail.deaths);
        tails.chain(self.sections.iter().map(|section| &section.deaths))
    }

    fn all_deaths_mut(&mut self) -> impl Iterator<Item = &mut Deaths> {
        let tails = std::iter::once(&mut self.tail).chain(&mut self.frozen);
        let sections = self.sections.iter_mut().map(|section| &mut section.deaths);
        tails.map(|tail| &mut tail.deaths).chain(sections)
    }

    /// The live episode with this id.
    pub fn find(&self, arena: &Arena, id: &[u8]) -> Option<RowAt> {
        self.parts(arena).find_map(|part| Some(RowAt { part: part.number(), row: part.find(id)? }))
    }

    /// The live episode that was stored with a sequence, if it is of this space.
    pub fn find_stored(&self, arena: &Arena, sequence: u64) -> Option<RowAt> {
        let find = |part: Part<'_>| {
            let row = part.find_sequence(sequence).filter(|row| part.deaths().is_alive(*row))?;
            Some(RowAt { part: part.number(), row })
        };
        self.parts(arena).find_map(find)
    }

    /// Adds an episode; whether it replaced one that was seen.
    pub fn insert(
        &mut self,
        arena: &mut Arena,
        frame: &Frame<'_>,
        store: &StorePayload<'_>,
    ) -> bool {
        let at = frame.sequence;
        let replaced = self.tail.insert(arena, &self.settings, frame, store);
        let replaced = replaced.or_else(|| self.remove_below(arena, store.id(), at));
        self.note_death(replaced, at);
        let was_seen = replaced.is_some_and(|replaced| replaced.was_seen);
        self.added += u64::from(!was_seen);
        self.newest = at;
        was_seen
    }

    /// Codes up to `rows_max` more rows of the active tail.
    pub fn code(&mut self, arena: &mut Arena, rows_max: u32) {
        self.tail.code(arena, rows_max);
    }

    /// Does one unit of the work on codes that nobody waits for; whether nothing is left.
    pub fn work(&mut self, arena: &mut Arena) -> bool {
        let mut tails = std::iter::once(&mut self.tail).chain(&mut self.frozen);
        tails.all(|tail| tail.work(arena))
    }

    /// Takes note of a recall that looked for words.
    pub fn note_asked_for_words(&mut self) {
        self.asked_for_words = true;
    }

    pub fn is_asked_for_words(&self) -> bool {
        self.asked_for_words
    }

    /// Reads the texts of up to `rows_max` more rows of some parts, or tries some blocks of their
    /// columns that tell of texts. `wanted` says how many rows of a part are to be read; whether
    /// that many are.
    pub fn read_text(
        &mut self,
        arena: &Arena,
        wanted: impl Fn(Part<'_>) -> u32,
        rows_max: u32,
    ) -> bool {
        let analyser = {
            let language = self.settings.words.language;
            self.analyser.get_or_insert_with(|| Box::new(Analyser::new(language)))
        };
        for tail in std::iter::once(&mut self.tail).chain(&mut self.frozen) {
            let mut text = std::mem::take(&mut tail.text);
            let part = Part::Tail(tail, arena);
            let is_read = text.read_some(part, wanted(part), analyser, rows_max);
            tail.text = text;
            if !is_read {
                return false;
            }
        }
        for section in &mut self.sections {
            let rows = wanted(Part::Section(section));
            if rows > 0 && section.try_words(TRIED_BLOCKS) {
                return false;
            }
            if rows == 0 || section.words().is_some() {
                continue;
            }
            let mut text = section.text.take().unwrap_or_default();
            // A column that is missing is missing for all rows.
            let is_read =
                text.read_some(Part::Section(section), section.rows(), analyser, rows_max);
            section.text = Some(text);
            if !is_read {
                return false;
            }
        }
        true
    }

    /// Whether rows that are in no section have texts that were not read.
    pub fn has_unread_tail(&self) -> bool {
        std::iter::once(&self.tail).chain(&self.frozen).any(|t| t.text.rows() < t.rows.count())
    }

    /// Memory of what was read of texts.
    pub fn text_bytes(&self) -> u64 {
        let tails = std::iter::once(&self.tail).chain(&self.frozen).map(|tail| &tail.text);
        let sections = self.sections.iter().filter_map(|section| section.text.as_deref());
        tails.chain(sections).map(|text| text.bytes() as u64).sum()
    }

    /// Forgets an episode; whether there was one that was seen.
    pub fn remove(&mut self, arena: &Arena, id: &[u8], sequence: u64) -> bool {
        let removed = self.tail.remove(arena, id, sequence);
        let removed = removed.or_else(|| self.remove_below(arena, id, sequence));
        self.note_death(removed, sequence);
        removed.is_some_and(|removed| removed.was_seen)
    }

    /// With a row goes what was known of it besides.
    fn note_death(&mut self, ended: Option<Ended>, at: u64) {
        let change = self.change_at(at);
        ended.into_iter().for_each(|ended| self.strengths.remove(ended.stored, change));
    }

    fn change_at(&self, at: u64) -> strengths::Change {
        let frozen_through = self.frozen().map(|(_, through)| through);
        strengths::Change { at, frozen_through }
    }

    /// Whether a section has a row with this id, alive or dead.
    pub fn sections_hold(&self, id: &[u8]) -> bool {
        self.sections.iter().any(|section| section.holds(id))
    }

    /// The sequences of the rows with this id that sections have, alive or dead.
    pub fn sequences_in_sections(&self, id: &[u8]) -> Vec<u64> {
        self.sections.iter().flat_map(|section| section.sequences_of(id)).collect()
    }

    /// Kills the episode with an id in the parts below the active tail, if there is one.
    fn remove_below(&mut self, arena: &Arena, id: &[u8], sequence: u64) -> Option<Ended> {
        let frozen = self.frozen.as_mut().and_then(|frozen| frozen.remove(arena, id, sequence));
        frozen.or_else(|| self.sections.iter_mut().find_map(|section| section.remove(id, sequence)))
    }

    /// Makes a link of the live episode with an id, or gives the one that is there another weight:
    /// whether there was one, and how many links the episode has now. `None` without such an
    /// episode.
    pub fn link(
        &mut self,
        arena: &Arena,
        link: &LinkPayload<'_>,
        sequence: u64,
    ) -> Option<Result<(bool, usize), TooManyLinks>> {
        let LinkPayload { from, to, kind, weight, .. } = *link;
        self.relink(arena, from, sequence, |overlays, change| {
            let set = overlays.set(change, (to, kind), weight);
            (set.map(|(replaced, _)| replaced), set.is_ok_and(|(_, is_first)| is_first))
        })
        .map(|(set, links)| Ok((set?, links)))
    }

    /// Removes links of the live episode with an id: how many, and how many it has left. `None`
    /// without such an episode.
    pub fn unlink(
        &mut self,
        arena: &Arena,
        unlink: &UnlinkPayload<'_>,
        sequence: u64,
    ) -> Option<(usize, usize)> {
        let UnlinkPayload { from, to, kind, .. } = *unlink;
        self.relink(arena, from, sequence, |overlays, change| overlays.remove(change, (to, kind)))
    }

    /// Changes the links of an episode. `with` answers what came of it, and whether they have not
    /// changed before since the freeze; with it comes how many there are now.
    fn relink<T>(
        &mut self,
        arena: &Arena,
        id: &[u8],
        sequence: u64,
        with: impl FnOnce(&mut Overlays, Change<'_>) -> (T, bool),
    ) -> Option<(T, usize)> {
        let at = self.find(arena, id)?;
        let mut overlays = std::mem::take(&mut self.overlays);
        let part = self.part(arena, at.part).expect("just found");
        let (row, body) = (part.record(at.row).sequence, part.body(at.row));
        let body = body.map_or(&[][..], |body| body.links);
        let frozen_through = self.frozen().map(|(_, through)| through);
        let change = Change { row, body, at: sequence, frozen_through };
        let (result, is_first) = with(&mut overlays, change);
        let list = overlays.get(row).map(LinkList::records);
        let links = list.clone().unwrap_or(LinkRecords(body)).associations().count();
        if list.is_some() {
            let mut all = self.all_relinked_mut();
            let own = all.find(|(number, _)| *number == at.part).map(|(_, relinked)| relinked);
            let relinked = own.expect("just found");
            relinked.set(at.row);
            if is_first {
                relinked.note_row(at.row);
            }
        }
        self.overlays = overlays;
        self.fresh.iter_mut().for_each(|fresh| fresh.forget(at));
        Some((result, links))
    }

    /// Gives a row of a section the links that it had besides its file. A row that is not there
    /// has none.
    pub fn restore_links(&mut self, part: PartNumber, row: u32, links: LinkList, through: u64) {
        let section = self.sections.iter_mut().find(|section| section.number == part);
        if let Some(section) = section.filter(|section| row < section.rows()) {
            section.relinked.set(row);
            self.overlays.insert(section.record(row).sequence, links, through);
        }
    }

    /// The links of a row when the freeze that is under way had been applied, if they were not
    /// those of its body.
    pub fn links_at_freeze(&self, part: Part<'_>, row: u32) -> Option<&LinkList> {
        let stored = part.relinked().has(row).then(|| part.record(row).sequence)?;
        self.overlays.at_freeze(stored, self.frozen_through)
    }

    /// Links that are not those of bodies.
    pub fn overlays(&self) -> &Overlays {
        &self.overlays
    }

    /// Takes away what a publication has made needless of the first `count` overlays that were not
    /// looked at since; whether nothing is left.
    pub fn sweep_links(&mut self, count: usize) -> bool {
        let frozen_through = self.frozen().map(|(_, through)| through);
        if !self.strengths.sweep(count, frozen_through) {
            return false;
        }
        let Some(through) = self.overlays.sweeps_through() else { return true };
        let sections = &self.sections;
        // Rows of a section that was not rewritten still need theirs, if they lived at the freeze.
        self.overlays.sweep(count, |stored| {
            sections.iter().any(|section| {
                let row = section.find_sequence(stored).filter(|row| section.relinked.has(*row));
                row.is_some_and(|row| section.deaths.ended(row) > through)
            })
        })
    }

    fn all_relinked_mut(&mut self) -> impl Iterator<Item = (PartNumber, &mut Marks)> {
        let tails = std::iter::once(&mut self.tail).chain(&mut self.frozen);
        let tails = tails.map(|tail| (tail.number, &mut tail.relinked));
        let sections = self.sections.iter_mut();
        tails.chain(sections.map(|section| (section.number, &mut section.relinked)))
    }

    /// Sees to it that the episode which was stored with a sequence is dead.
    pub fn erase(&mut self, arena: &Arena, stored: u64, at: u64) {
        let found = self.parts(arena).find_map(|part| Some((part, part.find_sequence(stored)?)));
        let alive = found.filter(|(part, row)| part.deaths().is_kept(*row));
        // One with a damaged body cannot be found by its id either.
        let id = alive.and_then(|(part, row)| Some(part.body(row).ok()?.id.to_vec()));
        if let Some(id) = id {
            self.remove(arena, &id, at);
        }
    }

    /// Ends the active tail, when the shard has applied everything through a sequence, and begins
    /// another. A tail that is frozen already stays so, with the sequence of its freeze.
    pub fn freeze(&mut self, through: u64) {
        if self.frozen.is_some() {
            return;
        }
        let tail = Tail::new(self.next_part(), &self.settings);
        self.frozen = Some(std::mem::replace(&mut self.tail, tail));
        self.frozen_through = through;
        self.all_deaths_mut().for_each(Deaths::note);
        self.all_relinked_mut().for_each(|(_, relinked)| relinked.note());
        self.all_supersessions_mut().for_each(|(_, own)| own.note());
    }

    /// The frozen tail and the sequence that had been applied when it was frozen: what survives in
    /// a section are the rows visible at that.
    pub fn frozen(&self) -> Option<(PartNumber, u64)> {
        self.frozen.as_ref().map(|frozen| (frozen.number, self.frozen_through))
    }

    /// Puts a section in the place of the parts it was made of, with the deaths that have not
    /// [followed](Moved::follow) yet. No section means that none of their rows had survived. What
    /// it replaced is to be released.
    ///
    /// # Panics
    /// When the section is of another space, or one too many.
    pub fn publish(
        &mut self,
        arena: &Arena,
        mut section: Option<Section>,
        mut moved: Moved,
    ) -> (Option<PartNumber>, Retired) {
        if let Some(section) = &mut section {
            moved.follow(self, arena, section, usize::MAX);
        }
        let sources: Vec<_> = moved.sources().collect();
        let tail = self.frozen.take_if(|frozen| sources.contains(&frozen.number));
        let replaced = |section: &mut Section| sources.contains(&section.number);
        let sections = self.sections.extract_if(.., replaced).collect();
        self.all_deaths_mut().for_each(Deaths::forget_noted);
        self.all_relinked_mut().for_each(|(_, relinked)| relinked.forget_noted());
        self.all_supersessions_mut().for_each(|(_, own)| own.forget_noted());
        self.overlays.begin_sweep(self.frozen_through);
        self.publications += 1;
        (
            section.map(|section| self.adopt(section)),
            Retired {
                tails: tail.into_iter().collect(),
                sections,
                overlays: Overlays::default(),
                strengths: Strengths::default(),
            },
        )
    }

    /// Ends the space: its memory is to be released.
    pub fn retire(self) -> Retired {
        let tails = std::iter::once(self.tail).chain(self.frozen).collect();
        let Self { sections, overlays, strengths, .. } = self;
        Retired { tails, sections, overlays, strengths }
    }

    /// Reads an episode back with the fields that were asked for.
    ///
    /// # Panics
    /// When the part is not there any more.
    pub fn read(&self, arena: &Arena, at: RowAt, fields: Fields) -> Result<StoredEpisode, Damaged> {
        let part = self.part(arena, at.part).expect("a row is read while its part is there");
        part.read(at.row, self.dimensions(), fields, self.changed())
    }

    /// Reads episodes back. From the first whose optional parts go beyond the byte bound on, those
    /// are left out.
    ///
    /// # Panics
    /// When a part is not there any more.
    pub fn read_all(
        &self,
        arena: &Arena,
        rows: impl Iterator<Item = RowAt>,
        mut fields: Fields,
        bytes_max: usize,
    ) -> Result<Vec<StoredEpisode>, Damaged> {
        let part =
            |at: RowAt| self.part(arena, at.part).expect("a row is read while its part is there");
        let rows: Vec<(Part<'_>, u32)> = rows.map(|at| (part(at), at.row)).collect();
        rows.iter().for_each(|(part, row)| part.prefetch_record(*row));
        rows.iter().for_each(|(part, row)| part.prefetch_body(*row));
        let (dimensions, changed) = (self.dimensions(), self.changed());
        let mut bytes_left = bytes_max;
        let read = |(part, row): (Part<'_>, u32)| {
            let bytes = part.read_bytes(row, dimensions, fields, changed.links);
            match bytes_left.checked_sub(bytes) {
                Some(left) => bytes_left = left,
                None => fields = Fields::default(),
            }
            part.read(row, dimensions, fields, changed)
        };
        rows.into_iter().map(read).collect()
    }

    /// The live episodes from a position on, in the order of the hashes of their ids: up to `count`
    /// of them and roughly `bytes_max` bytes. Those at one position are never parted, so that a
    /// page may hold a few more. No consolidation moves an episode to another position.
    pub fn scan(
        &self,
        arena: &Arena,
        from: u64,
        (count, bytes_max): (usize, usize),
        fields: Fields,
    ) -> Result<Page, Refusal> {
        // One more tells where the next page begins.
        let wanted = count.saturating_add(1);
        let mut listed: Vec<(u64, Part<'_>, u32)> = Vec::new();
        for part in self.parts(arena) {
            let entries = part.list_from(from, wanted).into_iter();
            listed.extend(entries.map(|(hash, row)| (hash, part, row)));
        }
        let is_whole = listed.len() < wanted;
        listed.sort_by_key(|(hash, part, row)| (*hash, part.number(), *row));
        let (mut episodes, mut bytes, mut last) = (Vec::new(), 0_usize, None);
        for (hash, part, row) in listed {
            let here = position(hash);
            let is_full = episodes.len() >= count || bytes > bytes_max;
            if is_full && last.is_some_and(|last| last != here) {
                return Ok(Page { episodes, next: Some(here) });
            }
            let (dimensions, changed) = (self.dimensions(), self.changed());
            bytes = bytes.saturating_add(part.read_bytes(row, dimensions, fields, changed.links));
            episodes.push(part.read(row, dimensions, fields, changed)?);
            last = Some(here);
        }
        // All that was listed stood at few positions: there may be more behind them.
        let next = last.filter(|last| !is_whole && *last < position(u64::MAX));
        Ok(Page { episodes, next: next.map(|last| last + 1) })
    }

    /// Checks that the parts agree with each other; what does not, in words.
    pub fn verify(&self, arena: &Arena) -> Vec<String> {
        let mut faults = self.tail.verify(arena);
        faults.extend(self.frozen.iter().flat_map(|frozen| frozen.verify(arena)));
        for section in &self.sections {
            faults.extend(section.verify(self.settings.words.language));
        }
        for part in self.parts(arena) {
            for row in (0..part.rows()).filter(|row| part.deaths().is_alive(*row)) {
                let at = RowAt { part: part.number(), row };
                let found = part.body(row).ok().and_then(|body| self.find(arena, body.id));
                if found != Some(at) {
                    faults.push(format!("{at:?} is alive, its id leads to {found:?}"));
                }
            }
        }
        faults.extend(self.verify_links(arena));
        let name = &self.settings.name;
        faults.into_iter().map(|fault| format!("space '{name}': {fault}")).collect()
    }

    /// Overlays belong to rows that are marked, and have as many links as they say and may.
    fn verify_links(&self, arena: &Arena) -> Vec<String> {
        let mut faults = Vec::new();
        let swept = self.overlays.sweeps_through();
        for (stored, changed) in self.overlays.rows() {
            let mut parts = self.parts(arena);
            let is_marked = parts
                .any(|part| part.find_sequence(stored).is_some_and(|row| part.relinked().has(row)));
            if !is_marked && swept.is_none_or(|through| changed > through) {
                faults.push(format!("links of sequence {stored}, which no part has relinked"));
            }
            let list = self.overlays.get(stored).map(|list| (list.len(), list.records().count()));
            if list.is_none_or(|(len, count)| len != count || len > EPISODE_LINKS_MAX) {
                faults.push(format!("sequence {stored} has impossible links: {list:?}"));
            }
        }
        faults
    }
}

/// An episode as the client gave it, from what was read back with all fields.
impl From<StoredEpisode> for crate::episode::Episode {
    fn from(stored: StoredEpisode) -> Self {
        Self {
            id: stored.id,
            vector: stored.vector.unwrap_or_default(),
            text: stored.text.unwrap_or_default(),
            happened_at_us: Some(stored.happened_at_us),
            confidence: stored.confidence,
            metadata: stored.metadata.unwrap_or_default(),
            thread: stored.thread,
            links: stored.links.unwrap_or_default(),
        }
    }
}
