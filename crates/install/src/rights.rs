//! Rights of a component: what its account may do everywhere, and what in its own namespace.

use crate::parts::{labels, meta};
use serde_json::{Value, json};

const API: &str = "rbac.authorization.k8s.io";

/// The kinds of Tidegate, as rules name them.
pub(crate) const OURS: (&str, &[&str]) = (
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
);

/// Whose rights.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    /// Of the component, its account and its roles.
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) component: &'a str,
}

/// A rule about all objects of some resources.
pub(crate) fn rule((group, resources): (&str, &[&str]), verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// Reading objects, and following how they change.
pub(crate) fn read(resources: (&str, &[&str])) -> Value {
    rule(resources, &["get", "list", "watch"])
}

/// Writing the status of objects, and nothing else of them.
pub(crate) fn tell((group, resources): (&str, &[&str])) -> Value {
    let status: Vec<String> = resources.iter().map(|it| format!("{it}/status")).collect();
    json!({"apiGroups": [group], "resources": status, "verbs": ["patch"]})
}

/// Events about objects of any namespace; what happens again is counted in the event that is there.
pub(crate) fn events() -> Value {
    rule(("events.k8s.io", &["events"]), &["create", "patch"])
}

/// The one `Lease` of this name: making it cannot be limited to a name.
pub(crate) fn lease(name: &str) -> [Value; 2] {
    let of = ("coordination.k8s.io", ["leases"].as_slice());
    let mut own = rule(of, &["get", "update"]);
    own["resourceNames"] = json!([name]);
    [rule(of, &["create"]), own]
}

impl Account<'_> {
    /// The role and its binding for what it may do in all namespaces. Of several installations in one cluster each has its own.
    pub(crate) fn everywhere(&self, rules: &[Value]) -> [Value; 2] {
        let name = format!("{}-{}", self.name, self.namespace);
        let meta = json!({"name": name, "labels": labels(self.component)});
        self.bound("ClusterRole", &meta, rules)
    }

    /// The same for its own namespace.
    pub(crate) fn at_home(&self, rules: &[Value]) -> [Value; 2] {
        self.bound("Role", &meta(self.name, self.namespace, self.component), rules)
    }

    /// The same for another namespace, in a role of this name.
    pub(crate) fn elsewhere(&self, namespace: &str, name: &str, rules: &[Value]) -> [Value; 2] {
        self.bound("Role", &meta(name, namespace, self.component), rules)
    }

    fn bound(&self, kind: &str, meta: &Value, rules: &[Value]) -> [Value; 2] {
        let subject = json!({"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace});
        let version = format!("{API}/v1");
        [
            json!({"apiVersion": version, "kind": kind, "metadata": meta, "rules": rules}),
            json!({
                "apiVersion": version,
                "kind": format!("{kind}Binding"),
                "metadata": meta,
                "roleRef": {"apiGroup": API, "kind": kind, "name": meta["name"]},
                "subjects": [subject],
            }),
        ]
    }
}
