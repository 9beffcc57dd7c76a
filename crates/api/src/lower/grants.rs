//! Who may name what of another namespace: by Gateway API's `ReferenceGrant`, which lies where what is named does.

use super::of_kind;
use crate::{
    kinds::{GrantSpec, Spec},
    object::{Object, ObjectKey},
};
use std::{collections::BTreeMap, sync::Arc};

/// The group of gateways and routes.
const GROUP: &str = "gateway.networking.k8s.io";

/// All grants, by the namespace that they open.
pub(super) struct Grants<'o>(BTreeMap<&'o str, Vec<&'o GrantSpec>>);

impl<'o> Grants<'o> {
    pub(super) fn new(objects: &[&'o Arc<Object>]) -> Self {
        let mut grants = BTreeMap::<&str, Vec<&GrantSpec>>::new();
        for (object, spec) in of_kind(objects, Spec::grant) {
            grants.entry(&object.key.namespace).or_default().push(spec);
        }
        Self(grants)
    }

    /// Whether an object may name one of a core kind.
    pub(super) fn allow(&self, from: &ObjectKey, kind: &str, namespace: &str, name: &str) -> bool {
        if *from.namespace == *namespace {
            return true;
        }
        let by = |grant: &&GrantSpec| {
            let is_from = grant.from.iter().any(|it| {
                it.group == GROUP && it.kind == from.kind.name() && *it.namespace == *from.namespace
            });
            let is_to = |it: &crate::kinds::GrantTo| {
                it.group.is_empty() && it.kind == kind && it.name.as_ref().is_none_or(|it| it == name)
            };
            is_from && grant.to.iter().any(is_to)
        };
        self.0.get(namespace).into_iter().flatten().any(by)
    }

    /// What to do where there is none.
    pub(super) fn hint(from: &ObjectKey, kind: &str, namespace: &str) -> String {
        format!(
            "add a ReferenceGrant in namespace {namespace} with from {{group: {GROUP}, kind: {}, namespace: {}}} and to \
             {{group: \"\", kind: {kind}}}",
            from.kind.name(),
            from.namespace
        )
    }
}
