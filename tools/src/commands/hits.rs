//! What a recall or a spread has found, as a table.

use redis::Value;

use crate::commands::options::{Part, Shown};
use crate::document::Link;
use crate::error::ToolError;
use crate::render::{self, Align};
use crate::reply::{self, EpisodeReply};
use crate::time;

/// Columns of an id; a longer one is shortened, --json shows it in full.
const ID_COLUMNS: usize = 36;
/// Cells of the bar that shows a number beside it.
const BAR_CELLS: usize = 10;

/// A column of the table: its header, and what it shows of an episode.
pub(super) type Column<'a> = (&'a str, &'a dyn Fn(&EpisodeReply) -> String);

/// How an episode was found, for people.
#[derive(Debug, Default, PartialEq)]
struct Why {
    /// The links from a seed to it; empty when none have led to it.
    path: String,
    /// What the index did for it, as JSON; empty when links alone have led to it.
    figures: String,
}

/// Episodes, best first, and how each was found.
pub(super) struct Hits {
    pub(super) episodes: Vec<EpisodeReply>,
    whys: Vec<Why>,
    /// The deadline of the spread behind them came first.
    are_partial: bool,
}

impl Hits {
    pub(super) fn read(reply: Value, command: &'static str) -> Result<Self, ToolError> {
        let hits = reply::array(reply, command)?;
        let whys = hits.iter().map(|hit| entry(hit, "why").map(Why::read).unwrap_or_default());
        let whys = whys.collect();
        let are_partial = hits.first().is_some_and(|hit| entry(hit, "partial").is_some());
        let read = |hit| EpisodeReply::read(hit, command);
        let episodes = hits.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { episodes, whys, are_partial })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// One line for each, with these columns in front of the id. Where ways are shown they have the
    /// room of the time.
    pub(super) fn table(&self, columns: &[Column<'_>], shown: &Shown) -> String {
        let mut header = vec![("#", Align::Right)];
        header.extend(columns.iter().map(|(name, _)| (*name, Align::Left)));
        header.push(("id", Align::Left));
        let has_ways = self.whys.iter().any(|why| !why.path.is_empty());
        if !has_ways {
            header.push(("happened (UTC)", Align::Left));
        }
        header.push(match shown.has(Part::Text) {
            _ if has_ways => ("path", Align::Left),
            has_text => (if has_text { "text" } else { "" }, Align::Left),
        });
        let row = |(nth, (episode, why)): (usize, (&EpisodeReply, &Why))| {
            let mut cells = vec![(nth + 1).to_string()];
            cells.extend(columns.iter().map(|(_, cell)| cell(episode)));
            cells.push(name(episode));
            if !has_ways {
                cells.push(episode.happened_at_us.map(time::format_us).unwrap_or_default());
            }
            cells.push(last_column(episode, why));
            cells
        };
        let rows: Vec<_> = self.episodes.iter().zip(&self.whys).enumerate().map(row).collect();
        let mut table = render::table(&header, &rows, render::terminal_width());
        if self.are_partial {
            table.push_str(&format!("\n{PARTIAL}"));
        }
        table
    }
}

/// The id of an episode; of a gist that of its medoid, and how many it stands for.
fn name(episode: &EpisodeReply) -> String {
    let id = render::snippet(&episode.id, ID_COLUMNS);
    match episode.sources.len() {
        0 => id,
        sources => format!("{id} and {} more", sources - 1),
    }
}

/// What is said of an answer that a deadline has cut short.
pub(super) const PARTIAL: &str = "the deadline came first: there may be more and better";

/// A number of so many decimals.
pub(super) fn share(decimals: usize, number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.decimals$}"))
}

/// A number and a bar that is full at `most`.
pub(super) fn with_bar(decimals: usize, number: Option<f64>, most: f64) -> String {
    let filled = number.unwrap_or_default() / most;
    format!("{} {}", share(decimals, number), render::bar(filled, BAR_CELLS))
}

