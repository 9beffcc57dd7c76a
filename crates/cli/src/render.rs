//! `tidegate render`: the same policy for other data planes, and what they cannot say of it.
//!
//! Exit codes: 0 rendered, 1 with `--strict` something that somebody wrote is lost, 2 it cannot be rendered.

use crate::{
    manifests::{Fleet, Manifests},
    table,
};
use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};
use tidegate_api::{Config, plain_objects};
use tidegate_model::ClusterName;
use tidegate_render::{Account, Fate, Input, Rendered, Report, Target, render};

/// Of the services of a row so many are named.
const NAMED: usize = 3;
/// The table is for a terminal as wide as most are, and for the logs of pipelines.
const WIDTH: u16 = 120;

#[derive(Debug, Parser)]
#[command(after_help = "\
The objects go to standard output (or to --out), what became of each field of policy to standard error.

Exit codes: 0 rendered; 1 with --strict, if something that was written is lost; 2 it cannot be rendered.

Examples:
  tidegate render --target istio --cluster us-east examples/two-regions | kubectl apply -f -
  tidegate render --target envoy-gateway --out rendered examples/two-regions
  tidegate render --target gateway-api --strict examples/one-cluster > /dev/null")]
pub(crate) struct Args {
    /// What is rendered for: istio, envoy-gateway or gateway-api.
    #[arg(long, value_name = "TARGET")]
    target: Target,
    /// Folders of manifests of the whole fleet, as for `tidegate whatif --manifests`.
    #[arg(value_name = "[CLUSTER=]DIR", required = true)]
    manifests: Vec<Manifests>,
    /// The cluster that it is rendered for; not needed where there is one.
    #[arg(long, value_name = "NAME")]
    cluster: Option<ClusterName>,
    /// Write a file CLUSTER.yaml for each cluster into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "cluster")]
    out: Option<PathBuf>,
    /// Fail if anything that somebody wrote is lost.
    #[arg(long)]
    strict: bool,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Form::Yaml)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The objects, a document each.
    Yaml,
    /// The objects and what became of each field, for programs.
    Json,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match answer(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", crate::told(&error));
            ExitCode::from(2)
        }
    }
}

fn answer(args: &Args) -> Result<bool> {
    let fleet = Fleet::read(&args.manifests);
    fleet.is_whole()?;
    let clusters = clusters(args, &fleet)?;
    let configs = fleet.configs();
    let mut whole = true;
    let mut json = serde_json::Map::new();
    for cluster in clusters {
        let rendered = one(args.target, &cluster, &fleet, &configs);
        whole &= rendered.report.lost().next().is_none();
        eprint!("{}", told(args.target, &cluster, &rendered.report));
        match (&args.out, args.output) {
            (Some(folder), form) => write(folder, &cluster, form, &rendered)?,
            (None, Form::Yaml) => say!("{}", rendered.yaml().trim_end()),
            (None, Form::Json) => drop(json.insert(cluster.to_string(), value(&rendered))),
        }
    }
    if !json.is_empty() {
        say!("{}", serde_json::to_string_pretty(&json)?);
    }
    Ok(whole || !args.strict)
}

/// Who is rendered for.
fn clusters(args: &Args, fleet: &Fleet) -> Result<Vec<ClusterName>> {
    let known: Vec<&ClusterName> = fleet.loaders.keys().collect();
    let names = known.iter().map(|name| name.as_str());
    match (&args.cluster, &args.out) {
        (Some(name), _) if fleet.loaders.contains_key(name) => Ok(vec![name.clone()]),
        (Some(name), _) => {
            let nearest = tidegate_api::nearest_first(name.as_str(), names).join(", ");
            bail!(
                "there is no FleetCluster {name}\n  hint: the clusters are, the nearest name first: {nearest}"
            )
        }
        (None, None) if known.len() > 1 => {
            let names = names.collect::<Vec<_>>().join(", ");
            bail!(
                "each of the clusters {names} has objects of its own\n  hint: say --cluster NAME, or --out DIR for all of them"
            )
        }
        (None, _) => Ok(known.into_iter().cloned().collect()),
    }
}

