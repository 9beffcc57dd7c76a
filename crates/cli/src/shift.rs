//! `tidegate shift`: move traffic away from a place, see what is moved, extend it, end it.
//!
//! Before traffic is moved the agent says what that would do, by the same planner that will do it, and whoever is at the terminal
//! is asked. The hub is told like an agent; what it would do it asks of the agents of all clusters.

mod fleet;
mod preview;

use crate::{
    admin::{self, Output, Refused},
    screen::Screen,
    table,
    view::{Form, Options, Shown, Whom, show},
};
use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};
use tidegate_agent::{ShiftPreview, ShiftView};
use tidegate_model::{ClusterName, Region, ServiceName, Zone};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move traffic away from a zone, a cluster or a region. Says first what that would do, and asks.
    Away(Box<Away>),
    /// Show the shifts in force.
    List(List),
    /// Let a shift last longer.
    Extend(Extend),
    /// End a shift: traffic comes back by the ramp of each service's policy.
    End(End),
}

#[derive(Debug, Parser)]
#[command(group(clap::ArgGroup::new("place").args(["zone", "cluster", "region"]).required(true).multiple(true)))]
pub(crate) struct Away {
    /// The zone; of the agent's own region unless --region names another. The hub knows its region if only one has such a zone.
    #[arg(long, value_name = "NAME", conflicts_with = "cluster")]
    zone: Option<Zone>,
    /// The cluster.
    #[arg(long, value_name = "NAME", conflicts_with = "region")]
    cluster: Option<ClusterName>,
    /// The region.
    #[arg(long, value_name = "NAME")]
    region: Option<Region>,
    /// Only this service.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service: Option<ServiceName>,
    /// How long, as 30m or 1h30m; at most 72h.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: String,
    /// How much of the traffic.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    percent: u32,
    /// Why, for whoever finds the traffic gone.
    #[arg(long, value_name = "TEXT")]
    comment: String,
    /// Move it even from the last healthy place of a service.
    #[arg(long)]
    force: bool,
    /// Do not ask. It still says what that does.
    #[arg(short, long)]
    yes: bool,
    /// Only say what that would do.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    told: Told,
}

/// Who is told of it, and how what came of it is printed.
#[derive(Debug, Parser)]
struct Told {
    #[command(flatten)]
    whom: Whom,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Parser)]
pub(crate) struct List {
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Parser)]
pub(crate) struct Extend {
    /// Its name, as `tidegate shift list` shows it.
    name: String,
    /// How long it is to last from now on, as 30m; at most 72h.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: String,
    #[command(flatten)]
    told: Told,
}

