//! Whom the parties of a fleet believe: over real TLS on loopback, with a clock that the tests set.

use rcgen::{CertificateParams, KeyPair, SanType};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_link::identity::{
    Authority, AuthorityError, BACKDATED, CertificateDer, CertificateFacts, Clock, Credentials, Expect,
    Identity, Issued, Party, PrivateKey, Refusals, Serial, TrustBundle, TrustDomain, UnixTime, pinned_client,
    refusal_in,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// 2026-01-01.
const START: u64 = 1_767_225_600;

#[derive(Debug)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

/// A fleet's authority and its clock.
struct Fleet {
    authority: Authority,
    clock: Arc<TestClock>,
}

impl Fleet {
    fn new(trust_domain: &str) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(START)));
        Self { authority: authority(trust_domain, &clock), clock }
    }

    fn bundle(&self) -> TrustBundle {
        TrustBundle::new(self.authority.trust_domain().clone(), [self.authority.root().clone()]).unwrap()
    }

    fn issue(&self, party: &Party, key: &PrivateKey) -> Issued {
        let serial = Serial::of(&rand::random::<[u8; 15]>());
        let request = key.request().unwrap();
        self.authority.issue(&request, party, &serial, self.clock.now(), DAY).unwrap()
    }

    /// An identity of this fleet that believes `bundle`.
    fn believing(&self, party: &Party, bundle: TrustBundle) -> Identity {
        let key = PrivateKey::generate().unwrap();
        let issued = self.issue(party, &key);
        let credentials = Credentials::new(issued.chain, &key, bundle).unwrap();
        Identity::new(credentials, Refusals::default(), self.clock.clone())
    }

    fn identity(&self, party: &Party) -> Identity {
        self.believing(party, self.bundle())
    }
}

fn authority(trust_domain: &str, clock: &TestClock) -> Authority {
    let trust_domain: TrustDomain = trust_domain.parse().unwrap();
    let (certificate, key) = Authority::create(&trust_domain, clock.now(), YEAR).unwrap();
    Authority::from_pem(trust_domain, &certificate, &key, None).unwrap()
}

fn agent(cluster: &str) -> Party {
    Party::Agent(cluster.parse().unwrap())
}

type Ends = (client::TlsStream<TcpStream>, server::TlsStream<TcpStream>);

/// Connects, and sends a word each way: with TLS 1.3 a client hears of a refusal after its own handshake.
async fn connect(
    server: &Identity,
    client: &Identity,
    at_server: Expect,
    at_client: Expect,
) -> Result<Ends, String> {
    let acceptor = TlsAcceptor::from(server.server(at_server, false).unwrap());
    let connector = TlsConnector::from(client.client(at_client).unwrap());
    both(acceptor, connector).await
}

async fn both(acceptor: TlsAcceptor, connector: TlsConnector) -> Result<Ends, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dial = async {
        let stream = TcpStream::connect(address).await.unwrap();
        connector.connect("hub.tidegate".try_into().unwrap(), stream).await
    };
    let take = async { acceptor.accept(listener.accept().await.unwrap().0).await };
    let (dialled, taken) = tokio::join!(dial, take);
    let mut ends = match (dialled, taken) {
        (Err(client), _) => return Err(format!("client: {}", told(&client))),
        (_, Err(server)) => return Err(format!("server: {}", told(&server))),
        (Ok(client), Ok(server)) => (client, server),
    };
    say(&mut ends).await?;
    Ok(ends)
}

/// An error in our own words, if they are at its root.
fn told(error: &std::io::Error) -> String {
    refusal_in(error).map_or_else(|| error.to_string(), |refusal| refusal.to_string())
}

/// A word each way on a connection.
async fn say((client, server): &mut Ends) -> Result<(), String> {
    let mut word = [0; 4];
    client.write_all(b"ping").await.map_err(|error| error.to_string())?;
    server.read_exact(&mut word).await.map_err(|error| error.to_string())?;
    server.write_all(b"pong").await.map_err(|error| error.to_string())?;
    client.read_exact(&mut word).await.map_err(|error| error.to_string())?;
    assert_eq!(&word, b"pong");
    Ok(())
}

