//! Envoy's own active checks of the same targets.

use crate::{cpu, prober::address, server::Server, shown::Measured};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long Envoy may take to answer on its admin address.
const START_LIMIT: Duration = Duration::from_secs(30);

/// An Envoy that is ended with its owner.
struct Running {
    child: Child,
    admin: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// The sum of the counters whose names end so.
    fn counter(&self, end: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        let request = format!("GET /stats?filter={end} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let rows =
            text.lines().filter_map(|line| line.split_once(": ").filter(|(name, _)| name.ends_with(end)));
        let values: Vec<u64> = rows.filter_map(|(_, value)| value.trim().parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

/// As the prober checks: a new connection each time, once a second give or take a tenth, whether there is traffic or not.
fn config(port: u16, targets: u32, admin: u16) -> Value {
    let endpoint = |index| {
        let address = address(index).to_string();
        json!({ "endpoint": { "address": { "socket_address": { "address": address, "port_value": port } } } })
    };
    let endpoints: Vec<Value> = (0..targets).map(endpoint).collect();
    json!({
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": admin } } },
        "static_resources": { "clusters": [{
            "name": "checked",
            "type": "STATIC",
            "connect_timeout": "0.5s",
            "load_assignment": { "cluster_name": "checked", "endpoints": [{ "lb_endpoints": endpoints }] },
            "health_checks": [{
                "timeout": "0.5s",
                "interval": "0.9s",
                "interval_jitter": "0.2s",
                "initial_jitter": "1s",
                "no_traffic_interval": "0.9s",
                "no_traffic_healthy_interval": "0.9s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 2,
                "reuse_connection": false,
                "http_health_check": { "path": "/healthz", "host": "checked" }
            }]
        }]}
    })
}

pub(crate) fn measure(
    program: &Path,
    core: u32,
    server: &mut Server,
    targets: u32,
    time: Duration,
) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.json");
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(&file, config(server.port(), targets, admin).to_string()).unwrap();
    let child = cpu::on_core(core, program)
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let envoy = Running { child, admin };
    let process = envoy.child.id().to_string();
    let start = Instant::now();
    while envoy.counter("health_check.success").is_none_or(|checks| checks < u64::from(targets) * 2) {
        assert!(
            start.elapsed() < START_LIMIT,
            "Envoy did not check its targets; is {} right?",
            file.display()
        );
        thread::sleep(Duration::from_millis(50));
    }
    server.reset();
    let count =
        || [envoy.counter("health_check.attempt"), envoy.counter("health_check.failure")].map(Option::unwrap);
    let ([checks, failed], cpu, start) = (count(), cpu::used(&process), Instant::now());
    thread::sleep(time);
    let (after, cpu, wall) = (count(), cpu::used(&process) - cpu, start.elapsed());
    Measured { checks: after[0] - checks, failed: after[1] - failed, wall, cpu, late: None }
}
