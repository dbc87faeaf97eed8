//! Requests encoded before the run, in one block of memory.
//!
//! Sending a request costs a patch of its ids and nothing else: the vectors stand in place,
//! requests that follow each other are contiguous, so that many go out with one `write`. When the
//! last was sent the first is used again. A request's bytes must not be patched before they are
//! written: [`Ring::has_room`] says whether the next one is free.

use std::ops::Range;

use super::payload::{self, ID_BYTES, SIGNATURE_BYTES};
use super::pool::Pool;
use super::workload::{Operation, Workload};
use crate::pack::{Arguments, push_mstore_head};

/// An id stands at this offset, and the text's signature, if there is a text, at the other.
#[derive(Debug)]
struct Patch {
    id_at: usize,
    signature_at: Option<usize>,
}

#[derive(Debug)]
struct Request {
    bytes: Range<usize>,
    operation: Operation,
    patches: Vec<Patch>,
}

#[derive(Debug)]
pub(super) struct Ring {
    bytes: Vec<u8>,
    requests: Vec<Request>,
    /// Requests prepared since the start.
    prepared: u64,
    /// Requests written in full since the start.
    written: u64,
    /// Bytes written of the request after those.
    written_bytes: usize,
}

impl Ring {
    /// The requests of connection `index`: a seeded mix of the workload's operations.
    pub(super) fn new(workload: &Workload, pool: &Pool, index: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(workload.seed ^ (index as u64 + 1) << 32);
        let count = workload.ring_requests(pool.vectors.len());
        let mut operations = workload.operations(count);
        rng.shuffle(&mut operations);
        let mut ring =
            Self { bytes: Vec::new(), requests: vec![], prepared: 0, written: 0, written_bytes: 0 };
        let mut next = index;
        let mut next_vector = || {
            next += workload.connections;
            pool.vectors[(next - workload.connections) % pool.vectors.len()].as_slice()
        };
        for operation in operations {
            match operation {
                Operation::Store => ring.push_store(workload, &mut next_vector, &mut rng),
                Operation::Recall => ring.push_recall(workload, next_vector()),
            }
        }
        ring
    }

