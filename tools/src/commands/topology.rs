//! `engram topology`: this machine as the daemon sees it, and where shards would run on it.

use clap::Args;
use engram_shards::limits::SHARDS_MAX;
use engramd::topology::{self, Cache, Core, Node, Origin, Placement, Seat, Topology};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::error::ToolError;
use crate::render;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Shards to place; one for each core when left out
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=SHARDS_MAX as i64))]
    shards: Option<u32>,
    /// A machine that does not exist, in hwloc's notation, e.g. "numa:2 core:4 pu:1"
    #[arg(long, value_name = "DESCRIPTION")]
    synthetic: Option<String>,
}

impl Show {
    pub(crate) fn run(&self, context: &Context) -> Result<(), ToolError> {
        let topology = match &self.synthetic {
            Some(description) => synthetic(description)?,
            None => Topology::of_this_machine().map_err(|error| fault(&error))?,
        };
        let one_each = topology.cores().len().min(SHARDS_MAX);
        let shards = self.shards.map_or(one_each, |shards| shards as usize);
        let placement = topology::place(&topology, shards);
        if context.json {
            render::print_json(&to_json(&topology, &placement))
        } else {
            render::print(topology.map(&placement).to_string().trim_end())
        }
    }
}

#[cfg(feature = "numa")]
fn synthetic(description: &str) -> Result<Topology, ToolError> {
    Topology::synthetic(description).map_err(|error| fault(&error))
}

#[cfg(not(feature = "numa"))]
fn synthetic(_description: &str) -> Result<Topology, ToolError> {
    Err(ToolError::usage(
        "--synthetic needs hwloc; build engram with the cargo feature `numa`, which is the default",
    ))
}

fn fault(error: &topology::TopologyError) -> ToolError {
    ToolError::usage(error.to_string())
}

fn to_json(topology: &Topology, placement: &Placement) -> Value {
    let origin = match topology.origin() {
        Origin::Hwloc => "hwloc",
        Origin::Scheduler(_) => "scheduler",
        Origin::Synthetic(_) => "synthetic",
    };
    json!({
        "origin": origin,
        "nodes": topology.nodes().iter().map(node_json).collect::<Vec<_>>(),
        "cores": topology.cores().iter().map(core_json).collect::<Vec<_>>(),
        "caches": topology.caches().iter().map(cache_json).collect::<Vec<_>>(),
        "seats": placement.seats.iter().map(seat_json).collect::<Vec<_>>(),
        "spare_cpus": placement.spare_cpus,
    })
}

fn node_json(node: &Node) -> Value {
    json!({ "node": node.index, "memory_bytes": node.memory_bytes })
}

fn core_json(core: &Core) -> Value {
    json!({ "core": core.index, "node": core.node, "cpus": core.cpus })
}

fn cache_json(cache: &Cache) -> Value {
    json!({ "level": cache.level.name(), "size_bytes": cache.size_bytes, "cpus": cache.cpus })
}

fn seat_json(seat: &Seat) -> Value {
    json!({ "shard": seat.shard, "cpu": seat.cpu, "core": seat.core, "node": seat.node })
}
