//! `FailoverPolicy`: what a user decides for a service, a namespace or the fleet.

use super::{
    MAX_ENTRIES,
    places::Mentions,
    policy_fields::{self, NESTED, PolicyFields},
};
use crate::{
    fields::{Field, Fields, Issues},
    object::Meta,
    read,
};

/// What a policy is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A service of the policy's namespace.
    Service(String),
    /// All services of the policy's namespace.
    Namespace,
    /// All services.
    Fleet,
}

/// What a `FailoverPolicy` says.
#[derive(Debug, PartialEq)]
pub(crate) struct PolicySpec {
    pub(crate) targets: Vec<Field<Target>>,
    pub(crate) fields: PolicyFields,
    /// The places that it names.
    pub(crate) mentions: Mentions,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<PolicySpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with targetRefs", issues)?;
    let mut mentions = Vec::new();
    let targets = read_targets(&mut spec, meta, issues);
    let fields = policy_fields::read(&mut spec, &mut mentions, issues);
    spec.finish_knowing(&NESTED, issues);
    Some(PolicySpec { targets, fields, mentions })
}

fn read_targets(spec: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Vec<Field<Target>> {
    const HINT: &str = "say what the policy is about: `targetRefs: [{group: \"\", kind: Service, name: web}]`; kinds \
                        are Service, Namespace and Fleet";
    let mut targets: Vec<Field<Target>> = Vec::new();
    if spec.required("targetRefs", HINT, issues).is_none() {
        return targets;
    }
    let at = spec.key_at("targetRefs");
    let errors = issues.list.len();
    for mut target in spec.maps_up_to(MAX_ENTRIES, "targetRefs", issues) {
        let Some(value) = read_target(&mut target, meta, issues) else { continue };
        let at = target.at;
        target.finish(issues);
        if targets.iter().any(|earlier| earlier.value == value) {
            issues.error(at, "the target is listed twice", "remove one");
        } else {
            targets.push(Field { value, at });
        }
    }
    if targets.is_empty() && issues.list.len() == errors {
        issues.error(at, "spec.targetRefs is empty", HINT);
    }
    targets
}

fn read_target(target: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Target> {
    #[derive(Clone, Copy)]
    enum TargetKind {
        Service,
        Namespace,
        Fleet,
    }
    const KINDS: &[(&str, TargetKind)] = &[
        ("Service", TargetKind::Service),
        ("Namespace", TargetKind::Namespace),
        ("Fleet", TargetKind::Fleet),
    ];

    let group = target.value("group", issues, read::any_text);
    let kind = target.required_value("kind", "Service, Namespace or Fleet", issues, read::word(KINDS));
    let name = target.required_value("name", "the name of the target", issues, read::object_name);
    if let Some(namespace) = target.value("namespace", issues, read::object_name)
        && namespace.value != meta.namespace
    {
        let message =
            format!("a policy in namespace {} cannot target namespace {}", meta.namespace, namespace.value);
        issues.error(namespace.at, message, "put the policy into the namespace of its target");
    }
    let (kind, name) = (kind?, name?);
    let allowed: &[&str] = match kind.value {
        TargetKind::Service | TargetKind::Namespace => &["", "core"],
        TargetKind::Fleet => &["", "tidegate.dev"],
    };
    if let Some(group) = group.filter(|group| !allowed.contains(&group.value.as_str())) {
        let message = format!("{}.{} cannot be a target", name.value, group.value);
        issues.error(group.at, message, "write group: \"\"");
    }
    match kind.value {
        TargetKind::Service => Some(Target::Service(name.value)),
        TargetKind::Namespace if name.value == meta.namespace => Some(Target::Namespace),
        TargetKind::Namespace => {
            let message =
                format!("a policy in namespace {} cannot target namespace {}", meta.namespace, name.value);
            issues.error(name.at, message, format!("write {}, or move the policy", meta.namespace));
            None
        }
        TargetKind::Fleet if name.value == "default" => Some(Target::Fleet),
        TargetKind::Fleet => {
            let message = format!("there is no fleet {:?}", name.value);
            issues.error(name.at, message, "the fleet is called \"default\"");
            None
        }
    }
}
