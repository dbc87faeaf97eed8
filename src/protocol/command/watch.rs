//! Following a memory space: `EG.WATCH` and `EG.UNWATCH`.

use bytes::Bytes;
use engram_shards::episode::{Fields, Refusal};
use engram_shards::limits::SHARDS_MAX;

use super::Command;
use super::arguments::{Arguments, is_keyword, set_once};
use super::checks;
use super::recall::{episode_part, or_text_and_metadata};

/// Messages that a watch may be given credit for, together.
pub const WATCH_CREDIT_MAX: u64 = 1 << 20;
/// The same when `CREDIT` is not given.
const WATCH_CREDIT_DEFAULT: u64 = 1024;

/// `EG.WATCH`: to follow a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchCommand {
    pub space: String,
    /// Behind which sequence of each shard, each shard once; from now on when empty.
    pub from: Vec<(usize, u64)>,
    /// 1 to [`WATCH_CREDIT_MAX`].
    pub credit: u64,
    pub fields: Fields,
}

pub(super) fn watch(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let first = arguments.value("EG.WATCH")?;
    // No option of a watch is a number, so that a space may be named as it likes.
    if is_keyword(&first, "MORE") && arguments.peek().is_some_and(is_number) {
        let watch = number(&arguments.value("MORE")?)?;
        let value = arguments.value("MORE")?;
        let credit = checks::whole("n of MORE", &value, &(1..=WATCH_CREDIT_MAX))?;
        return Ok(Command::WatchMore { watch, credit });
    }
    let space = checks::space(&first)?;
    let (mut from, mut credit) = (Vec::new(), None);
    let mut fields = Fields::default();
    while let Some(token) = arguments.next() {
        if is_keyword(&token, "FROM") {
            read_places(&mut from, arguments)?;
        } else if is_keyword(&token, "CREDIT") {
            let range = 1..=WATCH_CREDIT_MAX;
            let value = checks::whole("CREDIT", &arguments.value("CREDIT")?, &range);
            set_once(&mut credit, "CREDIT", value)?;
        } else if is_keyword(&token, "WITH") {
            episode_part(&mut fields, arguments)?;
        } else {
            return Err(arguments.unknown(&token));
        }
    }
    Ok(Command::Watch(WatchCommand {
        space,
        from,
        credit: credit.unwrap_or(WATCH_CREDIT_DEFAULT),
        fields: or_text_and_metadata(fields),
    }))
}

/// Pairs of a shard and a sequence, one at least.
fn read_places(from: &mut Vec<(usize, u64)>, arguments: &mut Arguments) -> Result<(), Refusal> {
    loop {
        let shard = arguments.value("FROM")?;
        let shard = checks::whole("shard of FROM", &shard, &(0..=SHARDS_MAX - 1))?;
        let sequence = arguments.value("FROM shard")?;
        let sequence = checks::whole("seq of FROM", &sequence, &(0..=u64::MAX))?;
        if from.iter().any(|(named, _)| *named == shard) {
            let problem = format!("FROM names shard {shard} twice; name each shard once");
            return Err(Refusal::Syntax(problem));
        }
        from.push((shard, sequence));
        if !arguments.peek().is_some_and(is_number) {
            return Ok(());
        }
    }
}

pub(super) fn unwatch(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Unwatch { watch: number(&arguments.value("EG.UNWATCH")?)? })
}

fn number(value: &[u8]) -> Result<u64, Refusal> {
    checks::whole("watch", value, &(1..=u64::MAX))
}

fn is_number(word: &Bytes) -> bool {
    word.first().is_some_and(u8::is_ascii_digit)
}
