//! What a template adds to the file that Envoy starts with, in Envoy's own words.
//!
//! What makes an Envoy a gateway of Tidegate stays: who it is, where its agent is and how it is asked. The rest is checked by
//! Envoy itself (`tidegate envoy bootstrap --check`).

use crate::{
    fields::{Fields, Issues},
    nearest,
    yaml::{Node, Value},
};
use serde_json::{Map, Number, Value as Json};

/// The fields of Envoy's bootstrap (v3) that may be added to.
const FIELDS: [&str; 20] = [
    "static_resources",
    "flags_path",
    "stats_sinks",
    "stats_config",
    "watchdogs",
    "layered_runtime",
    "overload_manager",
    "enable_dispatcher_stats",
    "header_prefix",
    "stats_server_version_override",
    "use_tcp_for_dns_lookups",
    "dns_resolution_config",
    "typed_dns_resolver_config",
    "bootstrap_extensions",
    "fatal_actions",
    "default_socket_interface",
    "inline_headers",
    "perf_tracing_file_path",
    "application_log_config",
    "memory_allocator_manager",
];

/// Those without which it is no gateway of Tidegate any more.
const OURS: [&str; 8] = [
    "node",
    "node_context_params",
    "admin",
    "dynamic_resources",
    "cluster_manager",
    "hds_config",
    "stats_flush_interval",
    "deferred_stat_options",
];

/// The static cluster that leads to the agent.
const AGENT_CLUSTER: &str = "tidegate-agent";

/// As JSON; `None` where there is nothing, or a mistake that was told.
pub(super) fn read(spec: &mut Fields<'_>, issues: &mut Issues) -> Option<Json> {
    let node = spec.node("bootstrap")?;
    let Value::Map(entries) = &node.value else {
        let hint = "write fields of Envoy's bootstrap (v3) below it";
        issues.error(node.at, format!("spec.bootstrap must be a mapping, not {node}"), hint);
        return None;
    };
    for (key, value) in entries {
        let name = key.name.as_str();
        if OURS.contains(&name) {
            let message = format!("spec.bootstrap.{name} is Tidegate's own");
            issues.error(key.at, message, "remove it: it says who this Envoy is and where its agent is");
        } else if !FIELDS.contains(&name) {
            let message = format!("Envoy's bootstrap has no field {name:?} that may be added to");
            issues.error(key.at, message, nearest::hint(name, "fields", FIELDS));
        } else if let Some(at) = find_agent(value) {
            let message = format!("the cluster {AGENT_CLUSTER} is Tidegate's own");
            issues.error(at.at, message, "give your cluster another name");
        }
    }
    Some(json(node))
}

/// Where the agent's cluster is named as one that is defined.
fn find_agent(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|(key, value)| {
            let named = matches!(&value.value, Value::Text(text) if text == AGENT_CLUSTER);
            if named && key.name == "name" { Some(value) } else { find_agent(value) }
        }),
        Value::List(items) => items.iter().find_map(find_agent),
        _ => None,
    }
}

/// The parser limits how deep a tree is.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Integer(value) => Json::Number((*value).into()),
        Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.name.clone(), json(value)));
            Json::Object(entries.collect::<Map<_, _>>())
        }
    }
}
