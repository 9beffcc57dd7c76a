//! The examples that are shipped load without a problem, and say what their comments claim.

use crate::told;
use std::{fs, path::Path};
use tidegate_api::{CheckKind, GatewayRole, Loaded, Loader, PathMatch, SourceFile};
use tidegate_engine::{FailbackMode, Tier, WhenExhausted};

/// Loads folders of `examples/` as an agent of `cluster` does.
fn load(folders: &[&str], cluster: &str) -> Loaded {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(examples.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let name = path.strip_prefix(&examples).unwrap().to_str().unwrap().to_owned();
            files.push(SourceFile { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
    assert!(!files.is_empty());
    let loaded = Loader::new(cluster.parse().unwrap()).load(&files);
    assert_eq!(told(&loaded), "");
    loaded
}

#[test]
fn one_cluster_has_two_zones_behind_one_edge() {
    let config = load(&["one-cluster"], "home").config;
    let web = &config.services[&"shop/web".parse().unwrap()];
    let zones: Vec<&str> = web.endpoints.values().map(|endpoint| endpoint.zone.as_str()).collect();
    assert_eq!(zones, ["zone-a", "zone-a", "zone-b", "zone-b"]);
    assert!(
        matches!(&web.policy.active_check.as_ref().unwrap().kind, CheckKind::Http { path, .. } if path == "/healthz")
    );
    let edge = &config.gateways[&"shop/edge".parse().unwrap()];
    assert_eq!(
        (edge.role, edge.listeners[0].address),
        (GatewayRole::Edge, "127.0.0.1:10080".parse().unwrap())
    );
    let matches = edge.matches();
    assert_eq!(matches.len(), 1);
    assert_eq!(matches[0].rule.backends[0].service, Some("shop/web".parse().unwrap()));
}

#[test]
fn two_regions_see_each_other_and_share_their_policies() {
    for (own, other) in [("us-east", "us-west"), ("us-west", "us-east")] {
        let config = load(&["two-regions/fleet", &format!("two-regions/{own}")], own).config;
        let cluster = &config.clusters[own];
        assert_eq!(cluster.proximity[other].as_millis(), 65);
        let eastwest = &config.gateways[&"shop/eastwest".parse().unwrap()];
        assert_eq!(eastwest.role, GatewayRole::EastWest);
        // What the fleet is told about this cluster is where its gateway listens.
        let listens: Vec<_> = eastwest.listeners.iter().map(|listener| listener.address).collect();
        assert_eq!(cluster.east_west_gateways, listens);
        let edge = &config.gateways[&"shop/edge".parse().unwrap()];
        let paths: Vec<&PathMatch> = edge.matches().iter().map(|found| &found.matching.path).collect();
        let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
        assert_eq!(paths, [&prefix("/cart"), &prefix("/pay"), &prefix("/")]);
        assert_eq!(config.services.len(), 3);
        for service in config.services.values() {
            assert_eq!(service.endpoints.len(), 4);
            assert_eq!(service.policy.engine.failover.len(), 1);
        }
        let pay = &config.services[&"shop/pay".parse().unwrap()].policy.engine;
        assert_eq!(
            (pay.failback.mode.value, pay.when_exhausted.value),
            (FailbackMode::Manual, WhenExhausted::Shed)
        );
        assert_eq!(pay.residency.as_ref().unwrap().value.regions.as_ref().unwrap().len(), 2);
    }
}

#[test]
fn weighted_regions_have_a_profile_that_no_policy_changes() {
    for own in ["us-east", "us-west", "eu", "staging"] {
        let config = load(&["weighted-regions/fleet", &format!("weighted-regions/{own}")], own).config;
        for name in ["shop/web", "shop/report"] {
            let policy = &config.services[&name.parse().unwrap()].policy;
            let engine = &policy.engine;
            let only = &engine.residency.as_ref().unwrap().value;
            let may =
                |cluster: &str| only.allows(&config.clusters[cluster].region, &cluster.parse().unwrap());
            assert_eq!(["us-east", "us-west", "eu", "staging"].map(may), [true, true, true, false]);
            assert_eq!(engine.failback.hold_down.value.as_secs(), 120);
            assert_eq!(engine.failover_threshold.value.to_string(), "70 %", "the policy changes a default");
            assert!(
                matches!(&policy.active_check.as_ref().unwrap().kind, CheckKind::Http { path, .. } if path == "/healthz")
            );
            let Tier::Weighted(places, _) = &engine.failover[0].value.to[2] else { panic!("no weights") };
            assert_eq!(places.clusters.len(), 3, "staging is no gold");
        }
    }
}

#[test]
fn an_edge_ends_tls_once_somebody_adds_the_certificate() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/edge");
    let file = |name: &str| SourceFile {
        path: name.to_owned(),
        text: fs::read_to_string(examples.join(name)).unwrap(),
    };
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let text = format!(
        "{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: shop-example, namespace: shop}}, stringData: \
         {{tls.crt: {chain:?}, tls.key: {key:?}}}}}"
    );
    let secret = SourceFile { path: "secret.yaml".to_owned(), text };
    let files = [file("cluster.yaml"), file("gateways.yaml"), secret];
    let loaded = Loader::new("home".parse().unwrap()).load(&files);
    assert_eq!(told(&loaded), "");
    let edge = &loaded.config.gateways[&"shop/edge".parse().unwrap()];
    let https = &edge.listeners[1];
    assert!(https.is_open() && https.tls.as_ref().unwrap().certificates.contains_key("shop.example"));
    assert_eq!(edge.process.max_heap_mib, Some(2048));
    let inside = &loaded.config.gateways[&"infra/inside".parse().unwrap()];
    let hosts = inside.routes.iter().flat_map(|route| &route.hostnames);
    let hosts: Vec<&str> = hosts.map(String::as_str).collect();
    assert_eq!((inside.role, hosts), (GatewayRole::Internal, vec!["web.shop.svc.clusterset.local"]));
}

#[test]
fn an_edge_tier_has_no_endpoints_and_the_tier_behind_it_no_edge() {
    let config = |own: &str| load(&["edge-tier/fleet", &format!("edge-tier/{own}")], own).config;
    let edge = config("edge");
    assert!(edge.clusters["edge"].east_west_gateways.is_empty());
    assert!(edge.services[&"shop/web".parse().unwrap()].endpoints.is_empty());
    let gateway = &edge.gateways[&"shop/edge".parse().unwrap()];
    assert_eq!((gateway.role, gateway.matches().len()), (GatewayRole::Edge, 1));
    for own in ["us-east", "us-west"] {
        let config = config(own);
        assert_eq!(config.services[&"shop/web".parse().unwrap()].endpoints.len(), 4);
        assert_eq!(config.gateways.len(), 1);
        let eastwest = &config.gateways[&"shop/eastwest".parse().unwrap()];
        let listens: Vec<_> = eastwest.listeners.iter().map(|listener| listener.address).collect();
        assert_eq!(config.clusters[own].east_west_gateways, listens);
    }
}
