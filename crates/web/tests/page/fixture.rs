//! Fleets worth looking at: one of three regions with something of everything going on, and one of a hundred clusters.

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

/// `shop/web` while a zone of `use1-a` is out.
pub(crate) fn web(now_ms: u64) -> ServiceFacts {
    let pool = |region: &str, at: &str, phase, healthy, admit, load| PoolFacts {
        region: Region::new(region).unwrap(),
        place: place(at),
        phase,
        expected: 6,
        healthy,
        admit_permille: admit,
        hold_remaining_ms: if phase == Phase::Holding { 42_000 } else { 0 },
        capacity: Some(capacity(f64::from(healthy) * 100.0, load)),
        reachable: true,
    };
    let shares = |all: &[(&str, u32)]| -> Vec<(String, u32)> {
        all.iter().map(|(who, part)| ((*who).to_owned(), *part)).collect()
    };
    let plan =
        |source: &str, parts: &[(&str, u32)], standby: Vec<Vec<(String, u32)>>, reasons: &[&str]| PlanFacts {
            source: place(source),
            shares: shares(parts),
            shed_permille: 0,
            standby,
            last_resort: false,
            reasons: reasons.iter().map(|it| (*it).to_owned()).collect(),
        };
    let remote = shares(&[("cluster usw2-a", 10_000)]);
    ServiceFacts {
        row: row(
            "shop/web",
            Standing::Reduced,
            Phase::Out,
            333,
            Some("zone us-east-1a is out: served by us-east-1b, us-east-1c and usw2-a"),
        ),
        pools: vec![
            pool("us-east-1", "use1-a/us-east-1a", Phase::Out, 0, 0, 0.0),
            pool("us-east-1", "use1-a/us-east-1b", Phase::Serving, 6, 1000, 430.0),
            pool("us-east-1", "use1-a/us-east-1c", Phase::Serving, 6, 1000, 455.0),
            pool("us-west-2", "usw2-a/us-west-2a", Phase::Serving, 6, 1000, 260.0),
            pool("us-west-2", "usw2-a/us-west-2b", Phase::Ramping, 6, 500, 110.0),
        ],
        plans: vec![
            plan(
                "use1-a/us-east-1a",
                &[("zone us-east-1b", 4000), ("zone us-east-1c", 4000), ("cluster usw2-a", 2000)],
                vec![remote.clone()],
                &[
                    "zone us-east-1a takes nothing: 0 of 6 healthy, below minimumHealthy 10 % (FailoverPolicy shop/web, policies/shop.yaml:12)",
                    "zone us-east-1b takes 40 %: the same region, up to its budget of 480 requests/s",
                    "cluster usw2-a takes 20 %: the next tier, because the region has no room for the rest",
                ],
            ),
            plan(
                "use1-a/us-east-1b",
                &[("zone us-east-1b", 10_000)],
                vec![shares(&[("zone us-east-1c", 10_000)]), remote.clone()],
                &["zone us-east-1b takes all: the same zone, 6 of 6 healthy"],
            ),
            plan(
                "use1-a/us-east-1c",
                &[("zone us-east-1c", 10_000)],
                vec![shares(&[("zone us-east-1b", 10_000)]), remote],
                &["zone us-east-1c takes all: the same zone, 6 of 6 healthy"],
            ),
        ],
        timeline: events(now_ms).into_iter().filter(|it| it.service == Some(service("shop/web"))).collect(),
        policy: [
            (
                "failoverThreshold.percentage",
                "70",
                "FailoverPolicy shop/web, policies/shop.yaml:9 (8c1f0e2d)",
            ),
            ("minimumHealthy.percentage", "10", "FailoverPolicy shop/web, policies/shop.yaml:12 (8c1f0e2d)"),
            ("failback.holdDown", "60s", "FailoverProfile fleet, profile.yaml:4 (8c1f0e2d)"),
            ("failback.mode", "Automatic", "default"),
            ("whenExhausted", "Spread", "default"),
        ]
        .map(|(field, value, from)| PolicyField {
            field: field.to_owned(),
            value: value.to_owned(),
            from: from.to_owned(),
        })
        .to_vec(),
        told_by: vec![(cluster("use1-a"), now_ms - 900), (cluster("usw2-a"), now_ms - 1200)],
        missing: vec![(
            cluster("euw1-a"),
            "not heard for 2 min 34 s; it exports shop/web, and nothing newer is known".to_owned(),
        )],
    }
}

