//! What the daemon may hold, given everything that was sent and answered.
//!
//! The oracle replays a journal. For each episode it knows the states that all answers so far
//! allow, one or several, and what is under way: sent and not answered, for ever if the daemon died
//! meanwhile. Whoever looks then must find one of
//!
//! | State | As long as |
//! |---|---|
//! | one that the answers allow | a later change of the same episode is not answered |
//! | the version of a store, or nothing for a forget, that is under way | it is not answered |
//! | nothing | a drop of the space is under way |
//!
//! Changes of one episode are sent on one connection, which carries them out in their order: the
//! answer to one settles all before it. The drop of a space comes from another connection: a store
//! that was sent before the drop was answered, and answered after the drop was sent, may have been
//! first or last, so the episode may be there or not. If the store was answered before the drop was
//! sent, the episode is gone once the drop is answered.
//!
//! A repetition with a key that was answered once must be answered `existing` with the first
//! sequence and change nothing. If the first was never answered, the repetition tells whether it
//! had arrived.
//!
//! Answers are judged as they are replayed: see [`Oracle::wrong_answers`].

use std::collections::BTreeMap;

use super::journal::{Action, Answer, Change, Entry};

/// The version of an episode, or that there is none.
pub(super) type State = Option<u64>;

/// An episode that was sent at least once.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What the answers allow; never empty.
    settled: Vec<State>,
    /// Changes of it without an answer, oldest first.
    under_way: Vec<Change>,
    /// The entry of the journal that answered last.
    answered_at: u64,
    /// The last sequence that an answer gave it in the space as it is now; 0 when that is unknown.
    sequence: u64,
}

/// A memory space, there or not.
#[derive(Debug, Clone)]
pub(super) struct Space {
    /// The changes that may have created it as it is now; `None`: it may be missing.
    settled: Vec<Option<Change>>,
    under_way: Vec<Change>,
    /// The entry of the journal that answered the last drop; 0 when none did.
    dropped_at: u64,
    pub(super) episodes: BTreeMap<u64, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    action: Action,
    /// The entry of the journal.
    at: u64,
    /// Of a store: what it was answered, or found to be.
    sequence: Option<u64>,
    is_answered: bool,
}

/// Answers by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    pub(super) created: u64,
    pub(super) replaced: u64,
    pub(super) forgotten: u64,
    /// Keyed repetitions that were recognised.
    pub(super) existing: u64,
    /// Forgets of what was not there.
    pub(super) unknown: u64,
    pub(super) spaces_created: u64,
    pub(super) spaces_dropped: u64,
    pub(super) refused: u64,
    /// Never answered, or answered so that nobody knows.
    pub(super) unanswered: u64,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    changes: Vec<Option<Sent>>,
    spaces: Vec<Space>,
    /// How many writes were given each sequence.
    sequences: Vec<u8>,
    entries: u64,
    pub(super) counts: Counts,
    pub(super) wrong_answers: WrongAnswers,
}

/// Answers that contradict the journal before them.
#[derive(Debug, Default)]
pub(super) struct WrongAnswers {
    pub(super) count: u64,
    /// The first, in words.
    pub(super) first: Option<String>,
}

impl WrongAnswers {
    fn add(&mut self, sentence: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(sentence);
    }
}

impl Oracle {
    /// The number of the next change.
    pub(super) fn next_change(&self) -> Change {
        self.changes.len() as u64
    }

    /// The lowest number behind those of all episodes.
    pub(super) fn next_number(&self) -> u64 {
        let last = |space: &Space| space.episodes.last_key_value().map_or(0, |(last, _)| last + 1);
        self.spaces.iter().map(last).max().unwrap_or(0)
    }

    /// Every space that a change was about, by number.
    pub(super) fn spaces(&self) -> &[Space] {
        &self.spaces
    }

    /// Stores with a key, newest first.
    pub(super) fn keyed(&self) -> impl Iterator<Item = (Change, u64)> {
        let numbered = self.changes.iter().enumerate().rev();
        numbered.filter_map(|(change, sent)| match sent.as_ref()?.action {
            Action::Store { number, keyed: true, .. } => Some((change as u64, number)),
            _ => None,
        })
    }

    /// What a version is a version of: space and number.
    pub(super) fn store(&self, version: u64) -> Option<(usize, u64)> {
        match self.sent(version)?.action {
            Action::Store { space, number, .. } => Some((space, number)),
            _ => None,
        }
    }

