//! What would be, as the hub hears it: every agent answers for the callers of its own cluster, and a loss holds if it holds for all of them.

use super::print;
use crate::{screen::Screen, table, view::Shown};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_engine::{Contingency, Fate, Finding, Foresight, Location};
use tidegate_model::ClusterName;

/// What the hub answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answers {
    /// By the cluster whose agent says it.
    clusters: BTreeMap<ClusterName, Foresight>,
    /// Who could not be asked, and why.
    missing: BTreeMap<ClusterName, String>,
}

impl Answers {
    /// Where a cluster's own callers are all lost, other clusters say what becomes of the rest.
    pub(super) fn of_own_callers(mut self) -> Self {
        for foresight in self.clusters.values_mut() {
            let all = std::mem::take(&mut foresight.contingencies);
            foresight.contingencies = all.into_iter().map(Contingency::without_lost_callers).collect();
            foresight.holds =
                !foresight.is_down_now() && foresight.contingencies.iter().all(Contingency::holds);
        }
        self
    }

    /// Whether it holds for all. That nobody said no is no answer while somebody is missing.
    pub(super) fn holds(&self) -> Result<bool> {
        let holds = self.clusters.values().all(|it| it.holds);
        match self.missing.first_key_value().filter(|_| holds) {
            None => Ok(holds),
            Some((cluster, why)) => bail!(
                "it holds for all who were asked, but {} could not be: {cluster}: {why}\n  \
                 hint: tidegate cluster list says who is connected; ask again when they all are",
                match self.missing.len() {
                    1 => "1 cluster".to_owned(),
                    many => format!("{many} clusters"),
                }
            ),
        }
    }

    pub(super) fn shown(&self, screen: Screen, in_full: bool) -> Result<Shown> {
        let mut text = format!("as {} say it, each for its own callers\n", self.said_by());
        if in_full {
            for (cluster, foresight) in &self.clusters {
                text += &format!("\nCLUSTER {cluster}\n");
                text.extend(foresight.contingencies.iter().map(print::one));
            }
        } else {
            text += &table::shown(&self.table(), screen);
            text.push('\n');
        }
        let findings = self.clusters.values().flat_map(|it| &it.findings);
        let findings: BTreeMap<String, &Finding> = findings.map(|it| (it.to_string(), it)).collect();
        text += &print::findings(&findings.into_values().cloned().collect::<Vec<_>>());
        for (cluster, why) in &self.missing {
            text += &format!("\nnot asked: {cluster}: {why}");
        }
        text += match self.clusters.values().all(|it| it.holds) {
            true => "\nIt holds.",
            false if in_full => "\nIt does not hold.",
            false => "\nIt does not hold.\nMore of one: add --lose LOCATION",
        };
        Shown::new(self, text)
    }

    fn said_by(&self) -> String {
        match self.clusters.len() {
            1 => "1 cluster".to_owned(),
            many => format!("{many} clusters"),
        }
    }

    fn table(&self) -> comfy_table::Table {
        /// Services that fail over, those that are stranded, and who says no.
        type Row<'a> = (BTreeSet<String>, BTreeSet<String>, BTreeSet<&'a ClusterName>);
        let mut rows: BTreeMap<&[Location], Row<'_>> = BTreeMap::new();
        for (cluster, foresight) in &self.clusters {
            for it in &foresight.contingencies {
                let (moved, stranded, against) = rows.entry(&it.lost).or_default();
                let moves = it.services.iter().filter(|service| service.fate == Fate::FailsOver);
                moved.extend(moves.map(|service| service.service.to_string()));
                stranded.extend(it.stranded.iter().map(|it| it.service.to_string()));
                against.extend((!it.holds()).then_some(cluster));
            }
        }
        let mut table = table::new(&["LOST", "FAIL OVER", "STRANDED", "HOLDS"]);
        for (lost, (moved, stranded, against)) in rows {
            let names: Vec<String> = against.iter().map(ToString::to_string).collect();
            table.add_row([
                lost.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
                moved.difference(&stranded).count().to_string(),
                stranded.len().to_string(),
                if names.is_empty() { "yes".to_owned() } else { format!("NO for {}", names.join(", ")) },
            ]);
        }
        table
    }
}
