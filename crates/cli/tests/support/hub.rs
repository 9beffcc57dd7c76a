//! A hub and its agents as processes, for the tests of both.

use super::{
    command::{Ran, Running, run, tidegate},
    wait_until,
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Any free port of this machine.
pub(crate) const ANY: &str = "127.0.0.1:0";

pub(crate) fn bound(what: &'static str) -> impl Fn(&str) -> Option<SocketAddr> {
    move |text: &str| {
        let line = text.lines().find(|line| line.contains(what))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
    }
}

/// A folder for a hub and its clusters.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("policies")).unwrap();
        place
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.at("policies").join(name), text).unwrap();
    }
}

pub(crate) struct Hub {
    pub(crate) running: Running,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Hub {
    pub(crate) fn start(place: &Place, listen: &str, more: &[&str]) -> Self {
        let policies = place.at("policies");
        let source = ["--policies", policies.to_str().unwrap()];
        Self::start_from(&source, &place.at("hub"), listen, more)
    }

    /// With another source of policy, or another state.
    pub(crate) fn start_from(source: &[&str], state: &Path, listen: &str, more: &[&str]) -> Self {
        let mut command = tidegate();
        command.args(["hub", "--listen", listen, "--admin", "127.0.0.1:0"]).args(more);
        command.args(source).arg("--state-dir").arg(state);
        let mut running = Running::start(&mut command);
        let listen = running.until_said("its address", bound("serves agents"));
        let admin = running.until_said("its admin address", bound("serves administration"));
        Self { running, listen, admin }
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Ran {
        run(arguments.iter().map(|it| (*it).to_owned()).chain(["--admin".to_owned(), self.admin.to_string()]))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.ask(&[arguments, &["-o", "json"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The answer with the audit log, headers and all.
    pub(crate) fn audit(&self) -> String {
        self.audit_of("")
    }

    pub(crate) fn audit_of(&self, query: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.admin).unwrap();
        let request = format!("GET /api/v1/audit{query} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn token(&self, cluster: &str) -> String {
        let ran = self.ask(&["cluster", "join-token", cluster, "--ttl", "1h"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.trim().to_owned()
    }

    /// Waits until an object is in this state in a cluster, with the newest policy.
    pub(crate) fn until(&self, object: &str, cluster: &str, state: &str) -> Value {
        wait_until(&format!("{object} {state} in {cluster}"), || {
            let rollout = self.json(&["rollout", "status"]);
            let object = rollout["objects"].as_array()?.iter().find(|it| it["object"] == object)?.clone();
            let found = object["clusters"].as_array()?.iter().find(|it| it["cluster"] == cluster)?;
            (found["state"]["is"] == state).then(|| rollout.clone())
        })
    }
}

pub(crate) fn agent_command(state: &Path, manifests: Option<&Path>, listen: &str) -> std::process::Command {
    let mut command = tidegate();
    command.args(["agent", "--listen", listen, "--admin", "127.0.0.1:0"]).arg("--state-dir").arg(state);
    if let Some(manifests) = manifests {
        command.arg("--manifests").arg(manifests);
    }
    command
}

pub(crate) struct Agent {
    pub(crate) running: Running,
    pub(crate) admin: SocketAddr,
}

impl Agent {
    pub(crate) fn start(command: &mut std::process::Command) -> Self {
        let mut running = Running::start(command);
        let admin = running.until_said("its admin address", bound("serves administration"));
        running.until_said("that it is ready", |text| text.contains("ready: gateways").then_some(()));
        Self { running, admin }
    }

    pub(crate) fn join(place: &Place, hub: &Hub, cluster: &str, manifests: Option<&Path>) -> Self {
        let address = hub.listen.to_string();
        let mut command = agent_command(&place.at(cluster), manifests, ANY);
        Self::start(command.args(["--hub", &address, "--join", &hub.token(cluster)]))
    }

    /// The hold-down that is in force for shop/web, with who said so.
    pub(crate) fn rule(&self) -> Option<String> {
        let ran = run(["explain", "shop/web", "-o", "json", "--admin", &self.admin.to_string()]);
        let explained: Value = serde_json::from_str(&ran.stdout).ok()?;
        let rules = explained["rules"].as_array()?.iter().filter_map(Value::as_str);
        rules.filter(|it| it.starts_with("failback.holdDown")).map(str::to_owned).next()
    }

    pub(crate) fn until_rule(&self, text: &str) {
        wait_until(&format!("the rule {text}"), || self.rule().filter(|it| it.contains(text)));
    }

    pub(crate) fn decisions(&self) -> Value {
        let ran = run(["status", "-o", "json", "--admin", &self.admin.to_string()]);
        let status: Value = serde_json::from_str(&ran.stdout).unwrap();
        serde_json::json!([
            status["pools"],
            status["plans"],
            status["problems"],
            status["manifestsGeneration"]
        ])
    }
}
