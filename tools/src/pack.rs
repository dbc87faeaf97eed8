//! Commands as the bytes of the wire: a RESP array of bulk strings.
//!
//! The store commands are packed here once and used by `store`, `import` and `load`; everything
//! that is sent one at a time is packed by the client library.

use std::io::Write as _;

use crate::document::Episode;

/// Arguments of a command, in order, already framed as bulk strings.
#[derive(Debug, Default, Clone)]
pub(crate) struct Arguments {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: usize,
}

impl Arguments {
    pub(crate) fn push(&mut self, argument: &[u8]) -> &mut Self {
        push_header(&mut self.bytes, b'$', argument.len());
        self.bytes.extend_from_slice(argument);
        self.bytes.extend_from_slice(b"\r\n");
        self.count += 1;
        self
    }

    pub(crate) fn push_display(&mut self, argument: impl std::fmt::Display) -> &mut Self {
        self.push(argument.to_string().as_bytes())
    }

    /// A vector as the little-endian f32 blob of the wire.
    pub(crate) fn push_vector(&mut self, vector: &[f32]) -> &mut Self {
        push_header(&mut self.bytes, b'$', vector.len() * 4);
        for component in vector {
            self.bytes.extend_from_slice(&component.to_le_bytes());
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.count += 1;
        self
    }

    /// An episode's id and fields, as they stand in `EG.STORE` and behind `ITEM` in `EG.MSTORE`.
    pub(crate) fn push_episode(&mut self, episode: &Episode) -> &mut Self {
        self.push(episode.id.as_deref().unwrap_or("*").as_bytes());
        self.push(b"VEC").push_vector(&episode.vector);
        if !episode.text.is_empty() {
            self.push(b"TEXT").push(episode.text.as_bytes());
        }
        if let Some(at_us) = episode.at_us {
            self.push(b"AT").push_display(at_us);
        }
        if let Some(confidence) = episode.confidence {
            self.push(b"CONF").push_display(confidence.point);
            if let Some((low, high)) = confidence.interval {
                self.push_display(low).push_display(high);
            }
        }
        if let Some(meta) = &episode.meta {
            self.push(b"META").push(meta.get().as_bytes());
        }
        if !episode.thread.is_empty() {
            self.push(b"THREAD").push(episode.thread.as_bytes());
        }
        for link in &episode.links {
            self.push(b"LINK").push(link.id.as_bytes()).push_display(link.weight);
            if !link.kind.is_empty() {
                self.push(b"KIND").push(link.kind.as_bytes());
            }
        }
        for id in &episode.supersedes {
            self.push(b"SUPERSEDES").push(id.as_bytes());
        }
        self
    }

    /// The whole command.
    pub(crate) fn into_command(self) -> Vec<u8> {
        let mut command = Vec::with_capacity(self.bytes.len() + 16);
        push_header(&mut command, b'*', self.count);
        command.extend_from_slice(&self.bytes);
        command
    }
}

fn push_header(bytes: &mut Vec<u8>, kind: u8, number: usize) {
    bytes.push(kind);
    write!(bytes, "{number}\r\n").expect("writing to a Vec cannot fail");
}

/// `EG.STORE space episode…`, packed, with these words behind it.
pub(crate) fn store_command(
    space: &str,
    episode: &Episode,
    key: Option<&str>,
    more: &[&str],
) -> Vec<u8> {
    let mut arguments = Arguments::default();
    arguments.push(b"EG.STORE").push(space.as_bytes()).push_episode(episode);
    if let Some(key) = key {
        arguments.push(b"KEY").push(key.as_bytes());
    }
    for word in more {
        arguments.push(word.as_bytes());
    }
    arguments.into_command()
}

/// The head of `EG.MSTORE space items`, for items that have `item_arguments` arguments in all.
pub(crate) fn push_mstore_head(
    bytes: &mut Vec<u8>,
    space: &str,
    items: usize,
    item_arguments: usize,
) {
    let mut head = Arguments::default();
    head.push(b"EG.MSTORE").push(space.as_bytes()).push_display(items);
    push_header(bytes, b'*', head.count + item_arguments);
    bytes.extend_from_slice(&head.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Confidence, Link};

    #[test]
    fn an_episode_is_packed_field_by_field() {
        let episode = Episode {
            id: Some("a".into()),
            text: "hi".into(),
            at_us: Some(-5),
            confidence: Some(Confidence { point: 0.5, interval: Some((0.25, 0.75)) }),
            meta: None,
            thread: "t".into(),
            links: vec![Link { id: "b".into(), weight: 2.0, kind: "next".into() }],
            supersedes: vec!["o".into()],
            expires_at_us: None,
            vector: vec![1.0],
        };
        let packed = store_command("s", &episode, Some("k"), &[]);
        let expected = "*24\r\n$8\r\nEG.STORE\r\n$1\r\ns\r\n$1\r\na\r\n$3\r\nVEC\r\n$4\r\n\0\0\
            \u{80}?\r\n$4\r\nTEXT\r\n$2\r\nhi\r\n$2\r\nAT\r\n$2\r\n-5\r\n$4\r\nCONF\r\n$3\r\n\
            0.5\r\n$4\r\n0.25\r\n$4\r\n0.75\r\n$6\r\nTHREAD\r\n$1\r\nt\r\n$4\r\nLINK\r\n$1\r\nb\r\n\
            $1\r\n2\r\n$4\r\nKIND\r\n$4\r\nnext\r\n$10\r\nSUPERSEDES\r\n$1\r\no\r\n\
            $3\r\nKEY\r\n$1\r\nk\r\n";
        let expected: Vec<u8> = expected.chars().map(|c| c as u8).collect();
        assert_eq!(packed, expected);
    }
}
