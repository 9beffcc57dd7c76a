//! What is kept of an object that an API server sends, while it is read: the rest is passed over and never held.

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
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

/// What is kept of a value, written as JSON while the value is read: slices change by the thousand, and no tree is made of them.
struct Written<'a> {
    keep: Keep,
    out: &'a mut String,
}

/// The name of a field, if it is kept: then it is written, behind a comma if it is not the first.
struct Name<'a> {
    of: Keep,
    first: bool,
    out: &'a mut String,
}

impl Keep {
    /// What is kept of the object that this JSON text is, as JSON, with `head` (fields, each with a comma behind it) in front.
    ///
    /// # Errors
    /// If it is no object.
    pub(crate) fn text(self, raw: &str, head: &str) -> Result<Box<str>, serde_json::Error> {
        let mut out = String::with_capacity(raw.len() / 2 + head.len());
        let mut read = serde_json::Deserializer::from_str(raw);
        Written { keep: self, out: &mut out }.deserialize(&mut read)?;
        let Some(rest) = out.strip_prefix('{') else {
            return Err(serde_json::Error::custom("it is no object"));
        };
        let head = if rest == "}" { head.trim_end_matches(',') } else { head };
        Ok(format!("{{{head}{rest}").into_boxed_str())
    }
}

fn write_text(text: &str, out: &mut String) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.extend(["\"", text, "\""]);
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<Keep>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<Keep>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<Keep>, E> {
        let kept = self.of.field(name);
        if kept.is_some() {
            if !self.first {
                self.out.push(',');
            }
            write_text(name, self.out);
            self.out.push(':');
        }
        Ok(kept)
    }
}

impl<'de> DeserializeSeed<'de> for Written<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Written<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.out.push_str("null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.out.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.out.push_str(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.out.push_str(&value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.out.push_str(&Number::from_f64(value).map_or_else(|| "null".to_owned(), |it| it.to_string()));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        write_text(value, self.out);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { keep, out } = self;
        out.push('[');
        let begun = out.len();
        loop {
            let end = out.len();
            if end > begun {
                out.push(',');
            }
            if seq.next_element_seed(Written { keep: keep.item(), out: &mut *out })?.is_none() {
                out.truncate(end);
                break;
            }
        }
        out.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { keep, out } = self;
        out.push('{');
        let begun = out.len();
        loop {
            let first = out.len() == begun;
            match map.next_key_seed(Name { of: keep, first, out: &mut *out })? {
                None => break,
                Some(Some(keep)) => map.next_value_seed(Written { keep, out: &mut *out })?,
                Some(None) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        out.push('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::kinds::ALL;

    fn kept(kind: &str, json: &str) -> Value {
        let watched = ALL.iter().find(|it| it.kind == kind).unwrap();
        serde_json::from_str(&watched.keep.text(json, "").unwrap()).unwrap()
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

    #[test]
    fn what_is_written_is_what_was_read_whatever_it_holds() {
        let json = r#"{"metadata":{"name":"a\"\\\n\u00e4","labels":{}},"spec":{"a":[],"b":[1,-2,2.5,true,null,{"c":"d"}],"ä":{}}}"#;
        let text = Keep::All.text(json, "").unwrap();
        let [read, written]: [Value; 2] = [json, &text].map(|it| serde_json::from_str(it).unwrap());
        assert_eq!(read, written);
        assert_eq!(&*Keep::All.text("{}", r#""kind":"A","#).unwrap(), r#"{"kind":"A"}"#);
        for odd in ["[]", "1", "", r#"{"a":1"#, r#"{"a" 1}"#] {
            assert!(Keep::All.text(odd, "").is_err(), "{odd}");
        }
    }
}
