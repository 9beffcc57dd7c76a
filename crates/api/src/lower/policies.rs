//! The policy in force for a service: which policies and which profile have a say in it.

use super::{
    fleet::Clusters,
    layers::{Chain, Layer, Rank},
    of_kind, problem_in, profile,
};
use crate::{
    config::ServicePolicy,
    fields::Field,
    kinds::{PolicySpec, ProfileSpec, Spec, Target},
    object::Object,
    problem::Problem,
};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_model::ServiceName;

/// A policy and the object that holds it.
type Policied<'o> = (&'o Object, &'o PolicySpec);

/// The policies by what they are about.
pub(super) struct Policies<'o> {
    by_target: BTreeMap<(&'o str, &'o Target), Policied<'o>>,
    fleet: Option<Policied<'o>>,
    profile: Option<(&'o Object, &'o ProfileSpec)>,
    clusters: &'o Clusters,
}

impl<'o> Policies<'o> {
    pub(super) fn new(
        objects: &'o [&'o Object],
        clusters: &'o Clusters,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut policies: Vec<Policied<'o>> = of_kind(objects, Spec::policy).collect();
        policies.sort_by_key(|&(object, _)| object.seniority());
        let profile = profile::in_force(objects, problems);
        let mut found = Self { by_target: BTreeMap::new(), fleet: None, profile, clusters };
        for (object, spec) in policies {
            for target in &spec.targets {
                let holder = match target.value {
                    Target::Fleet => found.fleet.get_or_insert((object, spec)),
                    _ => found
                        .by_target
                        .entry((object.key.namespace.as_str(), &target.value))
                        .or_insert((object, spec)),
                };
                let winner = holder.0;
                if winner.key != object.key {
                    problems.push(conflict(object, target, winner));
                }
            }
            if let Some(profile) = profile {
                profile::warn_of_overrides(profile, (object, &spec.fields), problems);
            }
        }
        found
    }

    /// Merges policies; services with the same ones share the result.
    pub(super) const fn merger(&self) -> Merger<'_, 'o> {
        Merger { policies: self, merged: BTreeMap::new() }
    }

    fn chain_of(&self, service: &ServiceName) -> Vec<Layer<'o>> {
        let own = Target::Service(service.name().to_owned());
        let layer = |rank: Rank| move |(object, fields)| Layer { object, fields, rank };
        let overrides = self.profile.map(|(object, spec)| (object, &spec.overrides));
        let defaults = self.profile.map(|(object, spec)| (object, &spec.defaults));
        let policies = [&own, &Target::Namespace]
            .into_iter()
            .filter_map(|target| self.by_target.get(&(service.namespace(), target)).copied())
            .chain(self.fleet)
            .map(|(object, spec)| (object, &spec.fields));
        let overrides = overrides.into_iter().map(layer(Rank::Override));
        let defaults = defaults.into_iter().map(layer(Rank::Default));
        overrides.chain(policies.map(layer(Rank::Policy))).chain(defaults).collect()
    }
}

fn conflict(object: &Object, target: &Field<Target>, winner: &Object) -> Problem {
    let what = match &target.value {
        Target::Service(name) => format!("Service {name:?}"),
        Target::Namespace => format!("Namespace {:?}", object.key.namespace),
        Target::Fleet => "the fleet".to_owned(),
    };
    let message =
        format!("{what} already has a policy: {} at {}:{}", winner.title, winner.file, winner.at.line);
    let hint = "merge the two, or remove one target; the oldest (metadata.creationTimestamp), then the first by name \
                wins";
    problem_in(object, target.at, message, hint)
}

/// Merges policies and remembers the results.
pub(super) struct Merger<'p, 'o> {
    policies: &'p Policies<'o>,
    merged: BTreeMap<Vec<&'o str>, Arc<ServicePolicy>>,
}

impl Merger<'_, '_> {
    pub(super) fn policy_of(
        &mut self,
        service: &ServiceName,
        problems: &mut Vec<Problem>,
    ) -> Arc<ServicePolicy> {
        let chain = self.policies.chain_of(service);
        let key = chain.iter().map(|layer| &*layer.object.title).collect();
        Arc::clone(
            self.merged
                .entry(key)
                .or_insert_with(|| Arc::new(Chain(&chain).merge(self.policies.clusters, problems))),
        )
    }
}
