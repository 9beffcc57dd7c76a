use super::*;

const OK: Outcome = Outcome::Status(200);

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A request each 10 ms from zero until `until_ms`, failed in the given stretch.
fn steady(until_ms: u64, failed: std::ops::Range<u64>) -> Vec<Sample> {
    (0..until_ms)
        .step_by(10)
        .map(|due| {
            let outcome = if failed.contains(&due) { Outcome::Status(503) } else { OK };
            Sample::new(at(due), ms(2), outcome)
        })
        .collect()
}

fn change(at_ms: u64, source: &str, before: u32, after: u32) -> PlanMove {
    PlanMove {
        at: at(at_ms),
        service: "shop/web".parse().unwrap(),
        source: source.to_owned(),
        home_share_before: before,
        home_share_after: after,
    }
}

fn incident(samples: &[Sample]) -> Incident<'_> {
    Incident {
        fault: at(5000),
        restored: Some(at(10_000)),
        observed_until: at(20_000),
        samples,
        detections: &[],
        moves: &[],
        quiet: ms(3000),
    }
}

fn rto(samples: &[Sample], from: u64, until: u64) -> Option<u64> {
    recovery(samples.iter(), |it| it.outcome.is_success(), at(from), at(until))
        .map(|found| micros_of(found) - from * 1000)
}

fn micros_of(time: Time) -> u64 {
    crate::clock::micros(time.since_origin())
}

#[test]
fn without_a_failure_recovery_is_immediate() {
    assert_eq!(rto(&steady(10_000, 0..0), 5000, 10_000), Some(0));
}

#[test]
fn recovery_begins_right_after_the_last_failure() {
    // The last failure is due at 5290 ms; a window that begins 1 us later does not have it.
    assert_eq!(rto(&steady(10_000, 5000..5300), 5000, 10_000), Some(290_001));
}

#[test]
fn a_late_failure_moves_recovery_behind_it() {
    let mut samples = steady(10_000, 5000..5300);
    samples.push(Sample::new(at(8000), ms(900), Outcome::Timeout));
    assert_eq!(rto(&samples, 5000, 10_000), Some(3_000_001));
}

#[test]
fn one_failure_in_a_thousand_is_allowed() {
    // 2,000 requests per second.
    let mut samples: Vec<_> = (0..20_000_u64)
        .map(|i| Sample::new(Time::from_origin(Duration::from_micros(i * 500)), ms(1), OK))
        .collect();
    samples[14_000].outcome = Outcome::Timeout;
    assert_eq!(rto(&samples, 5000, 10_000), Some(0));
    samples[14_001].outcome = Outcome::Timeout;
    samples[14_002].outcome = Outcome::Timeout;
    assert_eq!(rto(&samples, 5000, 10_000), Some(2_000_001), "two of the three would be allowed again");
}

#[test]
fn without_a_window_that_proves_it_there_is_no_recovery() {
    assert_eq!(rto(&steady(10_000, 5000..9500), 5000, 10_000), None, "half a second is left");
    assert_eq!(rto(&steady(10_000, 5000..10_000), 5000, 10_000), None);
    assert_eq!(rto(&steady(5000, 0..0), 5000, 10_000), None, "no requests");
    assert_eq!(rto(&steady(10_000, 0..0), 5000, 5900), None, "shorter than a window");
}

#[test]
fn windows_without_requests_do_not_count() {
    let mut samples = steady(6000, 5000..5300);
    samples.extend([Sample::new(at(9900), ms(1), OK)]);
    assert_eq!(rto(&samples, 5000, 10_000), Some(290_001));
}

/// The definition, word for word: every window of a small case, one by one.
#[test]
fn recovery_agrees_with_trying_every_window() {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..300 {
        let count = random(30);
        let samples: Vec<_> = (0..count)
            .map(|_| {
                let outcome = if random(4) == 0 { Outcome::Broken } else { OK };
                Sample::new(at(random(4000)), ms(1), outcome)
            })
            .collect();
        let good = |start_us: u64| {
            let inside = || samples.iter().filter(|s| (start_us..start_us + 1_000_000).contains(&s.due_us));
            inside().filter(|s| !s.outcome.is_success()).count() * 1000 <= inside().count()
        };
        // Dues are whole milliseconds: a verdict can change only there and one microsecond later.
        let starts: Vec<_> = (0..=3_000_000).step_by(1000).flat_map(|start| [start, start + 1]).collect();
        let starts: Vec<_> = starts.into_iter().filter(|start| *start <= 3_000_000).collect();
        let from = starts.iter().rposition(|start| !good(*start)).map_or(0, |bad| bad + 1);
        let expected = starts.get(from).copied().filter(|from| samples.iter().any(|s| s.due_us >= *from));
        let found = recovery(samples.iter(), |it| it.outcome.is_success(), at(0), at(4000)).map(micros_of);
        assert_eq!(found, expected, "{samples:?}");
    }
}

