//! Rollouts as lists of what is seen and when.

use super::*;

const LIMITS: WaveLimits =
    WaveLimits { bake: Duration::from_secs(60), patience: Duration::from_secs(300), loss_ppm: 50_000 };

struct Play {
    rollout: Rollout,
    waves: Waves,
    sight: Sight,
    start: Instant,
    at: u64,
}

fn name(text: &str) -> ClusterName {
    text.parse().unwrap()
}

fn healthy() -> Condition {
    Condition { healthy_ppm: 1_000_000, admit_ppm: 1_000_000, ..Condition::default() }
}

impl Play {
    /// Clusters `a` (wave 0), `b` and `c` (wave 1), all connected with policy 1, and policy 2 comes.
    fn new() -> Self {
        let waves = Waves::from([(name("b"), 1), (name("c"), 1)]);
        let seen = || Seen { connected: true, applied: 1, condition: Some(healthy()), ..Seen::default() };
        let sight = Sight::from(["a", "b", "c"].map(|it| (name(it), seen())));
        let rollout = Rollout::at_once(1).next(2, &waves, &sight);
        Self { rollout, waves, sight, start: Instant::now(), at: 0 }
    }

    fn seen(&mut self, cluster: &str) -> &mut Seen {
        self.sight.get_mut(&name(cluster)).unwrap()
    }

    /// A second at a time up to `seconds` from the start: what happened, and when.
    fn until(&mut self, seconds: u64) -> Vec<(u64, Event)> {
        let mut all = Vec::new();
        while self.at < seconds {
            self.at += 1;
            let now = self.start + Duration::from_secs(self.at);
            let events = self.rollout.step(&self.sight, &self.waves, |it| it == "new", &LIMITS, now);
            all.extend(events.into_iter().map(|event| (self.at, event)));
        }
        all
    }

    fn open(&self) -> [bool; 2] {
        [self.rollout.is_open(0), self.rollout.is_open(1)]
    }

    fn halt(&mut self, seconds: u64) -> String {
        let events = self.until(seconds);
        let [(_, Event::Halted(halt))] = &events[..] else { panic!("{events:?}") };
        halt.to_string()
    }
}

#[test]
fn a_wave_opens_when_the_one_before_has_applied_and_baked() {
    let mut play = Play::new();
    assert_eq!(play.open(), [true, false]);
    assert_eq!(play.until(10), []);
    play.seen("a").applied = 2;
    assert_eq!(play.until(100), [(71, Event::Opened(1))]);
    assert_eq!(play.open(), [true, true]);
    play.seen("b").applied = 2;
    assert_eq!(play.until(110), []);
    play.seen("c").applied = 2;
    assert_eq!(play.until(300), [(171, Event::Done)]);
}

#[test]
fn what_gets_worse_halts_before_the_next_wave_and_says_why() {
    let worse = |change: fn(&mut Seen)| {
        let mut play = Play::new();
        play.seen("a").applied = 2;
        assert_eq!(play.until(20), []);
        change(play.seen("a"));
        let why = play.halt(1000);
        assert_eq!(play.open(), [true, false], "{why}");
        why
    };
    let why =
        worse(|it| it.rejected = vec![RejectedView { object: "old".to_owned(), reason: "no".to_owned() }]);
    assert_eq!(why, "a rejects old, which it did not before: no");
    let why = worse(|it| drop(it.refused.insert("g".to_owned(), "cluster x: bad".to_owned())));
    assert_eq!(why, "a: the gateway g refuses cluster x: bad");
    let why = worse(|it| it.condition = Some(Condition { healthy_ppm: 900_000, ..healthy() }));
    assert_eq!(why, "a got worse: the share of healthy endpoints fell from 100.0 % to 90.0 %");
    let why = worse(|it| it.connected = false);
    assert_eq!(why, "a applied policy 2 and has been away for 300 s since");
}

