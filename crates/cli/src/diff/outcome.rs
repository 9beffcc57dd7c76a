//! What would become of a service by a loss, in a few words that can be compared.

use std::collections::BTreeMap;
use tidegate_engine::{Contingency, Fate, Location, ServiceOutcome};
use tidegate_model::ServiceName;

/// The whole, in parts per million.
const MILLION: u64 = 1_000_000;

/// What becomes of a service by one loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether somebody is served by nothing healthy.
    pub(super) stranded: bool,
    /// In words.
    pub(super) words: String,
}

impl Outcome {
    /// The words without where rules are written: lines move with every edit.
    pub(super) fn essence(&self) -> String {
        without_places(&self.words)
    }
}

/// A text without what is in brackets: the place of a rule, and nothing else.
pub(super) fn without_places(text: &str) -> String {
    let mut depth = 0_u32;
    let keep = |letter: &char| {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    };
    text.chars().filter(keep).collect()
}

/// The outcomes of all losses, by place and service. Services that a loss does not touch are left out.
pub(super) fn all(contingencies: &[Contingency]) -> BTreeMap<(Location, ServiceName), Outcome> {
    let mut outcomes = BTreeMap::new();
    for contingency in contingencies {
        let [location] = contingency.lost.as_slice() else { continue };
        for service in contingency.services.iter().filter(|it| it.fate != Fate::Untouched) {
            let outcome = of(contingency, service);
            outcomes.insert((location.clone(), service.service.clone()), outcome);
        }
    }
    outcomes
}

fn of(contingency: &Contingency, service: &ServiceOutcome) -> Outcome {
    let stranded = matches!(service.fate, Fate::Stranded | Fate::DownBefore);
    let mut words = Vec::new();
    match service.fate {
        Fate::Stranded => {
            let mut whys: Vec<(String, Vec<String>)> = Vec::new();
            for it in contingency.stranded.iter().filter(|it| it.service == service.service) {
                let (why, from) = (it.why.to_string(), it.source.as_ref().map(ToString::to_string));
                match whys.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, sources)) => sources.extend(from),
                    None => whys.push((why, from.into_iter().collect())),
                }
            }
            let from = |(why, sources): &(String, Vec<String>)| match sources.is_empty() {
                true => why.clone(),
                false => format!("from {}: {why}", sources.join(", ")),
            };
            words.push(format!("stranded ({})", whys.iter().map(from).collect::<Vec<_>>().join("; ")));
        }
        Fate::DownBefore => words.push("down already".to_owned()),
        Fate::FailsOver | Fate::Untouched => {}
    }
    let left = || service.pools.iter().filter(|pool| !pool.lost);
    if let Some(part) = left().filter_map(|pool| pool.utilization_after).max() {
        words.push(format!("{} utilisation", percent(part)));
    } else if let Some(factor) = left().filter_map(|pool| pool.factor).max().filter(|factor| *factor > 0) {
        let hundredths = (u128::from(factor) + 5_000) / 10_000;
        words.push(format!("up to {}.{:02}x the load", hundredths / 100, hundredths % 100));
    }
    if service.shed > 0 {
        let demand: u64 = service.sources.iter().map(|source| source.demand_after).sum();
        let part = u128::from(service.shed) * u128::from(MILLION) / u128::from(demand.max(1));
        words.push(format!("sheds {}", percent(u64::try_from(part).unwrap_or(MILLION))));
    }
    if !stranded && service.sources.iter().any(|source| source.last_resort) {
        words.push("by what is unhealthy".to_owned());
    }
    Outcome { stranded, words: if words.is_empty() { "fails over".to_owned() } else { words.join(", ") } }
}

/// Above a limit is never shown as at it.
fn percent(ppm: u64) -> String {
    match ppm {
        u64::MAX => "no capacity".to_owned(),
        ppm if ppm > MILLION => format!("{} %", ppm.div_ceil(10_000)),
        ppm if ppm < 10_000 && ppm > 0 => format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100),
        ppm => format!("{} %", ppm / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_moved_to_another_line_is_the_same_rule() {
        let at = |line: u32| {
            format!("residency forbids zone b [FailoverPolicy shop/web at p.yaml:{line}], sheds 5 %")
        };
        assert_eq!(without_places(&at(7)), without_places(&at(8)));
        assert_eq!(without_places("a] b [c [d] e] f"), "a b  f");
    }

    #[test]
    fn what_is_above_a_limit_is_never_shown_as_at_it() {
        let shown = [800_000, 1_000_000, 1_000_001, 1_039_999, 400, 0].map(percent);
        assert_eq!(shown, ["80 %", "100 %", "101 %", "104 %", "0.04 %", "0 %"]);
    }
}
