//! What went wrong, as RFC 9457 has it: `application/problem+json`.
//!
//! The member `code` is that of RESP where a shard refused something, so that a program decides by
//! the same words on both sides; a few codes are of HTTP alone.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::bounds::RETRY_MS;

/// Every code: its status, and what it means.
pub const CODES: [(&str, u16, &str); 21] = [
    ("BUSY", 503, "A bound is reached and nothing was done"),
    ("NOSPACE", 404, "No such memory space"),
    ("NOEPISODE", 404, "No such episode"),
    ("DIM", 400, "The vector has other dimensions than the space"),
    ("BADVEC", 400, "The vector cannot be used"),
    ("TOOBIG", 413, "Something is over its bound"),
    ("READONLY", 503, "No writes are taken"),
    ("SYNTAX", 400, "The request cannot be understood"),
    ("CORRUPT", 500, "What was to be read is damaged on disk"),
    ("NOPERM", 403, "This user may not do that"),
    ("SNAPSHOT", 500, "The snapshot could not be written"),
    ("ORIGIN", 403, "A page of another site may not ask"),
    ("TOKEN", 401, "The token is missing or wrong"),
    ("NOROUTE", 404, "There is nothing at this path"),
    ("METHOD", 405, "There is something at this path, but not for this method"),
    ("MEDIA", 415, "The body is of no type that is taken here"),
    ("TIMEOUT", 408, "The body did not come in time"),
    ("LENGTH", 400, "The body ended early"),
    ("LOADING", 503, "The logs are being replayed"),
    ("STOPPING", 503, "The daemon is about to stop"),
    ("GARBLED", 500, "The answer of a shard cannot be understood"),
];

/// See the top of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    /// What the code means.
    pub title: &'static str,
    pub status: u16,
    /// What programs decide by.
    pub code: &'static str,
    /// What was wrong, which bound it broke, what was got, and what to do.
    pub detail: String,
    /// When to try again, if that may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
}

impl Problem {
    /// # Panics
    /// When the code is none of [`CODES`].
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let known = CODES.iter().find(|(known, ..)| *known == code);
        let (code, status, title) = *known.unwrap_or_else(|| panic!("no code {code}"));
        let detail = detail.into();
        let retry_after_ms = match code {
            "BUSY" => Some(retry_ms(&detail).unwrap_or(RETRY_MS)),
            "LOADING" => Some(1_000),
            _ => None,
        };
        Self { kind: "about:blank", title, status, code, detail, retry_after_ms }
    }

    /// A bound of the edge is reached.
    pub fn busy(what: &str) -> Self {
        Self::new("BUSY", format!("{what}; retry in {RETRY_MS} ms"))
    }

    pub fn too_big(what: &str, max: usize) -> Self {
        let detail = format!("{what} is over its bound of {max} bytes; split or shorten it");
        Self::new("TOOBIG", detail)
    }

    pub fn stopping() -> Self {
        Self::new("STOPPING", "the daemon is about to stop; ask the next one")
    }

    /// Of a line of RESP, without its `-`.
    pub fn of_line(line: &str) -> Self {
        let (code, sentence) = line.split_once(' ').unwrap_or((line, ""));
        match CODES.iter().any(|(known, ..)| *known == code) {
            true => Self::new(code, sentence),
            false => Self::new("GARBLED", line),
        }
    }

    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a problem has strings and numbers")
    }
}

/// The hint in a refusal's sentence.
fn retry_ms(sentence: &str) -> Option<u32> {
    let (_, hint) = sentence.rsplit_once("retry in ")?;
    hint.split_once(" ms")?.0.parse().ok()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, ms.div_ceil(1000).into());
        }
        if self.code == "TOKEN" {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use engram_shards::episode::Refusal;

    use super::*;
    use crate::metrics::REFUSAL_CODES;

    #[test]
    fn every_refusal_of_a_shard_has_a_status() {
        for code in REFUSAL_CODES {
            assert_eq!(Problem::of_line(&format!("{code} why")).code, code);
        }
        assert_eq!(Problem::of_line("ODD why").status, 500);
    }

    #[test]
    fn the_hint_of_a_refusal_becomes_a_header() {
        let busy = Refusal::Busy { what: "the lane", retry_after_ms: 1_200 };
        let problem = Problem::of_line(&format!("{} {busy}", busy.code()));
        assert_eq!(problem.retry_after_ms, Some(1_200));
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
