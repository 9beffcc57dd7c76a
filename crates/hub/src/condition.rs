//! How a cluster is, as far as a rollout asks: enough to say that it was better before. Pure.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_link::hub::proto;
use tidegate_model::Phase;

/// The most names that are kept in one set: beyond that nobody compares them one by one.
pub(crate) const MAX_NAMES: usize = 1_000;
/// All of something, in parts per million.
const WHOLE: u64 = 1_000_000;

/// What is kept of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolState {
    /// Whether it is given its whole load, or has none to be given.
    pub(crate) serving: bool,
    pub(crate) expected: u32,
    pub(crate) healthy: u32,
    /// As a rollout counts it.
    admit_ppm: u32,
    /// As the agent told it.
    pub(crate) told_ppm: u32,
    /// Where it stands; nothing if the agent has a word for it that is not known here.
    pub(crate) phase: Option<Phase>,
}

impl PoolState {
    pub(crate) fn of(pool: &proto::Pool) -> Self {
        let serving = pool.phase == "Serving" || pool.phase == "Empty";
        // What an operator moved away on purpose is no loss.
        let admit_ppm = if pool.phase == "Shifted" { 1_000_000 } else { pool.admit_ppm.min(1_000_000) };
        Self {
            serving,
            expected: pool.expected,
            healthy: pool.healthy.min(pool.expected),
            admit_ppm,
            told_ppm: pool.admit_ppm.min(1_000_000),
            phase: serde_json::from_value(pool.phase.as_str().into()).ok(),
        }
    }
}

/// How a cluster is at one moment. Shares are over all its pools, weighted by the endpoints that should be there, so that a
/// service that grows or shrinks on purpose changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// The share of healthy endpoints, in parts per million.
    pub(crate) healthy_ppm: u64,
    /// The share of the normal load that pools are given, in parts per million.
    pub(crate) admit_ppm: u64,
    /// Services that should have endpoints and have no healthy one.
    pub(crate) dark: BTreeSet<String>,
    /// Gateways that refuse something.
    pub(crate) refusing: BTreeSet<String>,
    /// Objects that it does not take.
    pub(crate) rejected: BTreeSet<String>,
}

impl Condition {
    /// Of pools by service and zone; gateways and objects are the caller's to add.
    pub(crate) fn of(pools: &BTreeMap<(String, String), PoolState>) -> Self {
        let (mut expected, mut healthy, mut admitted) = (0_u64, 0_u64, 0_u64);
        let mut services: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((service, _), pool) in pools {
            let endpoints = u64::from(pool.expected);
            expected += endpoints;
            healthy += u64::from(pool.healthy);
            admitted += endpoints * u64::from(pool.admit_ppm);
            let of = services.entry(service).or_default();
            *of = (of.0 + endpoints, of.1 + u64::from(pool.healthy));
        }
        let dark = services.iter().filter(|(_, (expected, healthy))| *expected > 0 && *healthy == 0);
        let share = |part: u64| part.checked_div(expected).unwrap_or(WHOLE);
        Self {
            healthy_ppm: share(healthy * WHOLE),
            admit_ppm: share(admitted),
            dark: dark.take(MAX_NAMES).map(|(service, _)| (*service).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// What is worse than it was, if anything is by more than `loss_ppm` of its endpoints.
    pub(crate) fn worse_than(&self, before: &Self, loss_ppm: u64) -> Option<String> {
        if before.dark.len() < MAX_NAMES
            && let Some(service) = self.dark.difference(&before.dark).next()
        {
            return Some(format!("{service} has no healthy endpoint there any more"));
        }
        let fell = |what: &str, before: u64, now: u64| {
            let percent = |ppm: u64| format!("{}.{} %", ppm / 10_000, ppm / 1000 % 10);
            (before.saturating_sub(now) > loss_ppm)
                .then(|| format!("{what} fell from {} to {}", percent(before), percent(now)))
        };
        fell("the share of healthy endpoints", before.healthy_ppm, self.healthy_ppm)
            .or_else(|| fell("the load that its pools are given", before.admit_ppm, self.admit_ppm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(expected: u32, healthy: u32, phase: &str) -> PoolState {
        let phase = phase.to_owned();
        PoolState::of(&proto::Pool {
            expected,
            healthy,
            admit_ppm: healthy * 1_000_000 / expected.max(1),
            phase,
            ..Default::default()
        })
    }

    fn of(pools: &[(&str, PoolState)]) -> Condition {
        let pools = pools.iter().map(|(service, pool)| (((*service).to_owned(), "z".to_owned()), *pool));
        Condition::of(&pools.collect())
    }

    #[test]
    fn a_loss_is_told_and_growth_shrinking_and_shifts_are_none() {
        let before = of(&[("a", pool(10, 10, "Serving")), ("b", pool(10, 10, "Serving"))]);
        let worse = |pools: &[(&str, PoolState)]| of(pools).worse_than(&before, 50_000);
        assert_eq!(worse(&[("a", pool(30, 30, "Serving")), ("b", pool(2, 2, "Serving"))]), None);
        assert_eq!(
            worse(&[("a", pool(10, 9, "Reduced")), ("b", pool(10, 10, "Serving"))]),
            None,
            "exactly 5 %"
        );
        let why = worse(&[("a", pool(10, 8, "Reduced")), ("b", pool(10, 10, "Serving"))]).unwrap();
        assert_eq!(why, "the share of healthy endpoints fell from 100.0 % to 90.0 %");
        let why = worse(&[("a", pool(100, 100, "Serving")), ("b", pool(1, 0, "Out"))]).unwrap();
        assert_eq!(why, "b has no healthy endpoint there any more");
        let mut shifted = pool(10, 10, "Serving");
        shifted.admit_ppm = 0;
        let why = worse(&[("a", shifted), ("b", pool(10, 10, "Serving"))]).unwrap();
        assert!(why.starts_with("the load that its pools are given fell from 100.0 % to 50.0 %"), "{why}");
        let on_purpose = PoolState::of(&proto::Pool {
            expected: 10,
            healthy: 10,
            phase: "Shifted".to_owned(),
            ..Default::default()
        });
        assert_eq!(worse(&[("a", on_purpose), ("b", pool(10, 10, "Serving"))]), None);
        assert_eq!(of(&[]).worse_than(&before, 50_000), None, "no endpoints are expected any more");
    }
}
