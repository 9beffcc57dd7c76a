//! Fleets worth looking at: one of three regions with something of everything going on, and one of a hundred clusters.

mod answers;

pub(crate) use answers::*;
use std::collections::BTreeMap;
use tidegate_model::{ClusterName, Phase, Region, ServiceName, Zone};
use tidegate_web::model::*;

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

pub(crate) fn service(name: &str) -> ServiceName {
    let (namespace, name) = name.split_once('/').unwrap();
    ServiceName::new(namespace, name).unwrap()
}

pub(crate) fn place(text: &str) -> Place {
    let (name, zone) = text.split_once('/').map_or((text, None), |(name, zone)| (name, Some(zone)));
    Place { cluster: cluster(name), zone: zone.map(|zone| Zone::new(zone).unwrap()) }
}

fn capacity(declared: f64, load: f64) -> Capacity {
    Capacity { unit: "requests/s".to_owned(), declared, budget: declared * 0.8, load: Some(load) }
}

fn zone(name: &str, standing: Standing, (healthy, expected): (u32, u32), load: f64) -> ZoneFacts {
    ZoneFacts {
        name: Zone::new(name).unwrap(),
        standing,
        pools: 12,
        phases: match standing {
            Standing::Out => vec![(Phase::Out, 12)],
            Standing::Recovering => vec![(Phase::Ramping, 3)],
            Standing::Reduced => vec![(Phase::Reduced, 2)],
            Standing::Shifted => vec![(Phase::Shifted, 1)],
            _ => Vec::new(),
        },
        expected,
        healthy,
        capacity: vec![capacity(f64::from(healthy.max(expected / 2)) * 100.0, load)],
    }
}

fn gateway(cluster: &str, zone: &str, number: u32) -> GatewayFacts {
    GatewayFacts {
        node: format!("{cluster}-edge-{number}"),
        gateway: "infra/edge".to_owned(),
        zone: zone.to_owned(),
        connected: true,
        applied: Some(41),
        refused: Vec::new(),
    }
}

fn facts(name: &str, zones: Vec<ZoneFacts>, others: &[&str], now_ms: u64) -> ClusterFacts {
    let gateways =
        zones.iter().zip(1..).map(|(zone, number)| gateway(name, zone.name.as_str(), number)).collect();
    let peer = |other: &&str| PeerFacts {
        cluster: cluster(other),
        state: "Reachable".to_owned(),
        rtt_ms: Some(12.0),
    };
    ClusterFacts {
        name: cluster(name),
        state: ClusterState::Live,
        heard_at_ms: Some(now_ms - 800),
        zones,
        gateways,
        peers: others.iter().filter(|other| **other != name).map(peer).collect(),
        applied: 41,
        held_back: None,
        rejected: Vec::new(),
    }
}

fn flow(from: &str, to: &str, rate: f64, standing: Standing) -> Flow {
    Flow { from: place(from), to: place(to), rate: Some(rate), failed: None, services: 12, standing }
}

pub(crate) fn row(name: &str, standing: Standing, phase: Phase, away: u32, why: Option<&str>) -> ServiceRow {
    ServiceRow {
        name: service(name),
        standing,
        phase,
        expected: 36,
        healthy: if standing == Standing::Good { 36 } else { 24 },
        clusters: ["use1-a", "use1-b", "usw2-a"].map(cluster).to_vec(),
        away_permille: away,
        shed_permille: 0,
        at_risk: Some(standing != Standing::Good),
        cannot_fail_over: Some(false),
        rate: Some(310.0),
        why: why.map(str::to_owned),
        changed_at_ms: None,
    }
}

const NAMES: [&str; 5] = ["use1-a", "use1-b", "usw2-a", "usw2-b", "euw1-a"];

