//! The Envoys of a gateway: a Deployment for each zone, since an Envoy has to know its zone and each zone needs its own room.

use crate::{
    Wrong,
    agent::GATEWAYS,
    parts::{
        container_security, deny_all, disruption_budget, field, labels, pod_security, probe, selector,
        service_account, tcp,
    },
    values::{Many, Number, When, image, name},
};
use serde_json::{Value, json};

const COMPONENT: &str = "gateway";
const ADMIN: &str = "127.0.0.1:19000";
/// Where our program lies beside Envoy's image, which stays as it is.
const BINARY: &str = "/opt/tidegate/tidegate";
/// What ends after a drain: Envoy has 5 s, and whoever ends it a little more.
const AFTER_DRAIN_SECONDS: u64 = 15;

/// How the Envoys of a gateway are installed.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The namespace of the `Gateway`, and of its pods.
    pub namespace: String,
    /// The name of the `Gateway`.
    pub gateway: String,
    /// The image of `tidegate`, with its version.
    pub image: String,
    /// The image of Envoy, with its version.
    pub envoy_image: String,
    /// The name of the cluster's `FleetCluster`.
    pub cluster: String,
    /// The cluster's region.
    pub region: String,
    /// The zones, each of which has Envoys of its own.
    pub zones: Many<String>,
    /// The ports of the gateway's listeners.
    pub ports: Many<Number>,
    /// The agents' namespace.
    pub agent_namespace: String,
    /// The pods of the agents, by their number: 0, 1, ...
    pub agents: Many<Number>,
    /// The least and the most Envoys of a zone.
    pub replicas: (Number, Number),
    /// How long connections may go on after an Envoy was asked to end, in seconds.
    pub drain_seconds: Number,
    /// The type of the Service.
    pub service: String,
    /// The Secret with what `tidegate envoy certificate` made, where the cluster has joined a hub.
    pub credentials: String,
    /// Whether there is one.
    pub with_credentials: When,
}

impl Options {
    /// # Errors
    /// If something in them is not what Kubernetes takes.
    pub fn check(&self) -> Result<(), Wrong> {
        name("--namespace", &self.namespace)?;
        name("--gateway", &self.gateway)?;
        image("--image", &self.image)?;
        image("--envoy-image", &self.envoy_image)?;
        name("--cluster", &self.cluster)?;
        name("--region", &self.region)?;
        name("--agent-namespace", &self.agent_namespace)?;
        if let Many::These(zones) = &self.zones {
            zones.iter().try_for_each(|zone| name("--zone", zone))?;
            let mut sorted = zones.clone();
            sorted.sort();
            sorted.dedup();
            if zones.is_empty() || sorted.len() != zones.len() {
                return Err(Wrong::new(
                    "--zone names no zone, or one twice",
                    "write --zone for each zone, once",
                ));
            }
        }
        if let Many::These(ports) = &self.ports
            && ports.is_empty()
        {
            return Err(Wrong::new("no --port is named", "write --port for each listener of the Gateway"));
        }
        if self.with_credentials == When::Known(true) {
            name("--credentials", &self.credentials)?;
        }
        if let (Number::Known(least), Number::Known(most)) = &self.replicas
            && least > most
        {
            return Err(Wrong::new(
                format!("--max-replicas {most} is below --replicas {least}"),
                "raise --max-replicas",
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

    fn name(&self) -> String {
        format!("{}-gateway", self.gateway)
    }

    fn labels(&self) -> Value {
        let mut all = labels(COMPONENT);
        all["app.kubernetes.io/instance"] = json!(self.gateway);
        all
    }

    /// What selects the pods of this gateway, in a zone or in all.
    fn selector(&self, zone: Option<&str>) -> Value {
        let mut all = selector(COMPONENT);
        all["app.kubernetes.io/instance"] = json!(self.gateway);
        if let Some(zone) = zone {
            all["tidegate.dev/zone"] = json!(zone);
        }
        all
    }

    fn meta(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": self.labels()})
    }
}

/// The objects. The namespace is the user's own, that of the `Gateway`.
#[must_use]
pub fn objects(options: &Options) -> Vec<Value> {
    let at = options.namespace.as_str();
    let own = options.name();
    let mut account = service_account(&own, at, COMPONENT);
    account["metadata"] = options.meta(&own);
    let mut objects = vec![account, service(options)];
    objects.extend(options.zones.flat_map(|zone| of_zone(options, zone)));
    let mut deny = deny_all(&format!("{own}-default-deny"), at, COMPONENT);
    deny["metadata"] = options.meta(&format!("{own}-default-deny"));
    deny["spec"]["podSelector"] = json!({"matchLabels": options.selector(None)});
    objects.push(deny);
    objects.push(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": options.meta(&own),
        "spec": {
            "podSelector": {"matchLabels": options.selector(None)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": options.ports.map(|port| tcp(port.value()))}],
            // Envoys reach every endpoint of the cluster, at whatever port, and other clusters' gateways.
            "egress": [{}],
        },
    }));
    objects
}

fn service(options: &Options) -> Value {
    let port = |port: &Number| json!({"name": format!("port-{}", port.text()), "port": port.value(), "targetPort": port.value(), "protocol": "TCP"});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": options.meta(&options.name()),
        "spec": {
            "type": options.service,
            // Clients keep their address, and no node forwards to a gateway of another zone.
            "externalTrafficPolicy": "Local",
            "selector": options.selector(None),
            "ports": options.ports.map(port),
        },
    })
}

fn of_zone(options: &Options, zone: &str) -> Vec<Value> {
    let name = format!("{}-{zone}", options.name());
    let mut budget = disruption_budget(&name, &options.namespace, COMPONENT, &options.selector(Some(zone)));
    budget["metadata"] = options.meta(&name);
    let scaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": options.meta(&name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": options.replicas.0.value(),
            "maxReplicas": options.replicas.1.value(),
            // A zone takes over another one's traffic within a second, and pods take longer to start: keep half free.
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        },
    });
    vec![deployment(options, zone, &name), scaler, budget]
}

