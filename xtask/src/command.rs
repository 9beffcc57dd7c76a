//! Running other programs, with errors that say what was run.

use anyhow::{Context, Result, bail};
use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

/// How the variables begin in which cargo tells a program what it was built from.
const OF_XTASK: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The cargo that runs us, in the workspace's folder.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo said of xtask when it started us. Build scripts watch some of it (ring's does), and would run again
    // whenever somebody calls cargo now by way of xtask and now directly.
    for (name, _) in env::vars_os() {
        let own = name.to_str().is_some_and(|name| OF_XTASK.iter().any(|start| name.starts_with(start)));
        if own {
            command.env_remove(name);
        }
    }
    command
}

/// How a command would be typed.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Runs it with our terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("`{}` did not start", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status}); its own messages are above", shown(command));
    }
    Ok(())
}

/// Runs it quietly and gives its output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{}` did not start", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}):\n{}", shown(command), output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no UTF-8", shown(command)))
}

/// Runs it, passes its standard output on line by line, and shows each line to `see`. Gives whether it succeeded.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let started = command.stdout(Stdio::piped()).spawn();
    let mut child = started.with_context(|| format!("`{}` did not start", shown(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("reading from `{}`", shown(command)))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            see(&line);
        }
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_command_its_code_and_what_it_said() {
        let error =
            output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains("3") && error.contains("broken"), "{error}");
        let error = output(&mut Command::new("/no/such/program")).unwrap_err().to_string();
        assert_eq!(error, "`program` did not start");
    }

    #[test]
    fn watching_sees_every_line_and_the_outcome() {
        let mut seen = Vec::new();
        let ok = watch(Command::new("sh").args(["-c", "printf 'a\\nb'; exit 1"]), |line| {
            seen.push(line.to_owned());
        });
        assert!(!ok.unwrap());
        assert_eq!(seen, ["a", "b"]);
    }
}
