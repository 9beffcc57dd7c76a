//! The last touches to a definition, so that the API takes each schema as it is and says no more than it means.

use serde_json::{Map, Value, json};

/// The definition without what the generator adds and Kubernetes has no use for, with the labels of all our objects.
pub(crate) fn tidy(mut definition: Value) -> Value {
    definition["metadata"]["labels"] =
        json!({"app.kubernetes.io/name": "tidegate", "app.kubernetes.io/component": "crds"});
    if let Some(versions) = definition["spec"]["versions"].as_array_mut() {
        for version in versions {
            let schema = &mut version["schema"]["openAPIV3Schema"];
            walk(schema);
            if let Some(root) = schema.as_object_mut() {
                root.remove("title");
            }
        }
    }
    definition
}

fn walk(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    // Without it the API drops `field: null`, as the readers take it: for absent.
    fields.remove("nullable");
    tidy_number(fields);
    if let Some(words) = fields.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    // Who applies a list of ours says all of it, unless the list has keys.
    if fields.get("type").is_some_and(|it| it == "array") && !fields.contains_key("x-kubernetes-list-type") {
        fields.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
    }
    // Descriptions are paragraphs, and lines end where the source does.
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.split("\n\n").map(|it| it.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    for nested in ["properties", "additionalProperties", "items"] {
        match fields.get_mut(nested) {
            Some(Value::Object(named)) if nested == "properties" => named.values_mut().for_each(walk),
            Some(schema) => walk(schema),
            None => {}
        }
    }
}

/// Kubernetes knows int32 and int64; a range says more than either.
fn tidy_number(fields: &mut Map<String, Value>) {
    let format = fields.get("format").and_then(Value::as_str).unwrap_or_default();
    match format {
        "uint32" | "uint16" | "uint64" | "int64" => {
            fields.insert("format".to_owned(), json!("int64"));
        }
        "double" => {
            fields.remove("format");
        }
        _ => {}
    }
    for bound in ["minimum", "maximum"] {
        let whole =
            fields.get(bound).and_then(Value::as_f64).filter(|it| it.fract() == 0.0 && it.abs() < 1e15);
        if let Some(whole) = whole {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and below 1e15")]
            fields.insert(bound.to_owned(), json!(whole as i64));
        }
    }
}
