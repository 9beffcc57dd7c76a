//! Which objects came, went, or say something else. What is written another way and says the same is no change.

use crate::manifests::Fleet;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tidegate_api::plain_objects;

/// So many fields of an object are named.
const MAX_FIELDS: usize = 20;

/// The objects of both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Objects {
    /// New ones.
    pub(super) added: Vec<String>,
    /// Those that are gone.
    pub(super) removed: Vec<String>,
    /// Those that say something else.
    pub(super) changed: Vec<ChangedObject>,
}

/// An object that says something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ChangedObject {
    pub(super) object: String,
    /// At most [`MAX_FIELDS`] of its fields.
    pub(super) fields: Vec<ChangedField>,
}

/// A field before and after, as JSON; absent is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ChangedField {
    pub(super) path: String,
    pub(super) before: String,
    pub(super) after: String,
}

impl Objects {
    pub(super) const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Whether an object is the fleet's, and a hub hands it out; as the hub decides it.
pub(super) fn is_policy(object: &Value) -> bool {
    let fleet_wide = object["metadata"]["annotations"]["tidegate.dev/scope"] == "Fleet";
    let ours = object["apiVersion"].as_str().is_some_and(|it| it.starts_with("tidegate.dev/"));
    ours || object["kind"] == "GatewayClass" || (object["kind"] == "Gateway" && fleet_wide)
}

pub(super) fn compare(before: &Fleet, after: &Fleet) -> Objects {
    let (before, after) = (by_name(before), by_name(after));
    let mut objects = Objects::default();
    objects.added.extend(after.keys().filter(|name| !before.contains_key(*name)).cloned());
    objects.removed.extend(before.keys().filter(|name| !after.contains_key(*name)).cloned());
    for (name, new) in &after {
        let Some(old) = before.get(name).filter(|old| *old != new) else { continue };
        let mut fields = Vec::new();
        differences("", old, new, &mut fields);
        fields.truncate(MAX_FIELDS);
        objects.changed.push(ChangedObject { object: name.clone(), fields });
    }
    objects
}

/// The objects by cluster, kind and name. Of two with one name the first counts, as for agents.
fn by_name(fleet: &Fleet) -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for (owner, file) in &fleet.files {
        for object in plain_objects(file) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let namespace =
                object["metadata"]["namespace"].as_str().map(|it| format!("{it}/")).unwrap_or_default();
            let of = owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
            objects.entry(format!("{kind} {namespace}{name}{of}")).or_insert(object);
        }
    }
    objects
}

/// The fields that differ, by path: as deep as both are mappings.
fn differences(path: &str, before: &Value, after: &Value, found: &mut Vec<ChangedField>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
            found.push(ChangedField { path: path.to_owned(), before: text(before), after: text(after) });
        }
        return;
    };
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
        differences(&below, &of(old), &of(new), found);
    }
}
