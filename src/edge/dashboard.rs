//! The page at `/`: what the daemon does, for people.
//!
//! It is files that are compiled in, and asks for nothing that others could not ask for: `/readyz`,
//! `/metrics`, `/v1/stats`, and for the explorer recalls. So it needs no token itself, as nothing
//! secret is in it; it asks for the one that its requests bring. The browser is told to load
//! nothing from anywhere else, to run no script that is not one of these files, and to let no other
//! page hold it in a frame.

use axum::Router;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What each answer carries. The files change with the daemon, so a browser asks each time.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Path, media type and content of each file.
const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("dashboard/page.html")),
    ("/dashboard/page.css", CSS, include_str!("dashboard/page.css")),
    ("/dashboard/main.js", SCRIPT, include_str!("dashboard/main.js")),
    ("/dashboard/wire.js", SCRIPT, include_str!("dashboard/wire.js")),
    ("/dashboard/dom.js", SCRIPT, include_str!("dashboard/dom.js")),
    ("/dashboard/figures.js", SCRIPT, include_str!("dashboard/figures.js")),
    ("/dashboard/now.js", SCRIPT, include_str!("dashboard/now.js")),
    ("/dashboard/heat.js", SCRIPT, include_str!("dashboard/heat.js")),
    ("/dashboard/explorer.js", SCRIPT, include_str!("dashboard/explorer.js")),
    ("/dashboard/graph.js", SCRIPT, include_str!("dashboard/graph.js")),
    ("/dashboard/layout.js", SCRIPT, include_str!("dashboard/layout.js")),
];

/// Whether one of the files is at a path.
pub fn is_at(path: &str) -> bool {
    FILES.iter().any(|(at, ..)| *at == path)
}

/// The paths of all files.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, &(path, media, content)| {
        router.route(path, get(async move || answer(media, content)))
    })
}

fn answer(media: &'static str, content: &'static str) -> Response {
    let mut response = Response::new(content.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
