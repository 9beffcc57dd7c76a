//! What is installed is taken by an API server, and with RBAC on the agents' account can do what it needs and nothing else.

use serde_json::Value;
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};
use tidegate_apiserver::{ApiServer, Options};
use tidegate_install::{agent, crds, documents};

/// Kinds of which the small server knows nothing; their shapes are held elsewhere (`shapes.rs`).
const NOT_SERVED: [&str; 5] =
    ["StatefulSet", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"];

const ACCOUNT: &str = "system:serviceaccount:tidegate-system:tidegate-agent";

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
fn installed(options: &agent::Options) -> Option<ApiServer> {
    let server = ApiServer::start_or_skip(&Options { rbac: true, ..Options::default() })?;
    apply(&server, &crds());
    for namespace in ["tidegate-system", "infra", "shop"] {
        assert!(server.kubectl().args(["create", "namespace", namespace]).output().unwrap().status.success());
    }
    let served = |it: &Value| server_knows(&server, it);
    let objects: Vec<Value> = agent::objects(options).into_iter().filter(served).collect();
    apply(&server, &documents(&objects));
    apply(&server, &documents(&objects));
    Some(server)
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

/// What came of a command of the agents' account: whether it was done, and what was said.
fn as_agent(server: &ApiServer, arguments: &[&str], text: &str) -> (bool, String) {
    let output = fed(server.kubectl().args(["--as", ACCOUNT]).args(arguments), text);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn may(server: &ApiServer, arguments: &[&str], text: &str) {
    let (done, said) = as_agent(server, arguments, text);
    assert!(done, "{arguments:?}: {said}");
}

fn may_not(server: &ApiServer, arguments: &[&str], text: &str) {
    let (done, said) = as_agent(server, arguments, text);
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
    let Some(server) = installed(&crate::agent()) else { return };
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
    let (_, kept) = as_agent(
        &server,
        &["get", "secret", "tidegate-agent-identity", "-n", "tidegate-system", "-o", "yaml"],
        "",
    );
    assert!(kept.contains("tidegate-agent-0: e30="), "{kept}");
}

#[test]
fn agents_can_do_nothing_else() {
    let Some(server) = installed(&crate::agent()) else { return };
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
fn agents_read_certificates_where_they_are_let() {
    let Some(server) = installed(&crate::joined()) else { return };
    apply(&server, &SECRET.replace("NAMESPACE", "infra"));
    may(&server, &["get", "secrets", "-A"], "");
    may_not(&server, &["delete", "secret", "theirs", "-n", "infra"], "");
}

#[test]
fn nobody_else_has_any_rights() {
    let accounts = ["hub", "gateways"];
    for (what, objects) in
        crate::all().into_iter().filter(|(what, _)| accounts.iter().any(|it| what.starts_with(it)))
    {
        let rights =
            objects.iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.contains("Role")));
        assert_eq!(rights.count(), 0, "{what}: neither asks the API for anything");
        let account = objects.iter().find(|it| it["kind"] == "ServiceAccount").unwrap();
        assert_eq!(account["automountServiceAccountToken"], false, "{what}");
    }
}
