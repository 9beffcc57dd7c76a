//! The certificates by which Envoys come to their agent, replaced under real ones: before they end, and by another authority. No
//! request notices, and an old one is good for nothing. What is measured is on stderr, in lines that begin with `MEASURED`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    command::{Ran, finish, tidegate},
    envoy,
    hub::{Agent, agent_command},
    pair::{Counts, DOMAIN, EAST, Pair, Side, certificate, get, load},
    wait_until,
};
use tidegate_link::{
    gateway::{RenewError, renew},
    identity::{
        Authority, Clock, Credentials, Identity, PrivateKey, Refusals, SystemClock, TrustBundle, TrustDomain,
    },
};

const GATEWAYS: [&str; 2] = ["shop/edge", "shop/eastwest"];

/// What their hosts keep of the certificates.
fn folders(pair: &Pair) -> [PathBuf; 2] {
    GATEWAYS.map(|gateway| pair.place.at(&format!("{EAST}-{}", gateway.replace('/', "-"))))
}

/// As somebody who took the file would.
fn identity_of(pem: &str, roots: &str) -> Identity {
    let domain: TrustDomain = DOMAIN.parse().unwrap();
    let bundle = TrustBundle::new(domain, TrustBundle::certificates(roots).unwrap()).unwrap();
    let chain = TrustBundle::certificates(pem).unwrap();
    let credentials = Credentials::new(chain, &PrivateKey::from_pem(pem).unwrap(), bundle).unwrap();
    Identity::new(credentials, Refusals::default(), Arc::new(SystemClock))
}

/// Waits until the hosts of both gateways have renewed so often.
fn until_renewed(side: &mut Side, times: usize) {
    for gateway in &mut side.envoys {
        gateway.0.until_said(&format!("{times} renewals"), |text| {
            (text.matches("the gateway's certificate is renewed").count() >= times).then_some(())
        });
    }
}

/// The agent of the east, anew at the same address.
fn start_again(pair: &Pair) -> Agent {
    let manifests = pair.place.at("us-east-manifests");
    let mut command = agent_command(&pair.place.at(EAST), Some(&manifests), &pair.east.listen);
    Agent::start(command.args(["--hub", &pair.hub.listen.to_string()]))
}

