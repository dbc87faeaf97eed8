//! Are all acknowledged episodes there?
//!
//! Reads a log of acknowledged ids and asks for each with `EG.MGET`. An episode that the load
//! generator stored must also carry the text that was stored with it: its id and the hash of its
//! id.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use redis::Value;
use serde_json::json;

use super::payload::{self, ID_PREFIX};
use crate::cli::Context;
use crate::client::Client;
use crate::commands::options::{Part, push_parts};
use crate::error::ToolError;
use crate::render::{self, grouped};
use crate::reply::{self, EpisodeReply};

/// Ids asked for with one command.
const IDS_PER_COMMAND: usize = 256;
/// Ids named in the error.
const IDS_SHOWN: usize = 5;

#[derive(Debug, Default)]
struct Findings {
    checked: u64,
    missing: Vec<String>,
    altered: Vec<String>,
}

/// Checks every id of the log; an error when one is missing or altered.
pub(super) fn verify(context: &Context, space: &str, log: &Path) -> Result<(), ToolError> {
    let file = File::open(log).map_err(|e| ToolError::file(log, e))?;
    let mut reader = BufReader::new(file);
    let mut client = context.connect()?;
    let mut findings = Findings::default();
    loop {
        let ids = next_ids(&mut reader).map_err(|e| ToolError::file(log, e))?;
        if ids.is_empty() {
            break;
        }
        check(&mut client, space, ids, &mut findings)?;
    }
    report(context, space, &findings)
}

/// The next ids. A last line without its end was being written when its writer died: it is no
/// promise.
fn next_ids(reader: &mut impl std::io::BufRead) -> std::io::Result<Vec<String>> {
    let mut ids = Vec::with_capacity(IDS_PER_COMMAND);
    while ids.len() < IDS_PER_COMMAND {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some(id) = line.strip_suffix('\n') else { break };
        if !id.is_empty() {
            ids.push(id.to_owned());
        }
    }
    Ok(ids)
}

fn check(
    client: &mut Client,
    space: &str,
    ids: Vec<String>,
    findings: &mut Findings,
) -> Result<(), ToolError> {
    const COMMAND: &str = "EG.MGET";
    let mut command = redis::cmd(COMMAND);
    command.arg(space).arg(ids.len()).arg(&ids);
    push_parts(&mut command, &[Part::Text]);
    let episodes = reply::array(client.call(&command)?, COMMAND)?;
    if episodes.len() != ids.len() {
        let reason = format!("{} answers to {} ids", episodes.len(), ids.len());
        return Err(ToolError::Reply { command: COMMAND, reason });
    }
    for (id, episode) in ids.into_iter().zip(episodes) {
        findings.checked += 1;
        if matches!(episode, Value::Nil) {
            findings.missing.push(id);
        } else {
            let episode = EpisodeReply::read(episode, COMMAND)?;
            let text = episode.text.unwrap_or_default();
            let is_generated = id.starts_with(ID_PREFIX) && !text.is_empty();
            if episode.id != id || is_generated && !payload::is_signed(&text, &id) {
                findings.altered.push(id);
            }
        }
    }
    Ok(())
}

fn report(context: &Context, space: &str, findings: &Findings) -> Result<(), ToolError> {
    let Findings { checked, missing, altered } = findings;
    if context.json {
        render::print_json(&json!({
            "space": space,
            "acknowledgements": checked,
            "missing": missing.len(),
            "altered": altered.len(),
        }))?;
    } else {
        render::print(&format!(
            "verified {} acknowledgements in '{space}': {} missing, {} altered",
            grouped(*checked),
            grouped(missing.len() as u64),
            grouped(altered.len() as u64),
        ))?;
    }
    if missing.is_empty() && altered.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> =
        missing.iter().chain(altered).take(IDS_SHOWN).map(String::as_str).collect();
    Err(ToolError::Verification(format!(
        "{} acknowledged episodes are missing or altered, the first are {}; keep the data \
         directory and run engram inspect on it",
        missing.len() + altered.len(),
        shown.join(", "),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_no_promise() {
        let mut log: &[u8] = b"load-000000000001\n\nb\nload-0000";
        assert_eq!(next_ids(&mut log).unwrap(), ["load-000000000001", "b"]);
        assert!(next_ids(&mut log).unwrap().is_empty());
    }
}
