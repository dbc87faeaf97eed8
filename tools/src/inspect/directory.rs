//! The data directory as a whole.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use engram_shards::format::{
    FORMAT_VERSION, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, StoreHeader, StoreId,
    segment_file_name, shard_folder_name,
};
use engram_shards::io::LogFolder;
use engram_shards::limits::SHARDS_MAX;
use engram_shards::log::LogIdentity;
use engram_shards::store::{Store, StoreError};
use engramd::config::ByteCount;
use serde_json::{Value, json};

use super::read_only::ReadOnlyIo;
use crate::error::ToolError;
use crate::time::format_us;

/// A data directory that is a store.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    header: StoreHeader,
    /// The process that uses it, if one does.
    holder: Option<String>,
}

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Self, ToolError> {
        let fault = |error: StoreError| ToolError::usage(error.to_string());
        let header = Store::inspect(path).map_err(fault)?;
        let holder = Store::holder(path).map_err(fault)?;
        Ok(Self { path: path.to_owned(), header, holder })
    }

    /// Opens a directory whose `engram.store` may be gone or damaged: what it said is also in the
    /// header of every segment. Returns what was wrong with it.
    pub(crate) fn open_damaged(path: &Path) -> Result<(Self, Option<String>), ToolError> {
        let fault = |error: StoreError| ToolError::usage(error.to_string());
        let error = match Store::inspect(path) {
            Ok(_) => return Self::open(path).map(|directory| (directory, None)),
            Err(error @ StoreError::Header { error: HeaderError::Version { .. }, .. }) => {
                return Err(fault(error));
            }
            Err(error) => error,
        };
        let Some(header) = header_from_segments(path) else { return Err(fault(error)) };
        let holder = Store::holder(path).map_err(fault)?;
        Ok((Self { path: path.to_owned(), header, holder }, Some(error.to_string())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn shards(&self) -> u32 {
        self.header.shards
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.holder.is_some()
    }

    pub(crate) fn identity(&self, shard: u32) -> LogIdentity {
        let StoreHeader { store_id, segment_bytes, .. } = self.header;
        LogIdentity { store_id, shard, segment_bytes, may_be_empty: true }
    }

    pub(crate) fn io(&self, shard: u32) -> ReadOnlyIo {
        ReadOnlyIo::new(self.path.join(shard_folder_name(shard)))
    }

    /// What the store was made with, and who uses it.
    pub(crate) fn text(&self) -> String {
        let StoreHeader { store_id, shards, created_at_us, segment_bytes, has_logs } = self.header;
        let mut text = format!(
            "store {}, made {} UTC: format version {FORMAT_VERSION}, {shards} shards, log segments \
             of {}",
            hex(&store_id),
            format_us(created_at_us),
            ByteCount(segment_bytes).rounded(),
        );
        if !has_logs {
            text.push_str("\nnot every shard has begun its log yet");
        }
        if let Some(holder) = &self.holder {
            let _ = write!(
                text,
                "\nin use by process {holder}: this is the state at some moment while reading"
            );
        }
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        let StoreHeader { store_id, shards, created_at_us, segment_bytes, has_logs } = self.header;
        json!({
            "path": self.path,
            "store_id": hex(&store_id),
            "format_version": FORMAT_VERSION,
            "shards": shards,
            "created_at_us": created_at_us,
            "segment_bytes": segment_bytes,
            "has_logs": has_logs,
            "in_use_by": self.holder,
        })
    }
}

/// What a store was made with, as the first segment that can be read says.
fn header_from_segments(path: &Path) -> Option<StoreHeader> {
    let folders = (0..SHARDS_MAX as u32).map(|shard| path.join(shard_folder_name(shard)));
    let folders: Vec<PathBuf> = folders.collect();
    // Folders are numbered without gaps; one that was lost still counts.
    let shards = 1 + folders.iter().rposition(|folder| folder.is_dir())?;
    let header = folders[..shards].iter().find_map(|folder| {
        let segments = LogFolder::open(folder).ok()?.segments().ok()?;
        segments
            .iter()
            .find_map(|(segment, _)| read_header(&folder.join(segment_file_name(*segment))))
    })?;
    Some(StoreHeader {
        store_id: header.store_id,
        shards: u32::try_from(shards).expect("at most SHARDS_MAX"),
        created_at_us: header.activated_at_us,
        segment_bytes: header.segment_bytes,
        has_logs: true,
    })
}

fn read_header(path: &Path) -> Option<SegmentHeader> {
    let mut block = [0; SEGMENT_HEADER_BYTES];
    File::open(path).and_then(|mut file| file.read_exact(&mut block)).ok()?;
    SegmentHeader::decode(&block).ok()
}

fn hex(id: &StoreId) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
