//! What the hub reads of a report: enough to refuse what is none, and to list it. Pure.

use crate::view::DrillView;
use serde::{Deserialize, de::IgnoredAny};
use tidegate_link::hub::ReportSignature;

/// The longest text that is shown in a list.
const MAX_TEXT: usize = 300;

/// Why a report is not kept, or not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportRefusal {
    /// It is none.
    #[error("this is not the report of a drill: {0}\n  hint: it is what `tidegate drill run -o json` writes")]
    Form(String),
    /// Another one of the same id is kept.
    #[error("another report with the id {0} is kept already, and reports are never replaced")]
    Twice(String),
    /// Not for this token.
    #[error("the token is limited to namespaces, and the drill {0} is in none of them")]
    Namespace(String),
    /// There is none.
    #[error("no report of a drill with the id {0} is kept\n  hint: tidegate drill list")]
    Unknown(String),
    /// There are several.
    #[error("several drills have ids that begin with {0:?}; write more of it\n  hint: tidegate drill list")]
    Several(String),
}

/// The parts of a report that a list shows; all that the schema asks for must be there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outline {
    api_version: String,
    kind: String,
    id: String,
    pub(super) drill: String,
    target: String,
    #[serde(rename = "urls")]
    _urls: Vec<String>,
    #[serde(rename = "load")]
    _load: IgnoredAny,
    started_at: String,
    ending: Ending,
    passed: bool,
    #[serde(rename = "moments")]
    _moments: IgnoredAny,
    costs: Option<Costs>,
    objectives: Vec<Objective>,
    #[serde(rename = "commands")]
    _commands: Vec<IgnoredAny>,
    #[serde(rename = "series")]
    _series: IgnoredAny,
    #[serde(rename = "generator")]
    _generator: IgnoredAny,
}

#[derive(Debug, Deserialize)]
struct Ending {
    how: String,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Costs {
    rto_ms: Option<f64>,
    stable_recovery_ms: Option<f64>,
    error_rate: f64,
    failed: u64,
}

#[derive(Debug, Deserialize)]
struct Objective {
    passed: bool,
}

impl Outline {
    pub(super) fn read(text: &str) -> Result<Self, ReportRefusal> {
        let read: Self =
            serde_json::from_str(text).map_err(|error| ReportRefusal::Form(error.to_string()))?;
        let wrong = |why: &str| Err(ReportRefusal::Form(why.to_owned()));
        if read.api_version != "tidegate.dev/v1alpha1" || read.kind != "DrillReport" {
            return wrong("its apiVersion is not tidegate.dev/v1alpha1, or its kind not DrillReport");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=64).contains(&read.id.len()) || !read.id.chars().all(plain) {
            return wrong("its id is not 1 to 64 letters, digits, '-', '_' and '.'");
        }
        let name = |part: &str| (1..=253).contains(&part.len()) && part.chars().all(plain);
        if !read.drill.split_once('/').is_some_and(|(space, it)| name(space) && name(it)) {
            return wrong("its drill is not NAMESPACE/NAME");
        }
        // A drill that did not start has no time.
        if !read.started_at.is_empty() && tidegate_api::parse_time(&read.started_at).is_none() {
            return wrong("its startedAt is not a time as RFC 3339 has it");
        }
        if !["completed", "notStarted", "stopped"].contains(&read.ending.how.as_str()) {
            return wrong("its ending is not completed, notStarted or stopped");
        }
        Ok(read)
    }

    /// A row of the list.
    pub(super) fn view(&self, signature: &ReportSignature, bytes: u64) -> DrillView {
        let short = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        let costs = self.costs.as_ref();
        DrillView {
            id: self.id.clone(),
            drill: self.drill.clone(),
            target: short(&self.target),
            started_at: self.started_at.clone(),
            ending: self.ending.how.clone(),
            why: self.ending.why.as_deref().map(short),
            passed: self.passed,
            rto_ms: costs.and_then(|it| it.rto_ms),
            stable_recovery_ms: costs.and_then(|it| it.stable_recovery_ms),
            error_rate: costs.map(|it| it.error_rate),
            failed: costs.map(|it| it.failed),
            objectives: self.objectives.len() as u64,
            objectives_met: self.objectives.iter().filter(|it| it.passed).count() as u64,
            handed_over_by: signature.handed_over_by.clone(),
            signed_at: signature.signed_at.clone(),
            key_id: signature.key_id.clone(),
            bytes,
        }
    }
}

#[cfg(test)]
pub(super) fn example(id: &str, drill: &str, rto_ms: f64) -> String {
    serde_json::json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "DrillReport", "id": id, "drill": drill, "target": "<it>",
        "urls": [], "load": {}, "startedAt": "2026-11-24T10:00:00Z", "ending": {"how": "completed"}, "passed": true,
        "mended": true, "mendError": null, "moments": {}, "objectives": [{"passed": true}, {"passed": false}],
        "costs": {"rtoMs": rto_ms, "stableRecoveryMs": null, "errorRate": 0.25, "failed": 3},
        "commands": [], "series": {}, "generator": {}
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_refused_with_what_is_wrong() {
        let good = example("drill-1", "shop/flip", 1.5);
        let signature = ReportSignature {
            trust_domain: "t".to_owned(),
            handed_over_by: "alice".to_owned(),
            signed_at: String::new(),
            key_id: String::new(),
            signature: String::new(),
        };
        let view = Outline::read(&good).unwrap().view(&signature, 7);
        assert_eq!((view.rto_ms, view.objectives, view.objectives_met), (Some(1.5), 2, 1));
        for (from, to, said) in [
            ("\"DrillReport\"", "\"Drill\"", "its kind not DrillReport"),
            ("drill-1", "../1", "its id is not"),
            ("shop/flip", "flip", "not NAMESPACE/NAME"),
            ("\"passed\":true,\"series\"", "\"series\"", "missing field `passed`"),
            ("\"errorRate\":0.25", "\"errorRate\":\"low\"", "invalid type"),
            ("2026-11-24T10", "yesterday", "RFC 3339"),
            ("\"completed\"", "\"forgotten\"", "its ending"),
            ("\"urls\":[]", "\"urls\":[},", "line 1 column"),
        ] {
            let text = good.replace(from, to);
            assert_ne!(text, good, "{from}");
            let refused = Outline::read(&text).unwrap_err().to_string();
            assert!(refused.contains(said), "{to}: {refused}");
        }
    }
}
