//! Vectors to measure with: rows of an `.npy` file of float16, or points around random centres.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use half::f16;

use crate::random::Random;

/// Which vectors a program measures with.
#[derive(Debug, Args)]
pub struct VectorArguments {
    /// An .npy file of float16 rows; made up unless given.
    #[arg(long)]
    vectors: Option<PathBuf>,
    /// Rows to make up.
    #[arg(long, default_value_t = 20_000)]
    count: usize,
    /// An .npy file of rows to ask for; rows of the others, which are then left out, unless given.
    #[arg(long, value_name = "FILE.npy")]
    asked: Option<PathBuf>,
    /// Rows that are asked for.
    #[arg(long, default_value_t = 500)]
    queries: usize,
    /// Take no more than so many.
    #[arg(long)]
    rows_max: Option<usize>,
}

impl VectorArguments {
    /// The rows to search, and those to ask for.
    pub fn read(&self) -> io::Result<(Vectors, Vectors)> {
        let all = match &self.vectors {
            Some(path) => Vectors::read_npy(path)?,
            None => Vectors::clustered(self.count + self.queries, MADE_UP_DIMENSIONS),
        };
        let (mut base, queries) = match &self.asked {
            Some(path) => (all, Vectors::read_npy(path)?.hold_out(self.queries).1),
            None => all.hold_out(self.queries),
        };
        if let Some(rows) = self.rows_max {
            base.floats.truncate(rows * base.dimensions);
            base.floats.shrink_to_fit();
        }
        Ok((base, queries))
    }
}

/// Coordinates of rows that are made up.
const MADE_UP_DIMENSIONS: usize = 768;

/// Rows of float16 as they stand in a file: half the memory where all of many are needed.
#[derive(Debug)]
pub struct Halves {
    pub dimensions: usize,
    file: Vec<u8>,
    /// Where in the file the rows begin.
    data: usize,
}

impl Halves {
    /// Reads a two-dimensional array of little-endian float16 in C order.
    pub fn read_npy(path: &Path) -> io::Result<Self> {
        let file = std::fs::read(path)?;
        let malformed = |what| {
            let text = format!("{} is not an array of float16: {what}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let (magic, rest) = file.split_at_checked(10).ok_or(malformed("it is too short"))?;
        if magic[..6] != *b"\x93NUMPY" || magic[6] != 1 {
            return Err(malformed("it is no .npy file of version 1"));
        }
        let header_bytes = usize::from(u16::from_le_bytes([magic[8], magic[9]]));
        let header = rest.get(..header_bytes).ok_or(malformed("its header is cut"))?;
        let header = String::from_utf8_lossy(header);
        if !header.contains("'<f2'") || !header.contains("'fortran_order': False") {
            return Err(malformed("its type is not '<f2' in C order"));
        }
        let shape = header.split('(').nth(1).and_then(|shape| shape.split(')').next());
        let mut sizes = shape.into_iter().flat_map(|shape| shape.split(',')).map(str::trim);
        let dimensions = sizes.nth(1).and_then(|size| size.parse().ok());
        let dimensions = dimensions.filter(|size| *size > 0).ok_or(malformed("its shape"))?;
        Ok(Self { dimensions, data: 10 + header_bytes, file })
    }

    pub fn count(&self) -> usize {
        (self.file.len() - self.data) / 2 / self.dimensions
    }

    pub fn row(&self, nth: usize) -> impl Iterator<Item = f32> {
        let bytes = &self.file[self.data + nth * self.dimensions * 2..][..self.dimensions * 2];
        bytes.chunks_exact(2).map(|le| f16::from_le_bytes([le[0], le[1]]).to_f32())
    }

    /// A row as the daemon takes it.
    pub fn blob(&self, nth: usize) -> Vec<u8> {
        self.row(nth).flat_map(f32::to_le_bytes).collect()
    }
}

/// Rows of one length, each of unit length.
#[derive(Debug)]
pub struct Vectors {
    pub dimensions: usize,
    pub floats: Vec<f32>,
}

impl Vectors {
    /// Reads a two-dimensional array of little-endian float16 in C order.
    pub fn read_npy(path: &Path) -> io::Result<Self> {
        let halves = Halves::read_npy(path)?;
        let floats = (0..halves.count()).flat_map(|nth| halves.row(nth)).collect();
        let mut vectors = Self { dimensions: halves.dimensions, floats };
        vectors.normalize();
        Ok(vectors)
    }

    /// Points of a normal kind of embedding: clusters of different sizes in a space whose own
    /// dimension is far below its coordinates'.
    pub fn clustered(count: usize, dimensions: usize) -> Self {
        const CENTRES: usize = 200;
        let mut random = Random::default();
        let centres: Vec<f32> = (0..CENTRES * dimensions).map(|_| random.next_f32()).collect();
        let mut floats = Vec::with_capacity(count * dimensions);
        for _ in 0..count {
            let share = random.next_f32().abs();
            let centre = (share * share * CENTRES as f32) as usize % CENTRES;
            let centre = &centres[centre * dimensions..][..dimensions];
            floats.extend(centre.iter().map(|value| value + 0.6 * random.next_f32()));
        }
        let mut vectors = Self { dimensions, floats };
        vectors.normalize();
        vectors
    }

    fn normalize(&mut self) {
        for row in self.floats.chunks_exact_mut(self.dimensions) {
            let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            row.iter_mut().for_each(|value| *value /= norm.max(f32::MIN_POSITIVE));
        }
    }

    /// Rows.
    pub fn count(&self) -> usize {
        self.floats.len() / self.dimensions
    }

    pub fn row(&self, nth: usize) -> &[f32] {
        &self.floats[nth * self.dimensions..][..self.dimensions]
    }

    /// Takes `count` rows out, evenly spread: those that are asked for and not stored.
    pub fn hold_out(self, count: usize) -> (Self, Self) {
        let step = (self.count() / count.max(1)).max(1);
        let (mut base, mut held) = (Vec::new(), Vec::new());
        for nth in 0..self.count() {
            let is_held = nth % step == step / 2 && held.len() < count * self.dimensions;
            if is_held { &mut held } else { &mut base }.extend_from_slice(self.row(nth));
        }
        let dimensions = self.dimensions;
        (Self { dimensions, floats: base }, Self { dimensions, floats: held })
    }
}
