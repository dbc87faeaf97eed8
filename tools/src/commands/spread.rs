//! `engram spread`: the episodes most associated with some others, as a table.

use clap::Args;
use redis::{Cmd, Value};

use crate::cli::Context;
use crate::commands::hits::{Column, Hits, PARTIAL, with_bar};
use crate::commands::options::{Conditions, Shown, Spreading};
use crate::error::ToolError;
use crate::render;
use crate::reply;

/// Less than this is nothing with the decimals that are shown.
const SHOWN_MIN: f64 = 5e-6;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  engram spread notes --from trip-7 -k 5 --why\n  \
    engram spread wordnet --from tea.n=2 --from water.n=1 --hops 2 --budget 500")]
pub(crate) struct Spread {
    /// The memory space
    space: String,
    /// A seed and its share of the mass; may be repeated, 1 when no mass is given
    #[arg(long, value_name = "ID=MASS", value_parser = parse_seed, required = true)]
    from: Vec<(String, f32)>,
    /// Results wanted
    #[arg(short, long, default_value_t = 10)]
    k: usize,
    #[command(flatten)]
    spreading: Spreading,
    /// Follow all links, as often as it takes
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    conditions: Conditions,
    #[command(flatten)]
    shown: Shown,
}

impl Spread {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let reply = context.connect()?.call(&self.command())?;
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        let unreadable =
            |reason: &str| ToolError::Reply { command: "EG.SPREAD", reason: reason.to_owned() };
        let mut entries = reply::entries(reply).ok_or_else(|| unreadable("it is no map"))?;
        let mut take = |name: &str| {
            let at = entries.iter().position(|(key, _)| key == name);
            at.map(|at| entries.swap_remove(at).1).ok_or_else(|| unreadable("a part is missing"))
        };
        let hits = Hits::read(take("hits")?, "EG.SPREAD")?;
        let figures = [take("edges")?, take("nodes")?, take("missing_max")?, take("partial")?];
        let table = self.table(&hits);
        render::print(&format!("{table}\n{}", sentence(&figures)))
    }

    fn command(&self) -> Cmd {
        let mut command = redis::cmd("EG.SPREAD");
        command.arg(&self.space).arg("K").arg(self.k);
        for (id, mass) in &self.from {
            command.arg("FROM").arg(id).arg(mass);
        }
        self.spreading.add_to(&mut command);
        if self.exact {
            command.arg("EXACT");
        }
        self.conditions.add_to(&mut command);
        self.shown.add_to(&mut command);
        command
    }

    fn table(&self, hits: &Hits) -> String {
        let best = hits.episodes.first().and_then(|hit| hit.activation);
        let Some(best) = best else {
            return format!("nothing in '{}' is associated with the seeds", self.space);
        };
        let activation: Column<'_> = ("activation", &|hit| with_bar(5, hit.activation, best));
        hits.table(&[activation], self.shown.parts())
    }
}

/// What it took, and how far from the truth it may be.
fn sentence([edges, nodes, missing_max, is_partial]: &[Value; 4]) -> String {
    let count = |value| reply::integer(value).unwrap_or_default().unsigned_abs();
    let [links, ids] = [edges, nodes].map(|value| render::grouped(count(value)));
    let missing_max = reply::number(missing_max).unwrap_or(f64::NAN);
    let mut said = format!("links visited: {links}, ids reached: {ids}");
    if missing_max >= SHOWN_MIN {
        said.push_str(&format!(", activation missing at most: {missing_max:.5}"));
    }
    if reply::is_true(is_partial) { format!("{said}\n{PARTIAL}") } else { said }
}

fn parse_seed(text: &str) -> Result<(String, f32), String> {
    let (id, mass) = text.rsplit_once('=').unwrap_or((text, "1"));
    let mass = mass.parse().map_err(|_| format!("'{mass}' is no mass; give ID=MASS"))?;
    Ok((id.to_owned(), mass))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_documented() {
        assert_eq!(parse_seed("a=b=0.5"), Ok(("a=b".to_owned(), 0.5)));
        assert_eq!(parse_seed("a"), Ok(("a".to_owned(), 1.0)));
        assert!(parse_seed("a=x").unwrap_err().contains("'x' is no mass"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let figures = |missing_max, is_partial| {
            let counts = [Value::Int(1200), Value::Int(7)];
            let [edges, nodes] = counts;
            sentence(&[edges, nodes, Value::Double(missing_max), is_partial])
        };
        for nothing in [0.0, 4e-6] {
            let whole = figures(nothing, Value::Boolean(false));
            assert_eq!(whole, "links visited: 1,200, ids reached: 7");
        }
        let cut = figures(0.25, Value::Int(1));
        assert!(cut.contains("missing at most: 0.25000\n") && cut.ends_with(PARTIAL), "{cut}");
    }
}
