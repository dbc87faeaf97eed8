//! Creating and dropping memory spaces on all shards.
//!
//! Shard 0 goes first: it gives the number, and what its log says is the truth that the others are
//! brought in line with at the next start, should the daemon die in between. A space is
//! acknowledged when every shard has it on disk.

use std::rc::Rc;

use engram_shards::episode::{Refusal, SpaceNumber, SpaceSettings};
use engram_shards::shard::{Reply, SpaceStats};

use super::commands::Encoded;
use super::core::Core;
use super::request::{Answer, Request};
use crate::protocol::command::SpaceCreate;
use crate::protocol::reply;

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
        model: create.model,
        shards,
    };
    let request =
        |number| Request::CreateSpace { number, settings: Box::new(settings.clone()), writer_uid };
    let space = match core.call(0, request(None)).await {
        Answer::Write(Ok(Reply::SpaceCreated { space })) => space,
        other => return Err(refusal_of(other)),
    };
    everywhere_else(core, || request(Some(space))).await?;
    Ok(Box::new(|encoder| encoder.simple("OK")))
}

pub(super) async fn drop(core: &Rc<Core>, name: &str, writer_uid: u32) -> Encoded {
    let space = core.route(name)?.space();
    match core.call(0, Request::DropSpace { space, writer_uid }).await {
        Answer::Write(Ok(_)) => {}
        other => return Err(refusal_of(other)),
    }
    everywhere_else(core, || Request::DropSpace { space, writer_uid }).await?;
    Ok(Box::new(|encoder| encoder.simple("OK")))
}

async fn everywhere_else(core: &Rc<Core>, request: impl Fn() -> Request) -> Result<(), Refusal> {
    for answer in core.call_all(1..core.shards(), request).await {
        let Answer::Write(Ok(_)) = answer else { return Err(refusal_of(answer)) };
    }
    Ok(())
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
    Ok(Box::new(move |encoder| reply::space(encoder, &settings, stats.episodes)))
}

/// The figures of a space over all shards.
pub(super) async fn stats(core: &Rc<Core>, space: SpaceNumber) -> Result<SpaceStats, Refusal> {
    let mut sum = SpaceStats::default();
    for answer in core.call_all(0..core.shards(), || Request::SpaceStats { space }).await {
        let Answer::SpaceStats(Ok(stats)) = answer else { return Err(refusal_of(answer)) };
        sum.episodes += stats.episodes;
        sum.rows += stats.rows;
        sum.rows_dead += stats.rows_dead;
    }
    Ok(sum)
}
