//! The picture of the fleet, from what its agents told.

use crate::{
    office::Office,
    view::{ClusterView, PhaseView},
};
use std::{sync::Arc, time::Duration};
use tidegate_web::{
    compose::{Around, ClusterTold, Risks, Summary, fleet},
    model::{ClusterState, DrillFacts, Fleet, PolicyFacts, Scope},
};
use tokio::time::Instant;

/// A picture is made so often at most.
const SOONEST: Duration = Duration::from_millis(200);
/// And so often if nothing changed but ages.
const AGED: Duration = Duration::from_secs(5);
/// Who belongs to the fleet, and how its rollout stands, is read from the store so often.
const READ: Duration = Duration::from_secs(2);

/// What is kept from one picture to the next.
#[derive(Default)]
pub(super) struct Picture {
    version: u64,
    made: Option<(Instant, u64)>,
    read: Option<(Instant, Vec<ClusterView>, PolicyFacts)>,
    risks: Option<Risks>,
}

impl Picture {
    pub(super) fn empty(&self, office: &Office) -> Fleet {
        self.of(office, &[], 0)
    }

    pub(super) fn judged(&mut self, risks: Risks) {
        self.risks = Some(risks);
        self.made = None;
    }

    /// A new picture; `None` if the last one still shows what there is.
    pub(super) fn make(&mut self, office: &Office, now: Instant, now_ms: u64) -> Option<Fleet> {
        let drills = office.drill_current().map_or(0, |it| it.number + u64::from(it.done));
        let revision = office.fleet().revision().wrapping_add(drills);
        if let Some((at, of)) = self.made {
            let age = now.saturating_duration_since(at);
            if age < SOONEST || (of == revision && age < AGED) {
                return None;
            }
        }
        self.read(office, now);
        self.made = Some((now, revision));
        self.version += 1;
        let told = self.told(office, now_ms);
        Some(self.of(office, &told, now_ms))
    }

    fn read(&mut self, office: &Office, now: Instant) {
        if self.read.as_ref().is_some_and(|(at, ..)| now.saturating_duration_since(*at) < READ) {
            return;
        }
        match office.cluster_views().and_then(|views| Ok((views, policy(office)?))) {
            Ok((views, policy)) => self.read = Some((now, views, policy)),
            Err(error) => tracing::error!(%error, "who belongs to the fleet cannot be read"),
        }
    }

    fn told(&self, office: &Office, now_ms: u64) -> Vec<ClusterTold> {
        let views = self.read.iter().flat_map(|(_, views, _)| views);
        let now = std::time::Instant::now();
        let mut fleet = office.fleet();
        let one = |view: &ClusterView| {
            let mut told = fleet.told(&view.cluster, now, now_ms).unwrap_or_else(|| unheard(view));
            if view.revoked {
                told.state = ClusterState::Revoked;
            }
            told
        };
        views.map(one).collect()
    }

    fn of(&self, office: &Office, told: &[ClusterTold], at_ms: u64) -> Fleet {
        fleet(
            told,
            Around {
                scope: Scope::Fleet(office.trust_domain().to_string()),
                version: self.version,
                at_ms,
                risks: self.risks.as_ref(),
                drills: running(office, at_ms).into_iter().collect(),
                policy: self.read.as_ref().map(|(.., policy)| policy.clone()).unwrap_or_default(),
            },
        )
    }
}

fn unheard(view: &ClusterView) -> ClusterTold {
    ClusterTold {
        name: view.cluster.clone(),
        region: None,
        state: ClusterState::Unheard,
        heard_at_ms: None,
        applied: 0,
        held_back: None,
        rejected: Vec::new(),
        gateways: Vec::new(),
        peers: Vec::new(),
        flows: Vec::new(),
        shifts: Vec::new(),
        summary: Arc::new(Summary::default()),
    }
}

/// The drill that runs.
pub(super) fn running(office: &Office, now_ms: u64) -> Option<DrillFacts> {
    let view = office.drill_current().filter(|it| !it.done)?;
    Some(DrillFacts {
        phase: view.phase.map_or_else(|| "Starting".to_owned(), |it| format!("{it:?}")),
        started_at_ms: now_ms.saturating_sub(view.elapsed_ms),
        phase_ends_at_ms: view.left_ms.map(|left| now_ms.saturating_add(left)),
        requests: Some((view.ended, view.failed)),
        target: String::new(),
        passed: None,
        rto_ms: None,
        why: view.mend_error,
        id: view.id,
        drill: view.drill,
    })
}

fn policy(office: &Office) -> Result<PolicyFacts, crate::store::StoreError> {
    let newest = office.newest();
    let waves = office.waves_view(std::time::Instant::now())?;
    let phase = waves.as_ref().map(|it| match it.phase {
        PhaseView::Rolling => "Rolling",
        PhaseView::Halted => "Halted",
        PhaseView::Done => "Done",
    });
    Ok(PolicyFacts {
        sequence: newest.sequence(),
        version: newest.head.as_ref().map(|(head, _)| head.version.clone()).unwrap_or_default(),
        phase: phase.map(str::to_owned),
        why: waves.and_then(|it| it.why),
        problems: office.problems(),
    })
}
