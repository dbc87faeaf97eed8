//! Where an answer goes, and what is told of the way there.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use super::batch::Batch;
use super::connection::Connection;
use super::notify::Notify;
use super::observe::Stream;
use super::request::Answer;
use super::watch::Call;

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Origin {
    /// It is a connection's reply; with the id that was assigned, if one was.
    Reply { connection: Rc<Connection>, slot: u64, assigned: Option<Bytes> },
    /// It is one of many in a connection's reply.
    Item { batch: Rc<Batch>, index: usize },
    /// A task on this shard waits for it.
    Task(Rc<Promise>),
    /// It is one of a stream of a connection.
    Observation { stream: Rc<Stream>, number: u64, noted: Option<u64> },
    /// A watch of a connection asks for more.
    News(Rc<Call>),
    /// Another shard asked; with how long that waited here.
    Peer { shard: usize, call: u32, queued_us: u32 },
}

impl Origin {
    /// The command of a connection that it is for, if it is for one alone.
    pub(super) fn command(&self) -> Option<CommandOf> {
        let Self::Reply { connection, slot, .. } = self else { return None };
        Some(CommandOf { connection: Rc::clone(connection), slot: *slot })
    }

    /// The request has waited so long in a lane.
    pub(super) fn waited(&mut self, waited_us: u32) {
        match self {
            Self::Reply { connection, slot, .. } => connection.waited(*slot, waited_us),
            Self::Item { batch, .. } => batch.waited(waited_us),
            Self::Task(promise) => {
                if let Some(CommandOf { connection, slot }) = &promise.command {
                    connection.waited(*slot, waited_us);
                }
            }
            Self::Peer { queued_us, .. } => *queued_us = waited_us,
            // They have no reply that is timed.
            Self::Observation { .. } | Self::News(_) => {}
        }
    }
}

/// A command of a connection that a task carries out.
#[derive(Debug, Clone)]
pub(super) struct CommandOf {
    pub(super) connection: Rc<Connection>,
    pub(super) slot: u64,
}

/// An answer that a task waits for.
#[derive(Debug, Default)]
pub(super) struct Promise {
    answer: RefCell<Option<Answer>>,
    arrived: Notify,
    /// What it is asked for.
    command: Option<CommandOf>,
}

impl Promise {
    pub(super) fn new(command: Option<CommandOf>) -> Rc<Self> {
        Rc::new(Self { command, ..Self::default() })
    }

    pub(super) fn fulfil(&self, answer: Answer) {
        *self.answer.borrow_mut() = Some(answer);
        self.arrived.notify();
    }

    pub(super) async fn wait(&self) -> Answer {
        loop {
            if let Some(answer) = self.answer.borrow_mut().take() {
                return answer;
            }
            self.arrived.wait().await;
        }
    }
}
