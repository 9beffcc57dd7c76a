//! What the desk shows of itself.

use super::Office;
use crate::{
    store::{AuditRecord, CertificateRecord, StoreError},
    view::{AuditView, ClusterView, KnowledgeView, ObjectView, PolicyText, PolicyView, RolloutView},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use tidegate_model::ClusterName;

impl Office {
    /// The clusters that joined, were heard, or are named by the policy.
    fn clusters(&self, certificates: &BTreeMap<String, CertificateRecord>) -> BTreeSet<ClusterName> {
        let named = self
            .newest()
            .objects
            .keys()
            .filter_map(|key| key.strip_prefix("FleetCluster ")?.parse().ok())
            .collect::<Vec<_>>();
        let fleet = self.fleet();
        let heard = fleet.clusters().cloned();
        certificates.values().map(|it| it.cluster.clone()).chain(heard).chain(named).collect()
    }

    /// The clusters that joined, and of which not all certificates have ended or were revoked.
    pub(crate) fn joined(&self) -> Result<BTreeSet<ClusterName>, StoreError> {
        let now = self.now();
        let valid = self.store.certificates()?.into_values().filter(|it| !it.revoked && it.not_after > now);
        Ok(valid.map(|it| it.cluster).collect())
    }

    pub(crate) fn cluster_views(&self) -> Result<Vec<ClusterView>, StoreError> {
        let (certificates, now) = (self.store.certificates()?, self.now());
        let clusters = self.clusters(&certificates);
        let (fleet, instant) = (self.fleet(), Instant::now());
        let view = |cluster: &ClusterName| {
            let of = || certificates.values().filter(|it| it.cluster == *cluster && it.not_after > now);
            ClusterView {
                certificate_ends: of().filter(|it| !it.revoked).map(|it| it.not_after).max(),
                revoked: of().next().is_some() && of().all(|it| it.revoked),
                ..fleet.view(cluster, instant)
            }
        };
        Ok(clusters.iter().map(view).collect())
    }

    /// What is known of one cluster; `None` if there is none of that name.
    pub(crate) fn knowledge_view(&self, cluster: &ClusterName) -> Result<Option<KnowledgeView>, StoreError> {
        let Some(view) = self.cluster_views()?.into_iter().find(|it| it.cluster == *cluster) else {
            return Ok(None);
        };
        let fleet = self.fleet();
        let (plans, more_plans, decisions) = fleet.knowledge(cluster);
        let (pools, gateways) = fleet.parts(cluster);
        Ok(Some(KnowledgeView { cluster: view, plans, more_plans, decisions, pools, gateways }))
    }

    /// With the objects that are wanted by their names, from this one on and at most so many; and how many are wanted. Where each
    /// stands in each cluster is worked out for these only.
    pub(crate) fn rollout_page(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        from: usize,
        limit: usize,
    ) -> Result<(RolloutView, usize), StoreError> {
        let clusters = self.clusters(&self.store.certificates()?);
        let (policy, now) = (self.newest(), Instant::now());
        let waves = self.waves_view(now)?;
        let fleet = self.fleet();
        let object = |(key, object): (&String, &tidegate_link::hub::PolicyObject)| {
            let since = policy.since.get(key).copied().unwrap_or(0);
            let clusters = clusters.iter().map(|cluster| fleet.object(cluster, key, since, now));
            ObjectView {
                object: key.clone(),
                place: format!("{}:{}", object.source, object.line),
                since,
                clusters: clusters.collect(),
            }
        };
        let named: Vec<_> = policy.objects.iter().filter(|(key, _)| is_wanted(key)).collect();
        let total = named.len();
        let objects: Vec<_> = named.into_iter().skip(from).take(limit).map(object).collect();
        let is_more = from.saturating_add(objects.len()) < total;
        let held_back = fleet.held_back().map(|(cluster, why)| format!("{cluster}: {why}"));
        let view = RolloutView {
            sequence: policy.sequence(),
            version: policy.head.as_ref().map(|(head, _)| head.version.clone()).unwrap_or_default(),
            problems: self.problems().into_iter().chain(held_back).collect(),
            rollout: waves,
            next: objects.last().filter(|_| is_more).map(|it| it.object.clone()),
            objects,
        };
        Ok((view, total))
    }

    /// The policy in force, as it is written.
    pub(crate) fn policy_view(&self) -> PolicyView {
        let policy = self.newest();
        let text = |(key, object): (&String, &tidegate_link::hub::PolicyObject)| PolicyText {
            object: key.clone(),
            place: format!("{}:{}", object.source, object.line),
            text: object.text.clone(),
        };
        PolicyView {
            sequence: policy.sequence(),
            version: policy.head.as_ref().map(|(head, _)| head.version.clone()).unwrap_or_default(),
            objects: policy.objects.iter().map(text).collect(),
        }
    }

    /// The newest records with a lower number than `before`, the newest first.
    pub(crate) fn audit_view(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditView>, StoreError> {
        let records = self.store.audited_before(before, limit)?.into_iter();
        let view = |(number, AuditRecord { at_ms, who, what, detail })| AuditView {
            number,
            at_ms,
            who,
            what,
            detail,
        };
        Ok(records.map(view).collect())
    }
}
