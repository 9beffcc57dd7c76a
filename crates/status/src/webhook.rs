//! Tells webhooks what happened: each event in a request of its own, in order, as far as [`crate::flood`] lets it through.
//!
//! Nothing waits for a webhook. So many events may wait for each ([`WAITING`]); what comes beyond, and what was tried often enough, is
//! lost and counted. Events that wait are lost with the process.

pub mod cloud_events;

use crate::{flood::Flood, leader::Leadership};
use cloud_events::{Answer, CONTENT_TYPE, Telling, Verdict, cloud_event, judge};
use http::{
    Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE as CONTENT_TYPE_HEADER, RETRY_AFTER},
};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{
    fmt::Write as _,
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_model::Time;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// So many events may wait for one webhook.
pub const WAITING: usize = 1_000;

/// The most webhooks.
pub const MAX_WEBHOOKS: usize = 8;

/// A webhook answers within so long.
const LIMIT: Duration = Duration::from_secs(5);

/// Where events are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// `http` or `https` addresses, at most [`MAX_WEBHOOKS`].
    pub urls: Vec<Uri>,
    /// A file with the token that they are shown (`Authorization: Bearer`); it is read for every event, so it may be replaced.
    pub token: Option<PathBuf>,
}

/// Why webhooks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// An address is none.
    #[error("{0:?} is no address of a webhook\n  hint: http://HOST[:PORT]/PATH or https://...")]
    Url(String),
    /// There are too many.
    #[error(
        "{0} webhooks are too many; there may be {MAX_WEBHOOKS}\n  hint: one that passes events on to the others"
    )]
    Many(usize),
    /// The authorities of this machine cannot be read.
    #[error(
        "the certificates of this machine's authorities cannot be read: {0}\n  hint: SSL_CERT_FILE may name another file"
    )]
    Roots(io::Error),
}

/// Reads the address of a webhook.
///
/// # Errors
/// If it is no absolute `http` or `https` address.
pub fn parse_url(text: &str) -> Result<Uri, WebhookError> {
    let wrong = || WebhookError::Url(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let whole =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|it| !it.is_empty());
    if whole { Ok(uri) } else { Err(wrong()) }
}

/// What became of events so far, over all webhooks.
#[derive(Debug, Default)]
pub struct Counts {
    told: AtomicU64,
    retried: AtomicU64,
    lost: AtomicU64,
    held_back: AtomicU64,
}

impl Counts {
    /// The rows for `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> String {
        let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let mut text = "# HELP tidegate_webhook_events_total Events for webhooks: taken by one, lost, held back as too many.\n\
                        # TYPE tidegate_webhook_events_total counter\n"
            .to_owned();
        for (result, count) in [("told", &self.told), ("lost", &self.lost), ("held_back", &self.held_back)] {
            // Writing to a string does not fail.
            let _ = writeln!(text, "tidegate_webhook_events_total{{result=\"{result}\"}} {}", read(count));
        }
        let _ = writeln!(
            text,
            "# HELP tidegate_webhook_retries_total Tries of webhooks that are repeated.\n\
             # TYPE tidegate_webhook_retries_total counter\n\
             tidegate_webhook_retries_total {}",
            read(&self.retried)
        );
        text
    }
}