/// Three regions, five clusters, twelve services: a zone out, a service shifted, a zone ramping, a cluster not heard, a refusal.
pub(crate) fn fleet(now_ms: u64) -> Fleet {
    use Standing::{Good, Out, Recovering, Shifted, Unknown};
    let mut east = facts(
        "use1-a",
        vec![
            zone("us-east-1a", Out, (0, 24), 0.0),
            zone("us-east-1b", Good, (24, 24), 1710.0),
            zone("us-east-1c", Good, (24, 24), 1480.0),
        ],
        &NAMES,
        now_ms,
    );
    east.rejected = vec![(
        "FailoverPolicy shop/search".to_owned(),
        "spec.failback.holdDown: 5 is no duration".to_owned(),
    )];
    let mut second = facts(
        "use1-b",
        vec![zone("us-east-1b", Good, (12, 12), 520.0), zone("us-east-1c", Recovering, (12, 12), 300.0)],
        &NAMES,
        now_ms,
    );
    second.gateways[1].refused =
        vec!["Only one of stat_prefix may be set; HTTPRoute shop/cart in routes/cart.yaml:14".to_owned()];
    let west = facts(
        "usw2-a",
        vec![
            zone("us-west-2a", Good, (24, 24), 1250.0),
            zone("us-west-2b", Shifted, (24, 24), 960.0),
            zone("us-west-2c", Good, (24, 24), 990.0),
        ],
        &NAMES,
        now_ms,
    );
    let far = facts(
        "usw2-b",
        vec![zone("us-west-2a", Good, (8, 8), 240.0), zone("us-west-2b", Good, (8, 8), 260.0)],
        &NAMES,
        now_ms,
    );
    let mut lost = facts(
        "euw1-a",
        vec![zone("eu-west-1a", Unknown, (24, 24), 700.0), zone("eu-west-1b", Unknown, (24, 24), 720.0)],
        &NAMES,
        now_ms,
    );
    (lost.state, lost.heard_at_ms) = (ClusterState::Lost, Some(now_ms - 154_000));
    let mut all = [east, second, west, far];
    for it in &mut all {
        for peer in it.peers.iter_mut().filter(|peer| peer.cluster.as_str() == "euw1-a") {
            (peer.state, peer.rtt_ms) = ("Unreachable".to_owned(), None);
        }
    }
    let [east, second, west, far] = all;
    let region = |name: &str, clusters| RegionFacts { name: Region::new(name).unwrap(), clusters };
    Fleet {
        scope: Scope::Fleet("corp.example".to_owned()),
        version: 1,
        at_ms: now_ms,
        regions: vec![
            region("eu-west-1", vec![lost]),
            region("us-east-1", vec![east, second]),
            region("us-west-2", vec![west, far]),
        ],
        flows: flows(),
        services: services(now_ms),
        shifts: vec![shift("shift-7", now_ms)],
        drills: Vec::new(),
        policy: PolicyFacts {
            sequence: 41,
            version: "8c1f0e2d9a7b".to_owned(),
            phase: Some("Halted".to_owned()),
            why: Some("use1-a rejected FailoverPolicy shop/search".to_owned()),
            problems: Vec::new(),
        },
        attention: attention(now_ms),
    }
}

fn flows() -> Vec<Flow> {
    use Standing::{Good, Recovering, Shifted, Unknown};
    let mut all = vec![
        flow("use1-a/us-east-1b", "use1-a/us-east-1b", 1310.0, Good),
        flow("use1-a/us-east-1c", "use1-a/us-east-1c", 1220.0, Good),
        flow("usw2-a/us-west-2a", "usw2-a/us-west-2a", 990.0, Good),
        flow("usw2-a/us-west-2c", "usw2-a/us-west-2c", 990.0, Good),
        flow("usw2-a/us-west-2b", "usw2-a/us-west-2b", 940.0, Good),
        flow("use1-b/us-east-1b", "use1-b/us-east-1b", 520.0, Good),
        flow("use1-a/us-east-1a", "use1-a/us-east-1b", 400.0, Good),
        flow("use1-a/us-east-1a", "use1-a/us-east-1c", 260.0, Good),
        flow("use1-a/us-east-1a", "usw2-a", 260.0, Good),
        flow("use1-b/us-east-1c", "use1-b/us-east-1c", 300.0, Recovering),
        flow("usw2-a/us-west-2b", "usw2-a/us-west-2a", 120.0, Shifted),
        flow("use1-a/us-east-1b", "euw1-a", 14.0, Unknown),
    ];
    all[6].failed = Some(3.2);
    all
}

