//! Matrices of embeddings in NumPy's `.npy` format, read row by row and written row by row.
//!
//! The format (NumPy Enhancement Proposal 1): the magic `\x93NUMPY`, two version bytes, the length
//! of the header as u16 (version 1) or u32 (versions 2 and 3), little-endian, then the header: a
//! Python dictionary literal with the keys `descr`, `fortran_order` and `shape`, then the elements.
//! Read are little-endian f16, f32 and f64 in C order. A row is read where it stands in the file,
//! so that a matrix larger than memory costs one row of it.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::error::ToolError;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself refuses headers above 10,000 bytes unless told to trust the file.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes in front of the elements of a file that we write.
const WRITTEN_HEADER_BYTES: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F16,
    F32,
    F64,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    element: Element,
    rows: u64,
    dimensions: usize,
}

/// An open matrix. Reading a row takes `&self`: several threads may share one.
#[derive(Debug)]
pub(crate) struct NpyReader {
    file: File,
    path: PathBuf,
    layout: Layout,
    /// Offset of the first element, from the start of the file.
    data_offset_bytes: u64,
}

impl NpyReader {
    pub(crate) fn open(path: &Path) -> Result<Self, ToolError> {
        let mut file = File::open(path).map_err(|e| ToolError::file(path, e))?;
        let (header, data_offset_bytes) = read_header(&mut file)
            .map_err(|e| ToolError::file(path, e))?
            .map_err(|reason| ToolError::format(path, reason))?;
        let layout = parse_header(&header).map_err(|reason| ToolError::format(path, reason))?;
        let row_bytes = (layout.dimensions * layout.element.bytes()) as u64;
        let expected_bytes = layout
            .rows
            .checked_mul(row_bytes)
            .and_then(|bytes| bytes.checked_add(data_offset_bytes))
            .ok_or_else(|| ToolError::format(path, "the shape overflows"))?;
        let got_bytes = file.metadata().map_err(|e| ToolError::file(path, e))?.len();
        if got_bytes < expected_bytes {
            return Err(ToolError::format(
                path,
                format!(
                    "truncated: the header promises {expected_bytes} bytes, there are {got_bytes}"
                ),
            ));
        }
        Ok(Self { file, path: path.to_owned(), layout, data_offset_bytes })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.layout.rows
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.layout.dimensions
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Row `row`, from 0, widened or narrowed to f32.
    pub(crate) fn row(&self, row: u64) -> Result<Vec<f32>, ToolError> {
        if row >= self.layout.rows {
            let rows = self.layout.rows;
            return Err(ToolError::format(
                &self.path,
                format!("there is no row {row}: the file has {rows} rows, counted from 0"),
            ));
        }
        let mut bytes = vec![0; self.layout.dimensions * self.layout.element.bytes()];
        let offset = self.data_offset_bytes + row * bytes.len() as u64;
        self.file.read_exact_at(&mut bytes, offset).map_err(|e| ToolError::file(&self.path, e))?;
        Ok(widen(&bytes, self.layout.element))
    }
}

fn widen(bytes: &[u8], element: Element) -> Vec<f32> {
    match element {
        Element::F16 => {
            let halves: Vec<f16> =
                bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
            halves.to_f32_vec()
        }
        Element::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Element::F64 => {
            bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
        }
    }
}

/// The header's text and the offset behind it; the inner error says why this is no `.npy` file.
fn read_header(file: &mut impl Read) -> io::Result<Result<(String, u64), String>> {
    let no_npy = || Ok(Err("no .npy file; save the matrix with numpy.save".to_owned()));
    let mut start = [0; 8];
    if let Err(error) = file.read_exact(&mut start) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { no_npy() } else { Err(error) };
    }
    if &start[..6] != MAGIC {
        return no_npy();
    }
    let (header_bytes, prefix_bytes) = match start[6] {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        version => return Ok(Err(format!("format version {version}; versions 1 to 3 are read"))),
    };
    if header_bytes > HEADER_BYTES_MAX {
        return Ok(Err(format!("header of {header_bytes} bytes, the bound is {HEADER_BYTES_MAX}")));
    }
    let mut header = vec![0; header_bytes];
    file.read_exact(&mut header)?;
    let text = String::from_utf8_lossy(&header).into_owned();
    Ok(Ok((text, (prefix_bytes + header_bytes) as u64)))
}

