//! What the pages of the small fleet ask for: one service, its events, losses, drills, the rollout, the audit log.

use super::{NAMES, capacity, cluster, flow, place, row, service};
use tidegate_model::{Phase, Region};
use tidegate_web::model::*;

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