pub(crate) fn event(
    ago: u64,
    seq: u64,
    what: (&str, Option<(&str, Phase)>, Option<&str>),
    text: &str,
    now_ms: u64,
) -> Event {
    let (kind, pool, of) = what;
    Event {
        at_ms: now_ms - ago,
        cluster: cluster("use1-a"),
        seq,
        kind: kind.to_owned(),
        service: of.map(service),
        pool: pool.map(|(at, phase)| (place(at), phase)),
        text: text.to_owned(),
    }
}

pub(crate) fn events(now_ms: u64) -> Vec<Event> {
    use Phase::{Holding, Out, Ramping, Reduced, Serving};
    let web = Some("shop/web");
    let pool = |at, phase| ("poolChanged", Some((at, phase)), web);
    vec![
        event(
            95_000,
            96,
            ("planChanged", None, web),
            "shop/web from us-east-1a: us-east-1b 40 %, us-east-1c 40 %, usw2-a 20 %, because us-east-1a is out",
            now_ms,
        ),
        event(
            95_040,
            95,
            pool("use1-a/us-east-1a", Out),
            "shop/web us-east-1a: Reduced to Out: 0 of 6 healthy",
            now_ms,
        ),
        event(
            110_000,
            94,
            pool("use1-a/us-east-1a", Reduced),
            "shop/web us-east-1a: Serving to Reduced: 3 of 6 healthy",
            now_ms,
        ),
        event(
            300_000,
            91,
            ("shiftChanged", None, Some("shop/cart")),
            "shift-7 begins: 50 % of shop/cart away from us-west-2b: kernel upgrade of the rack, CHG-1234",
            now_ms,
        ),
        event(
            420_000,
            90,
            pool("usw2-a/us-west-2b", Ramping),
            "shop/web us-west-2b: Holding to Ramping: healthy for 60 s",
            now_ms,
        ),
        event(
            480_000,
            88,
            pool("usw2-a/us-west-2b", Holding),
            "shop/web us-west-2b: Out to Holding: 6 of 6 healthy",
            now_ms,
        ),
        event(
            900_000,
            80,
            pool("usw2-a/us-west-2b", Out),
            "shop/web us-west-2b: Serving to Out: 0 of 6 healthy",
            now_ms,
        ),
        event(
            2_400_000,
            70,
            pool("use1-a/us-east-1c", Serving),
            "shop/web us-east-1c: Ramping to Serving",
            now_ms,
        ),
        event(
            3_000_000,
            65,
            pool("use1-a/us-east-1c", Ramping),
            "shop/web us-east-1c: Holding to Ramping",
            now_ms,
        ),
    ]
}

/// What losing `us-east-1b` too would do.
pub(crate) fn loss(name: &str, holds: bool) -> LossFacts {
    use Standing::{Good, Reduced};
    LossFacts {
        lost: vec![name.to_owned()],
        holds,
        unserved: if holds {
            Vec::new()
        } else {
            vec![(service("shop/batch"), 1000), (service("pay/card"), 120)]
        },
        unserved_services: if holds { 0 } else { 2 },
        places: vec![
            (place("use1-a/us-east-1c"), Some(617), Some(if holds { 720 } else { 1180 })),
            (place("usw2-a/us-west-2a"), Some(520), Some(760)),
            (place("use1-a/us-east-1b"), Some(712), None),
        ],
        before: vec![
            flow("use1-a/us-east-1b", "use1-a/us-east-1b", 1310.0, Good),
            flow("use1-a/us-east-1a", "use1-a/us-east-1b", 400.0, Good),
            flow("use1-a/us-east-1a", "use1-a/us-east-1c", 260.0, Good),
        ],
        after: vec![
            flow("use1-a/us-east-1b", "use1-a/us-east-1c", 900.0, Reduced),
            flow("use1-a/us-east-1b", "usw2-a", 410.0, Good),
            flow("use1-a/us-east-1a", "use1-a/us-east-1c", 400.0, Reduced),
            flow("use1-a/us-east-1a", "usw2-a", 260.0, Good),
        ],
        sentences: vec![
            "us-east-1c of use1-a would be given 1,650/s, of 1,920/s that its budget allows".to_owned(),
            "1,310/s that enter at us-east-1b would be served by us-east-1c and usw2-a".to_owned(),
        ],
    }
}

