use super::*;
use crate::{
    clock::LabClock,
    net::Loopback,
    toy::{Ledger, Toy, ToyMode, ToySpec},
};
use std::time::Duration;

struct Rig {
    toy: Toy,
    ledger: Ledger,
    clock: LabClock,
    _loopback: Loopback,
}

fn rig() -> Rig {
    let (loopback, ledger, clock) = (Loopback::claim(), Ledger::new(), LabClock::start());
    let spec = ToySpec {
        service: "shop/web".parse().unwrap(),
        cluster: "us-east".parse().unwrap(),
        zone: "us-east-1a".parse().unwrap(),
        name: "web-0".to_owned(),
        ip: loopback.next_ip(),
    };
    Rig { toy: Toy::start(spec, &ledger, clock).unwrap(), ledger, clock, _loopback: loopback }
}

fn spec(rig: &Rig, rate_rps: u32) -> LoadSpec {
    let target = |service: &str| LoadTarget {
        service: service.parse().unwrap(),
        host: "web.shop.example".to_owned(),
        path: "/".to_owned(),
    };
    LoadSpec {
        label: "edge".to_owned(),
        target: rig.toy.address(),
        services: vec![target("shop/web"), target("shop/cart")],
        rate_rps,
        method: LoadMethod::Post,
        in_flight_limit: 10_000,
        timeout: Duration::from_secs(20),
    }
}

fn start(rig: &Rig, spec: LoadSpec) -> Load {
    Load::start(spec, rig.clock).unwrap()
}

async fn settle_for(rig: &Rig, load: &Load, millis: u64) -> Samples {
    load.settled(rig.clock.now() + Duration::from_millis(millis)).await;
    load.samples()
}

#[tokio::test]
async fn every_request_is_due_at_its_time_and_known_by_its_id() {
    let rig = rig();
    let load = start(&rig, spec(&rig, 500));
    settle_for(&rig, &load, 300).await;
    let samples = load.stop().await;
    assert!(samples.requests.len() >= 150 && samples.in_flight == 0);
    let mut due: Vec<_> = samples.requests.iter().map(|sample| sample.due_us).collect();
    due.sort_unstable();
    assert!(due.windows(2).all(|pair| pair[1] - pair[0] == 2000), "500 per second are 2 ms apart");
    assert!(samples.requests.iter().all(|sample| sample.outcome == Outcome::Status(200)));
    assert_eq!(rig.ledger.requests(), samples.requests.len());
    assert!(rig.ledger.repeated().is_empty());
    let served = samples.served_by(&samples.requests[0]).unwrap();
    assert_eq!((served.endpoint.as_str(), served.zone.as_str()), ("web-0", "us-east-1a"));
    let fastest = samples.requests.iter().map(|sample| sample.latency_us).min().unwrap();
    assert!(samples.late_us > 0 && u64::from(fastest) <= samples.late_us + 1_000_000, "{}", samples.late_us);
    let carts = samples.requests.iter().filter(|sample| sample.service == 1).count();
    assert!(carts.abs_diff(samples.requests.len() / 2) <= 1, "services take turns");
}

#[tokio::test]
async fn a_stall_shows_in_every_request_that_fell_into_it() {
    let rig = rig();
    let load = start(&rig, spec(&rig, 200));
    settle_for(&rig, &load, 100).await;
    rig.toy.set(ToyMode::Hang).await.unwrap();
    let stalled = rig.clock.now();
    tokio::time::sleep_until(rig.clock.instant(stalled + Duration::from_millis(200))).await;
    rig.toy.set(ToyMode::Serve).await.unwrap();
    let end = rig.clock.now();
    load.settled(end).await;
    let samples = load.stop().await;
    let fell: Vec<_> = samples.requests.iter().filter(|s| s.due() >= stalled && s.due() < end).collect();
    assert!(fell.len() >= 38, "{} requests", fell.len());
    assert!(fell.iter().all(|sample| sample.ended() >= end), "none is answered before the stall ends");
    assert!(samples.requests.iter().all(|sample| sample.outcome.is_success()));
}

#[tokio::test]
async fn outcomes_tell_refused_hung_and_503_apart() {
    let rig = rig();
    for (mode, expected) in [
        (ToyMode::Refuse, Outcome::Connect),
        (ToyMode::Hang, Outcome::Timeout),
        (ToyMode::Status503, Outcome::Status(503)),
    ] {
        rig.toy.set(mode).await.unwrap();
        let timeout =
            if mode == ToyMode::Hang { Duration::from_millis(200) } else { Duration::from_secs(20) };
        let load = start(&rig, LoadSpec { timeout, ..spec(&rig, 100) });
        settle_for(&rig, &load, 50).await;
        let samples = load.stop().await;
        assert!(!samples.requests.is_empty());
        for sample in &samples.requests {
            assert_eq!(sample.outcome, expected);
            assert!(!sample.outcome.is_success());
        }
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_count_as_the_generators_overload() {
    let rig = rig();
    rig.toy.set(ToyMode::Hang).await.unwrap();
    let load =
        start(&rig, LoadSpec { in_flight_limit: 5, timeout: Duration::from_millis(300), ..spec(&rig, 200) });
    settle_for(&rig, &load, 100).await;
    let samples = load.stop().await;
    let count = |outcome| samples.requests.iter().filter(|sample| sample.outcome == outcome).count();
    assert!(count(Outcome::Timeout) >= 5 && count(Outcome::Overload) >= 10, "{samples:?}");
}

#[tokio::test]
async fn a_load_that_cannot_be_sent_is_refused() {
    let rig = rig();
    let refused = |spec: LoadSpec| Load::start(spec, rig.clock).map(drop).unwrap_err().to_string();
    assert!(refused(spec(&rig, 0)).contains("not 0"));
    assert!(refused(LoadSpec { services: Vec::new(), ..spec(&rig, 1) }).contains("not 0"));
    assert!(refused(LoadSpec { label: "a\nb".to_owned(), ..spec(&rig, 1) }).contains("the label"));
}
