//! Changes to files, as a disk, a file system or a person makes them.
//!
//! A change is twelve bytes of the input: what, to which file, where, how much. Every twelve bytes
//! mean something, so the fuzzer wastes nothing; no bytes mean no damage.

use std::collections::BTreeMap;

use engram_shards::limits::SECTOR_BYTES;

use crate::input::Input;

/// The files of a folder by name; `/` leads into one below.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Bytes of a file that has grown.
const FILE_BYTES_MAX: usize = 128 << 10;
/// Changes beyond this many are not made.
const CHANGES_MAX: usize = 24;
/// Names that files are given: of segments, of others, and of what is none of ours.
const NAMES: [&str; 11] = [
    "log-0000000001.seg",
    "log-0000000002.seg",
    "log-0000000003.seg",
    "log-0000000004.seg",
    "log-0000000005.seg",
    "log-0000000000.seg",
    "log-9999999999.seg",
    "log-18446744073709551615.seg",
    "log-0000000002.seg.bak",
    "log-2.seg",
    "anchor",
];

/// Makes the changes that the input asks for.
pub(crate) fn apply(files: &mut Files, input: &mut Input<'_>) {
    for _ in 0..CHANGES_MAX {
        if input.is_empty() || files.is_empty() {
            return;
        }
        change(files, input);
    }
}

fn change(files: &mut Files, input: &mut Input<'_>) {
    let what = input.u8();
    let name = pick(files, input.u8());
    let at = input.u32() as usize;
    let much = usize::from(input.u16());
    let (other, value) = (input.u8(), input.u8());
    let more = usize::from(input.u16());
    let other = pick(files, other);
    let bytes = files.get_mut(&name).expect("picked among them");
    let length = bytes.len();
    let at = at.checked_rem(length).unwrap_or(0);
    let sector = at - at % SECTOR_BYTES;
    let range = |from: usize, bytes: usize| from.min(length)..(from + bytes).min(length);
    match what % 13 {
        0 if length > 0 => bytes[at] ^= 1 << (value % 8),
        1 if length > 0 => bytes[at] = value,
        2 => bytes[range(at, much % 256)].fill(value),
        3 => bytes[range(at, much)].fill(0),
        // A write that never arrived, or half of one.
        4 => bytes[range(sector, SECTOR_BYTES * (1 + much % 4))].fill(0),
        5 => bytes[range(sector + 512 * (more % 8), 512 * (1 + much % 8))].fill(value),
        6 => bytes.truncate(at),
        7 => bytes.truncate(sector),
        8 => bytes.resize((length + 1 + much).min(FILE_BYTES_MAX), value),
        // A write that arrived elsewhere.
        9 => {
            let source = bytes[range(sector, SECTOR_BYTES * (1 + much % 4))].to_vec();
            let target = files.get_mut(&other).expect("picked among them");
            let to = (more * SECTOR_BYTES).checked_rem(target.len()).unwrap_or(0);
            let room = source.len().min(target.len() - to);
            target[to..to + room].copy_from_slice(&source[..room]);
        }
        10 => {
            let (one, two) = (files[&name].clone(), files[&other].clone());
            files.insert(name, two);
            files.insert(other, one);
        }
        11 => drop(files.remove(&name)),
        _ => {
            let copy = bytes.clone();
            let folder = name.rfind('/').map_or("", |slash| &name[..=slash]);
            files.insert(format!("{folder}{}", NAMES[more % NAMES.len()]), copy);
        }
    }
}

fn pick(files: &Files, nth: u8) -> String {
    files.keys().nth(usize::from(nth) % files.len()).expect("within the list").clone()
}
