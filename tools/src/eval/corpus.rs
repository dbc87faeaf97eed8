//! What an evaluation is about: conversations, and questions whose answers stand in known turns.
//!
//! A [`Reader`] brings turns and questions in the order of the rows of their vectors; what they
//! mean for each other is worked out here, the same for each format. Evidence may be one id, a list
//! of them, or prose with ids in it (`D8:6; D9:17`): what is the id of a turn as it stands is that
//! turn, otherwise each word in it is looked up. An id that no turn of the conversation has, or
//! several have, is not usable; nor is a question that is left without evidence. How many there are
//! is part of every report: a question that is left with a part of its evidence is easier.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::ToolError;

/// A turn of a conversation, or a message of a chat.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turn {
    /// Of its vector.
    pub(super) row: usize,
    /// Unique within its conversation.
    pub(super) id: String,
    /// Turns of one session stand next to each other; empty without sessions.
    pub(super) session: String,
    pub(super) at_us: Option<i64>,
    pub(super) speaker: String,
    pub(super) text: String,
}

/// A question that has usable evidence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// Of its vector.
    pub(super) row: usize,
    pub(super) text: String,
    pub(super) category: String,
    /// Turns of the conversation that it is about, by their number in it; at least one.
    pub(super) evidence: Vec<usize>,
    /// What else is named as evidence, but is the id of no turn, or of several.
    pub(super) evidence_unknown: Vec<String>,
}

/// Turns that are recalled together, and what is asked about them.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) name: String,
    pub(super) turns: Vec<Turn>,
    pub(super) questions: Vec<Question>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Corpus {
    pub(super) conversations: Vec<Conversation>,
    /// Questions without usable evidence, which are not asked.
    pub(super) questions_skipped: usize,
    pub(super) unknown: Unknown,
}

/// Evidence that is not usable.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unknown {
    /// Ids that are those of no turn, or of several.
    pub(super) ids: usize,
    /// Questions with such ids, whether they are asked or not.
    pub(super) questions: usize,
    /// Those of them that have no other evidence, and are not asked.
    pub(super) questions_skipped: usize,
    /// Whether any of the ids is that of several turns.
    pub(super) is_ambiguous: bool,
}

/// A turn as it stands in a file.
#[derive(Debug)]
pub(super) struct ReadTurn {
    pub(super) space: String,
    pub(super) id: String,
    pub(super) session: String,
    pub(super) at_us: Option<i64>,
    pub(super) speaker: String,
    pub(super) text: String,
}

/// A question as it stands in a file.
#[derive(Debug)]
pub(super) struct ReadQuestion {
    pub(super) space: String,
    pub(super) text: String,
    pub(super) category: String,
    pub(super) evidence: Vec<String>,
}

/// Reads a format. Both lists are in the order of the rows of their vectors.
pub(super) trait Reader {
    fn turns(&self) -> Result<Vec<ReadTurn>, ToolError>;
    fn questions(&self) -> Result<Vec<ReadQuestion>, ToolError>;
    /// Where the questions are, for errors.
    fn questions_path(&self) -> PathBuf;
}

impl Corpus {
    pub(super) fn read(reader: &dyn Reader) -> Result<Self, ToolError> {
        let mut corpus = Self::default();
        let mut numbers = HashMap::new();
        let mut named = Vec::new();
        for (row, turn) in reader.turns()?.into_iter().enumerate() {
            let number = *numbers.entry(turn.space.clone()).or_insert_with(|| {
                let name = turn.space.clone();
                corpus.conversations.push(Conversation { name, ..Conversation::default() });
                named.push(Named::default());
                named.len() - 1
            });
            let turns = &mut corpus.conversations[number].turns;
            let ReadTurn { id, session, at_us, speaker, text, .. } = turn;
            let id = named[number].add(id, turns.len());
            turns.push(Turn { row, id, session, at_us, speaker, text });
        }
        for (row, question) in reader.questions()?.into_iter().enumerate() {
            let ReadQuestion { space, text, category, evidence } = question;
            let Some(number) = numbers.get(&space).copied() else {
                let reason =
                    format!("question {} is about '{space}', which no turn is of", row + 1);
                return Err(ToolError::format(&reader.questions_path(), reason));
            };
            let (evidence, unknown) = named[number].resolve(&evidence);
            let (has_unknown, is_skipped) = (!unknown.is_empty(), evidence.is_empty());
            corpus.unknown.ids += unknown.len();
            corpus.unknown.questions += usize::from(has_unknown);
            corpus.unknown.is_ambiguous |= named[number].has_any(&unknown);
            corpus.unknown.questions_skipped += usize::from(has_unknown && is_skipped);
            if is_skipped {
                corpus.questions_skipped += 1;
                continue;
            }
            let question = Question { row, text, category, evidence, evidence_unknown: unknown };
            corpus.conversations[number].questions.push(question);
        }
        if corpus.questions() == 0 {
            let reason = "no question has evidence that is the id of a turn";
            return Err(ToolError::format(&reader.questions_path(), reason));
        }
        Ok(corpus)
    }

