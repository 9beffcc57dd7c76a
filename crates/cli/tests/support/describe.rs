//! `kubectl describe` with its events. A whole API server keeps the events of `v1` and of `events.k8s.io` in one place and selects
//! them by what they regard; the small one of the tests does neither, so what kubectl asks goes through here: events are answered
//! as a whole server does, everything else is passed on.

use serde_json::{Value, json};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread::sleep,
    time::Duration,
};
use tidegate_apiserver::ApiServer;

/// What `kubectl describe` says of an object in `shop`.
pub(crate) fn described(server: &ApiServer, kind: &str, name: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let between = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let mut command = server.kubectl();
    // Without the server's kubeconfig, which asks for TLS.
    command.env_remove("KUBECONFIG").args(["--server", &between, "describe", kind, name, "-n", "shop"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        match listener.accept() {
            Ok((stream, _)) => answer(server, stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(2)),
            Err(error) => panic!("{error}"),
        }
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn answer(server: &ApiServer, mut stream: TcpStream) {
    stream.set_nonblocking(false).unwrap();
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let address = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let found = match path.strip_prefix("/api/v1").filter(|it| it.ends_with("/events")) {
        Some(rest) => raw(server, &format!("/apis/events.k8s.io/v1{rest}")).map(|it| selected(&it, query)),
        None => raw(server, address),
    };
    let (status, body) = match found {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", json!({"kind": "Status", "apiVersion": "v1", "code": 404}).to_string()),
    };
    let length = body.len();
    // Who asked may be gone.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

fn raw(server: &ApiServer, address: &str) -> Option<String> {
    let output = server.kubectl().args(["get", "--raw", address]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The events that a field selector of `v1` selects, in the form of `v1`.
fn selected(list: &str, query: &str) -> String {
    let selector = query.split('&').find_map(|it| it.strip_prefix("fieldSelector=")).unwrap_or_default();
    let selector = selector.replace("%3D", "=").replace("%2C", ",");
    let wanted: Vec<(&str, &str)> =
        selector.split(',').filter_map(|it| it.strip_prefix("involvedObject.")?.split_once('=')).collect();
    assert!(wanted.iter().any(|(name, _)| *name == "uid"), "kubectl looks for the uid: {query}");
    let list: Value = serde_json::from_str(list).unwrap();
    let regards = |event: &&Value| {
        wanted.iter().all(|(name, value)| event["regarding"][*name].as_str().unwrap_or_default() == *value)
    };
    let of_core = |event: &Value| {
        json!({
            "metadata": event["metadata"],
            "involvedObject": event["regarding"],
            "type": event["type"],
            "reason": event["reason"],
            "message": event["note"],
            "eventTime": event["eventTime"],
            "reportingComponent": event["reportingController"],
            "reportingInstance": event["reportingInstance"],
        })
    };
    let items: Vec<Value> = list["items"].as_array().unwrap().iter().filter(regards).map(of_core).collect();
    json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": items}).to_string()
}
