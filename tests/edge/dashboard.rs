//! The page at `/`: what it is served with, and what it does in a browser.

use serde_json::json;

use crate::browser::Browser;
use crate::common::{Daemon, Home};
use crate::http::Http;
use crate::routes::furnish;
use crate::tcp::{TOKEN, started};

/// A furnished daemon, and a browser that shows its page and has not given the token yet.
fn opened(home: &Home, browser: &mut Browser) -> Daemon {
    let (daemon, port) = started(home);
    furnish(&mut Http::new(&daemon), &mut daemon.client());
    browser.appear((1280, 900), "dark");
    browser.open(&format!("http://127.0.0.1:{port}/"));
    daemon
}

pub fn give_token(browser: &mut Browser, token: &str) {
    browser.until("!document.getElementById('token-form').hidden");
    browser.value(&format!("document.getElementById('token').value = '{token}'"));
    browser.value("document.querySelector('#token-form button').click()");
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let text = browser.value(&format!("document.querySelector('{selector}').textContent"));
    text.as_str().unwrap().to_owned()
}

#[test]
fn the_page_is_all_there_is_and_names_nothing_outside() {
    let home = Home::new();
    let daemon = home.start();
    let mut http = Http::new(&daemon);
    let mut waiting = vec!["/".to_owned()];
    let mut seen: Vec<String> = Vec::new();
    while let Some(path) = waiting.pop() {
        let answer = http.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        let media = answer.header("content-type").unwrap();
        let expected = match path.rsplit_once('.') {
            None => "text/html",
            Some((_, "css")) => "text/css",
            Some(_) => "text/javascript",
        };
        assert_eq!(media, format!("{expected}; charset=utf-8"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        let origins = ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"];
        assert!(origins.iter().all(|origin| policy.contains(origin)), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        let page = answer.text();
        for scheme in ["http://", "https://", "ws://", "@import", "url(", "src=\"//"] {
            let outside = page.lines().filter(|line| line.contains(scheme));
            // The name of a language is an address that nobody asks anything of.
            let outside: Vec<_> =
                outside.filter(|line| !line.contains("w3.org/2000/svg")).collect();
            assert!(outside.is_empty(), "{path}: {outside:?}");
        }
        let named = page.split('"').filter(|part| part.starts_with("/dashboard/"));
        for named in named {
            if !seen.iter().chain(&waiting).any(|known| known == named) && path != named {
                waiting.push(named.to_owned());
            }
        }
        seen.push(path);
    }
    assert_eq!(seen.len(), 11, "{seen:?}");
    assert_eq!(http.call("POST", "/", &[]).problem(), (405, "METHOD".into()));
    assert_eq!(http.get("/dashboard/nothing.js").problem(), (404, "NOROUTE".into()));
}

#[test]
fn a_browser_shows_figures_once_it_has_the_token() {
    let Some(mut browser) = Browser::start("a_browser_shows_figures") else { return };
    let home = Home::new();
    let mut daemon = opened(&home, &mut browser);
    give_token(&mut browser, &TOKEN.replace('f', "e"));
    browser.until("document.getElementById('trouble').textContent.includes('not the token')");
    give_token(&mut browser, TOKEN);
    browser.until("document.querySelectorAll('#shards tbody tr').length === 2");
    // That there was none, or a wrong one.
    browser.complaints.retain(|complaint| !complaint.contains("401"));
    assert_eq!(text(&mut browser, "#state"), "serves");
    assert_eq!(text(&mut browser, "#tiles .value"), "12");
    assert_eq!(browser.value("document.querySelectorAll('#lanes tbody tr').length"), 3);
    assert_eq!(browser.value("sessionStorage.getItem('engram-token')"), TOKEN);

    let mut http = Http::new(&daemon);
    http.post("/v1/spaces/notes/recall", &json!({ "k": 1, "cues": [{ "vec": [1] }] })).problem();
    browser.until("document.getElementById('refusals').textContent.includes('DIM')");
    // The heat map says what it shows: a look with commits, and the bucket they are in.
    let store = json!({ "vec": [1, 0, 0] });
    http.put("/v1/spaces/notes/episodes/new", &store).ok();
    browser.until("document.querySelector('#tiles .value').textContent === '13'");
    let painted = "(() => { const canvas = document.getElementById('heat-0'); \
        const area = [0, 0, canvas.width, canvas.height]; \
        const data = canvas.getContext('2d').getImageData(...area).data; \
        return new Set(new Uint32Array(data.buffer)).size })()";
    assert!(browser.value(painted).as_u64().unwrap() > 3);
    assert!(browser.asked.iter().all(|url| url.starts_with("http://127.0.0.1:")
        || url.starts_with("data:")
        || url == "about:blank"));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);

    asks_only_while_it_is_seen(&mut browser);
    daemon.stop();
    browser.until("document.getElementById('state').textContent === 'away'");
    browser.until("document.getElementById('trouble').textContent.includes('has not answered')");
}

/// Hidden, the page asks nothing; seen again, it goes on.
fn asks_only_while_it_is_seen(browser: &mut Browser) {
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
             document.dispatchEvent(new Event('visibilitychange')); null"
        )
    };
    let wait = "new Promise((done) => setTimeout(done, 2500))";
    browser.value(&hide(true));
    // The look that is under way may end.
    browser.value(wait);
    let asked = browser.asked.len();
    browser.value(wait);
    assert_eq!(browser.asked.len(), asked);
    browser.value(&hide(false));
    browser.value(wait);
    assert!(browser.asked.len() > asked);
}

