//! The definitions as people meet them: applied by one and then by another, shown by `kubectl get`, explained.

use crate::server::{Server, run};
use std::{
    io::Write,
    process::{Command, Stdio},
};

fn feed(command: &mut Command, text: &str) -> std::process::Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn fed(command: &mut Command, text: &str) -> String {
    let output = feed(command, text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const POLICY: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web}
spec:
  targetRefs: [{kind: Service, name: web}]
  failback: {holdDown: 60s}
";

const STATUS: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web}
status:
  conditions:
  - {type: Accepted, status: "True", reason: Accepted, message: "", observedGeneration: 1, lastTransitionTime: "2026-11-01T12:00:00Z"}
  - {type: Programmed, status: "False", reason: Pending, message: "us-west is not heard", lastTransitionTime: "2026-11-01T12:00:00Z"}
  ancestors:
  - ancestorRef: {kind: Service, name: web, namespace: default}
    controllerName: tidegate.dev/hub
    conditions:
    - {type: Accepted, status: "True", reason: Accepted, message: "", lastTransitionTime: "2026-11-01T12:00:00Z"}
  clusters:
  - {cluster: us-east, state: Programmed, observedGeneration: 1, reportedAt: "2026-11-01T12:00:00Z"}
"#;

#[test]
fn definitions_are_applied_again_and_by_somebody_else() {
    let Some(server) = Server::start() else { return };
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
    let kubectl = || server.api.kubectl();
    let again =
        run(kubectl().args(["apply", "--server-side", "--field-manager=argocd-controller", "-k", deploy]));
    assert_eq!(again.lines().count(), 7, "{again}");
    run(kubectl().args(["apply", "-k", deploy]));
    let same =
        run(kubectl().args(["diff", "--server-side", "--field-manager=argocd-controller", "-k", deploy]));
    assert_eq!(same, "", "the API keeps what is applied as it is");
    run(kubectl().args(["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]));
    let all = run(kubectl().args([
        "api-resources",
        "--api-group=tidegate.dev",
        "--categories=tidegate",
        "--no-headers",
    ]));
    assert_eq!(all.lines().count(), 7, "{all}");
    for (short, namespaced) in
        [("fop", true), ("fpr", false), ("flc", false), ("gwt", true), ("tsh", true), ("dsc", true)]
    {
        let line = all
            .lines()
            .find(|it| it.contains(&format!(" {short} ")))
            .unwrap_or_else(|| panic!("{short}: {all}"));
        assert_eq!(line.contains(" true "), namespaced, "{line}");
    }
}

#[test]
fn policies_are_shown_with_what_became_of_them() {
    let Some(server) = Server::start() else { return };
    let kubectl = || server.api.kubectl();
    fed(kubectl().args(["apply", "--server-side", "-f", "-"]), POLICY);
    fed(
        kubectl().args(["apply", "--server-side", "--subresource=status", "--field-manager=hub", "-f", "-"]),
        STATUS,
    );
    let shown = run(kubectl().args(["get", "failoverpolicies"]));
    let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "KIND", "TARGET", "ACCEPTED", "PROGRAMMED", "AGE"]);
    assert_eq!(words[1][..5], ["web", "Service", "web", "True", "False"]);
    let wide = run(kubectl().args(["get", "fop", "-o", "wide"]));
    assert!(wide.contains("HOLD-DOWN") && wide.contains("60s"), "{wide}");
    let waited = run(kubectl().args(["wait", "--for=condition=Accepted", "--timeout=10s", "fop/web"]));
    assert!(waited.contains("condition met"), "{waited}");
    // A status is its writer's own: who applies the policy again neither sees nor clears it, and a change counts up.
    let changed = POLICY.replace("60s", "90s");
    fed(
        kubectl().args([
            "apply",
            "--server-side",
            "--field-manager=argocd-controller",
            "--force-conflicts",
            "-f",
            "-",
        ]),
        &changed,
    );
    let read = |path: &str| run(kubectl().args(["get", "fop", "web", "-o", &format!("jsonpath={path}")]));
    assert_eq!(read("{.metadata.generation}"), "2");
    assert_eq!(read("{.status.clusters[0].state}"), "Programmed");
    assert_eq!(
        read("{.spec}"),
        r#"{"failback":{"holdDown":"90s"},"targetRefs":[{"kind":"Service","name":"web"}]}"#,
        "nothing was filled in"
    );
    let conflict =
        feed(kubectl().args(["apply", "--server-side", "--field-manager=somebody", "-f", "-"]), POLICY);
    let said = String::from_utf8_lossy(&conflict.stderr).into_owned();
    assert!(!conflict.status.success() && said.contains("conflict with \"argocd-controller\""), "{said}");
    let wrong = feed(
        kubectl().args(["apply", "--server-side", "--subresource=status", "-f", "-"]),
        &STATUS.replace("Programmed, obs", "Fine, obs"),
    );
    assert!(!wrong.status.success(), "a status has a schema too");
}

#[test]
fn every_kind_has_the_columns_that_people_look_for() {
    let Some(server) = Server::start() else { return };
    let kinds = include_str!("used.yaml");
    fed(server.api.kubectl().args(["apply", "--server-side", "-f", "-"]), kinds);
    let mut shown = String::new();
    for kind in
        ["fleetclusters", "failoverprofiles", "gatewaytemplates", "trafficshifts", "drills", "drillschedules"]
    {
        let table = run(server.api.kubectl().args(["get", kind]));
        for line in table.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            // The last is the age.
            shown += &format!("{}\n", words[..words.len() - 1].join(" | "));
        }
    }
    insta::assert_snapshot!(shown, @r"
    NAME | REGION | CONNECTED | AGENTS | HEARD
    us-east | us-east
    NAME | ACCEPTED | PROGRAMMED
    fleet
    NAME | ACCEPTED | GATEWAYS
    edge
    NAME | ZONE | CLUSTER | REGION | PERCENT | PROGRAMMED | PHASE | ENDS
    rack | us-east-1a | 100
    NAME | FAULT | LASTS | LAST | RAN
    weekly | Verdict | 20s
    NAME | DRILL | CRON | ZONE | SUSPENDED | NEXT | LAST
    weekly | weekly | 0 | 10 | * | * | 2 | UTC | false
    ");
}

#[test]
fn kubectl_explains_every_field() {
    let Some(server) = Server::start() else { return };
    let explain = |path: &str| run(server.api.kubectl().args(["explain", path]));
    let hold_down = explain("failoverpolicies.spec.failback.holdDown");
    assert!(hold_down.contains("How long health must be steady first"), "{hold_down}");
    let tiers = explain("failoverprofiles.spec.defaults.failover.to.type");
    assert!(tiers.contains("ENUM:") && tiers.contains("SameZone"), "{tiers}");
    let kind = explain("trafficshifts");
    assert!(kind.contains("An operator moves traffic away from a zone"), "{kind}");
    let status = explain("fleetclusters.status.lastHeardAt");
    assert!(status.contains("When something was last heard of it"), "{status}");
}
