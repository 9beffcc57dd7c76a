//! What a visitor who is limited to namespaces sees: the services of these, and the whole map without the names of others.
//! Pure. A text that names a service or an object of another namespace is left out as a whole.

use crate::{
    Visitor,
    model::{Attention, DrillFacts, Event, Fleet, Foresight, LossFacts, ShiftFacts},
};
use std::collections::BTreeSet;
use tidegate_model::ServiceName;

/// The limit, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sight(Option<BTreeSet<String>>);

impl Sight {
    pub(crate) fn of(visitor: &Visitor) -> Self {
        Self(visitor.namespaces.clone())
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn namespace(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|seen| seen.contains(namespace))
    }

    pub(crate) fn service(&self, service: &ServiceName) -> bool {
        self.namespace(service.namespace())
    }

    /// `Kind NAMESPACE/NAME`, or `NAMESPACE/NAME`.
    pub(crate) fn object(&self, object: &str) -> bool {
        let name = object.rsplit(' ').next().unwrap_or(object);
        self.is_whole() || name.split_once('/').is_some_and(|(namespace, _)| self.namespace(namespace))
    }

    /// Whether a text names nothing of another namespace: whatever looks like `NAMESPACE/NAME` counts as a name, so that too much
    /// is left out rather than too little.
    pub(crate) fn text(&self, text: &str) -> bool {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        self.is_whole()
            || text
                .split(|c| !is_part(c))
                .filter_map(|word| word.trim_matches(['.', '/']).split_once('/'))
                .all(|(namespace, _)| self.namespace(namespace))
    }

    pub(crate) fn shift(&self, shift: &ShiftFacts) -> Option<ShiftFacts> {
        let seen = shift.service.as_ref().is_none_or(|service| self.service(service));
        seen.then(|| {
            let mut shift = shift.clone();
            shift.refused.retain(|service| self.service(service));
            if !self.text(&shift.comment) {
                shift.comment.clear();
            }
            shift
        })
    }

    pub(crate) fn drill(&self, drill: &DrillFacts) -> bool {
        self.object(&drill.drill) && self.text(&drill.target)
    }

    pub(crate) fn attention(&self, it: &Attention) -> bool {
        self.text(&it.text) && it.link.strip_prefix("/services/").is_none_or(|service| self.object(service))
    }

    pub(crate) fn event(&self, event: &Event) -> bool {
        event.service.as_ref().is_none_or(|service| self.service(service)) && self.text(&event.text)
    }

    pub(crate) fn foresight(&self, mut all: Foresight) -> Foresight {
        if self.is_whole() {
            return all;
        }
        all.findings.retain(|text| self.text(text));
        for loss in &mut all.losses {
            self.loss(loss);
        }
        all
    }

    fn loss(&self, loss: &mut LossFacts) {
        loss.unserved.retain(|(service, _)| self.service(service));
        // How many others there are is not theirs to know; of their own at most so many are told as there are rows.
        loss.unserved_services = u32::try_from(loss.unserved.len()).unwrap_or(u32::MAX);
        loss.sentences.retain(|text| self.text(text));
    }

    /// The same picture with what is seen of it.
    pub(crate) fn fleet(&self, all: &Fleet) -> Fleet {
        let mut fleet = Fleet {
            scope: all.scope.clone(),
            version: all.version,
            at_ms: all.at_ms,
            regions: all.regions.clone(),
            flows: all.flows.clone(),
            services: all.services.iter().filter(|row| self.service(&row.name)).cloned().collect(),
            shifts: all.shifts.iter().filter_map(|shift| self.shift(shift)).collect(),
            drills: all.drills.iter().filter(|drill| self.drill(drill)).cloned().collect(),
            policy: all.policy.clone(),
            attention: all.attention.iter().filter(|it| self.attention(it)).cloned().collect(),
        };
        fleet.policy.problems.retain(|text| self.text(text));
        fleet.policy.why = fleet.policy.why.filter(|text| self.text(text));
        for row in &mut fleet.services {
            row.why = row.why.take().filter(|text| self.text(text));
        }
        for cluster in fleet.regions.iter_mut().flat_map(|region| &mut region.clusters) {
            cluster.rejected.retain(|(name, why)| self.object(name) && self.text(why));
            cluster.held_back = cluster.held_back.take().filter(|text| self.text(text));
            for gateway in &mut cluster.gateways {
                gateway.refused.retain(|text| self.text(text));
            }
        }
        fleet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited() -> Sight {
        Sight(Some(BTreeSet::from(["shop".to_owned()])))
    }

    #[test]
    fn a_text_that_names_another_namespace_is_not_seen() {
        for (text, seen) in [
            ("shop/web: 2 of 4 healthy", true),
            ("zone us-east-1a is out", true),
            ("pay/card cannot fail over", false),
            ("moves shop/web and pay/card.", false),
            ("(FailoverPolicy pay/card)", false),
        ] {
            assert_eq!(limited().text(text), seen, "{text}");
            assert!(Sight(None).text(text));
        }
    }

    #[test]
    fn objects_are_seen_by_their_namespace() {
        assert!(limited().object("FailoverPolicy shop/web") && limited().object("shop/web"));
        assert!(!limited().object("FailoverPolicy pay/card") && !limited().object("FailoverProfile fleet"));
        assert!(Sight(None).object("FailoverProfile fleet"));
    }
}
