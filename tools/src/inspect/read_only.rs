//! A shard's folder that is read and never written.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use engram_shards::arena::{Mapped, Stretch};
use engram_shards::format::{FileId, segment_file_name};
use engram_shards::io::{
    BatchWrite, Buffer, Completion, FolderCopy, Io, IoFacts, LogFolder, Piece, Purpose, SlotFile,
    Transfer,
};
use engram_shards::limits::SECTOR_BYTES;

/// The engine's [`Io`] without its writing half. What the engine asks to be prepared, erased or
/// removed when it opens a log stays as it is; it is told otherwise and never looks again.
///
/// Reads bypass the page cache where the file system can, as the daemon's writes do.
#[derive(Debug)]
pub(crate) struct ReadOnlyIo {
    folder: PathBuf,
    /// The segment read last.
    open: Option<(u64, File)>,
    /// Behind this segment and offset there is nothing.
    end: Option<(u64, u64)>,
    /// Sectors that the disk does not give read as zeros.
    is_tolerant: bool,
    unreadable_sectors: u64,
    done: VecDeque<Completion>,
}

impl ReadOnlyIo {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: None,
            end: None,
            is_tolerant: false,
            unreadable_sectors: 0,
            done: VecDeque::new(),
        }
    }

    /// The same folder on a disk that does not give every sector: those read as zeros.
    pub(crate) fn tolerant(self) -> Self {
        Self { is_tolerant: true, ..self }
    }

    /// How many times a sector was not given.
    pub(crate) fn unreadable_sectors(&self) -> u64 {
        self.unreadable_sectors
    }

    /// The same folder as if nothing had been written behind a place, though a daemon goes on.
    pub(crate) fn ending_at(self, segment: u64, offset: u64) -> Self {
        Self { end: Some((segment, offset)), ..self }
    }

    fn file(&mut self, segment: u64) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(number, _)| *number != segment) {
            let path = self.folder.join(segment_file_name(segment));
            let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
            let file = match OpenOptions::new().read(true).custom_flags(direct).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => File::open(&path)?,
                other => other?,
            };
            self.open = Some((segment, file));
        }
        Ok(&self.open.as_ref().expect("just opened").1)
    }
}

impl ReadOnlyIo {
    fn fill(&mut self, transfer: &mut Transfer) -> io::Result<()> {
        let Transfer { segment, offset, from, bytes, ref mut region, .. } = *transfer;
        let target = &mut region[from..from + bytes];
        match self.file(segment)?.read_exact_at(target, offset) {
            Err(_) if self.is_tolerant => self.fill_by_sector(segment, offset, target)?,
            other => other?,
        }
        if let Some((_, end)) = self.end.filter(|(last, _)| *last == segment) {
            let kept = usize::try_from(end.saturating_sub(offset)).unwrap_or(bytes).min(bytes);
            target[kept..].fill(0);
        }
        Ok(())
    }

    fn fill_by_sector(&mut self, segment: u64, offset: u64, target: &mut [u8]) -> io::Result<()> {
        for (nth, sector) in target.chunks_mut(SECTOR_BYTES).enumerate() {
            let at = offset + (nth * SECTOR_BYTES) as u64;
            if self.file(segment)?.read_exact_at(sector, at).is_err() {
                sector.fill(0);
                self.unreadable_sectors += 1;
            }
        }
        Ok(())
    }
}

impl Io for ReadOnlyIo {
    fn facts(&self) -> IoFacts {
        IoFacts::default()
    }

