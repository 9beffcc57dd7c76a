//! Grey failure: an endpoint that passes its checks, but much more slowly than its siblings. Pure: no clock, no I/O.
//!
//! **Smoothing.** What counts for an endpoint is the median of its last [`SAMPLES`] checks: one spike moves nothing,
//! and a stretch in which this process itself was slow is in the samples of all siblings alike.
//!
//! **Baseline.** The median `m` of those medians over the siblings that pass their checks, and their spread
//! `s = 1.4826 * MAD` (the median absolute deviation, scaled to the standard deviation of a normal distribution; Rousseeuw
//! and Croux, "Alternatives to the median absolute deviation", 1993). Both withstand anything that fewer than half
//! of the siblings do. So when all are slow together (their database, the network, this prober), `m` goes with
//! them and nobody is an outlier; and when half are slow, nobody is, because nobody can say which half is right.
//!
//! **Rule.** Slow is above `max(ratio * m, m + minimumDifference, m + 6 s)`: several times the others, by an amount that
//! somebody would notice, and beyond what is usual among these siblings. An endpoint is ejected after it was slow in so
//! many judgements in a row, and comes back after as many in which it was below the middle between `m` and that
//! limit.
//!
//! **Limits.** Ejected and down endpoints together are at most `max_ejected_percent` of the siblings: the slowest go
//! first, and when others go down, ejected ones come back, because slow is better than nothing. With fewer than
//! `minimum_siblings` to compare, nobody is ejected.

use std::{cmp::Reverse, time::Duration};

/// So many checks make an endpoint's latency.
pub const SAMPLES: usize = 8;

/// With fewer checks than this nothing is known.
const LEAST_SAMPLES: usize = 4;

/// So many standard deviations are usual.
const SPREADS: u32 = 6;

/// When an endpoint is an outlier among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyRule {
    /// How many times the siblings' median is slow, in percent: 300 is three times.
    pub ratio_percent: u32,
    /// How much above the siblings' median is slow.
    pub minimum_difference: Duration,
    /// The most siblings that may be ejected, in percent; those that are down count too.
    pub max_ejected_percent: u32,
    /// With fewer siblings than this to compare, nobody is judged.
    pub minimum_siblings: u32,
    /// So many judgements in a row eject, and bring back.
    pub consecutive: u32,
}

impl Default for LatencyRule {
    /// Three times the others and 50 ms above them, for three seconds after the smoothing; one in four at most.
    fn default() -> Self {
        Self {
            ratio_percent: 300,
            minimum_difference: Duration::from_millis(50),
            max_ejected_percent: 25,
            minimum_siblings: 4,
            consecutive: 3,
        }
    }
}

/// The latencies of one target's last checks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// In microseconds; the oldest is overwritten.
    samples: [u32; SAMPLES],
    count: u8,
    next: u8,
}

impl Latency {
    /// Takes the latency of one check.
    pub fn record(&mut self, latency: Duration) {
        self.samples[usize::from(self.next)] = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        let most = SAMPLES as u8;
        self.next = (self.next + 1) % most;
        self.count = (self.count + 1).min(most);
    }

    /// The median of the last checks; `None` while there are too few.
    #[must_use]
    pub fn smoothed(&self) -> Option<Duration> {
        let mut samples = self.samples;
        let known = &mut samples[..usize::from(self.count)];
        (known.len() >= LEAST_SAMPLES).then(|| Duration::from_micros(median(known).into()))
    }
}

/// How an endpoint stands among its siblings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is ejected.
    pub ejected: bool,
    /// Judgements in a row that speak against that.
    against: u32,
}

/// One of the siblings, when they are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its smoothed latency, if it is known.
    pub latency: Option<Duration>,
    /// Whether it passes its checks; `None` while that is not known.
    pub up: Option<bool>,
    /// How it stands; the judgement changes it.
    pub standing: Standing,
}

/// What the siblings were compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// The median of their latencies.
    pub median: Duration,
    /// Above this is slow.
    pub limit: Duration,
    /// How many were compared.
    pub compared: usize,
}

