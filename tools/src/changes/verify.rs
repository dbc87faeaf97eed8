//! Does the daemon hold what the journal allows, and nothing else?
//!
//! Every memory space is scanned with all parts of its episodes, and every id that was ever sent is
//! read as well: two ways to the same episodes, which must agree.

use std::collections::BTreeMap;
use std::path::Path;

use redis::Value;
use serde_json::{Value as Json, json};

use super::contents;
use super::journal::{self, Entry, Journal};
use super::oracle::{Oracle, State};
use super::writer::{settings, space_name};
use crate::cli::Context;
use crate::client::Client;
use crate::commands::options::{Part, push_parts};
use crate::error::ToolError;
use crate::render::{self, grouped};
use crate::reply::{self, EpisodeReply};

/// Episodes asked for with one command.
const SCAN_COUNT: usize = 512;
const IDS_PER_COMMAND: usize = 1024;
/// Sentences in the error.
const SHOWN_MAX: usize = 3;

/// What was found against the journal.
#[derive(Debug, Default)]
struct Findings {
    /// Episodes and spaces that were looked for.
    checked: u64,
    present: u64,
    /// Acknowledged and gone.
    missing: u64,
    /// Another content than was sent, or another sequence than was answered.
    altered: u64,
    /// Forgotten, dropped or replaced, and there again.
    resurrected: u64,
    /// Never sent.
    invented: u64,
    /// Answers that contradict each other.
    wrong_answers: u64,
    shown: Vec<String>,
}

impl Findings {
    fn show(&mut self, sentence: String) {
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(sentence);
        }
    }

    fn violations(&self) -> u64 {
        self.missing + self.altered + self.resurrected + self.invented + self.wrong_answers
    }
}

/// What a scan found under a number: version and sequence, or something that was never sent.
type Found = BTreeMap<u64, Option<(u64, u64)>>;

/// Compares the daemon with a journal; an error when anything contradicts it.
pub(crate) fn verify(context: &Context, first_space: &str, path: &Path) -> Result<(), ToolError> {
    let mut oracle = Oracle::default();
    let dimensions = journal::read(path, |entry| oracle.enter(&entry))?;
    let mut client = context.connect()?;
    let mut verifier =
        Verifier { oracle: &oracle, dimensions, findings: Findings::default(), saw: vec![] };
    verifier.check_spaces(&mut client, first_space)?;
    verifier.check_answers(&mut client)?;
    let Verifier { findings, saw, .. } = verifier;
    if findings.violations() == 0 {
        Journal::reopen(path)?.append(&saw)?;
    }
    report(context, &oracle, &findings, saw.len())
}

struct Verifier<'a> {
    oracle: &'a Oracle,
    dimensions: usize,
    findings: Findings,
    /// What was open and is settled now.
    saw: Vec<Entry>,
}

