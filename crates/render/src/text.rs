//! Objects as text.

use serde_json::Value;

/// By which objects are sorted: kind, namespace, name.
pub(crate) fn key(object: &Value) -> [String; 3] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    [text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"])]
}

/// YAML, a document each, keys in order.
pub(crate) fn documents(objects: &[Value]) -> String {
    let text = |object: &Value| {
        // JSON is YAML: what cannot be written nicely is written all the same.
        serde_saphyr::to_string(object).unwrap_or_else(|_| format!("{object}\n"))
    };
    objects.iter().map(text).collect::<Vec<_>>().join("---\n")
}
