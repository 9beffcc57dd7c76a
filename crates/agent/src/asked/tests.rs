//! Whose load is asked for as policies, drains, doubts and other clusters come and go.

use super::*;
use crate::core::{Core, Input};
use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};
use tidegate_api::{Loader, SourceFile};
use tidegate_model::{Fraction, Locality, Phase, PoolStatus, ProbeVerdict};

/// A fleet of `east` and `west` whose services `shop/s-N` have an endpoint in each of the zones a and b of `east`.
/// The policy of `shop/s-0` has `more` in its specification, `shop/s-1` is in `west` only.
fn config(services: usize, more: &str) -> Arc<tidegate_api::Config> {
    let mut text = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: east}\n\
                    spec: {region: east}\n---\n\
                    apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: west}\n\
                    spec: {region: west, eastWestGateways: [{address: 127.0.9.9, port: 15443}]}\n"
        .to_owned();
    write!(
        text,
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: s-0, namespace: shop}}\n\
         spec: {{targetRefs: [{{kind: Service, name: s-0}}]{more}}}\n"
    )
    .unwrap();
    for n in 0..services {
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s-{n}, namespace: shop}}\n\
             spec: {{ports: [{{name: http, port: 80}}]}}\n"
        )
        .unwrap();
        if n != 1 {
            write!(
                text,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: s-{n}, namespace: shop, labels: {{kubernetes.io/service-name: s-{n}}}}}\n\
                 addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n\
                 - {{addresses: [127.1.{high}.{low}], zone: a, nodeName: a{node}}}\n\
                 - {{addresses: [127.2.{high}.{low}], zone: b, nodeName: b{node}}}\n",
                high = n / 200,
                low = n % 200,
                node = n % 2,
            )
            .unwrap();
        }
    }
    let loaded = Loader::new("east".parse().unwrap()).load(&[SourceFile { path: "f.yaml".into(), text }]);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

fn service(n: usize) -> ServiceName {
    format!("shop/s-{n}").parse().unwrap()
}

fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

struct Fleet {
    core: Core,
    asked: Asked,
    generation: u64,
    rates: BTreeMap<ServiceName, u64>,
}

impl Fleet {
    fn new(services: usize, more: &str) -> Self {
        let core = Core::new("east".parse().unwrap(), None, ms(0));
        let mut fleet = Self { core, asked: Asked::default(), generation: 0, rates: BTreeMap::new() };
        fleet.manifests(services, more, 0);
        fleet
    }

    fn manifests(&mut self, services: usize, more: &str, at: u64) {
        self.core.handle(Input::Manifests(config(services, more)), ms(at));
        self.generation += 1;
    }

    /// Whether every endpoint in zone a answers, of the services in `of`.
    fn check(&mut self, of: impl Iterator<Item = usize>, zone: u8, up: bool, at: u64) {
        for n in of.filter(|n| *n != 1) {
            let verdict = if up { ProbeVerdict::Up } else { ProbeVerdict::Down("no answer".to_owned()) };
            let (high, low) = (u8::try_from(n / 200).unwrap(), u8::try_from(n % 200).unwrap());
            let address = SocketAddr::from(([127, zone, high, low], 8080));
            self.core.handle(Input::Checked((service(n), address), verdict), ms(at));
        }
    }

    fn west(&mut self, services: &[usize], at: u64) {
        let pools = services.iter().map(|n| PoolStatus {
            service: service(*n),
            locality: Locality { region: "west".parse().unwrap(), zone: "w".parse().unwrap() },
            expected: 2,
            healthy: 2,
            present: 2,
            admit: Fraction::ONE,
            phase: Phase::Serving,
            hold_remaining: Duration::ZERO,
        });
        self.core.handle(Input::RemotePools("west".parse().unwrap(), pools.collect()), ms(at));
    }

    fn news(&mut self, at: u64) -> Option<(LoadAsked, Vec<String>)> {
        let rate = |service: &ServiceName| self.rates.get(service).copied().unwrap_or(0);
        let load = self.asked.news(&self.core, self.generation, &rate, ms(at))?;
        let names = match &load.clusters {
            LoadOf::All => vec!["all".to_owned()],
            LoadOf::Named(names) => names.iter().cloned().collect(),
        };
        Some((load, names))
    }

    fn names(&mut self, at: u64) -> Vec<String> {
        self.news(at).expect("what is asked for changes").1
    }
}

const CAPACITY: &str = ", capacity: {requestsPerSecond: 100}";
const ERRORS: &str = ", healthCheck: {passive: {errors: {}}}";
const MANY: usize = ALL + 50;

#[test]
fn a_small_fleet_is_asked_for_all_of_its_load_and_ten_times_a_second() {
    let mut fleet = Fleet::new(ALL, ERRORS);
    let (load, names) = fleet.news(0).unwrap();
    assert_eq!((names, load.interval, load.per_endpoint), (vec!["all".to_owned()], SOONEST, true));
    assert_eq!(fleet.news(60_000), None);
    fleet.manifests(MANY, "", 60_000);
    let (load, names) = fleet.news(60_000).unwrap();
    assert!(names.is_empty() && !load.per_endpoint, "{load:?}");
    fleet.manifests(3, "", 60_001);
    assert_eq!(fleet.names(60_001), ["all"]);
}

