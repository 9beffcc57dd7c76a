//! TLS under each kind of check, with certificates made for the test.

use crate::{down, fixture, grpc, http2::answer_all, impatient, serving, target, verdict_on};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tidegate_model::ProbeVerdict;
use tidegate_probe::{CheckKind, ClientCertificate, HttpCheck, SubjectName, Target, TlsConfig, Trust};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

/// An authority, and a folder for what it issues.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `name` and its key, in PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// What a check of `localhost` needs to trust this authority.
    fn trusted(&self) -> TlsConfig {
        TlsConfig {
            server_name: Some("localhost".into()),
            trust: Trust::Authorities(self.file()),
            names: Vec::new(),
            client: None,
        }
    }

    /// A client's certificate in files.
    fn client(&self, name: &str) -> ClientCertificate {
        let (chain, key) = self.issue(name, |_| {});
        let at = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        fs::write(at("pem"), chain).unwrap();
        fs::write(at("key"), key).unwrap();
        ClientCertificate { chain: at("pem"), key: at("key") }
    }
}

fn acceptor((chain, key): &(String, String), clients: Option<&Authority>, alpn: &[&str]) -> TlsAcceptor {
    let chain: Vec<_> =
        rustls::pki_types::CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// An HTTPS server that answers 200.
async fn https(acceptor: TlsAcceptor) -> SocketAddr {
    serving(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(tcp).await else { return };
            let _ = stream.read(&mut [0; 1 << 10]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok();
            stream.shutdown().await.ok();
        }
    })
    .await
}

fn secured(address: SocketAddr, kind: CheckKind, tls: TlsConfig) -> Target {
    let mut target = target(address, kind);
    target.config.tls = Some(Arc::new(tls));
    target
}

#[tokio::test]
async fn a_certificate_that_is_right_is_right_for_each_kind() {
    let authority = Authority::new("ours");
    let issued = authority.issue("localhost", |_| {});
    let web = https(acceptor(&issued, None, &[])).await;
    assert_eq!(verdict_on(secured(web, CheckKind::http("/"), authority.trusted())).await, None);
    assert_eq!(verdict_on(secured(web, CheckKind::Tcp, authority.trusted())).await, None);

    let h2 = acceptor(&issued, None, &["h2"]);
    let (sender, mut asked) = mpsc::unbounded_channel();
    let shared = h2.clone();
    let web2 = serving(move |tcp| {
        let (acceptor, asked) = (shared.clone(), sender.clone());
        async move { answer_all(acceptor.accept(tcp).await.unwrap(), 200, "", asked).await }
    })
    .await;
    let kind = CheckKind::Http2(Arc::new(HttpCheck::get("/")));
    assert_eq!(verdict_on(secured(web2, kind, authority.trusted())).await, None);
    assert_eq!(asked.recv().await.unwrap().uri().scheme_str(), Some("https"));

    let health = serving(move |tcp| {
        let acceptor = h2.clone();
        async move { grpc::serve_health(acceptor.accept(tcp).await.unwrap(), grpc::Says::Status(1)).await }
    })
    .await;
    assert_eq!(verdict_on(secured(health, grpc::about("web"), authority.trusted())).await, None);
}

#[tokio::test]
async fn each_wrong_certificate_has_its_reason() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger's"));
    let expired = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let early = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    for (issued, reason) in [
        (expired, "TLS: certificate expired"),
        (early, "TLS: certificate not valid yet"),
        (
            stranger.issue("localhost", |_| {}),
            "TLS: certificate of an unknown issuer (none of those that are believed)",
        ),
        (
            authority.issue("pay.example", |_| {}),
            "TLS: certificate for another name: localhost is not in [pay.example]",
        ),
    ] {
        let address = https(acceptor(&issued, None, &[])).await;
        for kind in [CheckKind::Tcp, CheckKind::http("/")] {
            let verdict = verdict_on(secured(address, kind.clone(), authority.trusted())).await;
            assert_eq!(verdict.as_deref(), Some(reason));
            let anybody = TlsConfig { trust: Trust::Anybody, ..authority.trusted() };
            assert_eq!(
                verdict_on(secured(address, kind, anybody)).await,
                None,
                "who trusts anybody trusts it"
            );
        }
    }
}

#[tokio::test]
async fn without_a_name_the_certificate_must_bear_the_address() {
    let authority = Authority::new("ours");
    let by_address = TlsConfig { server_name: None, ..authority.trusted() };
    let right = https(acceptor(&authority.issue("127.0.0.1", |_| {}), None, &[])).await;
    assert_eq!(verdict_on(secured(right, CheckKind::Tcp, by_address.clone())).await, None);
    let wrong = https(acceptor(&authority.issue("localhost", |_| {}), None, &[])).await;
    let verdict = verdict_on(secured(wrong, CheckKind::Tcp, by_address)).await.unwrap();
    assert!(verdict.starts_with("TLS: certificate for another name"), "{verdict}");
}

