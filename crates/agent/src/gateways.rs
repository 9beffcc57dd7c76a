//! How gateways stand, for people: who is connected, what they refused, and what that was made from.

use crate::{
    run::grpc_client,
    view::{GatewayView, RefusedView},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use tidegate_api::Config;
use tidegate_engine::Origin;
use tidegate_envoy::tunnels_well;
use tidegate_model::{GatewayName, ServiceName};
use tidegate_xds::{NodeStatus, ResourceType, Transport};

pub(crate) fn gateway_view(status: &NodeStatus, config: &Config) -> GatewayView {
    let refused = status.types.iter().flat_map(|of_type| {
        of_type.refused.iter().map(|refused| RefusedView {
            kind: of_type.kind.to_string(),
            name: refused.name.clone(),
            error: refused.error.clone(),
            at_ms: refused.at_ms,
            behind: behind(of_type.kind, &refused.name, config),
        })
    });
    GatewayView {
        node: status.node.id.clone(),
        gateway: match grpc_client(&status.node) {
            Some(_) => "gRPC client".to_owned(),
            None => status.node.metadata.get("gateway").cloned().unwrap_or_default(),
        },
        zone: status.node.locality.zone.clone(),
        connected: status.connected,
        transport: match status.transport {
            Transport::Delta => "delta".to_owned(),
            Transport::Sotw => "sotw".to_owned(),
        },
        refused: refused.collect(),
        withheld: withheld(status, config).into_iter().collect(),
    }
}

/// Why connections of this gateway's routes do not go to other clusters, if there are such routes and they do not.
fn withheld(status: &NodeStatus, config: &Config) -> Option<String> {
    let version = &status.node.user_agent_version;
    let gateway = status.node.metadata.get("gateway")?.parse::<GatewayName>().ok()?;
    let gateway = config.gateways.get(&gateway).filter(|it| it.role.takes_clients())?;
    if tunnels_well(version) {
        return None;
    }
    let http = gateway.routes.iter().flat_map(|route| &route.rules).flat_map(|rule| &rule.backends);
    let used = gateway.streams.iter().flat_map(|route| &route.backends).chain(http);
    let used: BTreeSet<&ServiceName> = used.filter_map(|backend| backend.service.as_ref()).collect();
    let is_passed = |name: &&ServiceName| config.services.get(*name).is_some_and(|it| it.tunnelled);
    let passed: Vec<String> = used.into_iter().filter(is_passed).map(ToString::to_string).collect();
    (!passed.is_empty()).then(|| {
        format!(
            "{} to other clusters: Envoy {version} loses what a client sends before a tunnel is open; use 1.40 or later",
            passed.join(", ")
        )
    })
}

/// What a resource was made from, by its name (`crates/envoy` has the table of names): the objects, each as
/// `Kind namespace/name at file`. Nothing if it is not known any more.
fn behind(kind: ResourceType, name: &str, config: &Config) -> Vec<String> {
    match kind {
        // NAMESPACE/NAME, and @ZONE for endpoints.
        ResourceType::Cluster | ResourceType::Endpoint => {
            let service = name.split('@').next().unwrap_or(name);
            let Ok(service) = service.parse::<ServiceName>() else { return Vec::new() };
            let Some(declared) = config.services.get(&service) else { return Vec::new() };
            let mut objects = objects_of(&serde_json::to_value(&*declared.policy).unwrap_or_default());
            objects.extend(object(&declared.origin));
            if objects.is_empty() {
                vec![format!("Service {service}")]
            } else {
                objects.into_iter().collect()
            }
        }
        // NAMESPACE/GATEWAY/LISTENER
        ResourceType::Listener | ResourceType::Route => {
            let Some((gateway, _)) = name.rsplit_once('/') else { return Vec::new() };
            let Ok(gateway) = gateway.parse::<GatewayName>() else { return Vec::new() };
            let known = config.gateways.contains_key(&gateway);
            if known { vec![format!("Gateway {gateway}")] } else { Vec::new() }
        }
        ResourceType::Secret | ResourceType::Runtime | ResourceType::Extension => Vec::new(),
    }
}

/// Every field of a policy says where it was written; these are the objects, each once.
fn objects_of(policy: &Value) -> BTreeSet<String> {
    match policy {
        Value::Object(fields) => {
            let own = fields.get("origin").and_then(|origin| Origin::deserialize(origin).ok());
            let mut found: BTreeSet<String> = fields.values().flat_map(objects_of).collect();
            found.extend(own.as_ref().and_then(object));
            found
        }
        Value::Array(items) => items.iter().flat_map(objects_of).collect(),
        _ => BTreeSet::new(),
    }
}

fn object(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Default => None,
        Origin::File { place, .. } | Origin::Profile { place, .. } => {
            Some(format!("{} at {}", place.object, place.file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_api::{Loader, SourceFile};

    fn config() -> Config {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("cluster.yaml", include_str!("../../../examples/one-cluster/cluster.yaml")),
            file("gateway.yaml", include_str!("../../../examples/one-cluster/gateway.yaml")),
            file("policy.yaml", include_str!("../../../examples/one-cluster/policy.yaml")),
            file("services.yaml", include_str!("../../../examples/one-cluster/services.yaml")),
        ];
        Loader::new("home".parse().unwrap()).load(&files).config
    }

    #[test]
    fn what_was_refused_is_traced_to_the_objects_behind_it() {
        let config = config();
        let of_service = ["FailoverPolicy shop/web at policy.yaml", "Service shop/web at services.yaml"];
        for (kind, name, expected) in [
            (ResourceType::Cluster, "shop/web", &of_service[..]),
            (ResourceType::Endpoint, "shop/web@zone-a", &of_service),
            (ResourceType::Endpoint, "shop/gone@zone-a", &[]),
            (ResourceType::Route, "shop/edge/http", &["Gateway shop/edge"]),
            (ResourceType::Listener, "shop/gone/http", &[]),
            (ResourceType::Listener, "nonsense", &[]),
            (ResourceType::Secret, "shop/web", &[]),
        ] {
            assert_eq!(behind(kind, name, &config), expected, "{kind} {name}");
        }
    }
}
