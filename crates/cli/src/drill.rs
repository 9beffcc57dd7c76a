//! `tidegate drill`.

use crate::{
    admin::{HubDoor, Token},
    cluster::Options,
    drill_hub, drill_kubernetes, drill_lab, drill_remote, drill_report, drill_schedule, drill_signed, stop,
};
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidegate_api::{
    Drill, DrillFault, DrillGuard, DrillLoad, DrillProtocol, DrillSteps, DrillTarget, ExecFault, Objective,
    SourceFile, parse_duration, read_drill,
};
use tidegate_drill::{
    generator::{Trust, unique_id},
    report::Report,
    run::{self, Setup, keeper},
};

/// What a fault without `--expires-after` lasts longer than its step: commands and their limit have room in it.
const SPARE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Break something on purpose by commands of your own, measure the recovery, mend it.
    Run(Box<RunArgs>),
    /// Stop a drill and mend what it broke, at once: one that the hub runs, or the fault of any that agents carry out.
    Stop(drill_remote::StopArgs),
    /// List the drills whose reports the hub keeps.
    List(drill_hub::ListArgs),
    /// Show what a drill cost, and who signed that.
    Show(drill_hub::ShowArgs),
    /// Write the report of a drill, signed by the hub.
    Report(drill_hub::ReportArgs),
    /// Show how a drill's runs went over time, and whether the newest is a regression.
    Trend(drill_hub::TrendArgs),
    /// List which drills run by themselves next, and what became of those that were due.
    Schedule(Options),
    /// Say who signed a report when; exit code 1 if anything of it was changed, or the key is another.
    Verify(drill_signed::VerifyArgs),
    /// Print the public key that the hub signs reports with.
    Key(drill_hub::KeyArgs),
    /// Hand a report to the hub that could not be handed over when the drill ended.
    HandOver(drill_hub::HandOverArgs),
    /// Mends when the drill that started it is gone; started by `drill run` alone.
    #[command(hide = true)]
    Keeper,
}

#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    /// A file with one `Drill`; or say with the options below what it would say
    #[arg(required_unless_present = "target", conflicts_with_all = ["target", "fault_exec", "mend_exec"])]
    file: Option<PathBuf>,
    /// What it is called, NAMESPACE/NAME: its runs are compared by that [default: command-line/drill]
    #[arg(long, value_name = "NAME", value_parser = drill_name, conflicts_with = "file")]
    name: Option<String>,
    /// What is asked, before, while and after it is broken
    #[arg(long, value_name = "URL", requires_all = ["fault_exec", "mend_exec"])]
    target: Option<String>,
    /// The command that breaks, for `sh -c`
    #[arg(long, value_name = "COMMAND", requires = "target")]
    fault_exec: Option<String>,
    /// The command that mends, for `sh -c`; it may run more than once
    #[arg(long, value_name = "COMMAND", requires = "target")]
    mend_exec: Option<String>,
    /// How long each command may take [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    exec_timeout: Option<Duration>,
    /// After so long the fault is mended, whoever is left to do so [default: the fault's step and a minute]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    expires_after: Option<Duration>,
    /// How long before the fault [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    steady: Option<Duration>,
    /// How long the fault lasts [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    fault: Option<Duration>,
    /// How long after it was mended [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    observe: Option<Duration>,
    /// Requests per second [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000), conflicts_with = "file")]
    rate: Option<u32>,
    /// How it is asked [default: http1]
    #[arg(long, value_enum, conflicts_with = "file")]
    protocol: Option<Protocol>,
    /// How long a request may take [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    timeout: Option<Duration>,
    /// What it may cost: 'rto <= 5s', 'errorRate <= 0.1%', 'failed <= 0'
    #[arg(long = "objective", value_name = "OBJECTIVE", value_parser = Objective::parse, conflicts_with = "file")]
    objectives: Vec<Objective>,
    /// Stop and mend when this URL no longer answers well
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    guard_url: Vec<String>,
    /// Stop and mend when more than this percentage of the requests of the last five seconds failed
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100), conflicts_with = "file")]
    guard_error_rate: Option<u32>,
    /// The admin address of an agent that carries out the fault, or has a part in the recovery; once for each agent, replicas too
    #[arg(long = "agent", value_name = "ADDR", requires = "file")]
    agents: Vec<SocketAddr>,
    /// The address of a lab (`tidegate demo --admin`) that carries out a fault of type Lab on its own fleet; agents that are named
    /// beside it only tell what they saw
    #[arg(long, value_name = "ADDR", requires = "file", value_parser = crate::demo::loopback)]
    lab: Option<SocketAddr>,
    /// Let a fault of type Kubernetes take away what really serves: it runs the kubectl on PATH, with its kubeconfig
    #[arg(long, requires = "file")]
    allow_disruption: bool,
    /// A PEM file with the certificates to trust [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A header of each request, 'NAME: VALUE'
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Vec<(String, String)>,
    /// An access log of the servers, which holds request ids: what is in it twice was done twice
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// The form of the report on standard output
    #[arg(short, long, value_enum, default_value_t = drill_report::Form::Text)]
    output: drill_report::Form,
    /// Write the report into this file too; its end says the form: .html, .json, .xml (JUnit) or .md
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// The admin address of a hub that signs the report and keeps it; elsewhere its --admin-tls. It runs a drill by agents itself
    /// unless --agent names them
    #[arg(long, value_name = "ADDR")]
    hub: Option<SocketAddr>,
    #[command(flatten)]
    token: Token,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Http1,
    Http2,
    Grpc,
}

