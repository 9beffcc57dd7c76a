use super::*;
use crate::timeline::Offset;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;

fn moments() -> Moments {
    let at = Time::from_millis;
    Moments {
        steady: Some(at(0)),
        fault: Some(at(4000)),
        mending: Some(at(12_000)),
        mended: Some(at(12_100)),
        done: Some(at(20_000)),
        ..Moments::default()
    }
}

fn in_force(cluster: &str, region: &str) -> InForce {
    InForce { cluster: cluster.to_owned(), region: Some(region.to_owned()), ..InForce::default() }
}

/// An agent that is asked each second from -1 s to 21 s, half a second off the drill's, by a clock that is 5 s ahead.
fn agent(clock: &Clock, own: InForce, told: impl Fn(f64) -> Told) -> AgentTold {
    let ahead = Some(Offset { ahead_us: 5_000_000, uncertainty_us: 1000 });
    let begin = clock.unix_micros(Time::ZERO) + 5 * SECOND;
    let traffic = (0..22_u64).map(|second| {
        let unix_micros = begin + second * SECOND - SECOND / 2;
        Told { unix_micros, ..told(amount(second)) }
    });
    AgentTold {
        agent: own.cluster.clone(),
        before: ahead,
        after: ahead,
        events: Ok(Vec::new()),
        in_force: Ok(own),
        traffic: Ok(traffic.collect()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
fn entered(target: &str, count: f64) -> ToldTarget {
    ToldTarget { target: target.to_owned(), entered: count as u64, ..ToldTarget::default() }
}

fn zone() -> DrillTarget {
    DrillTarget::Zone(Some("east".parse().unwrap()), "a".parse().unwrap())
}

#[test]
fn shares_of_pools_are_told_by_second_on_the_drills_clock() {
    let clock = Clock::start();
    // 100 requests a second to zone a until 6 s, then to zone b.
    let told = |second: f64| Told {
        targets: vec![
            entered("zone a", second.min(6.5) * 100.0),
            entered("zone b", (second - 6.5).max(0.0) * 100.0),
        ],
        ..Told::default()
    };
    let part = traffic(&[agent(&clock, in_force("c1", "east"), told)], &zone(), &clock, moments()).unwrap();
    assert_eq!(part.bin_ms, 1000);
    let [b, a] = &part.pools[..] else { panic!("{:?}", part.pools) };
    assert_eq!((a.pool.as_str(), a.broken, b.pool.as_str(), b.broken), ("c1/a", true, "c1/b", false));
    assert_eq!(a.rps.len(), 20);
    assert_eq!((a.rps[1], a.rps[8]), (Some(100.0), Some(0.0)));
    assert_eq!((b.rps[1], b.rps[8]), (Some(0.0), Some(100.0)));
    let all = a.rps[6].unwrap() + b.rps[6].unwrap();
    assert!((all - 100.0).abs() < 0.1, "{all}");
}

#[test]
fn agents_add_up_and_one_that_starts_anew_says_nothing_of_that_second() {
    let clock = Clock::start();
    let steady =
        |second: f64| Told { targets: vec![entered("cluster c2", second * 10.0)], ..Told::default() };
    let anew = |second: f64| {
        let count = if second < 10.0 { second } else { second - 10.0 };
        Told { targets: vec![entered("cluster c2", count * 10.0)], ..Told::default() }
    };
    let agents = [agent(&clock, in_force("c1", "east"), steady), agent(&clock, in_force("c1", "east"), anew)];
    let part = traffic(&agents, &DrillTarget::Region("west".parse().unwrap()), &clock, moments()).unwrap();
    let pool = &part.pools[0];
    assert_eq!((pool.pool.as_str(), pool.broken), ("c2", false), "no agent said where c2 is");
    assert_eq!((pool.rps[2], pool.rps[15]), (Some(20.0), Some(20.0)));
    assert!(pool.rps[9].unwrap() < 20.0);
}

#[test]
fn utilisation_is_of_what_stood_in_while_the_fault_was_on() {
    let clock = Clock::start();
    let pool = |zone: &str, got: f64, capacity: Capacity| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
        let got = got as u64;
        let zone = zone.to_owned();
        ToldPool { service: "shop/web".to_owned(), zone, got, busy_micros: got * 100_000, capacity }
    };
    let rate = Capacity::Rate { rps: 200_000 };
    // Zone b gets 50/s, and 150/s from 5 s to 14 s; zone a the rest, with half of its endpoints gone. Of 10 in progress 5 are.
    let told = |second: f64| Told {
        targets: vec![entered("zone b", second * 50.0)],
        pools: vec![
            pool("a", second * 100.0, Capacity::Rate { rps: 50_000 }),
            pool("b", second * 50.0 + (second - 5.5).clamp(0.0, 9.0) * 100.0, rate),
            pool("c", second * 50.0, Capacity::Concurrency { requests: 10_000 }),
        ],
        ..Told::default()
    };
    let part = traffic(&[agent(&clock, in_force("c1", "east"), told)], &zone(), &clock, moments()).unwrap();
    let found: Vec<_> =
        part.utilisation.iter().map(|it| (it.pool.as_str(), it.broken, it.most.unwrap())).collect();
    assert_eq!(
        found,
        [
            ("shop/web in c1/a", true, 2.0),
            ("shop/web in c1/b", false, 0.75),
            ("shop/web in c1/c", false, 0.5)
        ]
    );
    assert_eq!(part.utilisation[1].used[2], Some(0.25));
}

#[test]
fn the_last_request_to_what_is_broken_is_known_to_a_report() {
    let clock = Clock::start();
    let told_until = |last: f64| {
        agent(&clock, in_force("c1", "east"), |second| {
            let at = last.min(second);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]
            let unix = clock.unix_micros(Time::ZERO) + 5 * SECOND + (at * 1e6) as u64;
            let a = ToldTarget {
                last_unix_micros: Some(unix),
                within_micros: 100_000,
                ..entered("zone a", second * 100.0)
            };
            Told { targets: vec![a], ..Told::default() }
        })
    };
    let drained = |told: &AgentTold| {
        let own = told.in_force.clone().unwrap();
        drain(told, &broken(&zone(), &own, &[]), &clock, moments())
    };
    assert_eq!(drained(&told_until(6.2)), Some((2_200_000, 101_000)));
    assert_eq!(drained(&told_until(3.0)), None, "nothing after the fault");
    assert_eq!(drained(&told_until(99.0)), None, "it never left");
    let elsewhere = AgentTold { in_force: Ok(in_force("c9", "west")), ..told_until(6.2) };
    assert_eq!(drained(&elsewhere), None, "a zone of that name in another region");
}

#[test]
fn what_is_broken_depends_on_who_looks() {
    let (east, west) = (in_force("c1", "east"), in_force("c2", "west"));
    let of = |target: DrillTarget, own: &InForce| {
        let is_broken = broken(&target, own, &[&east, &west]);
        ["zone a", "zone b", "cluster c1", "cluster c2"].map(is_broken)
    };
    assert_eq!(of(zone(), &east), [true, false, false, false]);
    assert_eq!(of(zone(), &west), [false; 4]);
    assert_eq!(of(DrillTarget::Cluster("c2".parse().unwrap()), &east), [false, false, false, true]);
    assert_eq!(of(DrillTarget::Region("west".parse().unwrap()), &east), [false, false, false, true]);
    assert_eq!(of(DrillTarget::Region("east".parse().unwrap()), &east), [true, true, true, false]);
}

#[test]
fn many_pools_become_some_and_the_rest() {
    let clock = Clock::start();
    let told = |second: f64| Told {
        targets: (0..12_u32).map(|it| entered(&format!("zone z{it}"), second * f64::from(20 - it))).collect(),
        ..Told::default()
    };
    let part =
        traffic(&[agent(&clock, in_force("c", "r"), told)], &DrillTarget::Hub, &clock, moments()).unwrap();
    let names: BTreeMap<_, _> = part.pools.iter().map(|it| (it.pool.as_str(), it.rps[3])).collect();
    assert_eq!((names.len(), names["others"]), (8, Some(13.0 + 12.0 + 11.0 + 10.0 + 9.0)));
}
