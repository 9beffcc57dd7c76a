//! What is wrong with drills and their schedules, together with other objects.

use super::{of_kind, problem_in, services::Services, warning_in};
use crate::{
    drill::{AgentFault, AgentFaultKind, DrillFault, DrillTarget},
    kinds::{DrillSpec, Spec},
    nearest,
    object::Object,
    problem::{Cause, Problem},
};
use std::{collections::BTreeMap, sync::Arc};

/// `gateways` are the names of those that there are, as `NAMESPACE/NAME`.
pub(super) fn check(
    objects: &[&Arc<Object>],
    services: &Services,
    gateways: &[&str],
    problems: &mut Vec<Problem>,
) {
    let drills: BTreeMap<&str, &DrillSpec> =
        of_kind(objects, Spec::drill).map(|(_, spec)| (spec.drill.name.as_str(), spec)).collect();
    for (object, spec) in of_kind(objects, Spec::drill) {
        let hint = "whoever may write resources must not run programs by them: take it out of the fleet's manifests \
                    and run `tidegate drill run FILE`";
        let by_command = match spec.drill.fault {
            DrillFault::Exec(_) => Some("Exec"),
            DrillFault::Kubernetes(_) => Some("Kubernetes"),
            DrillFault::Agents(_) => None,
        };
        if let Some(kind) = by_command {
            let message = format!("a fault of type {kind} runs from the command line only");
            problems.push(problem_in(object, spec.fault_at, message, hint));
        }
        if let DrillFault::Agents(AgentFault { kind: AgentFaultKind::Lab(_), .. }) = spec.drill.fault {
            let message = "a fault of type Lab runs from the command line only";
            let hint = "only a lab carries it out: take it out of the fleet's manifests and run `tidegate drill run FILE --lab ADDR`";
            problems.push(problem_in(object, spec.fault_at, message, hint));
        }
        let unknown = match &spec.drill.target {
            DrillTarget::Service(name) if !services.contains(name) => {
                let names: Vec<String> = services.names().map(ToString::to_string).collect();
                let known = names.iter().map(String::as_str);
                Some((
                    format!("there is no Service {name}"),
                    nearest::hint(&name.to_string(), "services", known),
                ))
            }
            DrillTarget::Gateway(name, _) if !gateways.contains(&name.as_str()) => {
                let hint = nearest::hint(name, "gateways", gateways.iter().copied());
                Some((format!("there is no Gateway {name}"), hint))
            }
            _ => None,
        };
        problems.extend(unknown.map(|(message, hint)| {
            warning_in(object, spec.target_at, message, hint).because(Cause::NoSuchObject)
        }));
    }
    for (object, spec) in of_kind(objects, Spec::schedule) {
        if !drills.contains_key(spec.drill.value.as_str()) {
            let hint = nearest::hint(&spec.drill.value, "drills", drills.keys().copied());
            let message = format!("there is no Drill {}", spec.drill.value);
            problems.push(problem_in(object, spec.drill.at, message, hint).because(Cause::NoSuchObject));
        }
    }
}
