//! The agents of a cluster: two or more over its zones, each with a state folder of its own.

use crate::{
    Wrong,
    parts::{
        container_security, deny_all, disruption_budget, dns, field, labels, meta, namespace, network_policy,
        pod_security, pods, probe, selector, service_account, spread, tcp,
    },
    values::{Number, When, host_port, image, name},
};
use serde_json::{Value, json};

const COMPONENT: &str = "agent";
const NAME: &str = "tidegate-agent";
const ADMIN: &str = "127.0.0.1:18001";
/// Where gateways connect.
pub(crate) const GATEWAYS: u16 = 18_000;
/// Where other replicas connect once the cluster has joined a hub.
const REPLICAS: u16 = 18_002;
/// Where people elsewhere ask, once the cluster has joined a hub.
const PEOPLE: u16 = 18_003;

/// How agents are installed.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The namespace.
    pub namespace: String,
    /// Whether it is made, too.
    pub create_namespace: bool,
    /// The image of `tidegate`, with its version.
    pub image: String,
    /// The name of the cluster's `FleetCluster`.
    pub cluster: String,
    /// How many agents.
    pub replicas: Number,
    /// The hub's `HOST:PORT`; empty where there is none.
    pub hub: String,
    /// Whether there is a hub.
    pub with_hub: When,
    /// Whether agents may read the cluster's Secrets, for the certificates of HTTPS listeners.
    pub read_certificates: When,
}

impl Options {
    /// # Errors
    /// If something in them is not what Kubernetes takes.
    pub fn check(&self) -> Result<(), Wrong> {
        name("--namespace", &self.namespace)?;
        image("--image", &self.image)?;
        name("--cluster", &self.cluster)?;
        if self.with_hub == When::Known(true) {
            host_port("--hub", &self.hub)?;
        }
        Ok(())
    }
}

/// The objects.
#[must_use]
pub fn objects(options: &Options) -> Vec<Value> {
    let namespace_name = options.namespace.as_str();
    let mut objects =
        options.create_namespace.then_some(namespace(namespace_name)).into_iter().collect::<Vec<_>>();
    objects.push(service_account(NAME, namespace_name, COMPONENT));
    objects.extend(rights(options));
    objects.push(identity(namespace_name));
    objects.push(service(namespace_name));
    objects.push(stateful_set(options));
    objects.push(disruption_budget(NAME, namespace_name, COMPONENT, &selector(COMPONENT)));
    objects.push(deny_all("tidegate-agent-default-deny", namespace_name, COMPONENT));
    objects.push(network(options));
    objects
}

/// What agents read in all namespaces, with the resources of each group: the kinds of `discovery/src/kube/kinds.rs`.
const READ: [(&str, &[&str]); 6] = [
    ("", &["services", "nodes", "namespaces"]),
    ("apps", &["deployments", "statefulsets", "replicasets"]),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "gateway.networking.k8s.io",
        &[
            "gatewayclasses",
            "gateways",
            "httproutes",
            "grpcroutes",
            "tcproutes",
            "tlsroutes",
            "referencegrants",
            "backendtlspolicies",
        ],
    ),
    ("multicluster.x-k8s.io", &["serviceexports", "serviceimports"]),
    (
        "tidegate.dev",
        &[
            "failoverpolicies",
            "failoverprofiles",
            "fleetclusters",
            "gatewaytemplates",
            "trafficshifts",
            "drills",
            "drillschedules",
        ],
    ),
];

/// The objects whose status agents write.
const STATUS: [(&str, &[&str]); 2] = [
    (
        "gateway.networking.k8s.io",
        &[
            "gatewayclasses/status",
            "gateways/status",
            "httproutes/status",
            "grpcroutes/status",
            "tcproutes/status",
            "tlsroutes/status",
            "backendtlspolicies/status",
        ],
    ),
    (
        "tidegate.dev",
        &[
            "failoverpolicies/status",
            "failoverprofiles/status",
            "fleetclusters/status",
            "gatewaytemplates/status",
            "trafficshifts/status",
            "drills/status",
            "drillschedules/status",
        ],
    ),
];

fn rights(options: &Options) -> Vec<Value> {
    let rule = |(group, resources): &(&str, &[&str]), verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let mut rules: Vec<Value> = READ.iter().map(|it| rule(it, &["get", "list", "watch"])).collect();
    // One by one, those that a BackendTLSPolicy names.
    rules.push(rule(&("", &["configmaps"]), &["get"]));
    rules.extend(STATUS.iter().map(|it| rule(it, &["patch"])));
    // About objects of any namespace; what happens again is counted in the event that is there.
    rules
        .push(json!({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}));
    // Roles know no types: who may read certificates may read all Secrets.
    rules.extend(options.read_certificates.then([rule(&("", &["secrets"]), &["get", "list", "watch"])]));
    let cluster_meta = |name: &str| json!({"name": name, "labels": labels(COMPONENT)});
    let account = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": options.namespace}]);
    let role =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    // Of several installations in one cluster each has rights of its own.
    let cluster_role = format!("{NAME}-{}", options.namespace);
    let own = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [NAME], "verbs": ["get", "update"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [IDENTITY], "verbs": ["get", "patch"]},
    ]);
    vec![
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": cluster_meta(&cluster_role), "rules": rules}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": cluster_meta(&cluster_role),
            "roleRef": role("ClusterRole", &cluster_role),
            "subjects": account,
        }),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta(NAME, &options.namespace, COMPONENT), "rules": own}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta(NAME, &options.namespace, COMPONENT),
            "roleRef": role("Role", NAME),
            "subjects": account,
        }),
    ]
}

