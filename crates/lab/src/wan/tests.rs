use super::*;
use crate::net::Loopback;
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

#[tokio::test]
async fn a_region_goes_away_with_all_its_links_and_no_others() {
    let loopback = Loopback::claim();
    let [east, west, eu]: [Region; 3] = ["us-east", "us-west", "eu-west"].map(|name| name.parse().unwrap());
    let mut wan = Wan::new();
    for (from, to) in [(&east, &west), (&west, &east), (&eu, &east), (&eu, &west)] {
        wan.add_link(from.clone(), to.clone(), link(&loopback, Shape::default()).await);
    }
    for region in [&east, &west, &eu] {
        wan.add_access(region.clone(), link(&loopback, Shape::default()).await);
    }
    let silent = |wan: &Wan| {
        let links = wan.links.iter().map(|((from, to), link)| (format!("{from}>{to}"), link));
        let access = wan.access.iter().map(|(region, link)| (format!(">{region}"), link));
        let mut silent: Vec<_> = links
            .chain(access)
            .filter(|(_, link)| link.state() != LinkState::Open)
            .map(|(name, _)| name)
            .collect();
        silent.sort();
        silent
    };
    wan.black_hole(&east).await.unwrap();
    assert_eq!(silent(&wan), [">us-east", "eu-west>us-east", "us-east>us-west", "us-west>us-east"]);
    wan.black_hole(&west).await.unwrap();
    wan.restore(&east).await.unwrap();
    assert_eq!(silent(&wan), [">us-west", "eu-west>us-west", "us-east>us-west", "us-west>us-east"]);
    wan.restore(&west).await.unwrap();
    assert!(silent(&wan).is_empty());
}
