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
        let mut it = Self { process, socket, last_id: 0, session, complaints: Vec::new(), _profile: profile };
        let target = it.ask("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = it.ask("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        it.session = attached["sessionId"].as_str().unwrap().to_owned();
        for part in ["Page.enable", "Runtime.enable", "Log.enable"] {
            it.ask(part, &json!({}));
        }
        Some(it)
    }

    /// Opens a file in a window of this width, and waits until all of it is there.
    pub(crate) fn open(&mut self, file: &Path, width: u32) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        self.complaints.clear();
        let went = self.ask("Page.navigate", &json!({"url": format!("file://{}", file.display())}));
        assert_eq!(went["errorText"], Value::Null, "{went}");
        let loaded = |it: &Value| it["method"] == "Page.loadEventFired";
        self.until(loaded);
    }

    /// What an expression of the page is.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let found = self.ask("Runtime.evaluate", &json!({"expression": expression, "returnByValue": true}));
        assert_eq!(found["exceptionDetails"], Value::Null, "{expression}: {found}");
        found["result"]["value"].clone()
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
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        let answer = self.until(|it| it["id"] == id);
        assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
        answer["result"].clone()
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
