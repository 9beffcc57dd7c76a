use super::*;

const PLAN: Plan = Plan {
    steady: Duration::from_secs(10),
    fault: Duration::from_secs(20),
    observe: Duration::from_secs(30),
};

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// A drill whose fault began at 10 s.
fn broken() -> Course {
    let mut course = Course::new(PLAN);
    assert_eq!(course.begin(), [Effect::Check]);
    assert_eq!(course.on(at(0), Event::Checked(Ok(()))), [Effect::StartLoad]);
    assert_eq!(course.on(at(9999), Event::Tick), []);
    assert_eq!(course.on(at(10_000), Event::Tick), [Effect::Judge]);
    assert_eq!(course.on(at(10_000), Event::Judged(Ok(()))), [Effect::Break]);
    course
}

#[test]
fn all_parts_run_in_their_time() {
    let mut course = broken();
    assert_eq!((course.phase(), course.deadline()), (Phase::Fault, Some(at(30_000))));
    assert_eq!(course.on(at(10_100), Event::Broken(Ok(()))), []);
    assert_eq!(course.on(at(30_000), Event::Tick), [Effect::Mend]);
    assert_eq!(course.on(at(30_500), Event::Mended(Ok(()))), [Effect::Verify]);
    assert_eq!(course.on(at(31_000), Event::Verified), []);
    assert_eq!(course.deadline(), Some(at(60_500)));
    assert_eq!(course.on(at(60_500), Event::Tick), []);
    assert_eq!(course.ending(), Some(Ending::Completed));
    let expected = Moments {
        steady: Some(at(0)),
        fault: Some(at(10_000)),
        mending: Some(at(30_000)),
        mended: Some(at(30_500)),
        verified: Some(at(31_000)),
        done: Some(at(60_500)),
    };
    assert_eq!(course.moments(), expected);
}

#[test]
fn what_was_not_broken_is_not_mended() {
    let not_started = Some(Ending::NotStarted("no".to_owned()));
    for event in [
        Event::Checked(Err("no".to_owned())),
        Event::Guard("no".to_owned()),
        Event::Interrupted("no".to_owned()),
    ] {
        let mut course = Course::new(PLAN);
        assert_eq!(course.on(at(5), event), []);
        assert_eq!(course.ending(), not_started);
    }
    for event in [
        Event::Judged(Err("no".to_owned())),
        Event::Guard("no".to_owned()),
        Event::Interrupted("no".to_owned()),
    ] {
        let mut course = Course::new(PLAN);
        course.on(at(0), Event::Checked(Ok(())));
        course.on(at(10_000), Event::Tick);
        assert_eq!(course.on(at(10_001), event), []);
        assert_eq!((course.ending(), course.moments().fault), (not_started.clone(), None));
    }
}

#[test]
fn whatever_stops_the_fault_mends_at_once() {
    for event in [
        Event::Guard("it".to_owned()),
        Event::Interrupted("it".to_owned()),
        Event::Broken(Err("it".to_owned())),
    ] {
        let mut course = broken();
        assert_eq!(course.on(at(12_000), event), [Effect::Mend]);
        assert_eq!(course.on(at(12_100), Event::Mended(Ok(()))), [Effect::Verify]);
        assert_eq!(course.phase(), Phase::Watching);
        assert_eq!(course.on(at(12_200), Event::Verified), []);
        assert_eq!(course.ending(), Some(Ending::Stopped("it".to_owned())));
    }
}

#[test]
fn a_fault_that_was_refused_never_began() {
    let mut course = broken();
    assert_eq!(course.on(at(10_100), Event::Refused("no".to_owned())), [Effect::Mend]);
    assert_eq!(course.on(at(10_200), Event::Mended(Ok(()))), []);
    assert_eq!(course.ending(), Some(Ending::NotStarted("no".to_owned())));
    assert_eq!(course.moments().fault, None);
}

#[test]
fn mending_is_tried_again_and_not_for_ever() {
    let mut course = broken();
    assert_eq!(course.on(at(30_000), Event::Tick), [Effect::Mend]);
    for (try_at, failed_at) in [(30_600, 30_100), (31_200, 30_700)] {
        assert_eq!(course.on(at(failed_at), Event::Mended(Err("no".to_owned()))), []);
        assert_eq!(course.on(at(failed_at + 1), Event::Interrupted("now".to_owned())), [], "mending goes on");
        assert_eq!(course.on(at(try_at), Event::Tick), [Effect::Mend]);
    }
    assert_eq!(course.on(at(31_300), Event::Mended(Err("no".to_owned()))), [Effect::Verify]);
    assert_eq!((course.phase(), course.mend_error()), (Phase::Watching, Some("no")));
    assert_eq!(course.on(at(40_000), Event::Tick), []);
    assert_eq!(course.ending(), Some(Ending::Stopped("now".to_owned())));
    assert_eq!(course.moments().mended, None);
}

#[test]
fn who_asks_twice_may_go_once_it_is_mended() {
    let mut course = broken();
    course.on(at(11_000), Event::Interrupted("Ctrl-C".to_owned()));
    course.on(at(11_100), Event::Mended(Ok(())));
    course.on(at(11_200), Event::Interrupted("Ctrl-C".to_owned()));
    assert_eq!(course.ending(), Some(Ending::Stopped("Ctrl-C".to_owned())));
}

#[test]
fn an_expiry_that_strikes_first_ends_the_fault() {
    let mut course = broken();
    assert_eq!(course.on(at(15_000), Event::Mended(Ok(()))), [Effect::Verify]);
    course.on(at(16_000), Event::Verified);
    assert_eq!(course.ending(), Some(Ending::Stopped("the fault expired".to_owned())));
}

/// Any events in any order: whatever was broken is mended before the end, and the end comes.
#[test]
fn nothing_ends_broken() {
    let mut seed = 11_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..5000 {
        let (mut course, mut now, mut asked_to_mend) = (Course::new(PLAN), 0, 0);
        for _ in 0..200 {
            now += random(3000);
            let why = || "why".to_owned();
            let event = match random(12) {
                0 => Event::Checked(Ok(())),
                1 => Event::Judged(Ok(())),
                2 => Event::Broken(Ok(())),
                3 => Event::Broken(Err(why())),
                4 => Event::Mended(Err(why())),
                5 => Event::Mended(Ok(())),
                6 => Event::Verified,
                7 if random(9) == 0 => Event::Guard(why()),
                8 if random(9) == 0 => Event::Interrupted(why()),
                _ => Event::Tick,
            };
            let mended_by_itself = course.phase() == Phase::Fault && event == Event::Mended(Ok(()));
            let effects = course.on(at(now), event);
            asked_to_mend += u32::from(effects.contains(&Effect::Mend) || mended_by_itself);
            assert!(asked_to_mend <= MEND_TRIES);
            if course.phase() == Phase::Done {
                break;
            }
        }
        if course.phase() == Phase::Done && course.moments().fault.is_some() {
            assert!(asked_to_mend >= 1, "{course:?}");
        }
    }
}
