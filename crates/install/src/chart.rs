//! The Helm chart: templates that are what this crate makes of options which stand for the chart's values, and the values.
//!
//! `deploy/helm/tidegate` holds what comes out, checked in: `UPDATE_GENERATED=1 cargo test -p tidegate-install`.

use crate::{
    CRDS, agent, gateways, hub,
    values::{Many, Number, When, place},
    yaml,
};
use serde_json::Value;

const HEADER: &str = "{{- /* Generated from crates/install: `UPDATE_GENERATED=1 cargo test -p tidegate-install` writes it anew. */}}\n";

/// The files of the chart below its folder, each with its text.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("templates/agent.yaml".to_owned(), template("agent", &agent::objects(&agent_options()))),
        ("templates/hub.yaml".to_owned(), template("hub", &hub::objects(&hub_options()))),
        ("templates/gateways.yaml".to_owned(), template("gateways", &gateways::objects(&gateway_options()))),
    ];
    // Helm installs what is here before anything else, and never changes or removes it.
    let names = [
        "failoverpolicies",
        "failoverprofiles",
        "fleetclusters",
        "gatewaytemplates",
        "trafficshifts",
        "drills",
        "drillschedules",
    ];
    files.extend(
        names.into_iter().zip(CRDS).map(|(name, text)| (format!("crds/{name}.yaml"), text.to_owned())),
    );
    files
}

fn template(component: &str, objects: &[Value]) -> String {
    let documents: String = objects.iter().map(yaml::template).collect();
    format!("{HEADER}{{{{- if .Values.{component}.enabled }}}}\n{documents}{{{{- end }}}}\n")
}

fn image() -> String {
    place("required \"set image: registry.example/tidegate:VERSION\" $.Values.image")
}

fn agent_options() -> agent::Options {
    agent::Options {
        namespace: place("$.Release.Namespace"),
        create_namespace: false,
        image: image(),
        cluster: place("required \"set cluster: the name of its FleetCluster\" $.Values.cluster"),
        replicas: Number::at("$.Values.agent.replicas"),
        hub: place("$.Values.agent.hub"),
        with_hub: When::If("$.Values.agent.hub"),
        certificates: Many::Each(
            "$.Values.agent.readCertificates",
            "$certificate",
            Box::new(agent::Certificate {
                place: place("$certificate.namespace")
                    + &place("empty $certificate.name | ternary \"\" (printf \"/%v\" $certificate.name)"),
                namespace: place("$certificate.namespace"),
                name: place("$certificate.name"),
                with_name: When::If("$certificate.name"),
            }),
        ),
        all_certificates: When::If("$.Values.agent.readAllSecrets"),
    }
}

fn hub_options() -> hub::Options {
    hub::Options {
        namespace: place("$.Release.Namespace"),
        create_namespace: false,
        image: image(),
        policies: place("$.Values.hub.policies"),
        with_policies: When::If("not (or $.Values.hub.git $.Values.hub.kubernetes)"),
        git: place("$.Values.hub.git"),
        with_git: When::If("$.Values.hub.git"),
        with_kubernetes: When::If("$.Values.hub.kubernetes"),
        service: place("$.Values.hub.service"),
    }
}

fn gateway_options() -> gateways::Options {
    gateways::Options {
        namespace: place("$.Values.gateways.namespace"),
        gateway: place("$.Values.gateways.gateway"),
        image: image(),
        envoy_image: place("$.Values.gateways.envoyImage"),
        cluster: place("required \"set cluster: the name of its FleetCluster\" $.Values.cluster"),
        region: place("required \"set gateways.region\" $.Values.gateways.region"),
        zones: Many::Each(
            "required \"set gateways.zones\" ($.Values.gateways.zones | default \"\")",
            "$zone",
            Box::new(place("$zone")),
        ),
        ports: Many::Each("$.Values.gateways.ports", "$port", Box::new(Number::at("$port"))),
        agent_namespace: place("$.Release.Namespace"),
        agents: Many::Each("until (int $.Values.agent.replicas)", "$agent", Box::new(Number::at("$agent"))),
        replicas: (Number::at("$.Values.gateways.replicas"), Number::at("$.Values.gateways.maxReplicas")),
        drain_seconds: Number::at("$.Values.gateways.drainSeconds"),
        service: place("$.Values.gateways.service"),
        credentials: place("$.Values.gateways.credentials"),
        with_credentials: When::If("$.Values.gateways.credentials"),
    }
}
