//! A headless Chromium, spoken to through pipes in its DevTools protocol: JSON, a zero byte behind
//! each message. It knows what the tests need of it and no more.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::DEADLINE;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "headless-shell"];

/// A browser with one tab.
pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    /// What went wrong in the page: exceptions, what its policy forbade, failed requests.
    pub complaints: Vec<String>,
    /// Each address that something was asked of.
    pub asked: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// `None`, with a line that names the test, where there is no browser.
    pub fn start(test: &str) -> Option<Self> {
        // Of some systems the name is there and tells how to install it.
        let is_there = |name: &&&str| {
            let mut version = Command::new(name);
            version.arg("--version").output().is_ok_and(|output| output.status.success())
        };
        let Some(name) = NAMES.iter().find(is_there) else {
            eprintln!("{test} is skipped: there is none of {}", NAMES.join(", "));
            return None;
        };
        let profile = TempDir::with_prefix("engramd-browser-").unwrap();
        // The browser reads commands at descriptor 3 and writes at 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 1>&2 </dev/null"#, "sh", name]);
        command.args(["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]);
        // Tests run in containers, where a sandbox cannot be made; the page is our own.
        command.args(["--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut browser = Self {
            commands: process.stdin.take().unwrap(),
            messages: BufReader::new(process.stdout.take().unwrap()),
            process,
            session: None,
            sent: 0,
            complaints: Vec::new(),
            asked: Vec::new(),
            _profile: profile,
        };
        let tab = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let tab = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &tab);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let mut message = Vec::new();
            self.messages.read_until(0, &mut message).unwrap();
            assert_eq!(message.pop(), Some(0), "the browser ended");
            let mut message: Value = serde_json::from_slice(&message).unwrap();
            if message["id"] == self.sent {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => {
                self.complaints.push(parameters["exceptionDetails"].to_string());
            }
            "Log.entryAdded" => self.complaints.push(text(&parameters["entry"]["text"])),
            "Network.requestWillBeSent" => self.asked.push(text(&parameters["request"]["url"])),
            _ => {}
        }
    }

    pub fn open(&mut self, address: &str) {
        self.call("Page.navigate", &json!({ "url": address }));
    }

    /// What an expression gives, or a promise.
    pub fn value(&mut self, expression: &str) -> Value {
        let ask = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let mut given = self.call("Runtime.evaluate", &ask);
        assert!(given["exceptionDetails"].is_null(), "{expression}: {given}");
        given["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let until = Instant::now() + DEADLINE;
        // The page may not be there yet, with what the expression names.
        let guarded = format!("(() => {{ try {{ return {expression} }} catch {{}} }})()");
        while self.value(&guarded) != true {
            if Instant::now() > until {
                let page = self.value("document.body.innerText");
                panic!("waited in vain for {expression}\n{:?}\n{page}", self.complaints);
            }
            self.value("new Promise((done) => setTimeout(done, 20))");
        }
    }

    /// Gives the page a size and a colour scheme.
    pub fn appear(&mut self, (width, height): (u32, u32), scheme: &str) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// The whole page as a PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let ask = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.call("Page.captureScreenshot", &ask);
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
