//! The vector of a single command: from a `.npy` file, or typed as numbers.

use std::path::PathBuf;

use clap::Args;

use crate::error::ToolError;
use crate::npy::NpyReader;

/// Exactly one of the two ways to give a vector.
#[derive(Debug, Args)]
#[group(multiple = true)]
pub(crate) struct VectorArguments {
    /// Read the vector from a .npy file (f16, f32 or f64)
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) vector: Option<PathBuf>,
    /// Row of the .npy file, from 0
    #[arg(long, value_name = "ROW", requires = "vector", default_value_t = 0)]
    pub(crate) row: u64,
    /// The vector's components as numbers, separated by spaces or commas
    #[arg(long, value_name = "NUMBERS", conflicts_with = "vector", allow_hyphen_values = true)]
    pub(crate) values: Option<String>,
}

impl VectorArguments {
    /// The vector, or `None` when neither option was given.
    pub(crate) fn read(&self) -> Result<Option<Vec<f32>>, ToolError> {
        if let Some(path) = &self.vector {
            return NpyReader::open(path)?.row(self.row).map(Some);
        }
        self.values.as_deref().map(parse_values).transpose()
    }

    /// The same as the bytes behind VEC.
    pub(crate) fn read_blob(&self) -> Result<Option<Vec<u8>>, ToolError> {
        let blob = |vector: Vec<f32>| vector.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(self.read()?.map(blob))
    }
}

fn parse_values(values: &str) -> Result<Vec<f32>, ToolError> {
    values
        .split([' ', ',', '\t', '\n'])
        .filter(|number| !number.is_empty())
        .map(|number| {
            number.parse().map_err(|_| {
                ToolError::usage(format!(
                    "--values: '{number}' is no number; give e.g. \"0.1 0.2\""
                ))
            })
        })
        .collect()
}

/// Scales to unit length. A zero vector stays as it is, for the daemon to refuse.
pub(crate) fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if norm > 0.0 {
        for component in vector {
            *component = (f64::from(*component) / norm) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_separated_by_spaces_or_commas() {
        assert_eq!(parse_values("1, -2.5\t3e2").unwrap(), [1.0, -2.5, 300.0]);
        assert!(parse_values("1 two").unwrap_err().to_string().contains("'two'"));
    }

    #[test]
    fn normalizing_keeps_the_direction() {
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = [0.0, 0.0];
        normalize(&mut zero);
        assert_eq!(zero, [0.0, 0.0]);
    }
}
