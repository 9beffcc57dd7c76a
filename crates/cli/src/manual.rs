//! `tidegate completions` and `tidegate man`: what shells and readers of manuals are given. Both are made from the commands
//! themselves, so they are as true as the help.

use anyhow::{Context as _, Result};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use std::{fs, io, path::PathBuf, process::ExitCode};

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tidegate completions bash > /etc/bash_completion.d/tidegate
  tidegate completions zsh > \"${fpath[1]}/_tidegate\"
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, Parser)]
pub(crate) struct Man {
    /// The folder to write into; it is made if it is not there.
    folder: PathBuf,
}

pub(crate) fn completions<C: CommandFactory>(args: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "tidegate", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}

pub(crate) fn man<C: CommandFactory>(args: &Man) -> Result<ExitCode> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut command = C::command().disable_help_subcommand(true);
    command.build();
    let count =
        write(&command, folder).with_context(|| format!("{} cannot be written to", folder.display()))?;
    say!(
        "{count} pages are in {}; read one: man -l {}",
        folder.display(),
        folder.join("tidegate.1").display()
    );
    Ok(ExitCode::SUCCESS)
}

/// A page for a command, and for each below it.
fn write(command: &clap::Command, folder: &std::path::Path) -> io::Result<usize> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(folder.join(format!("{name}.1")), text)?;
    let below = command.get_subcommands().filter(|it| !it.is_hide_set());
    below.map(|it| write(it, folder)).try_fold(1, |sum, count| Ok(sum + count?))
}
