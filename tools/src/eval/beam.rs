//! BEAM's chats (Tavakoli et al. 2025, "Beyond a Million Tokens: Benchmarking and Enhancing
//! Long-Term Memory in LLMs"), read from the folders in which its repository ships them.
//!
//! `N/chat.json` has objects with `role`, `id` and `content`, deep in batches, turns and plans: the
//! messages, in the order in which they stand. `N/probing_questions/probing_questions.json` has
//! questions by ability, each with `question` and `source_chat_ids`, ids of messages in a list or
//! in lists by name.
//!
//! The chats of a folder come by their number, abilities by their name. A batch of turns is a
//! session. Messages have no time of their own, but some begin a day (`March-15-2024`): each is
//! taken as a minute later than the one before, from the first day on. Questions of the ability
//! `abstention` have no evidence. The chats of ten million tokens number the messages of each plan
//! from 0 again: an id that comes twice is no error here, but evidence for neither.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::corpus::{ReadQuestion, ReadTurn, Reader, labels};
use crate::error::ToolError;

const MINUTE_US: i64 = 60_000_000;
const CHAT: &str = "chat.json";
const QUESTIONS: &str = "probing_questions/probing_questions.json";
/// How days are written.
const DAY_FORMATS: [&str; 3] = ["%B-%d-%Y", "%B %d, %Y", "%Y-%m-%d"];

#[derive(Debug)]
pub(super) struct Beam {
    folder: PathBuf,
    /// Folders of chats, by their names.
    chats: Vec<(String, PathBuf)>,
}

#[derive(Debug, Deserialize)]
struct Probe {
    question: String,
    #[serde(default)]
    source_chat_ids: Value,
}

impl Beam {
    /// A folder of chats, or that of one.
    pub(super) fn open(folder: &Path) -> Result<Self, ToolError> {
        let file = |error| ToolError::file(folder, error);
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut chats = Vec::new();
        if folder.join(CHAT).is_file() {
            chats.push((name(folder), folder.to_owned()));
        } else {
            for entry in fs::read_dir(folder).map_err(file)? {
                let path = entry.map_err(file)?.path();
                if path.join(CHAT).is_file() {
                    chats.push((name(&path), path));
                }
            }
        }
        if chats.is_empty() {
            let reason = "no chats: a folder of BEAM has 1/chat.json, 2/chat.json and so on";
            return Err(ToolError::format(folder, reason));
        }
        chats.sort_by_key(|(name, _)| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        Ok(Self { folder: folder.to_owned(), chats })
    }
}

impl Reader for Beam {
    fn turns(&self) -> Result<Vec<ReadTurn>, ToolError> {
        let mut turns = Vec::new();
        for (name, folder) in &self.chats {
            let path = folder.join(CHAT);
            let before = turns.len();
            let mut chat = Chat { space: name, sessions: 0, now_us: None, turns: &mut turns };
            chat.read(&json(&path)?).map_err(|reason| ToolError::format(&path, reason))?;
            if turns.len() == before {
                let reason = "no messages: a chat has objects with role, id and content in turns";
                return Err(ToolError::format(&path, reason));
            }
        }
        Ok(turns)
    }

    fn questions(&self) -> Result<Vec<ReadQuestion>, ToolError> {
        let mut questions = Vec::new();
        for (name, folder) in &self.chats {
            let abilities: BTreeMap<String, Vec<Probe>> = json(&folder.join(QUESTIONS))?;
            for (ability, probes) in abilities {
                questions.extend(probes.into_iter().map(|probe| ReadQuestion {
                    space: name.clone(),
                    text: probe.question,
                    category: ability.clone(),
                    evidence: labels(&probe.source_chat_ids),
                }));
            }
        }
        Ok(questions)
    }

