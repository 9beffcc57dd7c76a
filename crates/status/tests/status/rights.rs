//! What `tidegate install agent` grants is what telling needs: the lease, the status of every kind, events.

use crate::{accepted, client_of, until};
use k8s_openapi::api::{coordination::v1::Lease, events::v1::Event};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tidegate_apiserver::{ApiServer, Options};
use tidegate_install::{
    CRDS, agent,
    values::{Many, When},
};
use tidegate_status::{
    events::{Events, Happened},
    leader::{Candidate, stand},
    lease::Pace,
    writer::{Object, Writer},
};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "tidegate-system";
const ACCOUNT: &str = "system:serviceaccount:tidegate-system:tidegate-agent";
const OURS: &str = "tidegate.dev/v1alpha1";
const GATEWAYS: &str = "gateway.networking.k8s.io/v1";

/// Every kind that has a status of ours, with its plural, and a `spec`: of its own kinds, one that the definition takes.
fn kinds() -> Vec<(&'static str, &'static str, &'static str, bool, Value)> {
    let shift = json!({"awayFrom": {"zone": "a"}, "for": "30m", "comment": "rack work"});
    let drill = json!({"target": {"zone": "a"}, "fault": {"type": "Verdict", "expiresAfter": "1m"}});
    let policy = json!({"targetRefs": [{"kind": "Service", "name": "web"}]});
    let schedule = json!({"drill": "one", "cron": "0 10 * * 2", "timeZone": "UTC"});
    let mut kinds = vec![
        (OURS, "FailoverPolicy", "failoverpolicies", true, policy),
        (OURS, "FailoverProfile", "failoverprofiles", false, json!({"defaults": {}})),
        (OURS, "FleetCluster", "fleetclusters", false, json!({"region": "us-east"})),
        (OURS, "GatewayTemplate", "gatewaytemplates", true, json!({})),
        (OURS, "TrafficShift", "trafficshifts", true, shift),
        (OURS, "Drill", "drills", true, drill),
        (OURS, "DrillSchedule", "drillschedules", true, schedule),
    ];
    for (kind, plural) in [
        ("GatewayClass", "gatewayclasses"),
        ("Gateway", "gateways"),
        ("HTTPRoute", "httproutes"),
        ("GRPCRoute", "grpcroutes"),
        ("TCPRoute", "tcproutes"),
        ("TLSRoute", "tlsroutes"),
    ] {
        kinds.push((GATEWAYS, kind, plural, kind != "GatewayClass", json!({})));
    }
    kinds
}

/// A definition that lets everything pass, for a kind that is not ours.
fn definition(kind: &str, plural: &str, namespaced: bool) -> Value {
    let (group, version) = GATEWAYS.split_once('/').expect("a group and a version");
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
        "spec": {"group": group, "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]}})
}

fn api(client: &Client, object: &Value, plural: &str) -> Api<DynamicObject> {
    let api_version = object["apiVersion"].as_str().expect("a version");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: object["kind"].as_str().expect("a kind").to_owned(),
        plural: plural.to_owned(),
    };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    }
}

/// Puts an object there; a kind takes a moment until it is served.
async fn put(admin: &Client, object: &Value, plural: &str) {
    let (api, params) = (api(admin, object, plural), PatchParams::apply("test").force());
    let name = object["metadata"]["name"].as_str().expect("a name");
    until(&format!("{plural} {name} is taken"), || async {
        match api.patch(name, &params, &Patch::Apply(object)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                panic!("{plural} {name}: {}", status.message)
            }
            answer => answer.is_ok(),
        }
    })
    .await;
}

/// The definitions, what `tidegate install agent` grants, and an object `one` of each kind.
async fn install(admin: &Client) -> Vec<Object> {
    let theirs = kinds().into_iter().filter(|it| it.0 == GATEWAYS);
    let mut definitions: Vec<Value> = theirs.map(|it| definition(it.1, it.2, it.3)).collect();
    definitions.extend(CRDS.iter().map(|text| serde_saphyr::from_str(text).expect("a definition")));
    for definition in &definitions {
        put(admin, definition, "customresourcedefinitions").await;
    }
    let options = agent::Options {
        namespace: NAMESPACE.to_owned(),
        create_namespace: true,
        image: "registry.example/tidegate:0.1.0".to_owned(),
        cluster: "us-east".to_owned(),
        replicas: 2.into(),
        hub: String::new(),
        with_hub: When::Known(false),
        certificates: Many::These(vec![]),
        all_certificates: When::Known(false),
    };
    for object in agent::objects(&options) {
        let plural = match object["kind"].as_str() {
            Some("Namespace") => "namespaces",
            Some("ServiceAccount") => "serviceaccounts",
            Some("ClusterRole") => "clusterroles",
            Some("ClusterRoleBinding") => "clusterrolebindings",
            Some("Role") => "roles",
            Some("RoleBinding") => "rolebindings",
            _ => continue,
        };
        put(admin, &object, plural).await;
    }
    let mut objects = Vec::new();
    for (api_version, kind, plural, namespaced, spec) in kinds() {
        let mut object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "one"}, "spec": spec});
        if namespaced {
            object["metadata"]["namespace"] = json!("default");
        }
        put(admin, &object, plural).await;
        objects.push(Object {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespace: namespaced.then(|| "default".to_owned()),
            name: "one".to_owned(),
        });
    }
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_for_agents_suffices_to_tell() {
    let rights = Options { rbac: true, users: vec![ACCOUNT.to_owned()] };
    let Some(server) = ApiServer::start_or_skip(&rights) else { return };
    let admin = client_of(&server.kubeconfig()).await;
    let objects = install(&admin).await;
    let client = client_of(&server.kubeconfig_of(ACCOUNT)).await;

    let stop = CancellationToken::new();
    let candidate = Candidate {
        namespace: NAMESPACE.to_owned(),
        name: "tidegate-agent".to_owned(),
        identity: "tidegate-agent-0".to_owned(),
        pace: Pace::default(),
    };
    let mut leadership = stand(client.clone(), candidate, stop.clone());
    leadership.leading().await;
    let leases: Api<Lease> = Api::namespaced(admin.clone(), NAMESPACE);
    let held = || async { leases.get("tidegate-agent").await.expect("is there").spec.expect("is held") };
    let (holder, taken) = {
        let held = held().await;
        (held.holder_identity, held.renew_time)
    };
    assert!(holder.is_some_and(|it| it.starts_with("tidegate-agent-0")));
    until("it is renewed", || async { held().await.renew_time != taken }).await;

    let writer = Writer::start(client.clone(), "tidegate-agent", leadership.clone());
    for object in &objects {
        writer.want(object.clone(), accepted("True"));
    }
    until("every status is written", || async { writer.counted().written == objects.len() as u64 }).await;

    let events = Events::start(client, "tidegate.dev/agent", "tidegate-agent-0", leadership);
    for object in &objects {
        let note = format!("{} was looked at", object.kind);
        let object = object.clone();
        assert!(events.tell(Happened {
            object,
            uid: None,
            warning: false,
            reason: "Looked",
            action: "Look",
            note
        }));
    }
    let told: Api<Event> = Api::all(admin);
    until("every event is told", || async {
        told.list(&ListParams::default()).await.expect("is listed").items.len() == objects.len()
    })
    .await;
    stop.cancel();
    until("the lease is given back", || async {
        leases
            .get("tidegate-agent")
            .await
            .is_ok_and(|lease| lease.spec.and_then(|it| it.holder_identity).unwrap_or_default().is_empty())
    })
    .await;
}
