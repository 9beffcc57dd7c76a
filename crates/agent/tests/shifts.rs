//! Operators' actions at several agents, in virtual time: whatever links there are, all come to the same shifts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidegate_agent::{
    actions::Action,
    core::{Core, Input},
    replicas::{actions, lasting},
    saved::SavedAgent,
};
use tidegate_api::{Config, Loader, Problem, SourceFile};
use tidegate_engine::{Location, Shift, ShiftTarget, ShiftedBy};
use tidegate_model::{Locality, PeerBoot, Time};

const CLUSTERS: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: east}
spec: {region: east, eastWestGateways: [{address: 127.0.9.8, port: 15443}]}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: west}
spec: {region: west, eastWestGateways: [{address: 127.0.9.9, port: 15443}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
";

fn config(cluster: &str, shift: &str) -> Arc<Config> {
    let head =
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {name: s, namespace: shop}\n";
    let shift =
        if shift.is_empty() { String::new() } else { format!("{head}spec: {{{shift}, comment: x}}\n") };
    let file = SourceFile { path: "f.yaml".into(), text: format!("{CLUSTERS}{shift}") };
    let loaded = Loader::new(cluster.parse().unwrap()).load(&[file]);
    assert!(!loaded.problems.iter().any(Problem::is_error), "{:?}", loaded.problems);
    Arc::new(loaded.config)
}

struct One {
    core: Core,
    /// How far its wall clock is ahead, in seconds.
    ahead: u64,
    cluster: &'static str,
    /// What it has to tell, as its links would: all of it to whoever begins to listen.
    told: Vec<Action>,
}

impl One {
    fn new(
        cluster: &'static str,
        boot: u64,
        ahead: u64,
        saved: Option<SavedAgent>,
        shift: &str,
        now: u64,
    ) -> Self {
        let core = Core::new(cluster.parse().unwrap(), saved, at(now)).at(PeerBoot(boot));
        let mut one = Self { core, ahead, cluster, told: Vec::new() };
        one.handle(Input::WallClock(Duration::from_secs(now + ahead)), now);
        one.handle(Input::Manifests(config(cluster, shift)), now);
        one
    }

    fn handle(&mut self, input: Input, now: u64) {
        let output = self.core.handle(input, at(now));
        self.told.extend(output.actions);
    }

    fn does(&mut self, input: Input, now: u64) {
        self.handle(Input::WallClock(Duration::from_secs(now + self.ahead)), now);
        self.handle(input, now);
    }

    fn away(&mut self, zone: &str, seconds: u64, now: u64) {
        let locality = Locality { region: "east".parse().unwrap(), zone: zone.parse().unwrap() };
        self.does(
            Input::Shift(Shift {
                name: format!("zone-{zone}"),
                target: ShiftTarget { location: Location::Zone(locality), service: None },
                percent: 100,
                remaining: Duration::from_secs(seconds),
                by: ShiftedBy::Operator,
                comment: format!("by {}", self.cluster),
                force: false,
            }),
            now,
        );
    }

    fn manifests(&mut self, shift: &str, now: u64) {
        self.does(Input::Manifests(config(self.cluster, shift)), now);
    }

    /// Name, comment, and what remains.
    fn shifts(&mut self, now: u64) -> Vec<(String, String, u64)> {
        self.handle(Input::Tick, now);
        let shifts = self.core.shifts(at(now)).into_iter();
        shifts.map(|it| (it.name, it.comment, it.remaining.as_secs())).collect()
    }
}

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// A link comes up, and carries all that either side knows, `late` seconds after it was said.
fn join(one: &mut One, other: &mut One, now: u64) {
    for _ in 0..2 {
        let all = |it: &One| it.core.save(at(now)).unwrap().actions;
        let (of_one, of_other) = (all(one), all(other));
        for (words, hears) in [(of_one, &mut *other), (of_other, &mut *one)] {
            let words: Vec<_> = lasting(&words).into_iter().map(|(_, word)| word).collect();
            if let Some(input) = actions(&words).unwrap() {
                hears.handle(input, now);
            }
        }
    }
}

fn pair() -> (One, One) {
    // West's clock is ten minutes behind.
    let (mut east, mut west) =
        (One::new("east", 1, 1600, None, "", 0), One::new("west", 2, 1000, None, "", 0));
    join(&mut east, &mut west, 0);
    (east, west)
}

#[test]
fn a_shift_at_one_agent_is_one_at_all_and_any_of_them_ends_it() {
    let (mut east, mut west) = pair();
    east.away("a", 600, 10);
    join(&mut east, &mut west, 20);
    assert_eq!(west.shifts(30), [("zone-a".to_owned(), "by east".to_owned(), 580)]);
    west.does(Input::EndShift("zone-a".to_owned()), 40);
    assert_eq!(west.shifts(40), []);
    join(&mut west, &mut east, 50);
    assert_eq!(east.shifts(50), [], "although its clock is behind, whoever saw it and ended it was later");
    east.away("a", 60, 60);
    join(&mut west, &mut east, 61);
    assert_eq!(west.shifts(61).len(), 1);
    assert_eq!((east.shifts(121), west.shifts(121)), (vec![], vec![]), "its time is over everywhere");
}

#[test]
fn an_extension_is_news_to_all_and_never_makes_a_shift_shorter() {
    let (mut east, mut west) = pair();
    east.away("a", 600, 10);
    join(&mut east, &mut west, 20);
    let extend = |seconds| Input::ExtendShift("zone-a".to_owned(), Duration::from_secs(seconds));
    west.does(extend(1000), 40);
    assert_eq!(west.shifts(40), [("zone-a".to_owned(), "by east".to_owned(), 1000)]);
    join(&mut west, &mut east, 50);
    assert_eq!(east.shifts(50), [("zone-a".to_owned(), "by east".to_owned(), 990)]);
    east.does(extend(10), 60);
    assert_eq!(east.shifts(60)[0].2, 980);
    east.does(Input::EndShift("zone-a".to_owned()), 70);
    east.does(extend(1000), 71);
    join(&mut west, &mut east, 72);
    assert_eq!((east.shifts(72), west.shifts(72)), (vec![], vec![]), "what ended is not extended");
}

#[test]
fn a_declared_end_does_not_shorten_what_an_operator_extended() {
    // East's clock says 1600 s at the start: the shift ends at 600 s.
    let until = "awayFrom: {zone: b}, expiresAt: 1970-01-01T00:36:40Z";
    let mut east = One::new("east", 1, 1600, None, until, 0);
    assert_eq!(east.shifts(0), [("shop/s".to_owned(), "x".to_owned(), 600)]);
    east.does(Input::ExtendShift("shop/s".to_owned(), Duration::from_secs(5000)), 100);
    let saved = east.core.save(at(200));
    let mut again = One::new("east", 2, 2300, saved, until, 0);
    assert_eq!(again.shifts(0), [("shop/s".to_owned(), "x".to_owned(), 4900)]);
}

#[test]
fn a_partition_heals_to_the_same_shifts() {
    let (mut east, mut west) = pair();
    east.away("a", 3600, 10);
    join(&mut east, &mut west, 10);
    // Apart: one renews, the other ends; one moves another zone, the other the same one.
    east.away("a", 7200, 20);
    west.does(Input::EndShift("zone-a".to_owned()), 30);
    east.away("b", 100, 30);
    west.away("b", 200, 31);
    west.away("c", 300, 32);
    let mut third = One::new("east", 3, 0, None, "", 0);
    join(&mut third, &mut west, 40);
    join(&mut third, &mut east, 40);
    join(&mut third, &mut west, 40);
    let healed = east.shifts(40);
    assert_eq!(healed.iter().map(|it| it.0.as_str()).collect::<BTreeSet<_>>().len(), healed.len());
    assert_eq!((&west.shifts(40), &third.shifts(40)), (&healed, &healed));
    assert_eq!(
        healed.len(),
        3,
        "East renewed and its clock is ahead, so it wins where neither knew of the other"
    );
}

#[test]
fn an_action_outlives_the_agent_and_time_without_an_agent_does_not_count() {
    let (mut east, _) = pair();
    east.away("a", 600, 10);
    east.away("b", 600, 10);
    east.does(Input::EndShift("zone-b".to_owned()), 20);
    let saved = east.core.save(at(110));
    let mut again = One::new("east", 4, 1600, saved, "", 0);
    assert_eq!(again.shifts(0), [("zone-a".to_owned(), "by east".to_owned(), 500)]);
    assert_eq!(again.told.len(), 2, "it tells of both, that what ended stays so");
}

const DECLARED: &str = "awayFrom: {zone: a, region: east}, for: 1h";

#[test]
fn what_was_declared_and_ended_does_not_come_back_with_an_agent_that_reads_it_late() {
    let (mut east, mut west) = pair();
    east.manifests(DECLARED, 10);
    join(&mut east, &mut west, 20);
    assert_eq!(west.shifts(20).len(), 1, "it is in force at those that have not read it, too");
    west.does(Input::EndShift("shop/s".to_owned()), 30);
    // West's hub is back only now; and an agent without a disk starts.
    west.manifests(DECLARED, 40);
    assert_eq!(west.shifts(40), []);
    join(&mut east, &mut west, 50);
    let mut fresh = One::new("east", 5, 1600, None, DECLARED, 60);
    assert_eq!(fresh.shifts(60).len(), 1, "it knows no better");
    join(&mut fresh, &mut west, 61);
    assert_eq!((fresh.shifts(61), west.shifts(61)), (vec![], vec![]));
    // A change is a new action.
    east.manifests("awayFrom: {zone: a, region: east}, for: 2h", 70);
    join(&mut east, &mut west, 70);
    assert_eq!(west.shifts(70).len(), 1);
}

#[test]
fn of_an_operator_and_the_policy_of_the_hub_the_newer_wins() {
    let (mut east, mut west) = pair();
    east.manifests(DECLARED, 10);
    join(&mut east, &mut west, 20);
    west.away("a", 100, 30);
    join(&mut east, &mut west, 40);
    assert_eq!(east.shifts(40), [("zone-a".to_owned(), "by west".to_owned(), 90)]);
    // Loading again is no action; taking back what is not in force neither.
    east.manifests(DECLARED, 50);
    east.manifests("", 51);
    assert_eq!(east.shifts(51).len(), 1);
    east.manifests("awayFrom: {zone: a, region: east}, for: 3h", 60);
    join(&mut east, &mut west, 61);
    assert_eq!(west.shifts(61), [("shop/s".to_owned(), "x".to_owned(), 10_799)]);
}
