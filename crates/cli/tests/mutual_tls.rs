//! Mutual TLS as a whole: a hub, two clusters and their real Envoys as processes. Who is not believed is refused, at each of
//! the ways in; who is does not notice that certificates are replaced.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use support::{
    command::{Running, finish, tidegate},
    envoy,
    hub::{ANY, Agent, Hub, Place, agent_command},
    pair::{DOMAIN, EAST, Pair, WEST, free, get, load},
    until, wait_until,
};
use tidegate_link::{
    PeerAddresses, PeerClient, PeerClientConfig,
    identity::{
        Authority, Clock, Credentials, Identity, Party, PrivateKey, Refusals, Serial, SystemClock,
        TrustBundle,
    },
};
use tidegate_model::PeerBoot;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn agent(cluster: &str) -> Party {
    Party::Agent(cluster.parse().unwrap())
}

/// An identity that `issuer` vouches for, and that believes `fleet`.
fn identity(issuer: &Authority, fleet: &Authority, party: &Party, lifetime: Duration) -> Identity {
    let key = PrivateKey::generate().unwrap();
    let serial = Serial::of(&[7, 7, 7]);
    let issued = issuer.issue(&key.request().unwrap(), party, &serial, SystemClock.now(), lifetime).unwrap();
    let bundle = TrustBundle::new(fleet.trust_domain().clone(), [fleet.root().clone()]).unwrap();
    Identity::new(
        Credentials::new(issued.chain, &key, bundle).unwrap(),
        Refusals::default(),
        Arc::new(SystemClock),
    )
}

/// How the link of somebody who says that it is `own` and shows `identity` to a gateway of `peer` stands, once it says so.
async fn until_link(own: &str, identity: Option<Identity>, peer: &str, gateway: SocketAddr, words: &str) {
    let (events, mut read) = mpsc::channel(64);
    tokio::spawn(async move { while read.recv().await.is_some() {} });
    let stop = CancellationToken::new();
    let config = PeerClientConfig {
        own: own.parse().unwrap(),
        boot: PeerBoot(7),
        peers: PeerAddresses::from([(peer.parse().unwrap(), vec![gateway])]),
        origin: Instant::now(),
        identity,
    };
    let client = PeerClient::start(config, events, stop.clone()).unwrap();
    let _stop = stop.drop_guard();
    until(&format!("a link that says {words:?}"), async || {
        let view = client.view().await;
        view[0].links[0].state.to_string().contains(words).then_some(())
    })
    .await;
}

fn other_authority(domain: &str) -> Authority {
    let domain = domain.parse().unwrap();
    let day = Duration::from_secs(86_400);
    let (certificate, key) = Authority::create(&domain, SystemClock.now(), day).unwrap();
    Authority::from_pem(domain, &certificate, &key, None).unwrap()
}

fn assert_for_the_owner_alone(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}

