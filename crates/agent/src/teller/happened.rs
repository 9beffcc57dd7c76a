//! Which decisions are events of which objects, without I/O.

use super::shifts::Turn;
use crate::timeline::Record;
use tidegate_engine::Target;
use tidegate_model::{ClusterName, Phase, Share};
use tidegate_status::{events::Happened, writer::Object};

/// The event that a record of the timeline is; `None` if it is none, or too much for an API server.
pub(crate) fn happened(record: &Record, cluster: &ClusterName) -> Option<Happened> {
    let (reason, action, warning) = match record.kind {
        "poolChanged" => match record.phase? {
            Phase::Serving => ("PoolServing", "Verdict", false),
            Phase::Out => ("PoolOut", "Verdict", true),
            _ => return None,
        },
        "planChanged" => moved(record)?,
        "locationChanged" => ("LocationChanged", "Verdict", true),
        "shiftChanged" => ("ShiftChanged", "Shift", false),
        "drillChanged" => ("DrillChanged", "Drill", false),
        "refused" => ("RefusedByGateway", "Push", true),
        _ => return None,
    };
    let object = match &record.service {
        Some(service) => Object {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            plural: "services".to_owned(),
            namespace: Some(service.namespace().to_owned()),
            name: service.name().to_owned(),
        },
        None => Object {
            api_version: "tidegate.dev/v1alpha1".to_owned(),
            kind: "FleetCluster".to_owned(),
            plural: "fleetclusters".to_owned(),
            namespace: None,
            name: cluster.to_string(),
        },
    };
    Some(Happened { object, uid: None, warning, reason, action, note: record.line() })
}

/// The event of a declared shift (`NAMESPACE/NAME`) that began or ended.
pub(super) fn turned(name: &str, turn: Turn) -> Option<Happened> {
    let (namespace, name) = name.split_once('/')?;
    let object = Object {
        api_version: "tidegate.dev/v1alpha1".to_owned(),
        kind: "TrafficShift".to_owned(),
        plural: "trafficshifts".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    };
    let (reason, note) = match turn {
        Turn::Began => ("ShiftStarted", "traffic is being moved away"),
        Turn::Ended => ("ShiftEnded", "it is over: traffic comes back by the ramp; remove the object"),
    };
    Some(Happened { object, uid: None, warning: false, reason, action: "Shift", note: note.to_owned() })
}

/// Whether traffic went away from where it enters, or came back. Steps in between are told by the first and the last: a
/// ramp is one failback.
fn moved(record: &Record) -> Option<(&'static str, &'static str, bool)> {
    let (before, after) = (record.before.as_ref()?, record.after.as_ref()?);
    let (_, zone) = record.source.as_deref()?.rsplit_once('/')?;
    let home = Target::Zone(zone.parse().ok()?);
    let of = |shares: &tidegate_engine::Shares| shares.get(&home).copied();
    let whole = Share::new(10_000).ok();
    match (of(before), of(after)) {
        (before, after) if before == after => None,
        (before, _) if before == whole => Some(("FailedOver", "Failover", true)),
        (_, after) if after == whole => Some(("FailedBack", "Failback", false)),
        (_, None) => Some(("FailedOver", "Failover", true)),
        _ => None,
    }
}
