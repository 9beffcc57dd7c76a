//! TLS from gateways to endpoints (`BackendTLSPolicy`): an agent, real Envoys and a real TLS server. Who is not believed gets no request,
//! and it is said why; authorities are replaced without a failed request.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
};
use support::{
    command::{Running, run, tidegate},
    hub::{ANY, Agent},
    kube::{GATEWAYS, OURS, apply, define, kubectl},
    pair::{Gateway, Pair, free, get, load},
    wait_until,
};
use tempfile::TempDir;
use tidegate_apiserver::{ApiServer, Options};

/// The name that endpoints are asked for.
const NAME: &str = "web.shop.example";
/// What else their certificate bears.
const URI: &str = "spiffe://shop.example/web";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Envoy takes what has the name of its issuer for its own issuer.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a server shows that this one vouches for.
    fn issue(&self) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(URI.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &self.0).unwrap().der().clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        Arc::new(config.unwrap())
    }
}

/// An endpoint that speaks TLS alone, a request on each connection, and tells the server name that it was asked for.
struct Server {
    address: SocketAddr,
    shows: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Server {
    fn start(shows: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(ANY).unwrap();
        let (address, shows) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(shows)));
        let shown = Arc::clone(&shows);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let config = Arc::clone(&shown.lock().unwrap());
                std::thread::spawn(move || {
                    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    // A check shakes hands and goes; who does not believe us goes earlier.
                    if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                        let asked = stream.conn.server_name().unwrap_or_default().to_owned();
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{asked}",
                            asked.len()
                        );
                        let _ = stream.write_all(answer.as_bytes());
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        Self { address, shows }
    }

    fn show(&self, config: Arc<ServerConfig>) {
        *self.shows.lock().unwrap() = config;
    }
}

fn authorities(pem: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: shop}}\ndata: {{ca.crt: {pem:?}}}\n"
    )
}

fn policy(hostname: &str, more: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: web, sectionName: http}}]\n  \
         validation: {{hostname: {hostname}, caCertificateRefs: [{{group: '', kind: ConfigMap, name: ca}}]{more}}}\n"
    )
}

/// A cluster with one service, whose endpoint is at this address.
fn world(edge: SocketAddr, endpoint: SocketAddr) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: home}}\nspec: {{region: here}}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: all, namespace: shop}}\n\
         spec:\n  targetRefs: [{{group: tidegate.dev, kind: Fleet, name: default}}]\n  failback: {{holdDown: 1s}}\n  \
         healthCheck: {{active: {{type: TCP, interval: 500ms, timeout: 2s}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{ports: [{{name: http, port: 443}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {}, protocol: TCP}}]\nendpoints: [{{addresses: [{}], zone: a}}]\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate-edge\n  addresses: [{{type: IPAddress, value: {}}}]\n  \
         listeners: [{{name: http, port: {}, protocol: HTTP}}]\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: web, port: 443}}]}}]\n",
        endpoint.port(),
        endpoint.ip(),
        edge.ip(),
        edge.port()
    )
}

/// Replaced as a whole, so that nobody reads half of it.
fn write(folder: &Path, name: &str, text: &str) {
    let fresh = folder.join(format!(".{name}.new"));
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, folder.join(name)).unwrap();
}

/// The edge, and where its Envoy is asked.
fn gateway(envoy: &Path, listen: &str) -> (Gateway, SocketAddr) {
    let admin = free();
    let mut command = tidegate();
    command.args(["envoy", "run", "--gateway", "shop/edge", "--zone", "a", "--concurrency", "1"]);
    command.args(["--agent", listen, "--admin", &admin.to_string()]).arg("--envoy").arg(envoy);
    (Gateway(Running::start(&mut command)), admin)
}

/// Waits until an Envoy believes an authority, or does not any more.
fn until_believed(admin: SocketAddr, authority: &Authority, is_so: bool) {
    let pem = authority.pem();
    // Its serial is in there.
    let line = pem.lines().nth(1).unwrap();
    wait_until("an Envoy to take in its authorities", || {
        (get(admin, "/config_dump")?.contains(line) == is_so).then_some(())
    });
}

fn until_answer(edge: SocketAddr, status: &str) -> String {
    let wanted = format!("HTTP/1.1 {status}");
    wait_until(&format!("an answer {status}"), || get(edge, "/").filter(|it| it.starts_with(&wanted)))
}

/// Waits until the agent's decisions say this.
fn until_decided(agent: &Agent, words: &str) {
    wait_until(&format!("a decision with {words:?}"), || {
        get(agent.admin, "/api/v1/decisions?limit=10000").filter(|it| it.contains(words))
    });
}

/// Waits until the gateway is answered, and the agent finds the endpoint healthy, too.
fn until_well(agent: &Agent, edge: SocketAddr) -> String {
    wait_until("a healthy endpoint", || {
        let ran = run(["status", "-o", "json", "--admin", &agent.admin.to_string()]);
        let status: serde_json::Value = serde_json::from_str(&ran.stdout).ok()?;
        (status["pools"][0]["healthy"].as_u64()? == 1).then_some(())
    });
    until_answer(edge, "200")
}

