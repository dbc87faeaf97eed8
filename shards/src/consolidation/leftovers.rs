//! What consolidations and dropped spaces leave behind, given back piece by piece: a gigabyte that
//! goes at once stops the thread for a good part of a second.

use std::sync::Arc;

use crate::arena::{Arena, Mapped};
use crate::index::section::SectionIndexBuilder;
use crate::io::Io;
use crate::space::Retired;

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) retired: Vec<Retired>,
    /// Indexes that were given up half-built.
    pub(super) indexes: Vec<SectionIndexBuilder>,
    /// Files that nobody will ask for anything any more, once who holds them has let go.
    pub(super) files: Vec<Arc<Mapped>>,
}

impl Leftovers {
    /// Gives one piece back; whether there was none.
    pub(super) fn release_some<I: Io>(&mut self, arena: &mut Arena, io: &mut I) -> bool {
        if let Some(retired) = self.retired.last_mut() {
            if retired.release(arena, 1) {
                self.retired.pop();
            }
            return false;
        }
        if let Some(index) = self.indexes.last_mut() {
            if index.release_some() {
                self.indexes.pop();
            }
            return false;
        }
        let mut files = self.files.iter_mut().enumerate();
        let free = files.find_map(|(nth, file)| Some((nth, Arc::get_mut(file)?)));
        let Some((nth, file)) = free else { return true };
        if file.release_some() {
            let file = Arc::into_inner(self.files.swap_remove(nth));
            file.into_iter().for_each(|file| io.let_go(file));
        }
        false
    }
}
