//! Tells webhooks what only a hub knows: policies that were rejected, rollouts that halt, clusters that are lost and come back, shifts that
//! were asked for here, drills. And sends its rollouts as traces. Both follow the timeline; nothing waits for either.

use crate::{
    happened::{Cluster, Halted, Looks, News, Sight},
    office::{Office, OfficeError},
    page::now_micros,
    run::HubError,
    spans::Spans,
    timeline::{Record, What},
    view::ClusterView,
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_model::Time;
use tidegate_status::{
    events::Happened,
    leader::Leadership,
    otlp::{self, Collector, text},
    webhook::{self, Teller, Webhooks, cloud_events::Telling},
    writer::Object,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is looked what happened.
const LOOK: Duration = Duration::from_millis(500);
/// So much is looked at in one turn; the rest is looked at in the next.
const RECORDS: usize = 2_000;

/// What became of what was told, for whoever counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) webhooks: Option<Arc<webhook::Counts>>,
    pub(crate) spans: Option<Arc<otlp::Counts>>,
}

impl Counted {
    /// The rows for `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        let webhooks = self.webhooks.as_ref().map(|it| it.metrics());
        let spans = self.spans.as_ref().map(|it| it.metrics());
        webhooks.into_iter().chain(spans).collect()
    }
}

/// Begins to tell webhooks, until `stop`; `boot` tells the lives of hubs apart.
pub(crate) fn tell(
    webhooks: &Webhooks,
    office: &Arc<Office>,
    boot: u64,
    stop: &CancellationToken,
) -> Result<Arc<webhook::Counts>, HubError> {
    let source = format!("/fleets/{}", office.trust_domain());
    let mut teller = Teller::start(webhooks, &source, Leadership::alone(), stop)?;
    let (origin, mut looks, mut told) = (Instant::now(), Looks::default(), 0_u64);
    let mut seen = office.timeline.last();
    // Before anybody is answered: what comes from now on is news.
    looks.take(Time::ZERO, look(office)?);
    let (counts, office, stop) = (teller.counts(), Arc::clone(office), stop.clone());
    tokio::spawn(async move {
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            let mut all = Vec::new();
            for record in office.timeline.after(seen, RECORDS) {
                seen = record.seq;
                all.extend(happened(&record).into_iter().map(|(it, facts)| (record.unix_micros, it, facts)));
            }
            match sight(&office).await {
                Ok(sight) => {
                    let news = looks.take(Time::from_origin(origin.elapsed()), sight);
                    all.extend(news.into_iter().map(|it| (now_micros(), of_news(it), Value::Null)));
                }
                Err(error) => tracing::error!(%error, "webhooks are not told how clusters are"),
            }
            for (unix_micros, happened, record) in all {
                told += 1;
                teller.tell(Telling { id: format!("{boot:016x}-{told}"), unix_micros, happened, record });
            }
        }
    });
    Ok(counts)
}

/// Begins to send traces, until `stop`.
pub(crate) fn trace(
    collector: &Collector,
    office: &Arc<Office>,
    boot: u64,
    stop: &CancellationToken,
) -> Arc<otlp::Counts> {
    let domain = office.trust_domain().to_string();
    let attributes = vec![
        text("service.name", "tidegate-hub"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", &format!("{domain}/{boot:016x}")),
        text("tidegate.fleet", &domain),
    ];
    let mut sender = otlp::Sender::new(collector, attributes);
    let (counts, office, stop) = (sender.counts(), Arc::clone(office), stop.clone());
    let mut spans = Spans::new(boot);
    tokio::spawn(async move {
        let mut seen = office.timeline.last();
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            for record in office.timeline.after(seen, RECORDS) {
                seen = record.seq;
                spans.take(record);
            }
            let everywhere = office.fleet().applied_everywhere();
            let whole = spans.whole(now_micros(), everywhere);
            if !whole.is_empty() && stop.run_until_cancelled(sender.send(whole)).await.is_none() {
                break;
            }
        }
    });
    counts
}

/// The fleet as it is now, on a thread for the store.
async fn sight(office: &Arc<Office>) -> Result<Sight, OfficeError> {
    let office = Arc::clone(office);
    // A runtime that shuts down sees nothing more.
    tokio::task::spawn_blocking(move || look(&office)).await.unwrap_or_else(|_| Ok(Sight::default()))
}