fn time(text: &str) -> Result<Duration, String> {
    let found = parse_duration(text).filter(|it| !it.is_zero());
    found.ok_or_else(|| "write a number with its unit: 500ms, 30s, 2m".to_owned())
}

fn drill_name(text: &str) -> Result<String, String> {
    let plain = |part: &str| {
        (1..=253).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
    };
    match text.split_once('/') {
        Some((space, name)) if plain(space) && plain(name) => Ok(text.to_owned()),
        _ => {
            Err("write NAMESPACE/NAME, of lowercase letters, digits, '-' and '.': shop/lose-a-backend"
                .to_owned())
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write 'NAME: VALUE'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Exit codes: 0 passed, 1 not.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => drill(*args).await,
        Command::Stop(args) => drill_remote::stop(&args).await.map(|()| ExitCode::SUCCESS),
        Command::List(args) => drill_hub::list(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Show(args) => drill_hub::show(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Report(args) => drill_hub::report(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Trend(args) => drill_hub::trend(&args).await,
        Command::Schedule(options) => drill_schedule::run(&options).await.map(|()| ExitCode::SUCCESS),
        Command::Verify(args) => drill_signed::verify(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Key(args) => drill_hub::key(&args).await.map(|()| ExitCode::SUCCESS),
        Command::HandOver(args) => drill_hub::hand_over_file(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Keeper => {
            keeper::keep().await.context("this command is started by `tidegate drill run` alone")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn drill(args: RunArgs) -> Result<ExitCode> {
    let forms = args.report.iter().map(|path| drill_report::Form::of(path)).collect::<Result<Vec<_>>>()?;
    if let (Some(hub), Some(path)) = (args.hub, &args.file)
        && args.agents.is_empty()
        && args.lab.is_none()
        && matches!(from_file(path)?.fault, DrillFault::Agents(_))
    {
        return by_hub(&args, &HubDoor::at(hub, args.token.clone()), path, &forms).await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let drill = match &args.file {
        Some(path) => from_file(path)?,
        None => from_options(&args)?,
    };
    let agents = drill_lab::lines(&drill, args.lab, &args.agents)?;
    let id = unique_id();
    let drill = drill_kubernetes::as_commands(drill, &id, args.allow_disruption).await?;
    let setup = Setup {
        id,
        by: format!("drill run of {}", drill.name),
        alone: false,
        drill,
        trust: args.ca.clone().map_or(Trust::System, Trust::File),
        headers: args.header.clone(),
        keeper: keeper_command()?,
        agents,
        unix_seconds: now.as_secs(),
    };
    let mut shown = drill_report::Shown::new();
    let record = run::run(setup, stop::words(), |progress| shown.progress(progress)).await?;
    let repeated = match &args.access_log {
        Some(path) => Some(repeated(path, &record.id)?),
        None => None,
    };
    let report = Report::new(&record, repeated);
    shown.end(&report);
    let checked = match args.hub {
        Some(hub) => drill_hub::hand_over(&HubDoor::at(hub, args.token.clone()), &report).await,
        None => None,
    };
    told(&args, &forms, &report, checked.as_ref())
}

/// Lets a hub run it.
async fn by_hub(
    args: &RunArgs,
    door: &HubDoor,
    path: &PathBuf,
    forms: &[drill_report::Form],
) -> Result<ExitCode> {
    if args.ca.is_some() || !args.header.is_empty() || args.access_log.is_some() {
        bail!(
            "--ca, --header and --access-log are of a drill that runs here, and this one runs at the hub\n  hint: leave them out, or name the agents: --agent ADDR"
        );
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let checked = drill_remote::run(door, text).await?;
    told(args, forms, &checked.report, Some(&checked))
}

/// Writes the report in all its forms.
fn told(
    args: &RunArgs,
    forms: &[drill_report::Form],
    report: &Report,
    checked: Option<&drill_signed::Checked>,
) -> Result<ExitCode> {
    // A page has room for the signature; JSON keeps its schema.
    let text = |form: drill_report::Form| match checked {
        Some(checked) if form == drill_report::Form::Html => checked.text(form),
        _ => form.text(report),
    };
    for (path, form) in args.report.iter().zip(forms) {
        fs::write(path, text(*form)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say!("{}", text(args.output)?.trim_end());
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn repeated(path: &PathBuf, id: &str) -> Result<u64> {
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    tidegate_drill::measure::repeated(std::io::BufReader::new(file), id)
        .with_context(|| format!("cannot read {}", path.display()))
}

fn keeper_command() -> Result<Vec<OsString>> {
    let own = std::env::current_exe().context("where this program lies")?;
    Ok(vec![own.into(), "drill".into(), "keeper".into()])
}

fn from_file(path: &PathBuf) -> Result<Drill> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = SourceFile { path: path.display().to_string(), text };
    read_drill(&file).map_err(|problems| {
        let told: Vec<String> = problems.iter().map(|it| format!("{:?}", it.report(&file.text))).collect();
        anyhow::anyhow!("{} is not a drill that can be run\n{}", path.display(), told.join("\n"))
    })
}

fn from_options(args: &RunArgs) -> Result<Drill> {
    let (Some(url), Some(start), Some(mend)) = (&args.target, &args.fault_exec, &args.mend_exec) else {
        bail!("a drill needs a file, or --target, --fault-exec and --mend-exec");
    };
    let shell = |command: &String| vec!["sh".to_owned(), "-c".to_owned(), command.clone()];
    let (steps, load) = (DrillSteps::default(), DrillLoad::default());
    let steps = DrillSteps {
        steady: args.steady.unwrap_or(steps.steady),
        fault: args.fault.unwrap_or(steps.fault),
        observe: args.observe.unwrap_or(steps.observe),
    };
    let expires_after = args.expires_after.unwrap_or(steps.fault + SPARE);
    if expires_after < steps.fault {
        bail!(
            "the fault expires before its step ends\n  hint: make --expires-after at least as long as --fault"
        );
    }
    let check = |url: &String| DrillGuard::HttpCheck {
        url: url.clone(),
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(500),
        failures: 2,
    };
    let rate = args.guard_error_rate.map(|percent| DrillGuard::ErrorRate {
        above: f64::from(percent) / 100.0,
        over: Duration::from_secs(5),
    });
    Ok(Drill {
        name: args.name.clone().unwrap_or_else(|| "command-line/drill".to_owned()),
        target: DrillTarget::Url(url.clone()),
        fault: DrillFault::Exec(ExecFault {
            start: shell(start),
            mend: shell(mend),
            timeout: args.exec_timeout.unwrap_or(Duration::from_secs(30)),
        }),
        expires_after,
        steps,
        load: DrillLoad {
            rate_rps: args.rate.unwrap_or(load.rate_rps),
            protocol: match args.protocol {
                None | Some(Protocol::Http1) => DrillProtocol::Http1,
                Some(Protocol::Http2) => DrillProtocol::Http2,
                Some(Protocol::Grpc) => DrillProtocol::Grpc,
            },
            timeout: args.timeout.unwrap_or(load.timeout),
            ..load
        },
        guards: args.guard_url.iter().map(check).chain(rate).collect(),
        objectives: args.objectives.clone(),
        window: None,
    })
}
