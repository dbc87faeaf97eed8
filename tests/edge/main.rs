//! HTTP, through a real daemon and its socket.
//!
//! | | |
//! |---|---|
//! | `http.rs` | a client that sees every byte |
//! | `routes.rs` | each operation; answers are those of RESP |
//! | `refusals.rs` | what is wrong gets its status and its code |
//! | `dialects.rs` | HTTP told from RESP; the lobby, keep-alive, the edge switched off |
//! | `batches.rs` | many operations in one request |
//! | `watches.rs` | following a memory space: resuming, being cut, leaving |
//! | `bounds.rs` | as much as is allowed, and one more |
//! | `tcp.rs` | loopback TCP and its token |
//! | `figures.rs` | `/metrics` and the description |
//! | `dashboard.rs`, `browser.rs` | the page at `/`, in a browser |
//! | `pictures.rs` | the page under load, for the documents |

mod batches;
mod bounds;
mod browser;
#[path = "../common/mod.rs"]
mod common;
mod dashboard;
mod dialects;
mod figures;
mod http;
mod pictures;
mod refusals;
mod routes;
mod tcp;
mod watches;
