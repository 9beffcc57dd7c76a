//! The agent as a gateway's Envoy knows it: one address, or the replicas'.
//!
//! A gateway keeps to one replica, drawn by its own id: about the same number of gateways comes to each, and what a gateway's
//! streams (ADS, load, counters, peer links) tell and hear is of one piece. The others stand by, in turn of the list. A replica
//! whose connection fails is ejected at once, so the next try goes to another; one that is frozen after its keepalive. Streams
//! that have moved stay where they are until they end.

use crate::agent_cluster::AgentAddress;
use serde_json::{Value, json};

/// When a replica is passed over. One alone is never.
pub(crate) fn ejection(agents: &[AgentAddress]) -> Option<Value> {
    (agents.len() > 1).then(|| {
        json!({
            // One failed connection, reset stream or UNAVAILABLE: there is another replica to ask.
            "consecutive_5xx": 1,
            "interval": "1s",
            // Longer for one that fails again and again.
            "base_ejection_time": "5s",
            "max_ejection_time": "60s",
            // Somebody is always left to ask.
            "max_ejection_percent": 50,
        })
    })
}

/// Each replica is a priority of its own, the gateway's own one first.
pub(crate) fn endpoints(agents: &[AgentAddress], node_id: &str) -> Vec<Value> {
    let first = own(agents.len(), node_id);
    let turned = agents.iter().cycle().skip(first).take(agents.len());
    let endpoint = |(priority, agent): (usize, &AgentAddress)| {
        let lb_endpoints = json!([{ "endpoint": { "address": agent.to_json() } }]);
        match priority {
            0 => json!({ "lb_endpoints": lb_endpoints }),
            _ => json!({ "priority": priority, "lb_endpoints": lb_endpoints }),
        }
    };
    turned.enumerate().map(endpoint).collect()
}

/// Which of so many replicas a gateway keeps to: FNV-1a of its id, with its high bits folded in, as ids differ in their last
/// character and a plain remainder would follow that one bit.
fn own(count: usize, node_id: &str) -> usize {
    let hash = node_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 32)) % (count.max(1) as u64);
    usize::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents(count: u16) -> Vec<AgentAddress> {
        (0..count).map(|n| AgentAddress::Tcp(([127, 0, 0, 1], 18_000 + n).into())).collect()
    }

    #[test]
    fn gateways_spread_over_the_replicas_by_their_ids() {
        for count in [2, 3] {
            let mut of = vec![0; count];
            for n in 0..300 {
                of[own(count, &format!("shop/edge@us-east-1a:{n}"))] += 1;
            }
            let fair = 300 / count;
            assert!(of.iter().all(|it| (fair - fair / 4..=fair + fair / 4).contains(it)), "{of:?}");
        }
    }

    #[test]
    fn each_replica_is_asked_in_turn_and_one_alone_is_never_ejected() {
        let endpoints = endpoints(&agents(3), "x");
        let port = |it: &Value| {
            it["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"].as_u64()
        };
        let mut ports: Vec<u64> = endpoints.iter().filter_map(port).collect();
        let priorities: Vec<u64> = endpoints.iter().map(|it| it["priority"].as_u64().unwrap_or(0)).collect();
        assert_eq!(priorities, [0, 1, 2]);
        ports.sort_unstable();
        assert_eq!(ports, [18_000, 18_001, 18_002]);
        assert!(ejection(&agents(3)).is_some());
        assert!(ejection(&agents(1)).is_none());
    }
}