fn deployment(options: &Options, zone: &str, name: &str) -> Value {
    let mut pod_labels = options.labels();
    pod_labels["tidegate.dev/zone"] = json!(zone);
    let mut volumes = vec![
        json!({"name": "tidegate", "emptyDir": {"sizeLimit": "512Mi"}}),
        json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}),
    ];
    volumes.extend(options.with_credentials.then([
        json!({"name": "credentials", "secret": {"secretName": options.credentials, "defaultMode": 288}}),
    ]));
    let copy = json!({
        "name": "tidegate",
        "image": options.image,
        "args": ["install", "binary", "--to", BINARY],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [{"name": "tidegate", "mountPath": "/opt/tidegate"}],
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": options.meta(name),
        "spec": {
            // The number of replicas is the autoscaler's.
            "selector": {"matchLabels": options.selector(Some(zone))},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": 5,
            "template": {
                "metadata": {"labels": pod_labels},
                "spec": {
                    "serviceAccountName": options.name(),
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": options.drain_seconds.plus(AFTER_DRAIN_SECONDS).value(),
                    "securityContext": pod_security(),
                    "nodeSelector": {"topology.kubernetes.io/zone": zone},
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": options.selector(Some(zone))},
                    }],
                    "initContainers": [copy],
                    "containers": [envoy(options, zone)],
                    "volumes": volumes,
                },
            },
        },
    })
}

fn envoy(options: &Options, zone: &str) -> Value {
    let mut arguments = vec![
        json!("envoy"),
        json!("run"),
        json!("--envoy=/usr/local/bin/envoy"),
        json!(format!("--gateway={}/{}", options.namespace, options.gateway)),
        json!(format!("--cluster={}", options.cluster)),
        json!(format!("--region={}", options.region)),
        json!(format!("--zone={zone}")),
        json!("--node-id=$(POD_NAMESPACE)/$(POD_NAME)"),
        json!(format!("--admin={ADMIN}")),
        // About 80 % of the container's limit, and a worker for each of its CPUs.
        json!("--max-heap-mib=1600"),
        json!("--concurrency=2"),
    ];
    let agent = |number: &Number| {
        let namespace = &options.agent_namespace;
        json!(format!("--agent=tidegate-agent-{}.tidegate-agent.{namespace}.svc:{GATEWAYS}", number.text()))
    };
    arguments.extend(options.agents.map(agent));
    arguments.extend(options.with_credentials.then([json!("--credentials=/etc/tidegate/credentials")]));
    let mut mounts = vec![
        json!({"name": "tidegate", "mountPath": "/opt/tidegate", "readOnly": true}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
    ];
    mounts.extend(
        options.with_credentials.then([
            json!({"name": "credentials", "mountPath": "/etc/tidegate/credentials", "readOnly": true}),
        ]),
    );
    let port = |port: &Number| json!({"name": format!("port-{}", port.text()), "containerPort": port.value(), "protocol": "TCP"});
    let drain = format!("{}s", options.drain_seconds.text());
    json!({
        "name": "envoy",
        "image": options.envoy_image,
        "command": [BINARY],
        "args": arguments,
        "env": [field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace")],
        "ports": options.ports.map(port),
        // Envoy is ready once its agent has told it what to do. Without an agent it keeps what it has, so nobody kills it for that.
        "startupProbe": probe(BINARY, ADMIN, "/ready", 2, 60),
        "livenessProbe": probe(BINARY, ADMIN, "/server_info", 10, 6),
        "readinessProbe": probe(BINARY, ADMIN, "/ready", 5, 2),
        "lifecycle": {"preStop": {"exec": {"command": [BINARY, "envoy", "drain", "--admin", ADMIN, "--for", drain]}}},
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "securityContext": container_security(),
        "volumeMounts": mounts,
    })
}