    /// The sequence that a version was given, if an answer told.
    pub(super) fn sequence(&self, version: u64) -> Option<u64> {
        self.sent(version)?.sequence
    }

    /// What may be found under a number of a space that is there.
    pub(super) fn allowed(&self, space: usize, known: &Known) -> Vec<State> {
        let under_way = known.under_way.iter().filter_map(|change| self.outcome(*change));
        let mut allowed: Vec<State> = known.settled.iter().copied().chain(under_way).collect();
        if self.drop_under_way(space) {
            allowed.push(None);
        }
        allowed.sort_unstable();
        allowed.dedup();
        allowed
    }

    /// Which change may have created a space as it is found; `None`: it may be missing.
    pub(super) fn allowed_space(&self, space: usize) -> Vec<Option<Change>> {
        let space = &self.spaces[space];
        let under_way = space.under_way.iter().map(|change| {
            let sent = self.sent(*change).expect("it is under way");
            matches!(sent.action, Action::Create { .. }).then_some(*change)
        });
        let mut allowed: Vec<_> = space.settled.iter().copied().chain(under_way).collect();
        allowed.sort_unstable();
        allowed.dedup();
        allowed
    }

    /// Whether any sequence was given to more writes than there are shards to give it.
    pub(super) fn sequence_given_too_often(&self, shards: usize) -> Option<u64> {
        let too_often = self.sequences.iter().position(|times| usize::from(*times) > shards);
        too_often.map(|sequence| sequence as u64)
    }

    fn sent(&self, change: Change) -> Option<&Sent> {
        self.changes.get(usize::try_from(change).ok()?)?.as_ref()
    }

    fn sent_mut(&mut self, change: Change) -> Option<&mut Sent> {
        self.changes.get_mut(usize::try_from(change).ok()?)?.as_mut()
    }

    /// The state in which a change under way leaves its episode; `None` when it changes nothing.
    fn outcome(&self, change: Change) -> Option<State> {
        match self.sent(change)?.action {
            Action::Store { .. } => Some(Some(change)),
            Action::Forget { .. } => Some(None),
            Action::Repeat { of } => self.sequence(of).is_none().then_some(Some(of)),
            Action::Create { .. } | Action::Drop { .. } => None,
        }
    }

    fn drop_under_way(&self, space: usize) -> bool {
        let is_drop = |change: &Change| {
            self.sent(*change).is_some_and(|sent| matches!(sent.action, Action::Drop { .. }))
        };
        self.spaces[space].under_way.iter().any(is_drop)
    }

    fn space_mut(&mut self, space: usize) -> &mut Space {
        if self.spaces.len() <= space {
            let unknown = Space {
                settled: vec![None],
                under_way: vec![],
                dropped_at: 0,
                episodes: BTreeMap::new(),
            };
            self.spaces.resize(space + 1, unknown);
        }
        &mut self.spaces[space]
    }

    fn known_mut(&mut self, space: usize, number: u64) -> &mut Known {
        let unknown =
            || Known { settled: vec![None], under_way: vec![], answered_at: 0, sequence: 0 };
        self.space_mut(space).episodes.entry(number).or_insert_with(unknown)
    }

    /// The episode that an action is about.
    fn target(&self, action: Action) -> Option<(usize, u64)> {
        match action {
            Action::Store { space, number, .. } | Action::Forget { space, number } => {
                Some((space, number))
            }
            Action::Repeat { of } => self.store(of),
            Action::Create { .. } | Action::Drop { .. } => None,
        }
    }

    /// Takes the next entry of the journal down.
    pub(super) fn enter(&mut self, entry: &Entry) {
        self.entries += 1;
        match entry {
            Entry::Sent(change, action) => self.send(*change, *action),
            Entry::Answered(change, answer) => self.answer(*change, answer),
            Entry::SawEpisode { space, number, found } => self.saw(*space, *number, *found),
            Entry::SawSpace { space, found } => self.saw_space(*space, *found),
        }
    }

    fn send(&mut self, change: Change, action: Action) {
        let nth = usize::try_from(change).expect("changes are numbered from 0 without gaps");
        if self.changes.len() <= nth {
            self.changes.resize(nth + 1, None);
        }
        let sent = Sent { action, at: self.entries, sequence: None, is_answered: false };
        self.changes[nth] = Some(sent);
        self.counts.unanswered += 1;
        match (self.target(action), action) {
            (Some((space, number)), _) => self.known_mut(space, number).under_way.push(change),
            (None, Action::Create { space } | Action::Drop { space }) => {
                self.space_mut(space).under_way.push(change);
            }
            (None, _) => {}
        }
    }

