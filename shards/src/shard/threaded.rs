//! The thread of an episode that is stored without one, out of its metadata.

use std::borrow::Cow;

use crate::episode::{Episode, Refusal, SpaceSettings, StoreRequest};
use crate::filter::name_at;
use crate::limits::THREAD_BYTES_MAX;

/// The store with the thread that the memory space finds in its metadata.
pub(super) fn threaded<'a>(
    request: &'a StoreRequest,
    settings: &SpaceSettings,
) -> Result<Cow<'a, StoreRequest>, Refusal> {
    let Episode { thread, metadata, .. } = &request.episode;
    let seeks = !settings.thread_path.is_empty() && thread.is_empty();
    let found = if seeks { name_at(metadata, &settings.thread_path) } else { None };
    let Some(name) = found else { return Ok(Cow::Borrowed(request)) };
    if name.len() > THREAD_BYTES_MAX {
        let what = "thread in META";
        return Err(Refusal::TooBig { what, got: name.len(), max: THREAD_BYTES_MAX });
    }
    let mut request = request.clone();
    request.episode.thread = name.into();
    Ok(Cow::Owned(request))
}
