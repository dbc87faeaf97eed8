//! What a durable manifest brings: sections in the place of their sources, and no older files.

use std::io;
use std::sync::Arc;

use super::attempt::Stage;
use super::{Consolidator, Ground, LiveFile};
use crate::format::FileId;
use crate::io::Io;

impl Consolidator {
    /// The manifest is what the next start will find: publishes.
    pub(crate) fn take_manifest<I: Io>(&mut self, ground: &mut Ground<'_, I>) {
        let attempt = self.attempt.take().expect("a manifest belongs to an attempt");
        let frozen = self.frozen.take().expect("what is published was frozen");
        let Stage::Manifest { manifest, .. } = attempt.stage else {
            unreachable!("a manifest was written in its stage")
        };
        let (file, sections) = attempt
            .new
            .map_or((None, Vec::new()), |new| (Some((new.named, new.mapped)), new.sections));
        let mut sections: std::collections::HashMap<_, _> =
            sections.into_iter().map(|section| (section.space(), section)).collect();
        let mut parts = Vec::new();
        for (number, moved) in attempt.moved {
            let section = sections.remove(&number);
            let published = ground
                .memory
                .with_account(number, |space, arena| space.publish(arena, section, moved));
            if let Some((part, retired)) = published {
                ground.memory.rows -= retired.rows();
                self.leftovers.retired.push(retired);
                parts.extend(part.map(|part| (number, part)));
            }
        }
        let (merged, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.files)
            .into_iter()
            .partition(|live| attempt.merged.contains(&live.named.number));
        self.files = kept;
        self.stats.bytes_written += file.as_ref().map_or(0, |(named, _)| named.bytes);
        let rows = attempt.rows;
        self.pace.end(attempt.progress, rows, ground.log.io().monotonic_ns());
        ground.memory.tails_bytes_max = None;
        self.files.extend(file.map(|(named, mapped)| LiveFile { named, mapped, rows, parts }));
        self.describe_damage();
        let old_state = self.state.replace(manifest.state);
        self.manifest_number = manifest.number;
        let columns = merged.iter().map(|live| FileId::columns(live.named.number));
        self.leftovers.files.extend(merged.iter().map(|live| Arc::clone(&live.mapped)));
        for file in columns.chain(old_state.map(|state| FileId::state(state.number))) {
            self.remove(file, ground);
        }
        ground.log.release(&frozen.place);
        ground.memory.keys.release_repeats(frozen.place.through_sequence);
        self.done = self.taken;
        self.stats.published += 1;
        self.stats.rows_written += attempt.rows;
        self.stats.rows_under_way = 0;
        self.stats.through_sequence = frozen.place.through_sequence;
        self.failure = None;
    }

    pub(super) fn remove<I: Io>(&mut self, file: FileId, ground: &mut Ground<'_, I>) {
        ground.log.io_mut().remove_file(file);
        self.leaving.push(file);
    }

    /// A file that could not be removed is tried again, and removed by the next start at the
    /// latest. Who waits for it is told.
    pub(super) fn take_removed<I: Io>(
        &mut self,
        file: FileId,
        result: io::Result<()>,
        ground: &mut Ground<'_, I>,
    ) {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.staying.push(file);
                self.note_failure(&error.into(), ground);
            }
            _ => self.leaving.retain(|leaving| *leaving != file),
        }
    }

    pub(super) fn remove_staying<I: Io>(&mut self, ground: &mut Ground<'_, I>) {
        if !self.staying.is_empty() && self.may_retry(ground) {
            let staying = std::mem::take(&mut self.staying).into_iter();
            staying.for_each(|file| ground.log.io_mut().remove_file(file));
        }
    }
}
