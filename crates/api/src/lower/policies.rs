//! The policy in force for a service: which policies and which profile have a say in it.

use super::{
    fleet::Clusters,
    layers::{Chain, Layer, Rank},
    of_kind, problem_in, profile,
    services::Services,
    warning_in,
};
use crate::{
    config::{Reach, ServicePolicy},
    fields::Field,
    kinds::{PolicySpec, ProfileSpec, Spec, Target},
    nearest,
    object::Object,
    problem::{Cause, Problem},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};
use tidegate_engine::Origin;
use tidegate_model::{ClusterName, ServiceName};

/// The policies by what they are about.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// By namespace and target.
    by_target: BTreeMap<(Arc<str>, Target), Arc<Object>>,
    fleet: Option<Arc<Object>>,
    profile: Option<Arc<Object>>,
}

/// What a chain of layers comes to.
#[derive(Debug)]
pub(super) struct Merged {
    policy: Arc<ServicePolicy>,
    /// The same for services that are for one cluster alone, once one asked for it.
    alone: OnceLock<Arc<ServicePolicy>>,
    pub(super) problems: Box<[Problem]>,
}

impl Merged {
    /// The policy of a service with which these clusters have to do. One that is for `own` alone has a residency that says so,
    /// beside the one that was written: nothing goes against either.
    pub(super) fn policy_for(&self, reach: Reach, own: &ClusterName) -> Arc<ServicePolicy> {
        if reach != Reach::Cluster {
            return Arc::clone(&self.policy);
        }
        let alone = self.alone.get_or_init(|| {
            let mut policy = ServicePolicy::clone(&self.policy);
            let written = policy.engine.residency.get_or_insert_default();
            let clusters = written.value.clusters.get_or_insert_with(|| BTreeSet::from([own.clone()]));
            clusters.retain(|cluster| cluster == own);
            Arc::new(policy)
        });
        Arc::clone(alone)
    }
}

impl Policies {
    /// The policies and profiles among `objects`, with what is wrong between them.
    pub(super) fn new(objects: &[&Arc<Object>], problems: &mut Vec<Problem>) -> Self {
        let profile = profile::in_force(objects, problems);
        let by = profile.and_then(|profile| Some((&**profile, profile.spec.profile()?)));
        let mut policies: Vec<(&Arc<Object>, &PolicySpec)> = of_kind(objects, Spec::policy).collect();
        policies.sort_by_key(|&(object, _)| object.seniority());
        let mut found = Self { by_target: BTreeMap::new(), fleet: None, profile: profile.cloned() };
        for (object, spec) in policies {
            for target in &spec.targets {
                let winner = match target.value {
                    Target::Fleet => found.fleet.get_or_insert_with(|| Arc::clone(object)),
                    _ => {
                        let key = (Arc::clone(&object.key.namespace), target.value.clone());
                        found.by_target.entry(key).or_insert_with(|| Arc::clone(object))
                    }
                };
                if winner.key != object.key {
                    problems.push(conflict(object, target, winner));
                }
            }
            if let Some(by) = by {
                profile::warn_of_overrides(by, (object, &spec.fields), problems);
            }
        }
        found
    }

    /// Every field that somebody wrote for a service, by its path and with who wrote the one in force.
    pub(super) fn written_for(&self, service: &ServiceName) -> Vec<(&'static str, Origin)> {
        let chain = self.chain_of(service);
        let layers: Vec<_> = chain.iter().map(|layer| (layer, layer.fields.places())).collect();
        let first = |position: usize| {
            layers.iter().find_map(|(layer, places)| {
                let (name, at) = places[position];
                at.map(|at| (name, layer.origin(at)))
            })
        };
        (0..crate::kinds::PolicyFields::COUNT).filter_map(first).collect()
    }