fn parse_header(header: &str) -> Result<Layout, String> {
    let element = match value_of(header, "descr")?.trim_matches(['\'', '"']) {
        "<f2" => Element::F16,
        "<f4" => Element::F32,
        "<f8" => Element::F64,
        other => {
            return Err(format!(
                "elements are '{other}'; read are <f2, <f4 and <f8, so save x.astype('<f4')"
            ));
        }
    };
    if value_of(header, "fortran_order")? != "False" {
        return Err("column-major; save numpy.ascontiguousarray(x)".to_owned());
    }
    let shape = value_of(header, "shape")?;
    let lengths: Result<Vec<u64>, _> = shape
        .trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|length| !length.is_empty())
        .map(str::parse)
        .collect();
    let (rows, dimensions) = match lengths.as_deref() {
        Ok([dimensions]) => (1, *dimensions),
        Ok([rows, dimensions]) => (*rows, *dimensions),
        _ => return Err(format!("shape {shape}; expected (rows, dimensions) or (dimensions,)")),
    };
    let dimensions_max = engram_shards::limits::DIMENSIONS_MAX;
    if dimensions == 0 || dimensions > dimensions_max as u64 {
        return Err(format!("{dimensions} dimensions; a vector has 1 to {dimensions_max}"));
    }
    Ok(Layout { element, rows, dimensions: dimensions as usize })
}

/// The literal behind `'key':`, up to the comma that ends it.
fn value_of<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("the header has no '{key}'");
    let behind = ['\'', '"']
        .iter()
        .find_map(|quote| header.split_once(&format!("{quote}{key}{quote}")))
        .ok_or_else(missing)?
        .1;
    let literal = behind.trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    let end = if literal.starts_with('(') {
        literal.find(')').map(|at| at + 1)
    } else {
        literal.find([',', '}'])
    };
    Ok(literal[..end.ok_or_else(missing)?].trim())
}

/// Writes an f32 matrix whose row count is known only at the end.
#[derive(Debug)]
pub(crate) struct NpyWriter {
    file: BufWriter<File>,
    path: PathBuf,
    rows: u64,
    /// Set by the first row.
    dimensions: Option<usize>,
}

impl NpyWriter {
    pub(crate) fn create(path: &Path) -> Result<Self, ToolError> {
        let file = File::create(path).map_err(|e| ToolError::file(path, e))?;
        let mut writer =
            Self { file: BufWriter::new(file), path: path.to_owned(), rows: 0, dimensions: None };
        let header = written_header(0, 0);
        writer.file.write_all(&header).map_err(|e| ToolError::file(path, e))?;
        Ok(writer)
    }

    /// Appends a row given as little-endian f32 and returns its number.
    pub(crate) fn push(&mut self, row: &[u8]) -> Result<u64, ToolError> {
        let dimensions = *self.dimensions.get_or_insert(row.len() / 4);
        if row.len() != dimensions * 4 {
            let got = row.len() / 4;
            let reason = format!("row {} has {got} dimensions, not {dimensions}", self.rows);
            return Err(ToolError::format(&self.path, reason));
        }
        self.file.write_all(row).map_err(|e| ToolError::file(&self.path, e))?;
        self.rows += 1;
        Ok(self.rows - 1)
    }

    /// Writes the true shape into the header.
    pub(crate) fn finish(mut self) -> Result<(), ToolError> {
        let header = written_header(self.rows, self.dimensions.unwrap_or(0));
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush())
            .map_err(|e| ToolError::file(&self.path, e))
    }
}

