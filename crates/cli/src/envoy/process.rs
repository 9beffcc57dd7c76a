//! What a gateway's Envoy is started with, as its `GatewayTemplate` says it.
//!
//! It is read from manifests and not asked of the agent: an Envoy has to start while its agent is away, and starts with the
//! limits that it should have. What the command line says wins.

use anyhow::{Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use tidegate_api::{Loader, Problem, ProcessOptions};
use tidegate_discovery::read_once;
use tidegate_envoy::with_extra;
use tidegate_model::{ClusterName, GatewayName};

/// What the manifests say of the Envoys of a gateway; nothing where no manifests are named.
pub(super) fn options(
    gateway: &GatewayName,
    cluster: Option<&ClusterName>,
    manifests: &[PathBuf],
) -> Result<ProcessOptions> {
    if manifests.is_empty() {
        return Ok(ProcessOptions::default());
    }
    let (files, unread) = read_once(manifests);
    // Gateways are the same whatever the cluster is called.
    let cluster = cluster.cloned().map_or_else(|| "none".parse(), Ok)?;
    let loaded = Loader::new(cluster).load(&files);
    // To start without the limits that somebody wrote would be worse than not to start.
    let wrong = |problem: &&Problem| {
        let is_of = |kind: &str| problem.object.as_ref().is_some_and(|it| it.starts_with(kind));
        let is_about = is_of("GatewayTemplate ") || is_of("GatewayClass ");
        problem.is_error() && (is_about || problem.message.contains("GatewayTemplate"))
    };
    let wrong: Vec<String> =
        unread.iter().chain(loaded.problems.iter().filter(wrong)).map(ToString::to_string).collect();
    if !wrong.is_empty() {
        bail!("the manifests do not say how to start {gateway}: {}", wrong.join("\n"));
    }
    match loaded.config.gateways.get(gateway) {
        Some(found) => Ok(found.process.clone()),
        None => {
            let known: Vec<String> = loaded.config.gateways.keys().map(ToString::to_string).collect();
            bail!(
                "the manifests have no gateway {gateway} of Tidegate's\n  hint: there are: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )
        }
    }
}

/// The bootstrap with what the template adds.
pub(super) fn grown(bootstrap: Value, process: &ProcessOptions) -> Result<Value> {
    let Some(extra) = &process.bootstrap else { return Ok(bootstrap) };
    with_extra(bootstrap, extra).or_else(|replaced| {
        bail!(
            "spec.bootstrap.{} of the GatewayTemplate is set by Tidegate\n  hint: remove it; what is there can be added to and not replaced",
            replaced.path
        )
    })
}
