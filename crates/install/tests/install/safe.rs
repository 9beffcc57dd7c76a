//! What Pod Security's level `restricted` and good manners ask of every pod, read from the objects alone.

use serde_json::{Value, json};

/// The pod templates of some objects, each with a name.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let named = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let of = |object| named(object);
    objects
        .iter()
        .filter(|it| it["spec"]["template"]["spec"].is_object())
        .map(|it| (of(it), &it["spec"]["template"]))
        .collect()
}

fn containers(pod: &Value) -> Vec<&Value> {
    let list = |name: &str| pod["spec"][name].as_array().into_iter().flatten();
    list("initContainers").chain(list("containers")).collect()
}

#[test]
fn every_pod_is_restricted() {
    let mut seen = 0;
    for (what, objects) in crate::all() {
        for (name, pod) in pods(&objects) {
            seen += 1;
            let spec = &pod["spec"];
            let security = &spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{what}: {name}");
            assert_ne!(security["runAsUser"], 0, "{what}: {name}");
            assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}), "{what}: {name}");
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec[host].is_null(), "{what}: {name} has {host}");
            }
            for volume in spec["volumes"].as_array().into_iter().flatten() {
                let allowed =
                    ["configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"];
                assert!(allowed.iter().any(|kind| volume[kind].is_object()), "{what}: {name}: {volume}");
            }
            for container in containers(pod) {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{what}: {name}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{what}: {name}");
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{what}: {name}");
                assert!(
                    container["resources"]["requests"]["memory"].is_string(),
                    "{what}: {name} requests nothing"
                );
                assert!(
                    container["resources"]["limits"]["memory"].is_string(),
                    "{what}: {name} has no limit"
                );
            }
            for container in spec["containers"].as_array().unwrap() {
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    assert!(
                        container[probe]["exec"]["command"][0].is_string(),
                        "{what}: {name} has no {probe}"
                    );
                }
            }
            assert_eq!(spec["automountServiceAccountToken"], false, "{what}: {name}");
            assert!(
                spec["topologySpreadConstraints"].as_array().is_some_and(|it| !it.is_empty()),
                "{what}: {name}"
            );
        }
    }
    assert_eq!(seen, 11, "pods that are installed");
}

#[test]
fn every_pod_is_found_by_a_budget_a_policy_that_denies_and_one_that_allows() {
    for (what, objects) in crate::all() {
        let selected = |kind: &str, field: &str, pod: &Value| {
            let selects = |object: &&Value| {
                let wanted = object["spec"][field]["matchLabels"].as_object().unwrap();
                object["kind"] == kind
                    && wanted.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value)
            };
            objects.iter().filter(|it| it["kind"] == kind).filter(selects).count()
        };
        for (name, pod) in pods(&objects) {
            assert_eq!(selected("PodDisruptionBudget", "selector", pod), 1, "{what}: {name}");
            assert_eq!(selected("NetworkPolicy", "podSelector", pod), 2, "{what}: {name}");
        }
    }
}

#[test]
fn a_gateway_has_time_to_drain_before_it_is_killed() {
    for (name, pod) in pods(&tidegate_install::gateways::objects(&crate::gateways())) {
        let hook = &pod["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"];
        assert_eq!(hook[hook.as_array().unwrap().len() - 1], "30s", "{name}");
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 45, "{name}");
    }
}
