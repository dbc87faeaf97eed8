//! `engram watch`: each new episode of a memory space as a line of JSON, until it is stopped.
//!
//! Each line says in `from` where another watch would go on behind it. A watch that the daemon cuts
//! because its reader was slow goes on from there by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use redis::{PushKind, Value};

use crate::cli::Context;
use crate::client::Client;
use crate::commands::options::{Part, push_parts, stored_parts};
use crate::error::ToolError;
use crate::reply;

const COMMAND: &str = "EG.WATCH";
/// Episodes that may come before more are asked for, and of how many at once.
const CREDIT: u64 = 1_024;
const CREDIT_STEP: u64 = CREDIT / 2;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  engram watch notes --from 0 | jq -r .text")]
pub(crate) struct Watch {
    /// The memory space
    space: String,
    /// Begin behind this: 0 for everything there is, or what a line says in 'from'
    #[arg(long, value_name = "PLACE", value_parser = parse_places)]
    from: Option<Places>,
    /// Parts of each episode
    #[arg(long, value_name = "PART", value_delimiter = ',', default_value = "text,meta")]
    #[arg(value_parser = stored_parts())]
    with: Vec<Part>,
}

/// How far a watch has come: of each shard the sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Places(BTreeMap<u64, u64>);

fn parse_places(text: &str) -> Result<Places, String> {
    if text == "0" {
        return Ok(Places(BTreeMap::from([(0, 0)])));
    }
    let place = |place: &str| {
        let (shard, sequence) = place.split_once(':')?;
        Some((shard.parse().ok()?, sequence.parse().ok()?))
    };
    let places: Option<BTreeMap<u64, u64>> = text.split(',').map(place).collect();
    places.map(Places).ok_or_else(|| "write it as 0, or as SHARD:SEQ,SHARD:SEQ…".to_owned())
}

impl Places {
    /// From an array of shard, sequence, shard, sequence …
    fn read(value: Value) -> Result<Self, ToolError> {
        let unreadable = || unreadable("a place is no array of numbers");
        let numbers: Option<Vec<u64>> = reply::array(value, COMMAND)?
            .iter()
            .map(|number| reply::integer(number)?.try_into().ok())
            .collect();
        let numbers = numbers.ok_or_else(unreadable)?;
        let (pairs, rest) = numbers.as_chunks::<2>();
        match rest.is_empty() {
            true => Ok(Self(pairs.iter().map(|[shard, sequence]| (*shard, *sequence)).collect())),
            false => Err(unreadable()),
        }
    }
}

impl std::fmt::Display for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (nth, (shard, sequence)) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_char(',')?;
            }
            write!(f, "{shard}:{sequence}")?;
        }
        Ok(())
    }
}

fn unreadable(reason: &str) -> ToolError {
    ToolError::Reply { command: COMMAND, reason: reason.to_owned() }
}

/// What the daemon says while a watch goes on.
enum Told {
    Episode { shard: u64, sequence: u64, episode: Value },
    Cut { code: String, message: String, at: Places },
    Other,
}

impl Told {
    fn read(value: Value) -> Result<Self, ToolError> {
        let Value::Push { kind: PushKind::Other(kind), data } = value else {
            return Ok(Self::Other);
        };
        let number = |value: &Value| reply::integer(value).and_then(|it| u64::try_from(it).ok());
        match (kind.as_str(), <[Value; 4]>::try_from(data)) {
            ("eg.watch", Ok([_, shard, sequence, episode])) => {
                let (Some(shard), Some(sequence)) = (number(&shard), number(&sequence)) else {
                    return Err(unreadable("an episode has no place"));
                };
                Ok(Self::Episode { shard, sequence, episode })
            }
            ("eg.cut", Err(data)) => match <[Value; 3]>::try_from(data) {
                Ok([_, reason, at]) => {
                    let reason = reply::text(&reason).unwrap_or_default();
                    let (code, message) = reason.split_once(' ').unwrap_or((&reason, ""));
                    let at = Places::read(at)?;
                    Ok(Self::Cut { code: code.to_owned(), message: message.to_owned(), at })
                }
                Err(_) => Err(unreadable("the end of a watch has no place")),
            },
            _ => Ok(Self::Other),
        }
    }
}

impl Watch {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut client = context.connect()?;
        let mut places = self.from.clone();
        loop {
            let followed = self.follow(&mut client, context, &mut places);
            match followed {
                Ok(()) => {}
                Err(error) => {
                    if let Some(places) = &places
                        && !error.is_closed_output()
                    {
                        eprintln!("the watch of '{}' goes on with --from {places}", self.space);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Prints episodes until the daemon cuts the watch because this client was slow.
    fn follow(
        &self,
        client: &mut Client,
        context: &Context,
        places: &mut Option<Places>,
    ) -> Result<(), ToolError> {
        client.wait_at_most(Some(context.timeout()))?;
        let (watch, begin) = self.open(client, places.as_ref())?;
        let places = places.insert(begin);
        // Silence says nothing.
        client.wait_at_most(None)?;
        let mut taken = 0;
        loop {
            match Told::read(client.receive()?)? {
                Told::Episode { shard, sequence, episode } => {
                    places.0.insert(shard, sequence);
                    print(&episode, places)?;
                    taken += 1;
                    if taken == CREDIT_STEP {
                        let mut more = redis::cmd(COMMAND);
                        more.arg("MORE").arg(watch).arg(taken);
                        client.send(&more.get_packed_command())?;
                        taken = 0;
                    }
                }
                Told::Cut { code, message, at } => {
                    *places = at;
                    // It was slow, or the daemon stops, which the next word to it shows.
                    return match code == "BUSY" {
                        true => Ok(()),
                        false => Err(ToolError::Refused { code, message }),
                    };
                }
                Told::Other => {}
            }
        }
    }

    /// Opens a watch: its number, and where it begins.
    fn open(&self, client: &mut Client, from: Option<&Places>) -> Result<(u64, Places), ToolError> {
        let mut command = redis::cmd(COMMAND);
        command.arg(&self.space).arg("CREDIT").arg(CREDIT);
        for (nth, (shard, sequence)) in from.iter().flat_map(|from| &from.0).enumerate() {
            if nth == 0 {
                command.arg("FROM");
            }
            command.arg(shard).arg(sequence);
        }
        push_parts(&mut command, &self.with);
        let (mut watch, mut begin) = (None, None);
        let reply = reply::entries(client.call(&command)?);
        for (key, value) in reply.ok_or_else(|| unreadable("it is no map"))? {
            match key.as_str() {
                "watch" => watch = reply::integer(&value).and_then(|it| u64::try_from(it).ok()),
                "from" => begin = Some(Places::read(value)?),
                _ => {}
            }
        }
        watch.zip(begin).ok_or_else(|| unreadable("it has no number or no place"))
    }
}

/// One line for an episode.
fn print(episode: &Value, places: &Places) -> Result<(), ToolError> {
    let mut line = reply::to_json(episode);
    let fields = line.as_object_mut().ok_or_else(|| unreadable("an episode is no map"))?;
    fields.insert("from".to_owned(), places.to_string().into());
    let mut output = std::io::stdout().lock();
    // Whoever reads it wants it now.
    let written = writeln!(output, "{line}").and_then(|()| output.flush());
    written.map_err(ToolError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let places = parse_places("3:17,0:2").unwrap();
        assert_eq!(places.to_string(), "0:2,3:17");
        assert_eq!(parse_places("0").unwrap().to_string(), "0:0");
        for wrong in ["", "1", "0:", "0:1,", "a:b", "0:-1"] {
            assert!(parse_places(wrong).is_err(), "{wrong}");
        }
    }
}
