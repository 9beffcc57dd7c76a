//! When a request leaves the region: after two tries there, if both zones of it are dead, and never for the sake of one
//! bad endpoint. Zones a and b are home, c stands for the gateway of another region.

use super::{
    faults::edge,
    gateway::{Gateway, envoy},
    load::{Answer, by, load, percentile},
    toy::{Mode, Seen, Toy, addresses},
};
use crate::fixtures::{World, plan};
use hyper::{Method, body::Bytes};
use std::{collections::BTreeMap, path::Path, time::Duration};
use tidegate_api::{GatewayRole, ServicePolicy};

/// Four endpoints each.
struct Run {
    home: [Vec<Toy>; 2],
    away: Vec<Toy>,
    answers: Vec<Answer>,
}

/// 200 requests a second for 2 s; before the first of them, `strike` does something to a and b.
async fn run(envoy: &Path, strike: impl FnOnce(&[Vec<Toy>; 2])) -> Run {
    let home = [Toy::several("a", 4).await, Toy::several("b", 4).await];
    let away = Toy::several("c", 4).await;
    let world = World::default()
        .zone("a", addresses(&home[0], 4))
        .zone("b", addresses(&home[1], 4))
        .zone("c", addresses(&away, 4));
    let plan = plan(&[("zone:a", 10_000)], &[&[("zone:b", 10_000)], &[("zone:c", 10_000)]]);
    let resources = edge(&plan, &world, &ServicePolicy::default(), None);
    let gateway = Gateway::start(envoy, GatewayRole::Edge, resources).await;
    strike(&home);
    let answers = load(gateway.address, Method::GET, 200, Duration::from_secs(2), Bytes::new()).await;
    Run { home, away, answers }
}

/// How often each request came to one of these.
fn tries<'a>(toys: impl IntoIterator<Item = &'a Toy>) -> BTreeMap<String, usize> {
    let mut tries = BTreeMap::new();
    for Seen { id, .. } in toys.into_iter().flat_map(Toy::seen) {
        *tries.entry(id).or_default() += 1;
    }
    tries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_region_is_left_after_two_tries_and_within_the_goal() {
    let Some(envoy) = envoy("a_frozen_region_is_left_after_two_tries_and_within_the_goal") else { return };
    let run = run(&envoy, |home| home.iter().flatten().for_each(|toy| toy.set(Mode::Freeze))).await;
    assert_eq!(by(&run.answers), BTreeMap::from([("c".to_owned(), run.answers.len())]), "all are answered");
    let at_home = tries(run.home.iter().flatten());
    let most = at_home.values().copied().max().unwrap_or_default();
    // A fifth of the requests came before the dead hosts were ejected.
    let late = percentile(&run.answers, 90);
    eprintln!("a frozen region: {} requests tried it, {most} times at most; p90 {late:?}", at_home.len());
    assert_eq!(most, 2, "two tries before the region is left");
    // Two tries of 150 ms; what is left of the goal is for the way to the other region.
    assert!(late < Duration::from_millis(500), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_endpoint_leaves_no_request_to_another_region() {
    let Some(envoy) = envoy("one_bad_endpoint_leaves_no_request_to_another_region") else { return };
    for bad in [Mode::Freeze, Mode::Answer(503), Mode::Late(Duration::from_millis(400))] {
        let run = run(&envoy, |home| home[0][0].set(bad)).await;
        let failed = run.answers.iter().filter(|answer| answer.status != 200).count();
        let tried_bad = tries(&run.home[0][..1]).len();
        eprintln!("{bad:?}: {tried_bad} requests met it; {:?}", by(&run.answers));
        assert!(tried_bad > 0, "{bad:?}: nobody met the bad endpoint");
        assert_eq!((failed, tries(&run.away).len()), (0, 0), "{bad:?}: failed, and went to the other region");
    }
}
