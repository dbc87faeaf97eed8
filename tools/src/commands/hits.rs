//! What a recall, a completion or a spread has found, as a table. What was asked for beside it that
//! is figures stands on a line of its own below each: in the table it would be cut off.

use redis::Value;

use crate::commands::options::Part;
use crate::document::Link;
use crate::error::ToolError;
use crate::render::{self, Align};
use crate::reply::{self, EpisodeReply, StrengthReply};
use crate::time;

/// Columns of an id; a longer one is shortened, --json shows it in full.
const ID_COLUMNS: usize = 36;
/// What stands between figures.
const BETWEEN: &str = " · ";
/// Cells of the bar that shows a number beside it.
const BAR_CELLS: usize = 10;

/// A column of the table: its header, and what it shows of an episode.
pub(super) type Column<'a> = (&'a str, &'a dyn Fn(&EpisodeReply) -> String);

/// How an episode was found, for people.
#[derive(Debug, Default, PartialEq)]
struct Why {
    /// The links from a seed to it; empty when none have led to it.
    path: String,
    /// The terms of its score, or what the index did for it; empty when links alone have led to it.
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

    /// One line for each, with these columns in front of the id, and one for its figures. Where
    /// ways are shown they have the room of the time.
    pub(super) fn table(&self, columns: &[Column<'_>], parts: &[Part]) -> String {
        let mut header = vec![("#", Align::Right)];
        header.extend(columns.iter().map(|(name, _)| (*name, Align::Left)));
        header.push(("id", Align::Left));
        let has_ways = self.whys.iter().any(|why| !why.path.is_empty());
        if !has_ways {
            header.push(("happened (UTC)", Align::Left));
        }
        header.push(match parts.contains(&Part::Text) {
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
        let hits = || self.episodes.iter().zip(&self.whys);
        let rows: Vec<_> = hits().enumerate().map(row).collect();
        let table = render::table(&header, &rows, render::terminal_width());
        let mut rows = table.lines();
        let mut lines: Vec<String> = rows.by_ref().take(1).map(str::to_owned).collect();
        for (row, (episode, why)) in rows.zip(hits()) {
            lines.push(row.to_owned());
            lines.extend(below(episode, why));
        }
        if self.are_partial {
            lines.push(PARTIAL.to_owned());
        }
        lines.join("\n")
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
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match (why.path.as_str(), parts.join("  ")) {
        ("", parts) => parts,
        (path, parts) if parts.is_empty() => path.to_owned(),
        (path, parts) => format!("{path} · {parts}"),
    }
}

/// The line below that of an episode, if there is anything to say.
fn below(episode: &EpisodeReply, why: &Why) -> Option<String> {
    let figures = (!why.figures.is_empty()).then(|| why.figures.clone());
    let parts = [episode.belief.map(belief), episode.strength.map(strength), figures];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("   {}", parts.join(BETWEEN)))
}

/// How likely it is retained, and what that rests on.
fn strength(StrengthReply { retention, presentations, is_pinned }: StrengthReply) -> String {
    let presentations = render::plural(presentations as usize, "presentation");
    let pinned = if is_pinned { ", pinned" } else { "" };
    format!("retention {retention:.2}, {presentations}{pinned}")
}

/// A point and the interval around it.
fn belief([point, low, high]: [f64; 3]) -> String {
    format!("belief {point:.2} [{low:.2}, {high:.2}]")
}

impl Why {
    fn read(why: Value) -> Self {
        let path = entry(&why, "path").as_ref().map(path).unwrap_or_default();
        let entries = reply::entries(why).unwrap_or_default().into_iter();
        let figures: Vec<_> = entries.filter(|(key, _)| key != "path").collect();
        // What links alone have led to has no figures beside its tier.
        let has_figures = path.is_empty() || figures.len() > 1;
        let figures: Vec<String> =
            figures.iter().filter(|_| has_figures).filter_map(figure).collect();
        Self { path, figures: figures.join(BETWEEN) }
    }
}

/// A figure behind its name, the tier by itself. That answers to questions are fused from several
/// terms is told by these.
fn figure((key, value): &(String, Value)) -> Option<String> {
    let text = match value {
        Value::Int(number) => render::grouped(number.unsigned_abs()),
        _ => match reply::number(value) {
            Some(number) => format!("{number:.2}"),
            None => reply::text(value)?,
        },
    };
    match (key.as_str(), text.as_str()) {
        ("tier", "fused") => None,
        ("tier", tier) => Some(tier.to_owned()),
        _ => Some(format!("{} {text}", key.replace('_', " "))),
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
        let figures = "graph · hops 7".to_owned();
        assert_eq!(Why::read(both), Why { path: line, figures });
        let seed = map(&[("tier", text("exact")), ("path", Value::Array(Vec::new()))]);
        assert_eq!(Why::read(seed), Why { path: none(), figures: "exact".to_owned() });
    }

    #[test]
    fn what_a_hit_rests_on_stands_below_it() {
        let text = |text: &str| Value::BulkString(text.into());
        for double in [Value::Double, |number: f64| Value::BulkString(number.to_string().into())] {
            let terms = [("words", double(1.0)), ("near", double(0.0)), ("stating", double(0.875))];
            let fused = map(&[&[("tier", text("fused"))][..], &terms].concat());
            assert_eq!(Why::read(fused).figures, "words 1.00 · near 0.00 · stating 0.88");
        }
        let hit = |id: &str, more: &[(&str, Value)]| {
            map(&[&[("id", text(id)), ("text", text("long ".repeat(40).as_str()))], more].concat())
        };
        let strength = map(&[
            ("retention", Value::Double(0.875)),
            ("presentations", Value::Int(3)),
            ("pinned", Value::Boolean(true)),
        ]);
        let why = map(&[("tier", text("graph")), ("rows_compared", Value::Int(1200))]);
        let more = [("strength", strength), ("why", why)];
        let hits = Value::Array(vec![hit("a", &more), hit("b", &[])]);
        let table = Hits::read(hits, "EG.RECALL").unwrap().table(&[], &[Part::Text]);
        let lines: Vec<&str> = table.lines().collect();
        let expected = "   retention 0.88, 3 presentations, pinned · graph · rows compared 1,200";
        assert_eq!(lines[2], expected, "{table}");
        assert!(lines[1].contains(" a ") && lines[3].contains(" b "), "{table}");
        assert_eq!(lines.len(), 4, "nothing is said of what was not asked for");
    }

    #[test]
    fn a_path_stands_in_front_of_the_text() {
        let episode = EpisodeReply { text: Some("hot".to_owned()), ..Default::default() };
        let why = |path: &str| Why { path: path.to_owned(), figures: "exact".to_owned() };
        assert_eq!(last_column(&episode, &why("a -> b")), "a -> b · hot");
        assert_eq!(last_column(&episode, &why("")), "hot");
        let believed = EpisodeReply { belief: Some([0.625, 0.25, 1.0]), ..episode };
        let said = below(&believed, &why("")).unwrap();
        assert_eq!(said, "   belief 0.62 [0.25, 1.00] · exact");
        assert_eq!(last_column(&EpisodeReply::default(), &Why::default()), "");
        assert_eq!(below(&EpisodeReply::default(), &Why::default()), None);
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