/// The Secret with the identities that the hub gave, a key for each replica.
const IDENTITY: &str = "tidegate-agent-identity";

/// It is empty, and there from the start: so agents need no right to make Secrets.
fn identity(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta(IDENTITY, namespace, COMPONENT)})
}

/// A name that leads to all agents, ready or not: replicas have to find each other before they are ready.
fn service(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(NAME, namespace, COMPONENT),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": selector(COMPONENT),
            "ports": [
                {"name": "xds", "port": GATEWAYS, "targetPort": "xds", "protocol": "TCP", "appProtocol": "grpc"},
                {"name": "replicas", "port": REPLICAS, "targetPort": "replicas", "protocol": "TCP"},
                {"name": "people", "port": PEOPLE, "targetPort": "people", "protocol": "TCP"},
            ],
        },
    })
}

fn arguments(options: &Options) -> Vec<Value> {
    let Options { namespace, cluster, hub, .. } = options;
    let replicas = |port: u16| json!(format!("--replicas={NAME}.{namespace}.svc:{port}"));
    let mut arguments = vec![
        json!("agent"),
        json!("--kubernetes"),
        json!(format!("--cluster={cluster}")),
        json!("--state-dir=/var/lib/tidegate"),
        json!(format!("--admin={ADMIN}")),
        json!(format!("--listen=0.0.0.0:{GATEWAYS}")),
    ];
    arguments.extend(options.with_hub.then([
        json!(format!("--hub={hub}")),
        json!("--join-file=/etc/tidegate/join/$(POD_NAME)"),
        json!(format!("--identity-secret={namespace}/{IDENTITY}")),
        json!("--identity-key=$(POD_NAME)"),
        json!(format!("--admin-tls=0.0.0.0:{PEOPLE}")),
        json!(format!("--listen=replicas:0.0.0.0:{REPLICAS}")),
        replicas(REPLICAS),
    ]));
    arguments.extend(options.with_hub.otherwise([replicas(GATEWAYS)]));
    arguments
}

fn stateful_set(options: &Options) -> Value {
    let Options { namespace, image, replicas, .. } = options;
    let mut mounts = vec![json!({"name": "state", "mountPath": "/var/lib/tidegate"})];
    mounts.extend(
        options.with_hub.then([json!({"name": "join", "mountPath": "/etc/tidegate/join", "readOnly": true})]),
    );
    let mut volumes = vec![json!({"name": "api", "projected": {"defaultMode": 288, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})];
    // A token for each replica, below the name of its pod; good once, so it may go when they have joined.
    volumes.extend(options.with_hub.then([json!({"name": "join", "secret": {"secretName": "tidegate-agent-join", "optional": true, "defaultMode": 288}})]));
    mounts.push(json!({"name": "api", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}));
    let container = json!({
        "name": "agent",
        "image": image,
        "args": arguments(options),
        "env": [field("POD_NAME", "metadata.name")],
        "ports": [
            {"name": "xds", "containerPort": GATEWAYS, "protocol": "TCP"},
            {"name": "replicas", "containerPort": REPLICAS, "protocol": "TCP"},
            {"name": "people", "containerPort": PEOPLE, "protocol": "TCP"},
        ],
        // An agent reads its manifests before it is ready, and asks the other replicas.
        "startupProbe": probe("/tidegate", ADMIN, "/healthz", 2, 60),
        "livenessProbe": probe("/tidegate", ADMIN, "/healthz", 10, 6),
        "readinessProbe": probe("/tidegate", ADMIN, "/readyz", 5, 2),
        // 10,000 services with 100,000 endpoints take about 200 MB. No limit of CPU: a late agent is one that suspects itself.
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": container_security(),
        "volumeMounts": mounts,
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta(NAME, namespace, COMPONENT),
        "spec": {
            "replicas": replicas.value(),
            "serviceName": NAME,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector(COMPONENT)},
            "template": {
                "metadata": {"labels": labels(COMPONENT)},
                "spec": {
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": pod_security(),
                    "topologySpreadConstraints": spread(COMPONENT),
                    "containers": [container],
                    "volumes": volumes,
                },
            },
            // Hold-downs and the last good policy outlive a pod.
            "volumeClaimTemplates": [{
                "metadata": {"name": "state"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    })
}

fn network(options: &Options) -> Value {
    let mut ingress = vec![
        json!({"from": [pods("gateway")], "ports": [tcp(GATEWAYS)]}),
        json!({"from": [{"podSelector": {"matchLabels": selector(COMPONENT)}}], "ports": [tcp(GATEWAYS), tcp(REPLICAS)]}),
    ];
    // Who asks there shows a token or a certificate.
    ingress.extend(options.with_hub.then([json!({"ports": [tcp(PEOPLE)]})]));
    // Agents check every endpoint of the cluster, at whatever port, and reach other clusters' gateways, the hub and the API.
    network_policy(NAME, &options.namespace, COMPONENT, &json!(ingress), &json!([dns(), {}]))
}