/// Waits until the agent takes in what was written last.
fn until_problem(agent: &Agent, words: &str) {
    wait_until(&format!("a problem with {words:?}"), || {
        let ran = run(["status", "-o", "json", "--admin", &agent.admin.to_string()]);
        ran.stdout.contains(words).then_some(())
    });
}

fn believes_whom_the_policy_says(envoy: &Path) {
    let (first, second, stranger) =
        (Authority::new("first"), Authority::new("second"), Authority::new("stranger"));
    let server = Server::start(first.issue());
    let (edge, folder) = (free(), TempDir::new().unwrap());
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    write(&manifests, "all.yaml", &world(edge, server.address));
    write(&manifests, "ca.yaml", &authorities(&first.pem()));
    write(&manifests, "tls.yaml", &policy(NAME, ""));
    let listen = free().to_string();
    let mut command = tidegate();
    command.args(["agent", "--cluster", "home", "--listen", &listen, "--admin", ANY]);
    command.arg("--manifests").arg(&manifests).arg("--state-dir").arg(folder.path().join("state"));
    let agent = Agent::start(&mut command);
    let (_gateway, admin) = gateway(envoy, &listen);
    assert!(until_well(&agent, edge).ends_with(NAME), "the server name is the one of the policy");

    // The authority is replaced as authorities are: both are believed, then the new one shows, then the old one is gone.
    let (stop, counts) = load(edge);
    write(&manifests, "ca.yaml", &authorities(&(first.pem() + &second.pem())));
    until_believed(admin, &second, true);
    let asked = counts.0.load(Ordering::SeqCst);
    wait_until("requests by both", || (counts.0.load(Ordering::SeqCst) > asked + 200).then_some(()));
    server.show(second.issue());
    let asked = counts.0.load(Ordering::SeqCst);
    wait_until("requests by the new one", || (counts.0.load(Ordering::SeqCst) > asked + 200).then_some(()));
    write(&manifests, "ca.yaml", &authorities(&second.pem()));
    until_believed(admin, &first, false);
    let asked = counts.0.load(Ordering::SeqCst);
    wait_until("requests by the new one alone", || {
        (counts.0.load(Ordering::SeqCst) > asked + 500).then_some(())
    });
    stop.store(true, Ordering::SeqCst);
    let [asked, failed, longest] = [&counts.0, &counts.1, &counts.2].map(|it| it.load(Ordering::SeqCst));
    eprintln!(
        "MEASURED {failed} of {asked} requests failed while the authority was replaced, the longest took {longest} ms"
    );
    assert_eq!(failed, 0, "of {asked}");

    // Whom somebody else vouches for gets no request, and it is said why.
    write(&manifests, "ca.yaml", &authorities(&stranger.pem()));
    until_answer(edge, "503");
    until_decided(&agent, "certificate of an unknown issuer");
    write(&manifests, "ca.yaml", &authorities(&second.pem()));
    until_well(&agent, edge);

    // Nor who bears another name, unless the policy says that it may.
    write(&manifests, "tls.yaml", &policy("other.example", ""));
    until_answer(edge, "503");
    until_decided(&agent, "certificate for another name");
    let uri = format!(", subjectAltNames: [{{type: URI, uri: '{URI}'}}]");
    write(&manifests, "tls.yaml", &policy("other.example", &uri));
    assert!(until_well(&agent, edge).ends_with("other.example"));
    let uri = ", subjectAltNames: [{type: URI, uri: 'spiffe://shop.example/pay'}]";
    write(&manifests, "tls.yaml", &policy("other.example", uri));
    until_answer(edge, "503");
    until_decided(&agent, "bears none of the names spiffe://shop.example/pay");
    write(&manifests, "tls.yaml", &policy(NAME, ""));
    until_well(&agent, edge);

    // What is no certificate changes nothing; with the authority gone nobody is believed, and nothing is spoken plainly.
    write(&manifests, "ca.yaml", &authorities("no PEM"));
    until_problem(&agent, "ca.crt holds no certificate as PEM");
    assert!(get(edge, "/").unwrap().starts_with("HTTP/1.1 200"));
    fs::remove_file(manifests.join("ca.yaml")).unwrap();
    until_answer(edge, "503");
    until_problem(&agent, "there is no ConfigMap shop/ca with ca.crt");
    until_decided(&agent, "names no authority that is there");
    write(&manifests, "ca.yaml", &authorities(&second.pem()));
    until_well(&agent, edge);

    // Without the policy the endpoint is spoken to plainly, which it does not understand.
    fs::remove_file(manifests.join("tls.yaml")).unwrap();
    wait_until("no answer", || get(edge, "/").filter(|it| !it.starts_with("HTTP/1.1 200")));
}

