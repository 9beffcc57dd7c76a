//! One request of a load.

use super::{
    HEADER_CLUSTER, HEADER_ENDPOINT, HEADER_REQUEST, HEADER_ZONE, LoadError, LoadMethod, LoadSpec, Outcome,
    Served,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header::HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::time::Duration;
use tokio::time::Instant;

/// The largest answer that is read whole.
const MAX_ANSWER: usize = 1 << 20;
/// Shorter than the idle timeouts of usual servers, so that a kept connection is seldom one that is
/// being closed.
const KEEP_IDLE: Duration = Duration::from_secs(30);

/// Sends requests to one target over kept connections.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    method: Method,
    body: Bytes,
    /// Per service, its URI and its host name.
    targets: Vec<(Uri, HeaderValue)>,
    /// The label and a number drawn for this run: no two loads have a request id in common.
    id_prefix: String,
}

impl Sender {
    pub(super) fn new(spec: &LoadSpec) -> Result<Self, LoadError> {
        let unfit = |what, text: &str| LoadError::Text { what, text: text.to_owned() };
        let targets = spec
            .services
            .iter()
            .map(|target| {
                let uri = format!("http://{}{}", spec.target, target.path)
                    .parse()
                    .map_err(|_| unfit("the path", &target.path))?;
                let host = target.host.parse().map_err(|_| unfit("the host name", &target.host))?;
                Ok((uri, host))
            })
            .collect::<Result<_, LoadError>>()?;
        let id_prefix = format!("{}-{:016x}", spec.label, rand::random::<u64>());
        HeaderValue::from_str(&id_prefix).map_err(|_| unfit("the label", &spec.label))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(spec.timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(spec.in_flight_limit)
            .build(connector);
        let (method, body) = match spec.method {
            LoadMethod::Get => (Method::GET, Bytes::new()),
            LoadMethod::Post => (Method::POST, Bytes::from_static(b"one of these, please")),
        };
        Ok(Self { client, method, body, targets, id_prefix })
    }

    /// Sends request `number` to the service with this index, and gives it up at the deadline; a
    /// connection with an unanswered request is closed.
    pub(super) async fn send(
        &self,
        service: usize,
        number: u64,
        deadline: Instant,
    ) -> (Outcome, Option<Served>) {
        tokio::time::timeout_at(deadline, self.exchange(service, number))
            .await
            .unwrap_or((Outcome::Timeout, None))
    }

    async fn exchange(&self, service: usize, number: u64) -> (Outcome, Option<Served>) {
        let (uri, host) = &self.targets[service];
        let id = format!("{}-{number}", self.id_prefix);
        let request = Request::builder()
            .method(&self.method)
            .uri(uri)
            .header(HOST, host)
            .header("x-request-id", &id)
            .header(HEADER_REQUEST, &id)
            .body(Full::new(self.body.clone()))
            .expect("every part was checked when the load was started");
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return (Outcome::Connect, None),
            Err(_) => return (Outcome::Broken, None),
        };
        let (head, body) = response.into_parts();
        let served = served(&head.headers);
        match Limited::new(body, MAX_ANSWER).collect().await {
            Ok(_) => (Outcome::Status(head.status.as_u16()), served),
            Err(_) => (Outcome::Broken, served),
        }
    }
}

fn served(headers: &HeaderMap) -> Option<Served> {
    let header = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
    Some(Served {
        endpoint: header(HEADER_ENDPOINT)?,
        zone: header(HEADER_ZONE)?,
        cluster: header(HEADER_CLUSTER)?,
    })
}
