//! Links: the records in an episode's body, and the payloads of the frames that change them.

use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::PayloadError;
use super::payload::{Cursor, narrow};
use crate::episode::{LinkRequest, SpaceNumber, UnlinkRequest};
use crate::links::is_association;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordBlock {
    weight: F32,
    target_bytes: U16,
    kind_bytes: U16,
}

// `Link::bytes` counts on it.
const _: () = assert!(size_of::<RecordBlock>() == 8);

/// A link as it stands in a body: its parts, one behind the other.
pub(crate) struct LinkRecord<'a> {
    block: RecordBlock,
    target: &'a [u8],
    kind: &'a [u8],
}

impl LinkRecord<'_> {
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [self.block.as_bytes(), self.target, self.kind]
    }
}

pub(crate) fn link_record<'a>(weight: f32, target: &'a [u8], kind: &'a [u8]) -> LinkRecord<'a> {
    let block = RecordBlock {
        weight: weight.into(),
        target_bytes: narrow::<u16>(target.len()).into(),
        kind_bytes: narrow::<u16>(kind.len()).into(),
    };
    LinkRecord { block, target, kind }
}

pub(crate) fn link_record_bytes(target: &[u8], kind: &[u8]) -> usize {
    size_of::<RecordBlock>() + target.len() + kind.len()
}

/// The links of an episode as they stand in its body.
#[derive(Debug, Clone)]
pub struct LinkRecords<'a>(pub &'a [u8]);

impl<'a> Iterator for LinkRecords<'a> {
    /// Weight, target, kind.
    type Item = (f32, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (block, rest) = RecordBlock::ref_from_prefix(self.0).ok()?;
        let target_bytes = usize::from(block.target_bytes.get());
        let (target, rest) = rest.split_at_checked(target_bytes)?;
        let (kind, rest) = rest.split_at_checked(usize::from(block.kind_bytes.get()))?;
        self.0 = rest;
        Some((block.weight.get(), target, kind))
    }
}

impl<'a> LinkRecords<'a> {
    /// Those that lead to an id; the others hold [gists](crate::links::GistLink) together.
    pub fn associations(self) -> impl Iterator<Item = (f32, &'a [u8], &'a [u8])> {
        self.filter(|(_, target, _)| is_association(target))
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LinkBlock {
    space: U32,
    weight: F32,
    from_bytes: U16,
    to_bytes: U16,
    kind_bytes: U16,
    durability: u8,
    zero: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct UnlinkBlock {
    space: U32,
    from_bytes: U16,
    to_bytes: U16,
    kind_bytes: U16,
    durability: u8,
    zero: [u8; 5],
}

const _: () = assert!(size_of::<LinkBlock>() == 16 && size_of::<UnlinkBlock>() == 16);

/// The payload of a link, read in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkPayload<'a> {
    pub space: SpaceNumber,
    pub from: &'a [u8],
    pub to: &'a [u8],
    /// Empty when none was given.
    pub kind: &'a [u8],
    pub weight: f32,
}

/// The payload of an unlink, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlinkPayload<'a> {
    pub space: SpaceNumber,
    pub from: &'a [u8],
    pub to: &'a [u8],
    /// Empty when links of all kinds go.
    pub kind: &'a [u8],
}

impl<'a> LinkPayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "link", what };
        let (block, rest) = LinkBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let [from, to, kind] = parts(rest, [block.from_bytes, block.to_bytes, block.kind_bytes])
            .ok_or_else(|| malformed("its parts do not add up to its length"))?;
        let (space, weight) = (SpaceNumber(block.space.get()), block.weight.get());
        if !(weight.is_finite() && weight > 0.0) {
            return Err(malformed("its weight is not a number above 0"));
        }
        Ok(Self { space, from, to, kind, weight })
    }
}

impl<'a> UnlinkPayload<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let malformed = |what| PayloadError { operation: "unlink", what };
        let (block, rest) = UnlinkBlock::ref_from_prefix(payload)
            .map_err(|_| malformed("shorter than its fixed part"))?;
        let [from, to, kind] = parts(rest, [block.from_bytes, block.to_bytes, block.kind_bytes])
            .ok_or_else(|| malformed("its parts do not add up to its length"))?;
        Ok(Self { space: SpaceNumber(block.space.get()), from, to, kind })
    }
}

