//! The README's walk-through, run as it stands there.
//!
//! The section `## Walk through` has blocks of ```` ```console ````: lines that begin with `$ ` are commands, the
//! lines below one are what it prints. All commands of the section run in one shell, as on a terminal, in a folder
//! that has a copy of `examples/`, with `tidegate` and `envoy` on PATH. Those that end in `&` run in the background;
//! each other one must succeed. What `curl` prints must be what is written, but for which endpoint of a zone it was;
//! the rest may look different. Files in `/tmp` become files in the test's folder: a walk-through begins anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::Path,
    process::Command,
};
use support::{TIDEGATE, command::Running, copy_example, envoy, proc, skipped, wait_until, workspace};

const SECTION: &str = "## Walk through";
/// How often an answer is asked for, 200 ms apart, while everything comes up.
const FIRST_TRIES: u32 = 150;

/// A command, and what is written below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
}

impl Step {
    fn is_background(&self) -> bool {
        self.command.ends_with('&')
    }

    fn is_curl(&self) -> bool {
        self.command.starts_with("curl ")
    }
}

/// The steps of the section, in order.
fn steps(text: &str) -> Vec<Step> {
    let section =
        text.lines().skip_while(|line| *line != SECTION).skip(1).take_while(|it| !it.starts_with("## "));
    let (mut steps, mut in_block, mut goes_on) = (Vec::<Step>::new(), false, false);
    for line in section {
        if line.starts_with("```") {
            (in_block, goes_on) = (line == "```console", false);
        } else if !in_block {
        } else if goes_on {
            let step = steps.last_mut().unwrap();
            step.command.truncate(step.command.len() - 1);
            step.command.push_str(line.trim_start());
            goes_on = step.command.ends_with('\\');
        } else if let Some(command) = line.strip_prefix("$ ") {
            goes_on = command.ends_with('\\');
            steps.push(Step { command: command.to_owned(), output: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.output.push(line.to_owned());
        }
    }
    steps
}

/// The addresses are 127.0.0.ZE: endpoint E of zone Z. In a zone the endpoints take turns.
const ONE_ENDPOINT: &str = r"s/\(127\.0\.0\..\)./\11/";

/// What was printed, as if each zone had one endpoint.
fn one_endpoint(lines: &[String]) -> Vec<String> {
    let zone = |line: &String| match line.split_once("127.0.0.") {
        Some((before, address)) if address.len() >= 2 => {
            format!("{before}127.0.0.{}1{}", &address[..1], &address[2..])
        }
        _ => line.clone(),
    };
    lines.iter().map(zone).collect()
}

/// The steps as one script for bash. The output of step N goes to the file `N.out`.
fn script(steps: &[Step]) -> String {
    let mut script = String::new();
    let mut is_first = true;
    for (number, step) in steps.iter().enumerate() {
        let command = &step.command;
        let failed = format!("{{ echo \"step {number} failed: $?\"; exit 1; }}");
        if step.is_background() {
            script += &format!("{command}\n");
        } else if step.is_curl() && is_first {
            is_first = false;
            // Until it answers as written: while everything comes up another zone may be there first.
            let (tries, wanted) =
                (format!("for try in $(seq {FIRST_TRIES})"), one_endpoint(&step.output).join("\n"));
            script += &format!(
                "answered=; {tries}; do {command} > {number}.out && test \"$(sed '{ONE_ENDPOINT}' {number}.out)\" = '{wanted}' \
                 && answered=yes && break; sleep 0.2; done\n\
                 test -n \"$answered\" || {failed}\n"
            );
        } else if step.command.trim() == "tidegate status" {
            // Nobody reads it before the last zone was found healthy, which takes longer where much else runs.
            script += &format!(
                "seen=; for try in $(seq {FIRST_TRIES}); do {command} > {number}.out && ! grep -q Empty {number}.out \
                 && seen=yes && break; sleep 0.2; done\n\
                 test -n \"$seen\" || {failed}\n"
            );
        } else {
            // In this very shell: a `cd` or an `export` is for the steps after it, too.
            script += &format!("{{ {command}\n}} > {number}.out || {failed}\n");
        }
    }
    script + "echo all steps done\n"
}

/// A shell for the walk-through. All that it starts is in its process group; dropping it ends the group.
struct Shell(Running);

impl Shell {
    fn start(folder: &Path, script: &str) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([folder.join("bin")].into_iter().chain(std::env::split_paths(&path)))
            .unwrap();
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).current_dir(folder).env("PATH", path);
        // An answer of 503 is no answer here, and no meter is wanted.
        fs::write(folder.join(".curlrc"), "fail\nsilent\nshow-error\n").unwrap();
        command.env("CURL_HOME", folder).env("PYTHONUNBUFFERED", "1");
        for variable in ["TIDEGATE_ENVOY", "TIDEGATE_ADMIN", "TIDEGATE_LOG"] {
            command.env_remove(variable);
        }
        Self(Running::start(command.process_group(0)))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).unwrap();
        for signal in [Signal::TERM, Signal::KILL] {
            // It may be gone already. The agent and the gateway get a moment to end in order.
            let _ = kill_process_group(Pid::from_raw(group).unwrap(), signal);
            let end = std::time::Instant::now() + std::time::Duration::from_secs(8);
            while !proc::of_group(group).is_empty() && std::time::Instant::now() < end {
                std::thread::sleep(support::PAUSE);
            }
        }
    }
}

