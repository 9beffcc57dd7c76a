//! `tidegate demo`: a fleet on this machine loses a zone and gets it back, loses a region and gets
//! it back, under load, and says how that went.

mod control;
mod live;
mod report;
mod stage;
mod watch;

pub use report::{DemoReport, FaultReport, LoadReport, LostEdge, PolicyReport};

use crate::{
    clock::LabClock,
    fleet::{Binaries, Fault, Fleet, FleetError, FleetSpec, hostname},
    load::{LoadError, LoadMethod},
    measure::Objectives,
    toy::ToyMode,
};
use control::Control;
use live::Screen;
use stage::Stage;
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};
use tidegate_model::{Region, Zone};

/// What the demo is to do.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The programs to run.
    pub binaries: Binaries,
    /// Where to write the report as JSON.
    pub json: Option<PathBuf>,
    /// Whether to leave the fleet running after the report, until Ctrl-C.
    pub keep: bool,
    /// Requests per second on each edge.
    pub rate_rps: u32,
    /// Whether requests are POST, which may not be repeated.
    pub post: bool,
    /// Whether the output is a terminal, on which the table is drawn in place.
    pub live: bool,
    /// How long each part takes.
    pub timing: Timing,
}

/// How long the parts of the demo take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long the fleet may take to come up.
    pub start_limit: Duration,
    /// Steady traffic before the first fault.
    pub steady: Duration,
    /// The least that the zone is away.
    pub zone_fault: Duration,
    /// The least that the region is away.
    pub region_fault: Duration,
    /// Plans that have not changed for so long are stable. Longer than a hold-down and than a step
    /// of the ramp, or a pause within the way back would be taken for its end.
    pub quiet: Duration,
    /// The longest that a failover or a failback is waited for.
    pub limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            start_limit: Duration::from_secs(60),
            steady: Duration::from_secs(5),
            zone_fault: Duration::from_secs(5),
            region_fault: Duration::from_secs(10),
            quiet: Duration::from_secs(5),
            limit: Duration::from_secs(60),
        }
    }
}

impl DemoOptions {
    /// The demo as `tidegate demo` runs it without options: 200 GET requests per second on each edge.
    #[must_use]
    pub fn new(binaries: Binaries) -> Self {
        Self {
            binaries,
            json: None,
            keep: false,
            rate_rps: 200,
            post: false,
            live: false,
            timing: Timing::default(),
        }
    }

    fn method(&self) -> LoadMethod {
        if self.post { LoadMethod::Post } else { LoadMethod::Get }
    }
}

/// Why the demo did not come to its end. (A missed objective is no error: see [`DemoReport::passed`].)
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The fleet did not start.
    #[error(transparent)]
    Start(FleetError),
    /// The fleet failed underway.
    #[error("{cause}\nthe manifests, the state and the logs are kept in {}", files.display())]
    Fleet {
        /// Why.
        #[source]
        cause: FleetError,
        /// Its folder.
        files: PathBuf,
    },
    /// The load cannot be sent.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The report or the terminal cannot be written.
    #[error("{what}: {cause}")]
    Write {
        /// What was written.
        what: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// Ctrl-C, or the system asked to end. Everything was ended in order.
    #[error("interrupted")]
    Interrupted,
}

impl From<FleetError> for DemoError {
    fn from(cause: FleetError) -> Self {
        Self::Start(cause)
    }
}

impl From<io::Error> for DemoError {
    fn from(cause: io::Error) -> Self {
        Self::Write { what: "cannot write to the terminal".to_owned(), cause }
    }
}

/// Runs the demo. When it returns, however it returns, no process of it is left.
pub async fn run(options: DemoOptions, out: &mut (dyn Write + Send)) -> Result<DemoReport, DemoError> {
    let mut interrupt = Interrupt::listen()?;
    let mut screen = Screen::new(out, options.live);
    screen.note("starting three clusters: agents, Envoys, toy services, links between regions")?;
    let mut fleet = Fleet::start(FleetSpec::demo(), &options.binaries)?;
    let mut played = tokio::select! {
        played = play(&mut fleet, &options, &mut screen) => played,
        () = interrupt.wait() => Err(DemoError::Interrupted),
    };
    match &mut played {
        Ok(report) if !report.passed => report.files = Some(fleet.keep_files()),
        Err(DemoError::Start(_)) => {
            let files = fleet.keep_files();
            played = played.map_err(|error| match error {
                DemoError::Start(cause) => DemoError::Fleet { cause, files },
                other => other,
            });
        }
        _ => {}
    }
    let told = match &played {
        Ok(report) => tell(report, &options, &mut screen),
        Err(_) => Ok(()),
    };
    if options.keep && played.is_ok() && told.is_ok() {
        let kept = tokio::select! {
            kept = keep(&fleet, &mut screen) => kept,
            () = interrupt.wait() => Ok(()),
        };
        fleet.stop().await;
        return kept.and(played);
    }
    fleet.stop().await;
    told.and(played)
}

