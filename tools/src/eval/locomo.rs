//! LoCoMo's conversations (Maharana et al. 2024, "Evaluating Very Long-Term Conversational Memory
//! of LLM Agents") as two files of JSON lines, which is also what to bring anything else into.
//!
//! | File | Fields of a line |
//! |---|---|
//! | turns | `space`, the conversation; `id`; `session`; `ts`, unix seconds; `speaker`; `text` |
//! | questions | `space`; `question`; `evidence`, ids of turns; `category` |
//!
//! `session`, `ts`, `speaker` and `category` may be missing; ids, sessions and categories may be
//! numbers. Other fields are left alone. An id stands once in its conversation.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::corpus::{ReadQuestion, ReadTurn, Reader, labels};
use crate::error::ToolError;

#[derive(Debug)]
pub(super) struct Locomo {
    pub(super) turns: PathBuf,
    pub(super) questions: PathBuf,
}

#[derive(Debug, Deserialize)]
struct TurnLine {
    space: Label,
    id: Label,
    #[serde(default)]
    session: Option<Label>,
    #[serde(default)]
    ts: Option<f64>,
    #[serde(default)]
    speaker: Option<String>,
    text: String,
}

#[derive(Debug, Deserialize)]
struct QuestionLine {
    space: Label,
    question: String,
    #[serde(default)]
    evidence: Value,
    #[serde(default)]
    category: Option<Label>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a label is a text or a whole number")]
enum Label {
    Text(String),
    Number(i64),
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        match label {
            Label::Text(text) => text,
            Label::Number(number) => number.to_string(),
        }
    }
}

impl Reader for Locomo {
    fn turns(&self) -> Result<Vec<ReadTurn>, ToolError> {
        let mut seen: HashMap<(String, String), u64> = HashMap::new();
        let turn = |(number, line): (u64, TurnLine)| {
            let (space, id) = (String::from(line.space), String::from(line.id));
            if let Some(first) = seen.insert((space.clone(), id.clone()), number) {
                let reason = format!("'{space}' has a turn '{id}' in line {first} already");
                return Err(ToolError::Line { path: self.turns.clone(), line: number, reason });
            }
            Ok(ReadTurn {
                space,
                id,
                session: line.session.map(String::from).unwrap_or_default(),
                at_us: line.ts.map(|seconds| (seconds * 1e6).round() as i64),
                speaker: line.speaker.unwrap_or_default(),
                text: line.text,
            })
        };
        lines(&self.turns)?.into_iter().map(turn).collect()
    }

    fn questions(&self) -> Result<Vec<ReadQuestion>, ToolError> {
        let question = |(_, line): (u64, QuestionLine)| ReadQuestion {
            space: line.space.into(),
            text: line.question,
            category: line.category.map(String::from).unwrap_or_default(),
            evidence: labels(&line.evidence),
        };
        Ok(lines(&self.questions)?.into_iter().map(question).collect())
    }

    fn questions_path(&self) -> PathBuf {
        self.questions.clone()
    }
}

/// A value of each line that is not blank, and the number of the line.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<(u64, T)>, ToolError> {
    let text = fs::read_to_string(path).map_err(|e| ToolError::file(path, e))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let read = |(line, number): (&str, u64)| {
        serde_json::from_str(line).map(|value| (number, value)).map_err(|error| {
            let sentence = error.to_string();
            let reason = sentence.split(" at line 1").next().unwrap_or(&sentence).to_owned();
            ToolError::Line { path: path.to_owned(), line: number, reason }
        })
    };
    lines.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locomo(turns: &str, questions: &str) -> (tempfile::TempDir, Locomo) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let locomo =
            Locomo { turns: path("turns", turns), questions: path("questions", questions) };
        (folder, locomo)
    }

    #[test]
    fn numbers_are_labels_and_most_fields_may_be_missing() {
        let (_folder, locomo) = locomo(
            "{\"space\":\"a\",\"id\":7,\"session\":2,\"ts\":1.5,\"speaker\":\"A\",\"text\":\"x\"}\n\
             \n{\"space\":\"a\",\"id\":\"8\",\"text\":\"y\",\"dia\":0}\n",
            "{\"space\":\"a\",\"question\":\"?\",\"evidence\":[7,{\"b\":\"8\"}],\"category\":1}\n\
             {\"space\":\"a\",\"question\":\"!\"}",
        );
        let turns = locomo.turns().unwrap();
        assert_eq!((turns[0].id.as_str(), turns[0].session.as_str()), ("7", "2"));
        assert_eq!((turns[0].at_us, turns[1].at_us), (Some(1_500_000), None));
        assert_eq!((turns[1].session.as_str(), turns[1].speaker.as_str()), ("", ""));
        let questions = locomo.questions().unwrap();
        assert_eq!(questions[0].evidence, ["7", "8"]);
        assert_eq!((questions[0].category.as_str(), questions[1].category.as_str()), ("1", ""));
        assert!(questions[1].evidence.is_empty());
    }

    #[test]
    fn a_bad_line_is_named() {
        let (_folder, locomo) = locomo("\n{\"space\":\"a\",\"text\":\"x\"}", "nonsense");
        let error = locomo.turns().unwrap_err().to_string();
        assert!(error.ends_with("line 2: missing field `id`"), "{error}");
        let error = locomo.questions().unwrap_err().to_string();
        assert!(error.contains("line 1: expected"), "{error}");
    }

    #[test]
    fn an_id_stands_once_in_its_conversation() {
        let turn = |space, id| format!("{{\"space\":\"{space}\",\"id\":{id},\"text\":\"x\"}}\n");
        let two = [turn("a", "7"), turn("b", "7"), "\n".to_owned(), turn("a", "\"7\"")].concat();
        let (_folder, twice) = locomo(&two, "");
        let error = twice.turns().unwrap_err().to_string();
        assert!(error.ends_with("turns, line 4: 'a' has a turn '7' in line 1 already"), "{error}");
    }
}
