//! `tidegate drill run --hub` of a drill that the hub runs, and `tidegate drill stop`.

use crate::{
    admin::{HubDoor, Token, encoded},
    drill_hub,
    drill_report::Shown,
    drill_signed::Checked,
    stop,
};
use anyhow::{Context as _, Result, bail};
use clap::Parser;
use std::{net::SocketAddr, time::Duration};
use tidegate_drill::run::{Progress, line, mend};
use tidegate_hub::view::{DoneView, DrillProgressView};

/// A hub that does not answer so often in a row is given up.
const TRIES: u32 = 10;
/// Between two questions to a hub that does not answer.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
pub(crate) struct StopArgs {
    /// The drill's id
    id: String,
    /// The admin address of a hub: it ends the fault at all agents; elsewhere its --admin-tls
    #[arg(long, value_name = "ADDR", required_unless_present = "agents")]
    hub: Option<SocketAddr>,
    /// The admin address of an agent that carries it out; once for each agent, where there is no hub
    #[arg(long = "agent", value_name = "ADDR", conflicts_with = "hub")]
    agents: Vec<SocketAddr>,
    #[command(flatten)]
    token: Token,
}

pub(crate) async fn stop(args: &StopArgs) -> Result<()> {
    if let Some(hub) = args.hub {
        let door = HubDoor::at(hub, args.token.clone());
        let view: DoneView = door.delete(&format!("/api/v1/drills/{}", encoded(&args.id))).await?;
        say!("{}", view.done);
        return Ok(());
    }
    let (mut any, mut failed) = (false, Vec::new());
    for agent in &args.agents {
        match mend(&*line::admin(*agent), &args.id, "by tidegate drill stop").await {
            Ok(true) => {
                any = true;
                say!("the fault of {} is ended at {agent}", args.id);
            }
            Ok(false) => say!("{agent} carries out nothing of {}", args.id),
            Err(why) => failed.push(why),
        }
    }
    match (failed.is_empty(), any) {
        (false, _) => bail!("{}\n  hint: what is left ends by itself, at its expiry", failed.join("\n")),
        (true, false) => bail!("no agent that was asked carries out the drill {}", args.id),
        (true, true) => Ok(()),
    }
}

/// Lets the hub run a drill, shows how it goes, and gives its report. A signal stops the drill; the next one leaves it to the hub.
pub(crate) async fn run(door: &HubDoor, text: String) -> Result<Checked> {
    let begun = door.send_text("/api/v1/drills", text).await?;
    let mut view: DrillProgressView =
        serde_json::from_str(&begun).context("the hub's answer is not what this version expects")?;
    let (id, mut shown, mut signals) = (view.id.clone(), Shown::new(), stop::words());
    eprintln!("the hub runs the drill {id}; tidegate drill stop {id} --hub ADDR ends it");
    let (mut asked_to_stop, mut missed) = (false, 0);
    let path = format!("/api/v1/drills/{}", encoded(&id));
    while !view.done {
        let news = format!("{path}?after={}", view.number);
        let next = tokio::select! {
            next = door.get::<DrillProgressView>(&news) => next,
            Some(signal) = signals.recv() => {
                if asked_to_stop {
                    bail!("{signal}: the drill {id} goes on at the hub\n  hint: tidegate drill stop {id} --hub ADDR");
                }
                asked_to_stop = true;
                door.delete::<DoneView>(&path).await?;
                continue;
            }
        };
        match next {
            Ok(next) => {
                shown.progress(&progress(&view, &next));
                (view, missed) = (next, 0);
            }
            Err(error) if missed + 1 >= TRIES => {
                return Err(error.context(format!(
                    "the hub gives no more word of the drill {id}; agents end its fault by its expiry"
                )));
            }
            Err(_) => {
                missed += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if let Some(problem) = view.problem {
        bail!("the report of the drill {id} is not kept: {problem}");
    }
    let checked = drill_hub::kept(door, &id).await?;
    shown.end(&checked.report);
    Ok(checked)
}

/// What came since the last look, as a drill that runs here tells it.
fn progress(before: &DrillProgressView, now: &DrillProgressView) -> Progress {
    Progress {
        phase: now.phase.unwrap_or(tidegate_drill::course::Phase::Checking),
        elapsed: Duration::from_millis(now.elapsed_ms),
        left: now.left_ms.map(Duration::from_millis),
        ended: now.ended.saturating_sub(before.ended),
        failed: now.failed.saturating_sub(before.failed),
        failed_so_far: now.failed,
        mend_error: now.mend_error.clone(),
    }
}
