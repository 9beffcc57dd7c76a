//! What all components have in common.

use serde_json::{Value, json};

/// Who runs in a pod: `nobody` of distroless images. The files of a volume belong to the group.
const USER: u32 = 65_532;

/// The labels of a component's objects.
pub(crate) fn labels(component: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "tidegate",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "tidegate",
    })
}

/// What selects a component's pods.
pub(crate) fn selector(component: &str) -> Value {
    json!({"app.kubernetes.io/name": "tidegate", "app.kubernetes.io/component": component})
}

/// `metadata` of an object of a component.
pub(crate) fn meta(name: &str, namespace: &str, component: &str) -> Value {
    json!({"name": name, "namespace": namespace, "labels": labels(component)})
}

pub(crate) fn service_account(name: &str, namespace: &str, component: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta(name, namespace, component),
        "automountServiceAccountToken": false,
    })
}

/// What Pod Security's level `restricted` asks of a pod.
pub(crate) fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// What it asks of a container, and a root file system that nobody writes to.
pub(crate) fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// A probe that asks an address of the pod's own loopback: an admin address can move traffic, so it is open to nobody else.
pub(crate) fn probe(binary: &str, admin: &str, path: &str, period: u32, failures: u32) -> Value {
    json!({
        "exec": {"command": [binary, "health", "--admin", admin, "--path", path]},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

/// Pods over zones first, over nodes then; where that cannot be, they run all the same.
pub(crate) fn spread(component: &str) -> Value {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(component)},
        })
    };
    json!([over("topology.kubernetes.io/zone"), over("kubernetes.io/hostname")])
}

/// One pod may be away at a time, for drained nodes.
pub(crate) fn disruption_budget(name: &str, namespace: &str, component: &str, selects: &Value) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(name, namespace, component),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selects}},
    })
}

/// Nothing goes in or out of a component's pods but what `ingress` and `egress` allow.
pub(crate) fn network_policy(
    name: &str,
    namespace: &str,
    component: &str,
    ingress: &Value,
    egress: &Value,
) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(name, namespace, component),
        "spec": {
            "podSelector": {"matchLabels": selector(component)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    })
}

/// Whatever no component's own policy allows stays out, of pods that somebody adds to the namespace, too.
pub(crate) fn deny_all(name: &str, namespace: &str, component: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(name, namespace, component),
        "spec": {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "tidegate"}}, "policyTypes": ["Ingress", "Egress"]},
    })
}

/// The pods of a component, in whatever namespace.
pub(crate) fn pods(component: &str) -> Value {
    json!({"namespaceSelector": {}, "podSelector": {"matchLabels": selector(component)}})
}

pub(crate) fn tcp(port: impl Into<Value>) -> Value {
    json!({"protocol": "TCP", "port": port.into()})
}

/// Names are looked up at whatever answers on port 53.
pub(crate) fn dns() -> Value {
    json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]})
}

/// The variable with a field of the pod.
pub(crate) fn field(variable: &str, path: &str) -> Value {
    json!({"name": variable, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

/// The volume by which a pod asks the API as its account, mounted by [`api_mount`].
pub(crate) fn api_access() -> Value {
    json!({"name": "api", "projected": {"defaultMode": 288, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

pub(crate) fn api_mount() -> Value {
    json!({"name": "api", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true})
}

/// The namespace of the installation, in which no pod can do more than ours need.
pub(crate) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": "tidegate",
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            },
        },
    })
}
