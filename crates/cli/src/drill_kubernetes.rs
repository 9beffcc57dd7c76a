//! Faults of Kubernetes: only with `--allow-disruption`, and by the user's own `kubectl`.

use anyhow::{Context as _, Result, bail};
use std::process::Stdio;
use tidegate_api::{Drill, DrillFault, DrillTarget, KubernetesFault};
use tidegate_drill::run::{RunError, kubernetes};

/// The drill with the commands that its fault means. Nothing is changed yet, but the cluster is asked how things are.
pub(crate) async fn as_commands(drill: Drill, id: &str, allowed: bool) -> Result<Drill> {
    let DrillFault::Kubernetes(fault) = &drill.fault else {
        if allowed {
            bail!(
                "--allow-disruption is for a fault of type Kubernetes, and this drill has another one\n  hint: leave it out"
            );
        }
        return Ok(drill);
    };
    if !allowed {
        return Err(RunError::NotAllowed.into());
    }
    if !matches!(drill.target, DrillTarget::Url(_)) {
        return Err(RunError::Target(format!("{:?}", drill.target)).into());
    }
    let replicas = match kubernetes::question(fault) {
        Some(words) => kubernetes::replicas(&answer(&words, fault).await?)
            .map_err(|why| anyhow::anyhow!("nothing was broken: {}: {why}", words.join(" ")))?,
        None => 0,
    };
    let exec = kubernetes::commands(fault, id, replicas);
    Ok(Drill { fault: DrillFault::Exec(exec), ..drill })
}

async fn answer(words: &[String], fault: &KubernetesFault) -> Result<String> {
    let (program, arguments) = words.split_first().context("no program was named")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(fault.timeout, command.output()).await;
    let told = words.join(" ");
    let output = output
        .with_context(|| format!("nothing was broken: {told} did not end within {:?}", fault.timeout))?
        .with_context(|| {
            format!("nothing was broken: {told} cannot be run\n  hint: kubectl must be on PATH")
        })?;
    if !output.status.success() {
        bail!("nothing was broken: {told} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
