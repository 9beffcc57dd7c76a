//! Gateway API `GatewayClass`: of ours, with which template their gateways are made.

use super::gateway::{CLASSES, TemplateRef, read_template_ref};
use crate::{
    fields::{Field, Fields, Issues},
    nearest,
    object::Meta,
    read,
};

/// What makes a class ours.
const CONTROLLER: &str = "tidegate.dev/gateways";

/// What a class of ours says; that of somebody else says nothing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ClassSpec {
    pub(crate) template: Option<Field<TemplateRef>>,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<ClassSpec> {
    let hint = "add `spec: {controllerName: tidegate.dev/gateways}`";
    let mut spec = fields.required_map("spec", hint, issues)?;
    let controller = spec.required_value("controllerName", CONTROLLER, issues, read::text)?;
    let is_ours = CLASSES.iter().any(|(name, _)| *name == meta.name);
    if controller.value != CONTROLLER {
        if is_ours || controller.value.starts_with("tidegate.dev/") {
            let message = format!("{:?} is not the controller of {}", controller.value, meta.name);
            issues.error(controller.at, message, format!("write controllerName: {CONTROLLER}"));
        }
        return Some(ClassSpec::default());
    }
    if !is_ours {
        let message = format!("there is no gateway class {:?}", meta.name);
        let hint = nearest::hint(&meta.name, "classes", CLASSES.map(|(name, _)| name));
        issues.error(controller.at, message, hint);
    }
    let reference = spec.map("parametersRef", issues);
    Some(ClassSpec { template: reference.and_then(|it| read_template_ref(it, None, issues)) })
}
