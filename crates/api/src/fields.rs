//! Reading the fields of an object: every mistake is told with its path, and reading goes on.

use crate::{
    nearest,
    problem::{Cause, Problem, Severity},
    yaml::{Key, Node, Pos, Value},
};
use std::{collections::BTreeMap, sync::Arc};

/// The most problems that are told of one object; who has more will read them in turns.
const MAX_PROBLEMS: usize = 100;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field<T> {
    pub(crate) value: T,
    pub(crate) at: Pos,
}

/// Why a value is not what a field needs.
pub(crate) struct Wrong {
    /// Completes "FIELD must be ...".
    pub(crate) expected: String,
    pub(crate) hint: String,
}

impl Wrong {
    pub(crate) fn new(expected: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { expected: expected.into(), hint: hint.into() }
    }
}

/// The problems of one object.
#[derive(Debug)]
pub(crate) struct Issues {
    pub(crate) file: Arc<str>,
    pub(crate) object: Option<String>,
    pub(crate) list: Vec<Problem>,
    /// Whether the object as a whole is to be left out.
    pub(crate) bad: bool,
}

impl Issues {
    pub(crate) const fn new(file: Arc<str>) -> Self {
        Self { file, object: None, list: Vec::new(), bad: false }
    }

    /// A mistake that makes the object unusable.
    pub(crate) fn error(&mut self, at: Pos, message: impl Into<String>, hint: impl Into<String>) {
        self.bad = true;
        self.push(at, Severity::Error, message.into(), hint.into());
    }

    /// A mistake that costs only the part that holds it.
    pub(crate) fn omit(&mut self, at: Pos, message: impl Into<String>, hint: impl Into<String>) {
        self.push(at, Severity::Error, message.into(), hint.into());
    }

    /// Something that is in force but looks wrong.
    pub(crate) fn warn(&mut self, at: Pos, message: impl Into<String>, hint: impl Into<String>) {
        self.push(at, Severity::Warning, message.into(), hint.into());
    }

    fn push(&mut self, at: Pos, severity: Severity, message: String, hint: String) {
        let (message, hint) = match self.list.len() {
            0..MAX_PROBLEMS => (message, hint),
            MAX_PROBLEMS => {
                ("there are more problems in this object".to_owned(), "mend those first".to_owned())
            }
            _ => return,
        };
        let (file, object) = (self.file.to_string(), self.object.clone());
        self.list.push(Problem {
            file,
            line: at.line,
            column: at.column,
            object,
            severity,
            cause: Cause::Invalid,
            message,
            hint,
        });
    }
}