    fn chain_of(&self, service: &ServiceName) -> Vec<Layer<'_>> {
        let layer = |rank: Rank, object, fields| Layer { object, fields, rank };
        let profile = self.profile.as_deref().and_then(|object| Some((object, object.spec.profile()?)));
        let namespace: Arc<str> = service.namespace().into();
        let policies = [Target::Service(service.name().to_owned()), Target::Namespace]
            .into_iter()
            .filter_map(|target| self.by_target.get(&(Arc::clone(&namespace), target)))
            .chain(&self.fleet)
            .filter_map(|object| Some((&**object, object.spec.policy()?)));
        let overrides = profile.into_iter();
        let overrides = overrides.map(|(object, spec)| layer(Rank::Override, object, &spec.overrides));
        let defaults = profile.into_iter();
        let defaults = defaults
            .map(|(object, spec): (&Object, &ProfileSpec)| layer(Rank::Default, object, &spec.defaults));
        let policies = policies.map(|(object, spec)| layer(Rank::Policy, object, &spec.fields));
        overrides.chain(policies).chain(defaults).collect()
    }
}

fn conflict(object: &Object, target: &Field<Target>, winner: &Object) -> Problem {
    let what = match &target.value {
        Target::Service(name) => format!("Service {name:?}"),
        Target::Namespace => format!("Namespace {:?}", object.key.namespace),
        Target::Fleet => "the fleet".to_owned(),
    };
    let message =
        format!("{what} already has a policy: {} at {}:{}", winner.title(), winner.file, winner.at.line);
    let hint = "merge the two, or remove one target; the oldest (metadata.creationTimestamp), then the first by name \
                wins";
    problem_in(object, target.at, message, hint).because(Cause::Conflict)
}

/// Warns of services that are the target of a policy and are not there. What the hub hands out is for the fleet: a service that
/// only other clusters have is no mistake, and neither is a folder of policies alone.
pub(super) fn check_targets(objects: &[&Arc<Object>], services: &Services, problems: &mut Vec<Problem>) {
    if services.names().next().is_none() {
        return;
    }
    for (object, spec) in
        of_kind(objects, Spec::policy).filter(|(object, _)| !object.file.starts_with("(hub) "))
    {
        for target in &spec.targets {
            let Target::Service(name) = &target.value else { continue };
            let namespace = &*object.key.namespace;
            if ServiceName::new(namespace, name).is_ok_and(|name| services.contains(&name)) {
                continue;
            }
            let names: Vec<&str> = services.names_in(namespace).collect();
            let hint = nearest::hint(name, "services of the namespace", names);
            let message = format!("there is no Service {namespace}/{name}");
            problems.push(warning_in(object, target.at, message, hint).because(Cause::NoSuchObject));
        }
    }
}

/// Merges policies and remembers the results: services with the same ones share one.
#[derive(Debug, Default)]
pub(super) struct Merger {
    merged: BTreeMap<Box<[Arc<str>]>, Arc<Merged>>,
}

impl Merger {
    pub(super) fn policy_of(
        &mut self,
        service: &ServiceName,
        policies: &Policies,
        clusters: &Clusters,
    ) -> Arc<Merged> {
        let chain = policies.chain_of(service);
        let key = chain.iter().map(|layer| Arc::clone(layer.object.title())).collect();
        let merge = || {
            let mut problems = Vec::new();
            let policy = Arc::new(Chain(&chain).merge(clusters, &mut problems));
            Arc::new(Merged { policy, alone: OnceLock::new(), problems: problems.into() })
        };
        Arc::clone(self.merged.entry(key).or_insert_with(merge))
    }

    /// Forgets what was made from one of these objects, or all.
    pub(super) fn forget(&mut self, of: Option<&BTreeSet<&str>>) {
        self.merged.retain(|chain, _| of.is_some_and(|of| !chain.iter().any(|title| of.contains(&**title))));
    }

    /// Forgets what no service has any more.
    pub(super) fn sweep(&mut self) {
        self.merged.retain(|_, merged| Arc::strong_count(merged) > 1);
    }

    /// What is wrong in what services have.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.merged.values().flat_map(|merged| &merged.problems)
    }
}