/// The way to it, the text, then what else was asked for.
fn last_column(episode: &EpisodeReply, why: &Why) -> String {
    let link = |link: &Link| match link.kind.is_empty() {
        true => link.id.clone(),
        false => format!("{}:{}", link.kind, link.id),
    };
    let links: Vec<String> = episode.links.iter().map(link).collect();
    let parts = [
        episode.text.clone().unwrap_or_default(),
        episode.meta.clone().unwrap_or_default(),
        if links.is_empty() { String::new() } else { format!("→ {}", links.join(" ")) },
        episode.belief.map(belief).unwrap_or_default(),
        why.figures.clone(),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match (why.path.as_str(), parts.join("  ")) {
        ("", parts) => parts,
        (path, parts) if parts.is_empty() => path.to_owned(),
        (path, parts) => format!("{path} · {parts}"),
    }
}

/// A point and the interval around it.
fn belief([point, low, high]: [f64; 3]) -> String {
    format!("belief {point:.2} [{low:.2}, {high:.2}]")
}

impl Why {
    fn read(why: Value) -> Self {
        let path = entry(&why, "path").as_ref().map(path).unwrap_or_default();
        let entries = reply::entries(why).unwrap_or_default().into_iter();
        let figures = entries.filter(|(key, _)| key != "path");
        let figures: serde_json::Map<_, _> =
            figures.map(|(key, value)| (key, reply::to_json(&value))).collect();
        // What links alone have led to has no figures beside its tier.
        let has_figures = path.is_empty() && !figures.is_empty() || figures.len() > 1;
        let figures = has_figures.then(|| serde_json::Value::Object(figures).to_string());
        Self { path, figures: figures.unwrap_or_default() }
    }
}

/// Steps from a seed, like `tea -needs-> kettle -> water`.
fn path(steps: &Value) -> String {
    let Value::Array(steps) = steps else { return String::new() };
    let text = |step, name| entry(step, name).as_ref().and_then(reply::text).unwrap_or_default();
    let mut line = steps.first().map(|step| text(step, "from")).unwrap_or_default();
    for step in steps {
        let kind = text(step, "kind");
        let arrow = if kind.is_empty() { "->".to_owned() } else { format!("-{kind}->") };
        line.push_str(&format!(" {arrow} {}", text(step, "to")));
    }
    line
}

fn entry(map: &Value, wanted: &str) -> Option<Value> {
    let entries = reply::entries(map.clone())?;
    entries.into_iter().find(|(key, _)| key == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Value)]) -> Value {
        let key = |name: &str| Value::BulkString(name.into());
        Value::Map(entries.iter().map(|(name, value)| (key(name), value.clone())).collect())
    }

    #[test]
    fn a_path_is_one_line() {
        let text = |text: &str| Value::BulkString(text.into());
        let step = |from, to, kind: &str| {
            let ends = [("from", text(from)), ("to", text(to)), ("kind", text(kind))];
            map(&ends[..if kind.is_empty() { 2 } else { 3 }])
        };
        let steps = vec![step("tea", "kettle", "needs"), step("kettle", "water", "")];
        let path = ("path", Value::Array(steps));
        let spread = map(&[("tier", text("spread")), path.clone()]);
        let (line, none) = ("tea -needs-> kettle -> water".to_owned(), String::new);
        assert_eq!(Why::read(spread), Why { path: line.clone(), figures: none() });
        let both = map(&[("tier", text("graph")), ("hops", Value::Int(7)), path]);
        let figures = r#"{"hops":7,"tier":"graph"}"#.to_owned();
        assert_eq!(Why::read(both), Why { path: line, figures });
        let seed = map(&[("tier", text("exact")), ("path", Value::Array(Vec::new()))]);
        assert_eq!(
            Why::read(seed),
            Why { path: none(), figures: r#"{"tier":"exact"}"#.to_owned() }
        );
    }

    #[test]
    fn a_path_stands_in_front_of_the_text() {
        let episode = EpisodeReply { text: Some("hot".to_owned()), ..Default::default() };
        let why = |path: &str| Why { path: path.to_owned(), figures: "{}".to_owned() };
        assert_eq!(last_column(&episode, &why("a -> b")), "a -> b · hot  {}");
        assert_eq!(last_column(&episode, &why("")), "hot  {}");
        let believed = EpisodeReply { belief: Some([0.625, 0.25, 1.0]), ..episode };
        assert_eq!(last_column(&believed, &why("")), "hot  belief 0.62 [0.25, 1.00]  {}");
        assert_eq!(last_column(&EpisodeReply::default(), &Why::default()), "");
    }

    #[test]
    fn a_gist_is_named_by_its_medoid_and_how_many_it_stands_for() {
        let text = |text: &str| Value::BulkString(text.into());
        let source = |id| map(&[("id", text(id)), ("similarity", Value::Double(0.5))]);
        let sources = Value::Array(["b", "a", "c"].map(source).to_vec());
        let gist = map(&[("gist", text("b")), ("since", Value::Int(7)), ("sources", sources)]);
        let gist = EpisodeReply::read(gist, "EG.RECALL").unwrap();
        assert_eq!((&name(&gist)[..], gist.happened_at_us), ("b and 2 more", Some(7)));
        assert_eq!(gist.sources, ["b", "a", "c"]);
        let episode = EpisodeReply { id: "a".to_owned(), ..Default::default() };
        assert_eq!(name(&episode), "a");
    }
}
