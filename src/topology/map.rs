//! The machine with its shards as text, for people.

use std::fmt;

use super::{CacheLevel, Core, Origin, Placement, Topology};
use crate::config::ByteCount;

/// Renders a topology and a placement; see [`Topology::map`].
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    topology: &'a Topology,
    placement: &'a Placement,
}

impl<'a> Map<'a> {
    pub(super) fn new(topology: &'a Topology, placement: &'a Placement) -> Self {
        Self { topology, placement }
    }

    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.topology;
        writeln!(
            f,
            "{}, {}, {}; {}",
            counted(topology.nodes().len(), "memory node"),
            counted(topology.cores().len(), "allowed core"),
            counted(topology.cpus().len(), "hardware thread"),
            match topology.origin() {
                Origin::Hwloc => "read by hwloc".to_owned(),
                Origin::Scheduler(why) => format!("read from the scheduler ({why})"),
                Origin::Synthetic(description) => format!("synthetic \"{description}\""),
            },
        )?;
        let shards = counted(self.placement.seats.len(), "shard");
        match self.placement.sharing() {
            Some(sharing) => writeln!(f, "{sharing}"),
            None if self.placement.spare_cpus.is_empty() => {
                writeln!(f, "{shards}, no core shared, none left for other threads")
            }
            None => writeln!(
                f,
                "{shards}, no core shared; processors left for other threads: {}",
                ranges(&self.placement.spare_cpus)
            ),
        }
    }

    fn core_row(&self, core: &Core) -> Row {
        let private = |level| match self.topology.cache_of(core.cpus[0], level) {
            Some(cache) => {
                let sharers = self.cores_within(&cache.cpus);
                let size = ByteCount(cache.size_bytes).rounded();
                let shared = if sharers > 1 { format!(" / {sharers}") } else { String::new() };
                format!("{} {size}{shared}", level.name())
            }
            None => String::new(),
        };
        let shards: Vec<String> = self
            .placement
            .seats
            .iter()
            .filter(|seat| seat.core == core.index)
            .map(|seat| match core.cpus.len() {
                1 => format!("shard {}", seat.shard),
                _ => format!("shard {} on cpu {}", seat.shard, seat.cpu),
            })
            .collect();
        [
            format!("core {}", core.index),
            format!("cpu {}", ranges(&core.cpus)),
            private(CacheLevel::L2),
            private(CacheLevel::L1d),
            if shards.is_empty() { "–".to_owned() } else { shards.join(", ") },
        ]
    }

    fn cores_within(&self, cpus: &[usize]) -> usize {
        let within = |core: &&Core| core.cpus.iter().any(|cpu| cpus.contains(cpu));
        self.topology.cores().iter().filter(within).count()
    }
}

/// The cells of a core's line: core, processors, L2, L1d, shards.
type Row = [String; 5];

impl fmt::Display for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_summary(f)?;
        let rows: Vec<(&Core, Row)> =
            self.topology.cores().iter().map(|core| (core, self.core_row(core))).collect();
        let mut widths = [0; 5];
        for (_, row) in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for node in self.topology.nodes() {
            let memory = ByteCount(node.memory_bytes).rounded();
            let on_node = rows.iter().filter(|(core, _)| core.node == node.index).count();
            let cores = match on_node {
                0 => "no allowed core".to_owned(),
                count => counted(count, "core"),
            };
            writeln!(f, "\nnode {}   {memory}   {cores}", node.index)?;
            let mut l3_shown = None;
            for (core, row) in rows.iter().filter(|(core, _)| core.node == node.index) {
                let l3 = self.topology.cache_of(core.cpus[0], CacheLevel::L3);
                if let Some(cache) = l3.filter(|cache| l3_shown != Some(cache.cpus[0])) {
                    l3_shown = Some(cache.cpus[0]);
                    let sharers = counted(self.cores_within(&cache.cpus), "core");
                    let size = ByteCount(cache.size_bytes).rounded();
                    writeln!(f, "  L3 {size} for {sharers}")?;
                }
                let [cells @ .., shards] = row;
                write!(f, "    ")?;
                for (cell, width) in cells.iter().zip(widths).filter(|(_, width)| *width > 0) {
                    write!(f, "{cell:<width$}   ")?;
                }
                writeln!(f, "{shards}")?;
            }
        }
        Ok(())
    }
}

/// A number with its noun in the right form.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `0-3,8` for ascending numbers.
fn ranges(numbers: &[usize]) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => spans.push((number, number)),
        }
    }
    let text: Vec<String> = spans
        .iter()
        .map(|&(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    text.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_ranges() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[4]), "4");
        assert_eq!(ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10,11");
    }
}
