//! The objects of a stand-in, their versions, and what changed of them. No I/O.

use super::{Served, http};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

/// So many changes are remembered; who is further behind is told that its version is too old.
const REMEMBERED: usize = 4096;
/// A watch is told so many changes at a time.
const TOGETHER: usize = 64;

/// What a watch is told next.
pub(super) enum Next {
    Nothing,
    /// Lines, and the version of the last.
    Lines(String, u64),
    /// The version that it is at was forgotten.
    Forgotten,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    /// Changes up to this one are not remembered.
    forgotten: u64,
    objects: BTreeMap<String, BTreeMap<String, Arc<str>>>,
    changes: VecDeque<Changed>,
}

#[derive(Debug)]
struct Changed {
    version: u64,
    plural: String,
    line: String,
}

impl Store {
    pub(super) fn set(&mut self, plural: &str, mut object: Value) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = self.version.to_string().into();
        let text = |it: &Value| it.as_str().map(str::to_owned);
        let name = text(&metadata["name"]).unwrap_or_default();
        let key =
            text(&metadata["namespace"]).map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
        let object: Arc<str> = object.to_string().into();
        let before = self.objects.entry(plural.to_owned()).or_default().insert(key, Arc::clone(&object));
        self.remember(plural, line(if before.is_some() { "MODIFIED" } else { "ADDED" }, &object));
    }

    pub(super) fn remove(&mut self, plural: &str, key: &str) {
        if let Some(object) = self.objects.get_mut(plural).and_then(|it| it.remove(key)) {
            self.version += 1;
            let mut object: Value = serde_json::from_str(&object).unwrap_or_default();
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.remember(plural, line("DELETED", &object.to_string()));
        }
    }

    fn remember(&mut self, plural: &str, line: String) {
        self.changes.push_back(Changed { version: self.version, plural: plural.to_owned(), line });
        if self.changes.len() > REMEMBERED {
            self.forgotten = self.changes.pop_front().map_or(self.forgotten, |it| it.version);
        }
    }

    /// A version more, and none before it is known any more.
    pub(super) fn forget(&mut self) {
        self.version += 1;
        self.forgotten = self.version;
        self.changes.clear();
    }

    pub(super) const fn is_forgotten(&self, version: u64) -> bool {
        version < self.forgotten
    }

    pub(super) fn get(&self, plural: &str, key: &str) -> Option<Value> {
        serde_json::from_str(self.objects.get(plural)?.get(key)?).ok()
    }

    pub(super) fn create(&mut self, plural: &str, object: Value) -> Result<Value, u16> {
        let text = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
        let name = text("name").ok_or(405_u16)?;
        let key = text("namespace").map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
        if self.get(plural, &key).is_some() {
            return Err(409);
        }
        self.set(plural, object);
        self.get(plural, &key).ok_or(404)
    }

    /// Replaces the fields that `with` has, of `part` (`status`) only that one.
    pub(super) fn replace(&mut self, plural: &str, key: &str, part: &str, with: Value) -> Result<Value, u16> {
        let mut object = self.get(plural, key).ok_or(404_u16)?;
        let version = &with["metadata"]["resourceVersion"];
        if version.is_string() && *version != object["metadata"]["resourceVersion"] {
            return Err(409);
        }
        let Value::Object(fields) = with else { return Err(405) };
        for (name, value) in fields.into_iter().filter(|(name, _)| name != "metadata") {
            if part.is_empty() || part == name {
                object[name] = value;
            }
        }
        self.set(plural, object);
        self.get(plural, key).ok_or(404)
    }

    /// A page of a list.
    pub(super) fn list(&self, kind: &Served, limit: Option<u64>, after: Option<&str>) -> Value {
        let limit = limit.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut all = self
            .objects
            .get(kind.plural)
            .into_iter()
            .flat_map(|it| it.range::<str, _>((from, Bound::Unbounded)));
        let page: Vec<(&String, &Arc<str>)> = all.by_ref().take(limit).collect();
        let more = all.next().and_then(|_| page.last().map(|(key, _)| (*key).clone()));
        let items: Vec<Value> = page.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).collect();
        json!({
            "kind": format!("{}List", kind.kind),
            "metadata": {"resourceVersion": self.version.to_string(), "continue": more},
            "items": items,
        })
    }

    /// All objects as lines of a watch, with the bookmark that says so, and the version they are of.
    pub(super) fn all(&self, kind: &Served) -> (String, u64) {
        let objects = self.objects.get(kind.plural).into_iter().flat_map(BTreeMap::values);
        let mut lines: String = objects.map(|object| line("ADDED", object)).collect();
        lines += &self.bookmarked(kind, &json!({"k8s.io/initial-events-end": "true"}));
        (lines, self.version)
    }

    pub(super) fn bookmark(&self, kind: &Served) -> (String, u64) {
        (self.bookmarked(kind, &json!({})), self.version)
    }

    fn bookmarked(&self, kind: &Served, annotations: &Value) -> String {
        let metadata = json!({"resourceVersion": self.version.to_string(), "annotations": annotations});
        line("BOOKMARK", &json!({"kind": kind.kind, "metadata": metadata}).to_string())
    }

    /// What changed after a version.
    pub(super) fn after(&self, plural: &str, version: u64) -> Next {
        if self.is_forgotten(version) {
            return Next::Forgotten;
        }
        let first = self.changes.partition_point(|it| it.version <= version);
        let own = self.changes.range(first..).filter(|it| it.plural == plural).take(TOGETHER);
        let (mut lines, mut at) = (String::new(), version);
        for it in own {
            lines += &it.line;
            at = it.version;
        }
        if lines.is_empty() { Next::Nothing } else { Next::Lines(lines, at) }
    }
}

fn line(what: &str, object: &str) -> String {
    format!("{{\"type\":\"{what}\",\"object\":{object}}}\n")
}

/// What an open watch is told whose version was forgotten.
pub(super) fn gone_line() -> String {
    line("ERROR", &http::status(410, "too old resource version", None).to_string())
}