fn one(
    target: Target,
    cluster: &ClusterName,
    fleet: &Fleet,
    configs: &BTreeMap<ClusterName, Config>,
) -> Rendered {
    let mine = |owner: &Option<ClusterName>| owner.as_ref().is_none_or(|owner| owner == cluster);
    let objects: Vec<Value> = fleet
        .files
        .iter()
        .filter(|(owner, _)| mine(owner))
        .flat_map(|(_, file)| plain_objects(file))
        .collect();
    let loader = &fleet.loaders[cluster];
    let services = loader.config().services.keys();
    let written = services.map(|name| (name.clone(), loader.written_for(name))).collect();
    render(target, &Input { cluster, fleet: configs, written: &written, objects: &objects })
}

fn value(rendered: &Rendered) -> Value {
    json!({"objects": rendered.objects, "report": rendered.report})
}

fn write(folder: &PathBuf, cluster: &ClusterName, form: Form, rendered: &Rendered) -> Result<()> {
    let (ending, text) = match form {
        Form::Yaml => ("yaml", rendered.yaml()),
        Form::Json => ("json", serde_json::to_string_pretty(&value(rendered))? + "\n"),
    };
    let path = folder.join(format!("{cluster}.{ending}"));
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    say!("{}", path.display());
    Ok(())
}

/// What became of each field, for people: by who wrote it, what is lost and what is not quite the same.
fn told(target: Target, cluster: &ClusterName, report: &Report) -> String {
    let mut text = format!("{}, cluster {cluster}\n", target.title());
    let told = |account: &&Account| !matches!(account.fate, Fate::Said(_));
    let mut groups: Vec<(String, Vec<&Account>)> = Vec::new();
    for account in report.accounts.iter().filter(told) {
        let heading = match (account.default, account.file.as_str()) {
            (true, _) => "What holds although nobody wrote it".to_owned(),
            (false, "") => account.written.clone(),
            (false, file) => format!("{} at {file}", account.written),
        };
        match groups.last_mut().filter(|(last, _)| *last == heading) {
            Some((_, accounts)) => accounts.push(account),
            None => groups.push((heading, vec![account])),
        }
    }
    for (heading, accounts) in &groups {
        text += &format!("\n{heading}\n{}\n", rows(accounts));
    }
    let count = |is: fn(&Fate) -> bool| {
        report.accounts.iter().filter(|account| !account.default && is(&account.fate)).count()
    };
    text += &format!(
        "\nOf what was written: {} lost, {} approximated, {} said as it is (-o json has all)\n",
        count(|fate| matches!(fate, Fate::Lost(_))),
        count(|fate| matches!(fate, Fate::Approximated(_))),
        count(|fate| matches!(fate, Fate::Said(_))),
    );
    for assumption in &report.assumptions {
        text += &format!("note: {assumption}\n");
    }
    text + "\n"
}

fn rows(accounts: &[&Account]) -> String {
    let mut table = table::new(&["LINE", "FIELD", "", "WHAT BECOMES OF IT", "SERVICES"]);
    table.set_width(WIDTH);
    for account in accounts {
        let (fate, how) = match &account.fate {
            Fate::Lost(how) => ("LOST", how),
            Fate::Approximated(how) => ("near", how),
            Fate::Said(how) => ("same", how),
        };
        let line = if account.line > 0 { account.line.to_string() } else { "-".to_owned() };
        let mut services: Vec<String> =
            account.services.iter().take(NAMED).map(ToString::to_string).collect();
        if account.services.len() > NAMED {
            services.push(format!("and {} more", account.services.len() - NAMED));
        }
        table.add_row([&line, &account.field, fate, how, &services.join(", ")]);
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