/// Cuts what has exactly these lengths together.
fn parts(rest: &[u8], [from, to, kind]: [U16; 3]) -> Option<[&[u8]; 3]> {
    let (from, rest) = rest.split_at_checked(usize::from(from.get()))?;
    let (to, rest) = rest.split_at_checked(usize::from(to.get()))?;
    (rest.len() == usize::from(kind.get())).then_some([from, to, rest])
}

pub fn link_bytes(request: &LinkRequest) -> usize {
    size_of::<LinkBlock>() + request.from.len() + request.to.len() + request.kind.len()
}

/// Writes a link into a payload of [`link_bytes`] bytes.
pub fn encode_link(request: &LinkRequest, out: &mut [u8]) {
    let LinkRequest { space, from, to, kind, weight, durability, .. } = request;
    let block = LinkBlock {
        space: space.0.into(),
        weight: (*weight).into(),
        from_bytes: narrow::<u16>(from.len()).into(),
        to_bytes: narrow::<u16>(to.len()).into(),
        kind_bytes: narrow::<u16>(kind.len()).into(),
        durability: *durability as u8,
        zero: 0,
    };
    put(out, [block.as_bytes(), from, to, kind]);
}

pub fn unlink_bytes(request: &UnlinkRequest) -> usize {
    size_of::<UnlinkBlock>() + request.from.len() + request.to.len() + request.kind.len()
}

/// Writes an unlink into a payload of [`unlink_bytes`] bytes.
pub fn encode_unlink(request: &UnlinkRequest, out: &mut [u8]) {
    let UnlinkRequest { space, from, to, kind, durability, .. } = request;
    let block = UnlinkBlock {
        space: space.0.into(),
        from_bytes: narrow::<u16>(from.len()).into(),
        to_bytes: narrow::<u16>(to.len()).into(),
        kind_bytes: narrow::<u16>(kind.len()).into(),
        durability: *durability as u8,
        zero: [0; 5],
    };
    put(out, [block.as_bytes(), from, to, kind]);
}

fn put(out: &mut [u8], parts: [&[u8]; 4]) {
    let mut out = Cursor(out);
    parts.iter().for_each(|part| out.put(part));
    out.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::Durability;

    fn link() -> LinkRequest {
        LinkRequest {
            space: SpaceNumber(3),
            from: "tea".into(),
            to: "kettle".into(),
            kind: "needs".into(),
            weight: 0.75,
            durability: Durability::Os,
            writer_uid: 1000,
        }
    }

    fn unlink() -> UnlinkRequest {
        let LinkRequest { space, from, to, kind, durability, writer_uid, .. } = link();
        UnlinkRequest { space, from, to, kind, durability, writer_uid }
    }

    fn encoded_link(request: &LinkRequest) -> Vec<u8> {
        let mut payload = vec![0xff; link_bytes(request)];
        encode_link(request, &mut payload);
        payload
    }

    #[test]
    fn links_and_unlinks_read_back_as_written() {
        let request = link();
        let payload = encoded_link(&request);
        let read = LinkPayload::decode(&payload).unwrap();
        let LinkPayload { space, from, to, kind, weight } = read;
        assert_eq!((space, weight), (SpaceNumber(3), 0.75));
        assert_eq!((from, to, kind), (&b"tea"[..], &b"kettle"[..], &b"needs"[..]));

        let request = unlink();
        let mut payload = vec![0xff; unlink_bytes(&request)];
        encode_unlink(&request, &mut payload);
        let read = UnlinkPayload { space, from, to, kind };
        assert_eq!(UnlinkPayload::decode(&payload), Ok(read));
    }

    #[test]
    fn payloads_of_any_other_length_or_with_no_weight_are_refused() {
        let payload = encoded_link(&link());
        let mut unlinked = vec![0; unlink_bytes(&unlink())];
        encode_unlink(&unlink(), &mut unlinked);
        for cut in 0..payload.len() {
            assert!(LinkPayload::decode(&payload[..cut]).is_err(), "{cut}");
        }
        for cut in 0..unlinked.len() {
            assert!(UnlinkPayload::decode(&unlinked[..cut]).is_err(), "{cut}");
        }
        assert!(LinkPayload::decode(&[&payload[..], &[0]].concat()).is_err());
        assert!(UnlinkPayload::decode(&[&unlinked[..], &[0]].concat()).is_err());
        for weight in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let payload = encoded_link(&LinkRequest { weight, ..link() });
            assert!(LinkPayload::decode(&payload).is_err(), "{weight}");
        }
    }
}
