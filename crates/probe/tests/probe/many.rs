//! Thousands of targets at once.

use crate::{PATIENCE, refusing, serving, target};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tidegate_model::ProbeVerdict;
use tidegate_probe::{CheckKind, PER_HOST_LIMIT, Prober, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn thousands_of_hosts_are_all_checked_and_found() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1 << 10]).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
            });
        }
    });
    let (sender, mut verdicts) = mpsc::channel(16);
    let prober = Prober::start(sender, CancellationToken::new()).unwrap();
    let count = 5_000_u32;
    let (dead, _bound) = refusing().await;
    let targets = (0..count).map(|key| {
        let [_, _, high, low] = key.to_be_bytes();
        let address: SocketAddr = ([127, 1, high, low], port).into();
        // Each tenth is dead.
        let address = if key % 10 == 0 { dead } else { address };
        let mut target = target(address, CheckKind::http("/"));
        target.config.interval = Duration::from_secs(5);
        (key, target)
    });
    prober.set(targets.collect());
    let mut seen = BTreeSet::new();
    while seen.len() < count as usize {
        let verdict = timeout(PATIENCE, verdicts.recv()).await.expect("a verdict is missing").unwrap();
        assert_eq!(verdict.verdict == ProbeVerdict::Up, verdict.key % 10 != 0, "{verdict:?}");
        assert!(verdict.first && seen.insert(verdict.key), "one first verdict each: {verdict:?}");
    }
    let counts = prober.stats().snapshot();
    assert_eq!((counts.targets, counts.local), (u64::from(count), 0));
    assert!(counts.checks >= u64::from(count), "{counts:?}");
}

#[tokio::test]
async fn one_host_is_not_asked_more_than_its_limit_at_once() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let release = Arc::new(Notify::new());
    let (open, seen, gate) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&release));
    let address = serving(move |mut stream| {
        let (now, most, gate) = (Arc::clone(&open), Arc::clone(&seen), Arc::clone(&gate));
        async move {
            let count = now.fetch_add(1, SeqCst) + 1;
            most.fetch_max(count, SeqCst);
            if count >= PER_HOST_LIMIT {
                gate.notify_one();
            }
            gate.notified().await;
            gate.notify_one();
            now.fetch_sub(1, SeqCst);
            let _ = stream.read(&mut [0; 1 << 10]).await;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
        }
    })
    .await;
    let (sender, mut verdicts) = mpsc::channel(16);
    let prober = Prober::start(sender, CancellationToken::new()).unwrap();
    let quiet = |kind| {
        let mut target = target(address, kind);
        target.config.interval = Duration::from_secs(3600);
        target
    };
    let targets: Vec<(u32, Target)> = (0..200).map(|key| (key, quiet(CheckKind::http("/")))).collect();
    prober.set(targets);
    for _ in 0..200 {
        let verdict = timeout(PATIENCE, verdicts.recv()).await.expect("a verdict is missing").unwrap();
        assert_eq!(verdict.verdict, ProbeVerdict::Up);
    }
    assert_eq!(most.load(SeqCst), PER_HOST_LIMIT);
}
