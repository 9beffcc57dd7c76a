//! What is installed is taken by an API server, and with RBAC on the agents' account can do what it needs and nothing else.

use serde_json::Value;
use std::{
    io::Write,
    ops::Deref,
    process::{Command, Output, Stdio},
};
use tidegate_apiserver::{ApiServer, Options};
use tidegate_install::{agent, crds, documents, hub};

/// Kinds of which the small server knows nothing; their shapes are held elsewhere (`shapes.rs`).
const NOT_SERVED: [&str; 5] =
    ["StatefulSet", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"];

const AGENT: &str = "system:serviceaccount:tidegate-system:tidegate-agent";
const HUB: &str = "system:serviceaccount:tidegate-system:tidegate-hub";

/// A server on which something is installed, and the account of that.
struct Installed {
    server: ApiServer,
    account: &'static str,
}

impl Deref for Installed {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.server
    }
}

fn fed(command: &mut Command, text: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn apply(server: &ApiServer, text: &str) {
    let output = fed(server.kubectl().args(["apply", "--server-side", "-f", "-"]), text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server on which this is installed, as far as it serves the kinds.
fn installed(objects: Vec<Value>, account: &'static str) -> Option<Installed> {
    let server = ApiServer::start_or_skip(&Options { rbac: true, ..Options::default() })?;
    apply(&server, &crds());
    for namespace in ["tidegate-system", "infra", "shop"] {
        assert!(server.kubectl().args(["create", "namespace", namespace]).output().unwrap().status.success());
    }
    let served = |it: &Value| server_knows(&server, it);
    let objects: Vec<Value> = objects.into_iter().filter(served).collect();
    apply(&server, &documents(&objects));
    apply(&server, &documents(&objects));
    Some(Installed { server, account })
}

fn server_knows(server: &ApiServer, object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap();
    if !NOT_SERVED.contains(&kind) {
        return true;
    }
    // A whole API server serves them; then nothing is left out.
    let group = object["apiVersion"].as_str().unwrap();
    let served = server.kubectl().args(["get", "--raw", &format!("/apis/{group}")]).output().unwrap();
    served.status.success() && String::from_utf8_lossy(&served.stdout).contains(&format!("\"{kind}\""))
}

/// What came of a command of the account: whether it was done, and what was said.
fn as_account(server: &Installed, arguments: &[&str], text: &str) -> (bool, String) {
    let output = fed(server.kubectl().args(["--as", server.account]).args(arguments), text);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn may(server: &Installed, arguments: &[&str], text: &str) {
    let (done, said) = as_account(server, arguments, text);
    assert!(done, "{arguments:?}: {said}");
}

fn may_not(server: &Installed, arguments: &[&str], text: &str) {
    let (done, said) = as_account(server, arguments, text);
    assert!(!done && said.contains("forbidden"), "{arguments:?}: {said}");
}

const POLICY: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec: {targetRefs: [{kind: Service, name: web}]}
";
const STATUS: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
status: {clusters: [{cluster: us-east, state: Accepted, reportedAt: '2026-11-01T12:00:00Z'}]}
";
const LEASE: &str = "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: NAME, namespace: tidegate-system}
spec: {holderIdentity: tidegate-agent-0}
";
const EVENT: &str = "
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: web.1, namespace: shop}
eventTime: '2026-11-01T12:00:00.000000Z'
reportingController: tidegate.dev/agent
reportingInstance: tidegate-agent-0
action: FailedOver
reason: FailedOver
type: Warning
note: traffic left us-east-1a
regarding: {apiVersion: tidegate.dev/v1alpha1, kind: FailoverPolicy, name: web, namespace: shop}
";
const AUTHORITIES: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: authorities, namespace: shop}
data: {ca.crt: x}
";
const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: {name: theirs, namespace: NAMESPACE}
stringData: {password: secret}
";

#[test]
fn agents_can_do_what_they_need() {
    let Some(server) = installed(agent::objects(&crate::agent()), AGENT) else { return };
    apply(&server, POLICY);
    for kind in [
        "services",
        "nodes",
        "namespaces",
        "endpointslices",
        "failoverpolicies",
        "failoverprofiles",
        "fleetclusters",
        "gatewaytemplates",
        "trafficshifts",
        "drills",
        "drillschedules",
    ] {
        may(&server, &["get", kind, "-A"], "");
    }
    may(
        &server,
        &["get", "--raw", "/apis/tidegate.dev/v1alpha1/failoverpolicies?watch=true&timeoutSeconds=1"],
        "",
    );
    // Those that a policy names, one by one.
    apply(&server, AUTHORITIES);
    may(&server, &["get", "configmap", "authorities", "-n", "shop"], "");
    let status = ["apply", "--server-side", "--subresource=status", "-f", "-"];
    may(&server, &status, STATUS);
    let own = LEASE.replace("NAME", "tidegate-agent");
    may(&server, &["create", "-f", "-"], &own);
    may(&server, &["get", "lease", "tidegate-agent", "-n", "tidegate-system"], "");
    may(&server, &["replace", "-f", "-"], &own.replace("agent-0", "agent-1"));
    may(&server, &["create", "-f", "-"], EVENT);
    let again = format!("{EVENT}series: {{count: 2, lastObservedTime: '2026-11-01T12:01:00.000000Z'}}\n");
    may(&server, &["apply", "--server-side", "-f", "-"], &again);
    may(&server, &["get", "secret", "tidegate-agent-identity", "-n", "tidegate-system"], "");
    let patch = [
        "patch",
        "secret",
        "tidegate-agent-identity",
        "-n",
        "tidegate-system",
        "--type=merge",
        "-p",
        r#"{"data":{"tidegate-agent-0":"e30="}}"#,
    ];
    may(&server, &patch, "");
    // Who installs again does not take the identity away.
    let identity: Vec<Value> =
        agent::objects(&crate::agent()).into_iter().filter(|it| it["kind"] == "Secret").collect();
    apply(&server, &documents(&identity));
    let (_, kept) = as_account(
        &server,
        &["get", "secret", "tidegate-agent-identity", "-n", "tidegate-system", "-o", "yaml"],
        "",
    );
    assert!(kept.contains("tidegate-agent-0: e30="), "{kept}");
}

#[test]
fn agents_can_do_nothing_else() {
    let Some(server) = installed(agent::objects(&crate::agent()), AGENT) else { return };
    apply(&server, POLICY);
    for namespace in ["tidegate-system", "shop"] {
        apply(&server, &SECRET.replace("NAMESPACE", namespace));
        may_not(&server, &["get", "secrets", "-n", namespace], "");
        may_not(&server, &["get", "secret", "theirs", "-n", namespace], "");
    }
    may_not(&server, &["get", "secrets", "-A"], "");
    may_not(
        &server,
        &["create", "-f", "-"],
        &SECRET.replace("NAMESPACE", "tidegate-system").replace("theirs", "new"),
    );
    may_not(&server, &["get", "configmaps", "-A"], "");
    may_not(&server, &["get", "pods", "-A"], "");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: tidegate-system}\nspec: {containers: [{name: x, image: 'x:1'}]}\n";
    may_not(&server, &["create", "-f", "-"], pod);
    may_not(&server, &["apply", "--server-side", "-f", "-"], POLICY);
    may_not(&server, &["delete", "failoverpolicy", "web", "-n", "shop"], "");
    may_not(&server, &["label", "namespace", "shop", "a=b"], "");
    may_not(
        &server,
        &["create", "-f", "-"],
        &LEASE.replace("NAME", "tidegate-agent").replace("tidegate-system", "shop"),
    );
    apply(&server, &LEASE.replace("NAME", "theirs"));
    may_not(&server, &["get", "lease", "theirs", "-n", "tidegate-system"], "");
    apply(&server, &LEASE.replace("NAME", "tidegate-agent"));
    may_not(&server, &["delete", "lease", "tidegate-agent", "-n", "tidegate-system"], "");
    let identity =
        SECRET.replace("NAMESPACE", "tidegate-system").replace("theirs", "tidegate-agent-identity");
    may_not(&server, &["replace", "-f", "-"], &identity);
    may_not(&server, &["delete", "secret", "tidegate-agent-identity", "-n", "tidegate-system"], "");
    may_not(
        &server,
        &[
            "patch",
            "failoverpolicy",
            "web",
            "-n",
            "shop",
            "--type=merge",
            "-p",
            r#"{"spec":{"spread":"Local"}}"#,
        ],
        "",
    );
    may_not(&server, &["get", "events.v1.events.k8s.io", "-A"], "");
    may_not(&server, &["get", "clusterroles"], "");
}

#[test]
fn agents_read_the_secrets_that_they_are_told_of_and_no_other() {
    let Some(server) = installed(agent::objects(&crate::certified()), AGENT) else { return };
    let secret = |namespace: &str, name: &str| {
        apply(&server, &SECRET.replace("NAMESPACE", namespace).replace("theirs", name));
    };
    for (namespace, name) in
        [("infra", "any"), ("shop", "edge-tls"), ("shop", "other-tls"), ("shop", "theirs")]
    {
        secret(namespace, name);
    }
    may(&server, &["get", "secrets", "-n", "infra"], "");
    may(&server, &["get", "secret", "any", "-n", "infra"], "");
    may(&server, &["get", "secret", "edge-tls", "-n", "shop"], "");
    may(&server, &["get", "secret", "other-tls", "-n", "shop"], "");
    may_not(&server, &["get", "secret", "theirs", "-n", "shop"], "");
    may_not(&server, &["get", "secrets", "-n", "shop"], "");
    may_not(&server, &["get", "secrets", "-A"], "");
    may_not(&server, &["delete", "secret", "any", "-n", "infra"], "");
}

#[test]
fn agents_read_all_secrets_only_when_that_is_said() {
    let Some(server) = installed(agent::objects(&crate::joined()), AGENT) else { return };
    apply(&server, &SECRET.replace("NAMESPACE", "infra"));
    may(&server, &["get", "secrets", "-A"], "");
    may_not(&server, &["delete", "secret", "theirs", "-n", "infra"], "");
}

/// That a hub does its work with these rights is held in `cli/tests/hub_kubernetes.rs`.
#[test]
fn a_hub_of_its_clusters_api_can_do_no_more_than_read_policy_and_tell() {
    let Some(server) = installed(hub::objects(&crate::of_kubernetes()), HUB) else { return };
    apply(&server, POLICY);
    for kind in ["failoverpolicies", "failoverprofiles", "fleetclusters", "drillschedules"] {
        may(&server, &["get", kind, "-A"], "");
    }
    may(&server, &["apply", "--server-side", "--subresource=status", "-f", "-"], STATUS);
    may(&server, &["create", "-f", "-"], EVENT);
    may(&server, &["create", "-f", "-"], &LEASE.replace("NAME", "tidegate-hub"));
    for kind in ["secrets", "services", "nodes", "pods", "configmaps", "endpointslices"] {
        may_not(&server, &["get", kind, "-A"], "");
    }
    apply(&server, &SECRET.replace("NAMESPACE", "tidegate-system"));
    may_not(&server, &["get", "secret", "theirs", "-n", "tidegate-system"], "");
    may_not(&server, &["apply", "--server-side", "-f", "-"], POLICY);
    may_not(&server, &["delete", "failoverpolicy", "web", "-n", "shop"], "");
    apply(&server, &LEASE.replace("NAME", "tidegate-agent"));
    may_not(&server, &["get", "lease", "tidegate-agent", "-n", "tidegate-system"], "");
    may_not(&server, &["delete", "lease", "tidegate-hub", "-n", "tidegate-system"], "");
}

#[test]
fn nobody_else_has_any_rights() {
    let without = ["hub", "hub with a repository", "gateways", "gateways with credentials"];
    for (what, objects) in crate::all().into_iter().filter(|(what, _)| without.contains(what)) {
        let rights =
            objects.iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.contains("Role")));
        assert_eq!(rights.count(), 0, "{what}: neither asks the API for anything");
        let account = objects.iter().find(|it| it["kind"] == "ServiceAccount").unwrap();
        assert_eq!(account["automountServiceAccountToken"], false, "{what}");
    }
}