#[test]
fn the_cut_over_ends_a_second_after_the_last_trouble() {
    let samples = steady(20_000, 5000..5300);
    let found = measure(&incident(&samples));
    assert_eq!(found.cut_over, ms(1290) + Duration::from_micros(1));
    assert_eq!((found.cut_over_failed, found.failed), (30, 30));
    assert_eq!(found.cut_over_requests, 130, "5000 ms to 6290 ms, each 10 ms");
    assert!((found.cut_over_error_rate - 30.0 / 130.0).abs() < 1e-9);

    let moves = [change(6000, "us-east/a", 10_000, 0)];
    assert_eq!(measure(&Incident { moves: &moves, ..incident(&samples) }).cut_over, ms(2000));

    let never = steady(20_000, 5000..9999);
    let found = measure(&incident(&never));
    assert_eq!((found.rto, found.cut_over), (None, ms(5000)));
}

#[test]
fn what_was_in_flight_when_the_fault_struck_belongs_to_it() {
    let samples = [
        Sample::new(at(4900), ms(50), Outcome::Broken),
        Sample::new(at(4950), ms(60), Outcome::Broken),
        Sample::new(at(4990), ms(1200), OK),
        Sample::new(at(6000), ms(4), OK),
        Sample::new(at(7000), ms(0), Outcome::Overload),
    ];
    let found = measure(&incident(&samples));
    assert_eq!((found.requests, found.failed, found.slow, found.overload), (4, 2, 1, 1));
    assert_eq!(found.failures, [(Outcome::Broken, 1), (Outcome::Overload, 1)].into());
    assert_eq!(found.max.as_millis(), 1200);
}

#[test]
fn percentiles_are_of_the_cut_over_alone() {
    let mut samples = steady(20_000, 0..0);
    for sample in samples.iter_mut().filter(|sample| sample.due() >= at(5000) && sample.due() < at(5020)) {
        *sample = Sample::new(sample.due(), ms(400), OK);
    }
    samples.push(Sample::new(at(15_000), ms(900), OK));
    let found = measure(&incident(&samples));
    assert_eq!(found.cut_over, ms(1000));
    assert_eq!(found.p50.as_millis(), 2);
    assert_eq!(found.p99.as_millis(), 400);
    assert_eq!(found.max.as_millis(), 400);
}

#[test]
fn detection_is_the_first_after_the_fault() {
    let found = measure(&Incident { detections: &[at(4000), at(5400), at(5250)], ..incident(&[]) });
    assert_eq!(found.time_to_detect, Some(ms(250)));
    assert_eq!(measure(&incident(&[])).time_to_detect, None);
}

#[test]
fn failback_ends_with_the_last_change_if_it_stays() {
    let there = [change(5200, "s", 10_000, 0)];
    let back =
        [change(13_000, "s", 0, 1000), change(14_000, "s", 1000, 5000), change(15_000, "s", 5000, 10_000)];
    let moves = [there.as_slice(), &back].concat();
    let failback =
        |moves: &[PlanMove], until| stable_failback(moves, at(5000), at(10_000), at(until), ms(3000));
    assert_eq!(failback(&moves, 18_000), Some(ms(5000)));
    assert_eq!(failback(&moves, 17_999), None, "not quiet for long enough");
    assert_eq!(failback(&moves[..3], 20_000), None, "half way is not home");
    assert_eq!(failback(&there, 20_000), None, "never came back");
    assert_eq!(failback(&[], 20_000), Some(Duration::ZERO), "never left");
}

#[test]
fn a_ramp_is_one_move_and_a_relapse_is_two_more() {
    let ramp = [
        change(5100, "s", 10_000, 5000),
        change(5200, "s", 5000, 0),
        change(5300, "s", 0, 0),
        change(13_000, "s", 0, 1000),
        change(14_000, "s", 1000, 10_000),
        change(5100, "other", 10_000, 0),
    ];
    assert_eq!(moves(&ramp, at(5000), at(20_000)), Moves { away: 1, back: 1 });
    let relapse =
        [ramp.as_slice(), &[change(15_000, "s", 10_000, 0), change(18_000, "s", 0, 10_000)]].concat();
    assert_eq!(moves(&relapse, at(5000), at(20_000)), Moves { away: 2, back: 2 });
    assert_eq!(moves(&relapse, at(5000), at(10_000)), Moves { away: 1, back: 0 });
}

#[test]
fn each_objective_is_judged_by_itself() {
    let samples = steady(20_000, 5000..5010);
    let moves = [change(5200, "s", 10_000, 0), change(13_000, "s", 0, 10_000)];
    let found = measure(&Incident { detections: &[at(5300)], moves: &moves, ..incident(&samples) });
    let verdicts = Objectives::SAFE.judge(&found);
    let missed: Vec<_> = verdicts.iter().filter(|verdict| !verdict.passed).collect();
    assert_eq!(verdicts.len(), 6);
    assert_eq!(missed.len(), 1);
    assert_eq!((missed[0].measure.as_str(), missed[0].measured.as_str()), ("failed requests", "1"));
    let never =
        Objectives { max_detect: Some(ms(500)), ..Objectives::default() }.judge(&measure(&incident(&[])));
    assert_eq!((never[0].measured.as_str(), never[0].passed), ("never", false));
}

#[test]
fn measures_are_written_with_their_units() {
    let json = serde_json::to_value(measure(&incident(&steady(20_000, 5000..5300)))).unwrap();
    assert_eq!(json["rtoMs"], 290.001);
    assert_eq!(json["timeToDetectMs"], serde_json::Value::Null);
    assert_eq!(json["failures"]["503"], 30);
    assert_eq!(json["moves"]["away"], 0);
}
