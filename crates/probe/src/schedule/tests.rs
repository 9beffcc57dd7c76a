//! The schedule in virtual time.

use super::*;
use crate::{CheckConfig, CheckKind, PER_HOST_LIMIT, Siblings, latency::LatencyRule};
use std::cell::Cell;

const SECOND: Duration = Duration::from_secs(1);
/// A random number that makes every jitter its middle: half an interval, then whole ones.
const MIDDLE: u32 = u32::MAX / 2;

fn target(port: u16) -> Target {
    Target {
        address: ([127, 0, 0, 1], port).into(),
        config: CheckConfig::new(CheckKind::Tcp),
        known: None,
        siblings: None,
    }
}

fn set<const N: usize>(targets: [(&'static str, Target); N]) -> BTreeMap<&'static str, Target> {
    targets.into_iter().collect()
}

fn done(due: &Due, result: Result<(), Failure>) -> Done {
    let latency = Some(Duration::from_millis(2));
    Done { ticket: due.ticket, ip: due.target.address.ip(), result, latency }
}

/// Checks everything that is due at `now` with one result, and gives the ports.
fn check_due(schedule: &mut Schedule<&'static str>, now: Instant, result: &Result<(), Failure>) -> Vec<u16> {
    let mut ports = Vec::new();
    while let Some(due) = schedule.start_due(now) {
        ports.push(due.target.address.port());
        schedule.finish(done(&due, result.clone()), now, MIDDLE);
    }
    ports
}

fn verdicts(schedule: &mut Schedule<&'static str>) -> Vec<(&'static str, bool, bool)> {
    std::iter::from_fn(|| schedule.next_verdict()).map(|v| (v.key, v.verdict.is_up(), v.first)).collect()
}

fn at(start: Instant, seconds: f64) -> Instant {
    start + Duration::from_secs_f64(seconds)
}

#[test]
fn a_target_is_checked_at_once_then_within_the_interval_then_every_interval() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1))]), start);
    assert_eq!(check_due(&mut schedule, start, &Ok(())), [1]);
    let second = schedule.next_due(true).unwrap();
    assert!(second > at(start, 0.499) && second < at(start, 0.501), "{:?}", second - start);
    assert_eq!(check_due(&mut schedule, second, &Ok(())), [1]);
    let third = schedule.next_due(true).unwrap() - second;
    assert!(third > SECOND.mul_f64(0.999) && third < SECOND.mul_f64(1.001), "{third:?}");
    assert_eq!(verdicts(&mut schedule), [("a", true, true)]);
}

#[test]
fn the_recheck_after_a_failure_comes_at_once() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1))]), start);
    assert_eq!(check_due(&mut schedule, start, &Err(Failure::Refused)), [1, 1]);
    assert_eq!(verdicts(&mut schedule), [("a", false, true)]);
}

#[test]
fn an_unchanged_target_keeps_its_state_and_its_place() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1))]), start);
    check_due(&mut schedule, start, &Ok(()));
    verdicts(&mut schedule);
    let due = schedule.next_due(true);
    let known_now = Target { known: Some(true), ..target(1) };
    schedule.reconcile(set([("a", known_now)]), at(start, 0.1));
    assert_eq!(schedule.next_due(true), due);
    check_due(&mut schedule, at(start, 2.0), &Ok(()));
    assert_eq!(verdicts(&mut schedule), []);
}

#[test]
fn a_change_touches_what_it_names() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1)), ("b", target(2)), ("c", target(3))]), start);
    check_due(&mut schedule, at(start, 0.1), &Ok(()));
    verdicts(&mut schedule);
    let changed = [("a", None), ("b", Some(target(2))), ("d", Some(target(4))), ("x", None)];
    schedule.change(changed, at(start, 0.2));
    assert_eq!(schedule.len(), 3);
    assert_eq!(check_due(&mut schedule, at(start, 0.2), &Ok(())), [4], "what is new is checked at once");
    assert_eq!(verdicts(&mut schedule), [("d", true, true)]);
    let mut ports = check_due(&mut schedule, at(start, 1.2), &Ok(()));
    ports.sort_unstable();
    assert_eq!(ports, [2, 3, 4], "the others go on as they were");
}