#[derive(Debug, Parser)]
pub(crate) struct End {
    /// Its name, as `tidegate shift list` shows it.
    name: String,
    #[command(flatten)]
    told: Told,
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Away(args) => away(args).await?,
        Command::List(args) => list(&args.options.whom, args.options.form).await?,
        Command::Extend(args) => extend(args).await?,
        Command::End(args) => end(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn left(view: &ShiftView) -> String {
    tidegate_api::duration_text(Duration::from_secs(view.remaining_ms.div_ceil(1000)))
}

impl Away {
    fn query(&self) -> String {
        let mut fields = vec![
            ("for", self.lasts.clone()),
            ("percent", self.percent.to_string()),
            ("comment", self.comment.clone()),
            ("force", self.force.to_string()),
        ];
        fields.extend(self.zone.iter().map(|it| ("zone", it.to_string())));
        fields.extend(self.cluster.iter().map(|it| ("cluster", it.to_string())));
        fields.extend(self.region.iter().map(|it| ("region", it.to_string())));
        fields.extend(self.service.iter().map(|it| ("service", it.to_string())));
        let field = |(name, value): &(&str, String)| format!("{name}={}", admin::encoded(value));
        fields.iter().map(field).collect::<Vec<_>>().join("&")
    }
}

impl Told {
    /// The answer for programs, or what people are told of it.
    fn say<T: Serialize>(&self, answer: &T, said: impl FnOnce() -> String) -> Result<()> {
        match self.output.document(answer)? {
            Some(document) => say!("{}", document.trim_end()),
            None => say!("{}", said()),
        }
        Ok(())
    }

    /// What it would do: for programs, and for people.
    async fn preview(&self, query: &str) -> Result<(serde_json::Value, String)> {
        let (path, screen) = (format!("/api/v1/shift-preview?{query}"), Screen::stdout());
        let Some(hub) = self.whom.hub() else {
            let preview: ShiftPreview = self.whom.agent().get(&path).await?;
            return Ok((serde_json::to_value(&preview)?, preview::text(&preview, screen)));
        };
        let answers: fleet::Answers = hub.get(&path).await?;
        let (document, missing) = (serde_json::to_value(&answers)?, answers.missing.clone());
        let mut text = preview::text(&answers.together()?, screen);
        text.extend(missing.iter().map(|(cluster, why)| format!("not asked: {cluster}: {why}\n")));
        Ok((document, text))
    }

    fn end_of(&self, name: &str) -> String {
        let hub = self.whom.hub().map(|hub| format!(" --hub {}", hub.address())).unwrap_or_default();
        format!("tidegate shift end {name}{hub}")
    }
}

async fn away(args: &Away) -> Result<()> {
    let (query, told) = (args.query(), &args.told);
    match told.preview(&query).await {
        Ok((document, _)) if args.dry_run && told.output != Output::Table => {
            return told.say(&document, String::new);
        }
        Ok((_, text)) if told.output == Output::Table => say!("{}", Screen::stdout().painted(&text)),
        // What came of it is the only document; people read this.
        Ok((_, text)) => eprintln!("{text}"),
        // Who cannot wait is not kept from it by an agent that cannot foresee; one that refuses would do so again.
        Err(error) if args.yes && error.downcast_ref::<Refused>().is_none_or(|it| !it.is_final) => {
            eprintln!("what this does could not be foreseen: {}", crate::told(&error));
        }
        Err(error) => return Err(error),
    }
    if args.dry_run {
        say!("nothing was moved: this was --dry-run");
        return Ok(());
    }
    if !args.yes && !is_wanted()? {
        bail!("nothing was moved");
    }
    let view: ShiftView = told.whom.door().ask(&format!("/api/v1/shifts?{query}")).await?;
    told.say(&view, || {
        let moved = format!(
            "{} % of the traffic leaves {} for {}; end it with: {}",
            view.percent,
            view.away_from,
            left(&view),
            told.end_of(&view.name)
        );
        [moved].into_iter().chain(refused(&view)).collect::<Vec<_>>().join("\n")
    })
}

async fn extend(args: &Extend) -> Result<()> {
    let (name, lasts) = (admin::encoded(&args.name), admin::encoded(&args.lasts));
    let door = args.told.whom.door();
    let view: ShiftView = door.ask(&format!("/api/v1/shifts/{name}/extend?for={lasts}")).await?;
    args.told.say(&view, || {
        format!(
            "{} lasts {} from now on; end it with: {}",
            view.name,
            left(&view),
            args.told.end_of(&view.name)
        )
    })
}

async fn end(args: &End) -> Result<()> {
    let name = &args.name;
    args.told.whom.door().delete(&format!("/api/v1/shifts/{}", admin::encoded(name))).await?;
    let ended = serde_json::json!({ "name": name, "ended": true });
    args.told.say(&ended, || format!("{name} has ended; the traffic comes back by the ramp"))
}

fn is_wanted() -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!(
            "nothing was moved: there is no terminal to ask at\n  hint: --yes does it without asking, --dry-run only says what it would do"
        );
    }
    let mut err = io::stderr().lock();
    write!(err, "Move the traffic? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The shifts in force; `tidegate get shifts` is the same.
pub(crate) async fn list(whom: &Whom, form: Form) -> Result<()> {
    show(form, async |screen| {
        let views: Vec<ShiftView> = match whom.hub() {
            Some(hub) => hub.get("/api/v1/shifts").await?,
            None => whom.agent().get("/api/v1/shifts").await?,
        };
        Shown::new(&views, text(&views, screen))
    })
    .await
}

fn text(views: &[ShiftView], screen: Screen) -> String {
    if views.is_empty() {
        return "no shift is in force".to_owned();
    }
    let mut shifts = table::new(&["NAME", "AWAY FROM", "PERCENT", "REMAINING", "BY", "COMMENT"]);
    for view in views {
        let forced = if view.force { " (force)" } else { "" };
        shifts.add_row([
            view.name.clone(),
            view.away_from.clone(),
            format!("{} %{forced}", view.percent),
            left(view),
            view.by.clone(),
            view.comment.clone(),
        ]);
    }
    let lines = [table::shown(&shifts, screen)].into_iter().chain(views.iter().filter_map(refused));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whom a shift does not move, if there is anybody.
pub(crate) fn refused(view: &ShiftView) -> Option<String> {
    const NAMED: usize = 10;
    let count = view.refused.len();
    let named: Vec<String> = view.refused.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
    (count > 0).then(|| {
        format!(
            "{} is refused for {}{more}: last healthy place; use --force to move them all the same. Each moves \
             once it has another healthy place.",
            view.name,
            named.join(", ")
        )
    })
}
