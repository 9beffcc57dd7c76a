//! What an agent says of itself on its admin address, read leniently: what is absent or of another
//! shape is `None`, so that the lab can watch agents older and newer than itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Shares of a plan by target, in 1/10000.
pub type Shares = BTreeMap<String, u32>;

/// One entry of an agent's timeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentEvent {
    /// Its number in this life of the agent.
    pub seq: u64,
    /// When, in microseconds since 1970.
    pub unix_micros: u64,
    /// `endpointChanged`, `poolChanged`, `planChanged`, `peerChanged`, ...
    pub kind: String,
    /// The service, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// For a plan, where its requests enter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// For a plan, the shares before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Shares>,
    /// For a plan, the shares after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Shares>,
    /// For an endpoint or a pool, its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// For a pool, its phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// For a peer, the other cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// For an endpoint or a peer, its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A pool, from an agent's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolView {
    /// The service.
    pub service: String,
    /// The cluster.
    pub cluster: String,
    /// The zone.
    pub zone: String,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// Endpoints that should be there.
    pub expected: u32,
    /// The part of its normal load that it is given, 0 to 1.
    pub admit: f64,
    /// Where it stands.
    pub phase: String,
    /// What remains of its hold-down.
    pub hold_remaining_ms: u64,
    /// Whether the agent's cluster reaches it.
    pub reachable: bool,
    /// The part of `admit` that the cluster's reach allows, 0 to 1.
    pub reach: f64,
}

/// A plan, from an agent's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanView {
    /// The service.
    pub service: String,
    /// Where its requests enter.
    pub source: String,
    /// Who serves.
    pub shares: Shares,
}

/// The entries of a timeline; an entry of another shape is left out.
#[must_use]
pub fn events(answer: &Value) -> Vec<AgentEvent> {
    entries(answer)
}

/// The pools of a status.
#[must_use]
pub fn pools(status: &Value) -> Vec<PoolView> {
    entries(&status["pools"])
}

/// The plans of a status.
#[must_use]
pub fn plans(status: &Value) -> Vec<PlanView> {
    entries(&status["plans"])
}

fn entries<'a, T: Deserialize<'a>>(list: &'a Value) -> Vec<T> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|entry| T::deserialize(entry).ok()).collect()
}

/// The part of a plan that is still where it was: the sum, over targets, of what they had and still
/// have. In 1/10000; 10000 while nothing moved.
#[must_use]
pub fn home_share(home: &Shares, now: &Shares) -> u32 {
    home.iter().map(|(target, share)| *share.min(now.get(target).unwrap_or(&0))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_timeline_is_read_leniently() {
        let answer = json!([
            {"seq": 7, "unixMicros": 5, "kind": "planChanged", "service": "shop/web", "source": "us-east/us-east-1a",
             "before": {"zone us-east-1a": 10000}, "after": {"zone us-east-1b": 10000}, "new": {"in": "2027"}},
            {"seq": 8, "kind": "peerChanged", "peer": "us-east", "state": "Unreachable"},
            "nonsense",
        ]);
        let events = events(&answer);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].after.as_ref().unwrap()["zone us-east-1b"], 10_000);
        assert_eq!((events[1].seq, events[1].state.as_deref()), (8, Some("Unreachable")));
    }

    #[test]
    fn the_home_share_is_what_stayed() {
        let shares = |list: &[(&str, u32)]| {
            list.iter().map(|(to, share)| ((*to).to_owned(), *share)).collect::<Shares>()
        };
        let home = shares(&[("zone a", 7000), ("zone b", 3000)]);
        assert_eq!(home_share(&home, &home), 10_000);
        assert_eq!(home_share(&home, &shares(&[("zone b", 10_000)])), 3000);
        assert_eq!(home_share(&home, &shares(&[("cluster c", 10_000)])), 0);
    }
}
