//! What is kept of an object that an API server sends, while it is read: the rest is passed over and never held.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Which parts of a value are kept. What has another shape than expected is kept whole, so that the loader can say so.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// All of it.
    All,
    /// These fields, and these parts of them.
    Fields(&'static [(&'static str, Keep)]),
    /// These fields.
    Only(&'static [&'static str]),
    /// The fields whose names begin so.
    Prefixed(&'static str),
    /// These parts of each item of a list.
    Items(&'static Keep),
    /// Of `metadata`: what an object is called, when it was made, our annotations, and these labels (`*`: all).
    Metadata(&'static [&'static str]),
    /// The same, and what tells one content of the object from the next: what it is asked for when its status is written.
    Subject(&'static [&'static str]),
}

impl Keep {
    /// What is kept of a field; `None` if nothing.
    fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::All | Self::Items(_) => Some(Self::All),
            Self::Fields(fields) => fields.iter().find(|(known, _)| *known == name).map(|(_, keep)| *keep),
            Self::Only(names) => names.contains(&name).then_some(Self::All),
            Self::Prefixed(prefix) => name.starts_with(prefix).then_some(Self::All),
            Self::Subject(_) if ["uid", "generation"].contains(&name) => Some(Self::All),
            Self::Metadata(labels) | Self::Subject(labels) => match name {
                "name" | "namespace" | "creationTimestamp" => Some(Self::All),
                "annotations" => Some(Self::Prefixed("tidegate.dev/")),
                "labels" if labels.is_empty() => None,
                "labels" if labels.contains(&"*") => Some(Self::All),
                "labels" => Some(Self::Only(labels)),
                _ => None,
            },
        }
    }

    const fn item(self) -> Self {
        match self {
            Self::Items(keep) => *keep,
            _ => Self::All,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.item())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match self.field(&name) {
                Some(keep) => {
                    kept.insert(name, map.next_value_seed(keep)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::kinds::ALL;

    fn kept(kind: &str, json: &str) -> Value {
        let watched = ALL.iter().find(|it| it.kind == kind).unwrap();
        watched.keep.deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap()
    }

    #[test]
    fn of_a_slice_only_what_is_used_is_kept() {
        let json = r#"{"apiVersion":"x","metadata":{"name":"a","namespace":"shop","uid":"u","managedFields":[{"a":1}],
            "labels":{"kubernetes.io/service-name":"web","other":"x"},"annotations":{"a":"b"}},
            "addressType":"IPv4","ports":[{"port":80,"name":"http","appProtocol":"x"}],
            "endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true,"odd":1},"zone":"z","hints":{},
            "targetRef":{"kind":"Pod"}}]}"#;
        let expected = serde_json::json!({
            "metadata": {"name": "a", "namespace": "shop", "annotations": {},
                         "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": 80, "name": "http"}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "zone": "z"}],
        });
        assert_eq!(kept("EndpointSlice", json), expected);
    }

    #[test]
    fn of_a_secret_only_the_certificate_and_its_key_are_kept() {
        let json = r#"{"metadata":{"name":"a"},"type":"kubernetes.io/tls","data":{"tls.crt":"c","tls.key":"k","pw":"x"},
            "stringData":{"more":"y"}}"#;
        let expected = serde_json::json!({"metadata": {"name": "a"}, "type": "kubernetes.io/tls",
                                          "data": {"tls.crt": "c", "tls.key": "k"}});
        assert_eq!(kept("Secret", json), expected);
    }

    #[test]
    fn what_has_another_shape_is_left_to_the_loader() {
        assert_eq!(
            kept("EndpointSlice", r#"{"endpoints":"none"}"#),
            serde_json::json!({"endpoints": "none"})
        );
    }
}