/// A policy that Envoy is told of as a timeout of its routes.
fn change_policy(pair: &Pair, per_try: &str) {
    let policy = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         targetRefs: [{{group: \"\", kind: Service, name: web}}]\n  retry: {{perTryTimeout: {per_try}}}\n"
    );
    pair.place.write("web.yaml", &policy);
}

fn until_config(admin: SocketAddr, text: &str) {
    wait_until(&format!("{text} in Envoy's configuration"), || {
        get(admin, "/config_dump").filter(|it| it.contains(text))
    });
}

/// Ends the load, of which no request may have failed.
fn none_failed(what: &str, (stop, counts): (Arc<AtomicBool>, Arc<Counts>)) {
    stop.store(true, Ordering::SeqCst);
    let count = |it: &AtomicU64| it.load(Ordering::SeqCst);
    let (sent, failed, longest) = (count(&counts.0), count(&counts.1), count(&counts.2));
    eprintln!("MEASURED {what}: {failed} of {sent} requests failed, longest {longest} ms");
    assert!(sent > 100 && failed == 0, "{failed} of {sent} failed");
}

fn refused(ran: &Ran, words: &str) {
    assert!(ran.code == Some(1) && ran.stderr.contains(words), "{words}: {ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoys_own_certificate_is_renewed_under_load_and_the_old_one_is_refused_when_it_ends() {
    let Some(envoy) = envoy("an_envoys_own_certificate_is_renewed_under_load") else { return };
    let mut pair = Pair::start(&envoy, &[]);
    pair.until_served();
    let folders = folders(&pair);
    for (gateway, folder) in GATEWAYS.into_iter().zip(&folders) {
        certificate(&pair.place.at(EAST), gateway, folder, &["--ttl", "15s"]);
    }
    let began = Instant::now();
    let old = fs::read_to_string(folders[0].join("gateway.pem")).unwrap();
    let roots = fs::read_to_string(folders[0].join("agent-ca.crt")).unwrap();
    let load = load(pair.east.edge);
    until_renewed(&mut pair.east, 1);
    let took = began.elapsed();
    assert!((9..15).contains(&took.as_secs()), "at two thirds of 15 s, not after {took:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(folders[0].join("gateway.pem")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let connected = |pair: &Pair| {
        let status = pair.east.status();
        let gateways = status["gateways"].as_array().unwrap().iter();
        gateways.filter(|it| it["connected"] == true).count()
    };
    assert_eq!(connected(&pair), 2, "no stream ended by it");
    change_policy(&pair, "321ms");
    until_config(pair.east.edge_admin, "0.321s");
    let has_it = Instant::now();
    wait_until("the hub to hear that both gateways have it", || {
        let rollout = pair.hub.json(&["rollout", "status"]);
        let object = rollout["objects"]
            .as_array()?
            .iter()
            .find(|it| it["object"] == "FailoverPolicy shop/web")?
            .clone();
        let east = object["clusters"].as_array()?.iter().find(|it| it["cluster"] == EAST)?.clone();
        (east["gatewaysApplied"] == 2).then_some(())
    });
    eprintln!("MEASURED the hub hears of it {} ms after Envoy shows it", has_it.elapsed().as_millis());

    // What they came with first has ended: it opens no door any more, and a new connection needs the new one.
    wait_until("the end of the first certificates", || {
        (began.elapsed() >= Duration::from_secs(16)).then_some(())
    });
    let before = pair.east.refused("expired");
    let error = renew(&pair.east.listen, &identity_of(&old, &roots), true).await.unwrap_err();
    assert!(matches!(&error, RenewError::Dial(_) | RenewError::Refused(_)), "{error:?}");
    wait_until("a refusal that is counted", || (pair.east.refused("expired") > before).then_some(()));
    let said = pair.east.agent.running.said();
    assert!(said.contains("gateway/shop/edge is refused: its certificate expired"), "{said}");
    // Nor is it a certificate of anything else than gateways' Envoys: with it nobody is a peer, nor at the hub.
    let agent = start_again_in_place(&mut pair);
    wait_until("both gateways again", || (connected(&pair) == 2).then_some(()));
    change_policy(&pair, "432ms");
    until_config(pair.east.edge_admin, "0.432s");
    until_renewed(&mut pair.east, 2);
    none_failed("certificates for 15 s are renewed, and the agent restarts", load);
    let told = [&agent, &pair.east.agent.running.said()];
    assert!(told.iter().all(|it| !it.contains("PRIVATE KEY")), "a key is shown to nobody");
}

/// Starts the agent of the east anew; what the former one said.
fn start_again_in_place(pair: &mut Pair) -> String {
    pair.east.agent.running.signal(rustix::process::Signal::TERM);
    pair.east.agent.running.ended();
    let said = pair.east.agent.running.said();
    pair.east.agent = start_again(pair);
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_own_authority_is_replaced_under_load_without_a_failed_request() {
    let Some(envoy) = envoy("the_agents_own_authority_is_replaced_under_load") else { return };
    let mut pair = Pair::start(&envoy, &[]);
    pair.until_served();
    let folders = folders(&pair);
    for (gateway, folder) in GATEWAYS.into_iter().zip(&folders) {
        certificate(&pair.place.at(EAST), gateway, folder, &["--ttl", "60s"]);
    }
    let old = fs::read_to_string(folders[0].join("gateway.pem")).unwrap();
    let load = load(pair.east.edge);
    let believed = |count: usize| {
        wait_until(&format!("{count} roots at both gateways"), || {
            let roots = folders.iter().map(|folder| fs::read_to_string(folder.join("agent-ca.crt")).unwrap());
            let counts: Vec<usize> = roots.map(|it| it.matches("BEGIN CERTIFICATE").count()).collect();
            counts.iter().all(|it| *it == count).then_some(())
        });
    };

    // As docs/hub.md says.
    let ca = pair.place.at("us-east/gateways");
    let year = Duration::from_secs(365 * 86_400);
    let domain: TrustDomain = DOMAIN.parse().unwrap();
    let (new, key) = Authority::create(&domain, SystemClock.now(), year).unwrap();
    fs::create_dir(ca.join("also-trusted")).unwrap();
    fs::write(ca.join("also-trusted/next.crt"), &new).unwrap();
    believed(2);
    fs::copy(ca.join("tls.crt"), ca.join("also-trusted/old.crt")).unwrap();
    fs::write(ca.join("tls.key"), key).unwrap();
    fs::write(ca.join("tls.crt"), &new).unwrap();
    until_renewed(&mut pair.east, 1);
    fs::remove_dir_all(ca.join("also-trusted")).unwrap();
    believed(1);

    let roots = fs::read_to_string(folders[0].join("agent-ca.crt")).unwrap();
    assert_eq!(TrustBundle::certificates(&roots).unwrap(), TrustBundle::certificates(&new).unwrap());
    let before = pair.east.refused("unknown_authority");
    renew(&pair.east.listen, &identity_of(&old, &roots), true).await.unwrap_err();
    wait_until("a refusal that is counted", || {
        (pair.east.refused("unknown_authority") > before).then_some(())
    });
    // Whoever connects anew believes the new one, and is believed.
    start_again_in_place(&mut pair);
    change_policy(&pair, "321ms");
    until_config(pair.east.edge_admin, "0.321s");
    none_failed("the agent's authority is replaced, and the agent restarts", load);
}

/// For Envoys that somebody else runs there is a command of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_by_hand_and_whoever_may_not_is_told_why() {
    let Some(envoy) = envoy("a_certificate_is_renewed_by_hand") else { return };
    let pair = Pair::start(&envoy, &[]);
    let folder = pair.place.at("by-hand");
    certificate(&pair.place.at(EAST), "shop/edge", &folder, &["--ttl", "1h"]);
    let renew = |agent: &str, folder: &PathBuf| {
        let mut command = tidegate();
        command.args(["envoy", "renew", "--now", "--agent", agent, "--credentials"]);
        finish(command.arg(folder))
    };
    let before = fs::read_to_string(folder.join("gateway.pem")).unwrap();
    let ran = renew(&pair.east.listen, &folder);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let after = fs::read_to_string(folder.join("gateway.pem")).unwrap();
    assert_ne!(before, after);
    assert!(!ran.stderr.contains("PRIVATE"), "{ran:?}");
    // As long as before, not longer.
    let ends = |pem: &str| {
        let own = TrustBundle::certificates(pem).unwrap().remove(0);
        tidegate_link::identity::CertificateFacts::read(&own).unwrap().not_after
    };
    assert!(ends(&after) - ends(&before) < Duration::from_secs(60));

    refused(&renew(&pair.west.listen, &folder), "no agent comes by TCP");
    refused(&renew("127.0.0.1:1", &folder), "the agent at 127.0.0.1:1: cannot reach 127.0.0.1:1");
    // A gateway that there is not: nobody made it, or it was taken away.
    let gone = pair.place.at("gone");
    certificate(&pair.place.at(EAST), "shop/gone", &gone, &[]);
    refused(&renew(&pair.east.listen, &gone), "there is no gateway shop/gone in the manifests");
    assert_eq!(pair.east.refused("other_gateway"), 1);
    // An authority that only says that it is the agent's.
    let forged = pair.place.at("forged");
    let domain: TrustDomain = DOMAIN.parse().unwrap();
    let day = Duration::from_secs(86_400);
    let (certificate, key) = Authority::create(&domain, SystemClock.now(), day).unwrap();
    let authority = Authority::from_pem(domain, &certificate, &key, None).unwrap();
    let party = "spiffe://fleet.example/cluster/us-east/gateway/shop/edge";
    let party = party.parse::<tidegate_link::identity::SpiffeId>().unwrap().party;
    let own = PrivateKey::generate().unwrap();
    let serial = tidegate_link::identity::Serial::of(&[7]);
    let issued = authority.issue(&own.request().unwrap(), &party, &serial, SystemClock.now(), day).unwrap();
    fs::create_dir(&forged).unwrap();
    let pem = format!("{}{}", tidegate_link::identity::to_pem(&issued.chain), own.to_pem());
    fs::write(forged.join("gateway.pem"), pem).unwrap();
    fs::copy(folder.join("agent-ca.crt"), forged.join("agent-ca.crt")).unwrap();
    assert_eq!(renew(&pair.east.listen, &forged).code, Some(1));
    assert!(pair.east.refused("unknown_authority") > 0);
}

/// Somebody has a key of one gateway: it is good for nothing any more, also on the connections that are open, and the other gateway
/// does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificates_of_one_gateway_are_revoked_and_the_others_stay() {
    let Some(envoy) = envoy("the_certificates_of_one_gateway_are_revoked") else { return };
    let pair = Pair::start(&envoy, &[]);
    pair.until_served();
    let [edge, _] = folders(&pair);
    let read = |folder: &PathBuf, name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let (stolen, roots) = (read(&edge, "gateway.pem"), read(&edge, "agent-ca.crt"));
    // The thief renews it, too: of that one nobody here knows the number.
    let (key, chain) =
        renew(&pair.east.listen, &identity_of(&stolen, &roots), true).await.unwrap().shown.unwrap();
    let renewed = format!("{}{}", tidegate_link::identity::to_pem(&chain), key.to_pem());
    let connected = |pair: &Pair, name: &str| {
        let status = pair.east.status();
        let mut gateways = status["gateways"].as_array().unwrap().iter();
        gateways.any(|it| it["gateway"] == name && it["connected"] == true)
    };
    assert!(connected(&pair, "shop/edge") && connected(&pair, "shop/eastwest"));
    let load = load(pair.east.edge);
    let mut command = tidegate();
    command.args(["envoy", "revoke", "--gateway", "shop/edge", "--state-dir"]);
    let ran = finish(command.arg(pair.place.at(EAST)));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let began = Instant::now();
    wait_until("the edge to be put out", || (!connected(&pair, "shop/edge")).then_some(()));
    eprintln!(
        "MEASURED the open streams of a gateway that is revoked end after {} ms",
        began.elapsed().as_millis()
    );
    for pem in [&stolen, &renewed] {
        renew(&pair.east.listen, &identity_of(pem, &roots), true).await.unwrap_err();
    }
    assert!(pair.east.refused("revoked") > 0);
    assert!(connected(&pair, "shop/eastwest"), "another gateway");
    // Made anew into the folder, Envoy takes it and comes back by itself.
    certificate(&pair.place.at(EAST), "shop/edge", &edge, &["--ttl", "1h"]);
    wait_until("the edge to come back", || connected(&pair, "shop/edge").then_some(()));
    eprintln!("MEASURED it is back {} ms after it was revoked", began.elapsed().as_millis());
    none_failed("the certificates of one gateway are revoked", load);
}
