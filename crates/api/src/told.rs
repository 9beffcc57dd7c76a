//! The policy in force as sentences: what applies, and who said so.

use crate::{config::ServicePolicy, duration};
use std::fmt::Display;
use tidegate_engine::{Policy, Written};

impl ServicePolicy {
    /// What the engine decides by, one field a line, by the name that the field has in a `FailoverPolicy`:
    /// `failback.holdDown 2m, by override of FailoverProfile fleet at fleet.yaml:7`.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let Policy { failover, residency, capacity, failback, .. } = &self.engine;
        let mut lines = Vec::new();
        for (position, rule) in failover.iter().enumerate() {
            lines.push(format!("failover[{position}], by {}", rule.origin));
        }
        if failover.is_empty() {
            lines.push("failover SameZone, SameRegion, Any, by default".to_owned());
        }
        let mut say = |name: &str, value: &dyn Display, origin: &dyn Display| {
            lines.push(format!("{name} {value}, by {origin}"));
        };
        let engine = &self.engine;
        say("failoverThreshold", &engine.failover_threshold.value, &engine.failover_threshold.origin);
        say("minimumHealthy", &engine.minimum_healthy.value, &engine.minimum_healthy.origin);
        let delay = &engine.partial_loss_delay;
        say("failoverDelay.partialLoss", &duration::text(delay.value), &delay.origin);
        if let Some(Written { value, origin }) = residency {
            let regions = value.regions.iter().flatten().map(|region| format!("region {region}"));
            let clusters = value.clusters.iter().flatten().map(|cluster| format!("cluster {cluster}"));
            let names: Vec<String> = regions.chain(clusters).collect();
            let names = if names.is_empty() { "nowhere".to_owned() } else { names.join(", ") };
            say("residency", &names, origin);
        }
        if let Some(capacity) = capacity {
            say("capacity", &capacity.per_endpoint.value, &capacity.per_endpoint.origin);
            let target = &capacity.target_utilization;
            say("capacity.targetUtilization", &target.value, &target.origin);
            say("spread", &format!("{:?}", capacity.spread.value), &capacity.spread.origin);
        }
        say("failback.mode", &format!("{:?}", failback.mode.value), &failback.mode.origin);
        say("failback.holdDown", &duration::text(failback.hold_down.value), &failback.hold_down.origin);
        let most = &failback.max_hold_down;
        say("failback.maxHoldDown", &duration::text(most.value), &most.origin);
        let steps: Vec<String> = failback.ramp_steps.value.iter().map(ToString::to_string).collect();
        say("failback.ramp.steps", &steps.join(", "), &failback.ramp_steps.origin);
        let interval = &failback.ramp_interval;
        say("failback.ramp.interval", &duration::text(interval.value), &interval.origin);
        say("failback.requireHeadroom", &failback.require_headroom.value, &failback.require_headroom.origin);
        let exhausted = &engine.when_exhausted;
        say("whenExhausted", &format!("{:?}", exhausted.value), &exhausted.origin);
        say("proximity.by", &format!("{:?}", engine.proximity.value), &engine.proximity.origin);
        lines
    }
}
