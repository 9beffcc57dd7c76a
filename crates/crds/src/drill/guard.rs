//! What stops a drill.

use crate::text::{DAY, H, MIN, MS, Query, Span, Url, WindowQuery};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is watched; what it says stops the drill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("[has(self.httpCheck), has(self.errorRate), has(self.prometheus), has(self.errorBudget)].filter(named, named).size() == 1").message("a guard is one thing that is watched: write one of httpCheck, errorRate, prometheus and errorBudget")
)]
pub struct Guard {
    /// Something that must go on answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_check: Option<HttpCheck>,
    /// The percentage of the drill's own requests that fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRate>,
    /// What a Prometheus answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// What is left of an error budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_budget: Option<ErrorBudget>,
}

/// Something that must go on answering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCheck {
    /// What is asked.
    pub url: Url,
    /// How often, 50ms to 60s. Default: 200ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span<{ 50 * MS }, MIN>>,
    /// How long an answer may take, 10ms to 60s. Default: 500ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span<{ 10 * MS }, MIN>>,
    /// After so many failures in a row, 1 to 100. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// The percentage of the drill's own requests that fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRate {
    /// In percent; more is too much.
    #[schemars(range(min = 0, max = 100))]
    pub above: f64,
    /// Over this time, 500ms to 1h. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<Span<{ 500 * MS }, H>>,
}

/// What a Prometheus answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.above) || has(self.below)").message("nothing says which answer stops the drill: add above: 5, or below: 10"))]
pub struct Prometheus {
    /// Where it is.
    pub url: Url,
    /// What is asked, as PromQL.
    pub query: Query,
    /// An answer above this stops the drill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// An answer below this stops the drill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// How often, 100ms to 60s. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span<{ 100 * MS }, MIN>>,
    /// After so many such answers in a row, 1 to 100. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// What is left of an error budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBudget {
    /// The Prometheus that is asked.
    pub url: Url,
    /// The part of requests that must be good, in percent, below 100: 99.9.
    #[schemars(range(min = 0, max = 100), extend("exclusiveMaximum" = true))]
    pub objective: f64,
    /// Over which time: 1d to 366d, or a duration from 1m. Default: 30d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<BudgetWindow>,
    /// The requests that failed, as PromQL over $window.
    pub errors: WindowQuery,
    /// All requests, as PromQL over $window.
    pub total: WindowQuery,
    /// The drill stops when less than so many percent of the budget are left. Default: 25.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<f64>,
    /// How often, 100ms to 60s. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span<{ 100 * MS }, MIN>>,
    /// After so many such answers in a row, 1 to 100. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// A duration from a minute to a year, in days too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BudgetWindow(pub String);

impl JsonSchema for BudgetWindow {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BudgetWindow".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Span::<MIN, { 366 * DAY }>::json_schema(generator);
        let plain = schema.get("pattern").and_then(|it| it.as_str()).unwrap_or_default().to_owned();
        schema.insert("pattern".to_owned(), format!("^0*[1-9][0-9]{{0,2}}d$|{plain}").into());
        schema.insert(
            "x-kubernetes-validations".to_owned(),
            serde_json::json!([{
                "rule": "self.endsWith('d') ? int(self.substring(0, size(self) - 1)) <= 366 : duration(self) >= duration('1m') && duration(self) <= duration('8784h')",
                "message": "must be a window of 1d to 366d, or a duration from 1m, for example 30d",
            }]),
        );
        schema
    }
}
