//! `tidegate get services`.

use super::{fleet, is_of, phase};
use crate::{
    screen::Screen,
    table,
    view::{Options, Shown, show},
};
use anyhow::{Result, bail};
use clap::Parser;
use tidegate_agent::view::{ServiceView, ServicesView};
use tidegate_model::{Phase, Share};

/// So many losses are named in a row; `-o json` has all.
const NAMED: usize = 2;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Only those of this namespace.
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// Only those with a pool in this phase; may be given several times.
    #[arg(long, value_name = "PHASE", value_parser = phase)]
    pub(super) phase: Vec<Phase>,
    /// Only those of which a part is not served where it would be with everything healthy.
    #[arg(long)]
    pub(super) away: bool,
    /// Only those that some single loss of a zone, cluster or region would leave without anything healthy, or overload.
    #[arg(long)]
    at_risk: bool,
    /// Only those that some single loss would leave without anything healthy.
    #[arg(long)]
    cannot_fail_over: bool,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(args: &Args) -> Result<()> {
    if args.options.whom.hub().is_some() && (args.at_risk || args.cannot_fail_over) {
        bail!(
            "the hub does not foresee losses\n  hint: ask the agents: tidegate get services --at-risk --admin ADDR; each answers for the callers of its cluster"
        );
    }
    show(args.options.form, async |screen| match args.options.whom.hub() {
        Some(hub) => fleet::services(&fleet::all(&hub).await?, args, screen),
        None => found(args.options.whom.agent().get("/api/v1/services").await?, args, screen),
    })
    .await
}

impl Args {
    fn takes(&self, it: &ServiceView) -> bool {
        is_of(&it.service.to_string(), self.namespace.as_deref())
            && (self.phase.is_empty() || self.phase.iter().any(|phase| it.phases.contains(phase)))
            && (!self.away || is_away(it))
            && (!self.at_risk || !it.stranded_by.is_empty() || !it.overloaded_by.is_empty())
            && (!self.cannot_fail_over || !it.stranded_by.is_empty())
    }
}

fn is_away(it: &ServiceView) -> bool {
    !it.away.is_none() || !it.shed.is_none() || it.last_resort
}

fn found(view: ServicesView, args: &Args, screen: Screen) -> Result<Shown> {
    if view.foreseen_ms.is_none() && (args.away || args.at_risk || args.cannot_fail_over) {
        bail!(
            "the agent does not know yet where traffic is at home\n  hint: ask again in some seconds; tidegate status says what it waits for"
        );
    }
    let of = view.services.len();
    let services: Vec<ServiceView> = view.services.into_iter().filter(|it| args.takes(it)).collect();
    let mut table = table::new(&["SERVICE", "HEALTHY", "PHASES", "AWAY", "GOES TO", "WOULD NOT SURVIVE"]);
    for it in &services {
        table.add_row([
            it.service.to_string(),
            format!("{}/{}", it.healthy, it.expected),
            phases(it),
            away(it),
            goes(it),
            risks(it),
        ]);
    }
    let count = format!("{} of {of} services", services.len());
    let text = match services.len() {
        0 => count,
        _ => format!("{}\n\n{count}, as cluster {} sees them", table::shown(&table, screen), view.cluster),
    };
    Shown::new(&services, text)
}

fn phases(it: &ServiceView) -> String {
    let mut words: Vec<String> = it.phases.iter().map(ToString::to_string).collect();
    if it.unreachable {
        words.push("unreachable".to_owned());
    }
    words.join(" ")
}

fn away(it: &ServiceView) -> String {
    let mut text = if it.away.is_none() { "-".to_owned() } else { it.away.to_string() };
    if it.shed > Share::NONE {
        text.push_str(&format!(", {} shed", it.shed));
    }
    if it.last_resort {
        text.push_str(", STRANDED");
    }
    text
}

/// Who serves, a source a line; sources that go the same way once.
fn goes(it: &ServiceView) -> String {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for (source, shares) in &it.goes {
        let to = if shares.is_empty() { "nowhere".to_owned() } else { table::shares(shares) };
        match lines.iter_mut().find(|(known, _)| *known == to) {
            Some((_, sources)) => sources.push(source),
            None => lines.push((to, vec![source])),
        }
    }
    lines.into_iter().map(|(to, from)| format!("{}: {to}", from.join(" "))).collect::<Vec<_>>().join("\n")
}

fn risks(it: &ServiceView) -> String {
    let (word, losses) = match (it.stranded_by.is_empty(), it.overloaded_by.is_empty()) {
        (false, _) => ("", &it.stranded_by),
        (true, false) => ("overloaded by ", &it.overloaded_by),
        (true, true) => return "-".to_owned(),
    };
    let more = match losses.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<&str> = losses.iter().take(NAMED).map(String::as_str).collect();
    format!("{word}{}{more}", named.join(", "))
}
