//! Options that several commands share.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use redis::{Cmd, ToRedisArgs};

use crate::time;

/// An optional part of an episode in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Text,
    Vec,
    Meta,
    Links,
    Strength,
    Belief,
    Why,
}

/// Reads the parts that episodes have by themselves: what reads them says no more.
pub(crate) fn stored_parts() -> impl TypedValueParser<Value = Part> {
    let stored = [Part::Text, Part::Vec, Part::Meta, Part::Links, Part::Strength];
    let names = stored.iter().filter_map(Part::to_possible_value);
    PossibleValuesParser::new(names)
        .map(|name| Part::from_str(&name, false).expect("the names are those of parts"))
}

/// Appends `WITH part` for each part.
pub(crate) fn push_parts(command: &mut Cmd, parts: &[Part]) {
    for part in parts {
        command.arg("WITH").arg(match part {
            Part::Text => "text",
            Part::Vec => "vec",
            Part::Meta => "meta",
            Part::Links => "links",
            Part::Strength => "strength",
            Part::Belief => "belief",
            Part::Why => "why",
        });
    }
}

/// Appends an option, if it is given.
pub(crate) fn push(command: &mut Cmd, name: &str, value: Option<impl ToRedisArgs>) {
    if let Some(value) = value {
        command.arg(name).arg(value);
    }
}

/// What is shown of an episode that was found by a cue.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// Parts to answer with
    #[arg(long, value_name = "PART", value_delimiter = ',', default_value = "text")]
    with: Vec<Part>,
    /// Show how each was found, and by which links; the same as '--with why' beside other parts
    #[arg(long)]
    why: bool,
}

impl Shown {
    /// The parts to answer with; that of --why aside.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.with
    }

    pub(crate) fn add_to(&self, command: &mut Cmd) {
        push_parts(command, &self.with);
        if self.why && !self.with.contains(&Part::Why) {
            push_parts(command, &[Part::Why]);
        }
    }
}

/// What an episode has to fulfil to be answered.
#[derive(Debug, Args)]
pub(crate) struct Conditions {
    /// Only what happened at or after this time (microseconds or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time::parse_us, allow_hyphen_values = true)]
    since: Option<i64>,
    /// Only what happened at or before this time (microseconds or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time::parse_us, allow_hyphen_values = true)]
    until: Option<i64>,
    /// What was believed at this time (microseconds or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time::parse_us, allow_hyphen_values = true)]
    as_of: Option<i64>,
    /// Also what is archived
    #[arg(long)]
    archived: bool,
    /// Only episodes at least this sure, from 0 to 1
    #[arg(long, value_name = "P")]
    min_confidence: Option<f32>,
    /// Only episodes whose metadata matches this JSON filter
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Only episodes at least this sure by the low end of their confidence, discounted by trust,
    /// from 0 to 1
    #[arg(long, value_name = "P")]
    min_trust: Option<f32>,
    /// How much you trust who wrote an episode, or how that came to be known, from 0 to 1:
    /// 'writer:NAME=T', 'source:NAME=T', 'uid:N=T' for the user whose process stored it, or '*=T'
    /// for all that are not named; may be repeated
    #[arg(long, value_name = "WHOM=T", value_parser = parse_trust)]
    trust: Vec<Trust>,
}

/// An entry of `--trust`.
#[derive(Debug, Clone, PartialEq)]
struct Trust {
    /// The keyword and the name; `None` of all others.
    whom: Option<(&'static str, String)>,
    degree: f32,
}

fn parse_trust(text: &str) -> Result<Trust, String> {
    let form = || format!("'{text}' is none of writer:NAME=T, source:NAME=T, uid:N=T and *=T");
    let (whom, degree) = text.rsplit_once('=').ok_or_else(form)?;
    let degree = degree.parse().map_err(|_| form())?;
    let named = match whom.split_once(':') {
        None if whom == "*" => None,
        Some(("writer", name)) => Some(("WRITER", name.to_owned())),
        Some(("source", name)) => Some(("SOURCE", name.to_owned())),
        Some(("uid", uid)) if uid.parse::<u32>().is_ok() => Some(("UID", uid.to_owned())),
        _ => return Err(form()),
    };
    Ok(Trust { whom: named, degree })
}

impl Conditions {
    pub(crate) fn add_to(&self, command: &mut Cmd) {
        push(command, "SINCE", self.since);
        push(command, "UNTIL", self.until);
        push(command, "ASOF", self.as_of);
        if self.archived {
            command.arg("ARCHIVED");
        }
        push(command, "MINCONF", self.min_confidence);
        push(command, "FILTER", self.filter.as_ref());
        push(command, "MINTRUST", self.min_trust);
        for Trust { whom, degree } in &self.trust {
            command.arg("TRUST");
            match whom {
                Some((keyword, name)) => command.arg(keyword).arg(name),
                None => command.arg("*"),
            };
            command.arg(degree);
        }
    }
}

/// How mass goes along links. What is not given is the daemon's to choose.
#[derive(Debug, Args)]
pub(crate) struct Spreading {
    /// Links that mass goes far at most, from 0 to 32
    #[arg(long, value_name = "LINKS")]
    hops: Option<u32>,
    /// Links that are visited at most
    #[arg(long, value_name = "LINKS")]
    budget: Option<u64>,
    /// The part of its mass that an episode passes on, from 0 to 0.99
    #[arg(long, value_name = "P")]
    decay: Option<f32>,
    /// Mass for each link of an episode below which it waits: the lower, the more exact
    #[arg(long, value_name = "P")]
    threshold: Option<f32>,
    /// The part of what an episode passes on that goes to those most similar to it, from 0 to 1
    #[arg(long, value_name = "P")]
    similar: Option<f32>,
    /// Answer with what there is after so long
    #[arg(long, value_name = "MICROSECONDS")]
    deadline: Option<u64>,
}

impl Spreading {
    pub(crate) fn add_to(&self, command: &mut Cmd) {
        push(command, "HOPS", self.hops);
        push(command, "BUDGET", self.budget);
        push(command, "DECAY", self.decay);
        push(command, "THRESHOLD", self.threshold);
        push(command, "SIMILAR", self.similar);
        push(command, "DEADLINE", self.deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_read_as_documented() {
        let own = |whom: Option<(&'static str, &str)>, degree| {
            let whom = whom.map(|(keyword, name)| (keyword, name.to_owned()));
            Ok(Trust { whom, degree })
        };
        assert_eq!(parse_trust("writer:ada=0.5"), own(Some(("WRITER", "ada")), 0.5));
        assert_eq!(parse_trust("source:a:b=c=1"), own(Some(("SOURCE", "a:b=c")), 1.0));
        assert_eq!(parse_trust("uid:1000=1"), own(Some(("UID", "1000")), 1.0));
        assert_eq!(parse_trust("*=0"), own(None, 0.0));
        for wrong in ["uid:ada=1", "uid:-1=1", "ada=0.5", "writer:ada", "reader:ada=1", "*=x", ""] {
            assert!(parse_trust(wrong).is_err(), "{wrong}");
        }
    }
}
