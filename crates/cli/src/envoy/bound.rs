//! An Envoy that does not outlive who started it, not even when that one is killed (SIGKILL) and can end nothing.
//!
//! On Linux the kernel sees to it: a process can ask to be killed when its parent dies, and stays bound to it when it becomes
//! another program. So `tidegate envoy run` starts `tidegate envoy bound`, which asks for that and becomes Envoy, with the same
//! process id. Elsewhere Envoy is started directly, and outlives a killed parent. (A program with capabilities of its own in its
//! file is let loose by the kernel when it starts: give those to the container or the service instead.)

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::process::Command as Process;

/// Becomes a program that ends with its parent. For `tidegate envoy run` alone.
#[derive(Debug, Parser)]
pub(crate) struct Bound {
    /// The process id of who starts it: if that one is gone by then, nobody would end it.
    #[arg(long)]
    parent: i32,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// A command that runs this program bound to this process, where that can be had.
pub(super) fn command(program: &Path) -> Result<Process> {
    let program = found(program)?;
    if !cfg!(target_os = "linux") {
        return Ok(Process::new(program));
    }
    let own = std::env::current_exe().context("where this program lies")?;
    let mut command = Process::new(own);
    command.args(["envoy", "bound", "--parent", &std::process::id().to_string(), "--"]).arg(program);
    Ok(command)
}

/// Where a program is, so that its absence is told by who was asked to run it.
fn found(program: &Path) -> Result<PathBuf> {
    let is_named = program.components().count() > 1;
    let found = if is_named { Some(program.to_owned()) } else { crate::demo::on_path(program) };
    found.filter(|path| path.is_file()).with_context(|| {
        format!(
            "cannot run {}: there is no such file\n  hint: name Envoy by --envoy or TIDEGATE_ENVOY; `cargo xtask envoy` fetches it",
            program.display()
        )
    })
}

/// Becomes the program; returns only if it cannot.
#[cfg(target_os = "linux")]
pub(super) fn become_it(bound: &Bound) -> Result<ExitCode> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt as _;
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be bound to the parent")?;
    // It may have died before it was asked for.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != bound.parent) {
        bail!("who started this is gone already");
    }
    let error = std::process::Command::new(&bound.program).args(&bound.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", bound.program.display()))
}

/// There is no such thing here.
#[cfg(not(target_os = "linux"))]
pub(super) fn become_it(bound: &Bound) -> Result<ExitCode> {
    bail!("{} cannot be bound to process {} on this system", bound.program.display(), bound.parent)
}
