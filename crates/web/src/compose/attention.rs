//! What an operator should look at, in sentences, the worst first.

use crate::model::{Attention, ClusterFacts, ClusterState, Fleet, ServiceRow, Severity, Standing};

/// So many of one kind are named one by one.
const NAMED: usize = 8;

pub(super) fn list(fleet: &Fleet) -> Vec<Attention> {
    let mut list = Vec::new();
    services(fleet, &mut list);
    for facts in fleet.regions.iter().flat_map(|region| &region.clusters) {
        cluster(facts, &mut list);
    }
    policy(fleet, &mut list);
    notices(fleet, &mut list);
    list.sort_by_key(|it| it.severity);
    list
}

fn say(severity: Severity, text: String, link: &str) -> Attention {
    Attention { severity, text, link: link.to_owned(), since_ms: None }
}

fn percent(permille: u32) -> String {
    if permille.is_multiple_of(10) {
        format!("{} %", permille / 10)
    } else {
        format!("{}.{} %", permille / 10, permille % 10)
    }
}

fn services(fleet: &Fleet, list: &mut Vec<Attention>) {
    let link = |row: &ServiceRow| format!("/services/{}", row.name);
    let of = |row: &ServiceRow, severity, text| Attention {
        severity,
        text,
        link: link(row),
        since_ms: row.changed_at_ms,
    };
    let why = |row: &ServiceRow| row.why.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    let bad = || fleet.services.iter().filter(|it| it.standing == Standing::Out);
    for row in bad().take(NAMED) {
        let text = match row.shed_permille {
            0 => format!("{}: none of its places serves{}", row.name, why(row)),
            shed => {
                format!("{}: {} of what enters is answered with 503{}", row.name, percent(shed), why(row))
            }
        };
        list.push(of(row, Severity::Critical, text));
    }
    more(bad().count(), "are not served, or not wholly", Severity::Critical, list);
    let away = || {
        let mut away: Vec<&ServiceRow> =
            fleet.services.iter().filter(|it| it.standing != Standing::Out && it.away_permille > 0).collect();
        away.sort_by_key(|it| std::cmp::Reverse(it.away_permille));
        away
    };
    for row in away().into_iter().take(NAMED) {
        let text = format!("{}: {} is served elsewhere{}", row.name, percent(row.away_permille), why(row));
        list.push(of(row, Severity::Warning, text));
    }
    more(away().len(), "are served elsewhere", Severity::Warning, list);
    let alone = fleet.services.iter().filter(|it| it.cannot_fail_over == Some(true)).count();
    if alone > 0 {
        let text = format!("{} cannot fail over: nothing else could take what they get", counted(alone));
        list.push(say(Severity::Notice, text, "/foresight"));
    }
}

fn counted(services: usize) -> String {
    if services == 1 { "1 service".to_owned() } else { format!("{services} services") }
}

fn more(all: usize, what: &str, severity: Severity, list: &mut Vec<Attention>) {
    if all > NAMED {
        list.push(say(severity, format!("{} more {what}", counted(all - NAMED)), "/services"));
    }
}

fn cluster(facts: &ClusterFacts, list: &mut Vec<Attention>) {
    let name = &facts.name;
    let state = match facts.state {
        ClusterState::Lost => Some("is not heard any more; what is shown of it is the last that is known"),
        ClusterState::Suspect => Some("has been silent for a moment"),
        ClusterState::Unheard => Some("was not heard yet"),
        ClusterState::Live | ClusterState::Revoked => None,
    };
    if let Some(state) = state {
        let text = format!("cluster {name} {state}");
        list.push(Attention { since_ms: facts.heard_at_ms, ..say(Severity::Warning, text, "/") });
    }
    for zone in facts.zones.iter().filter(|it| it.standing == Standing::Out) {
        let text = format!("zone {} of {name}: none of its {} pools serves", zone.name, zone.pools);
        list.push(say(Severity::Critical, text, "/"));
    }
    if facts.state == ClusterState::Live {
        for peer in facts.peers.iter().filter(|it| matches!(it.state.as_str(), "Unreachable" | "AgentDown")) {
            let text = match peer.state.as_str() {
                "AgentDown" => format!("{name} hears the gateways of {}, but not its agent", peer.cluster),
                _ => format!("{name} does not reach {}", peer.cluster),
            };
            list.push(say(Severity::Warning, text, "/"));
        }
    }
    if let Some(why) = &facts.held_back {
        list.push(say(Severity::Warning, format!("{name} is given no policy: {why}"), "/rollout"));
    }
    for gateway in facts.gateways.iter().filter(|it| !it.refused.is_empty()).take(NAMED) {
        let text = format!("{} in {name} refused: {}", gateway.node, gateway.refused[0]);
        list.push(say(Severity::Warning, text, "/rollout"));
    }
    for (object, reason) in facts.rejected.iter().take(NAMED) {
        list.push(say(Severity::Warning, format!("{name} did not take {object}: {reason}"), "/rollout"));
    }
}

fn policy(fleet: &Fleet, list: &mut Vec<Attention>) {
    let policy = &fleet.policy;
    if policy.phase.as_deref() == Some("Halted") {
        let why = policy.why.as_deref().unwrap_or("nobody said why");
        let text = format!("the rollout of policy {} has halted: {why}", policy.sequence);
        list.push(say(Severity::Warning, text, "/rollout"));
    }
    if policy.phase.as_deref() == Some("Rolling") {
        list.push(say(Severity::Notice, format!("policy {} is on its way", policy.sequence), "/rollout"));
    }
    for problem in policy.problems.iter().take(NAMED) {
        list.push(say(Severity::Warning, format!("the policy's source: {problem}"), "/rollout"));
    }
}

fn notices(fleet: &Fleet, list: &mut Vec<Attention>) {
    for shift in fleet.shifts.iter().take(NAMED) {
        let text = format!("{} % is moved away from {}: {}", shift.percent, shift.away_from, shift.comment);
        list.push(say(Severity::Notice, text, "/shifts"));
    }
    for drill in &fleet.drills {
        let text = format!("the drill {} runs ({})", drill.drill, drill.phase);
        list.push(Attention {
            since_ms: Some(drill.started_at_ms),
            ..say(Severity::Notice, text, "/drills")
        });
    }
}
