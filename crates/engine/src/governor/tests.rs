//! The governor alone, through falls, hold-downs and ramps.

use super::*;
use crate::policy::Written;

const S: u64 = 1000;

fn percent(value: f64) -> Fraction {
    Fraction::from_percentage(value).unwrap()
}

/// A governor under the default policy, driven to each of its own deadlines in between.
struct Rig {
    governor: Governor,
    policy: Policy,
    health: Health,
    now: Time,
}

impl Rig {
    fn new() -> Self {
        let health = Health { healthy: 10, expected: 10 };
        Self { governor: Governor::new(), policy: Policy::default(), health, now: Time::ZERO }
    }

    fn health(&mut self, ms: u64, healthy: u32) -> &mut Self {
        self.until(ms);
        self.health.healthy = healthy;
        self.governor.observe(self.health, &self.policy, self.now);
        self
    }

    fn until(&mut self, ms: u64) -> &mut Self {
        let end = Time::from_millis(ms);
        while let Some(deadline) = self.governor.deadline(&self.policy).filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.governor.observe(self.health, &self.policy, deadline);
        }
        self.now = end;
        self
    }

    fn admits(&self) -> (Fraction, Phase) {
        (self.governor.admit(), self.governor.phase(self.health.expected))
    }
}

#[test]
fn a_loss_too_short_to_count_begins_the_hold_down_anew() {
    let mut rig = Rig::new();
    rig.health(S, 5).until(3 * S);
    assert_eq!(rig.admits(), (percent(71.4285), Phase::Reduced));
    assert_eq!(rig.health(10 * S, 10).admits(), (percent(71.4285), Phase::Holding));
    rig.health(39 * S, 4).health(40 * S, 10);
    assert_eq!(rig.until(70 * S - 1).admits(), (percent(71.4285), Phase::Holding));
    assert_eq!(rig.until(70 * S).admits(), (Fraction::ONE, Phase::Serving));
}

#[test]
fn total_loss_acts_at_once_and_return_waits_for_hold_down_and_ramp() {
    let mut rig = Rig::new();
    assert_eq!(rig.health(S, 0).admits(), (Fraction::ZERO, Phase::Out));
    assert_eq!(rig.health(5 * S, 10).admits(), (Fraction::ZERO, Phase::Holding));
    assert_eq!(rig.until(35 * S - 1).admits(), (Fraction::ZERO, Phase::Holding));
    assert_eq!(rig.until(35 * S).admits(), (percent(10.0), Phase::Ramping));
    assert_eq!(rig.until(45 * S).admits(), (percent(50.0), Phase::Ramping));
    assert_eq!(rig.until(55 * S).admits(), (Fraction::ONE, Phase::Serving));
    assert_eq!(rig.governor.deadline(&rig.policy), None);
}

#[test]
fn partial_loss_acts_after_its_delay_and_a_blip_does_not_act() {
    let mut rig = Rig::new();
    assert_eq!(rig.health(0, 5).until(1999).admits(), (Fraction::ONE, Phase::Serving));
    assert_eq!(rig.health(1999, 10).until(10 * S).admits(), (Fraction::ONE, Phase::Serving));
    rig.health(10 * S, 5).until(12 * S);
    assert_eq!(rig.governor.phase(10), Phase::Reduced);
    assert_eq!(rig.governor.admit().ppm(), 714_285);
}

#[test]
fn health_above_the_threshold_is_whole_and_below_the_minimum_is_nothing() {
    let mut rig = Rig::new();
    assert_eq!(rig.health(0, 7).until(60 * S).admits(), (Fraction::ONE, Phase::Serving));
    assert_eq!(rig.health(60 * S, 2).until(62 * S).admits(), (Fraction::ZERO, Phase::Out));
}

#[test]
fn partial_then_total_loss_is_one_fault_with_one_hold_down() {
    let mut rig = Rig::new();
    rig.health(0, 5).health(5 * S, 0).health(6 * S, 10);
    assert_eq!(rig.governor.hold_remaining(rig.now), Duration::from_secs(30));
    assert_eq!(rig.until(56 * S).admits(), (Fraction::ONE, Phase::Serving));
}

