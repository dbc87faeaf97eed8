//! Graphs to spread on: typed relations of a file, or a made-up graph with hubs.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use engram_shards::arena::Zeroed;
use engram_shards::spread::csr::{Csr, CsrBuf, Head};
use engram_shards::spread::link::{Edge, Link};
use flate2::read::GzDecoder;

use crate::random::Random;

/// Which graph a program measures with.
#[derive(Debug, Args)]
pub struct GraphArguments {
    /// Lines of source, target and kind, parted by tabs and packed with gzip; a made-up graph
    /// unless given.
    #[arg(long, value_name = "FILE.tsv.gz")]
    relations: Option<PathBuf>,
    /// Nodes of a made-up graph.
    #[arg(long, default_value_t = 100_000)]
    nodes: u32,
    /// Links of a node of a made-up graph, on average.
    #[arg(long, default_value_t = 16)]
    degree: u32,
}

/// A graph in huge pages, as a mapped column is.
#[derive(Debug)]
pub struct Links {
    pub name: String,
    heads: Zeroed<Head>,
    edges: Zeroed<Edge>,
}

impl GraphArguments {
    pub fn read(&self) -> Result<Links, Box<dyn Error>> {
        match &self.relations {
            Some(path) => relations(path),
            None => power_law(self.nodes, self.degree),
        }
    }
}

impl Links {
    fn new(name: String, nodes: u32, links: Vec<Link>) -> Result<Self, Box<dyn Error>> {
        let built = CsrBuf::build(nodes, links)?;
        let mut heads = Zeroed::new(built.heads.len())?;
        let mut edges = Zeroed::new(built.edges.len())?;
        heads.copy_from_slice(&built.heads);
        edges.copy_from_slice(&built.edges);
        Ok(Self { name, heads, edges })
    }

    pub fn nodes(&self) -> u32 {
        self.heads.len() as u32
    }

    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    pub fn graph(&self) -> Csr<'_> {
        Csr { heads: &self.heads, edges: &self.edges }
    }

    /// Writes the links for other programs: source and target as u32, weight as f32, one behind the
    /// other and in little-endian order.
    pub fn export(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for node in 0..self.nodes() {
            for edge in self.graph().edges_of(node) {
                file.write_all(&node.to_le_bytes())?;
                file.write_all(&edge.target.to_le_bytes())?;
                file.write_all(&edge.weight.get().to_le_bytes())?;
            }
        }
        file.flush()
    }
}

/// The relations of a file, all of weight 1.
fn relations(path: &Path) -> Result<Links, Box<dyn Error>> {
    let lines = BufReader::new(GzDecoder::new(File::open(path)?)).lines();
    let (mut links, mut kinds, mut nodes) = (Vec::new(), HashMap::new(), 0);
    for line in lines {
        let line = line?;
        let mut fields = line.split('\t');
        let (Some(source), Some(target), Some(kind)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(format!("{}: not source, target and kind: {line}", path.display()).into());
        };
        let (source, target): (u32, u32) = (source.parse()?, target.parse()?);
        let known = kinds.len() as u16;
        let kind = *kinds.entry(kind.to_owned()).or_insert(known);
        nodes = nodes.max(source + 1).max(target + 1);
        links.push(Link::new(source, target, kind, 1.0)?);
    }
    Links::new(path.display().to_string(), nodes, links)
}

/// A graph with hubs. Every node has `degree / 2` links to others, each of which links back with
/// the same weight, between ½ and 1½. The node of rank r is linked to with a probability like r^−½,
/// so degrees follow a power law of exponent 3, and the largest is about `degree / 2 · √nodes`.
/// Ranks are strewn over the numbers, so hubs and neighbours lie anywhere.
pub fn power_law(nodes: u32, degree: u32) -> Result<Links, Box<dyn Error>> {
    let mut random = Random::default();
    let mut unit = || f64::from((random.next_u64() >> 32) as u32) / f64::from(1_u32 << 31) / 2.0;
    let mut links = Vec::with_capacity(nodes as usize * degree as usize);
    // A prime, and so without a common divisor with any smaller number of nodes.
    let strewn = |rank: u32| (u64::from(rank) * 4_294_967_291 % u64::from(nodes)) as u32;
    for source in 0..nodes {
        for _ in 0..degree / 2 {
            let rank = (f64::from(nodes) * unit().powi(2)) as u32;
            let (target, weight) = (strewn(rank), 0.5 + unit() as f32);
            links.push(Link::new(source, target, 0, weight)?);
            links.push(Link::new(target, source, 0, weight)?);
        }
    }
    Links::new(format!("power law, {nodes} nodes"), nodes, links)
}

/// Rows of so many different nodes each, drawn evenly among those that have links.
pub fn draw_seeds(links: &Links, rows: usize, per_row: usize) -> Vec<Vec<u32>> {
    let mut random = Random::default();
    let has_links = |node: u32| links.graph().scale(node).fan > 0;
    let mut draw_row = |_| {
        let mut row = Vec::with_capacity(per_row);
        while row.len() < per_row {
            let node = (random.next_u64() % u64::from(links.nodes())) as u32;
            if has_links(node) && !row.contains(&node) {
                row.push(node);
            }
        }
        row
    };
    (0..rows).map(&mut draw_row).collect()
}

/// Rows of so many different nodes each, drawn by how many links they have.
pub fn draw_hubs(links: &Links, rows: usize, per_row: usize) -> Vec<Vec<u32>> {
    let mut random = Random::default();
    let edges = links.graph().edges;
    let mut draw_row = |_| {
        let mut row = Vec::with_capacity(per_row);
        while row.len() < per_row {
            let node = edges[(random.next_u64() % edges.len() as u64) as usize].target;
            if !row.contains(&node) {
                row.push(node);
            }
        }
        row
    };
    (0..rows).map(&mut draw_row).collect()
}

/// Rows of seeds that another program wrote: u32 in little-endian order.
pub fn read_seeds(path: &Path, per_row: usize) -> io::Result<Vec<Vec<u32>>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let numbers: Vec<u32> =
        bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    Ok(numbers.chunks_exact(per_row).map(<[u32]>::to_vec).collect())
}