    fn questions_path(&self) -> PathBuf {
        self.folder.clone()
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, ToolError> {
    let bytes = fs::read(path).map_err(|e| ToolError::file(path, e))?;
    serde_json::from_slice(&bytes).map_err(|error| ToolError::format(path, error.to_string()))
}

/// A chat as it is gone through.
struct Chat<'a> {
    space: &'a str,
    sessions: u64,
    /// Unknown before the first day.
    now_us: Option<i64>,
    turns: &'a mut Vec<ReadTurn>,
}

impl Chat<'_> {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| self.read(value)),
            Value::Object(entries) => {
                if let Some(Value::String(day)) = entries.get("time_anchor") {
                    self.begin_day(day)?;
                }
                if entries.contains_key("role") && entries.contains_key("content") {
                    return self.take(value);
                }
                self.sessions += u64::from(entries.contains_key("turns"));
                entries.values().try_for_each(|value| self.read(value))
            }
            _ => Ok(()),
        }
    }

    /// A batch and its first message may both name the day: it begins once.
    fn begin_day(&mut self, day: &str) -> Result<(), String> {
        let date = DAY_FORMATS.iter().find_map(|format| Date::strptime(format, day.trim()).ok());
        let start = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
        let start = start.ok_or_else(|| {
            format!("the time_anchor '{day}' is no day; read are March-15-2024 and 2024-03-15")
        })?;
        self.now_us = Some(start.timestamp().as_microsecond());
        Ok(())
    }

    fn take(&mut self, message: &Value) -> Result<(), String> {
        let text = |field: &str| message.get(field).and_then(Value::as_str).map(str::to_owned);
        let id = labels(message.get("id").unwrap_or(&Value::Null));
        let nth = self.turns.len() + 1;
        let [id] = &id[..] else { return Err(format!("message {nth} has no id")) };
        let content = text("content").ok_or_else(|| format!("message {nth} has no text"))?;
        self.turns.push(ReadTurn {
            space: self.space.to_owned(),
            id: id.clone(),
            session: self.sessions.to_string(),
            at_us: self.now_us,
            speaker: text("role").unwrap_or_default(),
            text: content,
        });
        self.now_us = self.now_us.map(|now_us| now_us + MINUTE_US);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn chats_come_by_number_with_their_sessions_days_and_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let message = |id: u32, more: &str| {
            format!("{{\"role\":\"user\",\"id\":{id},\"content\":\"m{id}\"{more}}}")
        };
        let chat = format!(
            "[{{\"turns\":[[{},{}]]}},{{\"turns\":[[{}]],\"time_anchor\":null}}]",
            message(0, ",\"time_anchor\":\"March-15-2024\""),
            message(1, ""),
            message(2, ",\"time_anchor\":\"2024-03-16\""),
        );
        write(&folder.path().join("10/chat.json"), &format!("[{}]", message(0, "")));
        write(&folder.path().join("2/chat.json"), &chat);
        let probes = "{\"update\":[{\"question\":\"a?\",\
                      \"source_chat_ids\":{\"x\":[0],\"y\":[2]}}],\
                      \"abstention\":[{\"question\":\"b?\",\"rubric\":[]}]}";
        write(&folder.path().join("2").join(QUESTIONS), probes);
        write(&folder.path().join("10").join(QUESTIONS), "{}");
        let beam = Beam::open(folder.path()).unwrap();
        let turns = beam.turns().unwrap();
        let places: Vec<(&str, &str, &str)> =
            turns.iter().map(|t| (&*t.space, &*t.id, &*t.session)).collect();
        let expected = [("2", "0", "1"), ("2", "1", "1"), ("2", "2", "2"), ("10", "0", "0")];
        assert_eq!(places, expected);
        // 2024-03-15T00:00:00Z.
        let day = 1_710_460_800_000_000;
        let times: Vec<Option<i64>> = turns.iter().map(|turn| turn.at_us).collect();
        let next = day + 24 * 60 * MINUTE_US;
        assert_eq!(times, [Some(day), Some(day + MINUTE_US), Some(next), None]);
        let questions = beam.questions().unwrap();
        let asked: Vec<(&str, &[String])> =
            questions.iter().map(|q| (&*q.category, &q.evidence[..])).collect();
        let evidence = ["0".to_owned(), "2".to_owned()];
        assert_eq!(asked, [("abstention", &[][..]), ("update", &evidence[..])]);
        let one = Beam::open(&folder.path().join("2")).unwrap();
        assert_eq!(one.turns().unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_chat_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = Beam::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("1/chat.json"), "{error}");
        assert!(Beam::open(&folder.path().join("none")).is_err());
        let chat = folder.path().join("1/chat.json");
        for (content, expected) in [
            ("[{\"role\":\"user\",\"content\":\"x\"}]", "message 1 has no id"),
            ("[{\"role\":\"user\",\"id\":1,\"content\":null}]", "message 1 has no text"),
            ("[{\"time_anchor\":\"noon\",\"turns\":[]}]", "'noon' is no day"),
            ("[", "EOF"),
            ("{}", "1/chat.json: no messages"),
            ("[{\"turns\":[[{\"id\":1,\"content\":\"x\"}]]}]", "objects with role, id and content"),
        ] {
            write(&chat, content);
            let error = Beam::open(folder.path()).unwrap().turns().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
