use super::*;

fn at(text: &str) -> u64 {
    tidegate_api::parse_time(text).unwrap()
}

fn schedule(cron: &str, time_zone: &str) -> DrillSchedule {
    DrillSchedule {
        name: "shop/weekly".to_owned(),
        drill: "shop/lose-a-zone".to_owned(),
        cron: cron.to_owned(),
        time_zone: time_zone.to_owned(),
        jitter: Duration::ZERO,
        suspend: false,
        blocked: Vec::new(),
    }
}

fn times(schedule: &DrillSchedule, from: &str, count: usize) -> Vec<String> {
    let found = next(schedule, at(from), count).unwrap();
    found.into_iter().map(|(due, _)| tidegate_api::time_text(due)).collect()
}

fn able(_: &str) -> Option<String> {
    None
}

fn facts(now: &str) -> Facts<'static> {
    Facts { now: at(now), running: None, unable: &able }
}

#[test]
fn slots_are_at_the_clock_of_their_zone_in_summer_and_winter() {
    let tuesdays = schedule("0 10 * * 2", "Europe/Berlin");
    // Summer time ends on October 25, 2026.
    assert_eq!(times(&tuesdays, "2026-10-19T00:00:00Z", 2), ["2026-10-20T08:00:00Z", "2026-10-27T09:00:00Z"]);
}

#[test]
fn a_time_that_the_clock_leaps_over_is_right_after_and_one_that_it_repeats_is_once() {
    // March 29, 2026: 02:00 is 03:00 at once.
    let night = schedule("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        times(&night, "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    // October 25, 2026: 02:30 is twice.
    assert_eq!(times(&night, "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    // What is every half hour is so through both.
    let often = schedule("*/30 * * * *", "Europe/Berlin");
    assert_eq!(
        times(&often, "2026-10-25T00:15:00Z", 4),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]
    );
}

#[test]
fn jitter_is_within_its_limit_and_the_same_for_everybody() {
    let most = Duration::from_secs(1800);
    let mut jittered = schedule("0 * * * *", "UTC");
    let plain = times(&jittered, "2026-11-01T00:00:00Z", 50);
    jittered.jitter = most;
    let found = times(&jittered, "2026-11-01T00:00:00Z", 50);
    assert_eq!(found, times(&jittered, "2026-11-01T00:00:00Z", 50));
    assert!(plain != found);
    let put_off: Vec<u64> = (0..500).map(|n| jitter("shop/weekly", n * 3600, most)).collect();
    assert!(put_off.iter().all(|it| *it <= 1800));
    assert!(put_off.iter().any(|it| *it < 200) && put_off.iter().any(|it| *it > 1600), "{put_off:?}");
    assert_ne!(jitter("shop/weekly", 3600, most), jitter("shop/other", 3600, most));
}

#[test]
fn each_slot_is_decided_once_and_none_is_made_up_for() {
    let hourly = [schedule("0 * * * *", "UTC")];
    let mut state = Scheduled::default();
    assert_eq!(decide(&mut state, &hourly, facts("2026-11-01T10:30:00Z")), []);
    let due = decide(&mut state, &hourly, facts("2026-11-01T11:00:01Z"));
    assert_eq!((due.len(), due[0].slot, &due[0].skipped), (1, at("2026-11-01T11:00:00Z"), &None));
    assert_eq!(decide(&mut state, &hourly, facts("2026-11-01T11:00:02Z")), []);
    // The hub was away for three hours.
    let due = decide(&mut state, &hourly, facts("2026-11-01T14:02:00Z"));
    let told: Vec<_> = due.iter().map(|it| it.skipped.as_deref()).collect();
    assert_eq!(told, [Some("the hub did not run then"), Some("the hub did not run then"), None]);
    // A year later the memory is as long as it may be, and no longer.
    let mut now = at("2027-11-01T00:00:00Z");
    for _ in 0..40 {
        decide(&mut state, &hourly, Facts { now, running: None, unable: &able });
        now += 60;
    }
    assert_eq!(state.runs.len(), MAX_RUNS);
}

#[test]
fn what_is_not_started_says_why() {
    let mut it = schedule("0 10 * * *", "Europe/Berlin");
    it.blocked = vec![
        BlockedTime::Days { from: "2026-12-20".to_owned(), until: "2027-01-06".to_owned() },
        BlockedTime::Window { from: at("2026-11-27T00:00:00Z"), until: at("2026-11-28T00:00:00Z") },
    ];
    let one =
        |it: &DrillSchedule, day: &str, running: Option<&str>, unable: &dyn Fn(&str) -> Option<String>| {
            let mut state = Scheduled::default();
            state.since.insert(it.name.clone(), at(&format!("{day}T00:00:00Z")));
            let now = at(&format!("{day}T09:00:10Z"));
            let due = decide(&mut state, std::slice::from_ref(it), Facts { now, running, unable });
            due[0].skipped.clone().unwrap_or_default()
        };
    assert_eq!(one(&it, "2026-12-19", None, &able), "");
    for day in ["2026-12-20", "2027-01-06"] {
        assert_eq!(
            one(&it, day, None, &able),
            format!("{day} is blocked (from 2026-12-20 until 2027-01-06)")
        );
    }
    assert_eq!(one(&it, "2027-01-07", None, &able), "");
    assert!(one(&it, "2026-11-27", None, &able).starts_with("this time is blocked (from 2026-11-27T00"));
    assert_eq!(one(&it, "2026-11-28", None, &able), "");
    let nobody = |drill: &str| Some(format!("nobody can carry out {drill}"));
    assert_eq!(one(&it, "2026-11-28", None, &nobody), "nobody can carry out shop/lose-a-zone");
    let said = one(&it, "2026-11-28", Some("shop/other"), &able);
    assert_eq!(said, "the drill shop/other runs: one at a time in a fleet");
    it.suspend = true;
    assert_eq!(one(&it, "2026-11-28", None, &able), "the schedule is suspended");
    let ahead = next(&it, at("2026-11-28T00:00:00Z"), 1).unwrap();
    assert_eq!(ahead[0].1.as_deref(), Some("the schedule is suspended"));
}

#[test]
fn of_several_that_are_due_one_starts() {
    let named = |name: &str, drill: &str| DrillSchedule {
        name: name.to_owned(),
        drill: drill.to_owned(),
        ..schedule("0 * * * *", "UTC")
    };
    let both = [named("shop/b", "shop/two"), named("shop/a", "shop/one")];
    let mut state = Scheduled::default();
    decide(&mut state, &both, facts("2026-11-01T10:30:00Z"));
    let due = decide(&mut state, &both, facts("2026-11-01T11:00:00Z"));
    assert_eq!((due[0].schedule.as_str(), &due[0].skipped), ("shop/a", &None));
    assert_eq!(due[1].skipped.as_deref(), Some("the drill shop/one runs: one at a time in a fleet"));
}

#[test]
fn a_zone_or_a_time_that_there_is_not_is_told_and_decides_nothing() {
    let nowhere = schedule("0 10 * * *", "Europe/Atlantis");
    assert_eq!(next(&nowhere, 0, 1).unwrap_err(), "there is no time zone \"Europe/Atlantis\"");
    let never = schedule("0 10 30 2 *", "UTC");
    assert_eq!(next(&never, at("2026-11-01T00:00:00Z"), 3), Ok(Vec::new()));
    let mut state = Scheduled::default();
    for now in ["2026-11-01T00:00:00Z", "2028-11-01T00:00:00Z"] {
        assert_eq!(decide(&mut state, &[nowhere.clone(), never.clone()], facts(now)), []);
    }
}