#[test]
fn a_dip_in_the_hold_down_begins_it_anew() {
    let mut rig = Rig::new();
    rig.health(0, 0).health(S, 10).health(20 * S, 6).health(21 * S, 10);
    assert_eq!(rig.governor.hold_remaining(rig.now), Duration::from_secs(29));
    assert_eq!(rig.until(49 * S).admits().1, Phase::Holding);
    assert_eq!(rig.until(50 * S).admits(), (percent(10.0), Phase::Ramping));
}

#[test]
fn health_that_rises_further_does_not_lengthen_the_hold_down() {
    let mut rig = Rig::new();
    rig.health(0, 0).health(S, 4).health(2 * S, 10);
    assert_eq!(rig.until(31 * S).admits(), (percent(10.0), Phase::Ramping));
}

#[test]
fn a_relapse_doubles_the_hold_down_up_to_the_limit() {
    let mut rig = Rig::new();
    let mut holds = Vec::new();
    let mut ms = 0;
    for _ in 0..7 {
        rig.health(ms, 0).health(ms + S, 10);
        let hold = rig.governor.hold_remaining(rig.now);
        holds.push(hold.as_secs());
        ms += S + u64::try_from(hold.as_millis()).unwrap() + S;
    }
    assert_eq!(holds, [30, 60, 120, 240, 480, 600, 600]);
}

#[test]
fn quiet_time_halves_the_hold_down_back() {
    let mut rig = Rig::new();
    rig.health(0, 0).health(S, 10).health(32 * S, 0).health(33 * S, 10);
    assert_eq!(rig.governor.hold_remaining(rig.now), Duration::from_secs(60));
    rig.until(200 * S);
    assert_eq!(rig.admits().1, Phase::Serving);
    rig.health(900 * S, 0).health(901 * S, 10);
    assert_eq!(rig.governor.hold_remaining(rig.now), Duration::from_secs(30));
}

#[test]
fn manual_failback_waits_for_an_operator() {
    let mut rig = Rig::new();
    rig.policy.failback.mode = Written::default_value(FailbackMode::Manual);
    rig.health(0, 0).health(S, 10).until(10_000 * S);
    assert_eq!(rig.admits(), (Fraction::ZERO, Phase::Holding));
    rig.governor.release(rig.now);
    assert_eq!(rig.until(10_000 * S).admits(), (percent(10.0), Phase::Ramping));
    assert_eq!(rig.until(10_020 * S).admits(), (Fraction::ONE, Phase::Serving));
}

#[test]
fn a_fall_that_was_no_fault_is_undone_without_a_relapse() {
    let mut rig = Rig::new();
    rig.health(0, 0);
    rig.governor.undo_fall();
    assert_eq!(rig.health(S, 10).admits(), (Fraction::ONE, Phase::Serving));
    rig.health(2 * S, 0).health(3 * S, 10);
    assert_eq!(rig.governor.hold_remaining(rig.now), Duration::from_secs(30));
}

#[test]
fn a_restart_keeps_what_remains_of_the_hold_down() {
    let mut rig = Rig::new();
    rig.health(0, 0).health(S, 10).until(11 * S);
    let saved = serde_json::to_string(&rig.governor.save(rig.now)).unwrap();
    let restored = Governor::restored(&serde_json::from_str(&saved).unwrap(), Time::from_millis(77));
    assert_eq!(restored.hold_remaining(Time::from_millis(77)), Duration::from_secs(20));
    assert_eq!(restored.phase(10), Phase::Holding);
}

#[test]
fn time_that_steps_back_moves_nothing() {
    let mut rig = Rig::new();
    rig.health(100 * S, 0).health(101 * S, 10);
    rig.governor.observe(rig.health, &rig.policy, Time::ZERO);
    assert_eq!(rig.admits(), (Fraction::ZERO, Phase::Holding));
}
