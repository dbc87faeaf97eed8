//! What was said before and behind some episodes of a thread.

use std::sync::Arc;

use bytes::Bytes;

use super::{Found, Gathering, View, Witness};
use crate::arena::Arena;
use crate::episode::{Conditions, SpaceNumber};
use crate::kernels::padded;
use crate::space::{Damaged, Part, RowAt, Space};
use crate::words::score::REACH;
use crate::words::threads::{Moment, Side, thread_hash};

/// Places that one slice of work looks at.
const PLACES: usize = 16;

/// Where in which thread an episode stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub thread: Bytes,
    pub moment: Moment,
}

/// What to look around.
#[derive(Debug, Clone, PartialEq)]
pub struct AroundRequest {
    pub space: SpaceNumber,
    pub cue: Option<Arc<[f32]>>,
    pub terms: Arc<[String]>,
    pub conditions: Conditions,
    pub places: Arc<[Place]>,
}

/// Under way on one shard.
#[derive(Debug)]
pub struct Around {
    request: AroundRequest,
    /// When it began.
    now_us: i64,
    view: View,
    next: usize,
    rows: Vec<RowAt>,
    /// Of all rows, once they are found.
    gathering: Option<Gathering>,
}

impl Around {
    pub fn new(request: AroundRequest, space: &Space, arena: &Arena, now_us: i64) -> Self {
        let view = View::new(space, arena);
        Self { request, now_us, view, next: 0, rows: Vec::new(), gathering: None }
    }

    pub fn request(&self) -> &AroundRequest {
        &self.request
    }

    /// Rows of a part whose texts have to be read before it goes on.
    pub fn wanted_texts(&self, part: Part<'_>) -> u32 {
        self.view.rows_of(part)
    }

    /// Looks around some places, or reads some of what stands there; whether all is done. Texts are
    /// to be read before.
    pub fn step(&mut self, space: &Space, arena: &Arena) -> bool {
        let now_us = self.now_us;
        if self.view.is_stale(space) {
            *self = Self::new(self.request.clone(), space, arena, now_us);
            return false;
        }
        let Some(gathering) = &mut self.gathering else {
            let looked = self.look(space, arena);
            if looked.is_err() || self.next == self.request.places.len() {
                let rows = std::mem::take(&mut self.rows);
                self.gathering = Some(Gathering::new(looked.map(|()| rows)));
            }
            return false;
        };
        let AroundRequest { cue, terms, conditions, .. } = &self.request;
        let cue = cue.as_deref().map(padded);
        let asked = (cue.as_deref(), &terms[..], conditions);
        gathering.step(&Witness::new((space, arena, now_us), asked, u64::MAX))
    }

    fn look(&mut self, space: &Space, arena: &Arena) -> Result<(), Damaged> {
        let until = self.request.places.len().min(self.next + PLACES);
        for nth in self.next..until {
            let Place { thread, moment } = &self.request.places[nth];
            let mut beside = Beside::default();
            for (number, rows) in &self.view.parts {
                let part = space.part(arena, *number).expect("no part has gone");
                beside.look((part, *rows), thread, *moment)?;
            }
            self.rows.extend(beside.nearest());
        }
        self.next = until;
        Ok(())
    }

    /// What was found. To be called behind a [`step`](Self::step) that was the last.
    pub fn finish(self) -> Result<Found, Damaged> {
        let evidence = self.gathering.expect("all places were looked at").finish()?;
        Ok(Found { evidence, ..Found::default() })
    }
}

/// The rows on both sides of a place, of all parts, with their moments.
#[derive(Debug, Default)]
struct Beside {
    before: Vec<(Moment, RowAt)>,
    behind: Vec<(Moment, RowAt)>,
}

impl Beside {
    fn look(
        &mut self,
        (part, rows): (Part<'_>, u32),
        thread: &[u8],
        moment: Moment,
    ) -> Result<(), Damaged> {
        let (before, behind) = (self.before.len(), self.behind.len());
        let mut damaged = None;
        let take = |side, row| {
            let (own, had) = match side {
                Side::Before => (&mut self.before, before),
                Side::Behind => (&mut self.behind, behind),
            };
            if row < rows && part.deaths().is_alive(row) {
                match part.body(row) {
                    Ok(body) if body.thread == thread => {
                        own.push((part.moment(row), RowAt { part: part.number(), row }));
                    }
                    Ok(_) => {}
                    Err(found) => damaged = Some(found),
                }
            }
            own.len() - had < REACH
        };
        let moment_of = |row| if row < rows { part.moment(row) } else { Moment::default() };
        part.threads().around(thread_hash(thread), moment, moment_of, take);
        damaged.map_or(Ok(()), Err)
    }

    fn nearest(mut self) -> impl Iterator<Item = RowAt> {
        self.before.sort_unstable_by(|a, b| b.cmp(a));
        self.behind.sort_unstable();
        let before = self.before.into_iter().take(REACH);
        before.chain(self.behind.into_iter().take(REACH)).map(|(_, at)| at)
    }
}
