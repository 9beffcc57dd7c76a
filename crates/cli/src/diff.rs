//! `tidegate diff`: what a change of manifests changes, in plans and in what would be if a place were lost, and not only in YAML.
//!
//! Exit codes: 0 told, 1 with `--exit-code` something changes, 2 it cannot be told.

mod compare;
mod git;
mod objects;
mod outcome;
mod print;

use crate::{
    admin::{HubDoor, Token},
    manifests::{Fleet, Manifests, Placed},
};
use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use compare::{Compared, compare};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    str::FromStr,
};
use tidegate_api::{SourceFile, fleet_state};
use tidegate_engine::FleetState;
use tidegate_hub::view::PolicyView;
use tidegate_model::ServiceName;

#[derive(Debug, Parser)]
#[command(after_help = "\
Exit codes: 0 told; 1 with --exit-code, if anything changes; 2 it cannot be told.

Examples:
  tidegate diff fleet/ --against origin/main -o markdown
  tidegate diff fleet-new/ --against fleet-old/ --rps shop/web=400
  tidegate diff fleet/ --hub 127.0.0.1:18101")]
#[command(group(clap::ArgGroup::new("before").args(["against", "hub"]).required(true)))]
pub(crate) struct Args {
    /// Folders of manifests as they are to become, all read as one fleet, as for `tidegate whatif --manifests`.
    #[arg(value_name = "[CLUSTER=]DIR", required = true)]
    manifests: Vec<Manifests>,
    /// What they are compared with: a folder, or a revision of the repository that they lie in.
    #[arg(long, value_name = "DIR|REV")]
    against: Option<String>,
    /// Compare with the policy that the hub at this admin address has in force, instead of the policy in the folders.
    #[arg(long, value_name = "ADDR")]
    hub: Option<SocketAddr>,
    #[command(flatten)]
    token: Token,
    /// How much a service is asked for, in requests per second, from all its zones alike; without a name, every service. With
    /// it, declared capacity is planned with.
    #[arg(long, value_name = "[SERVICE=]RATE")]
    rps: Vec<Demand>,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
    /// End with 1 if anything changes.
    #[arg(long)]
    exit_code: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For a comment at a pull request.
    Markdown,
}

/// How much is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Demand {
    /// `None`: of every service.
    service: Option<ServiceName>,
    /// In thousandths of a request per second.
    rate: u64,
}

impl FromStr for Demand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, rate) = match text.split_once('=') {
            Some((service, rate)) => (Some(service.parse().map_err(|error| format!("{error}"))?), rate),
            None => (None, text),
        };
        let whole: u64 =
            rate.parse().map_err(|_| format!("{rate:?} is no whole number of requests per second"))?;
        let rate = whole.checked_mul(1000).ok_or_else(|| format!("{rate} is too much"))?;
        Ok(Self { service, rate })
    }
}

pub(crate) async fn run(args: &Args) -> ExitCode {
    match answer(args).await {
        Ok(changed) if changed && args.exit_code => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", crate::told(&error));
            ExitCode::from(2)
        }
    }
}

async fn answer(args: &Args) -> Result<bool> {
    let after = Fleet::read(&args.manifests);
    after.is_whole()?;
    let (before, what) = before(args, &after).await?;
    if let Some(obstacle) = before.doubts().0 {
        bail!("{what} cannot be compared with: {obstacle}");
    }
    let wrong = before.unread.iter().chain(&before.problems).filter(|problem| problem.is_error()).count();
    if wrong > 0 {
        eprintln!("warning: {what} has {wrong} mistakes; what they name is left out of it");
    }
    let objects = objects::compare(&before, &after);
    let mut states = [&before, &after].map(|fleet| fleet_state(&fleet.configs()));
    ask(&mut states, &args.rps)?;
    let [before, after] = states;
    let compared: Compared = compare(&what, objects, &before, &after);
    match args.output {
        Form::Json => say!("{}", serde_json::to_string_pretty(&compared)?),
        Form::Text => say!("{}", print::text(&compared).trim_end()),
        Form::Markdown => say!("{}", print::markdown(&compared).trim_end()),
    }
    Ok(compared.changed)
}

/// Gives services so much demand, before and after.
fn ask(states: &mut [FleetState; 2], rates: &[Demand]) -> Result<()> {
    for Demand { service, rate } in rates {
        let known: BTreeSet<String> =
            states.iter().flat_map(|state| state.services.keys()).map(ToString::to_string).collect();
        if let Some(name) = service.as_ref().map(ToString::to_string).filter(|name| !known.contains(name)) {
            let nearest = tidegate_api::nearest_hint(&name, "services", known.iter().map(String::as_str));
            bail!("--rps: there is no Service {name}\n  hint: {nearest}");
        }
        for (name, asked) in states.iter_mut().flat_map(|state| &mut state.services) {
            let sources = asked.demand.len() as u64;
            if service.as_ref().is_none_or(|it| it == name) && sources > 0 {
                asked.demand.values_mut().for_each(|demand| *demand = Some(rate / sources));
            }
        }
    }
    Ok(())
}

/// The fleet as it was, and what that is called.
async fn before(args: &Args, after: &Fleet) -> Result<(Fleet, String)> {
    if let Some(hub) = args.hub {
        let door = HubDoor::at(hub, args.token.clone());
        let policy: PolicyView = door.get("/api/v1/policy").await?;
        let what = format!("policy {} of the hub at {hub}", policy.sequence);
        return Ok((with_policy(after, policy), what));
    }
    let Some(against) = args.against.as_deref() else {
        bail!("compared with what?\n  hint: --against DIR|REV, or --hub ADDR")
    };
    let folder: Manifests = against.parse().map_err(|error: String| anyhow::anyhow!(error))?;
    if Path::new(against).exists() || folder.cluster.is_some() {
        let before = Fleet::read(&[folder]);
        if let Some(problem) = before.unread.first() {
            bail!("{problem}");
        }
        return Ok((before, against.to_owned()));
    }
    let (before, commit) = git::read(&args.manifests, against).await.with_context(|| {
        format!("--against {against}: there is no such folder, and as a revision it cannot be read")
    })?;
    Ok((before, format!("{against} ({commit})")))
}

/// What is not policy as it is after, and the hub's policy in place of the rest.
fn with_policy(after: &Fleet, policy: PolicyView) -> Fleet {
    let mut files: Vec<Placed> = Vec::new();
    for (owner, file) in &after.files {
        let rest = tidegate_api::plain_objects(file).into_iter().filter(|object| !objects::is_policy(object));
        let text = rest.map(|object| format!("---\n{object}\n")).collect();
        let file = SourceFile { path: file.path.clone(), text };
        files.push(Placed { file, cluster: owner.clone(), folders: Vec::new() });
    }
    let mut by_place: BTreeMap<String, String> = BTreeMap::new();
    for object in policy.objects {
        by_place.insert(format!("hub:{} {}", object.place, object.object), object.text);
    }
    for (path, text) in by_place {
        files.push(Placed { file: SourceFile { path, text }, cluster: None, folders: Vec::new() });
    }
    Fleet::of(files, Vec::new(), "the hub")
}
