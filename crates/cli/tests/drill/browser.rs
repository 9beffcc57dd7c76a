//! Headless Chromium, as far as a page is looked at: a few messages of the DevTools protocol over a WebSocket to loopback.

use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tungstenite::{Message, WebSocket};

/// What Chromium may take for anything.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Browser {
    process: Child,
    socket: WebSocket<TcpStream>,
    last_id: u64,
    /// Pages that were there wholly, until now and until the last click.
    loads: u64,
    loads_before_click: u64,
    /// Of the one tab.
    session: String,
    /// What the tab complained of since it was last asked.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` if there is no Chromium on PATH.
    pub(crate) fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        command
            .args(["--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu"])
            // It opens one file of this test, and containers have no namespaces to give.
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().ok()?;
        let said = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (found, url) = std::sync::mpsc::channel();
        // It reads to the end, so that Chromium is never held up by a full pipe.
        std::thread::spawn(move || {
            for line in said {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    let _ = found.send(url.to_owned());
                }
            }
        });
        let url = url.recv_timeout(LIMIT).expect("Chromium says where it listens");
        let address = url.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let (socket, _) = tungstenite::client(&url, stream).unwrap();
        let session = String::new();
        let mut it = Self {
            process,
            socket,
            last_id: 0,
            loads: 0,
            loads_before_click: 0,
            session,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = it.ask("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = it.ask("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        it.session = attached["sessionId"].as_str().unwrap().to_owned();
        for part in ["Page.enable", "Runtime.enable", "Log.enable"] {
            it.ask(part, &json!({}));
        }
        Some(it)
    }

    /// Opens a file in a window of this width, and waits until all of it is there.
    #[allow(dead_code, reason = "not every page is a file")]
    pub(crate) fn open(&mut self, file: &Path, width: u32) {
        self.window(width, 900);
        self.visit(&format!("file://{}", file.display()));
    }

    /// How large the window is.
    pub(crate) fn window(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        // A picture of the whole page has none, so that the window must not leave room for it.
        self.ask("Emulation.setScrollbarsHidden", &json!({"hidden": true}));
    }

    /// Whoever's certificate is shown is believed: the fleet's authority is not one of Chromium's.
    #[allow(dead_code, reason = "most pages are on loopback without TLS")]
    pub(crate) fn trust_any(&mut self) {
        self.ask("Security.setIgnoreCertificateErrors", &json!({"ignore": true}));
    }

    /// Opens an address, and waits until all of it is there.
    pub(crate) fn visit(&mut self, url: &str) {
        self.complaints.clear();
        let went = self.ask("Page.navigate", &json!({"url": url}));
        assert_eq!(went["errorText"], Value::Null, "{went}");
        self.until(|it| it["method"] == "Page.loadEventFired");
    }

    /// What an expression of the page is, or what it promises.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let found = self.ask("Runtime.evaluate", &asked);
        assert_eq!(found["exceptionDetails"], Value::Null, "{expression}: {found}");
        found["result"]["value"].clone()
    }

    /// Waits until an expression of the page is true; the page tells by itself, at each change of it.
    #[allow(dead_code, reason = "not every page changes")]
    pub(crate) fn wait(&mut self, expression: &str) {
        let until = Instant::now() + LIMIT;
        // A page that is left while it is asked cannot answer.
        let asked = format!(
            "new Promise(done => {{ const is = () => {{ try {{ return {expression} }} catch {{ return false }} }}; \
             const look = () => {{ if (is()) {{ watch.disconnect(); done(true) }} }}; \
             const watch = new MutationObserver(look); \
             watch.observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}}); \
             setTimeout(() => done(false), 2000); look() }})"
        );
        while Instant::now() < until {
            let asked = json!({"expression": asked, "returnByValue": true, "awaitPromise": true});
            if self.send("Runtime.evaluate", &asked)["result"]["result"]["value"] == true {
                return;
            }
        }
        panic!("it does not come to {expression}: {}", self.value("document.body.innerText"));
    }

    /// Presses and releases the mouse on what a selector finds first, and can be seen.
    #[allow(dead_code, reason = "not every page has something to click")]
    pub(crate) fn click(&mut self, selector: &str) {
        let at = self.value(&format!(
            "(() => {{ const it = document.querySelector({}); it.scrollIntoView({{block: 'center'}}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2] }})()",
            json!(selector)
        ));
        self.loads_before_click = self.loads;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
            self.ask("Input.dispatchMouseEvent", &event);
        }
    }

    /// Presses a key that writes this text.
    #[allow(dead_code, reason = "not every page is written into")]
    pub(crate) fn key(&mut self, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", &json!({"type": kind, "key": text, "text": text}));
        }
    }

    /// Presses the key that goes to the next thing that can be used.
    #[allow(dead_code, reason = "not every page is used by keys")]
    pub(crate) fn tab(&mut self) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
            self.ask("Input.dispatchKeyEvent", &event);
        }
    }

    /// Whether scripts of pages that are opened from now on run.
    #[allow(dead_code, reason = "not every page has one")]
    pub(crate) fn scripts(&mut self, run: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", &json!({"value": !run}));
    }

    /// Waits until the page that a click leads to is there.
    #[allow(dead_code, reason = "not every page leads to another")]
    pub(crate) fn next(&mut self) {
        // It may have been told of while the answer to the click was waited for.
        while self.loads == self.loads_before_click {
            self.until(|it| it["method"] == "Page.loadEventFired");
        }
    }

    /// Whether the reader's screen is dark.
    #[allow(dead_code, reason = "not every page follows it")]
    pub(crate) fn dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.ask("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// All of the page as a picture, a PNG in base64.
    #[allow(dead_code, reason = "not every page is kept as a picture")]
    pub(crate) fn screenshot(&mut self) -> String {
        let found =
            self.ask("Page.captureScreenshot", &json!({"format": "png", "captureBeyondViewport": true}));
        found["data"].as_str().unwrap_or_default().to_owned()
    }

    /// As it is printed on A4 with half an inch around it; `false`: as on a screen again.
    #[allow(dead_code, reason = "not every page is printed")]
    pub(crate) fn print(&mut self, prints: bool) {
        self.ask("Emulation.setEmulatedMedia", &json!({"media": if prints { "print" } else { "" }}));
        if prints {
            let size = json!({"width": 698, "height": 1027, "deviceScaleFactor": 1, "mobile": false});
            self.ask("Emulation.setDeviceMetricsOverride", &size);
        }
    }

    /// The page as a PDF, in base64.
    #[allow(dead_code, reason = "not every page is printed")]
    pub(crate) fn pdf(&mut self) -> String {
        let found = self.ask("Page.printToPDF", &json!({"paperWidth": 8.27, "paperHeight": 11.69}));
        found["data"].as_str().unwrap_or_default().to_owned()
    }

    /// Errors and warnings of the console since the page was opened.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What came before this answer is heard by then.
        self.value("1");
        std::mem::take(&mut self.complaints)
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let answer = self.send(method, params);
        assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
        answer["result"].clone()
    }

    /// The answer, whether it says that all is well or not.
    fn send(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        self.until(|it| it["id"] == id)
    }

    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            let message = self.socket.read().unwrap();
            let Ok(text) = message.into_text() else { continue };
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            let entry = &value["params"]["entry"];
            let complains = match value["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => value["params"]["type"] == "error",
                Some("Log.entryAdded") => entry["level"] == "error" || entry["level"] == "warning",
                _ => false,
            };
            if complains {
                self.complaints.push(value["params"].to_string());
            }
            self.loads += u64::from(value["method"] == "Page.loadEventFired");
            if is_it(&value) {
                return value;
            }
        }
        panic!("Chromium does not say what is waited for");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
