//! When a fleet that starts is ready: whole, and warm.
//!
//! An agent is ready as soon as it has something to say, maybe with one of three peers heard. Its plans change then as the others come,
//! each time to gateways with which its Envoys have no connections yet. A load that begins just then measures the start, not the
//! fleet: on a machine without time to spare each request makes a connection of its own, with mutual TLS, which takes the
//! time of the next ones. So a fleet is ready when all agents hear each other and a few requests at once are all answered.

use super::{ADMIN_LIMIT, Cluster, EdgeAddresses, Fleet, FleetError, hostname};
use crate::fetch;
use serde_json::Value;
use std::time::Duration;
use tidegate_model::ClusterName;

/// How long a service may take to answer while the fleet starts.
const FIRST_ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// From one look to the next while the fleet starts.
const PAUSE: Duration = Duration::from_millis(50);
/// Requests for each service at once. Two hundred a second, which take 100 ms with the way to another region, are twenty in
/// progress; the lab's fleets have three services.
const AT_ONCE: usize = 8;

impl Fleet {
    /// Waits until every agent is ready and hears all of its peers, and every edge serves every service, several
    /// requests at once; fails at once when a child ends, and after `limit` with what is still missing. The folder is kept then.
    pub async fn ready(&mut self, limit: Duration) -> Result<(), FleetError> {
        let mut missing = vec!["the first answer".to_owned()];
        let waited = tokio::time::timeout(limit, async {
            while !missing.is_empty() {
                missing = self.waiting_for().await?;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        })
        .await;
        let failure = match waited {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => FleetError::NotReady { limit, waiting_for: missing, logs: self.files().join("logs") },
        };
        self.keep_files();
        Err(failure)
    }

    /// What is still missing, by name; fails when a child has ended. Edges are asked once all agents have what they want.
    async fn waiting_for(&self) -> Result<Vec<String>, FleetError> {
        let mut missing = Vec::new();
        for (name, cluster) in &self.clusters {
            for child in cluster.children() {
                child.lock().await.check()?;
            }
            missing.extend(agent_waits(name, cluster).await);
        }
        if !missing.is_empty() {
            return Ok(missing);
        }
        for (name, cluster) in &self.clusters {
            if let Some(edge) = cluster.addresses.edge {
                missing.extend(self.unserved(name, edge).await);
            }
        }
        Ok(missing)
    }

    /// The services that an edge does not serve.
    async fn unserved(&self, name: &ClusterName, edge: EdgeAddresses) -> Vec<String> {
        let ask = |service| async move {
            let host = hostname(service);
            let one = || fetch::get(edge.access, Some(&host), "/", FIRST_ANSWER_LIMIT);
            let answers = futures::future::join_all((0..AT_ONCE).map(|_| one())).await;
            answers.into_iter().find_map(|answer| match answer {
                Ok((status, _)) if status.is_success() => None,
                Ok((status, _)) => Some(format!("{service} at the edge of {name} ({status})")),
                Err(error) => Some(format!("{service} at the edge of {name} ({error})")),
            })
        };
        futures::future::join_all(self.spec.services.iter().map(ask)).await.into_iter().flatten().collect()
    }
}

/// What an agent waits for, if it does.
async fn agent_waits(name: &ClusterName, cluster: &Cluster) -> Option<String> {
    let admin = cluster.addresses.agent_admin;
    match fetch::get(admin, None, "/readyz", ADMIN_LIMIT).await {
        Ok((status, _)) if status.is_success() => {}
        Ok((status, body)) => {
            let text = String::from_utf8_lossy(&body);
            return Some(format!("agent of {name} ({status} {})", text.trim()));
        }
        Err(error) => return Some(format!("agent of {name} ({error})")),
    }
    match fetch::get_json(admin, "/api/v1/status", ADMIN_LIMIT).await {
        Ok(status) => {
            let unheard = unheard(&status);
            (!unheard.is_empty()).then(|| format!("agent of {name} to hear {}", unheard.join(", ")))
        }
        Err(error) => Some(format!("agent of {name} ({error})")),
    }
}

/// The peers that an agent does not reach, by its status.
fn unheard(status: &Value) -> Vec<&str> {
    let peers = status["peers"].as_array().into_iter().flatten();
    peers.filter(|peer| peer["state"] != "Reachable").filter_map(|peer| peer["cluster"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn peers_that_are_not_reached_are_named() {
        let peer = |cluster, state| json!({"cluster": cluster, "state": state, "links": []});
        let status =
            json!({"peers": [peer("a", "Reachable"), peer("b", "Unheard"), peer("c", "Unreachable")]});
        assert_eq!(unheard(&status), ["b", "c"]);
        assert!(unheard(&json!({"peers": []})).is_empty(), "a cluster that stands alone hears all of them");
    }
}