    pub(super) fn turns(&self) -> usize {
        self.conversations.iter().map(|conversation| conversation.turns.len()).sum()
    }

    pub(super) fn questions(&self) -> usize {
        self.conversations.iter().map(|conversation| conversation.questions.len()).sum()
    }
}

/// The turns that have an id.
#[derive(Debug, Default)]
struct Named {
    turns: HashMap<String, Vec<usize>>,
}

impl Named {
    /// The id to store a turn with: what comes a second time gets a number behind it.
    fn add(&mut self, id: String, turn: usize) -> String {
        let turns = self.turns.entry(id.clone()).or_default();
        turns.push(turn);
        if turns.len() == 1 { id } else { format!("{id}#{}", turns.len()) }
    }

    fn has_any(&self, ids: &[String]) -> bool {
        ids.iter().any(|id| self.turns.contains_key(id))
    }

    fn only(&self, id: &str) -> Option<usize> {
        match self.turns.get(id).map(Vec::as_slice) {
            Some([turn]) => Some(*turn),
            _ => None,
        }
    }

    /// The turns that evidence names, each once, and the ids in it that are not usable.
    fn resolve(&self, evidence: &[String]) -> (Vec<usize>, Vec<String>) {
        let (mut turns, mut unknown) = (Vec::new(), Vec::new());
        let mut take = |id: &str| match self.only(id) {
            Some(turn) if turns.contains(&turn) => {}
            Some(turn) => turns.push(turn),
            None => unknown.push(id.to_owned()),
        };
        for text in evidence {
            let text = text.trim();
            if self.turns.contains_key(text) {
                take(text);
                continue;
            }
            let is_of_id = |c: char| c.is_alphanumeric() || ":_-.#/".contains(c);
            text.split(|c| !is_of_id(c)).filter(|word| !word.is_empty()).for_each(&mut take);
        }
        (turns, unknown)
    }
}

