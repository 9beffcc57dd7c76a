//! Grey failure, end to end: one of several siblings answers, but slowly.

use crate::{PATIENCE, serving, target};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tidegate_model::ProbeVerdict;
use tidegate_probe::{CheckKind, Prober, Siblings, latency::LatencyRule};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_endpoint_that_is_slow_among_its_siblings_is_ejected_and_comes_back() {
    let delay_ms = Arc::new(AtomicU64::new(0));
    let slow = Arc::clone(&delay_ms);
    let address_of = async |delay: Arc<AtomicU64>| {
        serving(move |mut stream| {
            let delay = Duration::from_millis(delay.load(SeqCst));
            async move {
                let _ = stream.read(&mut [0; 1 << 10]).await;
                tokio::time::sleep(delay).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
            }
        })
        .await
    };
    let (sender, mut verdicts) = mpsc::channel(16);
    let prober = Prober::start(sender, CancellationToken::new()).unwrap();
    let rule = LatencyRule { minimum_difference: Duration::from_millis(150), ..LatencyRule::default() };
    let mut targets = Vec::new();
    for key in 0..4 {
        let delay = if key == 3 { Arc::clone(&slow) } else { Arc::default() };
        let mut target = target(address_of(delay).await, CheckKind::http("/"));
        target.siblings = Some(Siblings { group: "shop/web/a".into(), rule });
        targets.push((key, target));
    }
    prober.set(targets);
    let mut next = async || timeout(PATIENCE, verdicts.recv()).await.expect("no verdict came").unwrap();
    for _ in 0..4 {
        assert_eq!(next().await.verdict, ProbeVerdict::Up);
    }
    delay_ms.store(400, SeqCst);
    let ejected = next().await;
    assert_eq!((ejected.key, ejected.first), (3, false));
    let ProbeVerdict::Down(why) = ejected.verdict else { panic!("{ejected:?}") };
    assert!(why.starts_with("slow: checks take 4"), "{why}");
    delay_ms.store(0, SeqCst);
    let back = next().await;
    assert_eq!((back.key, back.verdict), (3, ProbeVerdict::Up));
}
