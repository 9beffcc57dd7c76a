//! `tidegate demo`: a fleet on this machine loses a zone and gets it back, loses a region and gets
//! it back, under load, and says how that went. [`Course`] has more of it.

mod control;
mod course;
mod live;
mod report;
mod serve;
mod stage;
mod watch;

pub use control::Control;
pub use course::Course;
pub use report::{DemoReport, FaultReport, LoadReport, LostEdge, PolicyReport, RolloutReport};
pub use serve::serve;

use crate::{
    clock::LabClock,
    fleet::{Binaries, Fleet, FleetError, hostname},
    load::{LoadError, LoadMethod},
};
use live::Screen;
use stage::Stage;
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// What the demo is to do.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The programs to run.
    pub binaries: Binaries,
    /// Which fleet, and what happens to it.
    pub course: Course,
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
            course: Course::default(),
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
    screen.note(options.course.greeting())?;
    let mut fleet = tokio::select! {
        fleet = Fleet::start_joined(options.course.spec(), &options.binaries) => fleet?,
        () = interrupt.wait() => return Err(DemoError::Interrupted),
    };
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

async fn play(
    fleet: &mut Fleet,
    options: &DemoOptions,
    screen: &mut Screen<'_>,
) -> Result<DemoReport, DemoError> {
    fleet.ready(options.timing.start_limit).await?;
    let mut stage = Stage::start(fleet, options, screen)?;
    let method = if options.post { "POST" } else { "GET" };
    stage.screen.note(&format!(
        "the fleet serves; {} {method} requests per second on {}; hold-down and ramp are short here: {}",
        options.rate_rps,
        if fleet.edges().nth(1).is_some() { "each edge" } else { "the edge" },
        stage.policy(),
    ))?;
    stage.hold("steady", options.timing.steady).await?;
    let mut faults = Vec::new();
    for act in options.course.acts(options) {
        faults.push(stage.perform(act).await?);
    }
    let rollout = match options.course {
        Course::Regions => None,
        Course::Fleet => Some(stage.roll_out().await?),
    };
    stage.finish(faults, rollout).await
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
    lines.push(format!("  tidegate drill run FILE --lab {}   for a Drill of type Lab", control.address()));
    if let Some(admin) = fleet.hub_admin() {
        lines.push("\nhub".to_owned());
        lines.extend(["cluster list", "rollout status"].map(|it| format!("  tidegate {it} --admin {admin}")));
        lines.push(format!("  its policy, to edit: {}", fleet.files().join("hub").join("policy").display()));
    }
    for cluster in &fleet.spec().clusters {
        let addresses = fleet.addresses(&cluster.name)?;
        lines.push(format!("\n{}", cluster.name));
        for (service, edge) in fleet.spec().services.iter().filter_map(|it| Some((it, addresses.edge?))) {
            lines.push(format!("  curl -i -H 'host: {}' http://{}/", hostname(service), edge.access));
        }
        lines.push(format!("  tidegate status --admin {}", addresses.agent_admin));
        if let Some(service) = fleet.spec().services.first() {
            lines.push(format!("  tidegate explain {service} --admin {}", addresses.agent_admin));
        }
        if let Some(edge) = addresses.edge {
            lines.push(format!("  edge Envoy's own page: http://{}/clusters", edge.admin));
        }
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