pub(crate) fn drills(now_ms: u64) -> DrillsFacts {
    let past = |number: u64, passed: bool| DrillFacts {
        id: format!("drill-{number}"),
        drill: "shop/zone-loss".to_owned(),
        target: "zone us-west-2c".to_owned(),
        phase: "completed".to_owned(),
        started_at_ms: now_ms - 86_400_000 * (10 - number),
        phase_ends_at_ms: None,
        requests: Some((18_000, if passed { 0 } else { 212 })),
        passed: Some(passed),
        rto_ms: Some(if passed { 412.0 } else { 2310.0 }),
        why: None,
    };
    DrillsFacts {
        running: Vec::new(),
        offered: vec![
            DrillOffered {
                drill: "shop/zone-loss".to_owned(),
                target: "zone us-west-2c".to_owned(),
                next_at_ms: Some(now_ms + 259_000_000),
            },
            DrillOffered {
                drill: "pay/region-loss".to_owned(),
                target: "region us-west-2, for pay/card".to_owned(),
                next_at_ms: None,
            },
        ],
        past: vec![past(9, true), past(6, true), past(3, false)],
        trends: vec![("shop/zone-loss".to_owned(), TREND.to_owned())],
    }
}

/// A drill in its second phase.
pub(crate) fn running(now_ms: u64) -> DrillFacts {
    DrillFacts {
        id: "drill-11".to_owned(),
        drill: "shop/zone-loss".to_owned(),
        target: "zone us-west-2c".to_owned(),
        phase: "Fault".to_owned(),
        started_at_ms: now_ms - 41_000,
        phase_ends_at_ms: Some(now_ms + 19_000),
        requests: Some((4100, 12)),
        passed: None,
        rto_ms: None,
        why: None,
    }
}

const TREND: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 480 140\"><style>path{fill:none;stroke:#0072b2;stroke-width:2}</style>\
    <path d=\"M20 100L200 40L320 110L460 112\"/><text x=\"20\" y=\"20\" font-size=\"12\">RTO, ms</text></svg>";

pub(crate) fn rollout() -> RolloutFacts {
    let there = |name: &str, state: &str, why: Option<&str>| ObjectThere {
        cluster: cluster(name),
        state: state.to_owned(),
        why: why.map(str::to_owned),
        gateways_applied: if state == "Applied" { 3 } else { 0 },
        gateways: 3,
        age_ms: Some(900),
    };
    let object = |name: &str, place: &str, bad: bool| ObjectFacts {
        object: name.to_owned(),
        place: place.to_owned(),
        since: 41,
        clusters: NAMES
            .iter()
            .map(|it| match *it {
                "use1-a" if bad => there(it, "Rejected", Some("spec.failback.holdDown: 5 is no duration")),
                "euw1-a" => there(it, "Unknown", None),
                _ if bad => there(it, "Pending", None),
                _ => there(it, "Applied", None),
            })
            .collect(),
    };
    RolloutFacts {
        policy: PolicyFacts {
            sequence: 41,
            version: "8c1f0e2d9a7b".to_owned(),
            phase: Some("Halted".to_owned()),
            why: Some("use1-a rejected FailoverPolicy shop/search".to_owned()),
            problems: Vec::new(),
        },
        waves: vec![
            (true, vec![cluster("use1-a")]),
            (false, NAMES[1..].iter().map(|it| cluster(it)).collect()),
        ],
        objects: vec![
            object("FailoverPolicy shop/search", "policies/shop.yaml:40", true),
            object("FailoverPolicy shop/web", "policies/shop.yaml:1", false),
            object("HTTPRoute pay/card", "routes/pay.yaml:1", false),
        ],
        total: 3,
    }
}

pub(crate) fn audit(now_ms: u64) -> Vec<AuditFacts> {
    let it = |number: u64, ago: u64, who: &str, what: &str, detail: &str| AuditFacts {
        number,
        at_ms: now_ms - ago,
        who: who.to_owned(),
        what: what.to_owned(),
        detail: detail.to_owned(),
    };
    vec![
        it(
            12,
            300_000,
            "ann",
            "shift",
            "shift-7: 50 % of shop/cart away from us-west-2b for 30 min: kernel upgrade of the rack, CHG-1234",
        ),
        it(11, 400_000, "8c1f0e2d9a7b", "policy", "sequence 41: FailoverPolicy shop/search changed"),
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
