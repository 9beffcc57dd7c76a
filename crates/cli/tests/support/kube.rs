//! Objects written to a Kubernetes API, as a user does.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};
use tidegate_apiserver::ApiServer;

/// Runs a command with this on its standard input; what it printed.
pub(crate) fn done(command: &mut Command, text: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn kubectl(server: &ApiServer, words: &[&str], text: &str) -> String {
    done(server.kubectl().args(words), text)
}

pub(crate) fn apply(server: &ApiServer, text: &str) {
    kubectl(server, &["apply", "--server-side", "--force-conflicts", "-f", "-"], text);
}

/// A group and version, a kind, how addresses name it, and its scope.
pub(crate) type Kind = ((&'static str, &'static str), &'static str, &'static str, &'static str);

pub(crate) const OURS: (&str, &str) = ("tidegate.dev", "v1alpha1");
pub(crate) const GATEWAYS: (&str, &str) = ("gateway.networking.k8s.io", "v1");

/// Installs definitions that let everything pass, and waits until they are served.
pub(crate) fn define(server: &ApiServer, kinds: &[Kind]) {
    let definition = |((group, version), kind, plural, scope): &Kind| {
        format!(
            "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata: {{name: {plural}.{group}, annotations: {{api-approved.kubernetes.io: 'unapproved, for a test'}}}}\n\
             spec:\n  group: {group}\n  scope: {scope}\n  names: {{kind: {kind}, plural: {plural}, singular: {}}}\n  \
             versions:\n  - name: {version}\n    served: true\n    storage: true\n    subresources: {{status: {{}}}}\n    \
             schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n",
            kind.to_lowercase()
        )
    };
    apply(server, &kinds.iter().map(definition).collect::<String>());
    kubectl(server, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=20s"], "");
}

/// The account of a hub that `tidegate install hub --kubernetes` installs in `default`.
pub(crate) const HUB: &str = "system:serviceaccount:default:tidegate-hub";

/// What it grants, and that whoever is known may ask which resources there are (`system:discovery` of a whole cluster).
pub(crate) fn hub_rights() -> String {
    let words =
        ["install", "hub", "--kubernetes", "--namespace", "default", "--image", "x.example/tidegate:1"];
    let printed = super::command::run(words);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let is_right = |it: &&str| it.contains("\nkind: ClusterRole") || it.contains("\nkind: Role");
    let rights: String =
        printed.stdout.split("---\n").filter(is_right).map(|it| format!("---\n{it}")).collect();
    assert_eq!(rights.matches("---").count(), 4, "{rights}");
    let api = "rbac.authorization.k8s.io";
    format!(
        "{rights}---\napiVersion: {api}/v1\nkind: ClusterRole\nmetadata: {{name: discovery}}\n\
         rules: [{{nonResourceURLs: ['/api', '/api/*', '/apis', '/apis/*'], verbs: [get]}}]\n---\n\
         apiVersion: {api}/v1\nkind: ClusterRoleBinding\nmetadata: {{name: discovery}}\n\
         roleRef: {{apiGroup: {api}, kind: ClusterRole, name: discovery}}\n\
         subjects: [{{apiGroup: {api}, kind: User, name: '{HUB}'}}]\n"
    )
}
