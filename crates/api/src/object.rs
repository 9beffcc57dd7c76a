//! An object: which kind it is, what it is called, and what it says.

use crate::{
    fields::{Fields, Issues},
    kinds::{self, Kind, Labels, Spec},
    problem::Problem,
    read,
    yaml::{Node, Pos, Value},
};
use std::sync::{Arc, OnceLock};
use tidegate_engine::{Origin, WrittenIn};
use tidegate_model::Zone;

/// What makes two objects the same object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) kind: Kind,
    /// Empty for kinds that belong to no namespace.
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind.name(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.name(), self.name),
        }
    }
}

/// An object that was read.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: ObjectKey,
    /// The key as text, once somebody asked for it: most objects are never named to anybody.
    place: OnceLock<Arc<WrittenIn>>,
    /// The file, or the resource that it was read from.
    pub(crate) file: Arc<str>,
    pub(crate) at: Pos,
    /// `metadata.creationTimestamp`, which sorts as text.
    pub(crate) created: Option<Box<str>>,
    pub(crate) spec: Spec,
}

impl PartialEq for Object {
    /// Whether both say the same at the same place.
    fn eq(&self, other: &Self) -> bool {
        let Self { key, place: _, file, at, created, spec } = self;
        *key == other.key
            && *file == other.file
            && *at == other.at
            && *created == other.created
            && *spec == other.spec
    }
}

impl Object {
    /// The key as text, shared by all origins that name it.
    pub(crate) fn title(&self) -> &Arc<str> {
        &self.place().object
    }

    /// Where it was read, shared by all origins that name it.
    pub(crate) fn place(&self) -> &Arc<WrittenIn> {
        let place = || WrittenIn { object: self.key.to_string().into(), file: Arc::clone(&self.file) };
        self.place.get_or_init(|| Arc::new(place()))
    }

    /// Where a field of this object was written.
    pub(crate) fn origin(&self, at: Pos) -> Origin {
        Origin::File { place: Arc::clone(self.place()), line: at.line }
    }

    /// Gateway API's order of precedence: the oldest, then the first by name. An object without a creation time
    /// is one that Kubernetes has not seen yet, so it is younger than any that has one.
    pub(crate) fn seniority(&self) -> (bool, Option<&str>, &str, &str) {
        (self.created.is_none(), self.created.as_deref(), &*self.key.namespace, &*self.key.name)
    }
}

/// What became of one object of a file.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Unknown when the mistake is in the kind or the name.
    pub(crate) key: Option<ObjectKey>,
    pub(crate) at: Pos,
    /// What was read; of a bad object, the part that can stand alone, if there is one.
    pub(crate) object: Option<Arc<Object>>,
    /// Whether the object as a whole is to be left out.
    pub(crate) bad: bool,
    /// What is wrong.
    pub(crate) issues: Box<[Problem]>,
    /// Whether it says of itself that it is for the whole fleet, right or wrong as it is.
    pub(crate) for_fleet: bool,
}

/// Reads the objects of a document: one, or those of a `List`. What Tidegate has no use for is skipped.
pub(crate) fn read_document(node: &Node, file: &Arc<str>, into: &mut Vec<Reading>) {
    let mut issues = Issues::new(Arc::clone(file));
    if let Some(items) = items_of_list(node) {
        for item in items {
            read_document(item, file, into);
        }
        return;
    }
    let read = read_object(node, &mut issues);
    let (key, object) = match read {
        Head::Skipped => return,
        Head::Unknown => (None, None),
        Head::Named(key, object) => (Some(key), object),
    };
    let for_fleet = kinds::is_for_fleet(node);
    into.push(Reading { key, at: node.at, object, bad: issues.bad, issues: issues.list.into(), for_fleet });
}

/// The items of a `List`, as `kubectl get -o yaml` writes it. The parser limits the depth of lists in lists.
pub(crate) fn items_of_list(node: &Node) -> Option<&[Node]> {
    let Value::Map(entries) = &node.value else { return None };
    let find = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| &node.value);
    match (find("kind"), find("items")) {
        (Some(Value::Text(kind)), Some(Value::List(items))) if kind == "List" => Some(items),
        _ => None,
    }
}

enum Head {
    /// Not for us.
    Skipped,
    /// For us, but which object it is cannot be told.
    Unknown,
    Named(ObjectKey, Option<Arc<Object>>),
}

