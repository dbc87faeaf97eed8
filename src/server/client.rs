//! Who is at the other end of a connection, and the commands that are about nothing else.

use std::cell::{Cell, RefCell};

use super::outgoing::{EncodedReply, Outgoing};
use crate::protocol::command::{ClientCommand, ClientLibrary};
use crate::protocol::{Command, ProtocolVersion};

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Number of the connection, from 1.
    pub connection: u64,
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
}

/// A client: what the kernel says of it and what it has said of itself.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) version: Cell<ProtocolVersion>,
    name: RefCell<String>,
    /// Name and version.
    library: RefCell<(String, String)>,
}

/// Whether a command needs no shard: it is about the connection, or about the commands there are.
pub(super) fn is_talk(command: &Command) -> bool {
    use Command::{Client, Echo, Hello, Ping, Quit};
    matches!(command, Hello(_) | Ping { .. } | Echo { .. } | Command::Command(_) | Client(_) | Quit)
}

impl Client {
    pub(super) fn new(peer: Peer) -> Self {
        let version = Cell::default();
        Self { peer, version, name: RefCell::default(), library: RefCell::default() }
    }

    /// As it calls itself; empty unless it has said.
    pub(super) fn name(&self) -> String {
        self.name.borrow().clone()
    }

    /// The answer to a command for which [`is_talk`] holds.
    pub(super) fn talk(&self, command: Command) -> Outgoing {
        match command {
            Command::Quit => Outgoing::Last(EncodedReply::new(|encoder| encoder.simple("OK"))),
            Command::Hello(hello) => {
                if let Some(name) = hello.client_name {
                    *self.name.borrow_mut() = name;
                }
                Outgoing::Hello { version: hello.version }
            }
            Command::Ping { message: None } => Outgoing::encoded(|encoder| encoder.simple("PONG")),
            Command::Ping { message: Some(message) } | Command::Echo { message } => {
                let bytes = message.len();
                let reply = EncodedReply::new(move |encoder| encoder.bulk(&message));
                Outgoing::Encode(reply.weighing(bytes))
            }
            Command::Command(query) => Outgoing::encoded(move |encoder| query.answer(encoder)),
            Command::Client(command) => self.take_client(command),
            other => unreachable!("not about the connection: {other:?}"),
        }
    }

    fn take_client(&self, command: ClientCommand) -> Outgoing {
        match command {
            ClientCommand::Id => {
                let id = self.peer.connection;
                Outgoing::encoded(move |encoder| encoder.count(id))
            }
            ClientCommand::GetName => {
                let name = self.name();
                Outgoing::encoded(move |encoder| match name.is_empty() {
                    true => encoder.null(),
                    false => encoder.bulk(name.as_bytes()),
                })
            }
            ClientCommand::Info | ClientCommand::List => {
                let line = self.line();
                Outgoing::encoded(move |encoder| encoder.verbatim(&line))
            }
            ClientCommand::SetName(name) => {
                *self.name.borrow_mut() = name;
                Outgoing::encoded(|encoder| encoder.simple("OK"))
            }
            ClientCommand::SetInfo(what, value) => {
                let mut library = self.library.borrow_mut();
                match what {
                    ClientLibrary::Name => library.0 = value,
                    ClientLibrary::Version => library.1 = value,
                }
                Outgoing::encoded(|encoder| encoder.simple("OK"))
            }
            ClientCommand::NoEvict(_) | ClientCommand::NoTouch(_) => {
                Outgoing::encoded(|encoder| encoder.simple("OK"))
            }
        }
    }

    /// `CLIENT INFO`: this connection, in Redis's form.
    fn line(&self) -> String {
        let Peer { connection, uid, gid, pid } = self.peer;
        let library = self.library.borrow();
        format!(
            "id={connection} name={} uid={uid} gid={gid} pid={pid} resp={} lib-name={} \
             lib-ver={}\n",
            self.name.borrow(),
            self.version.get().number(),
            library.0,
            library.1,
        )
    }
}
