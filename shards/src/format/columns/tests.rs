//! Columns files that are as written, damaged, and made up.

use proptest::prelude::*;

use super::*;
use crate::format::block_crc;

const IDENTITY: ColumnsIdentity =
    ColumnsIdentity { store_id: [3; 16], shard: 2, number: 7, through: 99, created_at_us: -5 };
const WHOSE: (StoreId, u32, u64) = ([3; 16], 2, 7);

/// The bytes that a column of the test has.
fn content(kind: ColumnKind, rows: u32, dimensions: u32) -> Vec<u8> {
    let bytes = kind.bytes_expected(rows, dimensions).unwrap_or(100_000);
    (0..bytes).map(|at| (at % 251) as u8 ^ kind as u8).collect()
}

/// Two sections, the first with everything that an index may add.
fn file() -> (Vec<u8>, ColumnsPlace) {
    let mut out = Vec::new();
    let mut writer = ColumnsWriter::new(IDENTITY, &mut out);
    for (space, rows, dimensions, with_index) in [(4, 70, 3, true), (9, 1, 768, false)] {
        writer.begin_section(SpaceNumber(space), dimensions, rows);
        for kind in ColumnKind::ALL.into_iter().filter(|kind| with_index || kind.is_required()) {
            writer.begin_column(kind, &mut out);
            content(kind, rows, dimensions).chunks(777).for_each(|part| writer.put(part, &mut out));
            assert_eq!(writer.file_bytes(), out.len() as u64);
        }
    }
    let place = writer.finish(&mut out);
    (out, place)
}

#[test]
fn a_file_reads_back_as_written() {
    let (file, place) = file();
    assert_eq!(place.file_bytes(), file.len() as u64);
    let directory = ColumnsDirectory::decode(&file, &place, WHOSE).unwrap();
    assert_eq!(directory.identity, IDENTITY);
    let sections = &directory.sections;
    let heads: Vec<_> = sections.iter().map(|s| (s.space.0, s.rows, s.dimensions)).collect();
    assert_eq!(heads, [(4, 70, 3), (9, 1, 768)]);
    assert_eq!([sections[0].columns.len(), sections[1].columns.len()], [26, 11]);
    for section in sections {
        for column in &section.columns {
            let wanted = content(column.kind, section.rows, section.dimensions);
            assert!(file[column.range.clone()] == wanted[..], "{:?}", column.kind);
            assert_eq!(column.crcs.len(), wanted.len().div_ceil(COLUMN_BLOCK_BYTES));
            assert!(column.damaged_blocks(&file).is_empty());
            assert!(column.range.start.is_multiple_of(SECTOR_BYTES));
        }
    }
    let graph = sections[0].column(ColumnKind::Graph).unwrap();
    assert!(graph.range.start.is_multiple_of(2 << 20));
}

#[test]
fn a_damaged_block_is_named() {
    let (mut file, place) = file();
    let directory = ColumnsDirectory::decode(&file, &place, WHOSE).unwrap();
    let bodies = directory.sections[0].column(ColumnKind::Bodies).unwrap();
    file[bodies.range.end - 1] ^= 1;
    assert_eq!(bodies.damaged_blocks(&file), [1]);
    file[bodies.range.start] ^= 128;
    assert_eq!(bodies.damaged_blocks(&file), [0, 1]);
}

#[test]
fn every_byte_of_header_and_directory_counts() {
    let (mut file, place) = file();
    let directory = usize::try_from(place.directory_offset).unwrap();
    for at in (0..COLUMNS_HEADER_BYTES).chain(directory..file.len()) {
        file[at] ^= 0x10;
        assert!(ColumnsDirectory::decode(&file, &place, WHOSE).is_err(), "byte {at}");
        file[at] ^= 0x10;
    }
    assert!(ColumnsDirectory::decode(&file, &place, WHOSE).is_ok());
}

#[test]
fn a_file_that_is_cut_or_of_somebody_else_is_refused() {
    let (file, place) = file();
    for cut in [0, 1, 4095, 4096, file.len() - 1] {
        let refused = ColumnsDirectory::decode(&file[..cut], &place, WHOSE);
        let size = ColumnsError::Size { expected: file.len() as u64, got: cut as u64 };
        assert_eq!(refused, Err(size));
    }
    for whose in [([4; 16], 2, 7), ([3; 16], 1, 7), ([3; 16], 2, 8)] {
        let refused = ColumnsDirectory::decode(&file, &place, whose);
        let Err(ColumnsError::Header(HeaderError::Mismatch { .. })) = refused else {
            panic!("{refused:?}")
        };
    }
    let elsewhere = ColumnsPlace {
        directory_offset: place.directory_offset - 4096,
        directory_bytes: place.directory_bytes + 4096,
        ..place
    };
    assert!(ColumnsDirectory::decode(&file, &elsewhere, WHOSE).is_err());
    let huge = ColumnsPlace { directory_offset: u64::MAX, ..place };
    assert!(ColumnsDirectory::decode(&file, &huge, WHOSE).is_err());
    let other = ColumnsPlace { directory_crc: place.directory_crc ^ 1, ..place };
    assert!(ColumnsDirectory::decode(&file, &other, WHOSE).is_err());
}

