//! What is answered at which path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, on, post};
use axum::{RequestExt, Router};
use tokio::sync::{Semaphore, watch};

use super::answers::Answered;
use super::bodies::{self, Pieces, Room};
use super::bounds::{REQUESTS_MAX, WATCHES_MAX};
use super::operations::{Input, OPERATIONS, Operation};
use super::problem::Problem;
use super::requests::Target;
use super::shards::Shards;
use super::thread::Phase;
use super::{batch, dashboard, health, metrics, openapi, watch as follow};
use crate::metrics::Latency;
use crate::recovery::Recovery;
use crate::server::Peer;

/// What all requests share.
#[derive(Debug)]
pub struct Service {
    pub shards: Shards,
    pub recovery: Arc<Recovery>,
    pub room: Room,
    /// For requests that are carried out.
    pub requests: Arc<Semaphore>,
    /// For those of them that stay: watches.
    pub watches: Arc<Semaphore>,
    /// For the one that asks all shards for their figures: copying them costs a shard time.
    pub scrape: Semaphore,
    pub counters: Mutex<Counters>,
    pub phase: watch::Receiver<Phase>,
}

/// What the edge has done.
#[derive(Debug, Default)]
pub struct Counters {
    pub by_status: BTreeMap<u16, u64>,
    /// Until an answer began.
    pub latency: Latency,
    pub batches: u64,
    pub batch_operations: u64,
    pub connections: u64,
}

/// A service that all connections share.
pub type Shared = Arc<Service>;

impl Service {
    pub fn new(shards: Shards, recovery: Arc<Recovery>, phase: watch::Receiver<Phase>) -> Shared {
        Arc::new(Self {
            shards,
            recovery,
            room: Room::default(),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            scrape: Semaphore::new(1),
            counters: Mutex::default(),
            phase,
        })
    }

    pub fn is_stopping(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    pub fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.counters.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn count_answer(&self, status: u16, elapsed: Duration) {
        self.count(|counters| {
            *counters.by_status.entry(status).or_default() += 1;
            counters.latency.record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        });
    }

    /// Whether shards can be asked.
    pub fn check_serves(&self) -> Result<(), Problem> {
        if self.is_stopping() {
            return Err(Problem::stopping());
        }
        match self.recovery.is_over() {
            true => Ok(()),
            false => Err(Problem::new("LOADING", self.recovery.status())),
        }
    }
}

/// All paths.
pub fn router(service: &Shared) -> Router {
    let of = |operation: &'static Operation| {
        let service = Arc::clone(service);
        on(operation.verb.filter(), move |request: Request| carry_out(service, operation, request))
    };
    let [batch, watch, metrics, ready] = [(); 4].map(|()| Arc::clone(service));
    let mut router = Router::new();
    for operation in &OPERATIONS {
        router = router.route(operation.path, of(operation));
    }
    router
        .route("/v1/batch", post(move |request| batch::answer(batch, request)))
        .route("/v1/watch", get(move |request| follow::answer(watch, request)))
        .route("/v1/openapi.json", get(openapi::answer))
        .route("/metrics", get(move || metrics::answer(metrics)))
        .route("/readyz", get(move || health::ready(ready)))
        .route("/healthz", get(async || "ok\n"))
        .merge(dashboard::routes())
        .fallback(async |request: Request| {
            let path = request.uri().path().to_owned();
            Problem::new("NOROUTE", format!("{path} is nothing; see /v1/openapi.json"))
        })
        .method_not_allowed_fallback(async |request: Request| {
            let method = request.method().clone();
            Problem::new("METHOD", format!("{method} is not for this path; see allow"))
        })
}

/// Carries out an operation.
async fn carry_out(
    service: Shared,
    operation: &'static Operation,
    mut request: Request,
) -> Result<Response, Problem> {
    service.check_serves()?;
    let peer = caller(&request);
    let target = target(&mut request).await?;
    let asked = match operation.input {
        Input::Query => (operation.ask)(&target, &as_json(&query(request.uri())))?,
        Input::Body(bytes_max) => {
            check_media(request.headers(), &["application/json"])?;
            let mut taken = service.room.take();
            let body = bodies::read(request.body_mut(), bytes_max, &mut taken).await?;
            (operation.ask)(&target, &body)?
        }
    };
    let (answered, line) = service.shards.ask(peer, operation, asked).await?;
    let Answered { body, problem, .. } = answered;
    match problem {
        Some(problem) => Ok(problem.into_response()),
        None => Ok(json(Pieces::body(body, line))),
    }
}

/// An answer of JSON.
pub fn json(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Who asks.
pub fn caller(request: &Request) -> Peer {
    *request.extensions().get::<Peer>().expect("each connection says who it is")
}

/// The media type of a body, without its parameters, if it is one of these. One that is not named
/// is the first.
pub fn check_media<'a>(headers: &HeaderMap, allowed: &[&'a str]) -> Result<&'a str, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(allowed[0]) };
    let text = value.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    allowed.iter().find(|known| known.eq_ignore_ascii_case(kind)).copied().ok_or_else(|| {
        let allowed = allowed.join(" or ");
        Problem::new("MEDIA", format!("content-type must be {allowed}, got '{kind}'"))
    })
}

/// What the path is about.
async fn target(request: &mut Request) -> Result<Target, Problem> {
    let parameters = request.extract_parts::<RawPathParams>().await;
    let parameters = parameters
        .map_err(|_| Problem::new("SYNTAX", "names in the path must be UTF-8, percent-encoded"))?;
    let mut target = Target::default();
    for (name, value) in &parameters {
        let value = Some(value.to_owned());
        match name {
            "space" => target.space = value,
            _ => target.id = value,
        }
    }
    Ok(target)
}

/// The fields of a query. Of a name that comes again the values stand together, with commas between
/// them.
pub fn query(uri: &Uri) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        fields
            .entry(name.into_owned())
            .and_modify(|before| {
                before.push(',');
                before.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    fields
}

/// Fields as a JSON object of strings.
pub fn as_json(fields: &BTreeMap<String, String>) -> Vec<u8> {
    serde_json::to_vec(fields).expect("strings can be written to memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_a_body_would() {
        let json = |uri| String::from_utf8(as_json(&query(&Uri::from_static(uri)))).unwrap();
        assert_eq!(json("/"), "{}");
        assert_eq!(json("/?with=text&with=meta&count=5"), r#"{"count":"5","with":"text,meta"}"#);
        assert_eq!(json("/?from=a%20b+c%22"), r#"{"from":"a b c\""}"#);
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        let of = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            check_media(&headers, &["application/json", "application/x-ndjson"])
        };
        assert_eq!(of("application/json; charset=utf-8").unwrap(), "application/json");
        assert_eq!(of("Application/X-NDJSON").unwrap(), "application/x-ndjson");
        assert_eq!(of("application/x-www-form-urlencoded").unwrap_err().status, 415);
        assert_eq!(check_media(&HeaderMap::new(), &["a/b"]).unwrap(), "a/b");
    }
}
