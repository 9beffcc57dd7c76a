//! The way from an Envoy to its agent: the one cluster that stands in the bootstrap. xDS, load reports and the peer links of
//! an east-west gateway all go over it.

use crate::{agents, bootstrap::socket_address, routes::AGENT_CLUSTER};
use serde_json::{Value, json};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The certificate and key of the gateway's Envoys, in one file, so that both are replaced at once.
pub const GATEWAY_PEM: &str = "gateway.pem";

/// By which they know their agent.
pub const AGENT_ROOT: &str = "agent-ca.crt";

/// What tells Envoy of [`GATEWAY_PEM`], and to read it again when it is replaced.
pub const GATEWAY_SDS: &str = "sds.json";

/// What tells Envoy of [`AGENT_ROOT`], and to read it again when it is replaced.
pub const AGENT_SDS: &str = "agent-sds.json";

/// The name of the secret in [`GATEWAY_SDS`].
const SECRET: &str = "gateway";

/// The name of that in [`AGENT_SDS`].
const ROOTS: &str = "agent";

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentAddress {
    /// `IP:PORT`.
    Tcp(SocketAddr),
    /// `NAME:PORT`: what the name leads to, which Envoy looks up again and again.
    Named(String, u16),
    /// `unix:PATH`: on the same host.
    Unix(PathBuf),
}

/// It is no address of an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of an agent\n  hint: HOST:PORT, or unix:PATH")]
pub struct AgentAddressError(String);

impl FromStr for AgentAddress {
    type Err = AgentAddressError;

    fn from_str(text: &str) -> Result<Self, AgentAddressError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(AgentAddressError(text.to_owned())),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .ok()
                .or_else(|| named(text))
                .ok_or_else(|| AgentAddressError(text.to_owned())),
        }
    }
}

/// A host name and a port. Digits and dots alone are an address that went wrong.
fn named(text: &str) -> Option<AgentAddress> {
    let (name, port) = text.split_once(':')?;
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let good =
        name.len() <= 253 && name.split('.').all(label) && name.contains(|c: char| c.is_ascii_alphabetic());
    let port = port.parse().ok().filter(|port| *port > 0)?;
    good.then(|| AgentAddress::Named(name.to_owned(), port))
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl AgentAddress {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Tcp(address) => socket_address(*address),
            Self::Named(name, port) => json!({ "socket_address": { "address": name, "port_value": port } }),
            Self::Unix(path) => json!({ "pipe": { "path": path } }),
        }
    }
}

/// How an Envoy and its agent know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTls {
    /// The folder with [`GATEWAY_PEM`], [`AGENT_ROOT`], [`GATEWAY_SDS`] and [`AGENT_SDS`], absolute.
    pub folder: PathBuf,
    /// The id in the agent's certificate.
    pub agent: String,
}

/// What [`GATEWAY_SDS`] holds where the folder lies at `folder`, as JSON.
#[must_use]
pub fn gateway_sds(folder: &Path) -> Value {
    let pem = json!({ "filename": folder.join(GATEWAY_PEM) });
    let shown = json!({
        "certificate_chain": pem,
        "private_key": pem,
        "watched_directory": { "path": folder },
    });
    secret(SECRET, "tls_certificate", &shown)
}

/// What [`AGENT_SDS`] holds where the folder lies at `folder`, as JSON.
#[must_use]
pub fn agent_sds(folder: &Path) -> Value {
    let believed = json!({
        "trusted_ca": { "filename": folder.join(AGENT_ROOT) },
        "watched_directory": { "path": folder },
    });
    secret(ROOTS, "validation_context", &believed)
}

fn secret(name: &str, what: &str, value: &Value) -> Value {
    json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        what: value,
    }] })
}

/// Where Envoy finds a secret: in this file of the folder, read again when one of the folder is replaced.
fn secret_in(folder: &Path, name: &str, file: &str) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "path_config_source": {
                "path": folder.join(file),
                "watched_directory": { "path": folder },
            },
            "resource_api_version": "V3",
        },
    })
}

/// The agent's replicas as the gateway of this id knows them.
pub(crate) fn agent_cluster(agents: &[AgentAddress], node_id: &str, tls: Option<&AgentTls>) -> Value {
    let mut cluster = json!({
        "name": AGENT_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {
                    // A frozen agent, or a host that vanished, closes no connection. Within 4 s the gateway
                    // looks for another; an agent that is busy for a second keeps its gateways.
                    "connection_keepalive": { "interval": "1s", "timeout": "3s" },
                } },
            },
        },
        "load_assignment": {
            "cluster_name": AGENT_CLUSTER,
            "endpoints": agents::endpoints(agents, node_id),
        },
    });
    if agents.iter().any(|it| matches!(it, AgentAddress::Named(..))) {
        cluster["type"] = json!("STRICT_DNS");
        cluster["dns_lookup_family"] = json!("V4_PREFERRED");
        // A pod that starts again has another address, and has its gateways back within this time.
        cluster["dns_refresh_rate"] = json!("2s");
    }
    if let Some(ejection) = agents::ejection(agents) {
        cluster["outlier_detection"] = ejection;
    }
    if let Some(tls) = tls {
        cluster["transport_socket"] = transport_socket(tls);
    }
    cluster
}

fn transport_socket(tls: &AgentTls) -> Value {
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "agent.tidegate",
            "common_tls_context": {
                "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [secret_in(&tls.folder, SECRET, GATEWAY_SDS)],
                "combined_validation_context": {
                    "default_validation_context": {
                        "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": tls.agent } }],
                    },
                    "validation_context_sds_secret_config": secret_in(&tls.folder, ROOTS, AGENT_SDS),
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_found_at_an_address_or_a_socket() {
        for text in [
            "127.0.0.1:18000",
            "[::1]:1",
            "unix:/run/tidegate/agent.sock",
            "localhost:1",
            "agent-0.agent.infra.svc:18000",
        ] {
            assert_eq!(text.parse::<AgentAddress>().unwrap().to_string(), text);
        }
        for text in
            ["", "unix:", "localhost", "localhost:0", "10.0.0.256:1", "a_b:1", ".:1", "plain:127.0.0.1:1"]
        {
            assert!(text.parse::<AgentAddress>().is_err(), "{text}");
        }
        let pipe = agent_cluster(&["unix:/run/a".parse().unwrap()], "x", None);
        let address = &pipe["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
        assert_eq!(*address, json!({ "pipe": { "path": "/run/a" } }));
        assert!(pipe["transport_socket"].is_null());
        assert_eq!(pipe["type"], "STATIC");
        let names = ["agent-0.infra:18000".parse().unwrap(), "10.0.0.1:18000".parse().unwrap()];
        assert_eq!(agent_cluster(&names, "x", None)["type"], "STRICT_DNS");
    }
}
