//! What agents told, as the sections of a page and the lines of a table.

use super::{Report, duration, escaped, maybe, percent, shares_chart, utilisation_chart, waterfall_chart};
use crate::timeline::{AgentPart, AgentsPart, InForce};
use std::{collections::BTreeMap, fmt::Write as _};

/// Gateways of an agent that are named.
const MAX_GATEWAYS: usize = 20;

/// What agents told, line by line, as all reports that people read have it.
pub(super) fn lines(agents: &AgentsPart) -> Vec<(&'static str, String)> {
    let seen = |ms: Option<f64>| ms.map_or_else(|| "not seen".to_owned(), duration);
    let give = |ms: Option<f64>| ms.map(|ms| format!(" (± {})", duration(ms))).unwrap_or_default();
    let earlier =
        agents.drain_uncertainty_ms.map(|ms| format!(" (up to {} less)", duration(ms))).unwrap_or_default();
    vec![
        ("detect", format!("{}{}", seen(agents.detect_ms), give(agents.uncertainty_ms))),
        ("decide, from there", seen(agents.decide_ms)),
        ("push, until the first gateway had it", seen(agents.push_first_ms)),
        ("push, from there until the last", seen(agents.push_last_ms)),
        ("drain, until the last request left", format!("{}{earlier}", seen(agents.drain_ms))),
        ("first failback, after mending", maybe(agents.first_failback_ms)),
        ("stable failback, after mending", maybe(agents.stable_failback_ms)),
        ("moves", agents.moves.map_or_else(|| "not seen".to_owned(), |count| count.to_string())),
        (
            "utilisation of the busiest that stood in",
            agents.utilisation.map_or_else(|| "no capacity is declared".to_owned(), percent),
        ),
    ]
}

/// The sections of a page.
pub(super) fn sections(page: &mut String, report: &Report) {
    let Some(agents) = &report.agents else { return };
    page.push_str("<h2>How it recovered</h2>\n");
    for chart in
        [waterfall_chart(report), shares_chart(report), utilisation_chart(report)].into_iter().flatten()
    {
        let _ = writeln!(page, "<figure>{chart}</figure>");
    }
    page.push_str("<div class=\"two\">\n<section>\n<h3>All of it</h3>\n<table>\n");
    rows(page, lines(agents).into_iter().map(|(what, value)| (what.to_owned(), value)));
    page.push_str("</table>\n</section>\n");
    for agent in &agents.agents {
        let _ = writeln!(page, "<section>\n<h3>{}</h3>\n<table>", escaped(&agent.name()));
        rows(page, of_agent(agent).into_iter());
        page.push_str("</table>\n</section>\n");
    }
    page.push_str("</div>\n");
    in_force(page, agents);
    decisions(page, agents);
}

fn rows(page: &mut String, rows: impl Iterator<Item = (String, String)>) {
    for (what, value) in rows {
        let (what, value) = (escaped(&what), escaped(&value));
        let _ = writeln!(page, "<tr><td>{what}</td><td class=\"n\">{value}</td></tr>");
    }
}

fn of_agent(agent: &AgentPart) -> Vec<(String, String)> {
    if let Some(error) = &agent.error {
        return vec![("told nothing".to_owned(), error.clone())];
    }
    let seen = |ms: Option<f64>| ms.map_or_else(|| "not seen".to_owned(), duration);
    let mut rows = vec![
        ("detected, from the fault".to_owned(), seen(agent.detect_ms)),
        ("decided, from the fault".to_owned(), seen(agent.decide_ms)),
    ];
    for gateway in agent.gateways.iter().take(MAX_GATEWAYS) {
        rows.push((format!("gateway {} had it", gateway.gateway), duration(gateway.first_ms)));
    }
    if let Some(more) = agent.gateways.len().checked_sub(MAX_GATEWAYS).filter(|more| *more > 0) {
        rows.push((format!("and {more} more gateways"), seen(agent.push_last_ms)));
    }
    rows.extend(agent.missing.iter().map(|what| ("did not tell".to_owned(), what.clone())));
    rows.extend([
        ("last request to what was broken".to_owned(), seen(agent.drain_ms)),
        (
            "plans that changed, and after mending".to_owned(),
            format!("{}, {}", agent.moves, agent.moves_back),
        ),
        ("clock ahead by".to_owned(), signed(agent.clock_ahead_ms)),
        ("all this by its clock, ±".to_owned(), seen(agent.uncertainty_ms)),
    ]);
    rows
}

fn signed(ms: Option<f64>) -> String {
    ms.map_or_else(|| "not known".to_owned(), |ms| format!("{ms:.1} ms"))
}

fn in_force(page: &mut String, agents: &AgentsPart) {
    let known: Vec<(&AgentPart, &InForce)> =
        agents.agents.iter().filter_map(|agent| Some((agent, agent.in_force.as_ref()?))).collect();
    if known.is_empty() {
        return;
    }
    page.push_str("<h2>What was in force</h2>\n<table>\n");
    for (agent, it) in known {
        let policy = match it.policy {
            0 => format!("manifests of its own, loaded {} times", it.manifests_generation),
            number => {
                let version = it.policy_version.iter().map(|version| format!(", version {version}"));
                format!("policy {number} of the hub{}", version.collect::<String>())
            }
        };
        let mut envoys = BTreeMap::<&str, usize>::new();
        for version in it.gateways.values() {
            *envoys.entry(version).or_default() += 1;
        }
        let envoys: Vec<String> =
            envoys.into_iter().map(|(version, count)| format!("{count} × {version}")).collect();
        let envoys = if envoys.is_empty() { "none".to_owned() } else { envoys.join(", ") };
        let said = format!("Tidegate {}; {policy}; gateways connected: {envoys}", it.tidegate);
        let (name, said) = (escaped(&agent.name()), escaped(&said));
        let _ = writeln!(page, "<tr><td>{name}</td><td>{said}</td></tr>");
    }
    page.push_str("</table>\n");
}

fn decisions(page: &mut String, agents: &AgentsPart) {
    if agents.decisions.is_empty() {
        return;
    }
    page.push_str("<h2>What was decided, and why</h2>\n<p class=\"s\">Seconds since the load began, by the runner's clock.</p>\n<table class=\"log\">\n");
    for line in &agents.decisions {
        let of = agents.agents.iter().find(|agent| agent.agent == line.agent);
        let who =
            of.and_then(|it| it.in_force.as_ref()).map_or(line.agent.as_str(), |it| it.cluster.as_str());
        let (who, what) = (escaped(who), escaped(&line.what));
        let _ = writeln!(
            page,
            "<tr><td class=\"n\">{:.3}</td><td>{who}</td><td>{what}</td></tr>",
            line.at_ms / 1e3
        );
    }
    page.push_str("</table>\n");
    if agents.decisions_left_out > 0 {
        let _ = writeln!(page, "<p>And {} more.</p>", agents.decisions_left_out);
    }
}
