//! People who ask a hub and its agents by certificate, as processes: what each may, and who is refused, by whom and why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc, time::Duration};
use support::{
    command::{Ran, run},
    hub::{ANY, Agent, Hub, Place, agent_command, bound},
    pair::{DOMAIN, get},
    until, wait_until,
};
use tidegate_link::identity::{
    Authority, Clock, Credentials, Identity, Party, PrivateKey, Refusals, Serial, SystemClock, TrustBundle,
    TrustDomain, UnixTime, dial_pinned,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const POLICY: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec: {targetRefs: [{group: \"\", kind: Service, name: web}]}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: pay}
spec: {targetRefs: [{group: \"\", kind: Service, name: web}]}
";

/// Something in a zone that traffic can be moved away from; nobody answers there.
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 9}]
endpoints: [{addresses: [127.0.78.1], zone: a, conditions: {ready: true}}, {addresses: [127.0.78.2], zone: b, conditions: {ready: true}}]
";

struct Fleet {
    place: Place,
    hub: Hub,
    agent: Agent,
    hub_door: SocketAddr,
    agent_door: SocketAddr,
}

impl Fleet {
    fn start() -> Self {
        let place = Place::new();
        place.write("all.yaml", POLICY);
        let mut hub = Hub::start(&place, ANY, &["--trust-domain", DOMAIN, "--admin-tls", ANY]);
        let hub_door = hub.running.until_said("its door", bound("serves people"));
        let manifests = place.at("manifests");
        fs::create_dir(&manifests).unwrap();
        fs::write(manifests.join("web.yaml"), SERVICE).unwrap();
        let mut command = agent_command(&place.at("us-east"), Some(&manifests), ANY);
        command.args(["--admin-tls", ANY, "--hub", &hub.listen.to_string(), "--join", &hub.token("us-east")]);
        let mut agent = Agent::start(&mut command);
        let agent_door = agent.running.until_said("its door", bound("serves people"));
        Self { place, hub, agent, hub_door, agent_door }
    }

    fn make(&self, name: &str, more: &[&str]) -> Ran {
        let folder = self.place.at("people");
        let out = ["--out", folder.to_str().unwrap()];
        self.hub.ask(&[&["access", "certificate", name], more, &out].concat())
    }

    fn files(&self, name: &str) -> [PathBuf; 2] {
        ["crt", "key"].map(|end| self.place.at(&format!("people/{name}.{end}")))
    }

    /// Asks as somebody who has a certificate.
    fn ask(&self, door: SocketAddr, name: &str, arguments: &[&str]) -> Ran {
        let [certificate, key] = self.files(name);
        let door = door.to_string();
        let files = [certificate.to_str().unwrap(), key.to_str().unwrap()];
        run([arguments, &["--admin", &door, "--client-cert", files[0], "--client-key", files[1]]].concat())
    }

    fn refused_by_hub(&self, reason: &str) -> u64 {
        let text = get(self.hub.admin, "/metrics").unwrap();
        let line = format!("tidegate_hub_refusals_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|it| it.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }

    fn refused_by_agent(&self, reason: &str) -> u64 {
        let ran = run(["status", "-o", "json", "--admin", &self.agent.admin.to_string()]);
        let status: Value = serde_json::from_str(&ran.stdout).unwrap();
        status["refusals"][reason].as_u64().unwrap_or(0)
    }
}

#[track_caller]
fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[track_caller]
fn denied(ran: &Ran, why: &str) {
    assert!(ran.code == Some(1) && ran.stderr.contains(why), "{why}: {ran:?}");
}

#[test]
fn a_certificate_is_good_for_what_was_granted_to_it_until_that_is_taken_away() {
    let mut fleet = Fleet::start();
    let (hub, agent) = (fleet.hub_door, fleet.agent_door);
    done(&fleet.make("victor", &["--role", "viewer", "--ttl", "24h"]));
    done(&fleet.make("olga", &["--role", "operator", "--namespace", "shop"]));
    done(&fleet.make("ada", &["--role", "admin"]));
    for (file, mode) in fleet.files("ada").iter().zip([0o644, 0o600]) {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, mode, "{}", file.display());
    }
    let [certificate, key] = fleet.files("ada").map(|file| fs::read_to_string(file).unwrap());
    assert!(!certificate.contains("PRIVATE") && key.contains("PRIVATE"));

    // Each role, and limits to namespaces, at the hub.
    let rollout = |name: &str| fleet.ask(hub, name, &["rollout", "status"]).stdout;
    assert!(rollout("victor").contains("shop/web") && rollout("victor").contains("pay/web"));
    assert!(rollout("olga").contains("shop/web") && !rollout("olga").contains("pay/"));
    denied(&fleet.ask(hub, "victor", &["rollout", "rollback"]), "victor is viewer, and this needs operator");
    denied(&fleet.ask(hub, "olga", &["rollout", "rollback"]), "olga is limited to namespaces");
    denied(&fleet.ask(hub, "olga", &["cluster", "join-token", "us-east"]), "this needs admin");
    done(&fleet.ask(hub, "ada", &["cluster", "join-token", "us-east"]));
    let listed = fleet.ask(hub, "ada", &["access", "list"]).stdout;
    assert!(listed.contains("victor") && listed.contains("certificate"), "{listed}");
    denied(&fleet.make("ada", &["--role", "viewer"]), "ada has a token or certificate already");
    denied(&fleet.make("../x", &["--role", "viewer"]), "a name has 1 to 63 letters");
    assert!(fleet.files("ada")[1].exists(), "whoever is refused another one keeps the first");

    // At the agent, also without the hub.
    wait_until("the agent to know them", || fleet.ask(agent, "ada", &["status"]).code.filter(|it| *it == 0));
    let away = ["shift", "away", "--yes", "--zone", "a", "--for", "5m", "--comment", "test"];
    denied(&fleet.ask(agent, "victor", &away), "victor is viewer, and this needs operator");
    denied(&fleet.ask(agent, "olga", &away), "olga is limited to namespaces");
    assert_eq!((fleet.refused_by_agent("access_role"), fleet.refused_by_agent("access_namespace")), (1, 1));

    // Taken away: at once, and whoever gets the name later does not give it back.
    done(&fleet.hub.ask(&["access", "revoke", "victor"]));
    let unknown = "nothing is granted to the certificate of spiffe://fleet.example/person/victor here";
    denied(&fleet.ask(hub, "victor", &["rollout", "status"]), unknown);
    let stolen = fleet.files("victor").map(|file| fs::read(file).unwrap());
    done(&fleet.make("victor", &["--role", "admin"]));
    for (file, bytes) in fleet.files("victor").iter().zip(&stolen) {
        fs::write(file, bytes).unwrap();
    }
    denied(&fleet.ask(hub, "victor", &["rollout", "status"]), unknown);
    wait_until("the agent to hear of it", || {
        fleet.ask(agent, "victor", &["status"]).stderr.contains(unknown).then_some(())
    });
    assert!(fleet.refused_by_hub("access_unknown") >= 2 && fleet.refused_by_agent("access_unknown") >= 1);
    fleet.hub.running.signal(rustix::process::Signal::KILL);
    fleet.hub.running.ended();
    done(&fleet.ask(agent, "ada", &["status"]));
    denied(&fleet.ask(agent, "victor", &["status"]), unknown);

    // Who and why is in the logs, and no key.
    let (hub, agent) = (fleet.hub.running.said(), fleet.agent.running.said());
    let line = "POST /api/v1/rollout/rollback from 127.0.0.1 is refused: olga is limited to namespaces";
    assert!(hub.contains(line) && hub.contains(unknown) && agent.contains(unknown), "{hub}\n{agent}");
    let secret = key.lines().nth(1).unwrap();
    assert!(!hub.contains(secret) && !agent.contains(secret) && !hub.contains("PRIVATE"));
}

/// What a door answers to somebody who shows this identity, whatever the command line would have thought of it.
async fn answer(door: SocketAddr, fleet: &Authority, shown: &Identity) -> Option<String> {
    let mut stream = dial_pinned(door, fleet.pin().unwrap(), Some(shown)).await.ok()?;
    let request = b"GET /api/v1/rollout HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

fn identity(issuer: &Authority, party: &Party, serial: u8, lifetime: Duration) -> Identity {
    issued_at(SystemClock.now(), issuer, party, serial, lifetime)
}

/// It ended half an hour ago.
fn long_ago(issuer: &Authority, party: &Party, serial: u8) -> Identity {
    // An authority is backdated by an hour, and issues nothing before that.
    let then = UnixTime::since_unix_epoch(Duration::from_secs(SystemClock.now().as_secs() - 1800));
    issued_at(then, issuer, party, serial, Duration::from_secs(60))
}

fn issued_at(now: UnixTime, issuer: &Authority, party: &Party, serial: u8, lifetime: Duration) -> Identity {
    let key = PrivateKey::generate().unwrap();
    let (request, serial) = (key.request().unwrap(), Serial::of(&[serial]));
    let issued = issuer.issue(&request, party, &serial, now, lifetime).unwrap();
    let bundle = TrustBundle::new(issuer.trust_domain().clone(), [issuer.root().clone()]).unwrap();
    let credentials = Credentials::new(issued.chain, &key, bundle).unwrap();
    Identity::new(credentials, Refusals::default(), Arc::new(SystemClock))
}

fn other_authority(domain: &str) -> Authority {
    let domain: TrustDomain = domain.parse().unwrap();
    let day = Duration::from_secs(86_400);
    let (certificate, key) = Authority::create(&domain, SystemClock.now(), day).unwrap();
    Authority::from_pem(domain, &certificate, &key, None).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_nobodys_here_open_no_door_and_are_told_of() {
    let fleet = Fleet::start();
    let authority = Authority::load(&fleet.place.at("hub/ca"), DOMAIN.parse().unwrap()).unwrap();
    let day = Duration::from_secs(86_400);
    let (ada, east): (Party, _) = (Party::Person("ada".parse().unwrap()), "us-east".parse().unwrap());
    let agent = Party::Agent("us-east".parse().unwrap());
    let (stranger, forger) = (other_authority("other.example"), other_authority(DOMAIN));
    // The words of the refusal: who, why, and how it is counted.
    let cases = [
        (
            identity(&authority, &agent, 1, day),
            "cluster/us-east/agent is refused: a certificate of tidegate access",
            "other_party",
        ),
        (
            identity(&authority, &Party::Gateway(east), 2, day),
            "cluster/us-east/gateway is refused: a certificate",
            "other_party",
        ),
        (
            identity(&authority, &Party::Hub, 3, day),
            "fleet.example/hub is refused: a certificate",
            "other_party",
        ),
        (
            identity(&stranger, &ada, 4, day),
            "other.example/person/ada is refused: it is of another trust domain",
            "other_trust_domain",
        ),
        (
            identity(&forger, &ada, 5, day),
            "person/ada is refused: its certificate is of an authority that is not",
            "unknown_authority",
        ),
        (long_ago(&authority, &ada, 6), "person/ada is refused: its certificate expired", "expired"),
    ];
    for (shown, words, reason) in cases {
        let (hub, agent) = (fleet.refused_by_hub(reason), fleet.refused_by_agent(reason));
        for door in [fleet.hub_door, fleet.agent_door] {
            let answer = answer(door, &authority, &shown).await;
            assert!(answer.as_deref().is_none_or(str::is_empty), "{words}: {answer:?}");
        }
        until(&format!("{reason} to be counted"), async || {
            (fleet.refused_by_hub(reason) > hub && fleet.refused_by_agent(reason) > agent).then_some(())
        })
        .await;
        let said = [fleet.hub.running.said(), fleet.agent.running.said()];
        assert!(said.iter().all(|it| it.contains(words)), "{words}: {said:?}");
    }
    // Of the fleet's own authority, in time, and yet nobody granted anything to it.
    let nobody = identity(&authority, &ada, 7, day);
    for door in [fleet.hub_door, fleet.agent_door] {
        let answer = answer(door, &authority, &nobody).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("nothing is granted"), "{answer}");
    }

    // The other way round: a person is no agent, and takes part in nothing.
    fleet.make("ada", &["--role", "admin"]);
    let [certificate, key] = fleet.files("ada").map(|file| fs::read_to_string(file).unwrap());
    let bundle = TrustBundle::new(authority.trust_domain().clone(), [authority.root().clone()]).unwrap();
    let chain = TrustBundle::certificates(&certificate).unwrap();
    let credentials = Credentials::new(chain, &PrivateKey::from_pem(&key).unwrap(), bundle).unwrap();
    let ada = Identity::new(credentials, Refusals::default(), Arc::new(SystemClock));
    let before = fleet.refused_by_hub("other_party");
    let config = ada.client(tidegate_link::identity::Expect::Hub).unwrap();
    if let Ok(channel) = tidegate_link::identity::connect(&fleet.hub.listen.to_string(), config).await {
        let mut client = tidegate_link::hub::proto::fleet_client::FleetClient::new(channel);
        let asked = tidegate_link::hub::proto::RenewRequest::default();
        client.renew(asked).await.unwrap_err();
    }
    until("a person at the agents' door to be counted", async || {
        (fleet.refused_by_hub("other_party") > before).then_some(())
    })
    .await;
    let said = fleet.hub.running.said();
    assert!(said.contains("person/ada is refused: an agent was expected"), "{said}");
}
