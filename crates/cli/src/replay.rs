//! `tidegate replay`.

use anyhow::Result;
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use tidegate_agent::journal::{self, JournalFile};

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Files of the folder `journal` in an agent's state folder; the parts of one life in order.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Compare with the decisions that the journal holds; exit with 1 at the first that differs.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let files: Vec<JournalFile> =
        args.files.iter().map(|path| journal::read(path)).collect::<Result<_, _>>()?;
    for file in files.iter().filter(|file| file.torn) {
        eprintln!(
            "warning: {}: the last line was cut off (the agent died while writing it) and is passed over",
            file.path.display()
        );
    }
    let replayed = journal::replay(&files, args.check);
    if !replayed.exact {
        let why = match replayed.missing {
            0 => "it begins with a checkpoint, not with the start of the agent".to_owned(),
            count => format!("{count} inputs are missing, because the agent's disk was too slow"),
        };
        eprintln!("warning: the replay is not exact: {why}");
    }
    if args.check {
        if let Some(it) = &replayed.difference {
            eprintln!(
                "error: {}:{}: at {} the replay decides otherwise\n  written:\n{}  replayed:\n{}  hint: another version of \
                 Tidegate may have written it; then the difference is what changed",
                it.path.display(),
                it.line,
                it.at,
                indented(&it.written),
                indented(&it.replayed)
            );
            return Ok(ExitCode::FAILURE);
        }
        say!(
            "{} inputs, {} decisions: the replay decides as the agent did",
            replayed.inputs,
            replayed.decisions.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    for (at, record) in &replayed.decisions {
        say!("{at:>12}  {}", record.line());
    }
    Ok(ExitCode::SUCCESS)
}

fn indented(text: &str) -> String {
    if text.is_empty() {
        "    nothing\n".to_owned()
    } else {
        text.lines().map(|line| format!("    {line}\n")).collect()
    }
}
