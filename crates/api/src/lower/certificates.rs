//! The certificates that listeners of gateways name, found in `Secret`s.

use super::{grants::Grants, of_kind, problem_in};
use crate::{
    certificate::Certificate,
    fields::Field,
    kinds::{SecretRef, SecretSpec, Spec},
    nearest,
    object::Object,
    problem::{Cause, Problem},
};
use std::{collections::BTreeMap, sync::Arc};

/// All that there are, and those that a gateway named and may use.
pub(super) struct Certificates<'o> {
    known: BTreeMap<(&'o str, &'o str), (&'o Arc<Object>, &'o SecretSpec)>,
    used: BTreeMap<String, Arc<Certificate>>,
}

impl<'o> Certificates<'o> {
    pub(super) fn new(objects: &[&'o Arc<Object>]) -> Self {
        let secrets = of_kind(objects, Spec::secret);
        let known =
            secrets.map(|(object, spec)| ((&*object.key.namespace, &*object.key.name), (object, spec)));
        Self { known: known.collect(), used: BTreeMap::new() }
    }

    /// The name of a certificate for a listener of `gateway`; `None` when it cannot be used, which is told.
    pub(super) fn find(
        &mut self,
        gateway: &Object,
        listener: &str,
        wanted: &Field<SecretRef>,
        grants: &Grants<'_>,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let SecretRef { namespace, name } = &wanted.value;
        let outcome = format!("the listener {listener} takes no connections for it");
        if !grants.allow(&gateway.key, "Secret", namespace, name) {
            let message = format!("the Gateway may not use the Secret {namespace}/{name}; {outcome}");
            let hint = Grants::hint(&gateway.key, "Secret", namespace);
            problems.push(problem_in(gateway, wanted.at, message, hint).because(Cause::NotPermitted));
            return None;
        }
        let Some((object, spec)) = self.known.get(&(namespace.as_str(), name.as_str())) else {
            let message = format!("there is no Secret {namespace}/{name} with a certificate; {outcome}");
            let names = self.known.keys().filter(|known| known.0 == namespace).map(|known| known.1);
            let near = nearest::nearest(name, names);
            let hint = near.map_or_else(
                || "add a Secret of type kubernetes.io/tls with tls.crt and tls.key".to_owned(),
                |near| format!("did you mean {near:?}?"),
            );
            problems.push(problem_in(gateway, wanted.at, message, hint).because(Cause::NoSuchObject));
            return None;
        };
        let key = format!("{namespace}/{name}");
        let pair = &spec.pair;
        self.used.entry(key.clone()).or_insert_with(|| {
            Arc::new(Certificate {
                chain: Arc::clone(&pair.chain),
                key: pair.key.clone(),
                not_before: pair.not_before,
                not_after: pair.not_after,
                origin: object.origin(object.at),
            })
        });
        Some(key)
    }

    pub(super) fn into_used(self) -> BTreeMap<String, Arc<Certificate>> {
        self.used
    }
}
