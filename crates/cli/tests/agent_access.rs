//! Who may ask an agent what from elsewhere, as processes: tokens of the hub at the agent's own door, also while the hub is away.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use support::{
    command::{Ran, Running, run},
    hub::{ANY, Agent, Hub, Place, agent_command, bound},
    wait_until,
};

const CLUSTER: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
";

/// A service with one endpoint in each of two zones; nobody answers there, and nothing here needs that.
fn service(namespace: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 9}}]\nendpoints:\n\
         - {{addresses: [{ip}1], zone: a, conditions: {{ready: true}}}}\n- {{addresses: [{ip}2], zone: b, conditions: {{ready: true}}}}\n"
    )
}

/// An agent with a door for people elsewhere, and a hub.
struct Fleet {
    place: Place,
    hub: Hub,
    agent: Agent,
    door: SocketAddr,
}

impl Fleet {
    fn start() -> Self {
        let place = Place::new();
        place.write("cluster.yaml", CLUSTER);
        let manifests = place.at("manifests");
        fs::create_dir(&manifests).unwrap();
        fs::write(manifests.join("shop.yaml"), service("shop", "127.0.77.1")).unwrap();
        fs::write(manifests.join("pay.yaml"), service("pay", "127.0.77.2")).unwrap();
        let hub = Hub::start(&place, ANY, &[]);
        let mut command = agent_command(&place.at("us-east"), Some(&manifests), ANY);
        command.args(["--admin-tls", ANY, "--hub", &hub.listen.to_string(), "--join", &hub.token("us-east")]);
        let mut agent = Agent::start(&mut command);
        let door = agent.running.until_said("its door", bound("serves people with tokens"));
        Self { place, hub, agent, door }
    }