#[test]
fn endpoints_are_believed_as_their_policy_says_and_authorities_are_replaced_without_loss() {
    let test = "endpoints_are_believed_as_their_policy_says_and_authorities_are_replaced_without_loss";
    if let Some(envoy) = support::envoy(test) {
        believes_whom_the_policy_says(&envoy);
    }
}

#[test]
fn so_are_they_by_the_oldest_envoy() {
    if let Some(envoy) = support::oldest_envoy("so_are_they_by_the_oldest_envoy") {
        believes_whom_the_policy_says(&envoy);
    }
}

/// Of two clusters each has its own policy: the east-west gateway speaks TLS to its endpoints, whatever brought the request there.
#[test]
fn the_gateway_of_another_cluster_speaks_tls_to_its_own_endpoints() {
    let test = "the_gateway_of_another_cluster_speaks_tls_to_its_own_endpoints";
    let Some(envoy) = support::envoy(test) else { return };
    let authority = Authority::new("ours");
    let server = Server::start(authority.issue());
    let pair = Pair::start(&envoy, &[]);
    pair.until_served();
    let folder = pair.place.at("eu-west-manifests");
    let all = fs::read_to_string(folder.join("all.yaml")).unwrap();
    let port = |text: &str| -> String {
        let line = text.lines().find(|line| line.starts_with("ports: [{name: http, port: ")).unwrap();
        line.rsplit(' ').next().unwrap().trim_end_matches("}]").to_owned()
    };
    let tls = all.replace(
        &format!("port: {}}}]\nendpoints", port(&all)),
        &format!("port: {}}}]\nendpoints", server.address.port()),
    );
    assert_ne!(tls, all);
    write(
        &folder,
        "all.yaml",
        &[&tls, "---\n", &authorities(&authority.pem()), "---\n", &policy(NAME, "")].concat(),
    );
    let is_tls = |edge| wait_until("an answer by TLS", || get(edge, "/").filter(|it| it.ends_with(NAME)));
    is_tls(pair.west.edge);
    is_tls(pair.east.edge);
}

#[test]
fn in_kubernetes_authorities_are_read_by_name_and_the_policy_is_told_what_became_of_it() {
    let test = "in_kubernetes_authorities_are_read_by_name_and_the_policy_is_told_what_became_of_it";
    let Some(envoy) = support::envoy(test) else { return };
    let Some(api) = ApiServer::start_or_skip(&Options::default()) else { return };
    let (authority, stranger) = (Authority::new("ours"), Authority::new("stranger"));
    let server = Server::start(authority.issue());
    let edge = free();
    let kinds = [
        (OURS, "FleetCluster", "fleetclusters", "Cluster"),
        (OURS, "FailoverPolicy", "failoverpolicies", "Namespaced"),
        (GATEWAYS, "Gateway", "gateways", "Namespaced"),
        (GATEWAYS, "HTTPRoute", "httproutes", "Namespaced"),
        (GATEWAYS, "BackendTLSPolicy", "backendtlspolicies", "Namespaced"),
    ];
    define(&api, &kinds);
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n";
    apply(&api, &[namespace, &world(edge, server.address), "---\n", &policy(NAME, "")].concat());
    let folder = TempDir::new().unwrap();
    let listen = free().to_string();
    let mut command = tidegate();
    command.args([
        "agent",
        "--cluster",
        "home",
        "--listen",
        &listen,
        "--admin",
        ANY,
        "--kubernetes",
        "--kubeconfig",
    ]);
    command.arg(api.kubeconfig()).arg("--state-dir").arg(folder.path().join("state"));
    let agent = Agent::start(&mut command);
    let (_gateway, _) = gateway(&envoy, &listen);
    // `type=status reason` of each condition, by ancestor.
    let until_told = |wanted: &str| {
        let words = ["-n", "shop", "get", "backendtlspolicy", "web", "-o"];
        let path = "jsonpath={range .status.ancestors[*]}{.ancestorRef.kind}/{.ancestorRef.name}:{range .conditions[*]} {.type}={.reason}{end}{end}";
        wait_until(&format!("the status {wanted}"), || {
            let told = kubectl(&api, &[&words[..], &[path]].concat(), "");
            (told == wanted).then_some(())
        });
    };
    until_told("Gateway/edge: Accepted=NoValidCACertificate ResolvedRefs=InvalidCACertificateRef");
    until_answer(edge, "503");
    apply(&api, &authorities(&authority.pem()));
    until_well(&agent, edge);
    until_told("Gateway/edge: Accepted=Accepted ResolvedRefs=ResolvedRefs");
    apply(&api, &authorities(&stranger.pem()));
    until_answer(edge, "503");
    until_decided(&agent, "certificate of an unknown issuer");
    apply(&api, &authorities(&authority.pem()));
    until_well(&agent, edge);
    kubectl(&api, &["-n", "shop", "delete", "configmap", "ca"], "");
    until_answer(edge, "503");
}
