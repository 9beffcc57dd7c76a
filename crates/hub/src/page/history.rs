//! What the hub keeps, as its page shows it: drills and their reports, the rollout, the audit log.

use super::{now_ms, picture};
use crate::{
    drills::{Wish, read},
    office::Office,
    store::StoreError,
    view::{DrillView, ObjectInCluster, ObjectState},
};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};
use tidegate_api::SourceFile;
use tidegate_drill::report::{Report, html, told};
use tidegate_link::{
    access::{Caller, Role},
    hub::SignedReport,
};
use tidegate_web::{
    Trouble,
    model::{
        AuditFacts, Done, DrillFacts, DrillOffered, DrillsFacts, ObjectFacts, ObjectThere, PolicyFacts,
        RolloutFacts,
    },
};

/// Reports of one page.
const MAX_PAST: usize = 200;
/// Runs in one picture of a trend.
const MAX_RUNS: usize = 40;
/// Records of the audit log in one answer.
const MAX_AUDIT: usize = 1000;

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
pub(super) fn store(error: StoreError) -> Trouble {
    Trouble::Unavailable(error.to_string())
}

fn office_error(error: &crate::office::OfficeError) -> Trouble {
    Trouble::Refused(error.to_string())
}

/// Whoever looks here sees all; the page leaves out what a visitor may not see.
fn page() -> Caller {
    Caller { name: "the page".to_owned(), role: Role::Viewer, namespaces: None }
}

pub(super) fn drills(office: &Arc<Office>) -> Result<DrillsFacts, Trouble> {
    let past = office.drill_views(&page(), None, MAX_PAST).map_err(|it| office_error(&it))?;
    let schedules = office.schedules_view(&page()).map_err(|it| office_error(&it))?;
    let next = |drill: &str| {
        let of = schedules.schedules.iter().filter(|it| it.drill == drill && !it.suspended);
        of.filter_map(|it| milliseconds(&it.next.first()?.at)).min()
    };
    let policy = office.newest();
    let offered = policy.objects.iter().filter_map(|(key, object)| {
        let name = key.strip_prefix("Drill ")?;
        let source = SourceFile { path: object.source.clone(), text: object.text.clone() };
        let target = read(&source).map_or_else(|it| it.to_string(), |it| told(&it.target));
        Some(DrillOffered { drill: name.to_owned(), target, next_at_ms: next(name) })
    });
    let offered: Vec<DrillOffered> = offered.collect();
    // Of a drill that somebody began with a file of their own nobody but its report says it.
    let target = |drill: &str| {
        let of = offered.iter().find(|it| it.drill == drill);
        of.map(|it| it.target.clone()).unwrap_or_default()
    };
    let running = picture::running(office, now_ms()).map(|it| DrillFacts { target: target(&it.drill), ..it });
    Ok(DrillsFacts {
        running: running.into_iter().collect(),
        offered,
        trends: trends(&past),
        past: past.iter().map(over).collect(),
    })
}

fn milliseconds(rfc3339: &str) -> Option<u64> {
    let at: jiff::Timestamp = rfc3339.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

fn over(it: &DrillView) -> DrillFacts {
    DrillFacts {
        id: it.id.clone(),
        drill: it.drill.clone(),
        target: it.target.clone(),
        phase: it.ending.clone(),
        started_at_ms: milliseconds(&it.started_at).or_else(|| milliseconds(&it.signed_at)).unwrap_or(0),
        phase_ends_at_ms: None,
        requests: None,
        passed: Some(it.passed),
        rto_ms: it.rto_ms,
        why: it.why.clone(),
    }
}

/// How long recovery took, a picture a drill; the oldest run at the left.
fn trends(past: &[DrillView]) -> Vec<(String, String)> {
    let mut drills: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for it in past.iter().rev() {
        if let Some(rto) = it.rto_ms {
            drills.entry(&it.drill).or_default().push(rto);
        }
    }
    let several = drills.into_iter().filter(|(_, runs)| runs.len() > 1);
    several
        .map(|(drill, runs)| (drill.to_owned(), bars(&runs[runs.len().saturating_sub(MAX_RUNS)..])))
        .collect()
}

fn bars(runs: &[f64]) -> String {
    let greatest = runs.iter().copied().fold(1.0, f64::max);
    let width = runs.len() * 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} 42\" width=\"{width}\" height=\"42\" \
         role=\"img\"><title>time to recovery of {} runs, at most {greatest:.0} ms</title>",
        runs.len()
    );
    for (index, rto) in runs.iter().enumerate() {
        let (x, height) = (index * 10 + 1, (rto / greatest * 40.0).max(1.0));
        let y = 41.0 - height;
        // A string takes all that is written to it.
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y:.1}\" width=\"8\" height=\"{height:.1}\" fill=\"currentColor\"><title>{rto:.0} \
             ms</title></rect>"
        );
    }
    svg.push_str("</svg>");
    svg
}

