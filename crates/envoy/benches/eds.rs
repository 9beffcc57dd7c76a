//! What one EDS update costs: a plan of 12 pools of 10 endpoints each, translated and encoded.

use criterion::Criterion;
use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    net::SocketAddr,
};
use tidegate_engine::{Plan, Shares, Source, Target};
use tidegate_envoy::{EndpointHealth, EndpointView, RemoteCluster, ZoneEndpoints, edge_endpoints};
use tidegate_model::{ClusterName, Locality, Region, Share, Zone};

const HOSTS: u8 = 10;

fn hosts(net: u8) -> impl Iterator<Item = SocketAddr> {
    (1..=HOSTS).map(move |host| SocketAddr::from(([10, 0, net, host], 8080)))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("the names here are good")
}

fn main() {
    let region: Region = parsed("eu-west-1");
    let zones: ZoneEndpoints = (0..3)
        .map(|net| {
            (parsed(&format!("eu-west-1{net}")), hosts(net).map(|at| (at, EndpointHealth::Healthy)).collect())
        })
        .collect();
    let clusters: BTreeMap<ClusterName, RemoteCluster> = (3..12)
        .map(|net| {
            let cluster = RemoteCluster { region: region.clone(), gateways: hosts(net).collect() };
            (parsed(&format!("cluster-{net}")), cluster)
        })
        .collect();
    let half = Share::new(5_000).expect("in range");
    let plan = Plan {
        service: parsed("shop/web"),
        source: Source {
            cluster: parsed("cluster-0"),
            locality: Locality { region, zone: parsed::<Zone>("eu-west-10") },
        },
        shares: zones.keys().take(2).map(|zone| (Target::Zone(zone.clone()), half)).collect(),
        shed: Share::NONE,
        standby: zones
            .keys()
            .skip(2)
            .map(|zone| Target::Zone(zone.clone()))
            .chain(clusters.keys().map(|name| Target::Cluster(name.clone())))
            .map(|target| Shares::from_iter([(target, Share::ALL)]))
            .collect(),
        last_resort: false,
        reasons: Vec::new(),
    };
    let draining = BTreeSet::new();
    let view = EndpointView { zones: &zones, clusters: &clusters, differ: false, draining: &draining };
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("eds/12x10", |bencher| {
        bencher.iter(|| edge_endpoints(black_box(&plan), black_box(&view)));
    });
    criterion.final_summary();
}
