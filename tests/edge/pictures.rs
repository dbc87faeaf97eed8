//! Pictures of the page for the documents: a daemon under load, in all its sizes and colours.
//! `make pictures` takes them. Whether they look right is for people to see.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::browser::Browser;
use crate::common::Home;
use crate::dashboard::give_token;
use crate::tcp::{TOKEN, started};

const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);
/// Of a picture's load, in a mix of stores and recalls.
const LOAD: &str = "load --create --space load --dimensions 128 --workload mixed \
                    --recall-share 0.02 --rate 10000 --connections 6 --seconds 600";
/// How long the heat maps fill up before there is a picture.
const BEFORE_S: u64 = 70;

fn take(browser: &mut Browser, name: &str, size: (u32, u32), scheme: &str) {
    browser.appear(size, scheme);
    // One look at the figures, in this size.
    browser.value("new Promise((done) => setTimeout(done, 1500))");
    let overflow = "document.documentElement.scrollWidth - innerWidth";
    assert_eq!(browser.value(overflow), 0, "{name}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/screenshots/{name}.png"));
    std::fs::write(path, browser.picture()).unwrap();
}

#[test]
#[ignore = "takes the pictures of docs/screenshots, under load; make pictures"]
fn of_a_daemon_under_load() {
    let mut browser = Browser::start("of_a_daemon_under_load").expect("pictures need a browser");
    let home = Home::new();
    let (daemon, port) = started(&home);
    let engram: PathBuf = Path::new(env!("CARGO_BIN_EXE_engramd")).with_file_name("engram");
    let tool = |line: &str| {
        let mut command = Command::new(&engram);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--socket").arg(&daemon.socket);
        command.args(line.split_whitespace()).stdout(Stdio::null());
        command
    };
    let import = "import wordnet --create --normalize --episodes demo/wordnet.jsonl --vectors \
                  demo/wordnet.npy";
    assert!(tool(import).status().unwrap().success());
    let mut load = tool(LOAD).spawn().unwrap();
    browser.appear(DESKTOP, "dark");
    browser.open(&format!("http://127.0.0.1:{port}/"));
    give_token(&mut browser, TOKEN);
    browser.until("document.querySelectorAll('#shards tbody tr').length === 2");
    browser.value(&format!("new Promise((done) => setTimeout(done, {}))", BEFORE_S * 1000));
    take(&mut browser, "now-dark", DESKTOP, "dark");
    take(&mut browser, "now-light", DESKTOP, "light");
    take(&mut browser, "now-phone", PHONE, "dark");
    browser.value("location.hash = '#explore'");
    browser.until("document.querySelectorAll('#hits li').length > 0");
    browser.value(
        "(() => { const space = document.getElementById('space'); space.value = 'wordnet'; \
         space.dispatchEvent(new Event('change')) })()",
    );
    browser.value("document.getElementById('episode').value = 'wine.n'");
    browser.value("document.getElementById('k').value = '16'");
    browser.value("document.querySelector('#recall-form button').click()");
    browser.until(
        "document.querySelector('#graph .cue')?.getAttribute('aria-label').startsWith('wine.n,')",
    );
    browser.until("document.querySelectorAll('#hits li').length === 16");
    for (name, size, scheme) in [
        ("explore-dark", DESKTOP, "dark"),
        ("explore-light", DESKTOP, "light"),
        ("explore-phone", PHONE, "light"),
    ] {
        take(&mut browser, name, size, scheme);
    }
    load.kill().unwrap();
    load.wait().unwrap();
    // What the page asked for before it had the token.
    browser.complaints.retain(|complaint| !complaint.contains("401"));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}
