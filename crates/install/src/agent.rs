//! The agents of a cluster: two or more over its zones, each with a state folder of its own.

use crate::{
    Wrong,
    parts::{
        api_access, api_mount, container_security, deny_all, disruption_budget, dns, field, labels, meta,
        namespace, network_policy, pod_security, pods, probe, selector, service_account, spread, tcp,
    },
    rights::{Account, OURS, events, lease, read, rule, tell},
    values::{Many, Number, When, host_port, image, name},
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
    /// The Secrets that agents may read, for the certificates of HTTPS listeners.
    pub certificates: Many<Certificate>,
    /// Whether they may read all, and look for them everywhere.
    pub all_certificates: When,
}

/// Where certificates are.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The same as agents are told: `NAMESPACE`, or `NAMESPACE/NAME`.
    pub place: String,
    /// The namespace.
    pub namespace: String,
    /// The name of the Secret, if it is one.
    pub name: String,
    /// Whether it is one, or all of the namespace.
    pub with_name: When,
}

/// The most places of certificates, as agents take them.
const MAX_CERTIFICATES: usize = 64;

impl Certificate {
    /// `NAMESPACE`, or `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn read(text: &str) -> Result<Self, Wrong> {
        let (namespace, secret) = text.split_once('/').map_or((text, None), |(it, rest)| (it, Some(rest)));
        name("--read-certificates", namespace)?;
        // Names of Secrets may have dots.
        secret.map_or(Ok(()), |it| it.split('.').try_for_each(|part| name("--read-certificates", part)))?;
        Ok(Self {
            place: text.to_owned(),
            namespace: namespace.to_owned(),
            name: secret.unwrap_or_default().to_owned(),
            with_name: When::Known(secret.is_some()),
        })
    }

    /// Each place has a role of its own, for there may be several in a namespace.
    fn rights(&self, account: &Account<'_>) -> Vec<Value> {
        let secrets = ("", ["secrets"].as_slice());
        let mut one = rule(secrets, &["get"]);
        one["resourceNames"] = json!([self.name]);
        let one = account.elsewhere(&self.namespace, &format!("{NAME}-certificate-{}", self.name), &[one]);
        let list = rule(secrets, &["get", "list"]);
        let all = account.elsewhere(&self.namespace, &format!("{NAME}-certificates"), &[list]);
        [self.with_name.then(one), self.with_name.otherwise(all)].concat()
    }
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
        if let Many::These(places) = &self.certificates
            && places.len() > MAX_CERTIFICATES
        {
            return Err(Wrong::new(
                format!("--read-certificates names {} places", places.len()),
                format!("name {MAX_CERTIFICATES} at most: a namespace stands for all of its Secrets"),
            ));
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

/// Of the Gateway API, what has a status and what has none.
const ROUTING: (&str, &[&str]) = (
    "gateway.networking.k8s.io",
    &[
        "gatewayclasses",
        "gateways",
        "httproutes",
        "grpcroutes",
        "tcproutes",
        "tlsroutes",
        "backendtlspolicies",
    ],
);
const GRANTS: (&str, &[&str]) = ("gateway.networking.k8s.io", &["referencegrants"]);

/// What agents read in all namespaces: the kinds of `discovery/src/kube/kinds.rs`.
const READ: [(&str, &[&str]); 7] = [
    ("", &["services", "nodes", "namespaces"]),
    ("apps", &["deployments", "statefulsets", "replicasets"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ROUTING,
    GRANTS,
    ("multicluster.x-k8s.io", &["serviceexports", "serviceimports"]),
    OURS,
];

fn rights(options: &Options) -> Vec<Value> {
    let mut rules: Vec<Value> = READ.into_iter().map(read).collect();
    rules.extend([tell(ROUTING), tell(OURS), events()]);
    // One by one, those that a BackendTLSPolicy names.
    rules.push(json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}));
    // Roles know no types: who may read all certificates may read all Secrets.
    rules.extend(options.all_certificates.then([read(("", &["secrets"]))]));
    let account = Account { name: NAME, namespace: &options.namespace, component: COMPONENT };
    let mut own = Vec::from(lease(NAME));
    own.push(json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [IDENTITY], "verbs": ["get", "patch"]}));
    let mut objects = [account.everywhere(&rules), account.at_home(&own)].concat();
    objects.extend(options.certificates.flat_map(|it| it.rights(&account)));
    objects
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
    arguments.extend(options.certificates.map(|it| json!(format!("--certificates={}", it.place))));
    arguments
}

fn stateful_set(options: &Options) -> Value {
    let Options { namespace, image, replicas, .. } = options;
    let mut mounts = vec![json!({"name": "state", "mountPath": "/var/lib/tidegate"})];
    mounts.extend(
        options.with_hub.then([json!({"name": "join", "mountPath": "/etc/tidegate/join", "readOnly": true})]),
    );
    let mut volumes = vec![api_access()];
    // A token for each replica, below the name of its pod; good once, so it may go when they have joined.
    volumes.extend(options.with_hub.then([json!({"name": "join", "secret": {"secretName": "tidegate-agent-join", "optional": true, "defaultMode": 288}})]));
    mounts.push(api_mount());
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