fn look(office: &Office) -> Result<Sight, OfficeError> {
    let cluster = |it: ClusterView| {
        let joined = it.certificate_ends.is_some() && !it.revoked;
        (it.cluster.to_string(), Cluster { joined, revoked: it.revoked, connected: it.connected })
    };
    let halted = office.halted().map(|(target, halt)| Halted {
        target,
        changed: vec![format!("Policy {target}")],
        cluster: None,
        why: halt.to_string(),
    });
    let drills = office.drill_picture()?;
    let clusters = office.cluster_views()?.into_iter().map(cluster).collect();
    Ok(Sight { clusters, halted, shifts: [].into(), drills })
}

/// `KIND NAME` or `KIND NAMESPACE/NAME`.
fn object(named: &str) -> Object {
    let (kind, name) = named.split_once(' ').unwrap_or(("Policy", named));
    let (namespace, name) =
        name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name));
    Object {
        api_version: "tidegate.dev/v1alpha1".to_owned(),
        kind: kind.to_owned(),
        plural: String::new(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    }
}

fn of_news(News { object: named, warning, reason, action, note }: News) -> Happened {
    Happened { object: object(&named), uid: None, warning, reason, action, note }
}

/// What webhooks are told of a record, with what is known of it.
fn happened(record: &Record) -> Vec<(Happened, Value)> {
    let one = |named: &str, warning, (reason, action), note| {
        of_news(News { object: named.to_owned(), warning, reason, action, note })
    };
    match &record.what {
        What::Applied { cluster, sequence, rejected } => {
            let told = |it: &crate::view::RejectedView| {
                let note = format!("cluster {cluster} does not take it (policy {sequence}): {}", it.reason);
                let facts = json!({"cluster": cluster, "policy": sequence, "reason": it.reason});
                (one(&it.object, true, ("PolicyRejected", "Rollout"), note), facts)
            };
            rejected.iter().map(told).collect()
        }
        What::Shift { how, by, detail } => {
            let reason = match *how {
                "shiftStarted" => "ShiftStarted",
                "shiftExtended" => "ShiftExtended",
                _ => "ShiftEnded",
            };
            let facts = json!({"by": by, "asked": detail});
            vec![(one("Shift fleet", false, (reason, "Shift"), format!("by {by}: {detail}")), facts)]
        }
        What::Published { sequence, version, changed, by } => {
            let note = format!("version {version} from {by}: {changed} objects changed");
            let facts = json!({"policy": sequence, "version": version, "changed": changed, "by": by});
            vec![(one(&format!("Policy {sequence}"), false, ("PolicyPublished", "Rollout"), note), facts)]
        }
        What::Handed { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::RejectedView;

    fn told(what: What) -> Vec<String> {
        let all = happened(&Record { seq: 1, unix_micros: 1, what });
        let line = |(it, _): &(Happened, Value)| {
            let Object { kind, namespace, name, .. } = &it.object;
            format!("{} of {kind} {namespace:?} {name}: {}", it.reason, it.note)
        };
        all.iter().map(line).collect()
    }

    #[test]
    fn what_an_agent_rejects_is_told_object_by_object_and_what_it_takes_is_not() {
        let cluster: tidegate_model::ClusterName = "east".parse().unwrap();
        let rejected = vec![RejectedView { object: "FailoverPolicy shop/web".into(), reason: "no".into() }];
        let applied = |rejected| What::Applied { cluster: cluster.clone(), sequence: 4, rejected };
        assert_eq!(
            told(applied(rejected)),
            [
                r#"PolicyRejected of FailoverPolicy Some("shop") web: cluster east does not take it (policy 4): no"#
            ]
        );
        assert!(told(applied(Vec::new())).is_empty());
        assert!(told(What::Handed { cluster: cluster.clone(), sequence: 4 }).is_empty());
    }

    #[test]
    fn shifts_and_policies_are_told_with_who_asked_for_them() {
        let shift =
            What::Shift { how: "shiftEnded", by: "olaf".into(), detail: "zone-a told to east".into() };
        assert_eq!(told(shift), ["ShiftEnded of Shift None fleet: by olaf: zone-a told to east"]);
        let published =
            What::Published { sequence: 4, version: "abc".into(), changed: 2, by: "folder".into() };
        assert_eq!(
            told(published),
            ["PolicyPublished of Policy None 4: version abc from folder: 2 objects changed"]
        );
    }
}