/// What a reader relies on.
fn assert_can_be_indexed(directory: &ColumnsDirectory, place: &ColumnsPlace) {
    let mut end = COLUMNS_HEADER_BYTES;
    for section in &directory.sections {
        for kind in ColumnKind::ALL.into_iter().filter(|kind| kind.is_required()) {
            assert!(section.column(kind).is_some(), "{kind:?}");
        }
        for ColumnEntry { kind, range, crcs } in &section.columns {
            assert!(range.start >= end && range.end as u64 <= place.directory_offset);
            assert!(range.start.is_multiple_of(SECTOR_BYTES));
            let expected = kind.bytes_expected(section.rows, section.dimensions);
            assert!(expected.is_none_or(|bytes| bytes == range.len() as u64));
            assert_eq!(crcs.len(), range.len().div_ceil(COLUMN_BLOCK_BYTES));
            end = range.end;
        }
    }
}

#[test]
fn a_directory_with_any_other_number_is_refused_or_can_be_indexed() {
    let (mut file, mut place) = file();
    let directory = usize::try_from(place.directory_offset).unwrap();
    let used = 64 + 2 * 16 + 27 * 32;
    for at in (directory + 28..directory + used).step_by(4) {
        let original: [u8; 4] = file[at..at + 4].try_into().unwrap();
        let number = u32::from_le_bytes(original);
        for other in [0, 1, 2, number.wrapping_sub(1), number.wrapping_add(4096), u32::MAX] {
            file[at..at + 4].copy_from_slice(&other.to_le_bytes());
            place.directory_crc = block_crc(&file[directory..]);
            let end = file.len();
            file[end - 4..].copy_from_slice(&place.directory_crc.to_le_bytes());
            if let Ok(read) = ColumnsDirectory::decode(&file, &place, WHOSE) {
                assert_can_be_indexed(&read, &place);
            }
        }
        file[at..at + 4].copy_from_slice(&original);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        flips in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..20),
    ) {
        let (mut file, mut place) = file();
        let directory = usize::try_from(place.directory_offset).unwrap();
        let used = 64 + 2 * 16 + 27 * 32;
        for (at, bits) in flips {
            file[directory + 28 + at as usize % (used - 28)] ^= bits;
        }
        place.directory_crc = block_crc(&file[directory..]);
        let end = file.len();
        file[end - 4..].copy_from_slice(&place.directory_crc.to_le_bytes());
        if let Ok(read) = ColumnsDirectory::decode(&file, &place, WHOSE) {
            assert_can_be_indexed(&read, &place);
        }
    }
}

/// `shards/FORMAT.md` has these offsets.
#[test]
fn the_bytes_are_where_the_document_says() {
    let (file, place) = file();
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    assert_eq!(&file[..8], b"ENGRAMCO");
    assert_eq!((number(8), number(12), &file[16..32]), (1, 2, &[3; 16][..]));
    assert_eq!((long(32), long(40), long(48).cast_signed()), (7, 99, -5));
    let at = usize::try_from(place.directory_offset).unwrap();
    assert_eq!(&file[at..at + 8], b"ENGRAMCD");
    assert_eq!((number(at + 8), number(at + 12), &file[at + 16..at + 32]), (1, 2, &[3; 16][..]));
    assert_eq!((long(at + 32), long(at + 40)), (7, place.directory_bytes));
    assert_eq!((number(at + 48), number(at + 52)), (2, 37));
    let section = at + 64;
    let head = [0, 4, 8, 12].map(|field| number(section + field));
    assert_eq!(head, [4, 3, 70, 26]);
    let column = section + 2 * 16;
    assert_eq!((number(column), number(column + 4)), (1, 1));
    assert_eq!((long(column + 8), long(column + 16)), (4096, 70 * 16 * 4));
    let crcs = column + 37 * 32;
    assert_eq!(number(crcs), crc32c::crc32c(&file[4096..4096 + 70 * 64]));
    assert_eq!(number(file.len() - 4), place.directory_crc);
}
