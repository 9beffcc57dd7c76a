//! Envoy itself checks the bootstrap, unknown fields included.

use super::gateway::{envoys, spec};
use std::{path::Path, process::Command};
use tidegate_api::GatewayRole;
use tidegate_envoy::{BootstrapSpec, XdsProtocol, bootstrap, envoy_arguments};

#[test]
fn envoy_accepts_every_form_of_the_bootstrap() {
    for envoy in envoys("envoy_accepts_every_form_of_the_bootstrap") {
        every_form_is_accepted(&envoy);
    }
}

fn every_form_is_accepted(envoy: &Path) {
    let whole = spec("127.0.0.1:18000".parse().unwrap(), GatewayRole::EastWest);
    let least = BootstrapSpec {
        role: None,
        region: None,
        cluster: None,
        xds: XdsProtocol::Delta,
        concurrency: None,
        ..spec("[::1]:18000".parse().unwrap(), GatewayRole::Edge)
    };
    let agents = ["127.0.0.1:18000", "[::1]:18000", "127.0.0.1:18002"].map(|it| it.parse().unwrap());
    let replicas = BootstrapSpec { agents: agents.to_vec(), ..whole.clone() };
    for spec in [whole, least, replicas] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap(&spec).to_string()).unwrap();
        let output = Command::new(envoy)
            .args(["--mode", "validate", "--reject-unknown-dynamic-fields", "--log-level", "warning"])
            .args(envoy_arguments(&spec))
            .arg("--config-path")
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(said, "", "no warnings either");
    }
}

#[test]
fn a_bootstrap_as_people_see_it() {
    let text = serde_json::to_string_pretty(&bootstrap(&spec(
        "127.0.0.1:18000".parse().unwrap(),
        GatewayRole::Edge,
    )));
    insta::assert_snapshot!(text.unwrap());
}
