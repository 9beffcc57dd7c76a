//! Walk-throughs of pages, run as they stand there.
//!
//! Blocks of ```` ```console ```` have commands behind `$ `, and below one what it prints; in those of ```` ```sh ```` each line is a command, of which
//! only the exit code counts. All commands of a page run in one shell, as on a
//! terminal, in a folder that has a copy of `examples/` and `deploy/`, with `tidegate` and `envoy` on PATH. Those that end in `&` run in the background;
//! each other one must succeed, or end with the code that a comment `# exit code N` behind it says. Below which something is written is run
//! again until it prints that: the lines in this order, among others where `...` stands, with any text where `…` stands; how many spaces and
//! strokes a table has does not matter. A block ```` ```yaml FILE ```` is a file that the reader writes. Files in `/tmp` become files in the
//! test's folder: a walk-through begins anew. What a page says of a place that only its reader has is replaced by what the test has (`in_scene`).

use super::{LIMIT, PAUSE, TIDEGATE, envoy, proc, skipped, workspace};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs,
    io::Write as _,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What a page tells its reader to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Run it; what it prints.
    Run(String, Vec<String>),
    /// Write a file; its text.
    Write(String, String),
}

/// The steps of a section of a page (with its `## `), or of all of it, in order.
pub(crate) fn steps(text: &str, section: Option<&str>) -> Vec<Step> {
    let begins = |line: &&str| section.is_some_and(|it| *line != it);
    let own = text.lines().skip_while(begins).enumerate();
    let own = own.take_while(|(index, line)| section.is_none() || *index == 0 || !line.starts_with("## "));
    let (mut steps, mut block, mut goes_on) = (Vec::new(), None::<String>, false);
    for (_, line) in own {
        if let Some(language) = line.strip_prefix("```") {
            goes_on = false;
            if let Some(file) = language.strip_prefix("yaml ").filter(|_| block.is_none()) {
                steps.push(Step::Write(file.to_owned(), String::new()));
            }
            block = if block.is_some() { None } else { Some(language.to_owned()) };
            continue;
        }
        let console = block.as_deref() == Some("console");
        let sh = block.as_deref() == Some("sh");
        match steps.last_mut() {
            Some(Step::Write(_, text)) if block.as_deref().is_some_and(|it| it.starts_with("yaml ")) => {
                *text += line;
                *text += "\n";
            }
            Some(Step::Run(command, _)) if goes_on => {
                command.truncate(command.len() - 1);
                command.push_str(line.trim_start());
                goes_on = command.ends_with('\\');
            }
            _ if sh && !line.is_empty() && !line.starts_with('#') => {
                goes_on = line.ends_with('\\');
                steps.push(Step::Run(line.to_owned(), Vec::new()));
            }
            last if console => match (line.strip_prefix("$ "), last) {
                (Some(command), _) => {
                    goes_on = command.ends_with('\\');
                    steps.push(Step::Run(command.to_owned(), Vec::new()));
                }
                (None, Some(Step::Run(_, output))) => output.push(line.to_owned()),
                (None, _) => panic!("what prints this? {line}"),
            },
            _ => {}
        }
    }
    steps
}

/// The same steps where the scene of a test is: each text of the table is replaced by the one beside it, in the order of the table. One that stands
/// nowhere fails: the page has changed, or the table has too much.
pub(crate) fn in_scene(mut steps: Vec<Step>, table: &[(&str, &str)]) -> Vec<Step> {
    for (written, here) in table {
        let mut found = false;
        let mut replace = |text: &mut String| {
            found |= text.contains(written);
            *text = text.replace(written, here);
        };
        for step in &mut steps {
            match step {
                Step::Run(command, output) => {
                    replace(command);
                    output.iter_mut().for_each(&mut replace);
                }
                Step::Write(_, text) => replace(text),
            }
        }
        assert!(found, "the page says {written:?} nowhere");
    }
    steps
}

/// The steps of a page of the project, or of a section of it.
pub(crate) fn steps_of(page: &str, section: Option<&str>) -> Vec<Step> {
    let found = steps(&fs::read_to_string(workspace().join(page)).unwrap(), section);
    assert!(!found.is_empty(), "{page} has no step in {section:?}");
    found
}

/// A line without what depends on the width of a table.
fn plain(line: &str) -> String {
    let words =
        line.replace(['─', '═', '╌', '-'], " ").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    words.join(" ")
}

