//! The loss of an edge, as clients that have two addresses see it: those that try the other one by themselves, and those that are
//! sent by a GSLB that asks each edge whether it can serve the service. The figures are in docs/edge.md.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    course::{Course, EAST, EUROPE, WEST, cluster, spec},
    until,
};
use tidegate_lab::{
    fleet::{Fault, Process, ProcessFault},
    wan::Site,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Requests per second of each kind of client, each on a connection of its own.
const RATE: u32 = 40;
/// A client that has no connection by then tries the next address as well (RFC 8305, "Connection Attempt Delay").
const ATTEMPT: Duration = Duration::from_millis(250);
/// A client that can go elsewhere waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Whoever cannot gives up after that.
const LIMIT: Duration = Duration::from_secs(3);
/// The GSLB asks so often, waits so long for the answer, and takes out an edge that fails so many times in a row.
const ASKS: Duration = Duration::from_secs(1);
const ANSWERS: Duration = Duration::from_millis(500);
const FAILS: u32 = 2;
/// Its answers may be kept so long.
const TTL: Duration = Duration::from_secs(2);
/// Longer than the GSLB and the caches of its clients need.
const LASTS: Duration = Duration::from_secs(9);

/// The two edges, in the order in which clients try them.
type Edges = [SocketAddr; 2];

/// A request that was due.
#[derive(Clone, Copy, Debug)]
struct Done {
    due: Instant,
    took: Duration,
    /// The edge that answered 200, by its place in the list.
    by: Option<usize>,
}

type Record = Arc<Mutex<Vec<Done>>>;

async fn exchange(mut stream: TcpStream, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: web.shop.example\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

async fn ask(at: SocketAddr, path: &str) -> Option<u16> {
    exchange(TcpStream::connect(at).await.ok()?, path).await
}

/// A connection to the first of these edges, or to the next one if that refuses or takes too long.
async fn connect(edges: Edges, first: usize) -> Option<(usize, TcpStream)> {
    let order = [first, 1 - first];
    let mut attempts = JoinSet::new();
    for edge in order {
        attempts.spawn(async move { (edge, TcpStream::connect(edges[edge]).await) });
        // The next attempt begins when this one has failed, or after a while; an earlier one may still win.
        while let Ok(Some(joined)) = timeout(ATTEMPT, attempts.join_next()).await {
            if let Ok((edge, Ok(stream))) = joined {
                return Some((edge, stream));
            }
        }
    }
    while let Some(joined) = attempts.join_next().await {
        if let Ok((edge, Ok(stream))) = joined {
            return Some((edge, stream));
        }
    }
    None
}

/// A client with both addresses: where it gets no connection, no answer or 503 it asks the other one, and begins with that one from then on.
async fn by_itself(edges: Edges, last: &AtomicUsize) -> Option<usize> {
    let mut first = last.load(Ordering::SeqCst);
    for _ in 0..edges.len() {
        let (edge, stream) = connect(edges, first).await?;
        if timeout(PATIENCE, exchange(stream, "/")).await.ok().flatten() == Some(200) {
            last.store(edge, Ordering::SeqCst);
            return Some(edge);
        }
        first = 1 - edge;
    }
    None
}

/// Begins a request at each tick, whatever becomes of the ones before.
fn clients<F>(once: impl Fn() -> F + Send + 'static, record: Record) -> JoinSet<()>
where
    F: Future<Output = Option<usize>> + Send + 'static,
{
    let mut clients = JoinSet::new();
    clients.spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        let mut requests = JoinSet::new();
        loop {
            let due = ticks.tick().await.into_std();
            let (request, record) = (once(), Arc::clone(&record));
            requests.spawn(async move {
                let by = timeout(LIMIT, request).await.ok().flatten();
                record.lock().await.push(Done { due, took: due.elapsed(), by });
            });
            while requests.try_join_next().is_some() {}
        }
    });
    clients
}

/// Asks each edge for the service, and tells the place in the list of the first that is well; the first of all if none is.
async fn gslb(edges: Edges, told: watch::Sender<usize>) {
    let mut failed = [0_u32; 2];
    let mut ticks = tokio::time::interval(ASKS);
    loop {
        ticks.tick().await;
        let asked = edges.map(|at| timeout(ANSWERS, ask(at, "/healthz/services/shop/web")));
        let answers = futures::future::join_all(asked).await;
        for (failed, answer) in failed.iter_mut().zip(answers) {
            *failed = if answer == Ok(Some(200)) { 0 } else { *failed + 1 };
        }
        told.send_replace(failed.iter().position(|it| *it < FAILS).unwrap_or(0));
    }
}

/// What a resolver that keeps answers says: what the GSLB said when it was last asked.
async fn resolver(mut answers: watch::Receiver<usize>, kept: Arc<AtomicUsize>) {
    let mut ticks = tokio::time::interval(TTL);
    loop {
        ticks.tick().await;
        kept.store(*answers.borrow_and_update(), Ordering::SeqCst);
    }
}

/// How it went for one kind of client since the loss.
#[derive(Debug)]
struct Seen {
    all: usize,
    failed: usize,
    /// From the loss to the first answer of the other edge.
    second_after: Option<Duration>,
    /// From the loss to when the last request that failed was due.
    last_failed_after: Option<Duration>,
    longest: Duration,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |it: Option<Duration>| it.map_or("never".to_owned(), |it| format!("{} ms", it.as_millis()));
        let (second, last) = (ms(self.second_after), ms(self.last_failed_after));
        write!(f, "{} of {} failed, the last due after {last}; ", self.failed, self.all)?;
        write!(f, "the other edge's first answer after {second}; longest {}", ms(Some(self.longest)))
    }
}

