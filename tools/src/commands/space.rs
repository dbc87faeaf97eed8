//! `engram space`: memory spaces.

use clap::{Args, Subcommand, ValueEnum};
use engram_shards::episode::SpaceFan;
use engram_shards::strength::Decay;
use engram_shards::words::Language;
use redis::{Cmd, Value};

use crate::cli::Context;
use crate::client::Client;
use crate::error::ToolError;
use crate::render;
use crate::reply;

#[derive(Debug, Args)]
pub(crate) struct Space {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a memory space
    Create {
        name: String,
        /// Components of every embedding
        #[arg(long, value_name = "N")]
        dim: usize,
        #[command(flatten)]
        settings: Settings,
    },
    /// List the memory spaces
    List,
    /// Describe one memory space
    Info { name: String },
    /// Drop a memory space with all its episodes
    Drop {
        name: String,
        /// Do it: there is no way back
        #[arg(long)]
        yes: bool,
    },
}

/// How a memory space is created, its dimensions aside.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Label of the embedding model, e.g. all-mpnet-base-v2
    #[arg(long)]
    model: Option<String>,
    /// How embeddings are compared; the daemon takes cosine when left out
    #[arg(long)]
    metric: Option<Metric>,
    /// Bits of each coordinate that the index keeps to find candidates with: 1, 2 or 4; the daemon
    /// takes 1 when left out
    #[arg(long, value_name = "BITS")]
    codes: Option<u32>,
    /// How the number of an episode's links weakens each of them when activation spreads: degree,
    /// which divides it between them, or the strength S of associations in ACT-R, 0.01 to 8: a link
    /// carries S less the logarithm of the number; the daemon takes degree when left out
    #[arg(long, value_name = "degree|S")]
    fan: Option<SpaceFan>,
    /// Inhibit hubs: an episode with n links, more than this, passes on LINKS/n of what it would;
    /// none when left out
    #[arg(long, value_name = "LINKS", value_parser = clap::value_parser!(u32).range(1..))]
    fan_cap: Option<u32>,
    /// How memories fade: power, two (components), none, or the half-life in whole seconds; the
    /// daemon takes power when left out
    #[arg(long, value_name = "power|two|none|SECONDS")]
    decay: Option<Decay>,
    /// Seconds that an episode lives which does not say otherwise; for ever when left out
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    ttl: Option<u32>,
    /// Archive episodes whose retention is below this; none when left out
    #[arg(long, value_name = "RETENTION")]
    archive_below: Option<f64>,
    /// Seconds that an episode is not archived from being stored, however weak it is
    #[arg(long, value_name = "SECONDS", requires = "archive_below")]
    archive_after: Option<u32>,
    /// Forget episodes whose retention is below this; none when left out
    #[arg(long, value_name = "RETENTION")]
    forget_below: Option<f64>,
    /// Seconds that an episode is kept from being stored, however weak it is
    #[arg(long, value_name = "SECONDS", requires = "forget_below")]
    forget_after: Option<u32>,
    /// Of its texts: how words are stemmed and which do not count; the daemon takes english when
    /// left out, `any` takes words as they are
    #[arg(long, value_name = "NAME")]
    language: Option<Language>,
    /// What counts how much in answers to questions in words that say nothing else
    #[arg(
        long,
        num_args = 5,
        value_names = ["NEAR", "AROUND", "TIME", "STRENGTH", "CONFIDENCE"],
        allow_negative_numbers = true
    )]
    weights: Option<Vec<f32>>,
    /// Where in the metadata of an episode its thread is that is stored without one, e.g. chat.id;
    /// nowhere when left out
    #[arg(long, value_name = "PATH")]
    thread: Option<String>,
    /// Shards that the memory space spans; the daemon takes all when left out
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Metric {
    Cosine,
    Dot,
    L2,
}

impl Settings {
    /// `EG.SPACE CREATE` with these settings.
    pub(crate) fn create_command(&self, name: &str, dimensions: usize) -> Cmd {
        let mut command = redis::cmd("EG.SPACE");
        command.arg("CREATE").arg(name).arg("DIM").arg(dimensions);
        if let Some(model) = &self.model {
            command.arg("MODEL").arg(model);
        }
        if let Some(metric) = self.metric {
            command.arg("METRIC").arg(match metric {
                Metric::Cosine => "cosine",
                Metric::Dot => "dot",
                Metric::L2 => "l2",
            });
        }
        if let Some(codes) = self.codes {
            command.arg("CODES").arg(codes);
        }
        if let Some(fan) = self.fan {
            command.arg("FAN").arg(fan.to_string());
        }
        if let Some(fan_cap) = self.fan_cap {
            command.arg("FANCAP").arg(fan_cap);
        }
        if let Some(decay) = self.decay {
            command.arg("DECAY").arg(decay.to_string());
        }
        if let Some(ttl) = self.ttl {
            command.arg("TTL").arg(ttl);
        }
        for (name, below, after) in [
            ("ARCHIVE", self.archive_below, self.archive_after),
            ("FORGET", self.forget_below, self.forget_after),
        ] {
            if let Some(below) = below {
                command.arg(name).arg("BELOW").arg(below);
                if let Some(after) = after {
                    command.arg("AFTER").arg(after);
                }
            }
        }
        if let Some(language) = self.language {
            command.arg("LANGUAGE").arg(language.name());
        }
        if let Some(weights) = &self.weights {
            command.arg("WEIGHTS").arg(weights);
        }
        if let Some(thread) = &self.thread {
            command.arg("THREAD").arg(thread);
        }
        if let Some(shards) = self.shards {
            command.arg("SHARDS").arg(shards);
        }
        command
    }
}

impl Space {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let mut command = redis::cmd("EG.SPACE");
        match &self.action {
            Action::Create { name, dim, settings } => command = settings.create_command(name, *dim),
            Action::List => {
                command.arg("LIST");
            }
            Action::Info { name } => {
                command.arg("INFO").arg(name);
            }
            Action::Drop { name, yes } => {
                if !yes {
                    return Err(ToolError::usage(format!(
                        "dropping '{name}' removes all its episodes for good; add --yes"
                    )));
                }
                command.arg("DROP").arg(name);
            }
        }
        let mut client = context.connect()?;
        let mut reply = client.call(&command)?;
        if matches!(self.action, Action::List) {
            reply = Value::Array(infos(&mut client, reply)?);
        }
        if context.json {
            return render::print_json(&reply::to_json(&reply));
        }
        match &self.action {
            Action::Create { name, dim, .. } => {
                render::print(&format!("created '{name}' with {dim} dimensions"))
            }
            Action::List if matches!(&reply, Value::Array(spaces) if spaces.is_empty()) => {
                render::print("no memory spaces; create one: engram space create NAME --dim N")
            }
            Action::List | Action::Info { .. } => render::print(&render::outline(reply)),
            Action::Drop { name, .. } => render::print(&format!("dropped '{name}'")),
        }
    }
}

/// What `EG.SPACE INFO` says of each memory space.
fn infos(client: &mut Client, names: Value) -> Result<Vec<Value>, ToolError> {
    let info = |name: Value| {
        let name = reply::text(&name).unwrap_or_default();
        client.call(redis::cmd("EG.SPACE").arg("INFO").arg(name))
    };
    reply::array(names, "EG.SPACE LIST")?.into_iter().map(info).collect()
}
