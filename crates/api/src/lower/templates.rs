//! Which template a gateway is made with.

use super::{of_kind, problem_in};
use crate::{
    config::GatewayRole,
    fields::Field,
    kinds::{Spec, TemplateRef, TemplateSpec, role_of_class},
    nearest,
    object::Object,
    problem::{Cause, Problem},
};
use std::{collections::BTreeMap, sync::Arc};

/// All templates, and those of the classes.
pub(super) struct Templates<'o> {
    known: BTreeMap<(&'o str, &'o str), &'o TemplateSpec>,
    of_roles: BTreeMap<GatewayRole, &'o TemplateSpec>,
}

impl<'o> Templates<'o> {
    pub(super) fn new(objects: &[&'o Arc<Object>], problems: &mut Vec<Problem>) -> Self {
        let known = of_kind(objects, Spec::template);
        let known = known.map(|(object, spec)| ((&*object.key.namespace, &*object.key.name), spec));
        let mut templates = Self { known: known.collect(), of_roles: BTreeMap::new() };
        for (object, class) in of_kind(objects, Spec::class) {
            let Some((role, wanted)) = role_of_class(&object.key.name).zip(class.template.as_ref()) else {
                continue;
            };
            if let Some(found) = templates.find(object, wanted, problems) {
                templates.of_roles.insert(role, found);
            }
        }
        templates
    }

    fn find(
        &self,
        object: &Object,
        wanted: &Field<TemplateRef>,
        problems: &mut Vec<Problem>,
    ) -> Option<&'o TemplateSpec> {
        let TemplateRef { namespace, name } = &wanted.value;
        let found = self.known.get(&(namespace.as_str(), name.as_str())).copied();
        if found.is_none() {
            let message =
                format!("there is no GatewayTemplate {namespace}/{name}; the defaults are in force");
            let names = self.known.keys().filter(|known| known.0 == namespace).map(|known| known.1);
            let near = nearest::nearest(name, names);
            let hint = near.map_or_else(|| "add it".to_owned(), |near| format!("did you mean {near:?}?"));
            problems.push(problem_in(object, wanted.at, message, hint).because(Cause::NoSuchObject));
        }
        found
    }

    /// What is in force for a gateway: its own, over that of its class.
    pub(super) fn of(
        &self,
        gateway: &Object,
        role: GatewayRole,
        own: Option<&Field<TemplateRef>>,
        problems: &mut Vec<Problem>,
    ) -> TemplateSpec {
        let own_at = own.map(|own| own.at);
        let own = own.and_then(|own| self.find(gateway, own, problems));
        let class = self.of_roles.get(&role).copied().cloned().unwrap_or_default();
        let mut both = own.map_or_else(|| class.clone(), |own| own.over(&class));
        if let (Some(min), Some(max), Some(at)) = (both.listener.tls_min, both.listener.tls_max, own_at)
            && min > max
        {
            let message = "the templates of the Gateway and its class leave no version of TLS; the Gateway's bound is in force";
            let hint = "write both tls.minVersion and tls.maxVersion in the Gateway's own";
            problems.push(problem_in(gateway, at, message, hint));
            let bound = own.and_then(|own| own.listener.tls_min.or(own.listener.tls_max));
            (both.listener.tls_min, both.listener.tls_max) = (bound, bound);
        }
        if both.tracing.lacks_collector() {
            let message = "the templates of the Gateway and its class say how requests are traced, and not where to: none is";
            let hint = "write tracing.collector in one of them";
            problems.push(problem_in(gateway, own_at.unwrap_or(gateway.at), message, hint));
        }
        both.listener.tracing = both.tracing.lowered(role);
        both
    }
}
