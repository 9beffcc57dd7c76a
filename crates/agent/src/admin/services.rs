//! How services stand, for people and for `/metrics`: how much of what is asked for goes elsewhere than it would with everything
//! healthy, and which single loss a service would not survive.
//!
//! The second is work: the planner runs once for each place of the fleet. So it is done beside the loop, at most every
//! [`EVERY`], and takes at most a part of [`PART`] of one core; what is shown says how old it is.

use super::{Ask, Failure, Shared, ask};
use crate::{
    access,
    view::{PlanView, ServiceView, ServicesView, Status},
};
use axum::{Extension, Json, extract::State};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_engine::{Resilience, away};
use tidegate_link::access::Caller;
use tidegate_model::{Phase, ServiceName, Share};
use tokio::sync::{Mutex, watch};

/// What is foreseen is kept so long at least.
const EVERY: Duration = Duration::from_secs(5);
/// And so many times as long as finding it took.
const PART: u32 = 20;
/// Whoever asks first waits so long for it at most.
const PATIENCE: Duration = Duration::from_secs(8);

/// What was foreseen last.
#[derive(Debug)]
pub(crate) struct Foreseen {
    pub(crate) of: Resilience,
    pub(crate) at: Instant,
    pub(crate) took: Duration,
}

/// Keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Foresight {
    last: watch::Sender<Option<Arc<Foreseen>>>,
    /// Held by whoever looks anew.
    turn: Arc<Mutex<()>>,
}

impl Default for Foresight {
    fn default() -> Self {
        Self { last: watch::Sender::new(None), turn: Arc::default() }
    }
}

impl Foresight {
    /// What was found last. If that is old somebody looks anew, and only who asks first waits for it. Nothing before the first
    /// manifests.
    pub(crate) async fn known(&self, shared: &Shared) -> Option<Arc<Foreseen>> {
        let known = self.last.borrow().clone();
        let is_old = |it: &Arc<Foreseen>| it.at.elapsed() >= EVERY.max(it.took * PART);
        if known.as_ref().is_none_or(is_old)
            && let Ok(turn) = Arc::clone(&self.turn).try_lock_owned()
        {
            let (last, shared) = (self.last.clone(), shared.clone());
            tokio::spawn(async move {
                let found = look(&shared).await;
                if found.is_some() {
                    last.send_replace(found);
                }
                drop(turn);
            });
        }
        if known.is_some() {
            return known;
        }
        let mut news = self.last.subscribe();
        let first = tokio::time::timeout(PATIENCE, news.wait_for(Option::is_some)).await;
        first.ok()?.ok()?.clone()
    }
}

async fn look(shared: &Shared) -> Option<Arc<Foreseen>> {
    let state = ask(shared, Ask::Fleet).await.ok()??;
    let began = Instant::now();
    let of = tokio::task::spawn_blocking(move || Resilience::of(&state)).await.ok()?;
    Some(Arc::new(Foreseen { of, at: Instant::now(), took: began.elapsed() }))
}

pub(super) async fn services(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ServicesView>, Failure> {
    let status = access::limited(ask(&shared, Ask::Status).await?, &caller);
    let foreseen = shared.foresight.known(&shared).await;
    Ok(Json(view(&status, foreseen.as_deref())))
}

/// The part of a plan's requests that is not served where it would be with everything healthy; nothing while that is not known.
pub(crate) fn away_of(plan: &PlanView, foreseen: Option<&Foreseen>) -> Option<Share> {
    let homes = foreseen?.of.homes.get(&plan.service)?;
    let (_, home) = homes.iter().find(|(source, _)| source.to_string() == plan.source)?;
    Some(away(home, &plan.shares))
}

fn view(status: &Status, foreseen: Option<&Foreseen>) -> ServicesView {
    let mut services: BTreeMap<ServiceName, ServiceView> = BTreeMap::new();
    let named = |it: &ServiceName| ServiceView::unknown(it.clone());
    for pool in &status.pools {
        let view = services.entry(pool.service.clone()).or_insert_with(|| named(&pool.service));
        view.healthy += pool.healthy;
        view.expected += pool.expected;
        if pool.phase != Phase::Empty {
            view.phases.insert(pool.phase);
        }
        view.unreachable |= !pool.reachable;
    }
    for plan in &status.plans {
        let view = services.entry(plan.service.clone()).or_insert_with(|| named(&plan.service));
        view.goes.insert(plan.source.clone(), plan.shares.clone());
        view.shed = view.shed.max(plan.shed);
        view.last_resort |= plan.last_resort;
        view.away = view.away.max(away_of(plan, foreseen).unwrap_or(Share::NONE));
    }
    if let Some(foreseen) = foreseen {
        for (service, risks) in &foreseen.of.risks {
            if let Some(view) = services.get_mut(service) {
                let named = |it: &BTreeSet<_>| it.iter().map(ToString::to_string).collect();
                view.stranded_by = named(&risks.stranded_by);
                view.overloaded_by = named(&risks.overloaded_by);
            }
        }
    }
    let age_ms = foreseen.map(|it| u64::try_from(it.at.elapsed().as_millis()).unwrap_or(u64::MAX));
    ServicesView {
        cluster: status.cluster.clone(),
        foreseen_ms: age_ms,
        services: services.into_values().collect(),
    }
}
