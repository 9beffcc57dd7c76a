//! One service: where its requests go and why, its pools, what happened, and the policy in force.

use super::{Ask, fleet};
use crate::{
    Trouble,
    answer::rendered,
    model::{Event, PlanFacts, PoolFacts, ServiceFacts, Standing},
    picture::{
        bands::{self, Band},
        lanes::{self, Span},
    },
    sentence,
    words::{self, Html},
};
use askama::Template;
use tidegate_model::{Phase, ServiceName};

/// What is listed of a timeline; the picture has all of it.
const EVENTS: usize = 100;

/// How far one looks back: the query's word, and what it says.
const ZOOMS: [(&str, u64, &str); 3] =
    [("15m", 900_000, "15 min"), ("1h", 3_600_000, "1 h"), ("6h", 21_600_000, "6 h")];

/// The facts as far as the visitor sees them. A service of another namespace is as unknown as one that does not exist.
pub(super) async fn facts(ask: &Ask, name: &ServiceName) -> Result<ServiceFacts, Trouble> {
    if !ask.sight.service(name) {
        return Err(Trouble::Unknown(format!("No service {name} is known. /services has those that are.")));
    }
    ask.source.service(name).await
}

struct Plan<'a> {
    source: String,
    facts: &'a PlanFacts,
    shares: Vec<(&'a str, String)>,
    standby: Vec<String>,
    /// Each with the object that says so.
    reasons: Vec<(String, Option<&'a str>)>,
}

#[derive(Template)]
#[template(path = "service.html")]
struct Page<'a> {
    facts: &'a ServiceFacts,
    picture: Html,
    plans: Vec<Plan<'a>>,
    lanes: Html,
    zooms: Vec<(String, &'static str, bool)>,
    events: Vec<&'a Event>,
    more_events: usize,
    is_operator: bool,
    now_ms: u64,
}

pub(super) async fn main(ask: &Ask, name: &ServiceName) -> Result<String, Trouble> {
    let facts = facts(ask, name).await?;
    let bands: Vec<Band> = facts.plans.iter().flat_map(|plan| of_plan(plan, &facts.pools)).collect();
    let (span, zooms) = zoom(ask, &facts.timeline);
    let within: Vec<&Event> = facts.timeline.iter().filter(|it| span.has(it.at_ms)).collect();
    let page = Page {
        picture: bands::bands(&bands, "plans", &format!("Where requests for {name} go")),
        plans: facts.plans.iter().map(plan).collect(),
        lanes: lanes::lanes(&facts.timeline, span, "lanes", &format!("What happened to {name}")),
        zooms,
        more_events: within.len().saturating_sub(EVENTS),
        events: within.into_iter().take(EVENTS).collect(),
        facts: &facts,
        is_operator: ask.is_operator,
        now_ms: ask.now_ms,
    };
    Ok(rendered(&page))
}

fn plan(facts: &PlanFacts) -> Plan<'_> {
    let shares = |of: &[(String, u32)]| -> Vec<String> {
        of.iter().map(|(who, part)| format!("{who} {}", words::share(*part))).collect()
    };
    Plan {
        source: bands::place(&facts.source),
        shares: facts.shares.iter().map(|(who, part)| (&**who, words::share(*part))).collect(),
        standby: facts.standby.iter().map(|tier| shares(tier).join(", ")).collect(),
        reasons: facts.reasons.iter().map(|it| sentence::long(it)).collect(),
        facts,
    }
}

/// A plan as bands: each source weighs one, so that all plans can be read.
fn of_plan(plan: &PlanFacts, pools: &[PoolFacts]) -> Vec<Band> {
    let from = bands::place(&plan.source);
    let band = |(to, part): (&str, u32), standing| Band {
        from: from.clone(),
        to: to.to_owned(),
        weight: f64::from(part) / 10_000.0,
        standing,
        said: words::share(part),
    };
    let mut all: Vec<Band> = plan
        .shares
        .iter()
        .map(|(who, part)| band((&place_of(who, plan), *part), standing(who, plan, pools)))
        .collect();
    if plan.shed_permille > 0 {
        all.push(band(("answered with 503", plan.shed_permille * 10), Standing::Out));
    }
    all
}

/// `zone a` of a plan is a zone of the source's cluster.
fn place_of(who: &str, plan: &PlanFacts) -> String {
    match who.split_once(' ') {
        Some(("zone", zone)) => format!("{}/{zone}", plan.source.cluster),
        Some(("cluster", cluster)) => cluster.to_owned(),
        _ => who.to_owned(),
    }
}

/// How those stand who serve a part of a plan: out if nobody of them serves, and reduced if somebody does not.
fn standing(who: &str, plan: &PlanFacts, pools: &[PoolFacts]) -> Standing {
    let serves = |pool: &&PoolFacts| match who.split_once(' ') {
        Some(("zone", zone)) => {
            pool.place.cluster == plan.source.cluster
                && pool.place.zone.as_ref().is_some_and(|it| it.as_str() == zone)
        }
        Some(("cluster", cluster)) => pool.place.cluster.as_str() == cluster,
        _ => false,
    };
    let of_all = || pools.iter().filter(serves).map(|pool| of_phase(pool.phase));
    match (of_all().min(), of_all().max()) {
        (Some(best), Some(Standing::Out)) if best != Standing::Out => Standing::Reduced,
        (_, worst) => worst.unwrap_or(Standing::Unknown),
    }
}

const fn of_phase(phase: Phase) -> Standing {
    match phase {
        Phase::Serving | Phase::Empty => Standing::Good,
        Phase::Holding | Phase::Ramping => Standing::Recovering,
        Phase::Shifted => Standing::Shifted,
        Phase::Reduced => Standing::Reduced,
        Phase::Out => Standing::Out,
    }
}

/// The stretch that is looked at, and the links to others. Where nobody chose, the shortest that has all that happened, up to an hour.
pub(super) fn zoom(ask: &Ask, events: &[Event]) -> (Span, Vec<(String, &'static str, bool)>) {
    let asked = ask.query.text("zoom");
    let oldest = events.iter().map(|it| it.at_ms).min().unwrap_or(ask.now_ms);
    let whole = ask.now_ms.saturating_sub(oldest).max(60_000) * 21 / 20;
    let fitting = if whole <= ZOOMS[0].1 { ZOOMS[0].0 } else { ZOOMS[1].0 };
    let asked = if asked.is_empty() { fitting } else { asked };
    let length = ZOOMS.iter().find(|(key, ..)| *key == asked).map(|(_, length, _)| *length);
    let length = length.unwrap_or(if asked == "all" { whole } else { ZOOMS[1].1 });
    let is = |key: &str| asked == key;
    let link = |key: &str| ask.query.with(&[("zoom", key)]);
    let mut links: Vec<_> = ZOOMS.iter().map(|(key, _, name)| (link(key), *name, is(key))).collect();
    links.push((link("all"), "all", is("all")));
    (Span { from_ms: ask.now_ms.saturating_sub(length), to_ms: ask.now_ms }, links)
}
