//! `EG.SNAPSHOT`: a copy of the store, made while it is written to.
//!
//! 1. The folder is made, by a thread of its own: nobody knows how long a file system takes.
//! 2. Every shard notes where its part ends, shard 0 last. Memory spaces are created and dropped on
//!    shard 0 first, so whatever another shard's cut knows of them, that of shard 0 knows too, and
//!    a start from the snapshot brings the others in line with it.
//! 3. All shards copy, each beside its own work.
//! 4. `engram.store` makes a store of it.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engram_shards::episode::Refusal;
use engram_shards::format::StoreHeader;
use engram_shards::io::Copied;
use engram_shards::shard::Reply;
use engram_shards::store::{CopyError, StoreCopy};

use super::commands::Encoded;
use super::core::Core;
use super::outgoing::EncodedReply;
use super::request::{Answer, Request};
use super::spaces::insist;
use crate::protocol::reply;
use crate::runtime;

/// The hint that goes with a refusal while another snapshot is taken.
const RETRY_MS: u32 = 1_000;

/// What the shards of a daemon know of the store as a whole, and whether a snapshot is under way.
#[derive(Debug)]
pub struct Snapshots {
    data: PathBuf,
    header: StoreHeader,
    is_under_way: AtomicBool,
}

impl Snapshots {
    /// Of the store in a directory, every shard of which has begun its log.
    pub fn new(data: PathBuf, header: StoreHeader) -> Self {
        let header = StoreHeader { has_logs: true, ..header };
        Self { data, header, is_under_way: AtomicBool::new(false) }
    }

    fn begin(self: &Arc<Self>) -> Result<UnderWay, Refusal> {
        if self.is_under_way.swap(true, Ordering::Relaxed) {
            return Err(Refusal::Busy {
                what: "the place for a snapshot",
                retry_after_ms: RETRY_MS,
            });
        }
        Ok(UnderWay(Arc::clone(self)))
    }
}

/// Only one at a time.
struct UnderWay(Arc<Snapshots>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.is_under_way.store(false, Ordering::Relaxed);
    }
}

pub(super) async fn take(core: Rc<Core>, uid: u32, path: PathBuf) -> Encoded {
    check_user(uid, rustix::process::geteuid().as_raw())?;
    let began_ns = core.now_ns();
    let under_way = core.snapshots().begin()?;
    let Snapshots { data, header, .. } = &*under_way.0;
    let (data, header) = (data.clone(), *header);
    let copy = runtime::blocking(move || StoreCopy::begin(&path, &data)).await;
    let copy = copy.map_err(|error| refusal(&error))?;
    let path = copy.path().to_owned();
    let taken = fill(&core, &copy).await;
    if taken.is_err() {
        on_all(&core, |_| Request::DropSnapshot).await;
    }
    let (through_sequences, copied) = taken?;
    runtime::blocking(move || copy.finish(&header)).await.map_err(|error| refusal(&error))?;
    let elapsed_ms = (core.now_ns() - began_ns) / 1_000_000;
    tracing::info!(path = %path.display(), elapsed_ms, ?copied, "took a snapshot");
    let taken = reply::Snapshot { path, through_sequences, copied, elapsed_ms };
    Ok(EncodedReply::new(move |encoder| reply::snapshot(encoder, &taken)))
}

/// Whether a user may have everything that is in the store written to any place.
fn check_user(uid: u32, own: u32) -> Result<(), Refusal> {
    if uid == own || uid == 0 {
        return Ok(());
    }
    Err(Refusal::NoPermission(format!(
        "a snapshot has everything in it, so only root and the daemon's own user {own} may ask for \
         one, not user {uid}"
    )))
}

/// Why there is no copy, in the words of the copy.
fn refusal(error: &CopyError) -> Refusal {
    match error {
        CopyError::Store(_) | CopyError::Io { .. } => Refusal::Snapshot(error.to_string()),
        _ => Refusal::Syntax(error.to_string()),
    }
}

/// Cuts and copies every shard.
async fn fill(core: &Rc<Core>, copy: &StoreCopy) -> Result<(Vec<u64>, Copied), Refusal> {
    let mut through = Vec::with_capacity(core.shards());
    for shard in (0..core.shards()).rev() {
        match insist(core, shard, || Request::CutSnapshot).await? {
            Reply::SnapshotCut { through_sequence } => through.push(through_sequence),
            other => unreachable!("a cut was answered with {other:?}"),
        }
    }
    through.reverse();
    let folder = |shard| copy.shard_folder(u32::try_from(shard).expect("bounded by SHARDS_MAX"));
    let mut sum = Copied::default();
    for result in on_all(core, |shard| Request::CopySnapshot { into: folder(shard) }).await {
        let Reply::SnapshotCopied(copied) = result? else {
            unreachable!("a copy is answered with what it is made of")
        };
        sum.files_linked += copied.files_linked;
        sum.bytes_linked += copied.bytes_linked;
        sum.files_copied += copied.files_copied;
        sum.bytes_copied += copied.bytes_copied;
    }
    Ok((through, sum))
}

/// Asks all shards at once and waits for all, again where a lane was full.
async fn on_all(
    core: &Rc<Core>,
    request: impl Fn(usize) -> Request,
) -> Vec<Result<Reply, Refusal>> {
    let asked: Vec<_> = (0..core.shards()).map(|shard| core.ask(shard, request(shard))).collect();
    core.turn();
    let mut results = Vec::with_capacity(asked.len());
    for (shard, promise) in asked.into_iter().enumerate() {
        let mut answer = promise.wait().await;
        // What is cut waits for this: nothing but a full lane refuses it, and that does not last.
        while let Answer::Write(Err(Refusal::Busy { retry_after_ms, .. })) = answer {
            runtime::sleep(std::time::Duration::from_millis(retry_after_ms.into())).await;
            answer = core.call(shard, request(shard)).await;
        }
        results.push(match answer {
            Answer::Write(result) => result,
            other => unreachable!("a snapshot was answered with {other:?}"),
        });
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_daemon_may_ask() {
        assert_eq!(check_user(0, 990), Ok(()));
        assert_eq!(check_user(990, 990), Ok(()));
        let refusal = check_user(1000, 990).unwrap_err();
        assert_eq!(refusal.code(), "NOPERM");
        assert!(refusal.to_string().contains("not user 1000"), "{refusal}");
    }
}
