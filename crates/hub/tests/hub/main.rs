//! A hub as strangers and agents meet it: over real sockets, with messages that no agent of ours would send.

#![expect(clippy::unwrap_used, reason = "all of this is test code, also outside of test functions")]

mod fixture;
mod git;
mod told;
mod waves;

use fixture::{Hub, LIMIT, Stream, config, folder, hello, join, policy, prepared, renewal, token};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};
use tidegate_hub::{run, token_of_stopped};
use tidegate_link::{
    hub::{
        Head, JoinToken, Objects, PolicySigner, Secret, Trust, apply, digest,
        proto::{self, FromAgent, fleet_client::FleetClient, from_agent, from_hub},
    },
    identity::{CertificateDer, Clock, Credentials, Expect, PrivateKey, SystemClock, connect, pinned_client},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_policy_comes_in_parts_to_agents_that_take_them() {
    let folder = prepared().await;
    let more = |n: usize| policy("10s").replace("name: web", &format!("name: web-{n}"));
    let all: Vec<String> = (0..400).map(more).collect();
    fs::write(folder.path().join("policies/many.yaml"), all.join("---\n")).unwrap();
    let token = token(folder.path(), "us-east", Duration::from_secs(600));
    let hub = Hub::start(folder.path()).await;
    let agent = join(&hub.address, &token, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let mut stream = agent.sync(&hub.address, hello("us-east", None)).await;
    let (mut parts, mut whole) = (0, proto::Policy::default());
    loop {
        let part = stream.policy().await;
        assert!(part.full && part.changed.iter().map(|it| it.text.len()).sum::<usize>() < 64 << 10);
        parts += 1;
        whole.changed.extend(part.changed);
        (whole.head, whole.full) = (part.head, true);
        if !part.more {
            break;
        }
    }
    assert!(parts > 2 && whole.changed.len() == 403, "{parts} parts, {} objects", whole.changed.len());
    apply(None, &whole, &agent.open(&whole)).unwrap();
    // One of a version that knows no parts is given all at once.
    let before = proto::Hello { cluster: "us-east".to_owned(), boot_id: 2, ..proto::Hello::default() };
    let mut stream = agent.sync(&hub.address, from_agent::What::Hello(before)).await;
    let policy = stream.policy().await;
    assert!(!policy.more);
    apply(None, &policy, &agent.open(&policy)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_policy_stands_is_told_some_hundred_objects_at_a_time() {
    let folder = prepared().await;
    let more = |n: usize| policy("10s").replace("name: web", &format!("name: web-{n}"));
    let all: Vec<String> = (0..700).map(more).collect();
    fs::write(folder.path().join("policies/many.yaml"), all.join("---\n")).unwrap();
    let hub = Hub::start(folder.path()).await;
    let ask = |query: &str| -> serde_json::Value {
        let answer = hub.http("GET", &format!("/api/v1/rollout?{query}"));
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let (mut names, mut answers, mut after) = (Vec::new(), 0, String::new());
    loop {
        let told = ask(&format!("after={}", after.replace(' ', "%20")));
        let objects = told["objects"].as_array().unwrap().iter();
        names.extend(objects.map(|it| it["object"].as_str().unwrap().to_owned()));
        answers += 1;
        match told["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!((answers, names.len()), (2, 703));
    assert!(names.is_sorted() && names.iter().collect::<std::collections::BTreeSet<_>>().len() == 703);
    let told = ask("object=shop/web-42");
    let found: Vec<&str> =
        told["objects"].as_array().unwrap().iter().filter_map(|it| it["object"].as_str()).collect();
    assert!(found.len() == 11 && found.iter().all(|it| it.contains("shop/web-42")), "{found:?}");
    assert_eq!(told["next"], serde_json::Value::Null);
    let unread = hub.http("GET", "/api/v1/rollout?objects=x");
    assert!(unread.starts_with("HTTP/1.1 400") && unread.contains("unknown field"), "{unread}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_wrong_reused_expired_or_of_another_cluster_are_refused_and_counted() {
    let folder = prepared().await;
    let good = token(folder.path(), "us-east", Duration::from_secs(600));
    let short = token(folder.path(), "us-east", Duration::from_secs(1));
    let hub = Hub::start(folder.path()).await;
    let in_use = token_of_stopped(&folder.path().join("state"), None, &"us-east".parse().unwrap(), LIMIT);
    assert!(in_use.unwrap_err().to_string().contains("in use by a running hub"));
    let key = || PrivateKey::generate().unwrap();
    let refusal = async |token: &JoinToken, cluster: &str, words: &str, reason: &str| {
        let status = join(&hub.address, token, cluster, &key()).await.err().unwrap();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains(words), "{status}");
        hub.until_refused(reason, 1).await;
    };
    let wrong = JoinToken { secret: Secret::draw().unwrap(), ..good.clone() };
    refusal(&wrong, "us-east", "knows no such token", "token_wrong").await;
    refusal(&good, "eu-west", "another cluster", "token_other_cluster").await;
    let own = key();
    let first = join(&hub.address, &good, "us-east", &own).await.unwrap();
    // The answer may have been lost: the same key gets another one. A thief does not.
    join(&hub.address, &good, "us-east", &own).await.unwrap();
    refusal(&good, "us-east", "redeemed before", "token_reused").await;
    // The hub asks the clock of the machine, so the token's second has to pass.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    refusal(&short, "us-east", "expired", "token_expired").await;
    let id = first.identity.current().facts.id.clone().unwrap().to_string();
    assert_eq!(id, "spiffe://fleet.example/cluster/us-east/agent");
    // A hub of another authority is not believed, so it never sees the secret.
    let elsewhere = JoinToken { pin: "00".repeat(32).parse().unwrap(), ..good };
    let status = join(&hub.address, &elsewhere, "us-east", &own).await.err().unwrap();
    assert!(status.message().contains("not the one that the join token names"), "{status}");
    let audit = hub.http("GET", "/api/v1/audit");
    assert!(audit.contains("\"joined\"") && audit.contains("\"published\""), "{audit}");
    // Only the hash of a secret is kept.
    let stored = fs::read(folder.path().join("state/hub.redb")).unwrap();
    let secret = wrong.secret.to_bytes();
    let known = first.identity.current().facts.serial.to_string();
    assert!(!stored.windows(32).any(|it| it == secret), "nothing of a wrong one");
    assert!(stored.windows(known.len()).any(|it| it == known.as_bytes()), "the certificate is kept");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_comes_whole_once_and_then_by_delta_also_over_a_restart() {
    let folder = prepared().await;
    let token = token(folder.path(), "us-east", LIMIT);
    let hub = Hub::start(folder.path()).await;
    let agent = join(&hub.address, &token, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let mut stream = agent.sync(&hub.address, hello("us-east", None)).await;
    let whole = stream.policy().await;
    let first = agent.open(&whole);
    let objects = apply(None, &whole, &first).unwrap();
    let keys: Vec<&str> = objects.keys().map(String::as_str).collect();
    assert_eq!(keys, ["FailoverPolicy shop/web", "FleetCluster eu-west", "FleetCluster us-east"]);

    fs::write(folder.path().join("policies/web.yaml"), policy("20s")).unwrap();
    let delta = stream.policy().await;
    let second = agent.open(&delta);
    let named: Vec<&str> = delta.changed.iter().map(|it| it.key.as_str()).collect();
    assert_eq!((delta.full, named), (false, vec!["FailoverPolicy shop/web"]));
    assert_eq!(second.sequence, first.sequence + 1);
    let objects = apply(Some((first.sequence, &objects)), &delta, &second).unwrap();
    drop(stream);
    hub.stop().await;

    // While the hub is away the policy changes; an agent with the first, with the second and with none.
    fs::remove_file(folder.path().join("policies/web.yaml")).unwrap();
    let hub = Hub::start(folder.path()).await;
    let mut stream = agent.sync(&hub.address, hello("us-east", delta.head.clone())).await;
    let third = stream.policy().await;
    assert_eq!((third.full, third.changed.len(), third.removed.len()), (false, 0, 1));
    let after = apply(Some((second.sequence, &objects)), &third, &agent.open(&third)).unwrap();
    assert_eq!(after.len(), 2);
    let mut stream = agent.sync(&hub.address, hello("us-east", whole.head.clone())).await;
    assert_eq!(stream.policy().await.base_sequence, first.sequence);
    let mut stream = agent.sync(&hub.address, hello("us-east", None)).await;
    assert!(stream.policy().await.full);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_who_it_says_or_says_too_much_is_refused_and_nobody_else_disturbed() {
    let folder = prepared().await;
    let east = token(folder.path(), "us-east", LIMIT);
    let west = token(folder.path(), "eu-west", LIMIT);
    let hub = Hub::start(folder.path()).await;
    let east = join(&hub.address, &east, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let west = join(&hub.address, &west, "eu-west", &PrivateKey::generate().unwrap()).await.unwrap();
    let mut calm = east.sync(&hub.address, hello("us-east", None)).await;
    let held = calm.policy().await;

    let status = west.sync(&hub.address, hello("us-east", None)).await.end().await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("speaks for us-east, and its certificate is of eu-west"), "{status}");
    hub.until_refused("other_cluster", 1).await;
    let early = from_agent::What::Status(proto::Status::default());
    let status = west.sync(&hub.address, early).await.end().await;
    assert!(status.message().contains("does not begin with a hello"), "{status}");
    // A name that is too long, and a message that is.
    let long = proto::Gateway { node: "x".repeat(5000), ..Default::default() };
    let stream = west.sync(&hub.address, hello("eu-west", None)).await;
    stream.say(from_agent::What::Status(proto::Status { gateways: vec![long], ..Default::default() })).await;
    assert_eq!(stream.end().await.code(), Code::ResourceExhausted);
    hub.until_refused("too_much", 1).await;
    let huge = proto::Gateway { node: "x".repeat(40 << 20), ..Default::default() };
    let stream = west.sync(&hub.address, hello("eu-west", None)).await;
    stream.say(from_agent::What::Status(proto::Status { gateways: vec![huge], ..Default::default() })).await;
    assert_eq!(stream.end().await.code(), Code::OutOfRange);
    hub.until_refused("too_large", 1).await;
    // Somebody without a certificate may join, and nothing else.
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let pin = tidegate_link::identity::CertificateFacts::read(&east.trust.bundle.roots()[0]).unwrap().key;
    let channel = connect(&hub.address, pinned_client(pin, &clock).unwrap().0).await.unwrap();
    let (out, requests) = mpsc::channel(1);
    out.send(FromAgent { what: Some(hello("us-east", None)) }).await.unwrap();
    let status = FleetClient::new(channel.clone()).sync(ReceiverStream::new(requests)).await.unwrap_err();
    assert_eq!((status.code(), hub.refused("no_certificate")), (Code::Unauthenticated, 1));
    let renew = renewal(&PrivateKey::generate().unwrap(), None);
    let status = FleetClient::new(channel).renew(renew).await.unwrap_err();
    assert_eq!((status.code(), hub.refused("no_certificate")), (Code::Unauthenticated, 2));
    // No TLS at all.
    let mut plain = TcpStream::connect(&hub.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut Vec::new());
    hub.until_refused("handshake", 1).await;

    // The agent that did nothing wrong is served as before.
    fs::write(folder.path().join("policies/web.yaml"), policy("30s")).unwrap();
    assert_eq!(calm.policy().await.base_sequence, east.open(&held).sequence);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_cluster_is_cut_off_at_once_and_cannot_come_back_by_itself() {
    let folder = prepared().await;
    let first = token(folder.path(), "us-east", LIMIT);
    let again = token(folder.path(), "us-east", LIMIT);
    let hub = Hub::start(folder.path()).await;
    let agent = join(&hub.address, &first, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let mut stream = agent.sync(&hub.address, hello("us-east", None)).await;
    stream.policy().await;
    let channel = agent.dial(&hub.address).await;
    let answer = hub.http("POST", "/api/v1/clusters/us-east/revoke");
    assert!(answer.contains("1 certificates of us-east are revoked"), "{answer}");
    let status = stream.end().await;
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "the certificate was revoked"));
    // Not on a connection that is still open, not on a new one, and not for a new certificate.
    let renew = renewal(&PrivateKey::generate().unwrap(), None);
    assert_eq!(
        FleetClient::new(channel).renew(renew.clone()).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let before = hub.refused("revoked");
    let refused = match connect(&hub.address, agent.identity.client(Expect::Hub).unwrap()).await {
        Err(error) => error.to_string(),
        Ok(channel) => FleetClient::new(channel).renew(renew).await.unwrap_err().to_string(),
    };
    assert!(!refused.is_empty());
    // The channel may dial again before it tells.
    assert!(hub.refused("revoked") > before);
    // An operator lets it back by another token.
    let back = join(&hub.address, &again, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    assert!(back.sync(&hub.address, hello("us-east", None)).await.policy().await.full);
    assert!(back.trust.bundle.revoked().contains(&agent.identity.current().facts.serial));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_an_older_state_hands_nothing_to_agents_that_know_more_until_an_operator_says_so() {
    let folder = prepared().await;
    let token = token(folder.path(), "us-east", LIMIT);
    let older = fs::read(folder.path().join("state/hub.redb")).unwrap();
    let hub = Hub::start(folder.path()).await;
    let agent = join(&hub.address, &token, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let mut stream = agent.sync(&hub.address, hello("us-east", None)).await;
    stream.policy().await;
    fs::write(folder.path().join("policies/web.yaml"), policy("20s")).unwrap();
    let newest = stream.policy().await;
    let known = agent.open(&newest);
    hub.stop().await;

    // The backup comes back, and its policy has moved on in another way, further than what the agent knows.
    fs::write(folder.path().join("state/hub.redb"), older).unwrap();
    fs::write(folder.path().join("policies/web.yaml"), policy("30s")).unwrap();
    let hub = Hub::start(folder.path()).await;
    let mut stream = agent.sync(&hub.address, hello("us-east", newest.head.clone())).await;
    let notice = stream.policy().await;
    assert!(agent.open(&notice).sequence <= known.sequence && notice.changed.is_empty() && !notice.full);
    for hold_down in ["40s", "50s"] {
        fs::write(folder.path().join("policies/web.yaml"), policy(hold_down)).unwrap();
        let published = async {
            while !hub
                .http("GET", "/metrics")
                .contains(&format!("policy_sequence {}", if hold_down == "40s" { 3 } else { 4 }))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, published).await.unwrap();
    }
    let clusters = hub.http("GET", "/api/v1/clusters");
    assert!(clusters.contains("which this hub does not know"), "{clusters}");
    let answer = hub.http("POST", "/api/v1/rollout/resume");
    assert!(answer.contains("200 OK"), "{answer}");
    let resumed = stream.policy().await;
    let head = agent.open(&resumed);
    assert!(resumed.full && head.sequence > known.sequence, "{head:?}");
    assert!(resumed.changed.iter().any(|it| it.text.contains("50s")));
    let again = hub.http("POST", "/api/v1/rollout/resume");
    assert!(again.contains("nothing to resume"), "{again}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_another_key_signed_says_nothing_to_the_hub() {
    let folder = prepared().await;
    let token = token(folder.path(), "us-east", LIMIT);
    let hub = Hub::start(folder.path()).await;
    let agent = join(&hub.address, &token, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let forger = PolicySigner::from_pkcs8(&PolicySigner::draw().unwrap()).unwrap();
    let trust_domain = agent.trust.bundle.trust_domain().clone();
    let head = Head {
        trust_domain,
        sequence: 900,
        version: "x".to_owned(),
        digest: digest(&Objects::new()),
        epoch: 0,
    };
    let held = Some(forger.sign(&head).to_proto());
    let mut stream = agent.sync(&hub.address, hello("us-east", held)).await;
    assert!(stream.policy().await.full);
    assert!(hub.http("POST", "/api/v1/rollout/resume").contains("nothing to resume"));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_replaced_with_overlap_while_streams_live() {
    let folder = prepared().await;
    let token = token(folder.path(), "us-east", LIMIT);
    let hub = Hub::start(folder.path()).await;
    let agent = join(&hub.address, &token, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let mut stream = agent.sync(&hub.address, hello("us-east", None)).await;
    stream.policy().await;
    let trusts = async |stream: &mut Stream, roots: usize| {
        loop {
            let message = timeout(LIMIT, stream.inbound.message()).await.unwrap().unwrap().unwrap();
            if let Some(from_hub::What::Trust(trust)) = message.what
                && trust.roots.len() == roots
            {
                return Trust::from_proto(&trust).unwrap();
            }
        }
    };
    // First both are believed, then the new one issues, then the old one is dropped.
    let ca = folder.path().join("state/ca");
    let domain = "fleet.example".parse().unwrap();
    let now = SystemClock.now();
    let (certificate, key) =
        tidegate_link::identity::Authority::create(&domain, now, Duration::from_secs(86_400)).unwrap();
    let old = fs::read(ca.join("tls.crt")).unwrap();
    fs::create_dir(ca.join("also-trusted")).unwrap();
    fs::write(ca.join("also-trusted/next.crt"), &certificate).unwrap();
    let both = trusts(&mut stream, 2).await;
    agent.identity.swap({
        // The agent takes the bundle with the certificate that it has, as its own code does.
        let key = PrivateKey::generate().unwrap();
        let renew = renewal(&key, None);
        let answer =
            FleetClient::new(agent.dial(&hub.address).await).renew(renew).await.unwrap().into_inner();
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        Credentials::new(chain, &key, both.bundle.clone()).unwrap()
    });
    fs::write(ca.join("also-trusted/old.crt"), old).unwrap();
    fs::write(ca.join("tls.key"), key).unwrap();
    fs::write(ca.join("tls.crt"), &certificate).unwrap();
    // The hub shows the new one; the agent's old certificate is believed still.
    let switched = async {
        loop {
            let key = PrivateKey::generate().unwrap();
            let renew = renewal(&key, None);
            let answer =
                FleetClient::new(agent.dial(&hub.address).await).renew(renew).await.unwrap().into_inner();
            let root = CertificateDer::from(answer.chain.last().unwrap().clone());
            if root == tidegate_link::identity::TrustBundle::certificates(&certificate).unwrap()[0] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(LIMIT, switched).await.unwrap();
    // The stream of before all this still carries policy.
    fs::write(folder.path().join("policies/web.yaml"), policy("30s")).unwrap();
    assert!(!stream.policy().await.full);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_of_a_cluster_get_a_certificate_of_their_own_that_is_revoked_with_the_agents() {
    let folder = prepared().await;
    let token = token(folder.path(), "us-east", Duration::from_secs(600));
    let hub = Hub::start(folder.path()).await;
    let agent = join(&hub.address, &token, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    let (key, gateway) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let renew = async |request| {
        let mut fleet = FleetClient::new(agent.dial(&hub.address).await);
        fleet.renew(request).await
    };
    let answer = renew(renewal(&key, Some(&gateway))).await.unwrap().into_inner();
    let of = |chain: &[Vec<u8>], key: &PrivateKey| {
        let chain = chain.iter().cloned().map(CertificateDer::from).collect();
        Credentials::new(chain, key, agent.trust.bundle.clone()).unwrap().facts.id.unwrap().to_string()
    };
    assert_eq!(of(&answer.chain, &key), "spiffe://fleet.example/cluster/us-east/agent");
    assert_eq!(of(&answer.gateway_chain, &gateway), "spiffe://fleet.example/cluster/us-east/gateway");
    // Whoever does not ask for one gets none; who asks for nonsense gets nothing at all.
    assert!(renew(renewal(&key, None)).await.unwrap().into_inner().gateway_chain.is_empty());
    let nonsense = proto::RenewRequest { gateway_request: vec![1], ..renewal(&key, None) };
    assert_eq!(renew(nonsense).await.unwrap_err().code(), Code::InvalidArgument);
    // Joined, and renewed twice, once with the gateways.
    let answer = hub.http("POST", "/api/v1/clusters/us-east/revoke");
    assert!(answer.contains("4 certificates of us-east are revoked"), "{answer}");
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_does_not_offer_administration_beyond_its_machine() {
    let folder = folder();
    let mut config = config(folder.path());
    config.admin = "0.0.0.0:0".parse().unwrap();
    let error = run(config, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains("is not a loopback address"), "{error}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_their_owner_alone_and_the_trust_domain_stays() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = prepared().await;
    for key in ["ca/tls.key", "policy.key"] {
        let mode = fs::metadata(folder.path().join("state").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let mut config = config(folder.path());
    config.trust_domain = Some("other.example".parse().unwrap());
    let error = run(config, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains("is of the trust domain fleet.example, not other.example"), "{error}");
}
