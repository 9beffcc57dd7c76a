use super::*;
use proptest::prelude::*;

fn web() -> ServiceName {
    "shop/web".parse().unwrap()
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 80))
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// A service whose endpoints follow the verdicts.
struct World {
    passive: Passive,
    endpoints: Vec<EndpointView>,
    rule: ErrorCheck,
}

impl World {
    /// So many endpoints in zone a.
    fn of(count: u8) -> Self {
        let endpoint = |n| EndpointView {
            address: address(n),
            zone: "a".parse().unwrap(),
            healthy: true,
            terminating: false,
            up: Some(true),
            ejected: false,
            passes: true,
        };
        let endpoints = (1..=count).map(endpoint).collect();
        Self { passive: Passive::default(), endpoints, rule: ErrorCheck::default() }
    }

    /// `(ended, failed)` of the endpoints in order; who goes out (+) or comes back (-).
    fn second(&mut self, requests: &[(u64, u64)], seconds: u64) -> String {
        let counts = requests.iter().zip(1..);
        let counts = counts.map(|(&(ended, failed), n)| (address(n), Requests { ended, failed })).collect();
        self.passive.count(&web(), &counts, &self.endpoints, at(seconds));
        self.judge(seconds)
    }

    fn judge(&mut self, seconds: u64) -> String {
        let verdicts = self.passive.judge(&web(), Some(&self.rule), &self.endpoints, at(seconds));
        self.follow(&verdicts)
    }

    fn follow(&mut self, verdicts: &[Verdict]) -> String {
        let mut text = Vec::new();
        for verdict in verdicts {
            let endpoint = self.endpoints.iter_mut().find(|it| it.address == verdict.address).unwrap();
            assert_ne!(endpoint.ejected, verdict.ejected, "only news: {verdict:?}");
            endpoint.ejected = verdict.ejected;
            endpoint.healthy = endpoint.passes && !endpoint.ejected;
            let sign = if verdict.ejected { '+' } else { '-' };
            text.push(format!("{sign}{}", verdict.address.ip().to_string().rsplit('.').next().unwrap()));
        }
        text.join(" ")
    }

    fn down(&mut self, n: u8) {
        let endpoint = self.endpoints.iter_mut().find(|it| it.address == address(n)).unwrap();
        (endpoint.passes, endpoint.healthy, endpoint.up) = (false, false, Some(false));
    }
}

#[test]
fn who_fails_more_than_its_siblings_goes_out() {
    type Row<'a> = (&'a str, &'a [(u64, u64)], &'a str);
    let rows: [Row<'_>; 9] = [
        ("one fails", &[(30, 20), (30, 0), (30, 0)], "+1"),
        ("below the percentage", &[(30, 14), (30, 0), (30, 0)], ""),
        ("too few requests", &[(19, 19), (30, 0), (30, 0)], ""),
        ("all fail alike", &[(30, 30), (30, 29), (30, 28)], ""),
        ("the others fail half as often", &[(40, 40), (40, 20), (40, 20)], "+1"),
        ("nobody to compare with", &[(40, 40), (5, 0), (5, 0)], ""),
        ("half of four at most", &[(30, 30), (30, 29), (300, 150), (300, 0)], "+1 +2"),
        ("none of one", &[(40, 40)], ""),
        ("one of two stays", &[(40, 40), (40, 10)], "+1"),
    ];
    for (what, requests, expected) in rows {
        let mut world = World::of(u8::try_from(requests.len()).unwrap());
        assert_eq!(world.second(requests, 1), expected, "{what}");
    }
}

#[test]
fn what_many_gateways_see_adds_up_within_the_window_and_not_beyond() {
    let mut world = World::of(2);
    for second in 1..=3 {
        assert_eq!(world.second(&[(6, 6), (40, 0)], second), "");
    }
    // The first three are too old by now.
    assert_eq!(world.second(&[(6, 6), (40, 0)], 13), "");
    for second in 14..=15 {
        assert_eq!(world.second(&[(6, 6), (40, 0)], second), "");
    }
    assert_eq!(world.second(&[(2, 2), (40, 0)], 16), "+1");
}

#[test]
fn the_siblings_of_a_small_pool_are_those_of_the_service() {
    let mut world = World::of(3);
    world.rule.max_ejection_percent = 100;
    world.endpoints[0].zone = "b".parse().unwrap();
    assert_eq!(
        world.second(&[(30, 30), (30, 0), (30, 0)], 1),
        "+1",
        "alone in its zone, and the policy says so"
    );
}