impl Baseline {
    /// Why an endpoint with this latency is ejected, for people.
    #[must_use]
    pub fn reason(&self, latency: Duration) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        format!(
            "slow: checks take {:.1} ms, the {} siblings' median is {:.1} ms (slow is above {:.1} ms)",
            ms(latency),
            self.compared,
            ms(self.median),
            ms(self.limit)
        )
    }
}

/// Judges all siblings once; `None` when there are too few to compare, and then all are back.
pub fn judge(rule: &LatencyRule, members: &mut [Member]) -> Option<Baseline> {
    let Some(baseline) = baseline(rule, members) else {
        for member in members {
            member.standing = Standing::default();
        }
        return None;
    };
    let back = baseline.median + (baseline.limit - baseline.median) / 2;
    let mut ejected = Vec::new();
    for (index, member) in members.iter_mut().enumerate() {
        let Some(latency) = compared(member) else {
            // Its checks speak for themselves, or have not spoken often enough.
            member.standing = Standing::default();
            continue;
        };
        let standing = &mut member.standing;
        let slow = latency > if standing.ejected { back } else { baseline.limit };
        standing.against = if slow == standing.ejected { 0 } else { standing.against.saturating_add(1) };
        let turns = standing.against >= rule.consecutive.max(1);
        if standing.ejected && turns {
            *standing = Standing::default();
        } else if standing.ejected || turns {
            // Those that are ejected already first, so that two that are equally slow do not take turns.
            ejected.push((!standing.ejected, Reverse(latency), index));
        }
    }
    ejected.sort_unstable();
    let room = room(rule, members);
    for (place, (new, _, index)) in ejected.into_iter().enumerate() {
        let standing = &mut members[index].standing;
        if place < room && new {
            *standing = Standing { ejected: true, against: 0 };
        } else if place >= room && !new {
            // Slow still: the first to go when there is room again.
            *standing = Standing { ejected: false, against: rule.consecutive };
        }
    }
    Some(baseline)
}

/// The latency by which a member is compared, if it is.
fn compared(member: &Member) -> Option<Duration> {
    member.latency.filter(|_| member.up == Some(true))
}

/// How many may be ejected.
fn room(rule: &LatencyRule, members: &[Member]) -> usize {
    let percent = usize::try_from(rule.max_ejected_percent.min(100)).unwrap_or(100);
    let down = members.iter().filter(|member| member.up == Some(false)).count();
    (members.len() * percent / 100).saturating_sub(down)
}

fn baseline(rule: &LatencyRule, members: &[Member]) -> Option<Baseline> {
    let micros = |latency: Duration| u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
    let mut latencies: Vec<u32> = members.iter().filter_map(compared).map(micros).collect();
    let least = usize::try_from(rule.minimum_siblings).unwrap_or(usize::MAX).max(3);
    if latencies.len() < least {
        return None;
    }
    let middle = median(&mut latencies);
    let mut deviations: Vec<u32> = latencies.iter().map(|latency| latency.abs_diff(middle)).collect();
    let spread = Duration::from_micros(median(&mut deviations).into()).mul_f64(1.4826);
    let median = Duration::from_micros(middle.into());
    let ratio = median * rule.ratio_percent.max(100) / 100;
    let limit = ratio.max(median + rule.minimum_difference).max(median + spread * SPREADS);
    Some(Baseline { median, limit, compared: latencies.len() })
}

