//! What would be if something were lost.

use super::{Flow, Place};
use serde::{Deserialize, Serialize};
use tidegate_model::ServiceName;

/// What would be if something were lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foresight {
    /// Whether everything is served now, and would be by each of the losses.
    pub holds: bool,
    /// What is wrong with nothing lost, a sentence each.
    pub findings: Vec<String>,
    /// A row for each loss.
    pub losses: Vec<LossFacts>,
    /// How old the oldest word is that this was computed from.
    pub age_ms: Option<u64>,
}

/// What one loss does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossFacts {
    /// What is lost, as `zone us-east-1a`.
    pub lost: Vec<String>,
    /// Whether everything that clients ask for is served within budgets.
    pub holds: bool,
    /// Services of which something would not be served, with how much of it; at most 100.
    pub unserved: Vec<(ServiceName, u32)>,
    /// How many there are.
    pub unserved_services: u32,
    /// Places with their utilisation before and after, in thousandths of what is declared; those that change, the fullest after first.
    pub places: Vec<(Place, Option<u32>, Option<u32>)>,
    /// What goes where with nothing lost.
    pub before: Vec<Flow>,
    /// What would go where.
    pub after: Vec<Flow>,
    /// What would happen, a sentence each; at most 100.
    pub sentences: Vec<String>,
}
