//! Links that hold a kept gist together.
//!
//! A gist that is kept is membership and nothing else. One of its episodes is its *head*: it has a
//! link to every other member, and every member has one back to it. An episode belongs to a gist as
//! long as both are there.
//!
//! What such a link leads to is no id but a place: the shard and the sequence that an episode was
//! stored with. So the links of one episode have nothing of another, not even its name; an id that
//! is stored again is somebody else; and with an episode go its own links, as all its links do. A
//! target of 12 bytes:
//!
//! | Offset | Bytes | |
//! |---|---|---|
//! | 0 | 1 | 255, which begins no UTF-8, hence no id |
//! | 1 | 1 | `m` from a head to a member, `h` from a member to its head |
//! | 2 | 2 | shard |
//! | 4 | 8 | sequence |
//!
//! They say what belongs together and associate nothing: spreading does not go along them, no fan
//! counts them, and clients neither see nor make them.

/// The kind of these links.
pub const GIST_KIND: &[u8] = b"gist";
/// Bytes of a target.
const TARGET_BYTES: usize = 12;
/// What a target begins with.
const MARK: u8 = 0xff;

/// Where an episode was stored: a version of it, and never another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredAt {
    pub shard: u16,
    /// Of its store, on that shard.
    pub sequence: u64,
}

/// A link that belongs to a kept gist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GistLink {
    /// From a head.
    ToMember(StoredAt),
    /// From a member.
    ToHead(StoredAt),
}

impl GistLink {
    /// What it leads to, as the target of a link.
    pub fn target(self) -> [u8; TARGET_BYTES] {
        let (role, StoredAt { shard, sequence }) = match self {
            Self::ToMember(member) => (b'm', member),
            Self::ToHead(head) => (b'h', head),
        };
        let mut target = [0; TARGET_BYTES];
        (target[0], target[1]) = (MARK, role);
        target[2..4].copy_from_slice(&shard.to_le_bytes());
        target[4..].copy_from_slice(&sequence.to_le_bytes());
        target
    }

    /// What a target says; `None` if it is none of a gist.
    pub fn of(target: &[u8]) -> Option<Self> {
        let target: &[u8; TARGET_BYTES] = target.try_into().ok()?;
        let [MARK, role, low, high, sequence @ ..] = *target else { return None };
        let shard = u16::from_le_bytes([low, high]);
        let at = StoredAt { shard, sequence: u64::from_le_bytes(sequence) };
        match role {
            b'm' => Some(Self::ToMember(at)),
            b'h' => Some(Self::ToHead(at)),
            _ => None,
        }
    }
}

/// Whether what a link leads to is an id.
pub fn is_association(target: &[u8]) -> bool {
    target.first() != Some(&MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back_as_written_and_are_no_ids() {
        let at = StoredAt { shard: 0x0201, sequence: 0x0a09_0807_0605_0403 };
        let member = GistLink::ToMember(at).target();
        assert_eq!(member, [255, b'm', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        for link in [GistLink::ToMember(at), GistLink::ToHead(at)] {
            assert_eq!(GistLink::of(&link.target()), Some(link));
            assert!(!is_association(&link.target()));
            assert!(std::str::from_utf8(&link.target()).is_err());
        }
        for id in [&b"tea"[..], b"", "ÿm0123456789".as_bytes()] {
            assert!(is_association(id) && GistLink::of(id).is_none());
        }
        let mut other = member;
        other[1] = b'x';
        assert_eq!((GistLink::of(&other), GistLink::of(&member[..11])), (None, None));
        assert!(!is_association(&other), "what a later build means by it is no id either");
    }
}