/// The middle value; of an even number of values the lower one and the upper one's mean. 0 of none.
fn median(values: &mut [u32]) -> u32 {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => 0,
        len if len % 2 == 1 => values[middle],
        _ => values[middle - 1].midpoint(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: LatencyRule = LatencyRule {
        ratio_percent: 300,
        minimum_difference: Duration::from_millis(50),
        max_ejected_percent: 25,
        minimum_siblings: 4,
        consecutive: 2,
    };

    fn member(millis: u64) -> Member {
        let latency = Some(Duration::from_millis(millis));
        Member { latency, up: Some(true), standing: Standing::default() }
    }

    fn members(millis: &[u64]) -> Vec<Member> {
        millis.iter().map(|&millis| member(millis)).collect()
    }

    /// Judges so often and gives who is ejected then.
    fn judged(rule: &LatencyRule, members: &mut [Member], times: u32) -> Vec<usize> {
        for _ in 0..times {
            judge(rule, members);
        }
        (0..members.len()).filter(|&index| members[index].standing.ejected).collect()
    }

    #[test]
    fn outliers_are_found_by_the_rule() {
        let rows: [(&str, &[u64], &[usize]); 10] = [
            ("one is slow", &[2, 3, 2, 90], &[3]),
            ("all are slow", &[90, 95, 91, 92], &[]),
            ("half are slow: nobody can say which half is right", &[2, 2, 90, 90], &[]),
            ("several times the others, but by little", &[2, 2, 2, 40], &[]),
            ("much above the others, but not several times", &[100, 100, 100, 200], &[]),
            ("usual among siblings that differ much", &[10, 60, 110, 160, 200, 260, 300, 330], &[]),
            ("two of eight are a quarter", &[2, 2, 2, 2, 2, 2, 90, 80], &[6, 7]),
            ("three of eight are more: the slowest go", &[2, 2, 2, 2, 2, 80, 90, 70], &[5, 6]),
            ("too few to compare", &[2, 2, 900], &[]),
            ("a quarter of seven is one", &[2, 2, 2, 2, 2, 80, 90], &[6]),
        ];
        for (what, latencies, ejected) in rows {
            assert_eq!(judged(&RULE, &mut members(latencies), 2), ejected, "{what}");
        }
    }

    #[test]
    fn it_takes_as_many_judgements_as_the_rule_says_each_way() {
        let mut pool = members(&[2, 2, 2, 90]);
        assert_eq!(judged(&RULE, &mut pool, 1), [0_usize; 0]);
        assert_eq!(judged(&RULE, &mut pool, 1), [3]);
        pool[3].latency = Some(Duration::from_millis(2));
        assert_eq!(judged(&RULE, &mut pool, 1), [3]);
        assert_eq!(judged(&RULE, &mut pool, 1), [0_usize; 0]);
    }

    #[test]
    fn between_the_two_limits_it_stays_as_it_is() {
        // The limit is 52 ms, the way back begins below 27 ms.
        let mut pool = members(&[2, 2, 2, 40]);
        assert_eq!(judged(&RULE, &mut pool, 9), [0_usize; 0]);
        pool[3].latency = Some(Duration::from_millis(60));
        assert_eq!(judged(&RULE, &mut pool, 9), [3]);
        pool[3].latency = Some(Duration::from_millis(40));
        assert_eq!(judged(&RULE, &mut pool, 9), [3]);
        pool[3].latency = Some(Duration::from_millis(26));
        assert_eq!(judged(&RULE, &mut pool, 9), [0_usize; 0]);
    }

    #[test]
    fn a_slow_endpoint_comes_back_when_others_go_down_and_goes_again_after() {
        let mut pool = members(&[2, 2, 2, 2, 2, 2, 2, 90]);
        assert_eq!(judged(&RULE, &mut pool, 2), [7]);
        pool[0].up = Some(false);
        assert_eq!(judged(&RULE, &mut pool, 1), [7], "two of eight are within the limit");
        pool[1].up = Some(false);
        assert_eq!(judged(&RULE, &mut pool, 1), [0_usize; 0], "slow is better than nothing");
        pool[1].up = Some(true);
        assert_eq!(judged(&RULE, &mut pool, 1), [7]);
    }

    #[test]
    fn an_ejected_endpoint_that_fails_its_checks_is_down_and_nothing_else() {
        let mut pool = members(&[2, 2, 2, 2, 90]);
        judged(&RULE, &mut pool, 2);
        pool[4].up = Some(false);
        assert_eq!(judged(&RULE, &mut pool, 1), [0_usize; 0]);
    }

    #[test]
    fn all_come_back_when_too_few_are_left_to_compare() {
        let mut pool = members(&[2, 2, 2, 90]);
        assert_eq!(judged(&RULE, &mut pool, 2), [3]);
        pool[0].latency = None;
        assert_eq!(judged(&RULE, &mut pool, 1), [0_usize; 0]);
    }

    #[test]
    fn one_spike_does_not_move_what_is_smoothed() {
        let mut latency = Latency::default();
        for _ in 0..3 {
            latency.record(Duration::from_millis(2));
            assert_eq!(latency.smoothed(), None);
        }
        for millis in [2, 2, 2, 400, 2, 2, 500] {
            latency.record(Duration::from_millis(millis));
            assert_eq!(latency.smoothed(), Some(Duration::from_millis(2)));
        }
        for _ in 0..5 {
            latency.record(Duration::from_millis(90));
        }
        assert_eq!(latency.smoothed(), Some(Duration::from_millis(90)));
    }

    #[test]
    fn the_reason_says_what_was_compared() {
        let found = judge(&RULE, &mut members(&[2, 3, 4, 90])).unwrap();
        assert_eq!(
            found.reason(Duration::from_millis(90)),
            "slow: checks take 90.0 ms, the 4 siblings' median is 3.5 ms (slow is above 53.5 ms)"
        );
    }

    fn any_member() -> impl Strategy<Value = Member> {
        let latency = proptest::option::weighted(0.9, 0_u64..2_000);
        let up = prop_oneof![8 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
        (latency, up, any::<bool>(), 0_u32..4).prop_map(|(millis, up, ejected, against)| Member {
            latency: millis.map(Duration::from_millis),
            up,
            standing: Standing { ejected, against },
        })
    }

    fn any_rule() -> impl Strategy<Value = LatencyRule> {
        (100_u32..1000, 0_u64..200, 0_u32..101, 0_u32..10, 0_u32..4).prop_map(
            |(ratio, ms, percent, least, times)| LatencyRule {
                ratio_percent: ratio,
                minimum_difference: Duration::from_millis(ms),
                max_ejected_percent: percent,
                minimum_siblings: least,
                consecutive: times,
            },
        )
    }

    proptest! {
        #[test]
        fn ejected_and_down_are_never_more_than_the_limit(
            mut pool in proptest::collection::vec(any_member(), 0..40), rule in any_rule(),
        ) {
            judge(&rule, &mut pool);
            let ejected = pool.iter().filter(|it| it.standing.ejected).count();
            let down = pool.iter().filter(|it| it.up == Some(false)).count();
            prop_assert!(ejected == 0 || (ejected + down) * 100 <= pool.len() * rule.max_ejected_percent as usize);
            prop_assert!(pool.iter().all(|it| !it.standing.ejected || compared(it).is_some()));
        }

        #[test]
        fn the_faster_half_is_never_ejected(
            mut pool in proptest::collection::vec(any_member(), 0..40), rule in any_rule(), times in 1_u32..6,
        ) {
            for it in &mut pool {
                it.standing = Standing::default();
            }
            for _ in 0..times {
                if let Some(baseline) = judge(&rule, &mut pool) {
                    for it in pool.iter().filter(|it| it.standing.ejected) {
                        prop_assert!(it.latency.unwrap() > baseline.median);
                    }
                }
            }
        }

        #[test]
        fn what_slows_all_alike_ejects_nobody(
            base in 0_u64..100, more in 0_u64..5_000, noise in proptest::collection::vec(0_u64..50, 4..40),
        ) {
            let millis: Vec<u64> = noise.iter().map(|noise| base + more + noise).collect();
            prop_assert_eq!(judged(&RULE, &mut members(&millis), 5), Vec::<usize>::new());
        }

        #[test]
        fn the_order_of_siblings_means_nothing(
            millis in proptest::collection::btree_set(0_u64..2_000, 0..30), turn in 0_usize..30,
        ) {
            let there: Vec<u64> = millis.into_iter().collect();
            let mut turned = there.clone();
            turned.rotate_left(turn.min(there.len()));
            let slow = |millis: &[u64]| {
                let mut slow: Vec<u64> =
                    judged(&RULE, &mut members(millis), 3).into_iter().map(|index| millis[index]).collect();
                slow.sort_unstable();
                slow
            };
            prop_assert_eq!(slow(&there), slow(&turned));
        }
    }
}
