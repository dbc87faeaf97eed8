//! The variable parts of episodes, one behind the other in chunks of the arena.

use crate::arena::{Arena, CHUNK_BYTES, Chunk};
use crate::limits::FRAME_BYTES_MAX;

// A body is part of a frame, so it always fits into one chunk.
const _: () = assert!(FRAME_BYTES_MAX <= CHUNK_BYTES);

/// Where a body begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct BodyAt {
    chunk: u32,
    offset: u32,
}

#[derive(Debug, Default)]
pub struct Bodies {
    chunks: Vec<Chunk>,
    /// Bytes used of the last chunk.
    used: usize,
}

impl Bodies {
    /// Copies a body behind the others.
    pub fn push(&mut self, arena: &mut Arena, body: &[u8]) -> BodyAt {
        if self.chunks.is_empty() || self.used + body.len() > CHUNK_BYTES {
            self.chunks.push(arena.allocate_reserved());
            self.used = 0;
        }
        let chunk = self.chunks.last().expect("just made sure");
        arena.bytes_mut(chunk)[self.used..self.used + body.len()].copy_from_slice(body);
        let narrow = |value: usize| u32::try_from(value).expect("chunks and offsets are small");
        let at = BodyAt { chunk: narrow(self.chunks.len() - 1), offset: narrow(self.used) };
        self.used += body.len();
        at
    }

    pub fn get<'a>(&self, arena: &'a Arena, at: BodyAt, bytes: usize) -> &'a [u8] {
        &arena.bytes(&self.chunks[at.chunk as usize])[at.offset as usize..][..bytes]
    }

    /// Gives up to `chunks` back to the arena; how many those were.
    pub fn release_some(&mut self, arena: &mut Arena, chunks: usize) -> usize {
        let from = self.chunks.len().saturating_sub(chunks);
        self.chunks.drain(from..).map(|chunk| arena.release(chunk)).count()
    }
}
