//! The hub: one, with its keys and its history on a disk of its own. Nothing fails over by it.

use crate::{
    Wrong,
    parts::{
        api_access, api_mount, container_security, deny_all, disruption_budget, dns, field, labels, meta,
        namespace, network_policy, pod_security, probe, selector, service_account, spread, tcp,
    },
    rights::{Account, OURS, events, lease, read, tell},
    values::{When, image, name},
};
use serde_json::{Value, json};

const COMPONENT: &str = "hub";
const NAME: &str = "tidegate-hub";
const ADMIN: &str = "127.0.0.1:18101";
/// Where agents connect.
const AGENTS: u16 = 18_100;
/// Where people ask.
const PEOPLE: u16 = 18_102;
/// Where API servers listen, if not at 443.
const API: u16 = 6443;

/// How the hub is installed.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The namespace.
    pub namespace: String,
    /// Whether it is made, too.
    pub create_namespace: bool,
    /// The image of `tidegate`, with its version.
    pub image: String,
    /// The ConfigMap with the fleet's policy, a file for each key.
    pub policies: String,
    /// Whether it comes from there: exactly one of this and the next two.
    pub with_policies: When,
    /// The Git repository with it.
    pub git: String,
    /// Whether it comes from there. The image then has to hold the command `git`.
    pub with_git: When,
    /// Whether it comes from the API of the cluster that the hub is in.
    pub with_kubernetes: When,
    /// The type of the Service at which agents of other clusters come in.
    pub service: String,
}

impl Options {
    /// # Errors
    /// If something in them is not what Kubernetes takes.
    pub fn check(&self) -> Result<(), Wrong> {
        name("--namespace", &self.namespace)?;
        image("--image", &self.image)?;
        name("--policies", &self.policies)?;
        if self.with_git == When::Known(true)
            && self.git.chars().any(|c| c.is_whitespace() || "\"'\\{}".contains(c))
        {
            return Err(Wrong::new(
                format!("--git {:?} is no address of a repository", self.git),
                "write for example https://git.example/fleet.git",
            ));
        }
        if !["LoadBalancer", "ClusterIP", "NodePort"].contains(&self.service.as_str()) {
            return Err(Wrong::new(
                format!("--service {:?} is no type of a Service", self.service),
                "write LoadBalancer, NodePort or ClusterIP",
            ));
        }
        Ok(())
    }
}

/// The objects.
#[must_use]
pub fn objects(options: &Options) -> Vec<Value> {
    let at = options.namespace.as_str();
    let mut objects: Vec<Value> = options.create_namespace.then_some(namespace(at)).into_iter().collect();
    objects.push(service_account(NAME, at, COMPONENT));
    // Where it asks no Kubernetes API, its account has no rights and no token.
    objects.extend(options.with_kubernetes.then(rights(at)));
    objects.extend([
        service(options),
        stateful_set(options),
        disruption_budget(NAME, at, COMPONENT, &selector(COMPONENT)),
        deny_all("tidegate-hub-default-deny", at, COMPONENT),
        network(options),
    ]);
    objects
}

/// What a hub reads of the API, the kinds for a whole fleet of `discovery/src/kube/kinds.rs`, and tells it: no Secret, and
/// nothing that only a cluster knows.
fn rights(namespace: &str) -> Vec<Value> {
    const GATEWAYS: (&str, &[&str]) = ("gateway.networking.k8s.io", &["gatewayclasses", "gateways"]);
    let account = Account { name: NAME, namespace, component: COMPONENT };
    let rules = [read(GATEWAYS), read(OURS), tell(GATEWAYS), tell(OURS), events()];
    [account.everywhere(&rules), account.at_home(&lease(NAME))].concat()
}

fn service(options: &Options) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(NAME, &options.namespace, COMPONENT),
        "spec": {
            "type": options.service,
            "selector": selector(COMPONENT),
            "ports": [
                {"name": "agents", "port": AGENTS, "targetPort": "agents", "protocol": "TCP"},
                {"name": "people", "port": PEOPLE, "targetPort": "people", "protocol": "TCP"},
            ],
        },
    })
}

fn stateful_set(options: &Options) -> Value {
    let mut arguments = vec![
        json!("hub"),
        json!("--state-dir=/var/lib/tidegate"),
        json!(format!("--listen=0.0.0.0:{AGENTS}")),
        json!(format!("--admin={ADMIN}")),
        json!(format!("--admin-tls=0.0.0.0:{PEOPLE}")),
    ];
    arguments.extend(options.with_git.then([json!(format!("--git={}", options.git))]));
    arguments.extend(options.with_kubernetes.then([json!("--kubernetes")]));
    arguments.extend(options.with_policies.then([json!("--policies=/etc/tidegate/policies")]));
    let mut mounts = vec![
        json!({"name": "state", "mountPath": "/var/lib/tidegate"}),
        // `git` makes files, and ours while a report is written.
        json!({"name": "tmp", "mountPath": "/tmp"}),
    ];
    let policies = json!({"name": "policies", "mountPath": "/etc/tidegate/policies", "readOnly": true});
    mounts.extend(options.with_policies.then([policies]));
    mounts.extend(options.with_kubernetes.then([api_mount()]));
    let mut volumes = vec![json!({"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}})];
    volumes.extend(
        options
            .with_policies
            .then([json!({"name": "policies", "configMap": {"name": options.policies, "optional": true}})]),
    );
    volumes.extend(options.with_kubernetes.then([api_access()]));
    let container = json!({
        "name": "hub",
        "image": options.image,
        "args": arguments,
        // By this name it holds the lease.
        "env": [field("POD_NAME", "metadata.name")],
        "ports": [
            {"name": "agents", "containerPort": AGENTS, "protocol": "TCP"},
            {"name": "people", "containerPort": PEOPLE, "protocol": "TCP"},
        ],
        "startupProbe": probe("/tidegate", ADMIN, "/healthz", 2, 60),
        "livenessProbe": probe("/tidegate", ADMIN, "/healthz", 10, 6),
        "readinessProbe": probe("/tidegate", ADMIN, "/readyz", 5, 2),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": container_security(),
        "volumeMounts": mounts,
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta(NAME, &options.namespace, COMPONENT),
        "spec": {
            // One writes; another one stands by elsewhere (docs/hub.md).
            "replicas": 1,
            "serviceName": NAME,
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
            "volumeClaimTemplates": [{
                "metadata": {"name": "state"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
            }],
        },
    })
}

fn network(options: &Options) -> Value {
    // Agents of other clusters come from anywhere, with a certificate; people with a token.
    let ingress = json!([{"ports": [tcp(AGENTS), tcp(PEOPLE)]}]);
    let mut egress = vec![dns()];
    egress.extend(options.with_git.then([json!({"ports": [tcp(443), tcp(22)]})]));
    // The API's own port, which its Service leads to.
    egress.extend(options.with_kubernetes.then([json!({"ports": [tcp(443), tcp(API)]})]));
    network_policy(NAME, &options.namespace, COMPONENT, &ingress, &json!(egress))
}
