//! The shard as the owner of its consolidation: when it works, and who waits for it.

use bytes::Bytes;
use thiserror::Error;

use super::{Effect, Reply, Shard, Ticket};
use crate::consolidation::{Advanced, ConsolidationStats, Ground};
use crate::episode::{Refusal, SpaceNumber};
use crate::eraser::Erased;
use crate::format::FileId;
use crate::format::columns::ColumnKind;
use crate::io::{FileEvent, Io};
use crate::space::Part;

/// The hint that goes with a consolidation that was given up.
const RETRY_MS: u32 = 10_000;

/// What nobody asked for and an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Notice {
    #[error("a consolidation was given up and is tried again: {0}")]
    GivenUp(String),
    #[error(
        "{file} is damaged: memory space '{space}', column {kind:?}, block {block}; EG.STATS \
         counts what is damaged and names the remedy"
    )]
    Damaged { file: FileId, space: String, kind: ColumnKind, block: usize },
}

/// Who waits for a consolidation.
#[derive(Debug)]
pub(super) struct Waiting {
    ticket: Ticket,
    /// The number of the request.
    request: u64,
    /// Whether that is only so when everything was merged.
    merges_all: bool,
    /// What the answer is when it is done.
    reply: Reply,
}

/// An erase whose episode may be in columns files too.
#[derive(Debug)]
pub(super) struct Erasing {
    pub(super) ticket: Ticket,
    pub(super) space: SpaceNumber,
    pub(super) id: Bytes,
}

impl<I: Io> Shard<I> {
    /// Asks for a consolidation of everything that is durable by now. `merges_all` also makes one
    /// columns file of all, so that nothing dead is left in any. The answer comes when it is
    /// published and the older files are gone.
    pub fn consolidate(&mut self, ticket: Ticket, merges_all: bool) -> Result<(), Refusal> {
        if let Some(reason) = self.log.latch() {
            return Err(Refusal::ReadOnly(reason.into()));
        }
        let request = self.consolidator.ask(merges_all);
        self.consolidating.push(Waiting {
            ticket,
            request,
            merges_all,
            reply: Reply::Consolidated,
        });
        Ok(())
    }

    /// Does one unit of the work that nobody waits for, some ten microseconds: consolidation, codes
    /// of rows that a replay left without, and clearing memory that was given back. `is_quiet` says
    /// that there is little else to do.
    pub fn advance(&mut self, is_quiet: bool, effects: &mut Vec<Effect>) -> Advanced {
        let advanced =
            self.with_ground(is_quiet, |consolidator, ground| consolidator.advance(ground));
        self.answer_consolidated(effects);
        // Codes are worked on in turn with a consolidation: recalls profit from them sooner.
        match self.code_some() && self.read_some(is_quiet) && self.memory.arena.clear_some() {
            true => advanced,
            false => Advanced::Worked,
        }
    }

    fn with_ground<T>(
        &mut self,
        is_quiet: bool,
        with: impl FnOnce(&mut crate::consolidation::Consolidator, &mut Ground<'_, I>) -> T,
    ) -> T {
        let (is_erasing, is_copied) = (!self.eraser.is_idle(), self.snapshot.is_some());
        let Self { log, memory, consolidator, .. } = self;
        with(consolidator, &mut Ground { log, memory, is_erasing, is_copied, is_quiet })
    }

    /// Works on the codes of one space; whether nothing is left in any.
    fn code_some(&mut self) -> bool {
        let memory = &mut self.memory;
        memory.spaces.values_mut().all(|space| space.work(&mut memory.arena))
    }

    /// Reads some texts, of spaces that are asked for words or when there is little else to do;
    /// whether nothing is left to read.
    fn read_some(&mut self, is_quiet: bool) -> bool {
        let wanting = self
            .memory
            .spaces
            .values()
            .find(|space| space.has_unread_tail() && (is_quiet || space.is_asked_for_words()));
        let Some(space) = wanting.map(|space| space.number) else { return true };
        let wanted = |part: Part<'_>| match part {
            Part::Tail(..) => part.rows(),
            Part::Section(_) => 0,
        };
        self.read_text(space, wanted).expect("it is one of the shard's");
        false
    }