/// The client is refused by the server, for exactly this reason.
async fn client_is_refused(server: &Identity, client: &Identity, expect: Expect, word: &str, text: &str) {
    let before = server.refusals().counts().get(word).copied().unwrap_or(0);
    let refused = connect(server, client, expect, Expect::Hub).await.unwrap_err();
    assert!(refused.starts_with("server: ") && refused.contains(text), "{refused}");
    let counts = server.refusals().counts();
    assert_eq!(counts.get(word).copied(), Some(before + 1), "{counts:?}");
}

#[tokio::test]
async fn an_agent_and_the_hub_of_one_fleet_believe_each_other() {
    let fleet = Fleet::new("fleet.example");
    let (hub, east) = (fleet.identity(&Party::Hub), fleet.identity(&agent("us-east")));
    let (_, server) = connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    let shown = CertificateFacts::read(&server.get_ref().1.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(shown.id.unwrap().to_string(), "spiffe://fleet.example/cluster/us-east/agent");
    assert!(hub.refusals().counts().is_empty() && east.refusals().counts().is_empty());
}

#[tokio::test]
async fn another_trust_domain_is_refused_also_when_it_copies_the_name() {
    let (fleet, other, twin) =
        (Fleet::new("fleet.example"), Fleet::new("other.example"), Fleet::new("fleet.example"));
    let hub = fleet.identity(&Party::Hub);
    let stranger = other.believing(&agent("us-east"), fleet.bundle());
    let text = "spiffe://other.example/cluster/us-east/agent is refused: it is of another trust domain than fleet.example";
    client_is_refused(&hub, &stranger, Expect::AnyAgent, "other_trust_domain", text).await;
    let forged = twin.believing(&agent("us-east"), fleet.bundle());
    let text = "is of an authority that is not believed";
    client_is_refused(&hub, &forged, Expect::AnyAgent, "unknown_authority", text).await;
    // The other way round the client refuses, and says why.
    let east = fleet.identity(&agent("us-east"));
    let false_hub = twin.believing(&Party::Hub, fleet.bundle());
    let refused = connect(&false_hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap_err();
    assert!(refused.starts_with("client: ") && refused.contains(text), "{refused}");
    assert_eq!(east.refusals().counts().get("unknown_authority"), Some(&1));
}

#[tokio::test]
async fn another_cluster_and_another_role_are_refused() {
    let fleet = Fleet::new("fleet.example");
    let (hub, west) = (fleet.identity(&Party::Hub), fleet.identity(&agent("us-west")));
    let text = "cluster/us-west/agent is refused: the agent of us-east was expected";
    client_is_refused(&hub, &west, Expect::Exactly(agent("us-east")), "other_party", text).await;
    // An agent is not taken for the hub.
    let refused = connect(&west, &west, Expect::AnyAgent, Expect::Hub).await.unwrap_err();
    assert!(refused.starts_with("client: ") && refused.contains("the hub was expected"), "{refused}");
}

#[tokio::test]
async fn a_certificate_holds_only_in_its_time() {
    let fleet = Fleet::new("fleet.example");
    let hub = fleet.identity(&Party::Hub);
    let east = fleet.identity(&agent("us-east"));
    // Clocks ten minutes apart do no harm.
    fleet.clock.0.store(START - 600, Ordering::SeqCst);
    connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    // The hub's clock stands before the agent's certificate: the agent's own judge must not hide it, so it has its own.
    let late = Arc::new(TestClock(AtomicU64::new(START)));
    let own_clock = |party: &Party, at: &Arc<TestClock>| {
        let key = PrivateKey::generate().unwrap();
        let issued = fleet.issue(party, &key);
        let credentials = Credentials::new(issued.chain, &key, fleet.bundle()).unwrap();
        Identity::new(credentials, Refusals::default(), at.clone())
    };
    fleet.clock.0.store(START, Ordering::SeqCst);
    let east = own_clock(&agent("us-east"), &late);
    let judge = Arc::new(TestClock(AtomicU64::new(START - BACKDATED.as_secs() - 5)));
    let hub = own_clock(&Party::Hub, &judge);
    client_is_refused(&hub, &east, Expect::AnyAgent, "not_yet_valid", "valid in 5 s only").await;
    judge.0.store(START + DAY.as_secs() + 60, Ordering::SeqCst);
    client_is_refused(&hub, &east, Expect::AnyAgent, "expired", "expired 60 s ago; join the cluster again")
        .await;
}

#[tokio::test]
async fn a_self_signed_certificate_and_one_without_identity_are_refused() {
    let fleet = Fleet::new("fleet.example");
    let hub = fleet.identity(&Party::Hub);
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let id = "spiffe://fleet.example/cluster/us-east/agent";
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    let chain = vec![params.self_signed(&pair).unwrap().der().clone()];
    let key = PrivateKey::from_pem(&pair.serialize_pem()).unwrap();
    let credentials = Credentials::new(chain, &key, fleet.bundle()).unwrap();
    let alone = Identity::new(credentials, Refusals::default(), fleet.clock.clone());
    client_is_refused(&hub, &alone, Expect::AnyAgent, "self_signed", "is signed by itself").await;

    // One that the authority issued, but not to anybody of a fleet.
    let root = Fleet::new("fleet.example");
    let (certificate, key) =
        Authority::create(&"fleet.example".parse().unwrap(), root.clock.now(), YEAR).unwrap();
    let ca = TrustBundle::certificates(&certificate).unwrap();
    let bundle = TrustBundle::new("fleet.example".parse().unwrap(), ca.clone()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&ca[0], KeyPair::from_pem(&key).unwrap()).unwrap();
    let mut params = CertificateParams::new(["web.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&pair, &issuer).unwrap().der().clone();
    let key = PrivateKey::from_pem(&pair.serialize_pem()).unwrap();
    let credentials = Credentials::new(vec![leaf], &key, fleet.bundle()).unwrap();
    let nameless = Identity::new(credentials, Refusals::default(), fleet.clock.clone());
    let hub = fleet.believing(&Party::Hub, bundle);
    client_is_refused(&hub, &nameless, Expect::AnyAgent, "no_identity", "no identity of a fleet").await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_moment_of_the_swap() {
    let fleet = Fleet::new("fleet.example");
    let (hub, east) = (fleet.identity(&Party::Hub), fleet.identity(&agent("us-east")));
    connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    let serial = east.current().facts.serial.clone();
    let bundle = fleet.bundle().revoking(BTreeSet::from([serial.clone()])).unwrap();
    let key = PrivateKey::generate().unwrap();
    hub.swap(Credentials::new(fleet.issue(&Party::Hub, &key).chain, &key, bundle).unwrap());
    let text = format!("its certificate {serial} was revoked");
    client_is_refused(&hub, &east, Expect::AnyAgent, "revoked", &text).await;
    // Another certificate of the same cluster is none of this.
    let again = fleet.identity(&agent("us-east"));
    connect(&hub, &again, Expect::AnyAgent, Expect::Hub).await.unwrap();
}

#[tokio::test]
async fn certificates_rotate_without_dropping_a_stream() {
    let fleet = Fleet::new("fleet.example");
    let (hub, east) = (fleet.identity(&Party::Hub), fleet.identity(&agent("us-east")));
    let mut open = connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    for (identity, party) in [(&hub, Party::Hub), (&east, agent("us-east"))] {
        let key = PrivateKey::generate().unwrap();
        let issued = fleet.issue(&party, &key);
        identity.swap(Credentials::new(issued.chain, &key, fleet.bundle()).unwrap());
    }
    say(&mut open).await.unwrap();
    let (client, server) = connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    let leaf = |certificates: Option<&[CertificateDer<'_>]>| {
        CertificateFacts::read(&certificates.unwrap()[0]).unwrap()
    };
    assert_eq!(leaf(server.get_ref().1.peer_certificates()), east.current().facts);
    assert_eq!(leaf(client.get_ref().1.peer_certificates()), hub.current().facts);
    say(&mut open).await.unwrap();
}

#[tokio::test]
async fn authorities_rotate_with_overlap() {
    let mut fleet = Fleet::new("fleet.example");
    let old = fleet.bundle();
    let (hub, east) = (fleet.identity(&Party::Hub), fleet.identity(&agent("us-east")));
    let mut open = connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    // Both are believed, by both.
    fleet.authority = authority("fleet.example", &fleet.clock);
    let new = fleet.bundle();
    let roots = old.roots().iter().chain(new.roots()).cloned();
    let overlap = TrustBundle::new("fleet.example".parse().unwrap(), roots).unwrap();
    let take = |identity: &Identity, party: Party, bundle: &TrustBundle| {
        let key = PrivateKey::generate().unwrap();
        identity.swap(Credentials::new(fleet.issue(&party, &key).chain, &key, bundle.clone()).unwrap());
    };
    // The hub shows the new one before the agent does, and then the agent.
    take(&hub, Party::Hub, &overlap);
    let refused = connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap_err();
    assert!(refused.contains("not believed"), "an agent that has not heard of the new one: {refused}");
    take(&east, agent("us-east"), &overlap);
    connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    // The old one is dropped; whoever still shows it is refused.
    take(&hub, Party::Hub, &new);
    take(&east, agent("us-east"), &new);
    connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    say(&mut open).await.unwrap();
}

#[tokio::test]
async fn a_first_contact_believes_only_the_authority_that_its_token_names() {
    let fleet = Fleet::new("fleet.example");
    let hub = fleet.identity(&Party::Hub);
    let clock: Arc<dyn Clock> = fleet.clock.clone();
    let acceptor = || TlsAcceptor::from(hub.server(Expect::AnyAgent, true).unwrap());
    let (config, seen) = pinned_client(fleet.authority.pin().unwrap(), &clock).unwrap();
    both(acceptor(), TlsConnector::from(config)).await.unwrap();
    assert_eq!(seen.get().unwrap().unwrap().as_str(), "fleet.example");

    let other = Fleet::new("fleet.example").authority.pin().unwrap();
    let (config, seen) = pinned_client(other, &clock).unwrap();
    let refused = both(acceptor(), TlsConnector::from(config)).await.unwrap_err();
    assert!(refused.contains("not the one that the join token names"), "{refused}");
    assert_eq!(seen.get().unwrap().unwrap_err().why.word(), "pin");

    // An agent of the right authority is no hub.
    let east = fleet.identity(&agent("us-east"));
    let (config, seen) = pinned_client(fleet.authority.pin().unwrap(), &clock).unwrap();
    let as_hub = TlsAcceptor::from(east.server(Expect::AnyAgent, true).unwrap());
    both(as_hub, TlsConnector::from(config)).await.unwrap_err();
    assert_eq!(seen.get().unwrap().unwrap_err().why.word(), "other_party");

    // Where a certificate is asked for, nobody is let in without one.
    let (config, _) = pinned_client(fleet.authority.pin().unwrap(), &clock).unwrap();
    let strict = TlsAcceptor::from(hub.server(Expect::AnyAgent, false).unwrap());
    both(strict, TlsConnector::from(config)).await.unwrap_err();
}

#[test]
fn the_names_of_a_request_do_not_count_and_its_key_must_sign_it() {
    let fleet = Fleet::new("fleet.example");
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["admin.example".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://fleet.example/hub".try_into().unwrap()));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let request = params.serialize_request(&pair).unwrap();
    let serial: Serial = "0a".parse().unwrap();
    let issue =
        |request: &[u8]| fleet.authority.issue(request, &agent("us-east"), &serial, fleet.clock.now(), DAY);
    let issued = issue(request.der()).unwrap();
    let facts = &issued.facts;
    assert_eq!(facts.names, "spiffe://fleet.example/cluster/us-east/agent");
    assert!(!facts.is_ca);
    assert_eq!(facts.serial, Serial::of(&[10]));
    assert_eq!(facts.not_after, Duration::from_secs(START) + DAY);
    assert_eq!(facts.renew_at().as_secs(), START + DAY.as_secs() * 2 / 3);

    let mut broken = request.der().to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    for bad in [&broken[..], b"", b"garbage", &[0x30; 5000]] {
        assert!(matches!(issue(bad), Err(AuthorityError::Request(_))));
    }
    // No certificate outlives its authority, and an authority that is over issues none.
    let long =
        fleet.authority.issue(request.der(), &Party::Hub, &serial, fleet.clock.now(), YEAR * 9).unwrap();
    assert_eq!(long.facts.not_after, fleet.authority.facts().not_after);
    fleet.clock.0.fetch_add(YEAR.as_secs() + 1, Ordering::SeqCst);
    assert!(matches!(issue(request.der()), Err(AuthorityError::Validity("any more"))));
}

#[tokio::test]
async fn an_authority_is_brought_as_cert_manager_writes_it() {
    let clock = Arc::new(TestClock(AtomicU64::new(START)));
    let trust_domain: TrustDomain = "fleet.example".parse().unwrap();
    // A root elsewhere, and one below it for this fleet.
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "corporate root");
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&root, &root_key);
    let key = KeyPair::generate().unwrap();
    let mut below = CertificateParams::default();
    below.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    below.distinguished_name.push(rcgen::DnType::CommonName, "fleet");
    let certificate = below.signed_by(&key, &issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("tls.crt", &certificate.pem());
    write("tls.key", &key.serialize_pem());
    write("ca.crt", &root_certificate.pem());
    let authority = Authority::load(folder.path(), trust_domain.clone()).unwrap();
    let fleet = Fleet { authority, clock };
    let (hub, east) = (fleet.identity(&Party::Hub), fleet.identity(&agent("us-east")));
    connect(&hub, &east, Expect::AnyAgent, Expect::Hub).await.unwrap();
    let pinned: Arc<dyn Clock> = fleet.clock.clone();
    let (config, _) = pinned_client(fleet.authority.pin().unwrap(), &pinned).unwrap();
    let acceptor = TlsAcceptor::from(hub.server(Expect::AnyAgent, true).unwrap());
    both(acceptor, TlsConnector::from(config)).await.unwrap();

    write("tls.key", &KeyPair::generate().unwrap().serialize_pem());
    let load = || Authority::load(folder.path(), trust_domain.clone()).unwrap_err().to_string();
    assert!(load().contains("not the one of its certificate"), "{}", load());
    write("tls.key", "nonsense");
    assert!(load().contains("not a private key"), "{}", load());
    let leaf = CertificateParams::default().self_signed(&key).unwrap();
    write("tls.crt", &leaf.pem());
    assert!(load().contains("isCA: true"), "{}", load());
    std::fs::remove_file(folder.path().join("tls.crt")).unwrap();
    assert!(load().contains("tls.crt cannot be read"), "{}", load());
}

#[test]
fn keys_are_never_shown() {
    let fleet = Fleet::new("fleet.example");
    let key = PrivateKey::generate().unwrap();
    let pem = key.to_pem();
    let secret = pem.lines().nth(1).unwrap();
    let identity = fleet.identity(&Party::Hub);
    let error = PrivateKey::from_pem(&pem.replace("MIGH", "MIGI")).map(drop);
    for shown in [
        format!("{key:?}"),
        format!("{:?}", fleet.authority),
        format!("{identity:?}"),
        format!("{:?}", identity.current()),
        format!("{error:?}"),
    ] {
        assert!(!shown.contains(secret) && !shown.contains("PRIVATE KEY-----"), "{shown}");
    }
    assert_eq!(format!("{key:?}"), "PrivateKey(not shown)");
}
