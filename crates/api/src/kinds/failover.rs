//! `failover`: which tiers serve which callers, in which order.

use super::{
    MAX_ENTRIES,
    places::{self, Mentions, Selector},
    weights,
};
use crate::{
    fields::{Field, Fields, Issues},
    read,
};
use tidegate_engine::{Tier, Weights};

/// A rule whose labels are not resolved yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawRule {
    pub(crate) from: Selector,
    pub(crate) to: Vec<RawTier>,
}

/// A tier whose labels are not resolved yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawTier {
    /// One that names nothing.
    Plain(Tier),
    Only(Selector, Option<Weights>),
    AnyExcept(Selector),
}

pub(super) fn read(
    spec: &mut Fields<'_>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> Option<Field<Vec<Field<RawRule>>>> {
    let list_at = spec.node("failover")?.at;
    let mut rules: Vec<Field<RawRule>> = Vec::new();
    for mut rule in spec.maps_up_to(MAX_ENTRIES, "failover", issues) {
        let at = rule.at;
        if let Some(catch_all) = rules.iter().find(|rule| rule.value.from.is_empty()) {
            let message =
                format!("the rule never applies: the one at line {} takes all callers", catch_all.at.line);
            issues.warn(
                at,
                message,
                "the first rule whose `from` matches the caller applies; put this one before",
            );
        }
        let from = rule.map("from", issues).map(|mut from| {
            let places = places::read(&mut from, mentions, issues);
            from.finish(issues);
            places
        });
        let hint =
            "list the tiers in order, for example `to: [{type: SameZone}, {type: SameRegion}, {type: Any}]`";
        let has_to = rule.required("to", hint, issues).is_some();
        let entries = rule.maps_up_to(MAX_ENTRIES, "to", issues);
        let count = entries.len();
        let to: Vec<RawTier> =
            entries.into_iter().filter_map(|tier| read_tier(tier, mentions, issues)).collect();
        if has_to && count == 0 {
            issues.error(
                rule.key_at("to"),
                "the rule has no tiers, so its callers would have no service",
                hint,
            );
        }
        rule.finish(issues);
        rules.push(Field { value: RawRule { from: from.unwrap_or_default(), to }, at });
    }
    Some(Field { value: rules, at: list_at })
}

fn read_tier(mut tier: Fields<'_>, mentions: &mut Mentions, issues: &mut Issues) -> Option<RawTier> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum TierType {
        SameZone,
        SameRegion,
        Only,
        AnyExcept,
        Any,
    }
    const TYPES: &[(&str, TierType)] = &[
        ("SameZone", TierType::SameZone),
        ("SameRegion", TierType::SameRegion),
        ("Only", TierType::Only),
        ("AnyExcept", TierType::AnyExcept),
        ("Any", TierType::Any),
    ];

    let hint = "SameZone, SameRegion, Only, AnyExcept or Any";
    let written = tier.required_value("type", hint, issues, read::word(TYPES));
    let places = places::read(&mut tier, mentions, issues);
    let only = written.as_ref().is_none_or(|written| written.value == TierType::Only);
    let weights = if only {
        weights::read(&mut tier, &places.places, issues)
    } else {
        if tier.node("weights").is_some() {
            let hint = "name the members: `{type: Only, clusters: [a, b], weights: {a: 90, b: 10}}`";
            issues.error(tier.key_at("weights"), "only a tier of type Only takes weights", hint);
        }
        None
    };
    let at = tier.at;
    tier.finish(issues);
    let named = matches!(written.as_ref()?.value, TierType::Only | TierType::AnyExcept);
    let empty = places.is_empty();
    if named && empty {
        let hint = "name at least one of regions, zones, clusters or matchLabels";
        issues.error(at, "a tier of type Only or AnyExcept needs places", hint);
    } else if !named && !empty {
        let hint = "remove regions, zones, clusters and matchLabels, or use type Only or AnyExcept";
        issues.error(at, "a tier of this type takes no places", hint);
    }
    Some(match written?.value {
        TierType::SameZone => RawTier::Plain(Tier::SameZone),
        TierType::SameRegion => RawTier::Plain(Tier::SameRegion),
        TierType::Only => RawTier::Only(places, weights),
        TierType::AnyExcept => RawTier::AnyExcept(places),
        TierType::Any => RawTier::Plain(Tier::Any),
    })
}