    fn answer(&mut self, change: Change, answer: &Answer) {
        let Some(sent) = self.sent_mut(change).filter(|sent| !sent.is_answered) else {
            self.wrong_answers.add(|| format!("change {change} was answered and never sent"));
            return;
        };
        sent.is_answered = true;
        let sent = *sent;
        self.count(sent.action, answer);
        match (self.target(sent.action), sent.action) {
            (Some(target), _) => self.answer_episode(change, &sent, target, answer),
            (None, Action::Create { space } | Action::Drop { space }) => {
                self.answer_space(change, &sent, space, answer);
            }
            (None, _) => {}
        }
    }

    fn count(&mut self, action: Action, answer: &Answer) {
        let is_drop = matches!(action, Action::Drop { .. });
        let counts = &mut self.counts;
        let count = match answer {
            Answer::Created(_) => &mut counts.created,
            Answer::Replaced(_) => &mut counts.replaced,
            Answer::Existing(_) => &mut counts.existing,
            Answer::Forgotten(_) => &mut counts.forgotten,
            Answer::Unknown => &mut counts.unknown,
            Answer::Done if is_drop => &mut counts.spaces_dropped,
            Answer::Done => &mut counts.spaces_created,
            Answer::Refused(_) => &mut counts.refused,
            Answer::Unsure(_) => return,
        };
        *count += 1;
        counts.unanswered -= 1;
    }

    fn answer_episode(
        &mut self,
        change: Change,
        sent: &Sent,
        (space, number): (usize, u64),
        answer: &Answer,
    ) {
        let is_beside_a_drop = self.is_beside_a_drop(space, sent);
        // What may have been there when the change was carried out: nothing that came later.
        let mut earlier = self.spaces[space].episodes[&number].clone();
        earlier.under_way.retain(|other| *other < change);
        let before = self.allowed(space, &earlier);
        // Beside a drop, what was there before the drop and nothing are both possible.
        self.judge(change, sent.action, answer, (!is_beside_a_drop).then_some(&before));
        let settled = match answer {
            Answer::Created(sequence) | Answer::Replaced(sequence) => {
                let version = self.version_of(change, sent.action);
                if let Some(store) = self.sent_mut(version) {
                    store.sequence = Some(*sequence);
                }
                self.count_sequence(*sequence, sent, (space, number));
                Some(Some(version))
            }
            Answer::Existing(sequence) => {
                let version = self.version_of(change, sent.action);
                if let Some(first) = self.sent_mut(version) {
                    first.sequence = Some(*sequence);
                }
                None
            }
            Answer::Forgotten(sequence) => {
                self.count_sequence(*sequence, sent, (space, number));
                Some(None)
            }
            Answer::Unknown => Some(None),
            Answer::Refused(_) | Answer::Unsure(_) | Answer::Done => None,
        };
        let at = self.entries;
        let is_unsure = matches!(answer, Answer::Unsure(_));
        let unsure = is_unsure.then(|| self.outcome(change)).flatten();
        let known = self.known_mut(space, number);
        if let Some(state) = settled {
            known.under_way.retain(|other| *other > change);
            known.settled = vec![state];
            known.answered_at = at;
            if is_beside_a_drop && state.is_some() {
                known.settled.push(None);
            }
        } else {
            known.under_way.retain(|other| *other != change);
            known.settled.extend(unsure);
        }
    }

    /// The version that a store or a repetition leaves.
    fn version_of(&self, change: Change, action: Action) -> u64 {
        if let Action::Repeat { of } = action { of } else { change }
    }

    /// Whether a drop of the space was under way at some time while a change was.
    fn is_beside_a_drop(&self, space: usize, sent: &Sent) -> bool {
        self.drop_under_way(space) || self.spaces[space].dropped_at > sent.at
    }

