//! `tidegate rollout`: how far policy is.

use crate::{
    admin::{HubDoor, encoded},
    cluster::{Options, age},
    table,
};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tidegate_hub::view::{
    DoneView, HistoryView, ObjectInCluster, ObjectState, PhaseView, RolloutView, WavesView,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show for each object which clusters and gateways have applied it, and how old that knowledge is.
    Status(Status),
    /// Go on: with a rollout that halted, as the clusters are now; with what was rolled back, as the source says; or with the hub's
    /// policy, although agents hold one that the hub does not know because an older state was restored.
    Resume(Asked),
    /// Hand a former policy out again, to all clusters at once. What it undoes stays undone until the source says something else
    /// of it, or `resume`.
    Rollback(Rollback),
    /// List the policies that can be gone back to, the newest first.
    History(Options),
}

#[derive(Debug, Parser)]
pub(crate) struct Status {
    /// Only objects whose name contains this, as `shop/` or `FailoverPolicy shop/web`.
    #[arg(long, value_name = "TEXT")]
    object: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Parser)]
pub(crate) struct Asked {
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct Rollback {
    /// The sequence of the policy, or its version (six characters of it or more); without, the policy before the newest.
    #[arg(long, value_name = "SEQUENCE|VERSION")]
    to: Option<String>,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Status(options) => status(options).await?,
        Command::Resume(args) => done(args, "/api/v1/rollout/resume").await?,
        Command::Rollback(args) => {
            let to = args.to.as_deref().map(|to| format!("?to={}", encoded(to)));
            done(&args.asked, &format!("/api/v1/rollout/rollback{}", to.unwrap_or_default())).await?;
        }
        Command::History(options) => history(options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn done(asked: &Asked, path: &str) -> Result<()> {
    let answer: DoneView = asked.door.ask(path).await?;
    say!("{}", answer.done);
    Ok(())
}

async fn history(options: &Options) -> Result<()> {
    let history: Vec<HistoryView> = options.door.get("/api/v1/rollout/history").await?;
    if let Some(text) = options.output.document(&history)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    let mut table = table::new(&["SEQUENCE", "VERSION", "OBJECTS", "CHANGED"]);
    for it in &history {
        table.add_row([
            it.sequence.to_string(),
            it.version.clone(),
            it.objects.to_string(),
            it.changed.to_string(),
        ]);
    }
    say!("{table}");
    Ok(())
}

/// How the rollout goes on.
fn waves(view: &WavesView) {
    let names = |clusters: &[tidegate_model::ClusterName]| {
        clusters.iter().map(tidegate_model::ClusterName::as_str).collect::<Vec<_>>().join(", ")
    };
    match (view.phase, &view.why) {
        (PhaseView::Halted, Some(why)) => {
            say!("the rollout has halted: {why}");
            say!(
                "  hint: mend the policy at its source, or: tidegate rollout rollback; to go on as it is: tidegate rollout resume"
            );
        }
        (PhaseView::Rolling, _) if !view.waits_for.is_empty() => {
            say!("the rollout waits for {}", names(&view.waits_for));
        }
        (PhaseView::Rolling, _) => say!("the rollout goes on in {}", age(view.bakes_ms)),
        _ => say!("all clusters are handed it"),
    }
    // One wave is no news.
    for it in view.waves.iter().filter(|_| view.waves.len() > 1) {
        let held = if it.open { "is handed it".to_owned() } else { format!("keeps policy {}", view.base) };
        say!("wave {} {held}: {}", it.wave, names(&it.clusters));
    }
    if !view.left_out.is_empty() {
        say!("not waited for: {}", names(&view.left_out));
    }
    if !view.rolled_back.is_empty() {
        say!("rolled back, against the source: {}", view.rolled_back.join(", "));
    }
}

/// All of it: the hub answers with some hundred objects at a time.
async fn whole(status: &Status) -> Result<RolloutView> {
    let mut objects = Vec::new();
    let text = encoded(status.object.as_deref().unwrap_or_default());
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/rollout?object={text}&after={}", encoded(&after));
        let mut page: RolloutView = status.options.door.get(&path).await?;
        objects.append(&mut page.objects);
        match page.next.take() {
            // Names go up, so this ends.
            Some(next) if next > after => after = next,
            _ => return Ok(RolloutView { objects, ..page }),
        }
    }
}

async fn status(status: &Status) -> Result<()> {
    let (options, rollout) = (&status.options, whole(status).await?);
    if let Some(text) = options.output.document(&rollout)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    match rollout.sequence {
        0 => say!("no policy yet"),
        sequence => say!("policy {sequence}, version {}", rollout.version),
    }
    if let Some(rollout) = &rollout.rollout {
        waves(rollout);
    }
    let mut table = table::new(&["OBJECT", "WRITTEN AT", "SINCE", "CLUSTER", "STATE", "GATEWAYS", "AGE"]);
    let mut reasons = Vec::new();
    for object in &rollout.objects {
        for it in &object.clusters {
            if let ObjectState::Rejected(why) = &it.state {
                reasons.push(format!("{}: {why}", it.cluster));
            }
            table.add_row([
                object.object.clone(),
                object.place.clone(),
                object.since.to_string(),
                it.cluster.to_string(),
                word(&it.state).to_owned(),
                gateways(it),
                age(it.age_ms),
            ]);
        }
    }
    say!("{table}");
    for reason in reasons {
        say!("{reason}");
    }
    for problem in &rollout.problems {
        say!("{problem}");
    }
    Ok(())
}

const fn word(state: &ObjectState) -> &'static str {
    match state {
        ObjectState::Applied => "applied",
        ObjectState::Rejected(_) => "rejected",
        ObjectState::Pending => "pending",
        ObjectState::Unknown => "unknown",
    }
}

fn gateways(it: &ObjectInCluster) -> String {
    format!("{}/{}", it.gateways_applied, it.gateways)
}
