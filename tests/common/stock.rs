//! The stock client: the `redis` crate over the Unix socket.

use std::path::Path;

use redis::{Client, Connection};

/// What a client chooses when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resp {
    Two,
    Three,
}

pub const BOTH: [Resp; 2] = [Resp::Two, Resp::Three];

/// Connects as any program would that was told `redis+unix://…`.
pub fn connect(socket: &Path, resp: Resp) -> Connection {
    let protocol = match resp {
        Resp::Two => "resp2",
        Resp::Three => "resp3",
    };
    let url = format!("redis+unix://{}?protocol={protocol}", socket.display());
    Client::open(url).unwrap().get_connection().unwrap()
}