/// Where events are handed in.
#[derive(Debug)]
pub struct Teller {
    queues: Vec<mpsc::Sender<(Arc<Telling>, u64)>>,
    flood: Flood<(crate::writer::Object, &'static str)>,
    leadership: Leadership,
    counts: Arc<Counts>,
    origin: Instant,
}

impl Teller {
    /// Sends as `source` (`/clusters/NAME`), while it leads, until `stop`.
    ///
    /// # Errors
    /// If there are too many, or TLS cannot be set up.
    pub fn start(
        webhooks: &Webhooks,
        source: &str,
        leadership: Leadership,
        stop: &CancellationToken,
    ) -> Result<Self, WebhookError> {
        if webhooks.urls.len() > MAX_WEBHOOKS {
            return Err(WebhookError::Many(webhooks.urls.len()));
        }
        let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(WebhookError::Roots)?;
        let client =
            Client::builder(TokioExecutor::new()).build(connector.https_or_http().enable_http1().build());
        let counts = Arc::new(Counts::default());
        let queue = |url: &Uri| {
            let (sender, waiting) = mpsc::channel(WAITING);
            let sender_of = Sender {
                url: url.clone(),
                token: webhooks.token.clone(),
                source: source.to_owned(),
                client: client.clone(),
                counts: Arc::clone(&counts),
                failing: false,
            };
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(sender_of.run(waiting)).await });
            sender
        };
        let queues = webhooks.urls.iter().map(queue).collect();
        let flood = Flood::new(Time::ZERO);
        Ok(Self { queues, flood, leadership, counts, origin: Instant::now() })
    }

    /// What became of events.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Hands one in. It never waits.
    pub fn tell(&mut self, telling: Telling) {
        // Who leads sees the same and tells it.
        if !self.leadership.leads() {
            return;
        }
        let key = (telling.happened.object.clone(), telling.happened.reason);
        let Some(held_back) = self.flood.admit(Time::from_origin(self.origin.elapsed()), &key) else {
            self.counts.held_back.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let telling = Arc::new(telling);
        for queue in &self.queues {
            if queue.try_send((Arc::clone(&telling), held_back)).is_err() {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// One webhook's.
struct Sender {
    url: Uri,
    token: Option<PathBuf>,
    source: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    counts: Arc<Counts>,
    /// Whether the last event was lost: of many that are, one is logged.
    failing: bool,
}

impl Sender {
    async fn run(mut self, mut waiting: mpsc::Receiver<(Arc<Telling>, u64)>) {
        while let Some((telling, held_back)) = waiting.recv().await {
            let body = Bytes::from(cloud_event(&self.source, &telling, held_back).to_string());
            let mut tries = 0;
            loop {
                tries += 1;
                let (answer, why) = self.once(body.clone()).await;
                match judge(answer, tries, rand::random()) {
                    Verdict::Told => {
                        self.counts.told.fetch_add(1, Ordering::Relaxed);
                        self.failing = false;
                        break;
                    }
                    Verdict::Again(pause) => {
                        self.counts.retried.fetch_add(1, Ordering::Relaxed);
                        sleep(pause).await;
                    }
                    Verdict::Lost => {
                        self.counts.lost.fetch_add(1, Ordering::Relaxed);
                        if !std::mem::replace(&mut self.failing, true) {
                            // An address may have a secret in its path or query.
                            let host = self.url.host().unwrap_or_default();
                            warn!(host, %why, event = telling.id, "a webhook does not take an event; it is lost, and further losses are not logged");
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn once(&self, body: Bytes) -> (Answer, String) {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(CONTENT_TYPE_HEADER, CONTENT_TYPE)
            .header(http::header::USER_AGENT, "tidegate");
        if let Some(file) = &self.token {
            match fs::read_to_string(file) {
                Ok(token) => request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim())),
                Err(error) => {
                    return (
                        Answer::Nothing,
                        format!("the token in {} cannot be read: {error}", file.display()),
                    );
                }
            }
        }
        let request = match request.body(Full::new(body)) {
            Ok(request) => request,
            Err(error) => return (Answer::Status(400, None), error.to_string()),
        };
        match timeout(LIMIT, self.client.request(request)).await {
            Ok(Ok(answer)) => {
                let after =
                    answer.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.trim().parse().ok());
                (Answer::Status(answer.status().as_u16(), after), format!("it answers {}", answer.status()))
            }
            Ok(Err(error)) => (Answer::Nothing, error.to_string()),
            Err(_) => (Answer::Nothing, format!("no answer within {LIMIT:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_whole_and_of_http() {
        for good in ["http://127.0.0.1:9000/x?key=1", "https://hooks.example"] {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for bad in ["", "hooks.example", "/x", "ftp://hooks.example/", "http://"] {
            let error = parse_url(bad).unwrap_err().to_string();
            assert!(error.contains("hint: http://HOST"), "{bad}: {error}");
        }
    }
}