#[test]
fn a_large_fleet_is_asked_for_those_whose_policy_needs_it() {
    let mut fleet = Fleet::new(MANY, "");
    assert!(fleet.names(0).is_empty(), "reports come all the same: they say that the gateway lives");
    fleet.manifests(MANY, CAPACITY, 1000);
    let (load, names) = fleet.news(1000).unwrap();
    assert_eq!((names.as_slice(), load.per_endpoint), (&["shop/s-0".to_owned()][..], false));
    // Two changes in one interval would leave no report between them.
    fleet.manifests(MANY, ERRORS, 1100);
    assert_eq!(fleet.news(1100), None);
    let due = fleet.asked.deadline().unwrap();
    assert_eq!(due, ms(1000) + load.interval + ARRIVES);
    let (load, names) = fleet.news(1200).unwrap();
    assert_eq!((names.as_slice(), load.per_endpoint), (&["shop/s-0".to_owned()][..], true));
    assert_eq!(fleet.asked.deadline(), None);
    fleet.manifests(MANY, "", 2000);
    assert_eq!(
        fleet.news(2000).unwrap().1,
        ["shop/s-0"],
        "only per endpoint no more: the name is kept for a while"
    );
    assert!(fleet.names(12_000).is_empty());
}

#[test]
fn what_drains_is_asked_for_and_for_a_while_longer() {
    let mut fleet = Fleet::new(MANY, "");
    assert!(fleet.names(0).is_empty());
    for zone in [1, 2] {
        fleet.check(0..MANY, zone, true, 10);
    }
    fleet.west(&[], 20);
    assert!(fleet.core.is_ready());
    assert_eq!(fleet.news(1000), None, "nothing drains");
    fleet.check(7..8, 1, false, 20_000);
    assert_eq!(fleet.names(20_000), ["shop/s-7"]);
    fleet.check(8..9, 1, false, 20_010);
    assert_eq!(fleet.news(20_020), None, "a report comes first");
    assert_eq!(fleet.names(20_200), ["shop/s-7", "shop/s-8"]);
    // The drain ends after 30 s; the names go when they have not been news for a while.
    fleet.core.handle(Input::Tick, ms(50_100));
    assert!(fleet.names(50_200).is_empty());
}

#[test]
fn what_is_at_a_place_in_doubt_is_asked_for_at_once() {
    let mut fleet = Fleet::new(MANY, CAPACITY);
    for zone in [1, 2] {
        fleet.check(0..MANY, zone, true, 10);
    }
    fleet.west(&[], 20);
    assert_eq!(fleet.names(19_990), ["shop/s-0"]);
    fleet.check(2..MANY - 20, 1, false, 20_000);
    let (load, names) = fleet.news(20_000).unwrap();
    assert_eq!(names.len(), MANY - 1, "all but the one that is elsewhere; whatever was asked a moment ago");
    assert!(load.interval <= LATEST_IN_DOUBT, "reports come before the place is declared out: {load:?}");
    assert_eq!(fleet.news(20_500), None);
}

#[test]
fn some_of_the_busiest_that_another_cluster_serves_are_asked_for() {
    let mut fleet = Fleet::new(MANY, "");
    assert!(fleet.names(0).is_empty());
    for zone in [1, 2] {
        fleet.check((0..MANY).filter(|n| *n < 2), zone, true, 10);
        fleet.check((0..MANY).filter(|n| *n >= 2), zone, false, 10);
    }
    let all: Vec<usize> = (0..MANY).collect();
    fleet.west(&all, 20);
    fleet.rates.extend([(service(290), 7), (service(291), 9), (service(0), 1000)]);
    // Its gateways fall silent: the sample is taken now.
    let west: tidegate_model::ClusterName = "west".parse().unwrap();
    let reachable = Input::Reachable { peer: west.clone(), quick: true, detail: String::new() };
    fleet.core.handle(reachable, ms(30));
    fleet.core.handle(Input::Suspect(west), ms(9000));
    let (load, names) = fleet.news(9000).unwrap();
    let of_west = |names: &[String]| names.iter().filter(|it| fleet_serves_in_west(&fleet.core, it)).count();
    assert_eq!(of_west(&names), SAMPLE, "{names:?}");
    assert!(names.contains(&"shop/s-290".to_owned()) && names.contains(&"shop/s-291".to_owned()));
    assert_eq!(load.interval, SOONEST, "often enough to confirm a silence of 300 ms");
}

fn fleet_serves_in_west(core: &Core, name: &str) -> bool {
    let plans = core.plan_views();
    plans.iter().any(|it| {
        it.service.to_string() == name && it.shares.iter().any(|(to, _)| to.to_string().contains("west"))
    })
}

#[test]
fn reports_take_a_bounded_part_of_an_envoys_time() {
    for (named, services, in_doubt, ms) in [
        (0, 300, false, 96),
        (64, 10_000, false, 96),
        (2000, 10_000, false, 240),
        (10_000, 10_000, false, 800),
        (10_000, 10_000, true, 400),
    ] {
        assert_eq!(interval(named, services, in_doubt), Duration::from_millis(ms), "{named} of {services}");
    }
}
