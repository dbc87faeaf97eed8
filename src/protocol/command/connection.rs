//! What any Redis client sends: `HELLO`, `PING`, `ECHO`, `INFO`, `CONFIG`, `COMMAND`, `CLIENT`,
//! `QUIT`.

use engram_shards::episode::Refusal;

use super::Command;
use super::arguments::{Arguments, choice, set_once, shown};
use super::checks;
use crate::protocol::ProtocolVersion;

/// Bytes of the name of a client or its library.
const CLIENT_NAME_BYTES_MAX: usize = 128;
/// Bytes of the name of a command or of a section of `INFO`.
const WORD_BYTES_MAX: usize = 64;
/// Commands or sections that one request names.
const WORDS_MAX: usize = 256;

/// `HELLO`: which protocol to speak from the answer on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// As before when `None`.
    pub version: Option<ProtocolVersion>,
    /// Whether credentials were sent. They are not looked at: the socket's permissions and peer
    /// credentials decide who may talk to the daemon.
    pub has_credentials: bool,
    pub client_name: Option<String>,
}

/// `COMMAND`: what the commands are. Names are in lower case, `eg.space|create` for a subcommand;
/// all commands when the list is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandQuery {
    Info(Vec<String>),
    Docs(Vec<String>),
    List,
    Count,
}

/// `CLIENT`: about this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCommand {
    Id,
    GetName,
    /// An empty name removes it.
    SetName(String),
    SetInfo(ClientLibrary, String),
    Info,
    List,
    /// Answered with `OK`; nothing is evicted.
    NoEvict(bool),
    /// Answered with `OK`; `EG.RECALL … NOREINFORCE` is the way not to touch an episode.
    NoTouch(bool),
}

/// What `CLIENT SETINFO` tells about the client's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientLibrary {
    Name,
    Version,
}

pub(super) fn hello(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let version = match arguments.next() {
        None => None,
        Some(version) => Some(match &version[..] {
            b"2" => ProtocolVersion::Resp2,
            b"3" => ProtocolVersion::Resp3,
            other => {
                return Err(Refusal::Syntax(format!(
                    "unsupported protocol version {}; HELLO 2 and HELLO 3 are spoken here",
                    shown(other)
                )));
            }
        }),
    };
    let mut has_credentials = None;
    let mut client_name = None;
    while let Some(option) = arguments.next() {
        match &option.to_ascii_uppercase()[..] {
            b"AUTH" => {
                arguments.value("AUTH")?;
                arguments.value("AUTH")?;
                set_once(&mut has_credentials, "AUTH", Ok(()))?;
            }
            b"SETNAME" => {
                let name = client_text("SETNAME", &arguments.value("SETNAME")?);
                set_once(&mut client_name, "SETNAME", name)?;
            }
            _ => return Err(arguments.unknown(&option)),
        }
    }
    Ok(Command::Hello(Hello { version, has_credentials: has_credentials.is_some(), client_name }))
}

pub(super) fn ping(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Ping { message: arguments.next() })
}

pub(super) fn echo(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Echo { message: arguments.value("ECHO")? })
}

pub(super) fn quit(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Quit)
}

pub(super) fn info(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Info { sections: words("section", arguments)? })
}

pub(super) fn config_reset_stat(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::ResetStats)
}

pub(super) fn command(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Command(CommandQuery::Info(Vec::new())))
}

pub(super) fn command_info(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Command(CommandQuery::Info(words("name of a command", arguments)?)))
}

pub(super) fn command_docs(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Command(CommandQuery::Docs(words("name of a command", arguments)?)))
}

pub(super) fn command_list(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Command(CommandQuery::List))
}

pub(super) fn command_count(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Command(CommandQuery::Count))
}

pub(super) fn client_id(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Client(ClientCommand::Id))
}

pub(super) fn client_getname(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Client(ClientCommand::GetName))
}

pub(super) fn client_setname(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let name = client_text("connection name", &arguments.value("CLIENT SETNAME")?)?;
    Ok(Command::Client(ClientCommand::SetName(name)))
}

pub(super) fn client_setinfo(arguments: &mut Arguments) -> Result<Command, Refusal> {
    let attribute = arguments.value("CLIENT SETINFO")?;
    let attributes = [("LIB-NAME", ClientLibrary::Name), ("LIB-VER", ClientLibrary::Version)];
    let attribute = choice("CLIENT SETINFO", &attribute, &attributes)?;
    let value = client_text("library attribute", &arguments.value("CLIENT SETINFO")?)?;
    Ok(Command::Client(ClientCommand::SetInfo(attribute, value)))
}

pub(super) fn client_info(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Client(ClientCommand::Info))
}

pub(super) fn client_list(_: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Client(ClientCommand::List))
}

pub(super) fn client_no_evict(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Client(ClientCommand::NoEvict(switch("CLIENT NO-EVICT", arguments)?)))
}

pub(super) fn client_no_touch(arguments: &mut Arguments) -> Result<Command, Refusal> {
    Ok(Command::Client(ClientCommand::NoTouch(switch("CLIENT NO-TOUCH", arguments)?)))
}

fn switch(what: &str, arguments: &mut Arguments) -> Result<bool, Refusal> {
    choice(what, &arguments.value(what)?, &[("ON", true), ("OFF", false)])
}

/// What `CLIENT LIST` prints as one word: printable ASCII without spaces.
fn client_text(what: &'static str, value: &[u8]) -> Result<String, Refusal> {
    checks::within(what, value.len(), CLIENT_NAME_BYTES_MAX)?;
    if !value.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::Syntax(format!(
            "{what} must be printable ASCII without spaces, got {}",
            shown(value)
        )));
    }
    Ok(String::from_utf8_lossy(value).into_owned())
}

fn words(what: &'static str, arguments: &mut Arguments) -> Result<Vec<String>, Refusal> {
    checks::within(what, arguments.left(), WORDS_MAX)?;
    let mut words = Vec::with_capacity(arguments.left());
    while let Some(word) = arguments.next() {
        words.push(checks::name(what, &word, WORD_BYTES_MAX)?.to_ascii_lowercase());
    }
    Ok(words)
}
