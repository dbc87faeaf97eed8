//! One connection of HTTP: who it is, what is let in, and its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_lite::future;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::bodies::Holding;
use super::bounds::{HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX};
use super::dashboard;
use super::problem::Problem;
use super::service::Shared;
use super::socket::Socket;
use super::thread::Phase;
use super::token::Token;
use crate::server::Peer;

/// Paths that need no token, and are answered however much there is to do: they tell whether the
/// daemon lives and serves, and nothing else.
const ALWAYS: [&str; 2] = ["/healthz", "/readyz"];
/// Where a browser may say that a request comes from: the daemon's own page, or its user.
const OWN_SITE: [&[u8]; 2] = [b"same-origin", b"none"];

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Caller {
    pub peer: Peer,
    /// What each request has to bring; nothing where the kernel has said who it is.
    pub token: Option<Arc<Token>>,
}

/// Serves a connection until its end; the first bytes may have been read before.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    first: Bytes,
    caller: Caller,
    service: Shared,
    router: Router,
) {
    service.count(|counters| counters.connections += 1);
    let mut phase = service.phase.clone();
    let answers = service_fn(|request| {
        let (service, caller) = (Arc::clone(&service), caller.clone());
        let router = TowerToHyperService::new(router.clone());
        async move { Ok::<_, Infallible>(answer(&service, &caller, router, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Socket::new(socket, first)), answers);
    let mut connection = pin!(connection);
    let ended = async { Some(connection.as_mut().await) };
    let stopped = async {
        // The other side is gone only when the edge is.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        None
    };
    let ended = match future::or(ended, stopped).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = caller.peer.connection, %error, "a connection of HTTP was cut");
    }
}

/// Answers one request.
async fn answer(
    service: &Shared,
    caller: &Caller,
    router: TowerToHyperService<Router>,
    mut request: Request<Incoming>,
) -> Response {
    let began = Instant::now();
    let response = match admit(service, caller, &request) {
        Err(problem) => problem.into_response(),
        Ok(permit) => {
            request.extensions_mut().insert(caller.peer);
            let Ok(response) = router.call(request).await;
            response.map(|body| match permit {
                Some(permit) => Holding::<OwnedSemaphorePermit>::body(body, permit),
                None => Body::new(body),
            })
        }
    };
    service.count_answer(response.status().as_u16(), began.elapsed());
    response
}

/// Whether a browser says that a page of another origin asks. Pages cannot leave that out or say
/// otherwise (W3C, Fetch Metadata Request Headers); what is no browser does not say anything. On
/// the Unix socket such a request comes through a tunnel that somebody has opened to it, where no
/// token keeps it away.
fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| !OWN_SITE.contains(&site))
}

/// The permit to carry out a request, if it needs one.
fn admit(
    service: &Shared,
    caller: &Caller,
    request: &Request<Incoming>,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let path = request.uri().path();
    if ALWAYS.contains(&path) {
        return Ok(None);
    }
    if is_foreign(request.headers()) {
        let detail =
            "a page of another site asked for this in a browser; open the daemon's own page";
        return Err(Problem::new("ORIGIN", detail));
    }
    if dashboard::is_at(path) {
        return Ok(None);
    }
    if let Some(token) = &caller.token
        && !token.is_brought(request.headers())
    {
        let detail = "send authorization: Bearer and what stands in edge_token_file";
        return Err(Problem::new("TOKEN", detail));
    }
    let permit = Arc::clone(&service.requests).try_acquire_owned();
    permit.map(Some).map_err(|_| Problem::busy("the list of HTTP requests under way is full"))
}
