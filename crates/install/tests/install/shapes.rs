//! Every object has the shape of its kind: nothing is lost on the way through Kubernetes' own types, so no field is misspelt.

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Namespace, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fn through<T: Serialize + DeserializeOwned>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
    serde_json::to_value(typed).unwrap()
}

/// What of `object` is not in `back`, which may have more: types fill in what is their own.
fn lost(object: &Value, back: &Value, path: &str, into: &mut Vec<String>) {
    let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    match (object, back) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields {
                lost(value, &back[name], &format!("{path}.{name}"), into);
            }
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            for (at, (item, other)) in items.iter().zip(others).enumerate() {
                lost(item, other, &format!("{path}[{at}]"), into);
            }
        }
        _ if object == back || empty(object) => {}
        _ => into.push(format!("{path}: {object} became {back}")),
    }
}

#[test]
fn every_object_has_the_shape_of_its_kind() {
    for (what, objects) in crate::all() {
        assert!(objects.len() >= 6, "{what}");
        for object in objects {
            let back = match object["kind"].as_str().unwrap() {
                "Namespace" => through::<Namespace>(&object),
                "ServiceAccount" => through::<ServiceAccount>(&object),
                "Secret" => through::<Secret>(&object),
                "Service" => through::<Service>(&object),
                "StatefulSet" => through::<StatefulSet>(&object),
                "Deployment" => through::<Deployment>(&object),
                "HorizontalPodAutoscaler" => through::<HorizontalPodAutoscaler>(&object),
                "PodDisruptionBudget" => through::<PodDisruptionBudget>(&object),
                "NetworkPolicy" => through::<NetworkPolicy>(&object),
                "ClusterRole" => through::<ClusterRole>(&object),
                "ClusterRoleBinding" => through::<ClusterRoleBinding>(&object),
                "Role" => through::<Role>(&object),
                "RoleBinding" => through::<RoleBinding>(&object),
                other => panic!("{other}: say here which type it has"),
            };
            let mut missing = Vec::new();
            lost(&object, &back, object["kind"].as_str().unwrap(), &mut missing);
            assert!(missing.is_empty(), "{what}: {missing:#?}");
        }
    }
}
