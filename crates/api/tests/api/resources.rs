//! Objects that come from no file: pushed one by one, as an API server sends them.

use super::{BASE, file, loader};
use serde_json::{Value, json};
use tidegate_api::{Loader, Update};

const PATH: &str = "EndpointSlice/shop/web-1";

/// A slice of the base's service with these endpoints.
fn slice(addresses: &[&str]) -> Value {
    let endpoint =
        |address: &&str| json!({"addresses": [address], "zone": "za", "conditions": {"ready": true}});
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-9", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}, "resourceVersion": "7",
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// A loader that has the base, and nothing to tell.
fn base() -> Loader {
    let mut loader = loader();
    loader.set_file(&file("base.yaml", BASE));
    loader.update();
    assert_eq!(loader.problems(), []);
    loader
}

fn changed(update: &Update) -> Vec<String> {
    update.change.services.keys().map(ToString::to_string).collect()
}

fn addresses(loader: &Loader) -> usize {
    loader.config().services[&"shop/web".parse().unwrap()].endpoints.len()
}

#[test]
fn a_resource_is_an_object_as_one_in_a_file_is() {
    let mut pushed = base();
    let there = addresses(&pushed);
    pushed.set_resource(PATH, "1", slice(&["10.9.0.1", "10.9.0.2"]));
    assert_eq!(changed(&pushed.update()), ["shop/web"]);
    assert_eq!(addresses(&pushed), there + 2);
    let mut read = base();
    read.set_file(&file("slice.json", &slice(&["10.9.0.1", "10.9.0.2"]).to_string()));
    read.update();
    assert_eq!(pushed.config(), read.config(), "of a slice nobody asks where it was written");
    pushed.remove(PATH);
    assert_eq!(changed(&pushed.update()), ["shop/web"]);
    assert_eq!(addresses(&pushed), there);
}

#[test]
fn a_resource_that_says_the_same_changes_nothing() {
    let mut loader = base();
    loader.set_resource(PATH, "1", slice(&["10.9.0.1"]));
    loader.update();
    // The same version is not even read, another one that says the same is no change.
    loader.set_resource(PATH, "1", slice(&["10.9.0.2"]));
    assert_eq!(loader.update(), Update::default());
    loader.set_resource(PATH, "2", slice(&["10.9.0.1"]));
    assert_eq!(loader.update(), Update::default());
    loader.set_resource(PATH, "3", slice(&["10.9.0.2"]));
    assert_eq!(changed(&loader.update()), ["shop/web"]);
}

#[test]
fn a_resource_that_is_wrong_is_told_by_its_path_and_stays_as_it_was() {
    let mut loader = base();
    loader.set_resource(PATH, "1", slice(&["10.9.0.1"]));
    loader.update();
    let good = loader.config().clone();
    let mut wrong = slice(&["10.9.0.2"]);
    wrong["addressType"] = json!("IPv5");
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let cases = [
        (
            wrong,
            "EndpointSlice/shop/web-1: EndpointSlice shop/web-9: addressType must be IPv4 or IPv6, not \"IPv5\"",
        ),
        (json!("word"), "EndpointSlice/shop/web-1: not a Kubernetes object, but \"word\""),
        (deep, "EndpointSlice/shop/web-1: cannot be read: values are nested more than 40 deep"),
    ];
    for (number, (value, told)) in (2..).zip(cases) {
        loader.set_resource(PATH, &number.to_string(), value);
        let update = loader.update();
        assert!(update.change.is_empty(), "{update:?}");
        let problems: Vec<String> = update.problems.unwrap().iter().map(ToString::to_string).collect();
        assert!(problems.len() == 1 && problems[0].starts_with(told), "{problems:?}");
        assert_eq!(*loader.config(), good);
    }
    loader.set_resource(PATH, "9", slice(&["10.9.0.1"]));
    assert_eq!(loader.update().problems, Some(Vec::new()));
    assert_eq!(*loader.config(), good);
}
