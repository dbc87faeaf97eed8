//! The protocol on the socket: everything that knows wire bytes, and nothing else does.
//!
//! ```text
//! first bytes ─ Dialect::of ─► RESP or HTTP
//! read buffer ─ resp::Parser ─► arguments ─ Command::parse ─► Command ─► the server
//! write buffer ◄─ encode::Encoder ◄─ reply ◄──────────────────────────── the engine's answers
//! ```
//!
//! No part of this folder does I/O, keeps a clock or knows a connection: bytes in, commands out;
//! answers in, bytes out. What goes over the wire is described for clients in `PROTOCOL.md`.

pub mod command;
pub mod dialect;
pub mod encode;
pub mod reply;
pub mod resp;
#[cfg(test)]
mod tests;

pub use command::Command;
pub use dialect::Dialect;
pub use encode::{Encoder, ProtocolVersion};
pub use resp::{Parser, ParserLimits, ProtocolError};