fn read_object(node: &Node, issues: &mut Issues) -> Head {
    let hint = "every document needs apiVersion, kind and metadata.name; keep other files out of this folder";
    let Value::Map(entries) = &node.value else {
        issues.error(node.at, format!("not a Kubernetes object, but {node}"), hint);
        return Head::Unknown;
    };
    let missing = ["apiVersion", "kind"].map(|name| !entries.iter().any(|(key, _)| key.name == name));
    match missing {
        [true, true] => {
            issues.error(node.at, "not a Kubernetes object: it has no apiVersion and no kind", hint);
        }
        [true, false] => issues.error(node.at, "not a Kubernetes object: it has no apiVersion", hint),
        [false, true] => issues.error(node.at, "not a Kubernetes object: it has no kind", hint),
        [false, false] => {}
    }
    if missing != [false, false] {
        return Head::Unknown;
    }
    let Some(mut fields) = Fields::open(node, String::new(), issues) else { return Head::Unknown };
    let version =
        fields.required_value("apiVersion", "write for example tidegate.dev/v1alpha1", issues, read::text);
    let word = fields.required_value("kind", "write for example FailoverPolicy", issues, read::text);
    let (Some(version), Some(word)) = (version, word) else { return Head::Unknown };
    let kind = match kinds::find(&version, &word, issues) {
        // A Secret that is no certificate is nobody's business, and is not looked into.
        kinds::Found::Kind(Kind::Secret) if !kinds::secret::is_tls(node) => return Head::Skipped,
        // Nor is a ConfigMap without authorities.
        kinds::Found::Kind(Kind::ConfigMap) if !kinds::config_map::has_authorities(node) => {
            return Head::Skipped;
        }
        kinds::Found::Kind(kind) => kind,
        kinds::Found::Skip => {
            // Nothing in it matters, not even a field that is written twice.
            issues.list.clear();
            return Head::Skipped;
        }
        kinds::Found::Problem => return Head::Unknown,
    };
    issues.object = Some(kind.name().to_owned());
    let Some(meta) = read_metadata(&mut fields, kind, issues) else { return Head::Unknown };
    let key = ObjectKey { kind, namespace: meta.namespace.as_str().into(), name: meta.name.as_str().into() };
    let title = key.to_string();
    for problem in &mut issues.list {
        problem.object = Some(title.clone());
    }
    issues.object = Some(title);
    fields.ignore(&["status"]);
    let spec = kind.read(&mut fields, &meta, issues);
    if kind.is_ours() {
        fields.finish(issues);
    }
    let (file, created) = (Arc::clone(&issues.file), meta.created.map(String::into_boxed_str));
    let place = OnceLock::new();
    let object = spec.map(|spec| Object { key: key.clone(), place, file, at: node.at, created, spec });
    Head::Named(key, object.map(Arc::new))
}

/// The parts of `metadata` that matter.
pub(crate) struct Meta {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) created: Option<String>,
    /// The label `kubernetes.io/service-name`.
    pub(crate) service: Option<String>,
    /// The label `topology.kubernetes.io/zone`, of a node.
    pub(crate) zone: Option<Zone>,
    /// All labels, of the kinds that are selected by them.
    pub(crate) labels: Labels,
}

fn read_metadata(fields: &mut Fields<'_>, kind: Kind, issues: &mut Issues) -> Option<Meta> {
    let hint = "add `metadata: {name: ...}`";
    let mut metadata = fields.required_map("metadata", hint, issues)?;
    let name = metadata.required_value("name", "give the object a name", issues, read::object_name);
    let namespace = metadata.value("namespace", issues, read::object_name);
    // A namespace that cannot be read leaves it open which object this is; one that is absent is `default`.
    let unreadable = namespace.is_none() && metadata.node("namespace").is_some();
    let created = metadata.value("creationTimestamp", issues, read::timestamp).map(|field| field.value);
    let mut service = None;
    if kind == Kind::EndpointSlice
        && let Some(mut labels) = metadata.map("labels", issues)
    {
        service = labels.value("kubernetes.io/service-name", issues, read::text).map(|field| field.value);
    }
    let mut zone = None;
    if kind == Kind::Node
        && let Some(mut labels) = metadata.map("labels", issues)
    {
        let named = labels.value("topology.kubernetes.io/zone", issues, read::name("zone", Zone::new));
        zone = named.map(|field| field.value);
    }
    let mut labels = Labels::new();
    if matches!(kind, Kind::FleetCluster | Kind::Namespace) {
        let entries = metadata.entries("labels", issues, read::any_text).into_iter();
        labels.extend(entries.filter_map(|(key, value)| Some((key.name.clone(), value?))));
    }
    if kind.is_ours() {
        metadata.ignore(&[
            "labels",
            "annotations",
            "generateName",
            "generation",
            "uid",
            "resourceVersion",
            "ownerReferences",
            "finalizers",
            "managedFields",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ]);
        let namespace_at = metadata.key_at("namespace");
        metadata.finish(issues);
        if !kind.is_namespaced() && namespace.is_some() {
            let message = format!("a {} belongs to no namespace", kind.name());
            issues.warn(namespace_at, message, "remove metadata.namespace");
        }
    }
    let namespace = match namespace {
        _ if !kind.is_namespaced() => String::new(),
        Some(namespace) => namespace.value,
        None if unreadable => return None,
        None => "default".to_owned(),
    };
    Some(Meta { namespace, name: name?.value, created, service, zone, labels })
}
