//! Creating and dropping memory spaces on all shards.
//!
//! Shard 0 goes first: it gives the number, and what its log says is the truth that the others are
//! brought in line with at the next start, should the daemon die in between. A space is
//! acknowledged when every shard has it on disk.

use std::rc::Rc;
use std::time::Duration;

use engram_shards::episode::{Refusal, SpaceNumber, SpaceSettings};
use engram_shards::shard::{Reply, SpaceStats};

use super::commands::Encoded;
use super::core::Core;
use super::outgoing::EncodedReply;
use super::request::{Answer, Request};
use crate::protocol::command::SpaceCreate;
use crate::protocol::reply;
use crate::runtime;

/// How often a shard that is busy is asked.
const ATTEMPTS_MAX: usize = 100;

pub(super) async fn create(core: &Rc<Core>, create: SpaceCreate, writer_uid: u32) -> Encoded {
    let all = u32::try_from(core.shards()).expect("bounded by SHARDS_MAX");
    let shards = create.shards.unwrap_or(all);
    if shards > all {
        return Err(Refusal::Syntax(format!(
            "SHARDS must be 1 to {all}, the shards of this store, or 'all'; got {shards}"
        )));
    }
    let settings = SpaceSettings {
        name: create.name,
        dimensions: create.dimensions,
        metric: create.metric,
        codes: create.codes,
        fan: create.fan,
        fan_cap: create.fan_cap,
        decay: create.decay,
        lifetime: create.lifetime,
        words: create.words,
        thread_path: create.thread_path,
        model: create.model,
        shards,
    };
    let request =
        |number| Request::CreateSpace { number, settings: Box::new(settings.clone()), writer_uid };
    let Reply::SpaceCreated { space } = insist(core, 0, || request(None)).await? else {
        unreachable!("a creation is answered with the number of the space")
    };
    for shard in 1..core.shards() {
        insist(core, shard, || request(Some(space))).await?;
    }
    Ok(EncodedReply::new(|encoder| encoder.simple("OK")))
}

pub(super) async fn drop(core: &Rc<Core>, name: &str, writer_uid: u32) -> Encoded {
    let space = core.route(name)?.space();
    for shard in 0..core.shards() {
        match insist(core, shard, || Request::DropSpace { space, writer_uid }).await {
            // An earlier attempt got that far.
            Ok(_) | Err(Refusal::NoSpace(_)) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(EncodedReply::new(|encoder| encoder.simple("OK")))
}

/// Asks a shard again while it is busy, for a while: half a creation or drop helps nobody. One that
/// stays half done is finished by asking for it again, or by the next start.
pub(super) async fn insist(
    core: &Rc<Core>,
    shard: usize,
    request: impl Fn() -> Request,
) -> Result<Reply, Refusal> {
    let mut attempts_left = ATTEMPTS_MAX;
    loop {
        attempts_left -= 1;
        match core.call(shard, request()).await {
            Answer::Write(Ok(reply)) => return Ok(reply),
            Answer::Write(Err(Refusal::Busy { retry_after_ms, .. })) if attempts_left > 0 => {
                runtime::sleep(Duration::from_millis(retry_after_ms.into())).await;
            }
            other => return Err(refusal_of(other)),
        }
    }
}

fn refusal_of(answer: Answer) -> Refusal {
    match answer {
        Answer::Write(Err(refusal)) | Answer::SpaceStats(Err(refusal)) => refusal,
        other => unreachable!("a write was answered with {other:?}"),
    }
}

pub(super) async fn info(core: &Rc<Core>, name: String) -> Encoded {
    let (number, settings, _) = core.space(&name)?;
    let stats = stats(core, number).await?;
    Ok(EncodedReply::new(move |encoder| reply::space(encoder, &settings, stats.episodes)))
}

/// The figures of a space over all shards.
pub(super) async fn stats(core: &Rc<Core>, space: SpaceNumber) -> Result<SpaceStats, Refusal> {
    let mut sum = SpaceStats::default();
    for answer in core.call_all(0..core.shards(), || Request::SpaceStats { space }).await {
        let Answer::SpaceStats(Ok(stats)) = answer else { return Err(refusal_of(answer)) };
        sum.episodes += stats.episodes;
        sum.rows += stats.rows;
        sum.rows_dead += stats.rows_dead;
        sum.superseded += stats.superseded;
        sum.columns_bytes += stats.columns_bytes;
        sum.rows_in_tails += stats.rows_in_tails;
    }
    Ok(sum)
}
