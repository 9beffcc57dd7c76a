//! A core `Secret` of type `kubernetes.io/tls`: what a gateway shows to its clients. Others are not looked at.
//!
//! Nothing here, and nothing that it tells, quotes a value.

use crate::{
    certificate::{self, Pair},
    fields::{Fields, Issues},
    yaml::{Node, Pos, Value},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// What it holds, which belongs together.
#[derive(Debug, PartialEq)]
pub(crate) struct SecretSpec {
    pub(crate) pair: Pair,
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
    let chain = part(fields, CHAIN, issues);
    let key = part(fields, KEY, issues);
    let ((chain, chain_at), (key, key_at)) = (chain?, key?);
    match certificate::pair(&chain, &key) {
        Ok(pair) => Some(SecretSpec { pair }),
        Err(fault) => {
            let (name, at) = if fault.of_key { (KEY, key_at) } else { (CHAIN, chain_at) };
            issues.error(at, format!("{name} {}", fault.message), fault.hint);
            None
        }
    }
}

/// `stringData` wins over `data`, as it does when Kubernetes takes a Secret in.
fn part(fields: &mut Fields<'_>, name: &'static str, issues: &mut Issues) -> Option<(String, Pos)> {
    let hint = "write it under `stringData:` as it is, or under `data:` in base64";
    for (place, encoded) in [("stringData", false), ("data", true)] {
        let Some(node) = fields.node(place) else { continue };
        if !matches!(node.value, Value::Map(_)) {
            issues.error(fields.key_at(place), format!("{place} must be a mapping"), hint);
            return None;
        }
        let mut values = Fields::open(node, place.to_owned(), issues)?;
        let Some(node) = values.node(name) else { continue };
        let at = values.key_at(name);
        let Value::Text(text) = &node.value else {
            issues.error(at, format!("{place}.{name} must be text"), hint);
            return None;
        };
        if !encoded {
            return Some((text.clone(), at));
        }
        let packed: String = text.split_whitespace().collect();
        let decoded = STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if decoded.is_none() {
            let hint = "`base64 -w0` of the file gives it; a file as it is belongs under `stringData:`";
            issues.error(at, format!("{place}.{name} is not base64 of a text"), hint);
        }
        return decoded.map(|text| (text, at));
    }
    issues.error(fields.at, format!("a Secret of type kubernetes.io/tls needs {name}"), hint);
    None
}
