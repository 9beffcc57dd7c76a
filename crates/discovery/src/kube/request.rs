//! Single requests to the API, and what came of them. A shell: it decides nothing.

use super::{access::chain, state::Failure};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::time::timeout;

/// The longest answer that is read at once: a page of the largest objects that etcd takes, 1.5 MiB each, is longer only if
/// somebody fills a cluster with such.
const MAX_ANSWER: usize = 256 << 20;
/// The longest answer that tells of a failure.
const MAX_REFUSAL: usize = 64 << 10;

/// What a list answers.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    pub(crate) metadata: PageMeta,
    #[serde(borrow, default)]
    pub(crate) items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMeta {
    #[serde(default)]
    pub(crate) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(crate) more: Option<String>,
}

/// How a server says that it does not do what it was asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) code: u16,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: Option<u64>,
}

impl Status {
    /// What it means to a watch.
    pub(crate) fn failure(self) -> Failure {
        let Self { message, reason, code, details } = self;
        let after = details.and_then(|it| it.retry_after_seconds).map(Duration::from_secs);
        match code {
            410 => Failure::Gone,
            404 => Failure::NotServed,
            429 => Failure::Busy(after),
            401 | 403 => Failure::Refused { code, message },
            400 | 422
                if message.contains("sendInitialEvents") || message.contains("resourceVersionMatch") =>
            {
                Failure::NoStreaming
            }
            400 if message.contains("field selector") => Failure::NoSelector,
            _ if reason == "Expired" => Failure::Gone,
            _ => Failure::Away(format!("it answers {code}: {message}")),
        }
    }
}

/// Begins a request: what is read of a good answer is the caller's business.
pub(crate) async fn open(client: &Client, address: &str, answer: Duration) -> Result<Body, Failure> {
    let request = Request::get(address)
        .header(header::ACCEPT, "application/json")
        .body(Body::empty())
        .map_err(|error| Failure::Away(error.to_string()))?;
    let silent = |_| Failure::Away(format!("no answer within {} s", answer.as_secs()));
    let response =
        timeout(answer, client.send(request)).await.map_err(silent)?.map_err(|error| of(&error))?;
    let status = response.status();
    let asked_to_wait =
        response.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
    let body = response.into_body();
    if status.is_success() {
        return Ok(body);
    }
    let bytes = timeout(answer, read(body, MAX_REFUSAL)).await.map_err(silent)?.unwrap_or_default();
    let mut said: Status = serde_json::from_slice(&bytes).unwrap_or_default();
    said.code = status.as_u16();
    if said.message.is_empty() {
        said.message = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).trim().to_owned();
    }
    Err(match (said.failure(), asked_to_wait) {
        (Failure::Busy(None), Some(seconds)) => Failure::Busy(Some(Duration::from_secs(seconds))),
        // A server that starts says so, and when to ask again.
        (Failure::Away(_), Some(seconds)) if status == StatusCode::SERVICE_UNAVAILABLE => {
            Failure::Busy(Some(Duration::from_secs(seconds)))
        }
        (failure, _) => failure,
    })
}

/// A request with an answer that is read whole.
pub(crate) async fn get(client: &Client, address: &str, answer: Duration) -> Result<Vec<u8>, Failure> {
    let body = open(client, address, answer).await?;
    // Four times: what is long has begun to come, and is on its way.
    let silent = |_| Failure::Away("its answer does not end".to_owned());
    timeout(answer * 4, read(body, MAX_ANSWER)).await.map_err(silent)?
}

/// The version of the store, by a list at this address.
pub(crate) async fn newest(client: &Client, address: &str, answer: Duration) -> Result<String, Failure> {
    let bytes = get(client, address, answer).await?;
    let page: Page<'_> = parse(&bytes)?;
    Ok(page.metadata.resource_version)
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::Away(format!("its answer cannot be read: {error}")))
}

async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Away(chain(&error)))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Failure::Away(format!("its answer has more than {limit} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// What an error of the client means.
fn of(error: &kube::Error) -> Failure {
    let text = chain(error);
    let lower = text.to_ascii_lowercase();
    if ["certificate", "handshake", "unknownissuer", "tls alert", "received fatal alert"]
        .iter()
        .any(|it| lower.contains(it))
    {
        return Failure::Distrusted(text);
    }
    Failure::Away(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use tidegate_apiserver::{ApiServer, Options};

    const ANSWER: Duration = Duration::from_secs(15);

    /// Lets etcd forget all that was before `revision`, as it does every five minutes in a cluster.
    fn compact(server: &ApiServer, revision: &str) {
        let body = format!(r#"{{"revision": "{revision}", "physical": true}}"#);
        // The store listens beside the server.
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port() + 1)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /v3/kv/compaction HTTP/1.1\r\nhost: etcd\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn make(server: &ApiServer, name: &str) {
        let made = server.kubectl().args(["create", "namespace", name]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_or_a_watch_whose_version_the_store_has_forgotten_is_gone() {
        let Some(mut server) = ApiServer::start_or_skip(&Options::default()) else { return };
        for number in 0..5 {
            make(&server, &format!("n-{number}"));
        }
        let access = crate::kube::KubeAccess { kubeconfig: Some(server.kubeconfig()), context: None };
        let (client, _) = access.client().await.unwrap();
        let bytes = get(&client, "/api/v1/namespaces?limit=2", ANSWER).await.unwrap();
        let page: Page<'_> = parse(&bytes).unwrap();
        let (more, old) = (page.metadata.more.unwrap(), page.metadata.resource_version);
        assert_eq!(page.items.len(), 2);
        // The next page goes on where this one ended, whatever is written meanwhile.
        make(&server, "n-late");
        let next = format!("/api/v1/namespaces?limit=2&continue={more}");
        let bytes = get(&client, &next, ANSWER).await.unwrap();
        let page: Page<'_> = parse(&bytes).unwrap();
        assert_eq!((page.items.len(), &page.metadata.resource_version), (2, &old));

        let newest = newest(&client, "/api/v1/namespaces?limit=1", ANSWER).await.unwrap();
        compact(&server, &newest);
        // A server that has just started remembers no more than its store.
        server.restart().unwrap();
        assert_eq!(get(&client, &next, ANSWER).await, Err(Failure::Gone));
        let watch = format!("/api/v1/namespaces?watch=true&timeoutSeconds=5&resourceVersion={old}");
        // Told at once, or as the first line of the watch.
        let failed = match get(&client, &watch, ANSWER).await {
            Ok(bytes) => {
                let line: crate::kube::object::Line<'_> = parse(bytes.trim_ascii()).unwrap();
                assert_eq!(line.what, "ERROR");
                parse::<Status>(line.object.get().as_bytes()).unwrap().failure()
            }
            Err(failure) => failure,
        };
        assert_eq!(failed, Failure::Gone);
    }
}