/// What the steps have written to files of theirs.
fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &logs(&path);
        } else if path.extension().is_some_and(|it| it == "log" || it == "out") {
            text += &format!("== {}\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
        }
    }
    text
}

#[test]
fn the_walk_through_works_as_written() {
    let test = "the_walk_through_works_as_written";
    let steps = steps(&fs::read_to_string(workspace().join("README.md")).unwrap());
    assert!(
        steps.iter().any(Step::is_background) && steps.iter().any(Step::is_curl),
        "{SECTION:?}: {steps:?}"
    );
    if !cfg!(target_os = "linux") {
        return skipped(test, "only Linux has 127.0.0.11 and its like without set-up");
    }
    for program in ["bash", "curl", "python3"] {
        if Command::new(program).arg("--version").output().is_err() {
            return skipped(test, &format!("no {program}"));
        }
    }
    let Some(envoy) = envoy(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    copy_example("one-cluster", &folder.path().join("examples/one-cluster"));
    fs::create_dir(folder.path().join("bin")).unwrap();
    symlink(TIDEGATE, folder.path().join("bin/tidegate")).unwrap();
    symlink(envoy, folder.path().join("bin/envoy")).unwrap();

    let script = script(&steps).replace("/tmp/", &format!("{}/", folder.path().display()));
    let shell = Shell::start(folder.path(), &script);
    let logs = || logs(folder.path());
    let done = wait_until("the walk-through", || {
        let said = shell.0.said();
        (said.contains("all steps done") || said.contains("failed: ")).then_some(said)
    });
    assert!(done.contains("all steps done"), "{done}\n{script}\n{}", logs());
    for (number, step) in steps.iter().enumerate().filter(|(_, step)| step.is_curl()) {
        let printed = fs::read_to_string(folder.path().join(format!("{number}.out"))).unwrap();
        let printed: Vec<String> = printed.lines().map(str::to_owned).collect();
        assert_eq!(one_endpoint(&printed), one_endpoint(&step.output), "{}\n{}", step.command, logs());
    }
    let group = i32::try_from(shell.0.id()).unwrap();
    drop(shell);
    assert!(proc::of_group(group).is_empty(), "{:?}", proc::of_group(group));
}

const SAMPLE: &str = "\
# Title

```console
$ not of the section
```

## Walk through

Start it:

```console
$ serve --port 1 &
$ tidegate agent \\
    --cluster home &
$ curl http://127.0.0.1/
one
two
```

```sh
$ not of the console
```

```console
$ kill %1
```

## After

```console
$ not of the section either
```
";

#[test]
fn steps_are_the_console_commands_of_the_section_with_their_output() {
    let step = |command: &str, output: &[&str]| Step {
        command: command.to_owned(),
        output: output.iter().map(|it| (*it).to_owned()).collect(),
    };
    let wanted = [
        step("serve --port 1 &", &[]),
        step("tidegate agent --cluster home &", &[]),
        step("curl http://127.0.0.1/", &["one", "two"]),
        step("kill %1", &[]),
    ];
    assert_eq!(steps(SAMPLE), wanted);
    assert_eq!(steps("# No such section\n"), []);
}

#[test]
fn a_step_that_fails_ends_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "## Walk through\n```console\n$ sleep 60 &\n$ kill %1\n$ echo two\n$ false\n$ echo three\n```\n";
    let mut shell = Shell::start(folder.path(), &script(&steps(text)));
    assert_eq!(shell.0.ended().code(), Some(1));
    assert!(shell.0.said().contains("step 3 failed: 1"), "{}", shell.0.said());
    assert_eq!(fs::read_to_string(folder.path().join("2.out")).unwrap(), "two\n");
    assert!(!folder.path().join("4.out").exists());
}
