//! The vectors of a corpus: a row for each turn and for each question, of unit length.

use std::path::Path;

use crate::error::ToolError;
use crate::npy::NpyReader;
use crate::vectors::normalize;

/// Rows of unit length.
#[derive(Debug)]
pub(super) struct Embeddings {
    rows: Vec<Vec<f32>>,
}

impl Embeddings {
    /// Of a file that has to have so many rows; `what` names what each row is of.
    pub(super) fn read(path: &Path, rows: usize, what: &str) -> Result<Self, ToolError> {
        let file = NpyReader::open(path)?;
        if file.rows() != rows as u64 {
            let got = file.rows();
            let reason = format!("{got} rows for {rows} {what}; it needs one for each, in order");
            return Err(ToolError::format(path, reason));
        }
        let row = |row: u64| {
            let mut vector = file.row(row)?;
            let refuse = |why: &str| ToolError::format(path, format!("row {row} (from 0) {why}"));
            if vector.iter().any(|component| !component.is_finite()) {
                return Err(refuse("has a component that is not finite; embed its text again"));
            }
            if vector.iter().all(|component| *component == 0.0) {
                return Err(refuse("is zero, so nothing is nearer to it than anything else"));
            }
            normalize(&mut vector);
            Ok(vector)
        };
        Ok(Self { rows: (0..file.rows()).map(row).collect::<Result<_, _>>()? })
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.rows[row]
    }

    pub(super) fn dimensions(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }
}

#[cfg(test)]
impl Embeddings {
    pub(super) fn of(rows: Vec<Vec<f32>>) -> Self {
        Self { rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::NpyWriter;

    fn read(rows: &[[f32; 2]], expected: usize) -> Result<Embeddings, ToolError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = NpyWriter::create(file.path()).unwrap();
        for row in rows {
            let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
            writer.push(&bytes).unwrap();
        }
        writer.finish().unwrap();
        Embeddings::read(file.path(), expected, "turns")
    }

    #[test]
    fn rows_have_unit_length() {
        let embeddings = read(&[[3.0, 4.0], [0.0, -2.0]], 2).unwrap();
        assert_eq!((embeddings.row(0), embeddings.row(1)), (&[0.6, 0.8][..], &[0.0, -1.0][..]));
        assert_eq!(embeddings.dimensions(), 2);
    }

    #[test]
    fn what_is_no_vector_is_an_error() {
        let cases = [
            (vec![[1.0, 0.0]], "1 rows for 2 turns"),
            (vec![[1.0, 0.0]; 3], "3 rows for 2 turns"),
            (vec![[1.0, 0.0], [f32::NAN, 0.0]], "row 1 (from 0) has a component that is not"),
            (vec![[1.0, f32::INFINITY], [1.0, 0.0]], "row 0 (from 0) has a component that is not"),
            (vec![[1.0, 0.0], [0.0, 0.0]], "row 1 (from 0) is zero"),
        ];
        for (rows, expected) in cases {
            let error = read(&rows, 2).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
