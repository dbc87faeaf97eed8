//! One connection to the daemon, spoken by a stock Redis client library.
//!
//! Commands that wait for their reply go through [`Client::call`]. Bulk work sends packed commands
//! ahead of their replies with [`Client::send`] and [`Client::receive`]; the library buffers
//! nothing on the way out, so what `send` returned for is in the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{
    Cmd, Connection, ConnectionAddr, ConnectionLike as _, ErrorKind, IntoConnectionInfo as _,
    ProtocolVersion, RedisConnectionInfo, RedisError, Value,
};

use crate::error::{ToolError, plain};

pub(crate) struct Client {
    connection: Connection,
    socket: PathBuf,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects and switches to RESP3. `timeout` bounds the wait for each reply.
    pub(crate) fn connect(socket: &Path, timeout: Duration) -> Result<Self, ToolError> {
        let refuse = |error: &RedisError| connect_error(socket, error);
        let settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        let info = ConnectionAddr::Unix(socket.to_owned())
            .into_connection_info()
            .map_err(|e| refuse(&e))?
            .set_redis_settings(settings);
        let connection =
            redis::Client::open(info).and_then(|c| c.get_connection()).map_err(|e| refuse(&e))?;
        connection.set_read_timeout(Some(timeout)).map_err(|e| refuse(&e))?;
        connection.set_write_timeout(Some(timeout)).map_err(|e| refuse(&e))?;
        Ok(Self { connection, socket: socket.to_owned() })
    }

    /// Sends one command and waits for its reply.
    pub(crate) fn call(&mut self, command: &Cmd) -> Result<Value, ToolError> {
        let reply = self.connection.req_command(command);
        self.checked(reply)
    }

    /// Sends packed commands without waiting.
    pub(crate) fn send(&mut self, packed: &[u8]) -> Result<(), ToolError> {
        let sent = self.connection.send_packed_command(packed);
        sent.map_err(|error| self.error(&error))
    }

    /// Waits for the next reply. Errors inside of an array stay in it as values.
    pub(crate) fn receive(&mut self) -> Result<Value, ToolError> {
        let reply = self.connection.recv_response();
        self.checked(reply)
    }

    /// How long to wait for each reply; without an end where nothing is given.
    pub(crate) fn wait_at_most(&self, timeout: Option<Duration>) -> Result<(), ToolError> {
        self.connection.set_read_timeout(timeout).map_err(|error| self.error(&error))
    }

    fn checked(&self, reply: Result<Value, RedisError>) -> Result<Value, ToolError> {
        match reply {
            Ok(Value::ServerError(error)) => Err(self.error(&error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(self.error(&error)),
        }
    }

    fn error(&self, error: &RedisError) -> ToolError {
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => refusal(error),
            ErrorKind::Io if error.is_timeout() => ToolError::Lost {
                socket: self.socket.clone(),
                reason: "no reply within --timeout-seconds".into(),
            },
            _ => ToolError::Lost { socket: self.socket.clone(), reason: plain(error) },
        }
    }
}

fn refusal(error: &RedisError) -> ToolError {
    ToolError::Refused {
        code: error.code().unwrap_or("ERR").to_owned(),
        message: error.detail().unwrap_or("refused without a reason").to_owned(),
    }
}

fn connect_error(socket: &Path, error: &RedisError) -> ToolError {
    if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
        return refusal(error);
    }
    let cause = std::error::Error::source(error).and_then(|s| s.downcast_ref::<io::Error>());
    let denied = cause.is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    ToolError::Connect { socket: socket.to_owned(), reason: plain(error), denied }
}