/// Writes the report, as tables and as JSON.
fn tell(report: &DemoReport, options: &DemoOptions, screen: &mut Screen<'_>) -> Result<(), DemoError> {
    screen.note(&report.to_string())?;
    let Some(path) = &options.json else { return Ok(()) };
    let write = || -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(report)?;
        text.push(b'\n');
        std::fs::write(path, text)
    };
    write().map_err(|cause| DemoError::Write { what: format!("cannot write {}", path.display()), cause })
}

/// A fault of the demo, and who measures it.
struct Act {
    fault: Fault,
    /// The region that is away with its edge, whose own load is reported apart.
    lost: Option<Region>,
    at_least: Duration,
    objectives: Objectives,
}

fn acts(options: &DemoOptions) -> [Act; 2] {
    let zone: Zone = crate::fleet::spec::known("us-east-1a");
    let region: Region = crate::fleet::spec::known("us-east");
    let objectives = if options.post {
        // What was in flight may fail, and nothing that was due after the fault was known.
        Objectives {
            max_failed: None,
            max_p99: None,
            max_slow: None,
            max_rto: Some(Duration::from_secs(1)),
            ..Objectives::SAFE
        }
    } else {
        Objectives::SAFE
    };
    let objectives = Objectives { max_failback: Some(options.timing.limit), ..objectives };
    [
        Act {
            fault: Fault::Zone { zone, mode: ToyMode::Refuse },
            lost: None,
            at_least: options.timing.zone_fault,
            objectives: Objectives { max_detect: None, ..objectives },
        },
        Act {
            fault: Fault::Region { region: region.clone() },
            lost: Some(region),
            at_least: options.timing.region_fault,
            objectives,
        },
    ]
}

async fn play(
    fleet: &mut Fleet,
    options: &DemoOptions,
    screen: &mut Screen<'_>,
) -> Result<DemoReport, DemoError> {
    fleet.ready(options.timing.start_limit).await?;
    let mut stage = Stage::start(fleet, options, screen)?;
    let method = if options.post { "POST" } else { "GET" };
    stage.screen.note(&format!(
        "the fleet serves; {} {method} requests per second on each edge; hold-down and ramp are short here: {}",
        options.rate_rps,
        stage.policy(),
    ))?;
    stage.hold("steady", options.timing.steady).await?;
    let mut faults = Vec::new();
    for act in acts(options) {
        faults.push(stage.perform(act).await?);
    }
    stage.finish(faults).await
}

/// Says what there is to try, and breaks what it is told to, for ever.
async fn keep(fleet: &Fleet, screen: &mut Screen<'_>) -> Result<(), DemoError> {
    let failed = |cause| DemoError::Write { what: "cannot listen for faults".to_owned(), cause };
    let control = Control::listen(fleet).await.map_err(failed)?;
    screen.note(&what_to_try(fleet, &control).await?)?;
    control.serve(fleet).await;
    Ok(())
}

async fn what_to_try(fleet: &Fleet, control: &Control) -> Result<String, DemoError> {
    let mut lines = vec!["The fleet goes on running, without load. Ctrl-C ends it. To try:".to_owned()];
    lines.extend(control.examples(fleet));
    for cluster in &fleet.spec().clusters {
        let addresses = fleet.addresses(&cluster.name)?;
        lines.push(format!("\n{}", cluster.name));
        for service in &fleet.spec().services {
            lines.push(format!("  curl -i -H 'host: {}' http://{}/", hostname(service), addresses.access));
        }
        lines.push(format!("  tidegate status --admin {}", addresses.agent_admin));
        if let Some(service) = fleet.spec().services.first() {
            lines.push(format!("  tidegate explain {service} --admin {}", addresses.agent_admin));
        }
        lines.push(format!("  edge Envoy's own page: http://{}/clusters", addresses.edge_admin));
        for (name, pid) in fleet.pids(&cluster.name).await? {
            lines.push(format!("  freeze {name}: kill -STOP -- -{pid}   and on: kill -CONT -- -{pid}"));
        }
    }
    lines.push(format!("\nManifests (edit them and watch), state and logs: {}", fleet.files().display()));
    Ok(lines.join("\n"))
}

/// Ctrl-C and the system's wishes to end.
struct Interrupt([tokio::signal::unix::Signal; 3]);

impl Interrupt {
    fn listen() -> Result<Self, DemoError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind)
                .map_err(|cause| DemoError::Write { what: "cannot listen to signals".to_owned(), cause })
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Lab time, for people.
fn seconds(clock: LabClock) -> String {
    format!("{:6.1} s", clock.now().since_origin().as_secs_f64())
}
