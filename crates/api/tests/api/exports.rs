//! Which clusters have to do with a service: where only what is exported is fleet-wide, and where an endpoint is of which only
//! the node is known.

use tidegate_api::{Loader, Reach};

fn loader() -> Loader {
    let mut loader = Loader::new("home".parse().unwrap()).only_exported();
    set(&mut loader, "tidegate.dev/v1alpha1", "FleetCluster", "", "home", r#""spec":{"region":"here"}"#);
    loader
}

fn set(loader: &mut Loader, version: &str, kind: &str, namespace: &str, name: &str, rest: &str) {
    let place = if namespace.is_empty() { String::new() } else { format!(r#","namespace":"{namespace}""#) };
    let (meta, rest) = match rest.strip_prefix("labels ") {
        Some(labels) => (format!(r#","labels":{labels}"#), String::new()),
        None => (String::new(), format!(",{rest}")),
    };
    let text = format!(
        r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"{name}"{place}{meta}}}{rest}}}"#
    );
    let path = format!("kubernetes: {kind} {namespace}/{name}");
    loader.set_resource(&path, &text.clone(), &mut serde_json::Deserializer::from_str(&text));
}

fn service(loader: &mut Loader, name: &str) {
    set(loader, "v1", "Service", "shop", name, r#""spec":{"ports":[{"port":80}]}"#);
}

fn reach(loader: &mut Loader, name: &str) -> Option<Reach> {
    loader.update();
    assert_eq!(loader.problems(), []);
    let made = loader.config().clone();
    // What followed one change after the other is what is made of all at once.
    assert_eq!(loader.rebuilt().config, made);
    made.services.get(&format!("shop/{name}").parse().unwrap()).map(|it| it.reach)
}

const MCS: &str = "multicluster.x-k8s.io/v1alpha1";

#[test]
fn a_service_is_fleet_wide_once_it_or_its_namespace_is_exported() {
    let mut loader = loader();
    service(&mut loader, "web");
    assert_eq!(reach(&mut loader, "web"), Some(Reach::Cluster));
    set(&mut loader, MCS, "ServiceExport", "shop", "web", r#""spec":{}"#);
    assert_eq!(reach(&mut loader, "web"), Some(Reach::Fleet));
    loader.remove("kubernetes: ServiceExport shop/web");
    assert_eq!(reach(&mut loader, "web"), Some(Reach::Cluster));
    set(&mut loader, "v1", "Namespace", "", "shop", r#"labels {"tidegate.dev/export":"true"}"#);
    assert_eq!(reach(&mut loader, "web"), Some(Reach::Fleet));
    set(&mut loader, "v1", "Namespace", "", "shop", r#"labels {"tidegate.dev/export":"false"}"#);
    assert_eq!(reach(&mut loader, "web"), Some(Reach::Cluster));
}

#[test]
fn what_is_for_one_cluster_may_be_served_nowhere_else() {
    let mut loader = loader();
    service(&mut loader, "web");
    service(&mut loader, "cart");
    set(&mut loader, MCS, "ServiceExport", "shop", "cart", r#""spec":{}"#);
    assert_eq!(reach(&mut loader, "web"), Some(Reach::Cluster));
    let residency = |name: &str| {
        let service = &loader.config().services[&format!("shop/{name}").parse().unwrap()];
        service.policy.engine.residency.clone()
    };
    let only = residency("web").unwrap().value;
    assert!(only.allows(&"here".parse().unwrap(), &"home".parse().unwrap()));
    assert!(!only.allows(&"here".parse().unwrap(), &"other".parse().unwrap()));
    assert_eq!(residency("cart"), None);
}

#[test]
fn an_import_names_a_service_that_is_elsewhere_and_gives_way_to_the_own_one() {
    let mut loader = loader();
    let import = r#""spec":{"type":"ClusterSetIP","ports":[{"port":8443,"protocol":"TCP"}]}"#;
    set(&mut loader, MCS, "ServiceImport", "shop", "pay", import);
    assert_eq!(reach(&mut loader, "pay"), Some(Reach::Import));
    service(&mut loader, "pay");
    assert_eq!(reach(&mut loader, "pay"), Some(Reach::Import));
    loader.remove("kubernetes: Service shop/pay");
    assert_eq!(reach(&mut loader, "pay"), Some(Reach::Import));
    loader.remove("kubernetes: ServiceImport shop/pay");
    assert_eq!(reach(&mut loader, "pay"), None);
}

#[test]
fn an_endpoint_without_a_zone_is_where_its_node_is() {
    let mut loader = loader();
    service(&mut loader, "web");
    let slice = r#"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"web-1","namespace":"shop",
        "labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"port":80}],
        "endpoints":[{"addresses":["10.0.0.1"],"nodeName":"n1"}]}"#;
    loader.set_resource("slice", "1", &mut serde_json::Deserializer::from_str(slice));
    loader.update();
    let told = loader.problems()[0].to_string();
    assert!(told.contains("10.0.0.1 has no zone, and neither has its node n1"), "{told}");
    let mut zone_of = |labels: &str| {
        set(&mut loader, "v1", "Node", "", "n1", &format!("labels {labels}"));
        loader.update();
        let made = loader.config().clone();
        assert_eq!(loader.rebuilt().config, made);
        made.services.values().next()?.endpoints.values().next().map(|it| it.zone.to_string())
    };
    assert_eq!(zone_of(r#"{"topology.kubernetes.io/zone":"a"}"#).as_deref(), Some("a"));
    assert_eq!(zone_of(r#"{"topology.kubernetes.io/zone":"b"}"#).as_deref(), Some("b"));
    assert_eq!(zone_of("{}"), None);
}
