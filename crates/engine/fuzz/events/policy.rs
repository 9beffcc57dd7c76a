//! Policies as absurd as the engine's own types allow: `api` refuses most of them long before.

use super::bytes::Bytes;
use std::collections::BTreeSet;
use tidegate_engine::{
    Capacity, Failback, FailbackMode, Load, OrderRule, Places, Policy, Proximity, Residency, Spread, Tier,
    Weights, WhenExhausted, Written,
};
use tidegate_model::Share;

impl Bytes<'_> {
    pub(crate) fn load(&mut self) -> Load {
        let rate = self.byte() < 200;
        let amount = self.amount();
        if rate { Load::Rate { rps: amount } } else { Load::Concurrency { requests: amount } }
    }

    /// The default, or one in which everything was written by somebody absurd.
    pub(crate) fn policy(&mut self) -> Policy {
        if self.byte() < 64 {
            return Policy::default();
        }
        Policy {
            failover: self.list(2, |bytes| {
                let (from, to) = (bytes.places(), bytes.list(4, Self::tier));
                Written::default_value(OrderRule { from, to })
            }),
            failover_threshold: Written::default_value(self.fraction()),
            minimum_healthy: Written::default_value(self.fraction()),
            partial_loss_delay: Written::default_value(self.duration()),
            residency: (self.byte() >= 192).then(|| Written::default_value(self.residency())),
            capacity: self.maybe(Self::capacity),
            failback: self.failback(),
            when_exhausted: Written::default_value(self.pick(&[WhenExhausted::Spread, WhenExhausted::Shed])),
            proximity: Written::default_value(self.pick(&[Proximity::Declared, Proximity::Measured])),
            dead_band: Share::new(u32::from(self.byte()) * 39).expect("at most 9945"),
            retention: self.duration(),
        }
    }

    fn failback(&mut self) -> Failback {
        Failback {
            mode: Written::default_value(self.pick(&[FailbackMode::Auto, FailbackMode::Manual])),
            hold_down: Written::default_value(self.duration()),
            max_hold_down: Written::default_value(self.duration()),
            quiet: self.duration(),
            // In any order, and not up to the whole.
            ramp_steps: Written::default_value(self.list(4, Self::fraction)),
            ramp_interval: Written::default_value(self.duration()),
            require_headroom: Written::default_value(self.flag()),
        }
    }

    fn capacity(&mut self) -> Capacity {
        Capacity {
            per_endpoint: Written::default_value(self.load()),
            target_utilization: Written::default_value(self.fraction()),
            spread: Written::default_value(self.pick(&[Spread::Waterfall, Spread::Spray])),
        }
    }

    fn residency(&mut self) -> Residency {
        Residency {
            regions: Some(self.list(2, Self::region).into_iter().collect()),
            clusters: self.maybe(|bytes| bytes.list(2, Self::cluster).into_iter().collect()),
        }
    }

    /// Of members that the tier may not have, and perhaps all zero.
    fn weights(&mut self) -> Weights {
        let weight = |bytes: &mut Self| u32::from(bytes.byte()) * 4_000;
        match self.below(3) {
            0 => Weights::Regions(self.list(3, |it| (it.region(), weight(it))).into_iter().collect()),
            1 => Weights::Zones(self.list(3, |it| (it.zone(), weight(it))).into_iter().collect()),
            _ => Weights::Clusters(self.list(3, |it| (it.cluster(), weight(it))).into_iter().collect()),
        }
    }

    fn tier(&mut self) -> Tier {
        match self.below(6) {
            0 => Tier::SameZone,
            1 => Tier::SameRegion,
            2 => Tier::Only(self.places()),
            3 => Tier::AnyExcept(self.places()),
            4 => Tier::Any,
            _ => Tier::Weighted(self.places(), self.weights()),
        }
    }

    fn places(&mut self) -> Places {
        Places {
            regions: self.list(2, Self::region).into_iter().collect(),
            zones: self.list(2, Self::zone).into_iter().collect(),
            clusters: self.list(2, Self::cluster).into_iter().collect::<BTreeSet<_>>(),
        }
    }
}