    /// Judges an answer by what may have been there before; `None`: anything.
    fn judge(
        &mut self,
        change: Change,
        action: Action,
        answer: &Answer,
        before: Option<&Vec<State>>,
    ) {
        let may_be_there = before.is_none_or(|before| before.iter().any(Option::is_some));
        let may_be_missing = before.is_none_or(|before| before.contains(&None));
        let first = match action {
            Action::Repeat { of } => self.sequence(of),
            _ => None,
        };
        let is_right = match (action, answer) {
            (_, Answer::Refused(_) | Answer::Unsure(_)) => true,
            (Action::Repeat { .. }, Answer::Existing(sequence)) => {
                first.is_none_or(|first| first == *sequence)
            }
            (Action::Repeat { .. }, Answer::Created(_)) => first.is_none() && may_be_missing,
            (Action::Repeat { .. }, Answer::Replaced(_)) => first.is_none() && may_be_there,
            (Action::Store { .. }, Answer::Created(_)) => may_be_missing,
            (Action::Store { .. }, Answer::Replaced(_)) => may_be_there,
            (Action::Forget { .. }, Answer::Forgotten(_)) => may_be_there,
            (Action::Forget { .. }, Answer::Unknown) => may_be_missing,
            _ => false,
        };
        if !is_right {
            self.wrong_answers.add(|| {
                format!(
                    "change {change}, {action:?}, was answered {answer:?}; before it the episode \
                     could be {before:?}, and the first answer to its key was {first:?}"
                )
            });
        }
    }

    /// Counts a sequence that was given to a write. Those of one episode only grow, as long as its
    /// space stays: another one of the same name may keep it on another shard.
    fn count_sequence(&mut self, sequence: u64, sent: &Sent, (space, number): (usize, u64)) {
        let nth = usize::try_from(sequence).expect("a sequence counts frames in files");
        if self.sequences.len() <= nth {
            self.sequences.resize(nth + 1, 0);
        }
        self.sequences[nth] = self.sequences[nth].saturating_add(1);
        let is_beside_a_drop = self.is_beside_a_drop(space, sent);
        let known = self.known_mut(space, number);
        let last = known.sequence;
        known.sequence = if is_beside_a_drop { 0 } else { sequence };
        if sequence <= last && !is_beside_a_drop {
            self.wrong_answers.add(|| {
                format!(
                    "a write to episode {number} of space {space} was given sequence {sequence}, \
                     one before it {last}"
                )
            });
        }
    }

    fn answer_space(&mut self, change: Change, sent: &Sent, space: usize, answer: &Answer) {
        let is_drop = matches!(sent.action, Action::Drop { .. });
        let at = self.entries;
        let slot = self.space_mut(space);
        let result = (!is_drop).then_some(change);
        match answer {
            Answer::Done => {
                slot.under_way.clear();
                slot.settled = vec![result];
            }
            // There was nothing to drop.
            Answer::Refused(code) if is_drop && code == "NOSPACE" => {
                slot.under_way.clear();
                slot.settled = vec![None];
            }
            // A creation or drop may have come halfway.
            _ => {
                slot.under_way.retain(|other| *other != change);
                slot.settled.push(result);
                return;
            }
        }
        if is_drop {
            slot.dropped_at = at;
            for known in slot.episodes.values_mut() {
                known.sequence = 0;
                if known.answered_at < sent.at {
                    known.settled = vec![None];
                } else if !known.settled.contains(&None) {
                    known.settled.push(None);
                }
            }
        }
    }

    fn saw(&mut self, space: usize, number: u64, found: Option<(u64, u64)>) {
        let at = self.entries;
        if let Some((version, sequence)) = found
            && let Some(sent) = self.sent_mut(version)
        {
            sent.sequence = Some(sequence);
        }
        let known = self.known_mut(space, number);
        known.settled = vec![found.map(|(version, _)| version)];
        known.under_way.clear();
        known.answered_at = at;
        if let Some((_, sequence)) = found {
            known.sequence = known.sequence.max(sequence);
        }
    }

    fn saw_space(&mut self, space: usize, found: Option<Change>) {
        let slot = self.space_mut(space);
        slot.settled = vec![found];
        slot.under_way.clear();
        if found.is_none() {
            for known in slot.episodes.values_mut() {
                known.settled = vec![None];
                known.under_way.clear();
                known.sequence = 0;
            }
        }
    }
}

impl Known {
    /// Whether there is a state that all answers agree on.
    pub(super) fn is_settled(&self) -> bool {
        self.settled.len() == 1 && self.under_way.is_empty()
    }
}

impl Space {
    pub(super) fn is_settled(&self) -> bool {
        self.settled.len() == 1 && self.under_way.is_empty()
    }

    /// Whether it is known to be there.
    pub(super) fn is_there(&self) -> bool {
        self.is_settled() && self.settled[0].is_some()
    }
}

#[cfg(test)]
mod tests;