    /// Gives somebody a token, in a file.
    fn grant(&self, name: &str, more: &[&str]) -> PathBuf {
        let ran = self.hub.ask(&[&["access", "grant", name], more].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let path = self.place.at(name);
        fs::write(&path, ran.stdout).unwrap();
        path
    }

    fn ask(&self, token: &Path, arguments: &[&str]) -> Ran {
        let door = self.door.to_string();
        run([arguments, &["--admin", &door, "--token-file", token.to_str().unwrap()]].concat())
    }

    fn shift(&self, token: &Path, more: &[&str]) -> Ran {
        self.ask(
            token,
            &[&["shift", "away", "--yes", "--zone", "a", "--for", "5m", "--comment", "test"], more].concat(),
        )
    }

    fn refused(&self, reason: &str) -> u64 {
        let ran = run(["status", "-o", "json", "--admin", &self.agent.admin.to_string()]);
        let status: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        status["refusals"][reason].as_u64().unwrap_or(0)
    }
}

#[track_caller]
fn denied(ran: &Ran, why: &str) {
    assert!(ran.code == Some(1) && ran.stderr.contains(why), "{ran:?}");
}

#[track_caller]
fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn people_elsewhere_may_what_their_tokens_say_also_without_the_hub() {
    let mut fleet = Fleet::start();
    let viewer = fleet.grant("vera", &["--role", "viewer"]);
    let operator = fleet.grant("olaf", &["--role", "operator"]);
    let limited = fleet.grant("lena", &["--role", "operator", "--namespace", "shop"]);
    let brief = fleet.grant("bert", &["--role", "viewer", "--ttl", "1s"]);
    // What the hub has given reaches the agent in a moment.
    wait_until("the last token", || fleet.ask(&limited, &["status"]).code.filter(|code| *code == 0));

    // The hub is not needed from here on.
    fleet.hub.running.signal(rustix::process::Signal::KILL);
    fleet.hub.running.ended();
    done(&fleet.ask(&viewer, &["status"]));
    done(&fleet.ask(&viewer, &["explain", "pay/web"]));
    denied(&fleet.shift(&viewer, &[]), "vera is viewer, and this needs operator");
    assert_eq!(fleet.refused("access_role"), 1);
    done(&fleet.shift(&operator, &["--force"]));
    let zone = fleet.ask(&limited, &["shift", "list"]).stdout;
    assert!(zone.contains("zone-a"), "a place is everybody's to see: {zone}");

    // Whoever is limited to a namespace moves its services only, and no place.
    done(&fleet.shift(&limited, &["--service", "shop/web", "--force"]));
    let elsewhere = "lena is limited to other namespaces than pay";
    denied(&fleet.shift(&limited, &["--service", "pay/web"]), elsewhere);
    denied(&fleet.ask(&limited, &["explain", "pay/web"]), elsewhere);
    denied(&fleet.ask(&limited, &["failback", "pay/web", "--to", "zone a"]), elsewhere);
    let everywhere = "lena is limited to namespaces, and this concerns the whole fleet";
    denied(&fleet.shift(&limited, &[]), everywhere);
    denied(&fleet.ask(&limited, &["shift", "end", "zone-a"]), everywhere);
    let whatif = fleet.ask(&limited, &["whatif"]);
    assert!(whatif.code == Some(2) && whatif.stderr.contains(everywhere), "{whatif:?}");
    done(&fleet.ask(&limited, &["shift", "end", "zone-a-shop-web"]));
    done(&fleet.ask(&limited, &["explain", "shop/web"]));
    let seen = fleet.ask(&limited, &["status", "-o", "json"]).stdout;
    assert!(seen.contains("shop/web") && !seen.contains("pay/web"), "{seen}");
    assert_eq!(fleet.refused("access_namespace"), 6);

    // Nothing, something of another fleet's, and something that is over.
    let without = run(["status", "--admin", &fleet.door.to_string()]);
    assert_ne!(without.code, Some(0), "plain HTTP at the door: {without:?}");
    let wrong = fs::read_to_string(&viewer).unwrap();
    let (head, tail) = wrong.trim().split_at("tidegate-access.vera.".len());
    let other = if tail.starts_with('0') { "1" } else { "0" };
    let forged = fleet.place.at("forged");
    fs::write(&forged, format!("{head}{other}{}", &tail[1..])).unwrap();
    denied(&fleet.ask(&forged, &["status"]), "no such token is known here");
    assert_eq!(fleet.refused("access_unknown"), 1);
    wait_until("the end of bert's token", || {
        fleet.ask(&brief, &["status"]).stderr.contains("what was granted to bert has expired").then_some(())
    });
    assert!(fleet.refused("access_expired") >= 1);
    let said = fleet.agent.running.said();
    for line in [
        "POST /api/v1/shifts from 127.0.0.1 is refused: vera is viewer",
        "is refused: lena is limited to other namespaces than pay",
        "is refused: no such token is known here",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains(tail), "no token is in the log");

    // An agent that starts while the hub is away still knows them.
    fleet.agent.running.signal(rustix::process::Signal::TERM);
    fleet.agent.running.ended();
    let manifests = fleet.place.at("manifests");
    let mut command = agent_command(&fleet.place.at("us-east"), Some(&manifests), ANY);
    fleet.agent = Agent::start(command.args(["--admin-tls", ANY, "--hub", &fleet.hub.listen.to_string()]));
    fleet.door = fleet.agent.running.until_said("its door", bound("serves people with tokens"));
    done(&fleet.ask(&operator, &["shift", "list"]));
}

#[test]
fn an_agent_that_could_be_reached_by_anybody_does_not_start() {
    let place = Place::new();
    place.write("cluster.yaml", CLUSTER);
    let policies = place.at("policies");
    let refused = |more: &[&str]| {
        let state = place.at("state");
        let common =
            ["agent", "--cluster", "us-east", "--listen", ANY, "--manifests", policies.to_str().unwrap()];
        let mut command = support::command::tidegate();
        let mut running = Running::start(command.args(common).arg("--state-dir").arg(state).args(more));
        assert_eq!(running.ended().code(), Some(1));
        running.said()
    };
    let said = refused(&["--admin", "0.0.0.0:0"]);
    assert!(said.contains("the admin address 0.0.0.0:0 is not a loopback address"), "{said}");
    assert!(said.contains("hint: it asks nobody who they are; --admin-tls does"), "{said}");
    let said = refused(&["--admin", ANY, "--admin-tls", "0.0.0.0:0"]);
    assert!(
        said.contains("--admin-tls knows people by the tokens of a hub, and this agent has none"),
        "{said}"
    );
}