#[tokio::test]
async fn a_certificate_may_have_to_bear_one_of_other_names_and_nobody_may_be_believed() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger's"));
    let bundle = |of: &Authority| Trust::Bundle(of.issuer.pem().into());
    let issued = authority.issue("*.pay.example", |params| {
        let uri = "spiffe://pay.example/web".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
    });
    let address = https(acceptor(&issued, None, &[])).await;
    let (host, uri) = (|it: &str| SubjectName::Host(it.into()), |it: &str| SubjectName::Uri(it.into()));
    let rows = [
        (vec![host("a.pay.example")], None),
        (vec![host("*.pay.example")], None),
        (vec![host("b.example"), uri("spiffe://pay.example/web")], None),
        (
            vec![host("b.example"), uri("spiffe://pay.example")],
            Some("TLS: the certificate bears none of the names b.example, spiffe://pay.example"),
        ),
    ];
    for (names, reason) in rows {
        let tls = TlsConfig { names, trust: bundle(&authority), ..authority.trusted() };
        assert_eq!(verdict_on(secured(address, CheckKind::Tcp, tls)).await.as_deref(), reason);
    }
    for names in [Vec::new(), vec![host("a.pay.example")]] {
        let tls = TlsConfig { names, trust: bundle(&stranger), ..authority.trusted() };
        let verdict = verdict_on(secured(address, CheckKind::Tcp, tls)).await.unwrap();
        assert!(verdict.starts_with("TLS: certificate of an unknown issuer"), "{verdict}");
    }
    let nobody = TlsConfig { trust: Trust::Nobody("there is no authority".into()), ..authority.trusted() };
    let verdict = verdict_on(secured(address, CheckKind::Tcp, nobody)).await;
    assert_eq!(verdict.as_deref(), Some("TLS: there is no authority"));
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger's"));
    let issued = authority.issue("localhost", |_| {});
    let address = https(acceptor(&issued, Some(&authority), &[])).await;
    let with = |client| TlsConfig { client, ..authority.trusted() };
    let kind = CheckKind::http("/");
    let verdict = verdict_on(secured(address, kind.clone(), with(Some(authority.client("prober"))))).await;
    assert_eq!(verdict, None);
    let verdict = verdict_on(secured(address, kind.clone(), with(None))).await;
    assert_eq!(verdict.as_deref(), Some("TLS: the server asks for a client certificate"));
    let verdict = verdict_on(secured(address, kind, with(Some(stranger.client("stranger"))))).await.unwrap();
    assert!(verdict.starts_with("TLS: the server does not accept the client certificate"), "{verdict}");
}

#[tokio::test]
async fn who_speaks_something_else_or_nothing_is_told_apart() {
    let authority = Authority::new("ours");
    let plain = serving(|mut stream| async move {
        let _ = stream.read(&mut [0; 1 << 10]).await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
    })
    .await;
    let verdict = verdict_on(secured(plain, CheckKind::Tcp, authority.trusted())).await;
    assert_eq!(verdict.as_deref(), Some("TLS: the server does not speak TLS"));

    let frozen = serving(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let verdict = verdict_on(impatient(secured(frozen, CheckKind::Tcp, authority.trusted()))).await;
    assert_eq!(verdict.as_deref(), Some("timeout after 100 ms in the TLS handshake"));

    let issued = authority.issue("localhost", |_| {});
    for (alpn, reason) in [
        (&[][..], "TLS: the server does not offer h2 (ALPN)"),
        (&["http/1.1"][..], "TLS: the server does not offer the protocol (ALPN)"),
    ] {
        let address = https(acceptor(&issued, None, alpn)).await;
        let kind = CheckKind::Http2(Arc::new(HttpCheck::get("/")));
        assert_eq!(verdict_on(secured(address, kind, authority.trusted())).await.as_deref(), Some(reason));
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_take_nobody_down() {
    let authority = Authority::new("ours");
    let address = https(acceptor(&authority.issue("localhost", |_| {}), None, &[])).await;
    let missing = TlsConfig {
        trust: Trust::Authorities(authority.folder.path().join("none.pem")),
        ..authority.trusted()
    };
    let mut fixture = fixture();
    let stats = fixture.prober.stats();
    fixture.check(secured(address, CheckKind::Tcp, missing));
    while stats.snapshot().local < 3 {
        tokio::task::yield_now().await;
    }
    assert!(fixture.verdicts.try_recv().is_err(), "no verdict came of it");
    // The same target is checked as soon as it is asked about in a way that is possible.
    fixture.check(secured(address, CheckKind::Tcp, authority.trusted()));
    fixture.expect(ProbeVerdict::Up, true).await;
    fixture.check(secured(
        address,
        CheckKind::Tcp,
        TlsConfig { server_name: Some("x.example".into()), ..authority.trusted() },
    ));
    let reason = "TLS: certificate for another name: x.example is not in [localhost]";
    fixture.expect(down(reason), false).await;
}
