//! The replica link over real sockets: what replicas hear of each other, and what is refused.

use crate::{
    fleet::{PATIENCE, cluster},
    identity::{Fleet, agent},
};
use std::{net::SocketAddr, time::Instant};
use tidegate_link::{
    ReplicaConfig, ReplicaEvent, ReplicaWord, Replicas,
    identity::{Expect, Identity, Refusals, accept, connect},
    proto::{
        Fact, Listened, Word,
        replica_client::ReplicaClient,
        replica_server::{Replica, ReplicaServer},
    },
};
use tidegate_model::PeerBoot;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::{
    Pending, StreamExt as _,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};

struct One {
    replicas: Replicas,
    events: mpsc::Receiver<ReplicaEvent>,
    address: SocketAddr,
    _stop: DropGuard,
}

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl One {
    fn start(
        name: &str,
        boot: u64,
        (listener, address): (TcpListener, SocketAddr),
        others: &[SocketAddr],
        identity: Option<Identity>,
    ) -> Self {
        let (sender, events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let config = ReplicaConfig {
            own: cluster(name),
            boot: PeerBoot(boot),
            addresses: others.to_vec(),
            name: None,
            origin: Instant::now(),
            identity: identity.clone(),
        };
        let replicas = Replicas::start(config, sender, stop.clone());
        let (service, stopped) = (replicas.service(), stop.clone());
        tokio::spawn(async move {
            let mut server = Server::builder();
            let router = server.add_service(service);
            let ended = stopped.clone().cancelled_owned();
            match identity {
                None => router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), ended).await,
                Some(identity) => {
                    // Who may come in at all is wider than who is let to listen.
                    let tls = identity.server(Expect::AnyAgent, false).unwrap();
                    let accepted = accept(listener, tls, Refusals::default(), stopped);
                    router.serve_with_incoming_shutdown(accepted, ended).await
                }
            }
        });
        Self { replicas, events, address, _stop: stop.drop_guard() }
    }

    /// Reads events until one gives what is wanted. Whoever begins to listen is welcomed by name.
    async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&ReplicaEvent) -> Option<T>) -> T {
        let found = timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("it lives");
                if let Some(found) = wanted(&event) {
                    return found;
                }
                if let ReplicaEvent::Listener(answer) = event {
                    let _ = answer.send(b"welcome".to_vec());
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {what}; {:?}", self.replicas))
    }

    async fn word(&mut self, what: &str, mut wanted: impl FnMut(&ReplicaWord) -> bool) -> ReplicaWord {
        self.until(what, |event| match event {
            ReplicaEvent::Word { word, .. } if wanted(word) => Some(word.clone()),
            _ => None,
        })
        .await
    }

    async fn lost(&mut self) -> (PeerBoot, String) {
        let lost = |event: &ReplicaEvent| match event {
            ReplicaEvent::Lost { replica, why } => Some((*replica, why.clone())),
            _ => None,
        };
        self.until("loss", lost).await
    }
}

fn fact(name: &str, value: &str) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

#[tokio::test]
async fn replicas_hear_each_other_whole_then_what_is_new_and_that_it_still_holds() {
    let (a, b) = (bound().await, bound().await);
    let (at_a, at_b) = (a.1, b.1);
    // Each finds itself among the addresses, as a name that leads to all would.
    let mut a = One::start("west", 1, a, &[at_a, at_b], None);
    a.replicas.say([fact("x", "1"), fact("y", "1")]);
    let mut b = One::start("west", 2, b, &[at_a, at_b], None);
    let serve = tokio::spawn(async move {
        a.word("word of b", |word| word.full).await;
        a.replicas.say([fact("x", "2"), ("y".to_owned(), None)]);
        a.replicas.tell(b"news".to_vec());
        a.lost().await
    });
    let first = b.word("first word", |word| word.full).await;
    assert_eq!(first.facts, [fact("x", "1"), fact("y", "1")]);
    assert_eq!(first.welcome.as_deref(), Some(&b"welcome"[..]));
    let (mut facts, mut news) = (Vec::new(), Vec::new());
    while facts.len() < 2 || news.is_empty() {
        let word = b.word("what is new", |word| !word.full).await;
        facts.extend(word.facts);
        news.extend(word.news);
    }
    assert_eq!((facts, news), (vec![fact("x", "2"), ("y".to_owned(), None)], vec![b"news".to_vec()]));
    let still = b.word("a beat", |word| *word == ReplicaWord::default()).await;
    assert!(!still.full);
    assert_eq!(b.replicas.stats().heard, 1, "oneself is not another");
    drop(b);
    assert_eq!(timeout(PATIENCE, serve).await.unwrap().unwrap().0, PeerBoot(2));
}

