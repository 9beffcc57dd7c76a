//! `FailoverProfile`: what holds for the whole fleet. A policy may change its `defaults` and may not change its
//! `overrides`, as policy attachment of the Gateway API (GEP-713) has it.

use super::{
    places::Mentions,
    policy_fields::{self, NESTED, PolicyFields},
};
use crate::fields::{Fields, Issues};

/// Fields that people look for right below `spec`: they belong to one of the halves.
const LEVELLED: [&str; 13] = [
    "defaults.failover",
    "defaults.failoverThreshold",
    "defaults.minimumHealthy",
    "defaults.failoverDelay",
    "defaults.residency",
    "defaults.capacity",
    "defaults.spread",
    "defaults.healthCheck",
    "defaults.failback",
    "defaults.drain",
    "defaults.retry",
    "defaults.whenExhausted",
    "defaults.proximity",
];

/// What a `FailoverProfile` says.
#[derive(Debug, PartialEq)]
pub(crate) struct ProfileSpec {
    pub(crate) defaults: PolicyFields,
    pub(crate) overrides: PolicyFields,
    /// The places that it names.
    pub(crate) mentions: Mentions,
}

pub(super) fn read(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<ProfileSpec> {
    const HINT: &str =
        "write under `defaults:` what policies may change, and under `overrides:` what they may not";

    let mut spec = fields.required_map("spec", HINT, issues)?;
    let mut mentions = Vec::new();
    if let Some(at) = spec.stray("targetRefs") {
        let hint = "remove it, or write a FailoverPolicy";
        issues.error(at, "a FailoverProfile is for the whole fleet and has no targetRefs", hint);
    }
    let mut half = |name| {
        let mut half = spec.map(name, issues)?;
        let fields = policy_fields::read(&mut half, &mut mentions, issues);
        half.finish_knowing(&NESTED, issues);
        Some(fields)
    };
    let (defaults, overrides) = (half("defaults"), half("overrides"));
    if spec.node("defaults").is_none() && spec.node("overrides").is_none() {
        issues.error(spec.at, "spec has neither defaults nor overrides", HINT);
    }
    spec.finish_knowing(&LEVELLED, issues);
    let (defaults, overrides) = (defaults.unwrap_or_default(), overrides.unwrap_or_default());
    for ((name, default), (_, by)) in defaults.places().into_iter().zip(overrides.places()) {
        if let (Some(default), Some(by)) = (default, by) {
            let message = format!("spec.defaults.{name} never applies: line {} overrides it", by.line);
            issues.warn(default, message, "remove one of them");
        }
    }
    Some(ProfileSpec { defaults, overrides, mentions })
}
