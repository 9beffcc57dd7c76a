//! What is installed, as a cluster sees it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see helpers outside #[test]"
)]

mod generated;
mod helm;
mod image;
mod options;
mod rights;
mod safe;
mod shapes;

use serde_json::Value;
use std::{env, path::PathBuf};
use tidegate_install::{
    agent, gateways, hub,
    values::{Many, When},
};

/// What a variable names, or nothing after saying that a test is skipped. With CI=true it has to be there.
pub(crate) fn tool(variable: &str, what: &str) -> Option<PathBuf> {
    let found = env::var_os(variable).filter(|it| !it.is_empty()).map(PathBuf::from);
    if found.is_none() {
        let line = format!("SKIPPED: {variable} does not name {what}; `cargo xtask test` fetches it");
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "{line}");
        #[allow(clippy::print_stderr, reason = "a test says what it skips")]
        {
            eprintln!("{line}");
        }
    }
    found
}

pub(crate) fn agent() -> agent::Options {
    agent::Options {
        namespace: "tidegate-system".to_owned(),
        create_namespace: false,
        image: "registry.example/tidegate:0.1.0".to_owned(),
        cluster: "us-east".to_owned(),
        replicas: 2.into(),
        hub: String::new(),
        with_hub: When::Known(false),
        certificates: Many::These(vec![]),
        all_certificates: When::Known(false),
    }
}

/// An agent that may read some Secrets.
pub(crate) fn certified() -> agent::Options {
    let places = ["infra", "shop/edge-tls", "shop/other-tls"];
    let certificates = places.map(|it| agent::Certificate::read(it).unwrap());
    agent::Options { certificates: Many::These(certificates.into()), ..agent() }
}

/// An agent of a cluster that joined a hub.
pub(crate) fn joined() -> agent::Options {
    agent::Options {
        hub: "hub.example:18100".to_owned(),
        with_hub: When::Known(true),
        all_certificates: When::Known(true),
        replicas: 3.into(),
        ..agent()
    }
}

pub(crate) fn hub() -> hub::Options {
    hub::Options {
        namespace: "tidegate-system".to_owned(),
        create_namespace: false,
        image: "registry.example/tidegate:0.1.0".to_owned(),
        policies: "tidegate-policies".to_owned(),
        with_policies: When::Known(true),
        git: String::new(),
        with_git: When::Known(false),
        with_kubernetes: When::Known(false),
        service: "LoadBalancer".to_owned(),
    }
}

/// A hub that reads a repository.
pub(crate) fn git() -> hub::Options {
    hub::Options {
        git: "https://git.example/fleet.git".to_owned(),
        with_git: When::Known(true),
        with_policies: When::Known(false),
        service: "ClusterIP".to_owned(),
        ..hub()
    }
}

/// A hub that reads the API of its cluster.
pub(crate) fn of_kubernetes() -> hub::Options {
    hub::Options { with_kubernetes: When::Known(true), with_policies: When::Known(false), ..hub() }
}

pub(crate) fn gateways() -> gateways::Options {
    gateways::Options {
        namespace: "infra".to_owned(),
        gateway: "edge".to_owned(),
        image: "registry.example/tidegate:0.1.0".to_owned(),
        envoy_image: "docker.io/envoyproxy/envoy:distroless-v1.40.0".to_owned(),
        cluster: "us-east".to_owned(),
        region: "us-east".to_owned(),
        zones: Many::These(vec!["us-east-1a".to_owned(), "us-east-1b".to_owned()]),
        ports: Many::These(vec![8080.into(), 8443.into()]),
        agent_namespace: "tidegate-system".to_owned(),
        agents: Many::These(vec![0.into(), 1.into()]),
        replicas: (2.into(), 10.into()),
        drain_seconds: 30.into(),
        service: "LoadBalancer".to_owned(),
        credentials: String::new(),
        with_credentials: When::Known(false),
    }
}

/// Everything, in the forms that differ.
pub(crate) fn all() -> Vec<(&'static str, Vec<Value>)> {
    let with_credentials = gateways::Options {
        credentials: "edge-credentials".to_owned(),
        with_credentials: When::Known(true),
        ..gateways()
    };
    let in_namespace = agent::Options { create_namespace: true, ..agent() };
    vec![
        ("agent", agent::objects(&agent())),
        ("agent with its namespace", agent::objects(&in_namespace)),
        ("agent that joins a hub", agent::objects(&joined())),
        ("agent that reads certificates", agent::objects(&certified())),
        ("hub", hub::objects(&hub())),
        ("hub with a repository", hub::objects(&git())),
        ("hub of its cluster's API", hub::objects(&of_kubernetes())),
        ("gateways", gateways::objects(&gateways())),
        ("gateways with credentials", gateways::objects(&with_credentials)),
    ]
}
