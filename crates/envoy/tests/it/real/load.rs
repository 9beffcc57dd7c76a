//! Requests at a steady rate that does not wait for answers, as from many clients, and what became of them.

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::MissedTickBehavior};

pub(crate) type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

pub(crate) fn http1() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// HTTP/2 without negotiation.
pub(crate) fn http2() -> Http {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) started: Instant,
    pub(crate) took: Duration,
    /// 0 when there was none.
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The name of the toy that answered, or why none did.
    pub(crate) body: String,
}

/// One request. `headers` may hold anything.
pub(crate) async fn ask(
    http: &Http,
    method: Method,
    url: String,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let started = Instant::now();
    let outcome = async {
        let response = http
            .request(request.body(Full::from(body)).unwrap())
            .await
            .map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok::<_, String>((head, String::from_utf8_lossy(&body).into_owned()))
    };
    let outcome = outcome.await;
    let took = started.elapsed();
    match outcome {
        Ok((head, body)) => {
            Answer { started, took, status: head.status.as_u16(), headers: head.headers, body }
        }
        Err(error) => Answer { started, took, status: 0, headers: HeaderMap::new(), body: error },
    }
}

/// `rate` requests a second for `length`, each with an `x-request-id` of its own. Ends when all are answered.
pub(crate) async fn load(
    to: SocketAddr,
    method: Method,
    rate: u32,
    length: Duration,
    body: Bytes,
) -> Vec<Answer> {
    let http = http1();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = (length.as_millis() * u128::from(rate) / 1000) as u32;
    let mut running = JoinSet::new();
    for number in 0..count {
        tick.tick().await;
        let (http, method, body) = (http.clone(), method.clone(), body.clone());
        running.spawn(async move {
            let id = format!("request-{number}");
            ask(&http, method, format!("http://{to}/"), &[("x-request-id", &id)], body).await
        });
    }
    running.join_all().await
}

/// Who answered how many, by body, for answers with 200; others by status.
pub(crate) fn by(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut by = BTreeMap::new();
    for answer in answers {
        let key = if answer.status == 200 { answer.body.clone() } else { answer.status.to_string() };
        *by.entry(key).or_default() += 1;
    }
    by
}

/// The time within which `percent` of them were answered.
pub(crate) fn percentile(answers: &[Answer], percent: usize) -> Duration {
    let mut times: Vec<_> = answers.iter().map(|answer| answer.took).collect();
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
