//! People's browsers: open pages that are told of news and fetch their main part anew, as `page.js` does; visitors; and stuck ones.

use super::estate::{Large, PROBES, Seen};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Between two looks, as the script has it.
const PACE: Duration = Duration::from_millis(500);
/// For one look, as the script has it.
const LIMIT: Duration = Duration::from_secs(10);
/// What a stuck browser's socket holds: as little as there is.
const NARROW: u32 = 4096;

/// How many pages there are in a list of them.
pub(super) fn many(pages: &[(&str, usize)]) -> usize {
    pages.iter().map(|(_, many)| many).sum()
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn get(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Result<Response<Incoming>> {
    sender.ready().await?;
    let request = Request::get(path).header("host", "localhost").body(Empty::new())?;
    let answer = sender.send_request(request).await?;
    if !answer.status().is_success() {
        bail!("{path}: {}", answer.status());
    }
    Ok(answer)
}

/// Somebody new: until the first byte of the page, and how long it is.
pub(super) async fn visit(address: SocketAddr, path: &str) -> Result<(Duration, usize)> {
    let mut sender = connect(address).await?;
    let began = Instant::now();
    let answer = get(&mut sender, path).await?;
    let first = began.elapsed();
    Ok((first, answer.into_body().collect().await?.to_bytes().len()))
}

/// The versions that the hub tells of, with when they were told. It ends with the stream.
async fn listen(address: SocketAddr, news: watch::Sender<(u64, Instant)>) -> Result<()> {
    let mut sender = connect(address).await?;
    let mut body = get(&mut sender, "/events").await?.into_body();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        let Some(data) = frame?.data_ref().map(|it| String::from_utf8_lossy(it).into_owned()) else {
            continue;
        };
        let at = Instant::now();
        text.push_str(&data);
        while let Some((event, rest)) = text.split_once("\n\n") {
            let version =
                event.split_once("\"version\":").map(|(_, it)| it.chars().take_while(char::is_ascii_digit));
            let version: u64 = version.map(String::from_iter).unwrap_or_default().parse()?;
            news.send_if_modified(|it| {
                let is_new = it.0 != version;
                if is_new {
                    *it = (version, at);
                }
                is_new
            });
            text = rest.to_owned();
        }
    }
    Ok(())
}

/// What fetching told.
type Fetches = Arc<Mutex<BTreeMap<String, Vec<(f64, usize)>>>>;

/// Pages that are open.
pub(super) struct Open(Fetches);

impl Open {
    /// Opens all of them.
    pub(super) fn all(address: SocketAddr, pages: &[(&str, usize)], stop: &CancellationToken) -> Self {
        let fetches = Fetches::default();
        for (path, many) in pages {
            for _ in 0..*many {
                let page = look(address, (*path).to_owned(), Arc::clone(&fetches));
                tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                    if let Err(error) = page.await {
                        eprintln!("  an open page ended: {error:#}");
                    }
                }));
            }
        }
        Self(fetches)
    }

    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// By page: until the first byte of each fetch, in milliseconds, and its length.
    pub(super) fn fetches(&self) -> BTreeMap<String, Vec<(f64, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn note(fetches: &Fetches, path: &str, fetch: (f64, usize)) {
    let mut all = fetches.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(path.to_owned()).or_default().push(fetch);
}

/// One page, for as long as its stream lives.
async fn look(address: SocketAddr, path: String, fetches: Fetches) -> Result<()> {
    let (tell, mut news) = watch::channel((0, Instant::now()));
    let stream = tokio::spawn(listen(address, tell));
    let part = if path.contains('?') { format!("{path}&part=main") } else { format!("{path}?part=main") };
    let mut sender = connect(address).await?;
    while news.changed().await.is_ok() {
        news.borrow_and_update();
        let began = Instant::now();
        let fetched = timeout(LIMIT, async {
            let answer = get(&mut sender, &part).await?;
            let first = began.elapsed();
            Ok::<_, anyhow::Error>((first, answer.into_body().collect().await?.to_bytes().len()))
        });
        let (first, bytes) = match fetched.await {
            Ok(fetched) => fetched?,
            Err(_) => {
                sender = connect(address).await?;
                (LIMIT, 0)
            }
        };
        note(&fetches, &path, (first.as_secs_f64() * 1e3, bytes));
        sleep_until((began + PACE).into()).await;
    }
    stream.await?.context("the stream of events")
}

/// Browsers that ask and never read: some for events, some for pages, again and again on one connection.
pub(super) async fn stuck(address: SocketAddr, of_each: usize) -> Result<Vec<TcpStream>> {
    let mut all = Vec::new();
    for path in ["/events", "/services"] {
        for _ in 0..of_each {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(NARROW)?;
            let mut stream = socket.connect(address).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.repeat(50).as_bytes()).await?;
            all.push(stream);
        }
    }
    Ok(all)
}

/// How long changes at agents took to reach a page, in milliseconds.
#[derive(Default)]
pub(super) struct Witnessed {
    /// Until the event after which it was shown.
    pub(super) events: Vec<f64>,
    /// Until it was fetched.
    pub(super) shown: Vec<f64>,
}

/// A page that knows the probes.
pub(super) struct Witness {
    stop: CancellationToken,
    page: JoinHandle<Result<Witnessed>>,
}

impl Witness {
    pub(super) async fn end(self) -> Result<Witnessed> {
        self.stop.cancel();
        self.page.await?
    }
}

/// Opens it.
pub(super) fn witness(address: SocketAddr, estate: Arc<Large>, stop: &CancellationToken) -> Witness {
    let stop = stop.child_token();
    let page = tokio::spawn(watch_probes(address, estate, stop.clone()));
    Witness { stop, page }
}

async fn watch_probes(address: SocketAddr, estate: Arc<Large>, stop: CancellationToken) -> Result<Witnessed> {
    let (tell, mut news) = watch::channel((0, Instant::now()));
    tokio::spawn(stop.clone().run_until_cancelled_owned(listen(address, tell)));
    let mut sender = connect(address).await?;
    let (mut seen, mut witnessed) = (Seen::new(), Witnessed::default());
    while let Some(Ok(())) = stop.run_until_cancelled(news.changed()).await {
        let told = news.borrow_and_update().1;
        let began = Instant::now();
        let answer = get(&mut sender, "/api/v1/page/services?ns=team-0000&sort=name").await?;
        let body = answer.into_body().collect().await?.to_bytes();
        let at = Instant::now();
        let listed: serde_json::Value = serde_json::from_slice(&body)?;
        for probe in 0..PROBES {
            let named = format!("team-0000/service-{probe}");
            let row = listed["services"].as_array().into_iter().flatten().find(|it| it["name"] == named);
            let healthy = row.and_then(|it| it["healthy"].as_u64()).context("a probe is not listed")?;
            let healthy = u32::try_from(healthy)?;
            // What was there when the page was opened is no news.
            let before = seen.insert(probe, healthy).unwrap_or(healthy);
            for changed in estate.shown(probe, healthy, before) {
                // It may have been told of before it was asked for, and have come with the next event's fetch.
                let ms = |it: Instant| it.saturating_duration_since(changed).as_secs_f64() * 1e3;
                witnessed.events.push(if told < changed { ms(at) } else { ms(told) });
                witnessed.shown.push(ms(at));
            }
        }
        sleep_until((began + PACE).into()).await;
    }
    Ok(witnessed)
}
