//! What is done to a part of a Kubernetes cluster: `kubernetes: {do: ScaleToZero, namespace: shop, workload: deployment/web}`.

use crate::{
    drill_kubernetes::{KubernetesFault, KubernetesFaultKind},
    fields::{Fields, Issues, Wrong},
    read,
    yaml::Node,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_LABELS: usize = 16;
/// Of a name, a label or its value, in bytes: more than Kubernetes takes.
const MAX_TEXT: usize = 253;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Do {
    ScaleToZero,
    Isolate,
}

const DO: [(&str, Do); 2] = [("ScaleToZero", Do::ScaleToZero), ("Isolate", Do::Isolate)];

pub(super) fn read(mut it: Fields<'_>, issues: &mut Issues) -> Option<KubernetesFault> {
    let hint = "write do: ScaleToZero, or Isolate";
    let what = it.required_value("do", hint, issues, read::word(&DO)).map(|what| what.value);
    let hint = "say where: `namespace: shop`";
    let namespace = it.required_value("namespace", hint, issues, read::object_name);
    let context = it.value("context", issues, plain).map(|context| context.value);
    let timeout = it.value("timeout", issues, read::duration(SECOND..=MAX_TIMEOUT));
    let kind = match what {
        None => {
            it.ignore(&["workload", "podLabels"]);
            None
        }
        Some(Do::ScaleToZero) => {
            let hint = "name what loses its replicas: `workload: deployment/web`";
            let workload = it.required_value("workload", hint, issues, workload);
            workload.map(|workload| KubernetesFaultKind::ScaleToZero(workload.value))
        }
        Some(Do::Isolate) => {
            let hint = "name the pods by their labels: `podLabels: {app: web}`";
            let at = it.required("podLabels", hint, issues).map(|labels| labels.at);
            let labels = it.entries("podLabels", issues, plain);
            // Without labels it would be every pod of the namespace.
            if let Some(at) = at
                && !(1..=MAX_LABELS).contains(&labels.len())
            {
                let message = format!("{} must be 1 to {MAX_LABELS} labels", it.path_of("podLabels"));
                issues.error(at, message, hint);
            }
            let labels = labels.into_iter().filter_map(|(key, value)| Some((key.name.clone(), value?)));
            let labels = labels.collect();
            Some(KubernetesFaultKind::Isolate(labels))
        }
    };
    it.finish(issues);
    let timeout = timeout.map_or(TIMEOUT, |timeout| timeout.value);
    Some(KubernetesFault { kind: kind?, namespace: namespace?.value, context, timeout })
}

/// A word that `kubectl` does not take for an option.
fn plain(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    if (1..=MAX_TEXT).contains(&text.len())
        && !text.starts_with('-')
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Ok(text);
    }
    Err(Wrong::new("a word", "write for example prod-east"))
}

fn workload(node: &Node) -> Result<String, Wrong> {
    let wrong = || Wrong::new("KIND/NAME", "write for example deployment/web");
    let text = plain(node)?;
    let good = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
    };
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    if good(kind) && good(name) { Ok(text) } else { Err(wrong()) }
}
