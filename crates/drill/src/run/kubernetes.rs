//! Faults of Kubernetes as commands: what `kubectl` is told to break and to mend, and to say before. Pure; who runs it is the
//! keeper, as for the user's own commands, so that it is mended whoever is gone.

use serde_json::json;
use tidegate_api::{ExecFault, KubernetesFault, KubernetesFaultKind};

/// The program.
const KUBECTL: &str = "kubectl";
/// More replicas than any cluster has: what is above was misread.
const MAX_REPLICAS: u32 = 100_000;
/// How `kubectl get` says how many replicas there are to be.
const REPLICAS: &str = "--output=jsonpath={.spec.replicas}";
/// Gives a workload ($1) its replicas ($2) back, by kubectl ($3 and what follows). Only if it still has none: where the fault did
/// not begin because somebody scaled it meanwhile, or somebody did so since, that is left alone. `kubectl scale` asks for that once
/// more, for what happens in between.
const GIVE_BACK: &str = "workload=$1 replicas=$2; shift 2; \
                         now=$(\"$@\" get \"$workload\" --output='jsonpath={.spec.replicas}') || exit 1; \
                         [ \"$now\" != 0 ] || \"$@\" scale \"$workload\" --replicas=\"$replicas\" --current-replicas=0";
/// Hands a manifest ($1) to kubectl ($2 and what follows).
const HAND_OVER: &str = "manifest=$1; shift; printf %s \"$manifest\" | \"$@\"";

/// What has to be known before a fault begins: its output is read by [`replicas`]. `None` if nothing has to be.
#[must_use]
pub fn question(fault: &KubernetesFault) -> Option<Vec<String>> {
    let KubernetesFaultKind::ScaleToZero(workload) = &fault.kind else { return None };
    let mut words = kubectl(fault);
    words.extend(["get", workload, REPLICAS].map(str::to_owned));
    Some(words)
}

/// How many replicas a workload is to have.
///
/// # Errors
/// If that cannot be read, or there is nothing to take away.
pub fn replicas(answer: &str) -> Result<u32, String> {
    match answer.trim().parse::<u32>() {
        Ok(0) => Err("it has no replicas: there is nothing to take away".to_owned()),
        Ok(count) if count <= MAX_REPLICAS => Ok(count),
        _ => Err(format!("its spec.replicas is {:?}, and no number", answer.trim())),
    }
}

/// The commands of a fault; `id` is the drill's, `replicas` what the workload has now. Mending may run more than once, and also
/// when nothing was broken.
#[must_use]
pub fn commands(fault: &KubernetesFault, id: &str, replicas: u32) -> ExecFault {
    let kubectl = kubectl(fault);
    let with = |words: &[&str], more: &[&str]| {
        let before = words.iter().map(|word| (*word).to_owned());
        let after = more.iter().map(|word| (*word).to_owned());
        before.chain(kubectl.iter().cloned()).chain(after).collect::<Vec<_>>()
    };
    let (start, mend) = match &fault.kind {
        KubernetesFaultKind::ScaleToZero(workload) => {
            // Not if somebody changed it meanwhile: what is given back would be something else.
            let only_from = format!("--current-replicas={replicas}");
            (
                with(&[], &["scale", workload, "--replicas=0", &only_from]),
                with(&["sh", "-c", GIVE_BACK, "sh", workload, &replicas.to_string()], &[]),
            )
        }
        KubernetesFaultKind::Isolate(labels) => {
            let name = format!("tidegate-{id}");
            let policy = json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": { "name": name, "namespace": fault.namespace, "labels": { "tidegate.dev/drill": id } },
                // These pods are selected, and nothing is allowed to them.
                "spec": { "podSelector": { "matchLabels": labels }, "policyTypes": ["Ingress", "Egress"] },
            });
            (
                with(
                    &["sh", "-c", HAND_OVER, "sh", &policy.to_string()],
                    // The API says what is wrong with it; kubectl's own look at it is one more question.
                    &["create", "--validate=false", "--filename=-"],
                ),
                with(&[], &["delete", "networkpolicies.networking.k8s.io", &name, "--ignore-not-found"]),
            )
        }
    };
    ExecFault { start, mend, timeout: fault.timeout }
}

fn kubectl(fault: &KubernetesFault) -> Vec<String> {
    let mut words = vec![KUBECTL.to_owned()];
    words.extend(fault.context.iter().map(|context| format!("--context={context}")));
    words.push(format!("--namespace={}", fault.namespace));
    // So that it says what was wrong, before the keeper kills it.
    words.push(format!("--request-timeout={}s", (fault.timeout.as_secs() / 2).max(1)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, time::Duration};

    fn fault(kind: KubernetesFaultKind) -> KubernetesFault {
        let (namespace, context) = ("shop".to_owned(), Some("east".to_owned()));
        KubernetesFault { kind, namespace, context, timeout: Duration::from_secs(30) }
    }

    #[test]
    fn a_workload_gets_back_what_it_had() {
        let fault = fault(KubernetesFaultKind::ScaleToZero("deployment/web".to_owned()));
        let kubectl = "kubectl --context=east --namespace=shop --request-timeout=15s";
        let question = question(&fault).unwrap().join(" ");
        assert_eq!(question, format!("{kubectl} get deployment/web --output=jsonpath={{.spec.replicas}}"));
        let exec = commands(&fault, "drill-1", replicas("3\n").unwrap());
        assert_eq!(
            exec.start.join(" "),
            format!("{kubectl} scale deployment/web --replicas=0 --current-replicas=3")
        );
        assert_eq!(exec.mend[3..].join(" "), format!("sh deployment/web 3 {kubectl}"));
        for (answer, said) in [("0", "nothing to take away"), ("", "no number"), ("-1", "no number")] {
            let error = replicas(answer).unwrap_err();
            assert!(error.contains(said), "{answer:?}: {error}");
        }
    }

    #[test]
    fn pods_are_isolated_by_a_policy_that_allows_nothing() {
        let labels = BTreeMap::from([("app".to_owned(), "it's \"web\"".to_owned())]);
        let fault = fault(KubernetesFaultKind::Isolate(labels));
        assert_eq!(question(&fault), None);
        let exec = commands(&fault, "drill-1", 0);
        let policy: serde_json::Value = serde_json::from_str(&exec.start[4]).unwrap();
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["app"], "it's \"web\"");
        assert_eq!(policy["metadata"]["name"], "tidegate-drill-1");
        assert!(policy["spec"]["ingress"].is_null() && policy["spec"]["egress"].is_null());
        let mend = exec.mend.join(" ");
        assert!(
            mend.ends_with("networkpolicies.networking.k8s.io tidegate-drill-1 --ignore-not-found"),
            "{mend}"
        );
    }
}
