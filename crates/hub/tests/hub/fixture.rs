//! A hub in this process, and agents that the tests make say whatever they want.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tidegate_hub::{HubConfig, HubError, PolicySource, WaveLimits, run, token_of_stopped};
use tidegate_link::{
    hub::{
        Head, JoinToken, SignedHead, Trust,
        proto::{
            self, FromAgent, FromHub, enrolment_client::EnrolmentClient, fleet_client::FleetClient,
            from_agent, from_hub,
        },
    },
    identity::{
        CertificateDer, Clock, Credentials, Expect, Identity, PrivateKey, Refusals, SystemClock, connect,
        pinned_client,
    },
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming, transport::Channel};

/// How long an event may take that takes a moment on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const CLUSTERS: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: eu-west}
spec: {region: eu}
";

pub(crate) fn policy(hold_down: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: web}}]\n  failback: {{holdDown: {hold_down}}}\n"
    )
}

pub(crate) struct Hub {
    pub(crate) address: String,
    pub(crate) admin: SocketAddr,
    pub(crate) running: JoinHandle<Result<(), HubError>>,
    pub(crate) stop: DropGuard,
}

pub(crate) fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn config(folder: &Path) -> HubConfig {
    HubConfig {
        state_dir: folder.join("state"),
        policies: PolicySource::Folder(folder.join("policies")),
        listen: free(),
        admin: free(),
        admin_tls: None,
        trust_domain: Some("fleet.example".parse().unwrap()),
        authority: None,
        certificate_ttl: Duration::from_secs(86_400),
        waves: WaveLimits::default(),
        copy: None,
        standby_of: None,
        webhooks: None,
        collector: None,
    }
}

impl Hub {
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_as(config(folder)).await
    }

    pub(crate) async fn start_as(config: HubConfig) -> Self {
        let (listen, admin) = (config.listen, config.admin);
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(config, stop.clone()));
        let hub = Self { address: listen.to_string(), admin, running, stop: stop.drop_guard() };
        let up = async {
            while tokio::net::TcpStream::connect(hub.admin).await.is_err() {
                assert!(!hub.running.is_finished(), "the hub ended");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, up).await.unwrap();
        hub
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.running.await.unwrap().unwrap();
    }

    pub(crate) fn http(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Until somebody was refused so often for this reason: a connection may be closed before that is counted.
    pub(crate) async fn until_refused(&self, reason: &str, count: u64) {
        let counted = async {
            while self.refused(reason) != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(10), counted).await;
        assert!(counted.is_ok(), "{reason}: {} and not {count}", self.refused(reason));
    }

    /// How often somebody was refused for this reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        let text = self.http("GET", "/metrics");
        let line = format!("tidegate_hub_refusals_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|it| it.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }
}

/// A folder with policies and an empty state.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/clusters.yaml"), CLUSTERS).unwrap();
    fs::write(folder.path().join("policies/web.yaml"), policy("10s")).unwrap();
    folder
}

/// A state folder with its keys, before the hub runs.
pub(crate) async fn prepared() -> TempDir {
    let folder = folder();
    Hub::start(folder.path()).await.stop().await;
    folder
}

pub(crate) fn token(folder: &Path, cluster: &str, ttl: Duration) -> JoinToken {
    token_of_stopped(&folder.join("state"), None, &cluster.parse().unwrap(), ttl).unwrap().token
}

pub(crate) struct Agent {
    pub(crate) identity: Identity,
    pub(crate) trust: Trust,
}

pub(crate) async fn join(
    address: &str,
    token: &JoinToken,
    cluster: &str,
    key: &PrivateKey,
) -> Result<Agent, Status> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (config, _) = pinned_client(token.pin, &clock).unwrap();
    let channel = connect(address, config).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let request = proto::JoinRequest {
        cluster: cluster.to_owned(),
        secret: token.secret.to_bytes(),
        request: key.request().unwrap(),
        gateway_request: Vec::new(),
    };
    let answer = EnrolmentClient::new(channel).join(request).await?.into_inner();
    let trust = Trust::from_proto(&answer.trust.unwrap()).unwrap();
    let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
    let credentials = Credentials::new(chain, key, trust.bundle.clone()).unwrap();
    Ok(Agent { identity: Identity::new(credentials, Refusals::default(), clock), trust })
}

/// Asks for new certificates: for the agent, and for the gateways if there is a key for them.
pub(crate) fn renewal(key: &PrivateKey, gateway: Option<&PrivateKey>) -> proto::RenewRequest {
    let request = |key: &PrivateKey| key.request().unwrap();
    proto::RenewRequest { request: request(key), gateway_request: gateway.map(request).unwrap_or_default() }
}

pub(crate) struct Stream {
    pub(crate) out: mpsc::Sender<FromAgent>,
    pub(crate) inbound: Streaming<FromHub>,
}

impl Agent {
    pub(crate) async fn dial(&self, address: &str) -> Channel {
        connect(address, self.identity.client(Expect::Hub).unwrap()).await.unwrap()
    }

    pub(crate) async fn sync(&self, address: &str, first: from_agent::What) -> Stream {
        let (out, requests) = mpsc::channel(4);
        out.send(FromAgent { what: Some(first) }).await.unwrap();
        let channel = self.dial(address).await;
        let opened = FleetClient::new(channel).sync(ReceiverStream::new(requests)).await.unwrap();
        Stream { out, inbound: opened.into_inner() }
    }

    pub(crate) fn open(&self, policy: &proto::Policy) -> Head {
        let signed = SignedHead::from_proto(policy.head.as_ref().unwrap());
        signed.open(&self.trust.policy_keys, self.trust.bundle.trust_domain()).unwrap()
    }
}

pub(crate) fn hello(cluster: &str, held: Option<proto::SignedHead>) -> from_agent::What {
    let cluster = cluster.to_owned();
    from_agent::What::Hello(proto::Hello {
        cluster,
        boot_id: 1,
        held,
        resend: false,
        parts: true,
        drills: false,
    })
}

impl Stream {
    /// The next policy.
    pub(crate) async fn policy(&mut self) -> proto::Policy {
        loop {
            let message = timeout(LIMIT, self.inbound.message()).await.unwrap().unwrap().unwrap();
            if let Some(from_hub::What::Policy(policy)) = message.what {
                return policy;
            }
        }
    }

    /// How it ends.
    pub(crate) async fn end(mut self) -> Status {
        loop {
            match timeout(LIMIT, self.inbound.message()).await.unwrap() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(status) => return status,
            }
        }
    }

    pub(crate) async fn say(&self, what: from_agent::What) {
        // The hub may have ended it already.
        let _ = self.out.send(FromAgent { what: Some(what) }).await;
    }
}
