//! A core `Secret` of type `kubernetes.io/tls`: what a gateway shows to its clients, and perhaps whom they are to believe. Others are
//! not looked at.
//!
//! Nothing here, and nothing that it tells, quotes a value.

use super::config_map::AUTHORITIES;
use crate::{
    certificate::{self, Pair},
    fields::{Fields, Issues},
    yaml::{Node, Pos, Value},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::sync::Arc;

/// What it holds, which belongs together.
#[derive(Debug, PartialEq)]
pub(crate) struct SecretSpec {
    pub(crate) pair: Pair,
    /// Certificates of authorities, as PEM.
    pub(crate) authorities: Option<Arc<str>>,
}

const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Whether an object that is a `Secret` is of the type that is read.
pub(crate) fn is_tls(object: &Node) -> bool {
    let Value::Map(entries) = &object.value else { return false };
    let is_type = |node: &Node| matches!(&node.value, Value::Text(text) if text == "kubernetes.io/tls");
    entries.iter().any(|(key, node)| key.name == "type" && is_type(node))
}

pub(super) fn read(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<SecretSpec> {
    let chain = required_part(fields, CHAIN, issues);
    let key = required_part(fields, KEY, issues);
    let authorities = part(fields, AUTHORITIES, issues).ok()?.and_then(|(text, at)| {
        let read = certificate::authorities(&text);
        // The certificate is good all the same.
        read.map_err(|(message, hint)| issues.omit(at, format!("{AUTHORITIES} {message}"), hint)).ok()
    });
    let ((chain, chain_at), (key, key_at)) = (chain?, key?);
    match certificate::pair(&chain, &key) {
        Ok(pair) => Some(SecretSpec { pair, authorities }),
        Err(fault) => {
            let (name, at) = if fault.of_key { (KEY, key_at) } else { (CHAIN, chain_at) };
            issues.error(at, format!("{name} {}", fault.message), fault.hint);
            None
        }
    }
}

const HINT: &str = "write it under `stringData:` as it is, or under `data:` in base64";

fn required_part(fields: &mut Fields<'_>, name: &'static str, issues: &mut Issues) -> Option<(String, Pos)> {
    let found = part(fields, name, issues).ok()?;
    if found.is_none() {
        issues.error(fields.at, format!("a Secret of type kubernetes.io/tls needs {name}"), HINT);
    }
    found
}

/// What could not be read was told.
struct Unreadable;

/// `stringData` wins over `data`, as it does when Kubernetes takes a Secret in.
fn part(
    fields: &mut Fields<'_>,
    name: &'static str,
    issues: &mut Issues,
) -> Result<Option<(String, Pos)>, Unreadable> {
    for (place, encoded) in [("stringData", false), ("data", true)] {
        let Some(node) = fields.node(place) else { continue };
        if !matches!(node.value, Value::Map(_)) {
            issues.error(fields.key_at(place), format!("{place} must be a mapping"), HINT);
            return Err(Unreadable);
        }
        let mut values = Fields::open(node, place.to_owned(), issues).ok_or(Unreadable)?;
        let Some(node) = values.node(name) else { continue };
        let at = values.key_at(name);
        let Value::Text(text) = &node.value else {
            issues.error(at, format!("{place}.{name} must be text"), HINT);
            return Err(Unreadable);
        };
        if !encoded {
            return Ok(Some((text.clone(), at)));
        }
        let packed: String = text.split_whitespace().collect();
        let decoded = STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if decoded.is_none() {
            let hint = "`base64 -w0` of the file gives it; a file as it is belongs under `stringData:`";
            issues.error(at, format!("{place}.{name} is not base64 of a text"), hint);
        }
        return decoded.map(|text| Some((text, at))).ok_or(Unreadable);
    }
    Ok(None)
}