/// All that an agent has written or says: nowhere in it is a key.
fn assert_no_key(pair: &Pair) {
    let mut told = vec![
        ("the hub's log".to_owned(), pair.hub.running.said()),
        ("the east's log".to_owned(), pair.east.agent.running.said()),
        ("the west's log".to_owned(), pair.west.agent.running.said()),
    ];
    for (name, side) in [(EAST, &pair.east), (WEST, &pair.west)] {
        for path in ["/api/v1/status", "/metrics", "/api/v1/decisions"] {
            told.push((format!("{path} of {name}"), get(side.agent.admin, path).unwrap()));
        }
        let state = pair.place.at(name);
        let mut folders = vec![state.clone()];
        while let Some(folder) = folders.pop() {
            // These two hold keys, and are checked for who may read them.
            if folder == state.join("hub") || folder == state.join("gateways") {
                continue;
            }
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => told.push((
                        path.display().to_string(),
                        String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
                    )),
                }
            }
        }
        let kept: serde_json::Value =
            serde_json::from_slice(&fs::read(state.join("hub/identity.json")).unwrap()).unwrap();
        let key = kept["gateway"]["key"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
        for (what, text) in &told {
            assert!(!text.contains(&key), "a key in {what}");
        }
    }
    assert!(told.len() > 12, "there are journals among them: {}", told.len());
    for (what, text) in &told {
        assert!(!text.contains("PRIVATE KEY") && !text.contains("tidegate-join."), "a secret in {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_links_cross_clusters_by_mutual_tls_only_and_live_without_the_hub() {
    let Some(envoy) = envoy("requests_and_links_cross_clusters_by_mutual_tls_only") else { return };
    let mut pair = Pair::start(&envoy, &[]);
    pair.until_served();
    pair.east.until_link("beating");
    pair.west.until_link("beating");

    // Without TLS nobody gets an answer.
    let mut plain = TcpStream::connect(pair.west.eastwest).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-tidegate-service: shop/web\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));

    // With the fleet's own authority an agent is let in; with anything else nobody is.
    let fleet = Authority::load(&pair.place.at("hub/ca"), DOMAIN.parse().unwrap()).unwrap();
    let (day, gateway) = (Duration::from_secs(86_400), pair.west.eastwest);
    let of_fleet = |party: &Party| Some(identity(&fleet, &fleet, party, day));
    until_link(EAST, of_fleet(&agent(EAST)), WEST, gateway, "beating").await;
    until_link(
        EAST,
        of_fleet(&agent("north")),
        WEST,
        gateway,
        "refused: by its agent: the agent of north says",
    )
    .await;
    let no_agent = Party::Gateway(EAST.parse().unwrap());
    until_link(EAST, of_fleet(&no_agent), WEST, gateway, "refused: by its agent: ").await;
    until_link(
        EAST,
        of_fleet(&agent(EAST)),
        "north",
        gateway,
        "refused: spiffe://fleet.example/cluster/eu-west/gateway is",
    )
    .await;
    let refused = "refused: by its gateway, for the certificate shown";
    let (forged, stranger) = (other_authority(DOMAIN), other_authority("other.example"));
    for (what, issuer, party) in [
        ("an authority that only says that it is ours", &forged, agent(EAST)),
        ("another trust domain", &stranger, agent(EAST)),
        ("the hub is no party to this", &fleet, Party::Hub),
    ] {
        println!("{what}");
        until_link(EAST, Some(identity(issuer, &fleet, &party, day)), WEST, gateway, refused).await;
    }
    let expired = identity(&fleet, &fleet, &agent(EAST), Duration::ZERO);
    until_link(EAST, Some(expired), WEST, gateway, refused).await;
    until_link(EAST, None, WEST, gateway, "down: ").await;
    assert!(pair.west.refused("observer") > 0, "who its agent refuses is counted");

    for secret in ["us-east/hub/identity.json", "us-east/gateways/tls.key", "us-east-shop-edge/gateway.pem"] {
        assert_for_the_owner_alone(&pair.place.at(secret));
    }
    assert_for_the_owner_alone(&pair.place.at("west.sock"));

    // Nothing of this needs the hub, nor does an agent that starts.
    pair.hub.running.signal(rustix::process::Signal::KILL);
    pair.hub.running.ended();
    pair.east
        .agent
        .running
        .until_said("that the hub is away", |text| text.contains("the hub is not followed").then_some(()));
    for _ in 0..20 {
        assert!(get(pair.east.edge, "/").is_some_and(|it| it.starts_with("HTTP/1.1 200")));
    }
    pair.east.until_link("beating");
    assert_no_key(&pair);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_under_load_without_a_failed_request() {
    let Some(envoy) = envoy("certificates_are_replaced_under_load_without_a_failed_request") else { return };
    let mut pair = Pair::start(&envoy, &["--certificate-ttl", "15s"]);
    pair.until_served();
    let shown = |side: &support::pair::Side| {
        let certificates = get(side.edge_admin, "/certs")?;
        let serials = certificates.split("\"serial_number\": \"").skip(1);
        Some(serials.map(|it| it.split('"').next().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let before = shown(&pair.east).unwrap();
    let (stop, counts) = load(pair.east.edge);
    let started = Instant::now();
    for side in [&mut pair.east, &mut pair.west] {
        side.agent.running.until_said("two renewals", |text| {
            (text.matches("the certificates are renewed").count() >= 2).then_some(())
        });
    }
    assert!(started.elapsed() >= Duration::from_secs(10), "twice two thirds of 15 s, less the start");
    wait_until("Envoy to show another certificate", || (shown(&pair.east)? != before).then_some(()));
    // What was there at the start has expired: whoever comes anew sees what replaced it.
    wait_until("the end of the first certificates", || {
        (started.elapsed() >= Duration::from_secs(16)).then_some(())
    });
    let fleet = Authority::load(&pair.place.at("hub/ca"), DOMAIN.parse().unwrap()).unwrap();
    let visitor = identity(&fleet, &fleet, &agent(EAST), Duration::from_secs(86_400));
    until_link(EAST, Some(visitor), WEST, pair.west.eastwest, "beating").await;
    stop.store(true, Ordering::SeqCst);
    let (sent, failed) = (counts.0.load(Ordering::SeqCst), counts.1.load(Ordering::SeqCst));
    println!("{sent} requests, {failed} failed");
    assert!(sent > 100 && failed == 0, "{failed} of {sent} failed");
    let stayed =
        |side: &support::pair::Side| side.agent.running.said().matches("connected to the hub").count();
    assert_eq!((stayed(&pair.east), stayed(&pair.west)), (1, 1), "no stream ended by it");
}

/// Replaces the authority of the hub as docs/hub.md says, and waits after each step for both agents.
fn replace_authority(pair: &Pair) {
    let identity = |cluster: &str| -> serde_json::Value {
        let path = pair.place.at(&format!("{cluster}/hub/identity.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let until = |what: &str, is_so: &dyn Fn(&serde_json::Value) -> bool| {
        wait_until(what, || [EAST, WEST].iter().all(|cluster| is_so(&identity(cluster))).then_some(()));
    };
    let ca = pair.place.at("hub/ca");
    let year = Duration::from_secs(365 * 86_400);
    let (certificate, key) = Authority::create(&DOMAIN.parse().unwrap(), SystemClock.now(), year).unwrap();
    let der = TrustBundle::certificates(&certificate).unwrap().remove(0).to_vec();
    let new = serde_json::to_value(der).unwrap();
    fs::create_dir(ca.join("also-trusted")).unwrap();
    fs::write(ca.join("also-trusted/next.crt"), &certificate).unwrap();
    until("both roots to be believed", &|it| it["roots"].as_array().unwrap().len() == 2);
    fs::copy(ca.join("tls.crt"), ca.join("also-trusted/old.crt")).unwrap();
    fs::write(ca.join("tls.key"), key).unwrap();
    fs::write(ca.join("tls.crt"), certificate).unwrap();
    let is_new =
        |it: &serde_json::Value| [&it["chain"], &it["gateway"]["chain"]].iter().all(|chain| chain[1] == new);
    until("agents and gateways to have certificates of the new one", &is_new);
    fs::remove_dir_all(ca.join("also-trusted")).unwrap();
    until("only the new root to be believed", &|it| it["roots"] == serde_json::json!([new]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_replaced_under_load_without_a_failed_request() {
    let Some(envoy) = envoy("the_authority_is_replaced_under_load_without_a_failed_request") else { return };
    let pair = Pair::start(&envoy, &["--certificate-ttl", "15s"]);
    pair.until_served();
    pair.east.until_link("beating");
    let old = Authority::load(&pair.place.at("hub/ca"), DOMAIN.parse().unwrap()).unwrap();
    let (stop, counts) = load(pair.east.edge);
    replace_authority(&pair);
    let new = Authority::load(&pair.place.at("hub/ca"), DOMAIN.parse().unwrap()).unwrap();
    let day = Duration::from_secs(86_400);
    let gateway = pair.west.eastwest;
    until_link(EAST, Some(identity(&new, &new, &agent(EAST), day)), WEST, gateway, "beating").await;
    let refused = "refused: by its gateway, for the certificate shown";
    until_link(EAST, Some(identity(&old, &new, &agent(EAST), day)), WEST, gateway, refused).await;
    stop.store(true, Ordering::SeqCst);
    let (sent, failed) = (counts.0.load(Ordering::SeqCst), counts.1.load(Ordering::SeqCst));
    println!("{sent} requests, {failed} failed");
    assert!(sent > 100 && failed == 0, "{failed} of {sent} failed");
    for side in [&pair.east, &pair.west] {
        side.until_link("beating");
        assert_eq!(
            side.agent.running.said().matches("connected to the hub").count(),
            1,
            "no stream ended by it"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_is_given_only_what_its_certificate_is_for() {
    let Some(envoy) = envoy("an_envoy_is_given_only_what_its_certificate_is_for") else { return };
    let pair = Pair::start(&envoy, &[]);
    pair.until_served();
    let credentials = pair.place.at("us-east-shop-eastwest");
    let admin = free();
    let bootstrap = |gateway: &str| {
        let mut command = tidegate();
        command.args(["envoy", "bootstrap", "--gateway", gateway, "--zone", "a", "--node-id", "thief"]);
        command.args(["--agent", &pair.east.listen, "--admin", &admin.to_string(), "--credentials"]);
        finish(command.arg(&credentials))
    };
    let ran = bootstrap("shop/edge");
    assert!(
        ran.code == Some(1) && ran.stderr.contains("is of gateway shop/eastwest, not shop/edge"),
        "{ran:?}"
    );
    // Whoever has the certificate may write what they like into the bootstrap.
    let config = bootstrap("shop/eastwest").stdout.replace("shop/eastwest\"", "shop/edge\"");
    assert!(config.contains("\"gateway\": \"shop/edge\""), "{config}");
    let mut command = std::process::Command::new(&envoy);
    command.args(["--disable-hot-restart", "--log-level", "warning", "--config-yaml", &config]);
    let _thief = Running::start(&mut command);
    let mut east = pair.east;
    east.agent.running.until_said("that it is refused", |text| {
        text.contains("node \"thief\" is refused: it says that it is of gateway shop/edge, and its certificate is of shop/eastwest")
            .then_some(())
    });
    assert!(east.refused("other_gateway") > 0);
    let has = |admin: SocketAddr| get(admin, "/config_dump").map(|it| it.contains("tidegate/identity"));
    assert_eq!(has(admin), Some(false), "it has no secret");
    assert_eq!(has(east.edge_admin), Some(true), "whoever it belongs to has");
    let status = east.status().to_string();
    assert!(!status.contains("thief"), "{status}");

    // Without a certificate nobody is answered at all, and beyond this machine nothing is plain.
    let mut command = tidegate();
    command.args(["envoy", "bootstrap", "--gateway", "shop/edge", "--zone", "a"]);
    let config = finish(command.args(["--agent", &east.listen, "--admin", &free().to_string()])).stdout;
    let mut command = std::process::Command::new(&envoy);
    let _plain = Running::start(command.args(["--disable-hot-restart", "--config-yaml", &config]));
    wait_until("a refusal", || (east.refused("handshake") > 0).then_some(()));
    drop(east);
    let mut command = agent_command(&pair.place.at(EAST), None, "plain:0.0.0.0:0");
    let mut running = Running::start(command.args(["--hub", &pair.hub.listen.to_string()]));
    assert_eq!(running.ended().code(), Some(1));
    let said = running.said();
    assert!(said.contains("is not a loopback address, and this cluster has an identity"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_cluster_is_refused_by_the_others_and_shown_as_such() {
    let Some(envoy) = envoy("a_revoked_cluster_is_refused_by_the_others_and_shown_as_such") else { return };
    let pair = Pair::start(&envoy, &[]);
    pair.until_served();
    pair.east.until_link("beating");
    pair.west.until_link("beating");
    let kept: serde_json::Value =
        serde_json::from_slice(&fs::read(pair.place.at("eu-west/hub/identity.json")).unwrap()).unwrap();
    let ran = pair.hub.ask(&["cluster", "revoke", WEST]);
    assert!(ran.stdout.contains("2 certificates of eu-west are revoked"), "{ran:?}");
    // Both ways, and connections that were open too.
    let shown = pair.east.until_link("refused: ");
    assert!(shown.contains("revoked"), "{shown}");
    let shown = pair.west.until_link("refused: ");
    assert!(!shown.contains("agent down"), "{shown}");
    wait_until("that it is out of reach", || {
        (pair.east.status()["peers"][0]["state"] == "Unreachable").then_some(())
    });
    assert!(pair.east.refused("link") > 0);
    // Its agent's own certificate at the other's gateway: Envoy itself refuses it, and nobody else.
    let der: Vec<u8> = serde_json::from_value(kept["chain"][0].clone()).unwrap();
    let key = PrivateKey::from_pem(kept["key"].as_str().unwrap()).unwrap();
    let fleet = Authority::load(&pair.place.at("hub/ca"), DOMAIN.parse().unwrap()).unwrap();
    let bundle = TrustBundle::new(fleet.trust_domain().clone(), [fleet.root().clone()]).unwrap();
    let chain = vec![der.into(), fleet.root().clone()];
    let credentials = Credentials::new(chain, &key, bundle).unwrap();
    let stolen = Identity::new(credentials, Refusals::default(), Arc::new(SystemClock));
    let gateway = pair.east.eastwest;
    let refused = "refused: by its gateway, for the certificate shown";
    until_link(WEST, Some(stolen), EAST, gateway, refused).await;
    let other = identity(&fleet, &fleet, &agent("north"), Duration::from_secs(86_400));
    until_link("north", Some(other), EAST, gateway, "beating").await;

    // Back by another token.
    let Pair { place, hub, east, west } = pair;
    let (address, listen, token) = (hub.listen.to_string(), west.listen.clone(), hub.token(WEST));
    drop(west.agent);
    let mut command = agent_command(&place.at(WEST), Some(&place.at("eu-west-manifests")), &listen);
    let _west = Agent::start(command.args(["--hub", &address, "--join", &token]));
    east.until_link("beating");
    wait_until("an answer from the other cluster", || {
        get(east.edge, "/").filter(|it| it.starts_with("HTTP/1.1 200"))
    });
}

/// Somebody has the key that the gateways of a cluster show: it is refused, its agent gets them another one, and the cluster stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gateways_of_a_cluster_show_is_revoked_and_replaced_while_the_cluster_stays() {
    let test = "what_the_gateways_of_a_cluster_show_is_revoked_and_replaced";
    let Some(envoy) = envoy(test) else { return };
    let pair = Pair::start(&envoy, &[]);
    pair.until_served();
    pair.east.until_link("beating");
    let kept = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(pair.place.at("eu-west/hub/identity.json")).unwrap()).unwrap()
    };
    let old = kept();
    let began = std::time::Instant::now();
    let ran = pair.hub.ask(&["cluster", "revoke", WEST, "--gateways"]);
    assert!(ran.stdout.contains("1 certificates of the gateways of eu-west are revoked"), "{ran:?}");
    wait_until("another certificate for the gateways", || {
        (kept()["gateway"]["chain"] != old["gateway"]["chain"]).then_some(())
    });
    wait_until("an answer from the other cluster", || {
        get(pair.east.edge, "/").filter(|it| it.starts_with("HTTP/1.1 200"))
    });
    pair.east.until_link("beating");
    pair.west.until_link("beating");
    eprintln!(
        "MEASURED links beat by a new certificate {} ms after the old one was revoked",
        began.elapsed().as_millis()
    );
    // What was stolen opens no gateway any more.
    let der = |value: &serde_json::Value| serde_json::from_value::<Vec<u8>>(value.clone()).unwrap();
    let key = PrivateKey::from_pem(old["gateway"]["key"].as_str().unwrap()).unwrap();
    let fleet = Authority::load(&pair.place.at("hub/ca"), DOMAIN.parse().unwrap()).unwrap();
    let bundle = TrustBundle::new(fleet.trust_domain().clone(), [fleet.root().clone()]).unwrap();
    let chain = vec![der(&old["gateway"]["chain"][0]).into(), fleet.root().clone()];
    let stolen = Credentials::new(chain, &key, bundle).unwrap();
    let stolen = Identity::new(stolen, Refusals::default(), Arc::new(SystemClock));
    let refused = "refused: by its gateway, for the certificate shown";
    until_link(WEST, Some(stolen), EAST, pair.east.eastwest, refused).await;
    assert_eq!(pair.hub.json(&["cluster", "list"])[1]["connected"], true, "the cluster stays");
}

/// A cluster that joined, with two agents that know each other, and one of another cluster that says it is a third.
#[test]
fn replicas_of_a_joined_cluster_come_in_by_a_door_of_their_own_and_nobody_else_does() {
    let place = Place::new();
    for (name, region) in [(EAST, "us"), ("north", "eu")] {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: {name}}}\nspec: {{region: {region}}}\n"
        );
        place.write(&format!("{name}.yaml"), &text);
    }
    let hub = Hub::start(&place, ANY, &["--trust-domain", DOMAIN]);
    let doors = [free(), free(), free()];
    let start = |cluster: &str, state: &str, own: usize, other: usize| {
        let mut command = agent_command(&place.at(state), None, ANY);
        command.args([
            "--listen",
            &format!("replicas:{}", doors[own]),
            "--replica",
            &doors[other].to_string(),
        ]);
        command.args(["--hub", &hub.listen.to_string(), "--join", &hub.token(cluster)]);
        Agent::start(&mut command)
    };
    let one = start(EAST, "one", 0, 1);
    let two = start(EAST, "two", 1, 0);
    let replicas = |agent: &Agent| -> serde_json::Value {
        let status = get(agent.admin, "/api/v1/status").unwrap();
        let body = status.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<serde_json::Value>(body).unwrap()["replicas"].clone()
    };
    for agent in [&one, &two] {
        wait_until("the other replica", || (replicas(agent)["heard"] == 1).then_some(()));
    }

    let stranger = start("north", "north", 2, 0);
    wait_until("a refusal", || (replicas(&stranger)["refused"].as_u64()? > 0).then_some(()));
    assert_eq!(replicas(&stranger)["heard"], 0);
    let mut plain = TcpStream::connect(doors[0]).unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|it| it == b"HTTP"), "no settings, no answer: {answer:?}");
    assert_eq!(replicas(&one)["heard"], 1);

    let mut shut = agent_command(&place.at("shut"), None, ANY);
    shut.args([
        "--replica",
        &doors[0].to_string(),
        "--hub",
        &hub.listen.to_string(),
        "--join",
        &hub.token(EAST),
    ]);
    let ran = finish(&mut shut);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("--listen replicas:HOST:PORT"), "{ran:?}");
}