#[test]
fn a_new_configuration_starts_at_once_from_the_last_verdict() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1))]), start);
    let old = schedule.start_due(start).unwrap();
    schedule.finish(done(&old, Ok(())), start, MIDDLE);
    let mut changed = target(1);
    changed.config.healthy_threshold = 5;
    schedule.reconcile(set([("a", changed)]), at(start, 0.1));
    assert_eq!(verdicts(&mut schedule), [("a", true, true)], "told though the ticket changed");
    assert_eq!(schedule.next_due(true), Some(at(start, 0.1)));
    check_due(&mut schedule, at(start, 0.1), &Err(Failure::Refused));
    assert_eq!(verdicts(&mut schedule), [("a", false, false)]);
}

#[test]
fn another_address_is_another_target() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1))]), start);
    check_due(&mut schedule, start, &Ok(()));
    schedule.reconcile(set([("a", target(2))]), start);
    assert_eq!(verdicts(&mut schedule), [], "what was found at the old address is not told");
    assert_eq!(check_due(&mut schedule, start, &Ok(())), [2]);
    assert_eq!(verdicts(&mut schedule), [("a", true, true)]);
}

#[test]
fn a_result_for_a_target_that_is_gone_is_dropped() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1)), ("b", target(2))]), start);
    let due = schedule.start_due(start).unwrap();
    schedule.reconcile(set([]), start);
    schedule.finish(done(&due, Ok(())), start, MIDDLE);
    assert_eq!(schedule.next_due(true), None);
    assert!(!schedule.has_verdict());
}

#[test]
fn a_slow_receiver_gets_the_newest_verdict_of_each_target() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1)), ("b", target(2))]), start);
    check_due(&mut schedule, at(start, 1.0), &Ok(()));
    check_due(&mut schedule, at(start, 3.0), &Err(Failure::Refused));
    assert_eq!(verdicts(&mut schedule), [("a", false, true), ("b", false, true)]);
}

#[test]
fn a_late_check_is_not_caught_up_with() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    schedule.reconcile(set([("a", target(1))]), start);
    check_due(&mut schedule, start, &Ok(()));
    assert_eq!(check_due(&mut schedule, at(start, 60.0), &Ok(())), [1]);
}

