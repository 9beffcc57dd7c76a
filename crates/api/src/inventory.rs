//! What objects a file holds, each by itself: for whoever hands objects on instead of acting by them.

use crate::{
    fields::{Fields, Issues},
    kinds::{self, Kind},
    loader::{SourceFile, read_file},
    object::items_of_list,
    problem::Problem,
    read,
    yaml::{self, Node, Value},
};
use std::sync::Arc;

/// An object of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `Kind NAMESPACE/NAME`; `None` when the mistake is in the kind or the name.
    pub object: Option<String>,
    /// Whether it is for the whole fleet, and not the business of one cluster: a kind of Tidegate's own, a `GatewayClass`, or a
    /// `Gateway` with the annotation `tidegate.dev/scope: Fleet`.
    pub policy: bool,
    /// The line where it begins, from 1.
    pub line: u32,
}

/// The objects of a file that Tidegate has a use for, in order. What is wrong with them is [`crate::Loader`]'s to say.
///
/// # Errors
/// If the file is not YAML, or too long.
pub fn inventory(file: &SourceFile) -> Result<Vec<Listed>, Problem> {
    let listed = read_file(&Arc::from(file.path.as_str()), &file.text)?.into_iter().map(|reading| Listed {
        policy: reading.key.as_ref().is_some_and(|key| match key.kind {
            Kind::GatewayClass => true,
            Kind::Gateway => reading.for_fleet,
            kind => kind.is_ours(),
        }),
        object: reading.key.map(|key| key.to_string()),
        line: reading.at.line,
    });
    Ok(listed.collect())
}

/// The paths of all fields that a policy may have, in the order of [`crate::Loader::written_for`]; `capacity` has two, of which one
/// is written.
#[must_use]
pub fn policy_fields() -> Vec<&'static str> {
    let places = kinds::PolicyFields::default().places();
    places
        .iter()
        .flat_map(|(name, _)| match *name {
            rate @ "capacity.requestsPerSecond" => vec![rate, "capacity.concurrency"],
            name => vec![name],
        })
        .collect()
}

/// The objects of a file as they are written, those of a `List` by themselves, in order: for whoever hands on what Tidegate has no
/// form of its own for. None of a file that is not YAML.
#[must_use]
pub fn plain_objects(file: &SourceFile) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    for document in yaml::parse(&file.text).unwrap_or_default() {
        match items_of_list(&document) {
            Some(items) => found.extend(items.iter().map(plain)),
            None => found.push(plain(&document)),
        }
    }
    found
}

/// A tree without its places. Of a key that comes twice the last counts.
fn plain(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Map(entries) => entries.iter().map(|(key, value)| (key.name.clone(), plain(value))).collect(),
    }
}

/// A document of a kind that Tidegate has no use for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// `apiVersion`, as it is written.
    pub api_version: String,
    /// `kind`, as it is written.
    pub kind: String,
    /// `namespace/name` or `name`; empty if it has none.
    pub name: String,
    /// The line where it begins, from 1.
    pub line: u32,
}

/// The objects of a file that are passed over, in order: they are other people's business, and no mistakes. None of a file
/// that is not YAML.
#[must_use]
pub fn foreign(file: &SourceFile) -> Vec<Foreign> {
    let mut found = Vec::new();
    for document in yaml::parse(&file.text).unwrap_or_default() {
        find_foreign(&document, &mut found);
    }
    found
}

fn find_foreign(node: &Node, found: &mut Vec<Foreign>) {
    if let Some(items) = items_of_list(node) {
        return items.iter().for_each(|item| find_foreign(item, found));
    }
    // What it says is read once more, and what is wrong with it is told elsewhere.
    let mut issues = Issues::new(Arc::from(""));
    let is_map = matches!(node.value, Value::Map(_));
    let Some(mut fields) = is_map.then(|| Fields::open(node, String::new(), &mut issues)).flatten() else {
        return;
    };
    let version = fields.value("apiVersion", &mut issues, read::text);
    let kind = fields.value("kind", &mut issues, read::text);
    let (Some(version), Some(kind)) = (version, kind) else { return };
    let passed_over = match kinds::find(&version, &kind, &mut issues) {
        kinds::Found::Skip => true,
        kinds::Found::Kind(Kind::Secret) => !kinds::secret::is_tls(node),
        kinds::Found::Kind(Kind::ConfigMap) => !kinds::config_map::has_authorities(node),
        kinds::Found::Kind(_) | kinds::Found::Problem => false,
    };
    if passed_over {
        let name = name_of(&mut fields, &mut issues);
        found.push(Foreign { api_version: version.value, kind: kind.value, name, line: node.at.line });
    }
}

fn name_of(fields: &mut Fields<'_>, issues: &mut Issues) -> String {
    let Some(mut metadata) = fields.map("metadata", issues) else { return String::new() };
    let mut text = |key| metadata.value(key, issues, read::text).map(|field| field.value);
    match (text("namespace"), text("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name,
        (_, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_given_as_they_are_written() {
        let text = "a: [1, 2.5, yes, true, null]\n---\nkind: List\nitems: [{b: {c: d}}]\n";
        let file = SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() };
        let expected =
            [serde_json::json!({"a": [1, 2.5, "yes", true, null]}), serde_json::json!({"b": {"c": "d"}})];
        assert_eq!(plain_objects(&file), expected);
    }

    #[test]
    fn what_is_passed_over_is_named_and_nothing_else_is() {
        let text = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: logs, namespace: infra}\n---\n\
                    apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n---\n\
                    apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n\
                    - {apiVersion: tidegate.dev/v1alpha1, kind: FailoverPolcy}\n---\n\
                    apiVersion: v1\nkind: Secret\ntype: Opaque\n---\nkind: Nonsense\n---\n[1]\n";
        let file = SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() };
        let found: Vec<String> = foreign(&file)
            .into_iter()
            .map(|it| format!("{} {} {} {}", it.api_version, it.kind, it.name, it.line))
            .collect();
        assert_eq!(found, ["apps/v1 DaemonSet infra/logs 1", "v1 ConfigMap c 12", "v1 Secret  15"]);
        let broken = SourceFile { path: "b.yaml".to_owned(), text: "kind: [\n".to_owned() };
        assert_eq!(foreign(&broken), []);
    }

    #[test]
    fn the_objects_of_a_file_are_listed_with_their_lines() {
        let text = "kind: FleetCluster\napiVersion: tidegate.dev/v1alpha1\nmetadata: {name: a}\nspec: {region: r}\n---\n\n\
                    apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n---\nkind: Nonsense\n";
        let file = SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() };
        let listed = inventory(&file).unwrap();
        let short: Vec<_> = listed.iter().map(|it| (it.object.as_deref(), it.policy, it.line)).collect();
        let expected =
            [(Some("FleetCluster a"), true, 1), (Some("Service shop/web"), false, 7), (None, false, 11)];
        assert_eq!(short, expected);
        let broken = SourceFile { path: "b.yaml".to_owned(), text: "kind: [\n".to_owned() };
        assert!(inventory(&broken).unwrap_err().message.contains("not YAML"));
    }
}