pub(crate) fn shift(name: &str, now_ms: u64) -> ShiftFacts {
    ShiftFacts {
        name: name.to_owned(),
        away_from: "zone us-west-2b".to_owned(),
        service: Some(service("shop/cart")),
        percent: 50,
        ends_at_ms: now_ms + 1_260_000,
        by: "operator".to_owned(),
        comment: "kernel upgrade of the rack, CHG-1234".to_owned(),
        clusters: vec![cluster("usw2-a")],
        refused: Vec::new(),
    }
}

fn services(now_ms: u64) -> Vec<ServiceRow> {
    use Standing::{Good, Out, Recovering, Reduced, Shifted};
    let mut all = vec![
        row(
            "pay/card",
            Reduced,
            Phase::Out,
            333,
            Some("zone us-east-1a is out: 12 of 36 endpoints gone, served by us-east-1b and us-east-1c"),
        ),
        row("pay/ledger", Good, Phase::Serving, 0, None),
        row("pay/risk", Good, Phase::Serving, 0, None),
        row(
            "search/index",
            Recovering,
            Phase::Ramping,
            150,
            Some("us-east-1c of use1-b comes back: step 2 of 4 of the ramp"),
        ),
        row("search/query", Good, Phase::Serving, 0, None),
        row(
            "shop/batch",
            Out,
            Phase::Out,
            0,
            Some("its only pool, in us-east-1a, has no healthy endpoint, and its residency allows no other"),
        ),
        row(
            "shop/cart",
            Shifted,
            Phase::Shifted,
            500,
            Some("an operator moved 50 % away from us-west-2b for another 21 min"),
        ),
        row("shop/image", Good, Phase::Serving, 0, None),
        row("shop/mail", Good, Phase::Serving, 0, None),
        row("shop/search", Good, Phase::Serving, 0, None),
        row("shop/stock", Good, Phase::Serving, 0, None),
        row(
            "shop/web",
            Reduced,
            Phase::Out,
            333,
            Some("zone us-east-1a is out: served by us-east-1b, us-east-1c and usw2-a"),
        ),
    ];
    let batch = &mut all[5];
    (batch.shed_permille, batch.cannot_fail_over, batch.healthy, batch.expected) = (1000, Some(true), 0, 4);
    batch.clusters = vec![cluster("use1-a")];
    for row in all.iter_mut().filter(|row| row.why.is_some()) {
        row.changed_at_ms = Some(now_ms - 95_000);
    }
    all
}

fn attention(now_ms: u64) -> Vec<Attention> {
    let it = |severity, text: &str, link: &str, since: u64| Attention {
        severity,
        text: text.to_owned(),
        link: link.to_owned(),
        since_ms: Some(now_ms - since),
    };
    use Severity::{Critical, Notice, Warning};
    vec![
        it(
            Critical,
            "shop/batch serves nothing: its only pool, in us-east-1a of use1-a, has no healthy endpoint",
            "/services/shop/batch",
            95_000,
        ),
        it(
            Critical,
            "Zone us-east-1a of use1-a is out: 12 pools; 660/s are served by us-east-1b, us-east-1c and usw2-a, 3.2/s of them fail",
            "/services?standing=reduced",
            95_000,
        ),
        it(
            Warning,
            "Cluster euw1-a is not heard, and four clusters do not reach it: what is shown of it is old",
            "/?q=euw1-a",
            154_000,
        ),
        it(
            Warning,
            "The rollout of policy 41 is halted: use1-a rejected FailoverPolicy shop/search",
            "/rollout",
            40_000,
        ),
        it(Warning, "Gateway use1-b-edge-2 refused HTTPRoute shop/cart", "/rollout", 38_000),
        it(
            Notice,
            "50 % of shop/cart is shifted away from us-west-2b for another 21 min",
            "/shifts",
            600_000,
        ),
    ]
}

