//! A core `ConfigMap` with `ca.crt`: whose certificates somebody believes. Others are not looked at.

use crate::{
    certificate,
    fields::{Fields, Issues},
    read,
    yaml::{Node, Value},
};
use std::sync::Arc;

/// Where Gateway API has the authorities.
pub(super) const AUTHORITIES: &str = "ca.crt";

/// What it holds.
#[derive(Debug, PartialEq)]
pub(crate) struct ConfigMapSpec {
    /// Certificates of authorities, as PEM.
    pub(crate) authorities: Arc<str>,
}

/// Whether an object that is a `ConfigMap` holds authorities.
pub(crate) fn has_authorities(object: &Node) -> bool {
    let Value::Map(entries) = &object.value else { return false };
    let data = entries.iter().find(|(key, _)| key.name == "data").map(|(_, node)| &node.value);
    matches!(data, Some(Value::Map(entries)) if entries.iter().any(|(key, _)| key.name == AUTHORITIES))
}

pub(super) fn read(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<ConfigMapSpec> {
    let mut data = fields.required_map("data", "write the authorities under `data:`, as ca.crt", issues)?;
    let at = data.key_at(AUTHORITIES);
    let text = data.required_value(AUTHORITIES, "write certificates as PEM", issues, read::any_text)?;
    match certificate::authorities(&text.value) {
        Ok(authorities) => Some(ConfigMapSpec { authorities }),
        Err((message, hint)) => {
            issues.error(at, format!("{AUTHORITIES} {message}"), hint);
            None
        }
    }
}
