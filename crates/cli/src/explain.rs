//! `tidegate explain` and `tidegate failback`.

use crate::{admin, table};
use anyhow::Result;
use clap::Parser;
use std::{process::ExitCode, time::Duration};
use tidegate_agent::view::Explanation;
use tidegate_engine::Target;
use tidegate_model::ServiceName;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The service.
    #[arg(value_name = "NAMESPACE/NAME")]
    service: ServiceName,
    #[command(flatten)]
    options: admin::Options,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let path = format!("/api/v1/explain/{}", args.service);
    let explanation: Explanation = args.options.door.get(&path).await?;
    match args.options.output {
        admin::Output::Json => say!("{}", serde_json::to_string_pretty(&explanation)?),
        admin::Output::Table => print(&explanation),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(explanation: &Explanation) {
    say!(
        "{}, as cluster {} sees it\n\n{}",
        explanation.service,
        explanation.cluster,
        table::pools(&explanation.pools)
    );
    for demand in &explanation.demand {
        let age = Duration::from_millis(demand.age_ms).as_secs_f64();
        let missing = if demand.missing { "; the peak of its last hour stands for it" } else { "" };
        say!("\nasked for in {}: {}, measured {age:.1} s ago{missing}", demand.zone, demand.load);
    }
    for plan in &explanation.plans {
        say!(
            "\nfrom {}: {}",
            plan.source,
            if plan.shares.is_empty() { "nowhere".into() } else { table::shares(&plan.shares) }
        );
        for reason in &plan.reasons {
            say!("  - {reason}");
        }
        for (position, standby) in plan.standby.iter().enumerate() {
            say!("  standby {}: {}", position + 1, table::shares(standby));
        }
    }
    say!("\npolicy in force");
    for rule in &explanation.rules {
        say!("  {rule}");
    }
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