#[test]
fn a_short_loss_and_what_was_so_before_do_not_halt() {
    let mut play = Play::new();
    let ill = Condition {
        rejected: BTreeSet::from(["old".to_owned()]),
        refusing: BTreeSet::from(["g".to_owned()]),
        ..healthy()
    };
    let a = play.seen("a");
    a.condition = Some(ill);
    a.rejected = vec![RejectedView { object: "old".to_owned(), reason: "no".to_owned() }];
    a.refused = BTreeMap::from([("g".to_owned(), "x".to_owned())]);
    play.rollout = Rollout::at_once(1).next(2, &play.waves, &play.sight);
    play.seen("a").applied = 2;
    assert_eq!(play.until(20), []);
    play.seen("a").condition = Some(Condition { healthy_ppm: 500_000, ..healthy() });
    assert_eq!(play.until(24), []);
    play.seen("a").condition = Some(healthy());
    assert_eq!(play.until(61), [(61, Event::Opened(1))]);
}

#[test]
fn whoever_is_away_is_left_out_in_time_and_a_wave_of_nobody_proves_nothing() {
    let mut play = Play::new();
    play.seen("a").applied = 2;
    play.seen("b").connected = false;
    play.seen("c").applied = 2;
    let events = play.until(1000);
    assert_eq!(events, [(61, Event::Opened(1)), (362, Event::LeftOut(name("b"))), (422, Event::Done)]);
    let mut play = Play::new();
    play.seen("a").connected = false;
    let why = play.halt(1000);
    assert!(why.starts_with("no cluster of wave 0 was there within 300 s"), "{why}");
    assert!(play.rollout.resume(&play.sight.clone(), &play.waves.clone()));
    assert_eq!(play.until(1100), [(1061, Event::Opened(1))]);
    // Connected, and it does not take it.
    let why = Play::new().halt(1000);
    assert_eq!(why, "a is connected and has not applied policy 2 within 300 s");
}

#[test]
fn a_policy_that_comes_after_a_halt_is_measured_by_what_was_before_both() {
    let mut play = Play::new();
    play.seen("a").applied = 2;
    play.seen("a").condition = Some(Condition { healthy_ppm: 0, ..healthy() });
    play.halt(30);
    // It does not mend what is broken: it halts too, and the others still have the first policy.
    let next = play.rollout.next(3, &play.waves, &play.sight);
    assert_eq!((next.base, next.target, next.is_open(1)), (1, 3, false));
    play.rollout = next;
    play.seen("a").applied = 3;
    assert!(play.halt(60).contains("got worse"));
    // One that mends it goes on.
    play.rollout = play.rollout.next(4, &play.waves, &play.sight);
    let a = play.seen("a");
    (a.applied, a.condition) = (4, Some(healthy()));
    assert_eq!(play.until(150), [(121, Event::Opened(1))]);
    // An operator who resumes says that it is well as it is.
    let mut play = Play::new();
    play.seen("a").applied = 2;
    play.seen("a").condition = Some(Condition { healthy_ppm: 0, ..healthy() });
    play.halt(30);
    assert!(play.rollout.resume(&play.sight.clone(), &play.waves.clone()));
    assert_eq!(play.until(100), [(91, Event::Opened(1))]);
}

#[test]
fn a_rollout_is_where_it_was_after_a_restart() {
    let mut play = Play::new();
    play.seen("a").applied = 2;
    assert_eq!(play.until(61), [(61, Event::Opened(1))]);
    let text = serde_json::to_vec(&play.rollout).unwrap();
    play.rollout = serde_json::from_slice(&text).unwrap();
    assert_eq!((play.rollout.wave, play.rollout.base), (1, 1));
    play.seen("b").rejected = vec![RejectedView { object: "x".to_owned(), reason: "no".to_owned() }];
    play.seen("b").applied = 2;
    assert!(play.halt(70).starts_with("b rejects x"));
    // And one that halted stays so.
    play.rollout = serde_json::from_slice(&serde_json::to_vec(&play.rollout).unwrap()).unwrap();
    assert_eq!(play.until(1000), []);
    assert_eq!(play.open(), [true, true]);
}