fn written_header(rows: u64, dimensions: usize) -> Vec<u8> {
    let prefix_bytes = MAGIC.len() + 4;
    let dictionary =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}");
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&((WRITTEN_HEADER_BYTES - prefix_bytes) as u16).to_le_bytes());
    header.extend_from_slice(dictionary.as_bytes());
    header.resize(WRITTEN_HEADER_BYTES - 1, b' ');
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn npy(version: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[version, 0]);
        if version == 1 {
            bytes.extend_from_slice(&(dictionary.len() as u16).to_le_bytes());
        } else {
            bytes.extend_from_slice(&(dictionary.len() as u32).to_le_bytes());
        }
        bytes.extend_from_slice(dictionary.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn open(bytes: &[u8]) -> Result<NpyReader, ToolError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        NpyReader::open(file.path())
    }

    fn le_bytes<const N: usize, T>(values: &[T], encode: fn(&T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(encode).collect()
    }

    #[test]
    fn each_element_type_reads_as_f32() {
        let cases: [(&str, Vec<u8>); 3] = [
            ("<f2", le_bytes(&[0.5, -2.0, 8.0, 1.0].map(f16::from_f32), |v| v.to_le_bytes())),
            ("<f4", le_bytes(&[0.5_f32, -2.0, 8.0, 1.0], |v| v.to_le_bytes())),
            ("<f8", le_bytes(&[0.5_f64, -2.0, 8.0, 1.0], |v| v.to_le_bytes())),
        ];
        for (version, (descr, data)) in [1, 2, 3].into_iter().zip(cases) {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 2), }}\n");
            let reader = open(&npy(version, &header, &data)).unwrap();
            assert_eq!((reader.rows(), reader.dimensions()), (2, 2));
            assert_eq!(reader.row(0).unwrap(), [0.5, -2.0], "{descr}");
            assert_eq!(reader.row(1).unwrap(), [8.0, 1.0], "{descr}");
            let past = reader.row(2).unwrap_err().to_string();
            assert!(past.contains("no row 2: the file has 2 rows"), "{past}");
        }
    }

    #[test]
    fn a_flat_array_is_one_row() {
        let data = le_bytes(&[1.0_f32, 2.0], |v| v.to_le_bytes());
        let header = r#"{"shape": (2,), "fortran_order": False, "descr": "<f4"}"#;
        let reader = open(&npy(1, header, &data)).unwrap();
        assert_eq!(reader.row(0).unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}")
        };
        let cases = [
            (b"PK\x03\x04 not npy".to_vec(), "numpy.save"),
            (b"short".to_vec(), "numpy.save"),
            (npy(9, "", b""), "format version 9"),
            (npy(1, &header(">f4", "False", "(1, 2)"), &[0; 8]), "astype"),
            (npy(1, &header("<i8", "False", "(1, 2)"), &[0; 16]), "astype"),
            (npy(1, &header("<f4", "True", "(1, 2)"), &[0; 8]), "ascontiguousarray"),
            (npy(1, &header("<f4", "False", "(1, 2, 3)"), &[0; 24]), "expected (rows, dimensions)"),
            (npy(1, &header("<f4", "False", "(1, 0)"), &[]), "0 dimensions"),
            (npy(1, &header("<f4", "False", "(2, 2)"), &[0; 15]), "truncated"),
            (npy(1, &header("<f4", "False", "(18446744073709551615, 2)"), &[]), "overflows"),
            (npy(1, "{'descr': '<f4'}", &[]), "no 'fortran_order'"),
            (npy(1, "{'descr'", &[]), "no 'descr'"),
        ];
        for (bytes, expected) in cases {
            let error = open(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(header in "\\PC{0,200}") {
            let _ = parse_header(&header);
        }

        #[test]
        fn what_is_written_reads_back(
            rows in prop::collection::vec(prop::collection::vec(any::<f32>(), 3), 1..20),
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut writer = NpyWriter::create(file.path()).unwrap();
            for row in &rows {
                writer.push(&le_bytes(row, |v| v.to_le_bytes())).unwrap();
            }
            writer.finish().unwrap();
            let reader = NpyReader::open(file.path()).unwrap();
            prop_assert_eq!(reader.rows(), rows.len() as u64);
            for (number, row) in rows.iter().enumerate() {
                let read: Vec<u32> =
                    reader.row(number as u64).unwrap().iter().map(|v| v.to_bits()).collect();
                let written: Vec<u32> = row.iter().map(|v| v.to_bits()).collect();
                prop_assert_eq!(read, written);
            }
        }
    }
}