fn seen(record: &[Done], lost: Instant) -> Seen {
    let own: Vec<&Done> = record.iter().filter(|it| it.due + it.took >= lost).collect();
    let after = |at: Instant| at.saturating_duration_since(lost);
    let failed = own.iter().filter(|it| it.by.is_none());
    Seen {
        all: own.len(),
        failed: failed.clone().count(),
        second_after: own.iter().filter(|it| it.by == Some(1)).map(|it| after(it.due + it.took)).min(),
        last_failed_after: failed.map(|it| after(it.due)).max(),
        longest: own.iter().map(|it| it.took).max().unwrap_or_default(),
    }
}

/// A listener whose queue is full: who connects gets no answer, as from a host that is gone.
struct Silence {
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

async fn silence(at: SocketAddr) -> Silence {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.set_reuse_address(true).unwrap();
    // The kernel lets go of it when the last of the edge's processes is gone.
    until("the address of the edge", async || listener.bind(&at.into()).ok()).await;
    listener.listen(0).unwrap();
    let mut queued = Vec::new();
    // A queue of length zero takes one or two.
    while let Ok(stream) = timeout(Duration::from_millis(100), TcpStream::connect(at)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 10, "the queue does not fill");
    }
    Silence { _listener: listener, _queued: queued }
}

/// What is done to the edge in Europe, which clients try first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its process is killed: connects are refused.
    Killed,
    /// It is killed, and its host answers nothing any more.
    Gone,
    /// It is frozen: connects succeed, and no answer comes.
    Frozen,
    /// It lives, and reaches no cluster that serves.
    CutOff,
}

impl Loss {
    fn faults(self) -> Vec<Fault> {
        let process = |fault| Fault::Process { cluster: cluster(EUROPE), process: Process::Edge, fault };
        match self {
            Self::Killed | Self::Gone => vec![process(ProcessFault::Kill)],
            Self::Frozen => vec![process(ProcessFault::Freeze)],
            Self::CutOff => [EAST, WEST]
                .map(|to| Fault::Link { between: [EUROPE, to].map(|it| Site::Cluster(cluster(it))) })
                .into(),
        }
    }
}

/// Runs both kinds of clients, loses the edge for a while, and says how it went for each.
async fn lose(course: &Course, edges: Edges, loss: Loss) -> [Seen; 2] {
    for edge in edges {
        until("an edge that can serve", async || {
            let path = "/healthz/services/shop/web";
            (timeout(LIMIT, ask(edge, path)).await.ok()? == Some(200)).then_some(())
        })
        .await;
    }
    let records: [Record; 2] = Default::default();
    let last = Arc::new(AtomicUsize::new(0));
    let remembered = Arc::clone(&last);
    let itself = clients(
        move || {
            let last = Arc::clone(&remembered);
            async move { by_itself(edges, &last).await }
        },
        Arc::clone(&records[0]),
    );
    let (told, answers) = watch::channel(0);
    let kept = Arc::new(AtomicUsize::new(0));
    let mut steering = JoinSet::new();
    steering.spawn(gslb(edges, told));
    steering.spawn(resolver(answers, Arc::clone(&kept)));
    let steered = clients(
        move || {
            let edge = kept.load(Ordering::SeqCst);
            async move { (ask(edges[edge], "/").await == Some(200)).then_some(edge) }
        },
        Arc::clone(&records[1]),
    );
    sleep(Duration::from_secs(2)).await;
    let mut lost = Instant::now();
    for fault in loss.faults() {
        course.fleet().fault(fault).await.unwrap();
    }
    let gone = if loss == Loss::Gone { Some(silence(edges[0]).await) } else { None };
    if gone.is_some() {
        // It refused for a moment, until the silence was made. What was learnt of that is forgotten.
        lost = Instant::now();
        last.store(0, Ordering::SeqCst);
    }
    sleep(LASTS).await;
    drop((itself, steered, steering));
    let [itself, steered] = records;
    let both = [seen(&itself.lock().await.clone(), lost), seen(&steered.lock().await.clone(), lost)];
    drop(gone);
    course.fleet().restore().await.unwrap();
    let [itself, steered] = &both;
    eprintln!("MEASURED {loss:?}, by itself: {itself}\nMEASURED {loss:?}, by a GSLB: {steered}");
    both
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_with_two_addresses_outlive_the_loss_of_an_edge() {
    let Some(course) = Course::start("clients_with_two_addresses_outlive_the_loss_of_an_edge", spec()).await
    else {
        return;
    };
    let edges = [EUROPE, EAST].map(|name| course.fleet().edge(&cluster(name)).unwrap().gateway);
    for loss in [Loss::Killed, Loss::Gone, Loss::Frozen, Loss::CutOff] {
        let [itself, steered] = lose(&course, edges, loss).await;
        assert!(itself.all > 100 && steered.all > 100, "{loss:?}: {itself:?}, {steered:?}");
        assert_eq!(itself.failed, 0, "{loss:?}: whoever has both addresses loses nothing: {itself:?}");
        // At worst the first address is asked, keeps silent, and then the second one answers.
        assert!(itself.second_after.unwrap() < PATIENCE + ATTEMPT + LIMIT, "{loss:?}: {itself:?}");
        // Two questions without an answer, and what a cache still says: after that all is well.
        let knows = ASKS * FAILS + ANSWERS + TTL;
        let slack = Duration::from_secs(1);
        assert!(steered.failed > 0, "{loss:?}: until then the first address is all that they have");
        assert!(steered.last_failed_after.unwrap() < knows + slack, "{loss:?}: {steered:?}");
        assert!(steered.second_after.unwrap() < knows + slack, "{loss:?}: {steered:?}");
    }
    course.stop().await;
}
