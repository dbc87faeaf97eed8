//! Ids and texts of generated episodes.
//!
//! An id is `load-` and twelve digits. A text starts with the id and the hash of the id, so that a
//! later look at an episode shows whether it is the one that was acknowledged.

use xxhash_rust::xxh3::xxh3_64;

pub(super) const ID_PREFIX: &str = "load-";
pub(super) const ID_BYTES: usize = ID_PREFIX.len() + 12;
/// Ids are drawn below this.
pub(super) const ID_NUMBER_MAX: u64 = 1_000_000_000_000;
/// Id, space, 16 hexadecimal digits of hash.
pub(super) const SIGNATURE_BYTES: usize = ID_BYTES + 1 + 16;

const WORDS: [&str; 16] = [
    "harbour", "lantern", "orchard", "winter", "copper", "letter", "river", "window", "garden",
    "station", "morning", "violin", "market", "bridge", "island", "kitchen",
];

/// Writes id `number`.
pub(super) fn write_id(target: &mut [u8], mut number: u64) {
    target[..ID_PREFIX.len()].copy_from_slice(ID_PREFIX.as_bytes());
    for digit in target[ID_PREFIX.len()..ID_BYTES].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Writes what a text starts with: the id and its hash.
pub(super) fn write_signature(target: &mut [u8], id: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    target[..ID_BYTES].copy_from_slice(id);
    target[ID_BYTES] = b' ';
    let mut hash = xxh3_64(id);
    for digit in target[ID_BYTES + 1..SIGNATURE_BYTES].iter_mut().rev() {
        *digit = DIGITS[(hash & 15) as usize];
        hash >>= 4;
    }
}

/// Whether a text is the one that was stored under a generated id.
pub(super) fn is_signed(text: &str, id: &str) -> bool {
    if id.len() != ID_BYTES {
        return false;
    }
    let mut signature = [0; SIGNATURE_BYTES];
    write_signature(&mut signature, id.as_bytes());
    text.as_bytes().starts_with(&signature)
}

/// A text of exactly `bytes` bytes with room for the signature in front.
pub(super) fn text(bytes: usize, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = vec![b'-'; SIGNATURE_BYTES];
    while text.len() < bytes {
        text.push(b' ');
        text.extend_from_slice(WORDS[rng.usize(..WORDS.len())].as_bytes());
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_recognised_by_its_id() {
        let mut id = [0; ID_BYTES];
        write_id(&mut id, 4711);
        assert_eq!(&id, b"load-000000004711");
        let mut text = text(200, &mut fastrand::Rng::with_seed(1));
        assert_eq!(text.len(), 200);
        write_signature(&mut text, &id);
        let text = String::from_utf8(text).unwrap();
        assert!(is_signed(&text, "load-000000004711"));
        assert!(!is_signed(&text, "load-000000004712"));
        assert!(!is_signed(&text.replacen("47", "48", 1), "load-000000004711"));
        assert!(!is_signed("", "x"));
    }
}