/// Every text and number in a value, however deep, in their order.
pub(super) fn labels(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(values) => values.iter().flat_map(labels).collect(),
        Value::Object(entries) => entries.values().flat_map(labels).collect(),
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Turns as (space, id, session, text) and questions as (space, text, category, evidence).
    pub(in super::super) struct Given<'a> {
        pub(in super::super) turns: &'a [(&'a str, &'a str, &'a str, &'a str)],
        pub(in super::super) questions: &'a [(&'a str, &'a str, &'a str, &'a [&'a str])],
    }

    impl Reader for Given<'_> {
        fn turns(&self) -> Result<Vec<ReadTurn>, ToolError> {
            let turn = |(space, id, session, text): &(&str, &str, &str, &str)| ReadTurn {
                space: (*space).into(),
                id: (*id).into(),
                session: (*session).into(),
                at_us: None,
                speaker: String::new(),
                text: (*text).into(),
            };
            Ok(self.turns.iter().map(turn).collect())
        }

        fn questions(&self) -> Result<Vec<ReadQuestion>, ToolError> {
            let question = |(space, text, category, evidence): &(&str, &str, &str, &[&str])| {
                let evidence = evidence.iter().map(|id| (*id).to_owned()).collect();
                let (space, text) = ((*space).into(), (*text).into());
                ReadQuestion { space, text, category: (*category).into(), evidence }
            };
            Ok(self.questions.iter().map(question).collect())
        }

        fn questions_path(&self) -> PathBuf {
            "given".into()
        }
    }

    #[test]
    fn evidence_is_ids_lists_of_them_or_prose_with_ids_in_it() {
        let turns = [("a", "D1:1", "1", ""), ("a", "D1:2", "1", ""), ("a", "two words", "2", "")];
        let cases: [(&[&str], &[usize], &[&str]); 7] = [
            (&["D1:2"], &[1], &[]),
            (&["D1:2; D1:1"], &[1, 0], &[]),
            (&["(D1:1),D1:2", "D1:1"], &[0, 1], &[]),
            (&["two words"], &[2], &[]),
            (&["D1:1", "D", "D:1:2"], &[0], &["D", "D:1:2"]),
            (&["D1:11"], &[], &["D1:11"]),
            (&[], &[], &[]),
        ];
        for (evidence, expected, unknown) in cases {
            let questions = [("a", "?", "c", evidence), ("a", "other", "c", &["D1:1"][..])];
            let corpus = Corpus::read(&Given { turns: &turns, questions: &questions }).unwrap();
            let asked = &corpus.conversations[0].questions;
            let skipped = usize::from(expected.is_empty());
            assert_eq!((corpus.questions(), corpus.questions_skipped), (2 - skipped, skipped));
            assert_eq!(asked[0].evidence, if skipped > 0 { &[0][..] } else { expected });
            assert_eq!(asked[0].evidence_unknown, if skipped > 0 { &[][..] } else { unknown });
            let questions = usize::from(!unknown.is_empty());
            let questions_skipped = questions.min(skipped);
            let (ids, is_ambiguous) = (unknown.len(), false);
            let counted = Unknown { ids, questions, questions_skipped, is_ambiguous };
            assert_eq!(corpus.unknown, counted, "{evidence:?}");
        }
    }

    #[test]
    fn an_id_that_two_turns_have_names_neither() {
        let turns = [("a", "7", "", "x"), ("b", "7", "", "y"), ("a", "7", "", "z")];
        let questions: [(_, _, _, &[&str]); 2] = [("a", "?", "c", &["7"]), ("b", "?", "c", &["7"])];
        let corpus = Corpus::read(&Given { turns: &turns, questions: &questions }).unwrap();
        let [a, b] = &corpus.conversations[..] else { panic!("two conversations") };
        assert_eq!(a.turns.iter().map(|turn| turn.id.as_str()).collect::<Vec<_>>(), ["7", "7#2"]);
        assert_eq!(a.turns.iter().map(|turn| turn.row).collect::<Vec<_>>(), [0, 2]);
        assert_eq!((a.questions.len(), b.questions.len()), (0, 1));
        let (ids, questions, questions_skipped, is_ambiguous) = (1, 1, 1, true);
        let unknown = Unknown { ids, questions, questions_skipped, is_ambiguous };
        assert_eq!((b.questions[0].row, &corpus.unknown), (1, &unknown));
        assert_eq!((corpus.turns(), corpus.questions_skipped), (3, 1));
    }

    #[test]
    fn what_nothing_can_be_asked_of_is_an_error() {
        let turns = [("a", "1", "", "x")];
        let elsewhere = [("b", "?", "c", &["1"][..])];
        let error = Corpus::read(&Given { turns: &turns, questions: &elsewhere }).unwrap_err();
        assert!(error.to_string().contains("question 1 is about 'b'"), "{error}");
        let unknown = [("a", "?", "c", &["2"][..])];
        let error = Corpus::read(&Given { turns: &turns, questions: &unknown }).unwrap_err();
        assert!(error.to_string().contains("no question has evidence"), "{error}");
    }

    #[test]
    fn labels_are_found_at_any_depth() {
        let value = json!([{"first": [1, "a"], "second": 2}, null, true, "b"]);
        assert_eq!(labels(&value), ["1", "a", "2", "b"]);
    }
}