/// Four siblings that are judged each second, each told as up.
fn siblings(rule: LatencyRule) -> [(&'static str, Target); 4] {
    ["a", "b", "c", "d"].map(|key| {
        let port = u16::from(key.as_bytes()[0]);
        let siblings = Some(Siblings { group: "pool".into(), rule });
        (key, Target { siblings, ..target(port) })
    })
}

/// Lets virtual time pass: each check of `d` takes so long, and those of the others 2 ms. Gives what was told.
fn pass(
    schedule: &mut Schedule<&'static str>,
    now: &Cell<Instant>,
    seconds: u32,
    slow: Duration,
    trust: bool,
) -> Vec<(&'static str, ProbeVerdict)> {
    let mut told = Vec::new();
    let end = now.get() + Duration::from_secs(seconds.into());
    while let Some(next) = schedule.next_due(true).filter(|next| *next <= end) {
        now.set(next.max(now.get()));
        while let Some(due) = schedule.start_due(now.get()) {
            let took =
                if due.target.address.port() == u16::from(b'd') { slow } else { Duration::from_millis(2) };
            let done = Done { latency: Some(took), ..done(&due, Ok(())) };
            schedule.finish(done, now.get(), MIDDLE);
        }
        schedule.judge_due(now.get(), trust);
        told.extend(std::iter::from_fn(|| schedule.next_verdict()).map(|it| (it.key, it.verdict)));
    }
    now.set(end);
    told
}

const SLOW: Duration = Duration::from_millis(200);
const QUICK: Duration = Duration::from_millis(2);

#[test]
fn a_slow_sibling_is_told_as_down_within_ten_seconds_and_as_up_within_ten_of_its_recovery() {
    let now = Cell::new(Instant::now());
    let mut schedule = Schedule::new(now.get());
    schedule.reconcile(siblings(LatencyRule::default()).into(), now.get());
    let ups = ["a", "b", "c", "d"].map(|key| (key, ProbeVerdict::Up));
    assert_eq!(pass(&mut schedule, &now, 20, QUICK, true), ups);
    let told = pass(&mut schedule, &now, 10, SLOW, true);
    let reason = "slow: checks take 200.0 ms, the 4 siblings' median is 2.0 ms (slow is above 52.0 ms)";
    assert_eq!(told, [("d", ProbeVerdict::Down(reason.into()))]);
    assert_eq!(schedule.ejected(), 1);
    assert_eq!(pass(&mut schedule, &now, 10, QUICK, true), [("d", ProbeVerdict::Up)]);
    assert_eq!(schedule.ejected(), 0);
}

#[test]
fn what_was_measured_by_a_prober_that_was_held_up_ejects_nobody() {
    let now = Cell::new(Instant::now());
    let mut schedule = Schedule::new(now.get());
    schedule.reconcile(siblings(LatencyRule::default()).into(), now.get());
    assert_eq!(pass(&mut schedule, &now, 60, SLOW, false).len(), 4);
    assert_eq!(schedule.ejected(), 0);
}

#[test]
fn who_is_compared_no_more_is_back_and_is_not_checked_out_of_turn() {
    let now = Cell::new(Instant::now());
    let mut schedule = Schedule::new(now.get());
    schedule.reconcile(siblings(LatencyRule::default()).into(), now.get());
    pass(&mut schedule, &now, 30, SLOW, true);
    assert_eq!(schedule.ejected(), 1);
    let due = schedule.queue.clone();
    let alone = siblings(LatencyRule::default()).map(|(key, it)| (key, Target { siblings: None, ..it }));
    schedule.reconcile(alone.into(), now.get());
    assert_eq!(schedule.queue, due);
    assert_eq!(verdicts(&mut schedule), [("d", true, false)]);
    assert_eq!((schedule.ejected(), schedule.groups.next_due()), (0, None));
}

#[test]
fn an_ejected_target_that_fails_its_checks_is_down_for_that_and_no_longer_ejected() {
    let now = Cell::new(Instant::now());
    let mut schedule = Schedule::new(now.get());
    schedule.reconcile(siblings(LatencyRule::default()).into(), now.get());
    pass(&mut schedule, &now, 30, SLOW, true);
    let later = now.get() + SECOND;
    while let Some(due) = schedule.start_due(later) {
        let failed = due.target.address.port() == u16::from(b'd');
        let result = if failed { Err(Failure::Refused) } else { Ok(()) };
        schedule.finish(done(&due, result), later, MIDDLE);
    }
    assert_eq!(verdicts(&mut schedule), [("d", false, false)]);
    assert_eq!(schedule.ejected(), 0);
}

#[test]
fn one_host_has_room_for_its_limit_and_the_rest_follow_as_it_answers() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    let limit = usize::try_from(PER_HOST_LIMIT).unwrap();
    let keys = 0..limit * 2;
    let at_one_host = |key: &usize| (*key, target(u16::try_from(*key).unwrap()));
    schedule.reconcile(keys.clone().map(|key| at_one_host(&key)).collect(), start);
    let now = at(start, 0.5);
    let mut under_way: VecDeque<Due> = std::iter::from_fn(|| schedule.start_due(now)).collect();
    assert_eq!(under_way.len(), limit);
    // One that waits goes away; its place falls to the next.
    schedule.reconcile(keys.filter(|key| *key != limit).map(|key| at_one_host(&key)).collect(), now);
    for checked in 1..=limit {
        let due = under_way.pop_front().unwrap();
        let done = Done { ticket: due.ticket, ip: due.target.address.ip(), result: Ok(()), latency: None };
        schedule.finish(done, at(start, 0.6), u32::MAX);
        under_way.extend(std::iter::from_fn(|| schedule.start_due(at(start, 0.6))));
        assert_eq!(under_way.len(), if checked == limit { limit - 1 } else { limit });
    }
}

#[test]
fn who_is_known_from_before_is_checked_later_than_who_is_not_and_within_an_interval() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    let known = |port| Target { known: Some(true), ..target(port) };
    schedule.reconcile(set([("a", known(1)), ("b", known(2)), ("c", target(3)), ("d", target(4))]), start);
    // The first of each kind at once, then each kind at its own pace.
    assert_eq!(check_due(&mut schedule, start, &Ok(())), [3, 1]);
    assert_eq!(check_due(&mut schedule, start + START_GAP, &Ok(())), [4]);
    assert_eq!(check_due(&mut schedule, start + KNOWN_GAP, &Ok(())), [2]);
    let last = first_delay(49_999, 50_000, KNOWN_GAP, SECOND);
    assert!(last < SECOND, "{last:?}");
}
