//! Whether the daemon lives, and whether it serves.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::service::Shared;
use super::shards::Ailment;

/// What `/readyz` answers: 200 when everything is served, otherwise 503 and why it is not.
pub async fn ready(service: Shared) -> Response {
    let (status, detail) = if service.is_stopping() {
        ("stopping", Some("the daemon drains its connections".to_owned()))
    } else if !service.recovery.is_over() {
        ("loading", Some(service.recovery.status()))
    } else if let Some(reason) = service.recovery.read_only_reason() {
        ("read_only", Some(reason.to_owned()))
    } else {
        match service.shards.ailment().await {
            None => ("ready", None),
            Some(Ailment::ReadOnly { shard, reason }) => {
                ("read_only", Some(format!("shard {shard}: {reason}")))
            }
            Some(Ailment::Stuck { shard }) => {
                ("stuck", Some(format!("shard {shard} does not answer")))
            }
        }
    };
    let mut body = json!({ "status": status });
    if let Some(detail) = detail {
        body["detail"] = detail.into();
    }
    let mut response = Response::new(Body::from(body.to_string()));
    if status != "ready" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
