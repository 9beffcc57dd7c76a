//! Options that cannot be are told with what to do.

use tidegate_install::{agent, gateways, hub, values::Many};

fn told(found: Result<(), tidegate_install::Wrong>) -> String {
    found.expect_err("is wrong").to_string()
}

#[test]
fn right_options_are_taken() {
    assert_eq!(crate::agent().check(), Ok(()));
    assert_eq!(crate::joined().check(), Ok(()));
    assert_eq!(crate::hub().check(), Ok(()));
    assert_eq!(crate::git().check(), Ok(()));
    assert_eq!(crate::gateways().check(), Ok(()));
    let digest =
        agent::Options { image: "registry.example:5000/tidegate@sha256:0123".to_owned(), ..crate::agent() };
    assert_eq!(digest.check(), Ok(()));
}

#[test]
fn wrong_options_say_what_to_do() {
    for image in ["tidegate", "registry.example:5000/tidegate", "tidegate:latest", "", "tide gate:1"] {
        let said = told(agent::Options { image: image.to_owned(), ..crate::agent() }.check());
        assert!(said.contains("hint: write it with a tag or a digest"), "{said}");
    }
    for namespace in ["", "Shop", "a_b", "-a", "a-"] {
        let said = told(hub::Options { namespace: namespace.to_owned(), ..crate::hub() }.check());
        assert!(said.contains("--namespace") && said.contains("hint:"), "{said}");
    }
    for hub in ["hub.example", "hub.example:0", ":18100", "hub.example:99999"] {
        let said = told(agent::Options { hub: hub.to_owned(), ..crate::joined() }.check());
        assert!(said.contains("hint: write for example hub.example:18100"), "{said}");
    }
    let said = told(hub::Options { git: "a b".to_owned(), ..crate::git() }.check());
    assert!(said.contains("is no address of a repository"), "{said}");
    let said = told(hub::Options { service: "External".to_owned(), ..crate::hub() }.check());
    assert!(said.contains("write LoadBalancer, NodePort or ClusterIP"), "{said}");
    for place in ["", "Infra", "infra/", "infra/a/b", "all/x y"] {
        let said = told(agent::Certificate::read(place).map(drop));
        assert!(said.contains("--read-certificates") && said.contains("hint:"), "{said}");
    }
    let twice = Many::These(vec!["a".to_owned(), "a".to_owned()]);
    let said = told(gateways::Options { zones: twice, ..crate::gateways() }.check());
    assert!(said.contains("--zone"), "{said}");
    let said = told(gateways::Options { replicas: (3.into(), 2.into()), ..crate::gateways() }.check());
    assert!(said.contains("--max-replicas 2 is below --replicas 3"), "{said}");
    let said = told(gateways::Options { ports: Many::These(vec![]), ..crate::gateways() }.check());
    assert!(said.contains("--port"), "{said}");
}
