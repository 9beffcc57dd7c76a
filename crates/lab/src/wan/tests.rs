use super::*;
use crate::{fleet::spec::known, net::Loopback};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Long enough for anything that is to happen; short enough for what is to be silent, elsewhere.
const LIMIT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(100);

/// A server that sends back what it gets.
async fn echo(loopback: &Loopback) -> std::net::SocketAddr {
    let listener = TcpListener::bind((loopback.next_ip(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    address
}

async fn link(loopback: &Loopback, shape: Shape) -> WanLink {
    WanLink::start(loopback.next_ip(), echo(loopback).await, shape).unwrap()
}

async fn says(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(LIMIT, stream.read_exact(&mut back)).await.expect("in time").unwrap();
    assert_eq!(back, text);
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test]
async fn a_round_trip_takes_the_delay_twice_and_a_new_connection_one_round_trip_more() {
    let loopback = Loopback::claim();
    let link = link(&loopback, Shape { delay: ms(40), jitter: ms(5), handshake: true }).await;
    let mut stream = TcpStream::connect(link.address()).await.unwrap();
    for least in [ms(160), ms(80)] {
        let sent = Instant::now();
        says(&mut stream, b"ping").await;
        assert!(sent.elapsed() >= least, "{:?} is less than {least:?}", sent.elapsed());
    }
}

#[tokio::test]
async fn bytes_keep_their_order_under_jitter_and_an_end_is_passed_on() {
    let loopback = Loopback::claim();
    let link = link(&loopback, Shape { delay: ms(1), jitter: ms(3), handshake: false }).await;
    let stream = TcpStream::connect(link.address()).await.unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut reader, mut writer) = stream.into_split();
    let mut back = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        },
        timeout(LIMIT * 4, reader.read_to_end(&mut back)),
    );
    written.unwrap();
    read.expect("the end arrives").unwrap();
    assert!(back == sent);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_slows_the_sender_down() {
    let loopback = Loopback::claim();
    let listener = TcpListener::bind((loopback.next_ip(), 0)).await.unwrap();
    let shape = Shape { delay: ms(1), ..Shape::default() };
    let link = WanLink::start(loopback.next_ip(), listener.local_addr().unwrap(), shape).unwrap();
    let mut sender = TcpStream::connect(link.address()).await.unwrap();
    let _never_read = listener.accept().await.unwrap();
    let everything = vec![0; 64 << 20];
    assert!(timeout(ms(500), sender.write_all(&everything)).await.is_err(), "64 MB went somewhere");
}

#[tokio::test]
async fn a_black_hole_is_silent_and_restoring_resets_what_met_it() {
    for delay in [ms(0), ms(2)] {
        let loopback = Loopback::claim();
        let link = link(&loopback, Shape { delay, ..Shape::default() }).await;
        let mut old = TcpStream::connect(link.address()).await.unwrap();
        says(&mut old, b"before").await;

        link.set(LinkState::BlackHole).await.unwrap();
        old.write_all(b"lost").await.unwrap();
        let mut new = TcpStream::connect(link.address()).await.unwrap();
        new.write_all(b"lost").await.unwrap();
        let mut byte = [0];
        assert!(timeout(SILENCE, old.read(&mut byte)).await.is_err(), "nothing comes, nothing closes");
        assert!(timeout(SILENCE, new.read(&mut byte)).await.is_err(), "nothing comes, nothing closes");

        link.set(LinkState::Open).await.unwrap();
        for met in [&mut old, &mut new] {
            let end = timeout(LIMIT, met.read(&mut byte)).await.expect("reset");
            assert!(matches!(end, Ok(0) | Err(_)));
        }
        let mut fresh = TcpStream::connect(link.address()).await.unwrap();
        says(&mut fresh, b"after").await;
    }
}

#[tokio::test]
async fn a_cut_link_refuses_and_comes_back_at_the_same_address() {
    let loopback = Loopback::claim();
    let link = link(&loopback, Shape::default()).await;
    let mut old = TcpStream::connect(link.address()).await.unwrap();
    says(&mut old, b"before").await;
    link.set(LinkState::Cut).await.unwrap();
    assert!(matches!(timeout(LIMIT, old.read(&mut [0])).await.expect("closed"), Ok(0) | Err(_)));
    assert!(TcpStream::connect(link.address()).await.is_err());
    link.set(LinkState::Open).await.unwrap();
    says(&mut TcpStream::connect(link.address()).await.unwrap(), b"after").await;
}

/// Three clusters, two of them in us-east, with the hub: what of all its links is not open.
async fn fleet(loopback: &Loopback) -> (Wan, impl Fn(&Wan) -> Vec<String>) {
    let clusters = [("east-1", "us-east"), ("east-2", "us-east"), ("west", "us-west")];
    let [one, two, west] = clusters.map(|(name, _)| Site::Cluster(known(name)));
    let mut wan = Wan::new(clusters.map(|(name, region)| (known(name), known(region))));
    for (from, to) in [(&one, &two), (&two, &one), (&one, &west), (&west, &one), (&west, &two)] {
        wan.add_link(from.clone(), to.clone(), link(loopback, Shape::default()).await);
    }
    for from in [&one, &west] {
        wan.add_link(from.clone(), Site::Hub, link(loopback, Shape::default()).await);
    }
    for (name, _) in clusters {
        wan.add_access(known(name), link(loopback, Shape::default()).await);
    }
    let away = |wan: &Wan| {
        let links = wan.links.iter().map(|((from, to), link)| (format!("{from}>{to}"), link));
        let access = wan.access.iter().map(|(cluster, link)| (format!(">{cluster}"), link));
        let away = links.chain(access).filter(|(_, link)| link.state() != LinkState::Open);
        let mut away: Vec<_> = away.map(|(name, _)| name).collect();
        away.sort();
        away
    };
    (wan, away)
}

#[tokio::test]
async fn a_region_goes_away_with_all_links_from_and_to_it_and_no_others() {
    let loopback = Loopback::claim();
    let (wan, away) = fleet(&loopback).await;
    let [east, west] = ["us-east", "us-west"].map(known);
    wan.black_hole(&east).await.unwrap();
    let of_east = [">east-1", ">east-2", "east-1>hub", "east-1>west", "west>east-1", "west>east-2"];
    assert_eq!(away(&wan), of_east, "the two in it reach each other");
    wan.black_hole(&west).await.unwrap();
    wan.restore(&east).await.unwrap();
    let of_west = [">west", "east-1>west", "west>east-1", "west>east-2", "west>hub"];
    assert_eq!(away(&wan), of_west);
    wan.restore(&west).await.unwrap();
    assert_eq!(away(&wan), [""; 0]);
}

#[tokio::test]
async fn any_two_sites_can_be_cut_from_each_other() {
    let loopback = Loopback::claim();
    let (wan, away) = fleet(&loopback).await;
    let [one, west] = ["east-1", "west"].map(|name| Site::Cluster(known(name)));
    wan.set_between(&west, &one, LinkState::BlackHole).await.unwrap();
    assert_eq!(away(&wan), ["east-1>west", "west>east-1"]);
    wan.set_between(&one, &Site::Hub, LinkState::Cut).await.unwrap();
    assert_eq!(away(&wan), ["east-1>hub", "east-1>west", "west>east-1"]);
    // A region that comes back does not mend what is cut by itself.
    wan.black_hole(&known("us-east")).await.unwrap();
    wan.restore(&known("us-east")).await.unwrap();
    assert_eq!(away(&wan), ["east-1>hub", "east-1>west", "west>east-1"]);
    wan.set_between(&one, &west, LinkState::Open).await.unwrap();
    wan.set_between(&one, &Site::Hub, LinkState::Open).await.unwrap();
    assert_eq!(away(&wan), [""; 0]);
}