#[test]
fn the_last_one_that_passes_its_checks_stays_unless_the_policy_says_so() {
    let mut world = World::of(2);
    world.rule.max_ejection_percent = 99;
    world.endpoints[1].zone = "b".parse().unwrap();
    assert_eq!(world.second(&[(30, 30), (30, 0)], 1), "");
    world.rule.max_ejection_percent = 100;
    assert_eq!(world.judge(2), "+1");
}

#[test]
fn it_comes_back_by_time_and_each_relapse_doubles_it() {
    let mut world = World::of(3);
    let bad = [(30, 30), (30, 0), (30, 0)];
    assert_eq!(world.second(&bad, 1), "+1");
    assert_eq!(world.passive.deadline(), Some(at(31)));
    assert!(world.passive.holds(&web()));
    assert_eq!(world.judge(30), "");
    assert_eq!(world.passive.due(at(30)).count(), 0);
    assert_eq!(world.passive.due(at(31)).count(), 1);
    assert_eq!(world.judge(31), "-1");
    assert_eq!(world.second(&bad, 32), "+1");
    assert_eq!(world.passive.deadline(), Some(at(92)), "60 s");
    assert_eq!(world.judge(92), "-1");
    assert_eq!(world.second(&bad, 92 + 600), "+1");
    assert_eq!(world.passive.deadline(), Some(at(92 + 630)), "forgiven");
    assert_eq!(world.judge(92 + 630), "-1");
    let mut out = 92 + 630;
    for lasts in [60, 120, 240, 300, 300] {
        assert_eq!(world.second(&bad, out), "+1");
        assert_eq!(world.passive.deadline(), Some(at(out + lasts)));
        out += lasts;
        assert_eq!(world.judge(out), "-1");
    }
}

#[test]
fn ejected_ones_come_back_when_others_go_down_and_go_when_they_are_shut_down() {
    let mut world = World::of(4);
    assert_eq!(world.second(&[(30, 30), (30, 0), (30, 0), (30, 0)], 1), "+1");
    assert_eq!(world.second(&[(0, 0), (30, 30), (30, 0), (30, 0)], 2), "+2");
    world.down(3);
    assert_eq!(world.judge(3), "-1", "the one that is out the longest");
    world.endpoints[1].terminating = true;
    assert_eq!(world.judge(4), "-2");
}

#[test]
fn without_a_rule_all_come_back_and_after_a_restart_they_stay_out() {
    let mut world = World::of(3);
    assert_eq!(world.second(&[(30, 30), (30, 0), (30, 0)], 1), "+1");
    world.passive = Passive::default();
    assert_eq!(world.judge(2), "");
    assert_eq!(world.passive.deadline(), Some(at(32)));
    let verdicts = world.passive.judge(&web(), None, &world.endpoints, at(3));
    assert_eq!(world.follow(&verdicts), "-1");
    assert!(world.passive.deadline().is_none());
}

#[test]
fn the_reason_says_what_was_counted() {
    let mut world = World::of(3);
    let counts = [(1, 60, 45), (2, 100, 1), (3, 100, 1)];
    let counts = counts.map(|(n, ended, failed)| (address(n), Requests { ended, failed })).into();
    world.passive.count(&web(), &counts, &world.endpoints, at(1));
    let verdicts = world.passive.judge(&web(), Some(&world.rule), &world.endpoints, at(1));
    assert_eq!(
        verdicts[0].reason,
        "errors: 45 of 60 requests failed in 10 s at this cluster's gateways (75 %, its siblings' 1 %); out for 30 s"
    );
}

proptest! {
    #[test]
    fn the_floor_holds_whatever_is_counted(
        seconds in proptest::collection::vec(
            (proptest::collection::vec((0_u64..60, 0_u64..60), 6), 0_u8..7, any::<bool>()), 1..80),
        percent in 1_u32..=100,
    ) {
        let mut world = World::of(6);
        world.rule.max_ejection_percent = percent;
        world.rule.ejection = Duration::from_secs(5);
        for (second, (requests, n, up)) in seconds.into_iter().enumerate() {
            if let Some(endpoint) = world.endpoints.get_mut(usize::from(n)) {
                endpoint.passes = up;
                endpoint.healthy = up && !endpoint.ejected;
            }
            world.second(&requests, second as u64);
            let out = world.endpoints.iter().filter(|it| it.ejected).count();
            let down = world.endpoints.iter().filter(|it| !it.passes && !it.ejected).count();
            let passing = world.endpoints.iter().filter(|it| it.passes).count();
            if percent < 100 {
                prop_assert!(out == 0 || (out + down) * 100 <= 6 * percent as usize);
                prop_assert!(passing == 0 || world.endpoints.iter().any(|it| it.healthy));
            }
            prop_assert!(world.passive.services.values().all(|seen| seen.values().all(|it| it.counts.len() <= MAX_COUNTS)));
        }
    }
}