#[test]
fn the_explorer_draws_what_came_and_says_why() {
    let Some(mut browser) = Browser::start("the_explorer_draws_what_came") else { return };
    let home = Home::new();
    let _daemon = opened(&home, &mut browser);
    give_token(&mut browser, TOKEN);
    browser.until("document.querySelectorAll('#shards tbody tr').length === 2");
    browser.complaints.clear();
    browser.value("location.hash = '#explore'");
    browser.until("document.querySelectorAll('#hits li').length > 0");
    browser.value("document.getElementById('episode').value = '3'");
    browser.value("document.getElementById('k').value = '5'");
    browser.value("document.querySelector('#recall-form button').click()");
    browser.until(
        "document.querySelector('#graph .cue')?.getAttribute('aria-label').startsWith('3,')",
    );
    browser.until("document.querySelectorAll('#hits li').length === 5");
    assert!(
        browser.value("document.querySelectorAll('#graph line.path').length").as_u64() > Some(0)
    );
    assert!(text(&mut browser, "#detail").contains("number 3\n\u{1f600} \"quoted\""));
    // 3 leads to 4 by a link of the kind `next`.
    let press = "document.querySelector('#graph g[aria-label^=\"4,\"]')\
        .dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }))";
    browser.value(press);
    browser.until("document.getElementById('detail').textContent.includes('number 4')");
    let detail = text(&mut browser, "#detail");
    assert!(detail.contains("Activation") || detail.contains("It did not"), "{detail}");
    assert!(detail.contains("— next →"), "{detail}");
    shows_what_was_asked_last(&mut browser);
    for (size, scheme) in [((390, 844), "light"), ((1280, 900), "dark")] {
        browser.appear(size, scheme);
        browser.until(&format!("document.getElementById('graph').clientWidth < {}", size.0));
        let overflow = "document.documentElement.scrollWidth - innerWidth";
        assert_eq!(browser.value(overflow), 0, "{size:?}");
        assert!(browser.picture().starts_with(b"\x89PNG"));
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// An answer that comes behind that to a later question is dropped.
fn shows_what_was_asked_last(browser: &mut Browser) {
    browser.value(
        "(() => { const usual = window.fetch; window.late = 0; \
         window.fetch = async (...asked) => { \
         const isLate = String(asked[1]?.body).includes('\"id\":\"3\"'); \
         if (isLate) await new Promise((done) => setTimeout(done, 500)); \
         const answer = await usual(...asked); if (isLate) window.late += 1; return answer } })()",
    );
    for id in ["3", "4"] {
        browser.value(&format!("document.getElementById('episode').value = '{id}'"));
        browser.value("document.querySelector('#recall-form button').click()");
    }
    let shows_4 =
        "document.querySelector('#graph .cue').getAttribute('aria-label').startsWith('4,')";
    browser.until(shows_4);
    browser.until("window.late === 2");
    browser.value("new Promise((done) => setTimeout(done, 200))");
    assert_eq!(browser.value(shows_4), true);
    assert!(text(browser, "#detail").contains("number 4"));
}
