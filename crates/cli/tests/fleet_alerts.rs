//! The rules of `deploy/prometheus` over a real fleet and a real Prometheus: each incident that can be made here makes its own alerts
//! fire, and no other. What cannot be made in a moment is told by `promtool test rules` (`metrics.rs`).
//!
//! Time runs ten times faster: what has to last a minute in the rules has to last six seconds here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};
use support::{
    course::{Course, EAST, EUROPE, WEST, cluster, spec},
    skipped, until, workspace,
};
use tempfile::TempDir;
use tidegate_lab::{
    fetch,
    fleet::{Fault, Process, ProcessFault},
    load::LoadMethod,
    toy::ToyMode,
    wan::Site,
};

const ANSWER: Duration = Duration::from_secs(5);
/// What may fire besides while something is broken: there is less left to break.
const FORESEEN: [&str; 2] = ["TidegateCannotFailOver", "TidegateLossWouldOverload"];

/// A Prometheus with our rules, in a hurry, that looks at these agents.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What has to last so long has to last a tenth of it.
fn hurried(rules: &str) -> String {
    let line = |line: &str| match line.trim().strip_prefix("for: ") {
        Some(lasts) => {
            let tenth = tidegate_api::parse_duration(lasts).unwrap() / 10;
            line.replace(lasts, &format!("{}ms", tenth.as_millis()))
        }
        None => line.to_owned(),
    };
    rules.lines().map(line).collect::<Vec<_>>().join("\n")
}

impl Prometheus {
    /// `None` after saying that the test was skipped. CI must have it.
    fn start(test: &str, agents: &[SocketAddr]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let rules = fs::read_to_string(workspace().join("deploy/prometheus/rules.yaml")).unwrap();
        fs::write(at("rules.yaml"), hurried(&rules)).unwrap();
        let targets: Vec<String> = agents.iter().map(ToString::to_string).collect();
        let config = json!({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "tidegate-agent", "static_configs": [{"targets": targets}]}],
        });
        fs::write(at("prometheus.yaml"), config.to_string()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yaml")))
            .arg(format!("--storage.tsdb.path={}", at("data")))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn();
        match process {
            Ok(process) => Some(Self { process, address, _folder: folder }),
            Err(_) => {
                skipped(test, "no prometheus on PATH");
                None
            }
        }
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        fetch::get_json(self.address, path, ANSWER).await.ok()
    }

    /// The alerts that fire.
    async fn firing(&self) -> Option<BTreeSet<String>> {
        let answer = self.ask("/api/v1/alerts").await?;
        let alerts = answer["data"]["alerts"].as_array()?.iter().filter(|it| it["state"] == "firing");
        alerts.map(|it| Some(it["labels"]["alertname"].as_str()?.to_owned())).collect()
    }

    /// Waits until these fire. Nothing else may, but what is expected while something is broken.
    async fn until_firing(&self, incident: &str, wanted: &[&str]) {
        until(&format!("{wanted:?} by {incident}"), async || {
            let firing = self.firing().await?;
            let other = |it: &&String| !wanted.contains(&it.as_str()) && !FORESEEN.contains(&it.as_str());
            let others: Vec<_> = firing.iter().filter(other).collect();
            assert!(others.is_empty(), "{incident} makes {others:?} fire, too");
            wanted.iter().all(|it| firing.contains(*it)).then_some(())
        })
        .await;
    }

    async fn until_quiet(&self, after: &str) {
        until(&format!("all alerts to end after {after}"), async || {
            self.firing().await?.is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_fires_in_its_incident_and_in_no_other() {
    let test = "each_alert_fires_in_its_incident_and_in_no_other";
    let mut spec = spec();
    spec.services.truncate(1);
    // 20 requests/s an endpoint: enough for what is asked for until the load begins, which is nothing.
    let more = json!({"capacity": {"requestsPerSecond": 20}, "whenExhausted": "Shed"});
    spec.policy.more.extend(more.as_object().unwrap().clone());
    let Some(mut course) = Course::start(test, spec).await else { return };
    for name in [EAST, WEST, EUROPE] {
        course.until_peers_are_heard(name).await;
    }
    let agents = [EAST, WEST, EUROPE].map(|it| course.fleet().addresses(&cluster(it)).unwrap().agent_admin);
    let Some(prometheus) = Prometheus::start(test, &agents) else { return };
    until("all agents to be scraped", async || {
        let up = prometheus.ask("/api/v1/query?query=sum(tidegate_ready)").await?;
        (up["data"]["result"][0]["value"][1] == "3").then_some(())
    })
    .await;
    prometheus.until_quiet("the start").await;

    let zone = Fault::Zone { zone: "us-east-1a".parse().unwrap(), mode: ToyMode::Refuse };
    course.fleet().fault(zone).await.unwrap();
    prometheus.until_firing("the loss of a zone", &["TidegateFailedOver"]).await;
    course.fleet().restore().await.unwrap();
    prometheus.until_quiet("the loss of a zone").await;

    let between = [EAST, WEST].map(|it| Site::Cluster(cluster(it)));
    course.fleet().fault(Fault::Link { between }).await.unwrap();
    prometheus.until_firing("a link that is cut", &["TidegatePeerUnreachable"]).await;
    course.fleet().restore().await.unwrap();
    prometheus.until_quiet("a link that was cut").await;

    nack(&course, &prometheus).await;

    let fault =
        Fault::Process { cluster: cluster(EUROPE), process: Process::Agent, fault: ProcessFault::Kill };
    course.fleet().fault(fault).await.unwrap();
    prometheus.until_firing("an agent that is gone", &["TidegateAgentGone"]).await;
    course.fleet().restore().await.unwrap();
    course.until_ready(EUROPE).await;
    prometheus.until_quiet("an agent that was gone").await;

    // 200 requests/s, where both regions together take 128.
    course.load(&[EAST], LoadMethod::Get).await;
    prometheus.until_firing("more load than there is room for", &["TidegateCapacitySqueeze"]).await;
    drop(prometheus);
    course.stop().await;
}

/// Another listener, at a port that somebody else has: Envoy refuses it.
async fn nack(course: &Course, prometheus: &Prometheus) {
    let edge = course.fleet().edge(&cluster(WEST)).unwrap().gateway;
    let taken = TcpListener::bind((edge.ip(), 0)).unwrap();
    let file = course.fleet().files().join("manifests").join(WEST).join("gateways.yaml");
    let good = fs::read_to_string(&file).unwrap();
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&good).unwrap();
    let class = |it: &&mut Value| it["spec"]["gatewayClassName"] == "tidegate-edge";
    let gateway = objects.iter_mut().find(class).unwrap();
    let listeners = gateway["spec"]["listeners"].as_array_mut().unwrap();
    listeners.push(json!({"name": "taken", "port": taken.local_addr().unwrap().port(), "protocol": "HTTP"}));
    fs::write(&file, serde_saphyr::to_string_multiple(&objects).unwrap()).unwrap();
    prometheus.until_firing("a port that is taken", &["TidegateGatewayRefuses"]).await;
    fs::write(&file, good).unwrap();
    prometheus.until_quiet("a port that was taken").await;
}
