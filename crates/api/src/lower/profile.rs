//! The `FailoverProfile` in force, and the policies that it overrides.

use super::{of_kind, problem_in, warning_in};
use crate::{
    kinds::{PolicyFields, ProfileSpec, Spec},
    object::Object,
    problem::{Cause, Problem},
};
use std::sync::Arc;

/// The profile in force: the oldest, then the first by name. The others are told that they are not.
pub(super) fn in_force<'o>(
    objects: &[&'o Arc<Object>],
    problems: &mut Vec<Problem>,
) -> Option<&'o Arc<Object>> {
    let mut profiles: Vec<_> = of_kind(objects, Spec::profile).map(|(object, _)| object).collect();
    profiles.sort_by_key(|object| object.seniority());
    let (&winner, others) = profiles.split_first()?;
    for object in others {
        let Object { file, at, .. } = &**winner;
        let message = format!("the fleet already has a profile: {} at {file}:{}", winner.title(), at.line);
        let hint = "merge the two, or remove one; the oldest (metadata.creationTimestamp), then the first by name wins";
        problems.push(problem_in(object, object.at, message, hint).because(Cause::Conflict));
    }
    Some(winner)
}

/// Warns of the fields of a policy that the profile overrides: they are read, and decide nothing.
pub(super) fn warn_of_overrides(
    (profile, spec): (&Object, &ProfileSpec),
    (object, fields): (&Object, &PolicyFields),
    problems: &mut Vec<Problem>,
) {
    for ((name, written), (by_name, by)) in fields.places().into_iter().zip(spec.overrides.places()) {
        let (Some(at), Some(by)) = (written, by) else { continue };
        let message = format!(
            "spec.{name} has no effect: {} overrides it at {}:{} (spec.overrides.{by_name})",
            profile.title(),
            profile.file,
            by.line
        );
        problems.push(warning_in(object, at, message, "remove it here, or remove the override"));
    }
}