    pub(super) fn take_file(&mut self, event: FileEvent, effects: &mut Vec<Effect>) {
        self.with_ground(false, |consolidator, ground| consolidator.take_file(event, ground));
        self.answer_consolidated(effects);
    }

    pub(super) fn take_manifest(&mut self) {
        self.with_ground(false, |consolidator, ground| consolidator.take_manifest(ground));
    }

    /// Answers who waits: when what was asked for is published and all that it took the place of is
    /// gone, when that was given up, or when the log takes no more.
    pub(super) fn answer_consolidated(&mut self, effects: &mut Vec<Effect>) {
        let given_up = self.consolidator.take_given_up();
        effects.extend(self.consolidator.take_notices().map(Effect::Noticed));
        let Self { log, consolidator, .. } = self;
        let is_settled = consolidator.is_settled() && log.is_settled();
        self.consolidating.retain(|Waiting { ticket, request, merges_all, reply }| {
            let result = if *request <= consolidator.done() && is_settled {
                match consolidator.damage().filter(|_| *merges_all) {
                    Some(damage) => Err(Refusal::Corrupt(format!(
                        "all else is consolidated, and the log let go; {damage}"
                    ))),
                    None => Ok(reply.clone()),
                }
            } else if let Some(reason) = log.latch() {
                Err(Refusal::ReadOnly(reason.into()))
            } else if given_up.is_some_and(|given_up| *request <= given_up) {
                let what = "the queue of a consolidation that was given up, EG.STATS says why; it";
                Err(Refusal::Busy { what, retry_after_ms: RETRY_MS })
            } else {
                return true;
            };
            effects.push(Effect::Answer { ticket: *ticket, result });
            false
        });
    }

    /// Answers erases whose bytes are gone from the log. Where columns files may have the episode,
    /// they are merged without it first; and segments and files that were let go must be gone.
    pub(super) fn answer_erased(&mut self, erased: Vec<Erased>, effects: &mut Vec<Effect>) {
        for (ticket, result) in erased {
            let nth = self.erasing.iter().position(|erasing| erasing.ticket == ticket);
            let erasing = nth.map(|nth| self.erasing.swap_remove(nth));
            let own = erasing.as_ref().map(|erasing| erasing.space);
            let is_in_columns = erasing.is_some_and(|Erasing { space, id, .. }| {
                let space = self.memory.spaces.get(&space);
                self.consolidator.has_frozen() || space.is_none_or(|space| space.sections_hold(&id))
            });
            match result {
                Ok(reply) => {
                    let request = if is_in_columns { self.consolidator.ask(true) } else { 0 };
                    let (damage, merges_all) = (self.consolidator.damage(), false);
                    let has_damage = own.is_none_or(|own| self.consolidator.has_damage_in(own));
                    match damage.filter(|_| has_damage) {
                        Some(damage) => effects.push(Effect::Answer {
                            ticket,
                            result: Err(Refusal::Corrupt(format!(
                                "the episode is hidden and gone from the log, but may be in a file \
                                 that cannot be merged; {damage}; then repeat the command"
                            ))),
                        }),
                        None => {
                            let waiting = Waiting { ticket, request, merges_all, reply };
                            self.consolidating.push(waiting);
                        }
                    }
                }
                result => effects.push(Effect::Answer { ticket, result }),
            }
        }
    }

    /// Figures of consolidation, and why the last attempt was given up, if it was; or what is
    /// damaged, if anything is.
    pub fn consolidation(&self) -> (ConsolidationStats, Option<&str>) {
        (self.consolidator.stats(), self.consolidator.failure())
    }
}