/// A mapping being read. Fields that nobody asked for are told by [`Self::finish`].
pub(crate) struct Fields<'n> {
    /// Where the mapping begins.
    pub(crate) at: Pos,
    path: String,
    entries: &'n [(Key, Node)],
    /// The fields that the mapping may have, in the order in which they were asked for.
    known: Vec<&'static str>,
    /// Fields that are no mistake, but not worth a hint either.
    quiet: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a mapping; anything else is a mistake. `path` is its name in messages, empty for an object.
    pub(crate) fn open(node: &'n Node, path: String, issues: &mut Issues) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let hint = "write its fields below it, indented by two more spaces, as `field: value`";
            issues.error(node.at, format!("{path} must be a mapping, not {node}"), hint);
            return None;
        };
        let fields = Self { at: node.at, path, entries, known: Vec::new(), quiet: Vec::new() };
        let mut first: BTreeMap<&str, Pos> = BTreeMap::new();
        for (key, _) in entries {
            if let Some(first) = first.get(key.name.as_str()) {
                let message = format!("{} is written twice", fields.path_of(&key.name));
                issues.error(key.at, message, format!("the first one is at line {}; remove one", first.line));
            } else {
                first.insert(&key.name, key.at);
            }
        }
        Some(fields)
    }

    /// The full name of a field in messages.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The node of a field; `null` counts as absent, as it does for Kubernetes.
    pub(crate) fn node(&mut self, name: &'static str) -> Option<&'n Node> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.entries
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, node)| node)
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// Where the key of a field stands, or where the mapping begins.
    pub(crate) fn key_at(&self, name: &str) -> Pos {
        self.entries.iter().find(|(key, _)| key.name == name).map_or(self.at, |(key, _)| key.at)
    }

    /// Where a field stands that the mapping does not have, if somebody wrote it all the same.
    pub(crate) fn stray(&mut self, name: &'static str) -> Option<Pos> {
        self.quiet.push(name);
        self.entries.iter().find(|(key, _)| key.name == name).map(|(key, _)| key.at)
    }

    /// A field that must be there.
    pub(crate) fn required(
        &mut self,
        name: &'static str,
        hint: &str,
        issues: &mut Issues,
    ) -> Option<&'n Node> {
        let node = self.node(name);
        if node.is_none() {
            issues.error(self.key_at(name), format!("{} is missing", self.path_of(name)), hint);
        }
        node
    }

    /// A nested mapping.
    pub(crate) fn map(&mut self, name: &'static str, issues: &mut Issues) -> Option<Self> {
        let node = self.node(name)?;
        Self::open(node, self.path_of(name), issues)
    }

    /// A nested mapping that must be there.
    pub(crate) fn required_map(
        &mut self,
        name: &'static str,
        hint: &str,
        issues: &mut Issues,
    ) -> Option<Self> {
        let node = self.required(name, hint, issues)?;
        Self::open(node, self.path_of(name), issues)
    }

    /// A list; absent reads as empty.
    pub(crate) fn list(&mut self, name: &'static str, issues: &mut Issues) -> &'n [Node] {
        let Some(node) = self.node(name) else { return &[] };
        if let Value::List(items) = &node.value {
            return items;
        }
        let hint = "write each entry on a line of its own, beginning with `- `";
        issues.error(node.at, format!("{} must be a list, not {node}", self.path_of(name)), hint);
        &[]
    }

    /// The mappings of a list.
    pub(crate) fn maps(&mut self, name: &'static str, issues: &mut Issues) -> Vec<Self> {
        let path = self.path_of(name);
        let items = self.list(name, issues).iter().enumerate();
        items.filter_map(|(index, item)| Self::open(item, format!("{path}[{index}]"), issues)).collect()
    }

    /// The mappings of a list that may have at most `max` entries.
    pub(crate) fn maps_up_to(&mut self, max: usize, name: &'static str, issues: &mut Issues) -> Vec<Self> {
        let mut maps = self.maps(name, issues);
        if maps.len() > max {
            let message =
                format!("{} must have at most {max} entries, not {}", self.path_of(name), maps.len());
            issues.error(maps[max].at, message, "split the object, or name the whole instead of its parts");
            maps.truncate(max);
        }
        maps
    }

    /// A value that `read` understands.
    pub(crate) fn value<T>(
        &mut self,
        name: &'static str,
        issues: &mut Issues,
        read: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<Field<T>> {
        let node = self.node(name)?;
        checked(node, || self.path_of(name), issues, read)
    }

    /// The same, and it must be there.
    pub(crate) fn required_value<T>(
        &mut self,
        name: &'static str,
        hint: &str,
        issues: &mut Issues,
        read: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<Field<T>> {
        let node = self.required(name, hint, issues)?;
        checked(node, || self.path_of(name), issues, read)
    }

    /// A list of values that `read` understands; `None` when the field is absent.
    pub(crate) fn values<T>(
        &mut self,
        name: &'static str,
        issues: &mut Issues,
        read: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<Field<Vec<Field<T>>>> {
        let at = self.node(name)?.at;
        let path = self.path_of(name);
        let items = self.list(name, issues).iter().enumerate();
        let value = items
            .filter_map(|(index, item)| checked(item, || format!("{path}[{index}]"), issues, &read))
            .collect();
        Some(Field { value, at })
    }

    /// The entries of a mapping whose keys are the user's own, each with its value as far as `read` understands it;
    /// absent reads as empty.
    pub(crate) fn entries<T>(
        &mut self,
        name: &'static str,
        issues: &mut Issues,
        read: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Vec<(&'n Key, Option<T>)> {
        let Some(map) = self.map(name, issues) else { return Vec::new() };
        let mut seen: Vec<(&Key, Option<T>)> = Vec::new();
        for (key, node) in map.entries {
            let value = checked(node, || map.path_of(&key.name), issues, &read);
            seen.push((key, value.map(|field| field.value)));
        }
        seen
    }

    /// Fields that exist for others and mean nothing here.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        self.quiet.extend_from_slice(names);
    }

    /// Fields that would change what the object means and that cannot be honoured.
    pub(crate) fn unsupported(&mut self, names: &[&'static str], issues: &mut Issues) {
        for &name in names {
            self.quiet.push(name);
            if let Some((key, node)) = self.entries.iter().find(|(key, _)| key.name == name) {
                let empty = match &node.value {
                    Value::Null => true,
                    Value::List(items) => items.is_empty(),
                    _ => false,
                };
                if !empty {
                    let message = format!("not supported yet: {}", self.path_of(name));
                    issues.error(key.at, message, "remove the field");
                }
            }
        }
    }

    /// Tells the fields that nobody asked for.
    pub(crate) fn finish(self, issues: &mut Issues) {
        self.finish_knowing(&[], issues);
    }

    /// The same, with the paths, from here, at which fields belong that are often written at the wrong level.
    pub(crate) fn finish_knowing(self, elsewhere: &[&str], issues: &mut Issues) {
        for (key, _) in self.entries {
            let name = key.name.as_str();
            if self.known.contains(&name) || self.quiet.contains(&name) {
                continue;
            }
            let place = if self.path.is_empty() { "the object" } else { &self.path };
            let right = elsewhere.iter().find(|path| path.rsplit('.').next() == Some(name));
            let hint = match right {
                Some(path) => format!("it belongs to {}", self.path_of(path)),
                None => nearest::hint(name, "fields", self.known.iter().copied()),
            };
            issues.error(key.at, format!("{place} has no field {name:?}"), hint);
        }
    }
}

fn checked<T>(
    node: &Node,
    path: impl Fn() -> String,
    issues: &mut Issues,
    read: impl Fn(&Node) -> Result<T, Wrong>,
) -> Option<Field<T>> {
    match read(node) {
        Ok(value) => Some(Field { value, at: node.at }),
        Err(Wrong { expected, hint }) => {
            issues.error(node.at, format!("{} must be {expected}, not {node}", path()), hint);
            None
        }
    }
}