pub(super) fn report(office: &Arc<Office>, id: &str) -> Result<String, Trouble> {
    let signed = office.drill_report(&page(), id).map_err(|it| Trouble::Unknown(it.to_string()))?;
    let broken =
        |error: serde_json::Error| Trouble::Unavailable(format!("the report cannot be read: {error}"));
    let signed: SignedReport<Box<RawValue>> = serde_json::from_slice(&signed).map_err(broken)?;
    let report: Report = serde_json::from_str(signed.report.get()).map_err(broken)?;
    Ok(html(&report))
}

pub(super) fn start_drill(office: &Arc<Office>, drill: &str, by: &Caller) -> Result<Done, Trouble> {
    let policy = office.newest();
    let unknown = || Trouble::Unknown(format!("the policy has no Drill {drill}"));
    let object = policy.objects.get(&format!("Drill {drill}")).ok_or_else(unknown)?;
    let source = SourceFile { path: object.source.clone(), text: object.text.clone() };
    let begun = office.start_drill(&Wish { source: &source, by: &by.name, due: None });
    let view = begun.map_err(|it| office_error(&it))?;
    Ok(Done { done: format!("the drill {} has begun: {}", view.drill, view.id), link: "/drills".to_owned() })
}

pub(super) fn rollout(
    office: &Arc<Office>,
    policy: PolicyFacts,
    text: &str,
    from: usize,
    limit: usize,
) -> Result<RolloutFacts, Trouble> {
    let (view, total) = office.rollout_page(|it| it.contains(text), from, limit).map_err(store)?;
    let waves = view.rollout.map(|it| it.waves).unwrap_or_default();
    let objects = view.objects.into_iter().map(|it| ObjectFacts {
        object: it.object,
        place: it.place,
        since: it.since,
        clusters: it.clusters.into_iter().map(there).collect(),
    });
    Ok(RolloutFacts {
        policy,
        waves: waves.into_iter().map(|it| (it.open, it.clusters)).collect(),
        objects: objects.collect(),
        total,
    })
}

fn there(it: ObjectInCluster) -> ObjectThere {
    let (state, why) = match it.state {
        ObjectState::Applied => ("Applied", None),
        ObjectState::Rejected(why) => ("Rejected", Some(why)),
        ObjectState::Pending => ("Pending", None),
        ObjectState::Unknown => ("Unknown", None),
    };
    ObjectThere {
        cluster: it.cluster,
        state: state.to_owned(),
        why,
        gateways_applied: it.gateways_applied,
        gateways: it.gateways,
        age_ms: it.age_ms,
    }
}

pub(super) fn audit(
    office: &Arc<Office>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditFacts>, Trouble> {
    let records = office.store.audited_before(before, limit.min(MAX_AUDIT)).map_err(store)?;
    let facts = |(number, it): (u64, crate::store::AuditRecord)| AuditFacts {
        number,
        at_ms: it.at_ms,
        who: it.who,
        what: it.what,
        detail: it.detail,
    };
    Ok(records.into_iter().map(facts).collect())
}