/// Whether a line is as it is written: with any text where `…` stands.
fn fits(line: &str, written: &str) -> bool {
    let (line, written) = (plain(line), plain(written));
    let mut parts = written.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Whether it was printed as it is written: all of it, but for what `...` stands for.
pub(crate) fn is_printed(printed: &str, written: &[String]) -> bool {
    let blank = |line: &&str| !plain(line).is_empty();
    let lines: Vec<&str> = printed.lines().filter(blank).collect();
    let written: Vec<&str> = written.iter().map(String::as_str).filter(blank).collect();
    // Which of the first lines so many written ones may have used up.
    let mut at: Vec<usize> = vec![0];
    for wanted in written {
        at = if wanted.trim() == "..." {
            let first = at.first().copied().unwrap_or(lines.len());
            (first..=lines.len()).collect()
        } else {
            at.into_iter()
                .filter(|&it| lines.get(it).is_some_and(|line| fits(line, wanted)))
                .map(|it| it + 1)
                .collect()
        };
        if at.is_empty() {
            return false;
        }
    }
    at.contains(&lines.len())
}

/// A shell for a walk-through. All that it starts is in its process group; dropping it ends the group.
pub(crate) struct Walk {
    shell: Child,
    folder: TempDir,
}

impl Walk {
    /// With Envoy on PATH. `None` after saying that the test was skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let envoy = envoy(test)?;
        let walk = Self::without_envoy(test)?;
        symlink(envoy, walk.folder.path().join("bin/envoy")).unwrap();
        Some(walk)
    }

    /// `None` after saying that the test was skipped.
    pub(crate) fn without_envoy(test: &str) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            skipped(test, "only Linux has 127.0.0.11 and its like without set-up");
            return None;
        }
        for program in ["bash", "curl", "python3"] {
            if Command::new(program).arg("--version").output().is_err() {
                skipped(test, &format!("no {program}"));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for of_the_reader in ["examples", "deploy"] {
            copy(&workspace().join(of_the_reader), &folder.path().join(of_the_reader));
        }
        fs::create_dir(folder.path().join("bin")).unwrap();
        symlink(TIDEGATE, folder.path().join("bin/tidegate")).unwrap();
        Some(Self::at(folder))
    }

    pub(crate) fn at(folder: TempDir) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [folder.path().join("bin")].into_iter().chain(std::env::split_paths(&path));
        // An answer of 503 is no answer here, and no meter is wanted.
        fs::write(folder.path().join(".curlrc"), "fail\nsilent\nshow-error\n").unwrap();
        let log = fs::File::create(folder.path().join("shell.log")).unwrap();
        let mut command = Command::new("bash");
        command.current_dir(&folder).env("PATH", std::env::join_paths(path).unwrap());
        command.env("CURL_HOME", folder.path()).env("PYTHONUNBUFFERED", "1").env("NO_COLOR", "1");
        for variable in ["ENVOY", "ADMIN", "HUB_ADMIN", "LOG", "HUB", "TOKEN"] {
            command.env_remove(format!("TIDEGATE_{variable}"));
        }
        let second = log.try_clone().unwrap();
        command.stdin(Stdio::piped()).stdout(log).stderr(second);
        let shell = command.process_group(0).spawn().unwrap();
        Self { shell, folder }
    }

    /// Where its commands run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has the shell do what is no step of a page: what the test has to set up.
    pub(crate) fn set_up(&mut self, command: &str) {
        self.follow(&[Step::Run(command.to_owned(), Vec::new())]);
    }

    /// What `kubectl` speaks to.
    pub(crate) fn kubeconfig(&mut self, path: &Path) {
        fs::copy(path, self.folder.path().join("kubeconfig")).unwrap();
        self.set_up("export KUBECONFIG=/tmp/kubeconfig");
    }

    pub(crate) fn group(&self) -> i32 {
        i32::try_from(self.shell.id()).unwrap()
    }

    /// All steps, one after the other.
    pub(crate) fn follow(&mut self, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Write(file, text) => {
                    let file = file.strip_prefix("/tmp/").unwrap_or(file);
                    fs::write(self.folder.path().join(file), text).unwrap();
                }
                Step::Run(command, written) => self.run(number, command, written),
            }
        }
    }

    fn run(&mut self, number: usize, command: &str, written: &[String]) {
        let own = self.folder.path().display().to_string();
        let wanted: i32 = command.split_once("# exit code ").map_or(0, |(_, code)| {
            code.split(|it: char| !it.is_ascii_digit()).next().unwrap().parse().unwrap()
        });
        let end = Instant::now() + LIMIT;
        loop {
            let (code, printed) = self.once(number, &command.replace("/tmp/", &format!("{own}/")));
            let printed = printed.replace(&format!("{own}/"), "/tmp/");
            if code == wanted && (written.is_empty() || is_printed(&printed, written)) {
                return;
            }
            let again = !written.is_empty() && Instant::now() < end;
            assert!(
                again,
                "step {number} ended with {code}: {command}\nprinted:\n{printed}\nwritten:\n{}\n{}",
                written.join("\n"),
                logs(self.folder.path())
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs it in this very shell: a `cd` or an `export` is for the steps after it, too.
    fn once(&mut self, number: usize, command: &str) -> (i32, String) {
        let [out, done] = ["out", "done"].map(|it| self.folder.path().join(format!("{number}.{it}")));
        let _ = fs::remove_file(&done);
        let line = format!(
            "{{ {command}\n}} > '{}' 2>&1 < /dev/null; echo $? > '{}.new'; mv '{}.new' '{}'\n",
            out.display(),
            done.display(),
            done.display(),
            done.display()
        );
        self.shell.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let end = Instant::now() + 2 * LIMIT;
        while !done.exists() {
            assert!(
                Instant::now() < end,
                "step {number} does not end: {command}\n{}",
                logs(self.folder.path())
            );
            thread::sleep(PAUSE);
        }
        let code = fs::read_to_string(&done).unwrap().trim().parse().unwrap();
        (code, fs::read_to_string(&out).unwrap_or_default())
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        let group = self.group();
        for signal in [Signal::TERM, Signal::KILL] {
            // It may be gone already. What runs gets a moment to end in order.
            let _ = kill_process_group(Pid::from_raw(group).unwrap(), signal);
            let end = Instant::now() + Duration::from_secs(8);
            while !proc::of_group(group).is_empty() && Instant::now() < end {
                let _ = self.shell.try_wait();
                thread::sleep(PAUSE);
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
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
            let said = fs::read_to_string(&path).unwrap_or_default();
            // How an Envoy begins is long.
            let lines: Vec<&str> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(20)..];
            text += &format!("== {}\n{}\n", path.display(), last.join("\n"));
        }
    }
    text
}
