//! How a drill breaks its target.

use super::{drill::read_exec, drill_kubernetes, drill_lab};
use crate::{
    drill::{AgentFault, AgentFaultKind, DrillFault},
    fields::{Fields, Issues, Wrong},
    read,
    yaml::Node,
};
use std::{net::SocketAddr, time::Duration};

/// A fault that somebody has to sit through, at most.
const MAX_EXPIRY: Duration = Duration::from_secs(24 * 3600);
/// One that agents carry out: they take no longer one.
const MAX_AT_AGENTS: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exec,
    Kubernetes,
    Shift,
    Verdict,
    BlackHole,
    Abort,
    Delay,
    Brownout,
    Lab,
}

const KINDS: [(&str, Kind); 9] = [
    ("Exec", Kind::Exec),
    ("Kubernetes", Kind::Kubernetes),
    ("Shift", Kind::Shift),
    ("Verdict", Kind::Verdict),
    ("BlackHole", Kind::BlackHole),
    ("Abort", Kind::Abort),
    ("Delay", Kind::Delay),
    ("Brownout", Kind::Brownout),
    ("Lab", Kind::Lab),
];

pub(super) fn read(mut fault: Fields<'_>, issues: &mut Issues) -> Option<(DrillFault, Duration)> {
    let hint = "write type: Exec, which runs commands of your own from the command line, or what agents do: Shift, Verdict, BlackHole, \
                Abort, Delay, Brownout; or what kubectl does: Kubernetes; or a lab: Lab";
    let kind = fault.required_value("type", hint, issues, read::word(&KINDS)).map(|kind| kind.value);
    let most =
        if matches!(kind, None | Some(Kind::Exec | Kind::Kubernetes)) { MAX_EXPIRY } else { MAX_AT_AGENTS };
    let hint = "a fault ends also when nobody is left to end it: add `expiresAfter: 2m`";
    let expiry = fault.required_value("expiresAfter", hint, issues, read::duration(SECOND..=most));
    let found = match kind {
        // Without a kind that is known there is no saying what it needs.
        None => {
            for field in ["exec", "percent", "markedOnly", "status", "delay", "via", "lab", "kubernetes"] {
                fault.node(field);
            }
            None
        }
        Some(Kind::Exec) => {
            let hint = "add `exec: {start: [./break.sh], mend: [./mend.sh]}`";
            let exec = fault.required_map("exec", hint, issues).and_then(|exec| read_exec(exec, issues));
            exec.map(DrillFault::Exec)
        }
        Some(Kind::Kubernetes) => {
            let hint = "add `kubernetes: {do: ScaleToZero, namespace: shop, workload: deployment/web}`";
            let told = fault.required_map("kubernetes", hint, issues);
            told.and_then(|told| drill_kubernetes::read(told, issues)).map(DrillFault::Kubernetes)
        }
        Some(kind) => at_agents(kind, &mut fault, issues).map(DrillFault::Agents),
    };
    fault.finish(issues);
    Some((found?, expiry?.value))
}

fn at_agents(kind: Kind, fault: &mut Fields<'_>, issues: &mut Issues) -> Option<AgentFault> {
    let done = match kind {
        Kind::Abort => {
            let hint = "say what is answered: `status: 503`";
            let status = fault.required_value("status", hint, issues, read::integer(400..=599));
            status.and_then(|status| u16::try_from(status.value).ok()).map(AgentFaultKind::Abort)
        }
        Kind::Delay => {
            let hint = "say how long requests wait: `delay: 200ms`";
            let by = fault.required_value("delay", hint, issues, read::duration(MILLISECOND..=SECOND * 60));
            by.map(|by| AgentFaultKind::Delay(by.value))
        }
        Kind::BlackHole => {
            let via = fault.value("via", issues, address).map(|via| via.value);
            Some(AgentFaultKind::BlackHole(via))
        }
        Kind::Brownout => Some(AgentFaultKind::Brownout),
        Kind::Lab => {
            let hint = "say what the lab does: `lab: {do: Slow, delay: 1200ms}`";
            let lab = fault.required_map("lab", hint, issues).and_then(|lab| drill_lab::read(lab, issues));
            lab.map(AgentFaultKind::Lab)
        }
        Kind::Verdict => Some(AgentFaultKind::Verdict),
        Kind::Exec | Kind::Kubernetes | Kind::Shift => Some(AgentFaultKind::Shift),
    };
    let percent = match kind {
        // It is about all of its target: a percentage is a field that it does not have.
        Kind::Verdict | Kind::BlackHole | Kind::Lab => Some(100),
        Kind::Brownout => {
            let hint = "say how many of a hundred requests: `percent: 30`";
            let percent = fault.required_value("percent", hint, issues, read::integer(1..=100));
            percent.map(|percent| percent.value)
        }
        _ => Some(fault.value("percent", issues, read::integer(1..=100)).map_or(100, |it| it.value)),
    };
    let marked_only = matches!(kind, Kind::Abort | Kind::Delay | Kind::Brownout)
        && fault.value("markedOnly", issues, read::boolean).is_some_and(|it| it.value);
    Some(AgentFault { kind: done?, percent: percent?, marked_only })
}

fn address(node: &Node) -> Result<SocketAddr, Wrong> {
    read::text(node)?
        .parse()
        .map_err(|_| Wrong::new("an address and a port", "write for example 192.0.2.1:9"))
}