/// A hundred clusters in ten regions, ten thousand services; a zone is out.
pub(crate) fn large(now_ms: u64) -> Fleet {
    let mut fleet = fleet(now_ms);
    let mut regions: BTreeMap<usize, Vec<ClusterFacts>> = BTreeMap::new();
    let name = |number: usize| format!("cluster-{number:03}");
    let names: Vec<String> = (0..100).map(name).collect();
    let others: Vec<&str> = names.iter().map(String::as_str).collect();
    for (number, it) in names.iter().enumerate() {
        let zones = ["a", "b", "c"].iter().map(|letter| {
            let standing = if number == 42 && *letter == "b" { Standing::Out } else { Standing::Good };
            let healthy = if standing == Standing::Out { 0 } else { 240 };
            zone(&format!("region-{}{letter}", number / 10), standing, (healthy, 240), 9_000.0)
        });
        regions.entry(number / 10).or_default().push(facts(it, zones.collect(), &others, now_ms));
    }
    fleet.regions = regions
        .into_iter()
        .map(|(number, clusters)| RegionFacts {
            name: Region::new(&format!("region-{number}")).unwrap(),
            clusters,
        })
        .collect();
    let own = names.iter().enumerate().map(|(number, it)| {
        let at = format!("{it}/region-{}a", number / 10);
        flow(&at, &at, 9_000.0, Standing::Good)
    });
    fleet.flows = own.collect();
    fleet.flows.push(flow("cluster-042/region-4b", "cluster-042/region-4a", 4_000.0, Standing::Good));
    fleet.flows.push(flow("cluster-042/region-4b", "cluster-043", 3_000.0, Standing::Good));
    fleet.flows.push(flow("cluster-042/region-4b", "cluster-071", 1_500.0, Standing::Good));
    fleet.services = (0..10_000)
        .map(|number| {
            let name = format!("team-{:02}/service-{number:05}", number % 100);
            let bad = number % 97 == 0;
            let why = "zone region-4b of cluster-042 is out: served by region-4a and by cluster-043";
            row(
                &name,
                if bad { Standing::Reduced } else { Standing::Good },
                Phase::Serving,
                if bad { 250 } else { 0 },
                bad.then_some(why),
            )
        })
        .collect();
    fleet.services.sort_by(|one, two| one.name.cmp(&two.name));
    fleet.attention.truncate(2);
    fleet
}

/// So many regions of so many clusters, and traffic from the first zone of each cluster to the one after it, some of which fails.
pub(crate) fn crossing(now_ms: u64, regions: usize, each: usize) -> Fleet {
    let mut fleet = large(now_ms);
    fleet.regions.truncate(regions);
    for region in &mut fleet.regions {
        region.clusters.truncate(each);
    }
    let all: Vec<(usize, usize)> =
        (0..each).flat_map(|at| (0..regions).map(move |it| (it, 10 * it + at))).collect();
    let pairs = all.iter().zip(all.iter().cycle().skip(1)).enumerate();
    let flows = pairs.map(|(number, ((region, from), (_, to)))| {
        let (from, to) = (format!("cluster-{from:03}/region-{region}a"), format!("cluster-{to:03}"));
        let mut it = flow(&from, &to, 12_400.0 / (number + 1) as f64, Standing::Shifted);
        it.failed = (number % 3 == 0).then_some(3.2);
        it
    });
    fleet.flows = flows.collect();
    fleet
}