    fn push_store<'a>(
        &mut self,
        workload: &Workload,
        next_vector: &mut impl FnMut() -> &'a [f32],
        rng: &mut fastrand::Rng,
    ) {
        let mut items = Arguments::default();
        let mut patches = Vec::with_capacity(workload.batch);
        for _ in 0..workload.batch {
            if workload.batch > 1 {
                items.push(b"ITEM");
            }
            items.push(&[b'-'; ID_BYTES]);
            let id_at = items.bytes.len() - ID_BYTES - 2;
            items.push(b"VEC").push_vector(next_vector());
            let mut signature_at = None;
            if workload.text_bytes > 0 {
                items.push(b"TEXT").push(&payload::text(workload.text_bytes, rng));
                signature_at = Some(items.bytes.len() - workload.text_bytes - 2);
            }
            if let Some(durability) = &workload.durability {
                items.push(b"DUR").push(durability.as_bytes());
            }
            patches.push(Patch { id_at, signature_at });
        }
        let start = self.bytes.len();
        if workload.batch > 1 {
            push_mstore_head(&mut self.bytes, &workload.space, workload.batch, items.count);
        } else {
            let mut head = Arguments::default();
            head.push(b"EG.STORE").push(workload.space.as_bytes());
            head.count += items.count;
            self.bytes.extend_from_slice(&head.into_command());
        }
        let shift = self.bytes.len();
        for patch in &mut patches {
            patch.id_at += shift;
            patch.signature_at = patch.signature_at.map(|at| at + shift);
        }
        self.bytes.extend_from_slice(&items.bytes);
        let bytes = start..self.bytes.len();
        self.requests.push(Request { bytes, operation: Operation::Store, patches });
    }

    fn push_recall(&mut self, workload: &Workload, cue: &[f32]) {
        let mut arguments = Arguments::default();
        arguments.push(b"EG.RECALL").push(workload.space.as_bytes());
        arguments.push(b"K").push_display(workload.k).push(b"VEC").push_vector(cue);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&arguments.into_command());
        let bytes = start..self.bytes.len();
        self.requests.push(Request { bytes, operation: Operation::Recall, patches: vec![] });
    }

    /// Whether a request can be prepared: not every one waits to be written.
    pub(super) fn has_room(&self) -> bool {
        self.prepared - self.written < self.requests.len() as u64
    }

    /// Prepares the next request. A store's episodes take their ids from `next_id`, in order.
    pub(super) fn prepare(&mut self, mut next_id: impl FnMut() -> u64) -> Operation {
        debug_assert!(self.has_room());
        let request = &self.requests[(self.prepared % self.requests.len() as u64) as usize];
        for patch in &request.patches {
            let mut id = [0; ID_BYTES];
            payload::write_id(&mut id, next_id());
            self.bytes[patch.id_at..patch.id_at + ID_BYTES].copy_from_slice(&id);
            if let Some(at) = patch.signature_at {
                payload::write_signature(&mut self.bytes[at..at + SIGNATURE_BYTES], &id);
            }
        }
        self.prepared += 1;
        request.operation
    }

    /// The prepared bytes that are not written yet, up to the end of the block.
    pub(super) fn unwritten(&self) -> &[u8] {
        if self.written == self.prepared {
            return &[];
        }
        let count = self.requests.len() as u64;
        let first = (self.written % count) as usize;
        let waiting = (self.prepared - self.written) as usize;
        let last = (first + waiting - 1).min(self.requests.len() - 1);
        &self.bytes
            [self.requests[first].bytes.start + self.written_bytes..self.requests[last].bytes.end]
    }

    /// `bytes` of what [`unwritten`](Self::unwritten) gave are written.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written_bytes += bytes;
        loop {
            let at = (self.written % self.requests.len() as u64) as usize;
            let length = self.requests[at].bytes.len();
            if self.written == self.prepared || self.written_bytes < length {
                return;
            }
            self.written_bytes -= length;
            self.written += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scan::{Event, Scanner};
    use super::*;

    fn workload(batch: usize, recall_share: f64, text_bytes: usize) -> Workload {
        Workload {
            space: "s".into(),
            seed: 1,
            connections: 1024,
            batch,
            recall_share,
            text_bytes,
            durability: None,
            k: 3,
        }
    }

    /// Ids in the order in which they stand in a stream of requests.
    fn ids(stream: &[u8]) -> Vec<u64> {
        let head: &[u8] = b"\r\n$17\r\nload-";
        let starts = stream.windows(head.len()).enumerate().filter(|(_, bytes)| *bytes == head);
        let digits = starts.map(|(at, _)| &stream[at + head.len()..at + head.len() + 12]);
        digits.map(|d| std::str::from_utf8(d).unwrap().parse().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn whatever_is_written_at_once_the_stream_is_complete(
            batch in 1..4_usize,
            recall_share in prop_oneof![Just(0.0), Just(0.5)],
            writes in prop::collection::vec(1..3000_usize, 50..100),
        ) {
            let pool = Pool { vectors: vec![vec![0.5; 8]; 8] };
            let workload = workload(batch, recall_share, 60);
            let mut ring = Ring::new(&workload, &pool, 0);
            let (mut sent, mut requests, mut stores, mut next_id) = (vec![], 0, 0, 0);
            for size in writes {
                while ring.has_room() && requests < 400 {
                    let operation = ring.prepare(|| {
                        next_id += 1;
                        next_id - 1
                    });
                    requests += 1;
                    stores += u64::from(operation == Operation::Store);
                }
                let unwritten = ring.unwritten();
                let written = size.min(unwritten.len());
                sent.extend_from_slice(&unwritten[..written]);
                ring.advance(written);
            }
            while !ring.unwritten().is_empty() {
                sent.extend_from_slice(ring.unwritten());
                let written = ring.unwritten().len();
                ring.advance(written);
            }
            // Requests are arrays of bulk strings, so the reply scanner counts them too.
            let mut scanner = Scanner::default();
            let (mut at, mut seen) = (0, 0);
            while let (consumed, Some(event)) = scanner.next(&sent[at..]).unwrap() {
                at += consumed;
                seen += u64::from(matches!(event, Event::Reply { .. }));
            }
            prop_assert_eq!(at, sent.len());
            prop_assert_eq!(seen, requests);
            prop_assert_eq!(ids(&sent), (0..stores * batch as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn texts_are_signed_where_they_stand() {
        let pool = Pool { vectors: vec![vec![0.5; 2]; 4] };
        let mut ring = Ring::new(&workload(1, 0.0, 40), &pool, 0);
        ring.prepare(|| 7);
        let request = String::from_utf8_lossy(ring.unwritten()).into_owned();
        assert!(
            request.starts_with("*7\r\n$8\r\nEG.STORE\r\n$1\r\ns\r\n$17\r\nload-000000000007\r\n")
        );
        let text = request.split("TEXT\r\n$40\r\n").nth(1).unwrap();
        assert!(payload::is_signed(text, "load-000000000007"), "{text}");
    }
}
