//! Labels and selectors: mappings of names to texts.

use crate::{
    fields::{Fields, Issues},
    read,
    yaml::Value,
};
use std::collections::BTreeMap;

/// The labels in this field. A value that is no text is told, and left out.
pub(super) fn read(
    fields: &mut Fields<'_>,
    name: &'static str,
    issues: &mut Issues,
) -> BTreeMap<String, String> {
    let path = fields.path_of(name);
    let Some(Value::Map(entries)) = fields.node(name).map(|node| &node.value) else { return BTreeMap::new() };
    let mut labels = BTreeMap::new();
    for (key, node) in entries {
        match read::any_text(node) {
            Ok(text) => {
                labels.insert(key.name.clone(), text);
            }
            Err(wrong) => {
                let message = format!("{path}.{} must be {}, not {node}", key.name, wrong.expected);
                issues.omit(node.at, message, wrong.hint);
            }
        }
    }
    labels
}