    /// Nothing that is read asks for the time.
    fn wall_us(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn register(&mut self, _buffers: &[Buffer]) {}

    fn prepare(&mut self, segment: u64, _bytes: u64) {
        self.done.push_back(Completion::Prepared { segment, result: Ok(()) });
    }

    fn write(&mut self, write: BatchWrite) {
        unreachable!("nobody stores anything in what is inspected: {write:?}")
    }

    fn complete(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = LogFolder::open(&self.folder)?.segments()?;
        segments.retain(|(segment, _)| self.end.is_none_or(|(last, _)| *segment <= last));
        Ok(segments)
    }

    fn read(&mut self, mut transfer: Transfer) {
        let result = self.fill(&mut transfer);
        self.done.push_back(Completion::Read { transfer, result });
    }

    fn overwrite(&mut self, transfer: Transfer) {
        unreachable!("nobody erases anything from what is inspected: {transfer:?}")
    }

    fn slots(&mut self, file: SlotFile) -> io::Result<Option<Vec<u8>>> {
        match (file, self.end) {
            // The anchor of a running daemon may be ahead of the place that is looked at.
            (SlotFile::Anchors, Some(_)) => Ok(None),
            _ => LogFolder::open(&self.folder)?.slots(file),
        }
    }

    fn make_slots(&mut self, _file: SlotFile) -> io::Result<()> {
        Ok(())
    }

    fn write_slot(&mut self, file: SlotFile, _slot: usize, _block: &[u8; SECTOR_BYTES]) {
        self.done.push_back(Completion::SlotWritten { file, result: Ok(()) });
    }

    fn files(&mut self) -> io::Result<Vec<(FileId, u64)>> {
        LogFolder::open(&self.folder)?.files()
    }

    fn create_file(&mut self, file: FileId) {
        unreachable!("nobody makes {file} in what is inspected")
    }

    fn write_file(&mut self, piece: Piece) {
        unreachable!("nobody writes to what is inspected: {piece:?}")
    }

    fn seal_file(&mut self, file: FileId) {
        unreachable!("nobody makes {file} in what is inspected")
    }

    fn remove_file(&mut self, file: FileId) {
        unreachable!("nobody takes {file} from what is inspected")
    }

    fn copy_folder(&mut self, copy: FolderCopy) {
        unreachable!("nobody takes a snapshot of what is inspected: {copy:?}")
    }

    fn bring_in(&mut self, purpose: Purpose, stretch: Stretch) {
        let result = stretch.bring_in();
        self.done.push_back(Completion::BroughtIn { purpose, result });
    }

    fn let_go(&mut self, mapped: Mapped) {
        drop(mapped);
    }

    fn map_file(&mut self, file: FileId) -> io::Result<Mapped> {
        LogFolder::open(&self.folder)?.map(file)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn flush(&mut self, _segment: u64) -> io::Result<()> {
        Ok(())
    }

    fn erase_from(&mut self, _segment: u64, _offset: u64) -> io::Result<()> {
        Ok(())
    }

    fn replace(&mut self, _segment: u64, _bytes: &[u8]) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn remove(&mut self, _file: FileId) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engram_shards::arena::Region;

    use super::*;

    /// Reads past the end of the file, which a disk answers as it answers a bad sector.
    fn read(io: &mut ReadOnlyIo, bytes: usize) -> (Transfer, io::Result<()>) {
        let region = Region::new(bytes).unwrap();
        io.read(Transfer { ticket: 0, segment: 1, offset: 0, region, from: 0, bytes });
        match io.complete() {
            Some(Completion::Read { transfer, result }) => (transfer, result),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_disk_does_not_give_is_an_error_or_zeros_that_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(segment_file_name(1));
        std::fs::write(file, [7; 2 * SECTOR_BYTES]).unwrap();
        let io = || ReadOnlyIo::new(folder.path().to_owned());
        assert!(read(&mut io(), 4 * SECTOR_BYTES).1.is_err());
        let mut tolerant = io().tolerant();
        let (transfer, result) = read(&mut tolerant, 4 * SECTOR_BYTES);
        result.unwrap();
        let (given, missing) = transfer.region[..4 * SECTOR_BYTES].split_at(2 * SECTOR_BYTES);
        assert!(given.iter().all(|byte| *byte == 7) && missing.iter().all(|byte| *byte == 0));
        assert_eq!(tolerant.unreadable_sectors(), 2);
    }
}
