//! What is checked in is what the types say: `UPDATE_GENERATED=1 cargo test -p tidegate-crds` writes it anew.

use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};
use tidegate_install::yaml;

const HEADER: &str =
    "# Generated from crates/crds: `UPDATE_GENERATED=1 cargo test -p tidegate-crds` writes it anew.\n";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds")
}

#[test]
fn the_definitions_in_deploy_are_those_of_the_types() {
    let mut names = BTreeSet::from(["kustomization.yaml".to_owned()]);
    for (name, definition) in tidegate_crds::all() {
        let fresh = format!("{HEADER}{}", yaml::document(&definition));
        let path = folder().join(&name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &fresh).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == fresh,
            "deploy/crds/{name} is old: run `UPDATE_GENERATED=1 cargo test -p tidegate-crds`"
        );
        let back: Value = serde_saphyr::from_str(&found).unwrap();
        assert_eq!(back, definition, "{name} does not read back");
        names.insert(name);
    }
    let there = fs::read_dir(folder()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), names, "a file that nobody writes");
    let listed = fs::read_to_string(folder().join("kustomization.yaml")).unwrap();
    assert!(
        names
            .iter()
            .filter(|it| *it != "kustomization.yaml")
            .all(|name| listed.contains(&format!("- {name}\n"))),
        "{listed}"
    );
}

/// Calls `see` with every schema below this one, and its path.
fn each(schema: &Value, path: &str, see: &mut impl FnMut(&str, &Value)) {
    see(path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        each(field, &format!("{path}.{name}"), see);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if schema[key].is_object() {
            each(&schema[key], &format!("{path}{mark}"), see);
        }
    }
}

fn schemas() -> Vec<(String, Value)> {
    let of = |(_, definition): (String, Value)| {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        (kind, definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
    };
    tidegate_crds::all().into_iter().map(of).collect()
}

#[test]
fn every_field_is_described() {
    let mut bare = Vec::new();
    for (kind, schema) in schemas() {
        each(&schema, &kind, &mut |path, schema| {
            let element = path.ends_with("[]") || path.ends_with(".*");
            let described = schema["description"].as_str().is_some_and(|it| it.len() > 4);
            if !described && !element {
                bare.push(path.to_owned());
            }
        });
    }
    assert!(bare.is_empty(), "without a description: {bare:#?}");
}

#[test]
fn every_list_and_text_has_a_limit_and_every_rule_a_message() {
    let mut endless = Vec::new();
    for (kind, schema) in schemas() {
        each(&schema, &kind, &mut |path, schema| {
            let named = schema["enum"].is_array() || schema["format"] == "date-time";
            let limit = match schema["type"].as_str() {
                Some("array") => schema["maxItems"].is_u64() && schema["x-kubernetes-list-type"].is_string(),
                Some("string") => schema["maxLength"].is_u64() || named,
                Some("object") if schema["additionalProperties"].is_object() => {
                    schema["maxProperties"].is_u64()
                }
                _ => true,
            };
            let heads =
                path.ends_with(".apiVersion") || path.ends_with(".kind") && path.matches('.').count() == 1;
            if !limit && !heads {
                endless.push(path.to_owned());
            }
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].as_str().is_some_and(|it| it.len() > 15), "{path}: {rule}");
            }
            assert!(schema["nullable"].is_null(), "{path} is nullable");
        });
    }
    assert!(endless.is_empty(), "without a limit: {endless:#?}");
}

#[test]
fn what_is_merged_layer_by_layer_has_no_defaults() {
    for (kind, schema) in schemas() {
        each(&schema["properties"]["spec"], &kind, &mut |path, schema| {
            if ["FailoverPolicy", "FailoverProfile", "GatewayTemplate"].contains(&kind.as_str()) {
                assert!(
                    schema["default"].is_null(),
                    "{path} has a default: nobody could tell whether it was said"
                );
            }
        });
    }
}
