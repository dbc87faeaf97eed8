//! Every episode of a memory space, page by page.

use redis::Value;

use crate::client::Client;
use crate::commands::options::{Part, push_parts};
use crate::error::ToolError;
use crate::reply::{self, EpisodeReply};

const COMMAND: &str = "EG.SCAN";
/// Episodes asked for with one command.
const COUNT: usize = 256;
/// The cursor that starts a scan and ends it.
const CURSOR_END: &str = "0";

/// A scan that goes on until it has seen every episode that is there throughout.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    space: &'a str,
    parts: &'a [Part],
    /// `None` behind the last page.
    cursor: Option<String>,
}

impl<'a> Scan<'a> {
    /// Of a space, with these parts of its episodes.
    pub(crate) fn new(space: &'a str, parts: &'a [Part]) -> Self {
        Self { space, parts, cursor: Some(CURSOR_END.to_owned()) }
    }

    /// The next episodes, which may be none; `None` when there are no more.
    pub(crate) fn next_page(
        &mut self,
        client: &mut Client,
    ) -> Result<Option<Vec<EpisodeReply>>, ToolError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let mut command = redis::cmd(COMMAND);
        command.arg(self.space).arg("CURSOR").arg(cursor).arg("COUNT").arg(COUNT);
        push_parts(&mut command, self.parts);
        let mut reply = reply::array(client.call(&command)?, COMMAND)?.into_iter();
        let (Some(next), Some(episodes), None) = (reply.next(), reply.next(), reply.next()) else {
            return Err(unreadable("it is not a cursor and an array"));
        };
        let next = reply::text(&next).ok_or_else(|| unreadable("the cursor is no text"))?;
        self.cursor = (next != CURSOR_END).then_some(next);
        let read = |episode: Value| EpisodeReply::read(episode, COMMAND);
        reply::array(episodes, COMMAND)?.into_iter().map(read).collect::<Result<_, _>>().map(Some)
    }
}

fn unreadable(reason: &str) -> ToolError {
    ToolError::Reply { command: COMMAND, reason: reason.to_owned() }
}
