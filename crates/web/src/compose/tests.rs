use super::*;
use crate::model::{Capacity, Severity};

fn pool(service: &str, zone: &str, healthy: u32, phase: Phase) -> PoolTold {
    PoolTold {
        service: service.parse().unwrap(),
        zone: zone.parse().unwrap(),
        phase,
        expected: 2,
        healthy,
        capacity: Some(Capacity {
            unit: "requests/s".into(),
            declared: 100.0,
            budget: 80.0,
            load: Some(20.0),
        }),
    }
}

fn plan(service: &str, zone: &str, shares: &[(&str, u32)], shed_permille: u32, rule: &str) -> PlanTold {
    PlanTold {
        service: service.parse().unwrap(),
        zone: zone.parse().unwrap(),
        shares: shares.iter().map(|(target, permille)| ((*target).to_owned(), *permille)).collect(),
        shed_permille,
        rule: rule.to_owned(),
        why: format!("{rule} decided"),
    }
}

fn told(name: &str, state: ClusterState, pools: &[PoolTold], plans: &[PlanTold]) -> ClusterTold {
    ClusterTold {
        name: name.parse().unwrap(),
        region: Some("us".parse().unwrap()),
        state,
        heard_at_ms: Some(5),
        applied: 1,
        held_back: None,
        rejected: Vec::new(),
        gateways: Vec::new(),
        peers: Vec::new(),
        flows: Vec::new(),
        shifts: Vec::new(),
        summary: Arc::new(Summary::of(pools, plans, &BTreeMap::new(), &BTreeMap::new())),
    }
}

fn picture(clusters: &[ClusterTold]) -> Fleet {
    fleet(
        clusters,
        Around {
            scope: Scope::Fleet("tidegate".to_owned()),
            version: 1,
            at_ms: 10,
            risks: None,
            drills: Vec::new(),
            policy: PolicyFacts::default(),
        },
    )
}

#[test]
fn a_zone_that_is_out_moves_its_services_and_is_told_first() {
    let pools = [
        pool("shop/web", "a", 0, Phase::Out),
        pool("shop/web", "b", 2, Phase::Serving),
        pool("shop/api", "b", 2, Phase::Serving),
    ];
    let moved = [plan("shop/web", "a", &[("zone b", 1000)], 0, "NotAdmitted")];
    let seen = picture(&[told("east", ClusterState::Live, &pools, &moved)]);
    let zones = &seen.regions[0].clusters[0].zones;
    assert_eq!((zones[0].standing, zones[1].standing), (Standing::Out, Standing::Good));
    assert_eq!((zones[0].phases.as_slice(), zones[1].capacity[0].declared), (&[(Phase::Out, 1)][..], 200.0));
    let web = &seen.services[1];
    assert_eq!((web.standing, web.phase, web.away_permille), (Standing::Reduced, Phase::Out, 1000));
    assert_eq!(web.why.as_deref(), Some("east: NotAdmitted decided"));
    let flow = seen.flows.iter().find(|it| it.from.zone.as_ref().unwrap().as_str() == "a").unwrap();
    assert_eq!((flow.to.zone.as_ref().unwrap().as_str(), flow.services, flow.rate), ("b", 1, None));
    assert_eq!(seen.attention[0].severity, Severity::Critical);
    assert_eq!(seen.attention[0].text, "zone a of east: none of its 1 pools serves");
    assert!(
        seen.attention[1].text.starts_with("shop/web: 100 % is served elsewhere"),
        "{:?}",
        seen.attention
    );
}

#[test]
fn what_is_ordinary_is_drawn_where_it_enters_and_a_source_without_a_pool_is_at_home_at_the_nearest() {
    let pools = [pool("shop/web", "a", 2, Phase::Serving)];
    let nearest = plan("shop/web", "c", &[("zone a", 1000)], 0, "Preferred");
    let seen = picture(&[told("east", ClusterState::Live, &pools, &[nearest])]);
    assert_eq!(seen.services[0].away_permille, 0);
    assert_eq!((seen.services[0].standing, seen.attention.len()), (Standing::Good, 0));
    assert_eq!(seen.flows.len(), 2);
}

#[test]
fn what_is_shed_is_worse_than_anything_and_what_is_old_is_not_taken_for_new() {
    let pools = [pool("shop/web", "a", 2, Phase::Serving)];
    let shed = plan("shop/web", "a", &[("zone a", 900)], 100, "BudgetSpent");
    let east = told("east", ClusterState::Live, &pools, &[shed]);
    let west = told("west", ClusterState::Lost, &[pool("shop/api", "a", 2, Phase::Serving)], &[]);
    let seen = picture(&[west, east]);
    let of = |name: &str| seen.services.iter().find(|it| it.name.to_string() == name).unwrap();
    assert_eq!((of("shop/web").standing, of("shop/api").standing), (Standing::Out, Standing::Unknown));
    let clusters = &seen.regions[0].clusters;
    assert_eq!(clusters[1].zones[0].standing, Standing::Unknown);
    assert!(seen.attention[0].text.starts_with("shop/web: 10 % of what enters is answered with 503"));
    assert!(seen.attention[1].text.contains("cluster west is not heard any more"));
    assert_eq!(seen.attention[1].since_ms, Some(5));
}

#[test]
fn a_shift_that_many_carry_is_one() {
    let shift = |ends_at_ms| ShiftFacts {
        name: "zone-a".to_owned(),
        away_from: "zone us/a".to_owned(),
        service: None,
        percent: 100,
        ends_at_ms,
        by: "operator".to_owned(),
        comment: "rack".to_owned(),
        clusters: Vec::new(),
        refused: Vec::new(),
    };
    let with = |name, shift| ClusterTold { shifts: vec![shift], ..told(name, ClusterState::Live, &[], &[]) };
    let seen = picture(&[with("east", shift(100)), with("west", shift(101))]);
    assert_eq!((seen.shifts.len(), seen.shifts[0].clusters.len(), seen.shifts[0].ends_at_ms), (1, 2, 101));
}