impl Verifier<'_> {
    fn check_spaces(&mut self, client: &mut Client, first: &str) -> Result<(), ToolError> {
        let names = client.call(redis::cmd("EG.SPACE").arg("LIST"))?;
        let mut names: Vec<String> =
            reply::array(names, "EG.SPACE LIST")?.iter().filter_map(reply::text).collect();
        for space in 0..self.oracle.spaces().len() {
            let name = space_name(first, space);
            let at = names.iter().position(|there| *there == name);
            let is_there = at.map(|at| names.swap_remove(at)).is_some();
            self.check_space(client, space, &name, is_there)?;
            let found = if is_there { self.scan(client, space, &name)? } else { Found::new() };
            self.check_episodes(space, &name, &found);
            if is_there {
                self.read_by_id(client, space, &name, &found)?;
            }
        }
        for name in names {
            self.findings.invented += 1;
            self.findings.show(format!("memory space '{name}' was invented"));
        }
        Ok(())
    }

    fn check_space(
        &mut self,
        client: &mut Client,
        space: usize,
        name: &str,
        is_there: bool,
    ) -> Result<(), ToolError> {
        self.findings.checked += 1;
        let mut found = None;
        if is_there {
            found = self.creator(client, name)?;
            if found.is_none() {
                self.findings.altered += 1;
                self.findings.show(format!("no change gave '{name}' the settings it has"));
                return Ok(());
            }
        }
        let allowed = self.oracle.allowed_space(space);
        if !allowed.contains(&found) {
            let Findings { missing, resurrected, .. } = &mut self.findings;
            *(if is_there { resurrected } else { missing }) += 1;
            self.findings.show(format!(
                "memory space '{name}' was made by change {found:?}; the journal allows {allowed:?}"
            ));
        } else if !self.oracle.spaces()[space].is_settled() {
            self.saw.push(Entry::SawSpace { space, found });
        }
        Ok(())
    }

    /// The change that created a space, by its settings.
    fn creator(&self, client: &mut Client, name: &str) -> Result<Option<u64>, ToolError> {
        let shards = shards(client)?;
        let info = client.call(redis::cmd("EG.SPACE").arg("INFO").arg(name))?;
        let info: BTreeMap<String, Value> =
            reply::entries(info).unwrap_or_default().into_iter().collect();
        let text = |key: &str| info.get(key).and_then(reply::text).unwrap_or_default();
        let model = text("model");
        let change = model.strip_prefix("change-").and_then(|change| change.parse().ok());
        Ok(change.filter(|change| {
            let expected = settings(*change);
            let spans = if expected.spans_all { shards } else { 1 };
            (expected.metric, &expected.model) == (text("metric").as_str(), &model)
                && text("dim") == self.dimensions.to_string()
                && text("fan") == expected.fan.to_string()
                && text("fan_cap") == expected.fan_cap.unwrap_or_default().to_string()
                && text("shards") == spans.to_string()
        }))
    }

    /// Every episode of a space, compared with what was sent.
    fn scan(&mut self, client: &mut Client, space: usize, name: &str) -> Result<Found, ToolError> {
        const COMMAND: &str = "EG.SCAN";
        let mut found = Found::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut command = redis::cmd(COMMAND);
            command.arg(name).arg("CURSOR").arg(&cursor).arg("COUNT").arg(SCAN_COUNT);
            push_parts(&mut command, &[Part::Text, Part::Vec, Part::Meta, Part::Links]);
            let reply = reply::array(client.call(&command)?, COMMAND)?;
            let [next, episodes] = <[Value; 2]>::try_from(reply).map_err(|_| {
                let reason = "it is not a cursor and an array".to_owned();
                ToolError::Reply { command: COMMAND, reason }
            })?;
            for episode in reply::array(episodes, COMMAND)? {
                let episode = EpisodeReply::read(episode, COMMAND)?;
                if let Some((number, state)) = self.recognise(space, name, &episode)
                    && found.insert(number, state).is_some()
                {
                    self.findings.invented += 1;
                    self.findings.show(format!("'{}' is twice in '{name}'", episode.id));
                }
            }
            cursor = reply::text(&next).unwrap_or_default();
            if cursor == "0" {
                return Ok(found);
            }
        }
    }

    /// Number, version and sequence of an episode that is what was sent.
    fn recognise(
        &mut self,
        space: usize,
        name: &str,
        episode: &EpisodeReply,
    ) -> Option<(u64, Option<(u64, u64)>)> {
        let id = &episode.id;
        let known = &self.oracle.spaces()[space].episodes;
        let Some(number) = contents::number(id).filter(|number| known.contains_key(number)) else {
            self.findings.invented += 1;
            self.findings.show(format!("'{id}' in '{name}' was never sent"));
            return None;
        };
        let version = contents::version(episode);
        let version =
            version.filter(|version| self.oracle.store(*version) == Some((space, number)));
        let Some(version) = version else {
            self.findings.altered += 1;
            self.findings.show(format!("'{id}' in '{name}' is no version that was sent"));
            return Some((number, None));
        };
        let sequence = episode.sequence.unwrap_or(0);
        let difference =
            contents::difference(episode, &contents::episode(number, version, self.dimensions));
        let answered = self.oracle.sequence(version);
        if let Some(part) = difference {
            self.findings.altered += 1;
            self.findings.show(format!("{part} of '{id}' in '{name}' is not that of {version}"));
        } else if answered.is_some_and(|answered| answered != sequence) {
            self.findings.altered += 1;
            self.findings.show(format!(
                "'{id}' in '{name}' has sequence {sequence}, version {version} was answered \
                 {answered:?}"
            ));
        }
        Some((number, Some((version, sequence))))
    }

    /// Compares the states of a space's episodes with those that are allowed.
    fn check_episodes(&mut self, space: usize, name: &str, found: &Found) {
        for (number, known) in &self.oracle.spaces()[space].episodes {
            self.findings.checked += 1;
            let there = match found.get(number) {
                // Told already.
                Some(None) => continue,
                Some(there) => *there,
                None => None,
            };
            self.findings.present += u64::from(there.is_some());
            let state: State = there.map(|(version, _)| version);
            let allowed = self.oracle.allowed(space, known);
            if !allowed.contains(&state) {
                let count = match state {
                    None => &mut self.findings.missing,
                    Some(_) => &mut self.findings.resurrected,
                };
                *count += 1;
                self.findings.show(format!(
                    "'{}' in '{name}' is in version {state:?}; the journal allows {allowed:?}",
                    contents::id(*number)
                ));
            } else if !known.is_settled() {
                self.saw.push(Entry::SawEpisode { space, number: *number, found: there });
            }
        }
    }

    /// Reads every id that was ever sent: it must be there if and only if the scan found it.
    fn read_by_id(
        &mut self,
        client: &mut Client,
        space: usize,
        name: &str,
        found: &Found,
    ) -> Result<(), ToolError> {
        const COMMAND: &str = "EG.MGET";
        let numbers: Vec<u64> = self.oracle.spaces()[space].episodes.keys().copied().collect();
        for numbers in numbers.chunks(IDS_PER_COMMAND) {
            let ids: Vec<String> = numbers.iter().map(|number| contents::id(*number)).collect();
            let mut command = redis::cmd(COMMAND);
            command.arg(name).arg(ids.len()).arg(&ids).arg("WITH").arg("meta");
            let episodes = reply::array(client.call(&command)?, COMMAND)?;
            for ((id, number), episode) in ids.iter().zip(numbers).zip(episodes) {
                let sequence = match episode {
                    Value::Nil => None,
                    other => EpisodeReply::read(other, COMMAND)?.sequence,
                };
                let scanned = match found.get(number) {
                    Some(None) => continue,
                    Some(Some((_, scanned))) => Some(*scanned),
                    None => None,
                };
                if sequence != scanned {
                    self.findings.altered += 1;
                    self.findings.show(format!(
                        "'{id}' in '{name}' is read with sequence {sequence:?}, scanned as \
                         {scanned:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_answers(&mut self, client: &mut Client) -> Result<(), ToolError> {
        let wrong = &self.oracle.wrong_answers;
        self.findings.wrong_answers += wrong.count;
        if let Some(first) = &wrong.first {
            self.findings.show(first.clone());
        }
        if let Some(sequence) = self.oracle.sequence_given_too_often(shards(client)?) {
            self.findings.wrong_answers += 1;
            self.findings
                .show(format!("sequence {sequence} was given more often than once a shard"));
        }
        Ok(())
    }
}

/// How many shards the store has.
fn shards(client: &mut Client) -> Result<usize, ToolError> {
    const COMMAND: &str = "EG.STATS";
    let stats = reply::entries(client.call(&redis::cmd(COMMAND))?).unwrap_or_default();
    let shards = stats.into_iter().find(|(key, _)| key == "per_shard").map(|(_, shards)| shards);
    let shards = shards.ok_or_else(|| ToolError::Reply {
        command: COMMAND,
        reason: "it has no per_shard".to_owned(),
    })?;
    Ok(reply::array(shards, COMMAND)?.len())
}

fn report(
    context: &Context,
    oracle: &Oracle,
    findings: &Findings,
    settled: usize,
) -> Result<(), ToolError> {
    let Findings { checked, present, missing, altered, resurrected, invented, .. } = *findings;
    if context.json {
        let found = json!({
            "checked": checked, "present": present, "settled": settled, "missing": missing,
            "altered": altered, "resurrected": resurrected, "invented": invented,
            "wrong_answers": findings.wrong_answers,
        });
        let mut answers = json!(oracle.counts);
        if let (Json::Object(answers), Json::Object(found)) = (&mut answers, found) {
            answers.extend(found);
        }
        render::print_json(&answers)?;
    } else {
        render::print(&text(oracle, findings, settled))?;
    }
    if findings.violations() == 0 {
        return Ok(());
    }
    Err(ToolError::Verification(format!(
        "{} contradictions to the journal, the first: {}; keep the data directory and run engram \
         inspect on it",
        grouped(findings.violations()),
        findings.shown.join("; "),
    )))
}

fn text(oracle: &Oracle, findings: &Findings, settled: usize) -> String {
    let counts = &oracle.counts;
    let list = |entries: &[(&str, u64)]| {
        let one = |(name, count): &(&str, u64)| format!("{} {name}", grouped(*count));
        entries.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let answered = list(&[
        ("created", counts.created),
        ("replaced", counts.replaced),
        ("forgotten", counts.forgotten),
        ("repeated", counts.existing),
        ("spaces created", counts.spaces_created),
        ("dropped", counts.spaces_dropped),
    ]);
    let others = list(&[
        ("forgets of nothing", counts.unknown),
        ("refused", counts.refused),
        ("unanswered", counts.unanswered),
    ]);
    let found = list(&[
        ("missing", findings.missing),
        ("altered", findings.altered),
        ("resurrected", findings.resurrected),
        ("invented", findings.invented),
        ("wrong answers", findings.wrong_answers),
    ]);
    format!(
        "acknowledged: {answered}\nbesides: {others}\nchecked {} episodes and spaces, {} \
         present, {} settled: {found}",
        grouped(findings.checked),
        grouped(findings.present),
        grouped(settled as u64),
    )
}
