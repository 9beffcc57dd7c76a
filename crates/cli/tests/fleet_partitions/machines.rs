//! What machines and operators do to processes: gateways that are restarted in turn, clocks that are wrong, processors that are
//! taken away.

use super::{
    CLUSTERS, Missed,
    clocks::WrongClocks,
    fleet::{Fleet, Setup},
    support::wait_until,
    watch::Watch,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::Command,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[test]
fn a_rolling_restart_of_the_east_west_gateways_of_a_cluster_moves_nothing() {
    let test = "a_rolling_restart_of_the_east_west_gateways_of_a_cluster_moves_nothing";
    let Some(mut fleet) = Fleet::start(test, &Setup { east_wests: 3, ..Setup::default() }) else { return };
    let mut missed = Missed::default();
    let watch = Watch::start(&fleet, "three east-west gateways of c1 restarted, one after the other");
    for gateway in fleet.east_wests_of("c1") {
        let began = Instant::now();
        fleet.stop_gateway("c1", gateway);
        let stopped = began.elapsed();
        fleet.start_gateway("c1", gateway);
        // The next one goes when this one is back, as in every rollout.
        fleet.until_linked("c1", gateway);
        eprintln!("MEASURED {gateway}: stopped in {stopped:?}, back after {:?}", began.elapsed());
        fleet.flow(1);
    }
    let seen = watch.end(&fleet);
    missed.nothing_bad(&seen, &[]);
    missed.only_moved(&seen, &[]);
    missed.report();
}

/// Minutes that the clocks of clusters are ahead of the hub's.
const AHEAD: &[(&str, i32)] = &[("c1", -10), ("c3", 10)];

#[test]
fn clocks_that_are_ten_minutes_wrong_move_nothing() {
    let test = "clocks_that_are_ten_minutes_wrong_move_nothing";
    let Some(wrong_clocks) = WrongClocks::new(test, AHEAD) else { return };
    // That it starts says already that certificates are believed which were issued a moment ago.
    let setup = Setup { wrong_clocks: Some(wrong_clocks), ..Setup::default() };
    let Some(mut fleet) = Fleet::start(test, &setup) else { return };
    let mut missed = Missed::default();
    for (cluster, minutes) in AHEAD {
        let found = (agent_ahead(&fleet, cluster), edge_ahead(&fleet, cluster));
        assert_eq!(found, (i64::from(*minutes), i64::from(*minutes)), "agent and edge of {cluster}");
    }

    let watch = Watch::start(&fleet, "clocks of c1 and c3 10 min behind and ahead");
    fleet.flow(5);
    let seen = watch.end(&fleet);
    missed.nothing_bad(&seen, &[]);
    missed.only_moved(&seen, &[]);

    // What an agent keeps on disk has times of day in it.
    let watch = Watch::start(&fleet, "the same, and the agent of c1 killed and at once started");
    fleet.kill_agent("c1");
    fleet.start_agent("c1", &[]);
    let seen = watch.end(&fleet);
    missed.nothing_bad(&seen, &[]);
    missed.only_moved(&seen, &[]);

    a_shift_ends_in_time(&fleet, &mut missed);
    a_declared_shift_ends_in_time(&mut fleet, &mut missed);
    missed.report();
}

/// How long the shift is to last, and what it may last longer: the way to others, and a look at it.
const SHIFT: Duration = Duration::from_secs(6);
const SHIFT_SLACK: Duration = Duration::from_millis(1500);

fn a_shift_ends_in_time(fleet: &Fleet, missed: &mut Missed) {
    let watch = Watch::start(fleet, "the same, and a shift for 6 s");
    let began = Instant::now();
    let away = [
        "shift",
        "away",
        "--yes",
        "--cluster",
        "c1",
        "--service",
        "shop/front",
        "--for",
        "6s",
        "--comment",
        "test",
    ];
    fleet.ask_agent("c1", &away);
    let asked = began.elapsed();
    let shifts = |cluster| fleet.ask(cluster, "/api/v1/shifts")?.as_array().map(Vec::len);
    for cluster in CLUSTERS {
        wait_until(&format!("the shift to reach {cluster}"), || (shifts(cluster)? == 1).then_some(()));
    }
    let mut over: Vec<(&str, Duration)> = Vec::new();
    wait_until("the shift to end", || {
        for cluster in CLUSTERS {
            if shifts(cluster)? == 0 && !over.iter().any(|it| it.0 == cluster) {
                over.push((cluster, began.elapsed()));
            }
        }
        (over.len() == CLUSTERS.len()).then_some(())
    });
    eprintln!("MEASURED a shift for 6 s, asked for in {asked:?}, is over: {over:?}");
    if over.iter().any(|(_, after)| *after < SHIFT || *after > SHIFT + asked + SHIFT_SLACK) {
        missed.0.push(format!("a shift for {SHIFT:?} ended after {over:?}"));
    }
    let seen = watch.end(fleet);
    missed.nothing_bad(&seen, &[]);
}

/// How long a shift that is declared is to last: time for two agents to be started again.
const DECLARED: Duration = Duration::from_secs(30);

/// One with `expiresAt` in the hub's policy ends by the hub's clock everywhere, also where an agent with a wrong clock starts while the hub
/// is away.
fn a_declared_shift_ends_in_time(fleet: &mut Fleet, missed: &mut Missed) {
    let watch =
        Watch::start(fleet, "the same, a shift declared for 30 s, the hub and two agents killed meanwhile");
    let (began, until) = (Instant::now(), now() + i64::try_from(DECLARED.as_secs()).unwrap());
    let at = Command::new("date").args(["-u", "-d", &format!("@{until}"), "+%FT%TZ"]).output().unwrap();
    let shift = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {{name: declared, namespace: shop}}\nspec: \
         {{awayFrom: {{cluster: c1, service: shop/front}}, expiresAt: \"{}\", comment: test}}\n",
        String::from_utf8(at.stdout).unwrap().trim()
    );
    fleet.place.write("shift.yaml", &shift);
    let in_force = |fleet: &Fleet| {
        let told = CLUSTERS.map(|cluster| {
            let shifts = fleet.ask(cluster, "/api/v1/shifts")?;
            Some(shifts.as_array()?.first().map_or(0, |it| it["remainingMs"].as_u64().unwrap()))
        });
        told.into_iter().all(|it| it.is_some_and(|ms| ms > 0)).then_some(told.map(Option::unwrap))
    };
    let told = wait_until("the shift to be in force everywhere", || in_force(fleet));
    eprintln!("MEASURED a shift declared for 30 s: {told:?} ms remain {:?} after", began.elapsed());
    fleet.kill_hub();
    for (cluster, _) in AHEAD {
        fleet.kill_agent(cluster);
        fleet.start_agent(cluster, &[]);
    }
    let told = wait_until("the shift to be in force everywhere again", || in_force(fleet));
    eprintln!(
        "MEASURED without a hub, {AHEAD:?} started again: {told:?} ms remain {:?} after",
        began.elapsed()
    );
    let mut over: Vec<(&str, Duration)> = Vec::new();
    wait_until("the declared shift to end", || {
        for cluster in CLUSTERS {
            let shifts = fleet.ask(cluster, "/api/v1/shifts")?;
            if shifts.as_array()?.is_empty() && !over.iter().any(|it| it.0 == cluster) {
                over.push((cluster, began.elapsed()));
            }
        }
        (over.len() == CLUSTERS.len()).then_some(())
    });
    eprintln!("MEASURED it is over: {over:?}");
    // Whole seconds are declared.
    let in_time = DECLARED.saturating_sub(Duration::from_secs(1))..DECLARED + SHIFT_SLACK;
    if over.iter().any(|(_, after)| !in_time.contains(after)) {
        missed.0.push(format!("a shift declared for {DECLARED:?} ended after {over:?}"));
    }
    fleet.start_hub();
    let seen = watch.end(fleet);
    missed.nothing_bad(&seen, &[]);
}

const DAY: i64 = 24 * 60 * 60;

/// Seconds since 1970.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The nearest whole number of them.
fn minutes(seconds: i64) -> i64 {
    (seconds + 30).div_euclid(60)
}

/// Whole minutes that the clock of an agent is ahead of ours.
fn agent_ahead(fleet: &Fleet, cluster: &str) -> i64 {
    let theirs = fleet.ask(cluster, "/api/v1/time").unwrap()["unixMicros"].as_i64().unwrap();
    minutes(theirs / 1_000_000 - now())
}

/// The same of its edge, as the date of an answer has it.
fn edge_ahead(fleet: &Fleet, cluster: &str) -> i64 {
    let said = fleet.whole_answer(cluster, "nobody.shop.example");
    // As in `Sun, 06 Nov 1994 08:49:37 GMT`.
    let date = said.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
    let of_day = date.split(' ').nth(4).unwrap().split(':').map(|it| it.parse::<i64>().unwrap());
    let ahead = (of_day.fold(0, |sum, it| sum * 60 + it) - now()).rem_euclid(DAY);
    minutes(if ahead > DAY / 2 { ahead - DAY } else { ahead })
}

/// So long in each tenth of a second a throttled process stands still, as with a quota of 30 % of a core that it uses up.
const TAKEN: Duration = Duration::from_millis(70);
const GIVEN: Duration = Duration::from_millis(30);

/// Stops a process in each tenth of a second until the sender is dropped. A quota stops it only when it has used its time up; this
/// one does so always, and all of its threads at once.
fn throttle(process: u32, end: &mpsc::Receiver<()>) {
    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    let over = |after| !matches!(end.recv_timeout(after), Err(RecvTimeoutError::Timeout));
    loop {
        kill_process(process, Signal::STOP).unwrap();
        let is_over = over(TAKEN);
        kill_process(process, Signal::CONT).unwrap();
        if is_over || over(GIVEN) {
            return;
        }
    }
}

#[test]
fn an_agent_that_gets_little_of_a_processor_moves_nothing() {
    let test = "an_agent_that_gets_little_of_a_processor_moves_nothing";
    let Some(fleet) = Fleet::start(test, &Setup::default()) else { return };
    let mut missed = Missed::default();
    for cluster in ["c1", "c3"] {
        let watch =
            Watch::start(&fleet, &format!("the agent of {cluster} stands still for 70 of each 100 ms"));
        let process = fleet.agent_id(cluster);
        std::thread::scope(|scope| {
            let (running, end) = mpsc::channel();
            scope.spawn(move || throttle(process, &end));
            fleet.flow(10);
            drop(running);
        });
        let seen = watch.end(&fleet);
        missed.nothing_bad(&seen, &[]);
        missed.only_moved(&seen, &[]);
    }
    missed.report();
}