/// Says what it is told to, then nothing.
struct Liar(Vec<Word>);

#[tonic::async_trait]
impl Replica for Liar {
    type ListenStream = tokio_stream::adapters::Chain<
        tokio_stream::Iter<std::vec::IntoIter<Result<Word, Status>>>,
        Pending<Result<Word, Status>>,
    >;

    async fn listen(&self, _: Request<Streaming<Listened>>) -> Result<Response<Self::ListenStream>, Status> {
        let words: Vec<_> = self.0.iter().cloned().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(words).chain(tokio_stream::pending())))
    }
}

async fn lying(words: Vec<Word>) -> One {
    let (listener, address) = bound().await;
    tokio::spawn(async move {
        let service = ReplicaServer::new(Liar(words));
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await
    });
    One::start("west", 1, bound().await, &[address], None)
}

fn word(seq: u64) -> Word {
    Word { cluster: "west".to_owned(), boot_id: 9, seq, full: seq == 1, ..Word::default() }
}

#[tokio::test]
async fn what_no_replica_says_is_refused_and_counted() {
    let cases: [(&str, Vec<Word>); 6] = [
        ("another cluster", vec![Word { cluster: "east".to_owned(), ..word(1) }]),
        ("a replay", vec![word(1), word(1)]),
        ("a gap", vec![word(1), word(3)]),
        ("no first word", vec![Word { full: false, ..word(1) }]),
        ("another life", vec![word(1), Word { boot_id: 10, ..word(2) }]),
        ("a huge name", vec![Word { facts: vec![Fact { name: "x".repeat(641), value: None }], ..word(1) }]),
    ];
    for (what, words) in cases {
        let mut one = lying(words).await;
        one.until(what, |event| {
            matches!(event, ReplicaEvent::Absent(_) | ReplicaEvent::Lost { .. }).then_some(())
        })
        .await;
        // It is counted after it was told.
        let counted = async {
            while one.replicas.stats().refused == 0 {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(PATIENCE, counted).await.is_ok(), "{what} is refused");
        assert_eq!(one.replicas.stats().heard, 0, "{what}");
    }
}

#[tokio::test]
async fn a_replica_that_falls_silent_or_makes_no_sense_is_lost() {
    let mut silent = lying(vec![word(1)]).await;
    let (replica, why) = silent.lost().await;
    assert_eq!((replica, why.as_str()), (PeerBoot(9), "it was silent for 1 s"));
    let mut senseless = lying(vec![word(1)]).await;
    senseless.word("its word", |word| word.full).await;
    senseless.replicas.refuse(PeerBoot(9), "an unreadable fact");
    let (_, why) = senseless.lost().await;
    assert_eq!(why, "what it says makes no sense");
}

async fn ask(address: SocketAddr, first: Listened, header: Option<&'static str>) -> Result<(), Status> {
    let mut client = ReplicaClient::connect(format!("http://{address}")).await.unwrap();
    let (sender, messages) = mpsc::channel(1);
    sender.send(first).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(messages));
    if let Some(value) = header {
        request.metadata_mut().insert("x-forwarded-client-cert", value.parse().unwrap());
    }
    let mut stream = client.listen(request).await?.into_inner();
    // Whoever acknowledges nothing is told only so many words, and whoever acknowledges too much is thrown out.
    let said = Listened { cluster: "west".to_owned(), boot_id: 5, seq: 99 };
    stream.message().await?;
    sender.send(said).await.unwrap();
    while stream.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn listeners_of_other_clusters_through_gateways_or_out_of_step_are_refused() {
    let one = One::start("west", 1, bound().await, &[], None);
    let listened = |name: &str| Listened { cluster: name.to_owned(), boot_id: 5, seq: 0 };
    let code = async |first, header| ask(one.address, first, header).await.unwrap_err().code();
    assert_eq!(code(listened("east"), None).await, Code::PermissionDenied);
    assert_eq!(code(listened("west"), Some("URI=spiffe://x")).await, Code::PermissionDenied);
    // Nobody answers for a welcome here: it goes without.
    assert_eq!(code(listened("west"), None).await, Code::InvalidArgument);
    assert_eq!(one.replicas.stats().refused, 3);
}

#[tokio::test]
async fn a_listener_that_takes_in_nothing_costs_eight_words() {
    let mut one = One::start("west", 1, bound().await, &[], None);
    let mut client = ReplicaClient::connect(format!("http://{}", one.address)).await.unwrap();
    let (sender, messages) = mpsc::channel(1);
    sender.send(Listened { cluster: "west".to_owned(), boot_id: 5, seq: 0 }).await.unwrap();
    let answer = one.until("listener", |event| matches!(event, ReplicaEvent::Listener(_)).then_some(()));
    let (stream, ()) = tokio::join!(client.listen(ReceiverStream::new(messages)), answer);
    let mut stream = stream.unwrap().into_inner();
    let mut last = 0;
    for n in 0..8 {
        one.replicas.say([fact("x", &n.to_string())]);
        last = stream.message().await.unwrap().unwrap().seq;
    }
    assert_eq!(last, 8);
    for n in 100..1000 {
        one.replicas.say([fact("x", &n.to_string())]);
        one.replicas.tell(vec![0; 100]);
    }
    assert!(timeout(tidegate_link::REPLICA_BEAT * 3, stream.message()).await.is_err(), "nothing more comes");
    // Once it acknowledges it hears the newest in one word, and of the news what was kept.
    sender.send(Listened { cluster: "west".to_owned(), boot_id: 5, seq: 8 }).await.unwrap();
    let next = stream.message().await.unwrap().unwrap();
    assert_eq!(next.facts, [Fact { name: "x".to_owned(), value: Some(b"999".to_vec()) }]);
    assert!(one.replicas.stats().lost_news >= 900 - 256, "{:?}", one.replicas.stats());
}

#[tokio::test]
async fn with_identities_only_agents_of_the_own_cluster_listen() {
    let fleet = Fleet::new("one.fleet");
    let (a, b) = (bound().await, bound().await);
    let (at_a, at_b) = (a.1, b.1);
    let mut a = One::start("west", 1, a, &[at_b], Some(fleet.identity(&agent("west"))));
    let mut b = One::start("west", 2, b, &[at_a], Some(fleet.identity(&agent("west"))));
    let (first, _) = tokio::join!(a.word("b", |word| word.full), b.word("a", |word| word.full));
    assert!(first.full);
    // One of another cluster believes the agent it finds, and is not let to listen.
    let stranger = fleet.identity(&agent("east")).client(Expect::Exactly(agent("west"))).unwrap();
    let channel = connect(&at_a.to_string(), stranger).await.unwrap();
    let (sender, messages) = mpsc::channel(1);
    sender.send(Listened { cluster: "west".to_owned(), boot_id: 5, seq: 0 }).await.unwrap();
    let refused = ReplicaClient::new(channel).listen(ReceiverStream::new(messages)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(a.replicas.stats().refused > 0);
}
