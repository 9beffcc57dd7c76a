//! `DrillSchedule`: when drills run by themselves.

use crate::{
    status::ScheduleStatus,
    text::{Cron, DAY, DayOrTime, ObjectName, Span, TimeZone},
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// When a drill runs by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "DrillSchedule",
    plural = "drillschedules",
    shortname = "dsc",
    category = "tidegate",
    namespaced,
    status = "ScheduleStatus",
    doc = "When a drill runs by itself. The hub works out when that is, and runs it.",
    printcolumn = r#"{"name": "Drill", "type": "string", "description": "What runs", "jsonPath": ".spec.drill"}"#,
    printcolumn = r#"{"name": "Cron", "type": "string", "description": "When", "jsonPath": ".spec.cron"}"#,
    printcolumn = r#"{"name": "Zone", "type": "string", "description": "Whose time", "jsonPath": ".spec.timeZone"}"#,
    printcolumn = r#"{"name": "Suspended", "type": "boolean", "description": "Whether it is switched off", "jsonPath": ".spec.suspend"}"#,
    printcolumn = r#"{"name": "Next", "type": "string", "description": "When the drill runs next", "jsonPath": ".status.nextRunAt"}"#,
    printcolumn = r#"{"name": "Last", "type": "string", "description": "How the last run ended", "jsonPath": ".status.lastRun.result"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct DrillScheduleSpec {
    /// A Drill of the same namespace.
    pub drill: ObjectName,
    /// When, in the five fields of cron: minute, hour, day of month, month, day of week.
    pub cron: Cron,
    /// Whose time, for example Europe/Berlin or UTC.
    pub time_zone: TimeZone,
    /// By how much a run may be put off, 0s to 24h. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span<0, DAY>>,
    /// Whether it is switched off.
    #[serde(default)]
    pub suspend: bool,
    /// When no drill runs.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
}

/// A time in which no drill runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("(size(self.from) == 10) == (size(self.until) == 10) && (size(self.from) == 10 ? self.from <= self.until : timestamp(self.from) < timestamp(self.until))").message("a blocked time ends after it begins, and both ends are days or both are times: {from: 2026-12-20, until: 2027-01-06}")
)]
pub struct Blocked {
    /// The first day, or the time at which it begins.
    pub from: DayOrTime,
    /// The last day, itself included, or the time at which it ends.
    pub until: DayOrTime,
}
