//! `tidegate explain` and `tidegate failback`.

use crate::{
    admin, get,
    screen::{Screen, wrapped},
    table,
    view::{Options, Shown, show},
};
use anyhow::{Result, bail};
use clap::Parser;
use std::{fmt::Write as _, process::ExitCode, time::Duration};
use tidegate_agent::view::Explanation;
use tidegate_engine::Target;
use tidegate_hub::view::KnowledgeView;
use tidegate_model::ServiceName;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The service.
    #[arg(value_name = "NAMESPACE/NAME")]
    service: ServiceName,
    #[command(flatten)]
    options: Options,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let Options { whom, form } = &args.options;
    show(*form, async |screen| match whom.hub() {
        Some(hub) => in_fleet(get::all(&hub).await?, &args.service, screen),
        None => {
            let found: Explanation = whom.agent().get(&format!("/api/v1/explain/{}", args.service)).await?;
            Shown::new(&found, text(&found, form.watch, screen))
        }
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($part:tt)*) => {{ let _ = writeln!($text, $($part)*); }};
}

fn text(explanation: &Explanation, watched: bool, screen: Screen) -> String {
    let width = screen.width().unwrap_or(usize::MAX);
    let (service, cluster) = (&explanation.service, &explanation.cluster);
    let pools = table::shown(&table::pools(&explanation.pools), screen);
    let mut text = format!("{service}, as cluster {cluster} sees it\n\n{pools}\n");
    for demand in &explanation.demand {
        let missing = if demand.missing { "; the peak of its last hour stands for it" } else { "" };
        let age = Duration::from_millis(demand.age_ms).as_secs_f64();
        // Who watches wants to see what changes, and this always does.
        let age = if watched { String::new() } else { format!(", measured {age:.1} s ago") };
        line!(text, "\nasked for in {}: {}{age}{missing}", demand.zone, demand.load);
    }
    for plan in &explanation.plans {
        let goes = if plan.shares.is_empty() { "nowhere".into() } else { table::shares(&plan.shares) };
        line!(text, "\nfrom {}: {goes}", plan.source);
        for reason in &plan.reasons {
            line!(text, "{}", wrapped(&format!("  - {reason}"), 4, width));
        }
        for (position, standby) in plan.standby.iter().enumerate() {
            line!(text, "  standby {}: {}", position + 1, table::shares(standby));
        }
    }
    line!(text, "\npolicy in force");
    for rule in &explanation.rules {
        line!(text, "{}", wrapped(&format!("  {rule}"), 4, width));
    }
    text
}

/// What the hub knows of it: its pools everywhere, and the plans that send it elsewhere than to where it enters.
fn in_fleet(mut known: Vec<KnowledgeView>, service: &ServiceName, screen: Screen) -> Result<Shown> {
    let name = service.to_string();
    for it in &mut known {
        it.pools.retain(|pool| pool.service == name);
        it.plans.retain(|plan| plan.service == name);
        it.decisions.retain(|decision| decision.service.as_ref() == Some(&name));
        it.gateways.clear();
    }
    let has = |it: &KnowledgeView| !it.pools.is_empty() || !it.plans.is_empty();
    if !known.iter().any(has) {
        bail!(
            "no cluster told the hub of a service {name}\n  hint: tidegate get services --hub ADDR names those that are known"
        );
    }
    let width = screen.width().unwrap_or(usize::MAX);
    let mut text = get::stale(&known);
    line!(text, "{name}, as the hub knows it");
    for it in known.iter().filter(|it| has(it)) {
        line!(text, "\n{}", it.cluster.cluster);
        for pool in &it.pools {
            let phase = pool.phase.map_or_else(|| "?".to_owned(), |phase| phase.to_string());
            line!(text, "  zone {}: {} of {} healthy, {phase}", pool.zone, pool.healthy, pool.expected);
        }
        for plan in &it.plans {
            let part = |permille: u32| table::percent(f64::from(permille) / 1e3);
            let to = plan.shares.iter().map(|it| format!("{} {}", it.target, part(it.permille)));
            let to = to.collect::<Vec<_>>().join(", ");
            let shed = match plan.shed_permille {
                0 => String::new(),
                shed => format!(", {} is answered with 503", part(shed)),
            };
            line!(text, "  from {}: {to}{shed}", plan.zone);
            line!(text, "{}", wrapped(&format!("    - {}", plan.why), 6, width));
        }
        if it.plans.is_empty() {
            line!(text, "  all that enters there is served where it enters");
        }
    }
    known.retain(has);
    Shown::new(
        &known,
        text + "\nall of it: tidegate explain NAMESPACE/NAME --admin ADDR, at the agent of a cluster\n",
    )
}

#[derive(Debug, Parser)]
pub(crate) struct FailbackArgs {
    /// The service.
    #[arg(value_name = "NAMESPACE/NAME")]
    service: ServiceName,
    /// Where traffic may go back to: `"zone NAME"` of the agent's own cluster, or `"cluster NAME"`.
    #[arg(long, value_name = "TARGET")]
    to: Target,
    #[command(flatten)]
    door: admin::AgentDoor,
}

pub(crate) async fn failback(args: &FailbackArgs) -> Result<ExitCode> {
    let target = args.to.to_string().replace(' ', "%20");
    args.door.post(&format!("/api/v1/release?service={}&target={target}", args.service)).await?;
    say!(
        "{} may have its traffic for {} back; its ramp begins as soon as its health allows",
        args.to,
        args.service
    );
    Ok(ExitCode::SUCCESS)
}
