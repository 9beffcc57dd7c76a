//! Where the policy stands: object by object, cluster by cluster, and what gateways refused.

use super::Ask;
use crate::{
    Trouble,
    answer::rendered,
    model::{GatewayFacts, ObjectFacts, ObjectThere, PolicyFacts, RolloutFacts},
    query::Paging,
    words::{self, Html},
};
use askama::Template;
use tidegate_model::ClusterName;

/// Objects of a page.
const SIZE: usize = 50;
/// Objects that are looked through for who sees some namespaces only.
const SEARCHED: usize = 10_000;
/// Of one object, clusters that are named; the others are counted.
const CLUSTERS: usize = 12;

/// The objects of the page asked for, and where they stand in the list.
pub(super) async fn facts(ask: &Ask) -> Result<(RolloutFacts, Paging), Trouble> {
    let text = ask.query.text("q");
    let from = (ask.query.page() - 1) * SIZE;
    if ask.sight.is_whole() {
        let facts = ask.source.rollout(text, from, SIZE).await?;
        let paging = Paging::new(ask.query.page(), facts.total, SIZE);
        return Ok((facts, paging));
    }
    // Which of them are seen is known here only, so that the pages are counted here.
    let mut facts = ask.source.rollout(text, 0, SEARCHED).await?;
    facts.objects.retain(|object| ask.sight.object(&object.object));
    facts.total = facts.objects.len();
    facts.policy.problems.retain(|text| ask.sight.text(text));
    facts.policy.why = facts.policy.why.take().filter(|text| ask.sight.text(text));
    let paging = Paging::new(ask.query.page(), facts.total, SIZE);
    facts.objects = facts.objects[paging.from..paging.to()].to_vec();
    Ok((facts, paging))
}

struct Row<'a> {
    facts: &'a ObjectFacts,
    applied: usize,
    others: Vec<&'a ObjectThere>,
    left_out: usize,
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct Page<'a> {
    policy: &'a PolicyFacts,
    waves: &'a [(bool, Vec<ClusterName>)],
    refusals: Vec<(&'a ClusterName, &'a GatewayFacts)>,
    rejections: Vec<(&'a ClusterName, &'a (String, String))>,
    rows: Vec<Row<'a>>,
    pager: Html,
    text: &'a str,
}

pub(super) async fn main(ask: &Ask) -> Result<String, Trouble> {
    let (facts, paging) = facts(ask).await?;
    let clusters = || ask.fleet.regions.iter().flat_map(|region| &region.clusters);
    let refusals = clusters().flat_map(|it| it.gateways.iter().map(move |gateway| (&it.name, gateway)));
    let rejections = clusters().flat_map(|it| it.rejected.iter().map(move |object| (&it.name, object)));
    Ok(rendered(&Page {
        policy: &facts.policy,
        waves: &facts.waves,
        refusals: refusals.filter(|(_, it)| !it.refused.is_empty()).take(CLUSTERS * 4).collect(),
        rejections: rejections.take(CLUSTERS * 4).collect(),
        rows: facts.objects.iter().map(row).collect(),
        pager: super::pager(paging, &ask.query, "objects"),
        text: ask.query.text("q"),
    }))
}

/// What is not applied is named, and what is, counted.
fn row(facts: &ObjectFacts) -> Row<'_> {
    let mut others: Vec<&ObjectThere> = facts
        .clusters
        .iter()
        .filter(|it| it.state != "Applied" || it.gateways_applied < it.gateways)
        .collect();
    others.sort_by_key(|it| it.state != "Rejected");
    let applied = facts.clusters.len() - others.len();
    let left_out = others.len().saturating_sub(CLUSTERS);
    others.truncate(CLUSTERS);
    Row { facts, applied, others, left_out }
}
