//! Every rule and every pattern refuses something, with its message.

use crate::server::Server;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An object that the API refuses.
pub(crate) struct Case {
    pub(crate) object: Value,
    /// A part of what it says.
    says: String,
}

const KINDS: [&str; 7] = [
    "FailoverPolicy",
    "FailoverProfile",
    "FleetCluster",
    "GatewayTemplate",
    "TrafficShift",
    "Drill",
    "DrillSchedule",
];

/// Whether it is the name of one of our kinds.
pub(crate) fn is_kind(kind: &Value) -> bool {
    KINDS.iter().any(|known| kind == known)
}

/// A `spec` that is right for each kind.
pub(crate) fn right() -> BTreeMap<String, Value> {
    let kinds: BTreeMap<String, Value> = serde_saphyr::from_str(include_str!("refused.yaml")).unwrap();
    kinds.into_iter().map(|(kind, of_kind)| (kind, of_kind["right"].clone())).collect()
}

/// `refused.yaml`: for each kind a `spec` that is right, and what is wrong once its fields are put over it.
pub(crate) fn cases() -> Vec<Case> {
    let kinds: BTreeMap<String, Value> = serde_saphyr::from_str(include_str!("refused.yaml")).unwrap();
    let mut cases = Vec::new();
    for (kind, of_kind) in &kinds {
        for (at, wrong) in of_kind["wrong"].as_array().unwrap().iter().enumerate() {
            let mut spec = of_kind["right"].clone();
            for (name, value) in wrong["with"].as_object().unwrap() {
                spec[name] = value.clone();
            }
            if let Some(fields) = spec.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            let object = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"name": format!("case-{at}")}, "spec": spec});
            cases.push(Case { object, says: wrong["says"].as_str().unwrap().to_owned() });
        }
    }
    cases
}

/// All rules' messages and all patterns of a schema.
fn promises(schema: &Value, rules: &mut BTreeSet<String>, patterns: &mut BTreeSet<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        rules.insert(rule["message"].as_str().unwrap().to_owned());
    }
    patterns.extend(schema["pattern"].as_str().map(str::to_owned));
    for nested in schema["properties"].as_object().into_iter().flat_map(|it| it.values()) {
        promises(nested, rules, patterns);
    }
    for nested in ["items", "additionalProperties"] {
        if schema[nested].is_object() {
            promises(&schema[nested], rules, patterns);
        }
    }
}

#[test]
fn every_rule_and_every_pattern_refuses_something_with_its_message() {
    let Some(server) = Server::start() else { return };
    let kinds: BTreeMap<String, Value> = serde_saphyr::from_str(include_str!("refused.yaml")).unwrap();
    for (kind, of_kind) in &kinds {
        let object = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"name": "right"}, "spec": of_kind["right"]});
        assert_eq!(server.try_out(&object), Ok(()), "{kind} that is right");
    }
    let (mut rules, mut patterns) = (BTreeSet::new(), BTreeSet::new());
    for (_, definition) in tidegate_crds::all() {
        let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        promises(spec, &mut rules, &mut patterns);
    }
    assert!(rules.len() > 50 && patterns.len() > 10, "{} rules, {} patterns", rules.len(), patterns.len());
    let mut wrong = Vec::new();
    for Case { object, says } in cases() {
        match server.try_out(&object) {
            Ok(()) => wrong.push(format!("is taken: {object}")),
            Err(message) => {
                if !message.contains(&says) {
                    wrong.push(format!("{object}\n  should say {says:?}\n  and says {message}"));
                }
                rules.retain(|rule| !message.contains(rule.as_str()));
                patterns.retain(|pattern| !message.contains(&format!("should match '{pattern}'")));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(rules.is_empty(), "rules that no case breaks: {rules:#?}");
    assert!(patterns.is_empty(), "patterns that no case breaks: {patterns:#?}");
}
