//! The hub of a fleet: started first, because whoever joins needs a token of it, and never needed again.

use super::{Fleet, FleetError, PolicySpec, manifests, start::failed};
use crate::{
    fetch,
    process::{Child, ChildSpec},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_model::ClusterName;
use tokio::sync::Mutex;

/// How long the hub may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(30);
/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A running hub.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) child: Mutex<Child>,
    admin: SocketAddr,
    policies: PathBuf,
    pub(super) reach: manifests::Reach,
}

/// What a hub is started with.
pub(super) struct HubStart<'a> {
    pub(super) tidegate: &'a Path,
    /// The fleet's folder.
    pub(super) files: &'a Path,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) reach: manifests::Reach,
}

impl Hub {
    pub(super) fn start(start: HubStart<'_>, spec: &super::FleetSpec) -> Result<Self, FleetError> {
        let HubStart { tidegate, files, listen, admin, reach } = start;
        let (policies, state) = (files.join("hub").join("policy"), files.join("hub").join("state"));
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&policies)?;
            fs::create_dir_all(&state)?;
            for (name, text) in manifests::hub_files(spec, &reach).map_err(std::io::Error::other)? {
                fs::write(policies.join(name), text)?;
            }
            Ok(())
        };
        write().map_err(failed(&format!("cannot write the policy in {}", policies.display())))?;
        let (listen, at) = (listen.to_string(), admin.to_string());
        let args = ["hub", "--listen", &listen, "--admin", &at, "--exit-with-stdin", "--policies"];
        let args = args.map(Into::into).into_iter();
        let args = args.chain([policies.clone().into(), "--state-dir".into(), state.into()]);
        let child = Child::start(ChildSpec {
            name: "hub".to_owned(),
            program: tidegate.to_owned(),
            args: args.collect(),
            log_dir: files.join("logs"),
        })?;
        Ok(Self { child: Mutex::new(child), admin, policies, reach })
    }

    /// A token for each of these clusters, once the hub gives them.
    pub(super) async fn tokens(
        &self,
        clusters: impl Iterator<Item = &ClusterName>,
    ) -> Result<BTreeMap<ClusterName, String>, FleetError> {
        let mut tokens = BTreeMap::new();
        for cluster in clusters {
            let path = format!("/api/v1/tokens?cluster={cluster}&ttl_s=3600");
            let end = tokio::time::Instant::now() + START_LIMIT;
            let token = loop {
                match fetch::post_json(self.admin, &path, ANSWER_LIMIT).await {
                    Ok(made) => break made["token"].as_str().unwrap_or_default().to_owned(),
                    Err(error) if tokio::time::Instant::now() >= end => return Err(error.into()),
                    Err(_) => self.child.lock().await.check()?,
                }
                tokio::time::sleep(PAUSE).await;
            };
            tokens.insert(cluster.clone(), token);
        }
        Ok(tokens)
    }
}

/// How far the fleet's policy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The sequence with which it became what it is.
    pub since: u64,
    /// The clusters that have not applied it, or have a gateway that has not.
    pub waits_for: Vec<ClusterName>,
}

impl Fleet {
    /// The hub's admin address, if there is a hub.
    #[must_use]
    pub fn hub_admin(&self) -> Option<SocketAddr> {
        self.hub.as_ref().map(|hub| hub.admin)
    }

    /// What the hub answers to a question.
    pub async fn ask_hub(&self, path: &str) -> Result<Value, FleetError> {
        Ok(fetch::get_json(self.the_hub()?.admin, path, ANSWER_LIMIT).await?)
    }

    /// Changes the policy in the hub's folder, as a person does with an editor.
    pub fn change_policy(&self, policy: PolicySpec) -> Result<(), FleetError> {
        let hub = self.the_hub()?;
        let changed = super::FleetSpec { policy, ..self.spec.clone() };
        let write = || -> std::io::Result<()> {
            let files = manifests::hub_files(&changed, &hub.reach).map_err(std::io::Error::other)?;
            // In one step: nobody reads half a policy.
            let new = hub.policies.with_extension("new");
            fs::write(&new, &files["policy.yaml"])?;
            fs::rename(new, hub.policies.join("policy.yaml"))
        };
        write().map_err(failed(&format!("cannot change the policy in {}", hub.policies.display())))
    }

    /// How far the fleet's policy is, as the hub knows it.
    pub async fn rollout(&self) -> Result<Rollout, FleetError> {
        let rollout = self.ask_hub("/api/v1/rollout").await?;
        let name = format!("FailoverPolicy {}/fleet", manifests::INFRA);
        let mut objects = rollout["objects"].as_array().into_iter().flatten();
        let policy = objects.find(|it| it["object"] == name.as_str()).unwrap_or(&Value::Null);
        let clusters = policy["clusters"].as_array().into_iter().flatten();
        let has_it = |it: &&Value| it["state"]["is"] == "applied" && it["gatewaysApplied"] == it["gateways"];
        let have_it: Vec<&str> = clusters.filter(has_it).filter_map(|it| it["cluster"].as_str()).collect();
        let names = self.spec.clusters.iter().map(|it| &it.name);
        let waits_for = names.filter(|name| !have_it.contains(&name.as_str())).cloned().collect();
        Ok(Rollout { since: policy["since"].as_u64().unwrap_or(0), waits_for })
    }

    /// The clusters whose agents the hub does not hear.
    pub async fn not_connected(&self) -> Result<Vec<ClusterName>, FleetError> {
        let clusters = self.ask_hub("/api/v1/clusters").await?;
        let clusters = clusters.as_array().into_iter().flatten();
        let connected: Vec<&str> =
            clusters.filter(|it| it["connected"] == true).filter_map(|it| it["cluster"].as_str()).collect();
        let names = self.spec.clusters.iter().map(|it| &it.name);
        Ok(names.filter(|name| !connected.contains(&name.as_str())).cloned().collect())
    }

    pub(super) fn the_hub(&self) -> Result<&Hub, FleetError> {
        self.hub.as_ref().ok_or_else(|| FleetError::Unknown { what: "process", name: "hub".to_owned() })
    }
}
