//! The same by the hub: what the agents of all clusters told it, each about its own.

use super::{Pools, is_of, listed, services};
use crate::{
    admin::{HubDoor, encoded},
    cluster::{age, cluster_table},
    screen::Screen,
    table,
    view::Shown,
};
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tidegate_hub::view::{ClusterView, KnowledgeView, PoolSummaryView};
use tidegate_model::{ClusterName, Phase};

/// All that the hub knows, cluster by cluster.
pub(crate) async fn all(hub: &HubDoor) -> Result<Vec<KnowledgeView>> {
    let clusters: Vec<ClusterView> = hub.get("/api/v1/clusters").await?;
    let mut all = Vec::with_capacity(clusters.len());
    for it in clusters {
        all.push(hub.get(&format!("/api/v1/clusters/{}", encoded(it.cluster.as_str()))).await?);
    }
    Ok(all)
}

/// What is old says so.
pub(crate) fn stale(all: &[KnowledgeView]) -> String {
    let gone = all.iter().map(|it| &it.cluster).filter(|it| !it.connected && it.heard_ms.is_some());
    let line = |it: &ClusterView| {
        format!("{} is gone, heard {} ago: what is told of it is that old\n", it.cluster, age(it.heard_ms))
    };
    let lines: String = gone.map(line).collect();
    if lines.is_empty() { lines } else { lines + "\n" }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolRow<'a> {
    service: &'a str,
    cluster: &'a ClusterName,
    zone: &'a str,
    healthy: u32,
    expected: u32,
    admit_ppm: u32,
    phase: Option<Phase>,
}

pub(super) fn pools(all: &[KnowledgeView], args: &Pools, screen: Screen) -> Result<Shown> {
    let takes = |it: &PoolRow<'_>| args.takes(it.service, it.cluster, it.zone, it.phase);
    let rows = all.iter().flat_map(|it| it.pools.iter().map(move |pool| row(it, pool))).filter(takes);
    let rows: Vec<PoolRow<'_>> = rows.collect();
    let mut table = table::new(&["SERVICE", "CLUSTER", "ZONE", "HEALTHY", "ADMIT", "PHASE"]);
    for it in &rows {
        table.add_row([
            it.service.to_owned(),
            it.cluster.to_string(),
            it.zone.to_owned(),
            format!("{}/{}", it.healthy, it.expected),
            table::percent(f64::from(it.admit_ppm) / 1e6),
            it.phase.map_or_else(|| "?".to_owned(), |phase| phase.to_string()),
        ]);
    }
    let shown = listed(&rows, &table, screen)?;
    Ok(shown.below(&stale(all)))
}

fn row<'a>(it: &'a KnowledgeView, pool: &'a PoolSummaryView) -> PoolRow<'a> {
    PoolRow {
        service: &pool.service,
        cluster: &it.cluster.cluster,
        zone: &pool.zone,
        healthy: pool.healthy,
        expected: pool.expected,
        admit_ppm: pool.admit_ppm,
        phase: pool.phase,
    }
}

/// A service in all clusters that have it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceRow {
    service: String,
    healthy: u32,
    expected: u32,
    phases: BTreeSet<Phase>,
    clusters: BTreeSet<ClusterName>,
    /// Of requests that enter in a zone that has endpoints, the part that is served elsewhere or not at all, in thousandths; the
    /// largest of all zones, and where it enters.
    away_permille: u32,
    away_from: BTreeSet<String>,
    shed_permille: u32,
}

fn rows(all: &[KnowledgeView]) -> Vec<ServiceRow> {
    let mut rows: BTreeMap<&str, ServiceRow> = BTreeMap::new();
    for it in all {
        for pool in &it.pools {
            let row = rows.entry(&pool.service).or_default();
            row.healthy += pool.healthy;
            row.expected += pool.expected;
            row.phases.extend(pool.phase.filter(|phase| *phase != Phase::Empty));
            row.clusters.insert(it.cluster.cluster.clone());
        }
        for plan in &it.plans {
            let has = |pool: &&PoolSummaryView| {
                pool.service == plan.service && pool.zone == plan.zone && pool.expected > 0
            };
            let Some(row) = rows.get_mut(plan.service.as_str()) else { continue };
            row.shed_permille = row.shed_permille.max(plan.shed_permille);
            if it.pools.iter().any(|pool| has(&pool)) {
                let own = format!("zone {}", plan.zone);
                let home: u32 = plan.shares.iter().filter(|it| it.target == own).map(|it| it.permille).sum();
                row.away_permille = row.away_permille.max(1000_u32.saturating_sub(home));
                row.away_from.insert(format!("{}/{}", it.cluster.cluster, plan.zone));
            }
        }
    }
    rows.into_iter().map(|(service, row)| ServiceRow { service: service.to_owned(), ..row }).collect()
}

pub(super) fn services(all: &[KnowledgeView], args: &services::Args, screen: Screen) -> Result<Shown> {
    let takes = |it: &ServiceRow| {
        is_of(&it.service, args.namespace.as_deref())
            && (args.phase.is_empty() || args.phase.iter().any(|phase| it.phases.contains(phase)))
            && (!args.away || it.away_permille > 0 || it.shed_permille > 0)
    };
    let rows: Vec<ServiceRow> = rows(all).into_iter().filter(takes).collect();
    let mut table = table::new(&["SERVICE", "HEALTHY", "PHASES", "CLUSTERS", "AWAY", "FROM"]);
    for it in &rows {
        let permille = |part: u32| table::percent(f64::from(part) / 1e3);
        let mut away = if it.away_permille == 0 { "-".to_owned() } else { permille(it.away_permille) };
        if it.shed_permille > 0 {
            away.push_str(&format!(", {} shed", permille(it.shed_permille)));
        }
        let joined = |all: Vec<String>| all.join(" ");
        table.add_row([
            it.service.clone(),
            format!("{}/{}", it.healthy, it.expected),
            joined(it.phases.iter().map(ToString::to_string).collect()),
            joined(it.clusters.iter().map(ToString::to_string).collect()),
            away,
            joined(it.away_from.iter().cloned().collect()),
        ]);
    }
    Ok(listed(&rows, &table, screen)?.below(&stale(all)))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GatewayRow<'a> {
    cluster: &'a ClusterName,
    node: &'a str,
    connected: bool,
    applied: u64,
    refused: Option<&'a str>,
}

fn gateway_rows(it: &KnowledgeView) -> impl Iterator<Item = GatewayRow<'_>> {
    it.gateways.iter().map(|gateway| GatewayRow {
        cluster: &it.cluster.cluster,
        node: &gateway.node,
        connected: gateway.connected,
        applied: gateway.applied,
        refused: gateway.refused.as_deref(),
    })
}

pub(super) fn gateways(all: &[KnowledgeView], screen: Screen) -> Result<Shown> {
    let rows: Vec<GatewayRow<'_>> = all.iter().flat_map(gateway_rows).collect();
    let mut table = table::new(&["CLUSTER", "NODE", "CONNECTED", "POLICY", "REFUSED"]);
    for it in &rows {
        table.add_row([
            it.cluster.to_string(),
            it.node.to_owned(),
            if it.connected { "yes" } else { "NO" }.to_owned(),
            it.applied.to_string(),
            it.refused.unwrap_or_default().to_owned(),
        ]);
    }
    Ok(listed(&rows, &table, screen)?.below(&stale(all)))
}

pub(super) async fn clusters(hub: &HubDoor, screen: Screen) -> Result<Shown> {
    let clusters: Vec<ClusterView> = hub.get("/api/v1/clusters").await?;
    listed(&clusters, &cluster_table(&clusters), screen)
}
