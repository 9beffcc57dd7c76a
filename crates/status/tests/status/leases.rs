//! One leads, and another takes over.

use crate::{client, server, until};
use kube::Client;
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tidegate_apiserver::ApiServer;
use tidegate_status::{
    leader::{Candidate, Leadership, stand},
    lease::Pace,
};
use tokio_util::sync::CancellationToken;

const PACE: Pace = Pace {
    duration: Duration::from_secs(3),
    renew_within: Duration::from_secs(2),
    retry: Duration::from_millis(200),
};

fn candidate(identity: &str) -> Candidate {
    Candidate { namespace: "default".into(), name: "agents".into(), identity: identity.into(), pace: PACE }
}

async fn holder(client: &Client) -> String {
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
        kube::Api::namespaced(client.clone(), "default");
    let spec = leases.get("agents").await.ok().and_then(|lease| lease.spec);
    spec.and_then(|spec| spec.holder_identity).unwrap_or_default()
}

/// A candidate in a thread of its own, which can be paused as a process is.
struct Apart {
    leadership: Leadership,
    pause: mpsc::Sender<Option<Duration>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Apart {
    fn stand(server: &ApiServer, identity: &'static str) -> Self {
        let kubeconfig = server.kubeconfig();
        let (tell, told) = mpsc::channel();
        let (pause, paused) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let read = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
            runtime.block_on(async move {
                let config = kube::Config::from_custom_kubeconfig(read, &Default::default())
                    .await
                    .expect("a configuration");
                let client = Client::try_from(config).expect("a client");
                tell.send(stand(client, candidate(identity), CancellationToken::new())).expect("is awaited");
                loop {
                    match paused.try_recv() {
                        // The whole thread stands still, as a process that gets no processor.
                        Ok(Some(pause)) => thread::sleep(pause),
                        Ok(None) | Err(mpsc::TryRecvError::Disconnected) => return,
                        Err(mpsc::TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            });
        });
        Self { leadership: told.recv().expect("stands"), pause, thread: Some(thread) }
    }

    /// Ends it as a crash does: nothing is given back.
    fn kill(mut self) {
        self.pause.send(None).expect("lives");
        self.thread.take().expect("lives").join().expect("ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_after_its_lease_and_one_that_stops_at_once() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let one = Apart::stand(&server, "one");
    until("the first leads", || async { one.leadership.leads() }).await;
    let stop = CancellationToken::new();
    let two = stand(client.clone(), candidate("two"), stop.clone());
    let before = Instant::now();
    one.kill();
    until("the second leads", || async { two.leads() }).await;
    let waited = before.elapsed();
    // It renewed at most a retry ago, and the next one looks as often.
    assert!(waited >= PACE.duration - 2 * PACE.retry, "took over after {waited:?}");
    let three = stand(client.clone(), candidate("three"), CancellationToken::new());
    until("the second is in the lease", || async { holder(&client).await.starts_with("two_") }).await;
    stop.cancel();
    let before = Instant::now();
    until("the third leads", || async { three.leads() }).await;
    assert!(!two.leads());
    let waited = before.elapsed();
    assert!(waited < PACE.duration, "was not given back: took over after {waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_paused_never_leads_beside_the_next() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let one = Apart::stand(&server, "one");
    until("the first leads", || async { one.leadership.leads() }).await;
    let two = stand(client.clone(), candidate("two"), CancellationToken::new());
    one.pause.send(Some(PACE.duration * 2)).expect("lives");
    let mut followed = false;
    let began = Instant::now();
    while began.elapsed() < PACE.duration * 3 {
        // In this order: what the first believes must have ended before the second begins.
        let (second, first) = (two.leads(), one.leadership.leads());
        assert!(!(first && second), "both lead");
        followed |= second;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(followed && !one.leadership.leads());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_leads_while_the_api_is_away_and_one_does_when_it_is_back() {
    let Some(mut server) = server() else { return };
    let client = client(&server).await;
    let one = stand(client.clone(), candidate("one"), CancellationToken::new());
    until("it leads", || async { one.leads() }).await;
    server.kill();
    let before = Instant::now();
    until("it leads no more", || async { !one.leads() }).await;
    assert!(before.elapsed() <= PACE.renew_within + Duration::from_millis(500), "{:?}", before.elapsed());
    assert!(one.permit().is_none());
    server.restart().expect("restarts");
    until("it leads again", || async { one.leads() }).await;
}
