//! `cargo xtask test`: all tests, with an Envoy, and with an account of what was skipped.
//!
//! A test that lacks something (root, a program) prints `SKIPPED <test>: <reason>` and appends the
//! same line to the file that `TIDEGATE_SKIPPED` names. In CI every skip is a failure.

use crate::{
    charts,
    command::{cargo, watch},
    envoy, grpcio, metadata, schemathesis,
};
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

/// The environment variable that names the file of skipped tests.
const SKIPPED: &str = "TIDEGATE_SKIPPED";

/// So much is repeated of what a failed test said; the rest stands above.
const MAX_SAID: usize = 2000;

/// How many tests came to what. Its `Display` is a line that CI reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs the tests, all or those that `args` choose.
pub(crate) fn run(root: &Path, envoy: &Path, args: &[String]) -> Result<Totals> {
    let target = metadata::target_directory(root)?;
    let skips = target.join("xtask/skipped.txt");
    prepare(&skips)?;
    let oldest = or_skip("the oldest supported Envoy", envoy::oldest(root))?;
    let grpcio = or_skip("the gRPC client", grpcio::find(root))?;
    let schemathesis = or_skip("Schemathesis", schemathesis::find(root))?;
    let helm = or_skip("Helm", charts::helm(root))?;
    let hadolint = or_skip("hadolint", charts::hadolint(root))?;
    let found = [
        (envoy::OLDEST_VARIABLE, &oldest),
        (grpcio::VARIABLE, &grpcio),
        (schemathesis::VARIABLE, &schemathesis),
        (charts::HELM, &helm),
        (charts::HADOLINT, &hadolint),
    ];
    let tests = |arguments: &[&str]| {
        let mut command = cargo(root);
        command.args(arguments).env(envoy::VARIABLE, envoy).env(SKIPPED, &skips);
        for (variable, path) in found.iter().filter_map(|(variable, path)| Some((variable, path.as_ref()?))) {
            command.env(variable, path);
        }
        command
    };
    // `-p` chooses among the packages; `--workspace` beside it would choose them all again.
    let everywhere = !args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let (mut totals, mut trouble) = (Totals::default(), Trouble::default());
    let mut ok = true;
    if has_nextest(root) {
        let report = target.join("nextest/default/junit.xml");
        remove(&report)?;
        let mut nextest = tests(&["nextest", "run", "--no-fail-fast"]);
        nextest.args(everywhere.then_some("--workspace")).args(args);
        ok &= nextest.status().context("`cargo nextest run` did not start")?.success();
        if let Ok(xml) = fs::read_to_string(&report) {
            totals.add(from_junit(&xml).with_context(|| format!("no totals in {}", report.display()))?);
            trouble = Trouble::parse(&xml);
        }
        if args.is_empty() && has_doctests(root)? {
            let mut doctests = tests(&["test", "--doc", "--workspace", "--no-fail-fast"]);
            ok &= watch(&mut doctests, |line| totals.add(from_line(line)))?;
        }
    } else {
        println!("cargo-nextest is not installed; `cargo test` runs the tests one at a time.");
        let mut plain = tests(&["test", "--no-fail-fast"]);
        plain.args(everywhere.then_some("--workspace")).args(args).env("RUST_TEST_THREADS", "1");
        ok &= watch(&mut plain, |line| totals.add(from_line(line)))?;
    }
    let skipped = Skips::parse(&fs::read_to_string(&skips).unwrap_or_default());
    print!("{skipped}{trouble}");
    judge(ok, totals, skipped.tests.len() as u64, in_ci())
}

/// Something without which some tests skip themselves, which CI does not allow.
fn or_skip(what: &str, found: Result<PathBuf>) -> Result<Option<PathBuf>> {
    match found {
        Ok(path) => Ok(Some(path)),
        Err(error) if in_ci() => Err(error),
        Err(error) => {
            eprintln!("note: tests with {what} will be skipped: {error:#}");
            Ok(None)
        }
    }
}

/// What a run of the tests came to, when so many tests skipped themselves.
fn judge(ok: bool, mut totals: Totals, skips: u64, in_ci: bool) -> Result<Totals> {
    // A test that skips itself returns, and so counts as passed for its runner.
    totals.passed = totals.passed.saturating_sub(skips);
    totals.skipped += skips;
    if !ok {
        bail!(
            "tests failed ({totals}), did not build, or none was chosen; the first message above says which. \
             One alone: `cargo xtask test NAME`"
        );
    }
    if in_ci && skips > 0 {
        bail!("{totals}; in CI a test must not skip itself: install what it lacks (`cargo xtask setup`)");
    }
    Ok(totals)
}

fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

fn has_nextest(root: &Path) -> bool {
    let mut version = cargo(root);
    version.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

fn prepare(skips: &Path) -> Result<()> {
    let folder = skips.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    remove(skips)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The totals in the root element of nextest's JUnit report.
fn from_junit(xml: &str) -> Option<Totals> {
    let root = xml.split_once("<testsuites ")?.1.split_once('>')?.0;
    let number = |name: &str| -> Option<u64> {
        let value = root.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0;
        value.parse().ok()
    };
    let (tests, failed) = (number("tests")?, number("failures")? + number("errors")?);
    Some(Totals { passed: tests.checked_sub(failed)?, failed, skipped: 0 })
}

/// The tests that did not pass at once, with what they said first. Printed last: the output of a failed test is long.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trouble {
    failed: Vec<(String, String)>,
    /// Passed when they were run again.
    flaky: Vec<(String, String)>,
}

impl Trouble {
    /// From nextest's JUnit report.
    fn parse(xml: &str) -> Self {
        let plain = |text: &str| {
            let text = text.replace("&quot;", "\"").replace("&apos;", "'").replace("&lt;", "<");
            text.replace("&gt;", ">").replace("&amp;", "&")
        };
        let attribute = |tag: &str, name: &str| {
            Some(tag.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.to_owned())
        };
        let mut trouble = Self::default();
        for case in xml.split("<testcase").skip(1) {
            let (tag, rest) = case.split_once('>').unwrap_or((case, ""));
            let name = [attribute(tag, "classname"), attribute(tag, "name")].map(Option::unwrap_or_default);
            let said = |kind: &str| {
                let text = rest.split_once(kind)?.1.split_once('>')?.1;
                let text = text.split_once('<').map_or(text, |it| it.0);
                let text = text.split_once("stack backtrace:").map_or(text, |it| it.0);
                Some(
                    plain(text).chars().take(MAX_SAID).collect::<String>().trim_end().replace('\n', "\n    "),
                )
            };
            if let Some(said) = said("<flakyFailure") {
                trouble.flaky.push((name.join(" "), said));
            } else if let Some(said) = said("<failure").or_else(|| said("<error")) {
                trouble.failed.push((name.join(" "), said));
            }
        }
        trouble
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, tests) in [("failed", &self.failed), ("passed only when run again", &self.flaky)] {
            if !tests.is_empty() {
                writeln!(f, "{what}:")?;
            }
            for (name, said) in tests {
                writeln!(f, "  {name}: {said}")?;
            }
        }
        Ok(())
    }
}

/// The totals in a line of libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; zero in other lines.
fn from_line(line: &str) -> Totals {
    let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
        return Totals::default();
    };
    let number = |what: &str| {
        let count = counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
        count.unwrap_or(0)
    };
    Totals { passed: number("passed"), failed: number("failed"), skipped: number("ignored") }
}

/// The tests that skipped themselves, by reason.
#[derive(Debug, Default, PartialEq, Eq)]
struct Skips {
    tests: BTreeSet<String>,
    by_reason: BTreeMap<String, BTreeSet<String>>,
}

impl Skips {
    fn parse(text: &str) -> Self {
        let mut skips = Self::default();
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("SKIPPED ")) {
            let (test, reason) = line.split_once(": ").unwrap_or((line, "no reason given"));
            skips.tests.insert(test.to_owned());
            skips.by_reason.entry(reason.to_owned()).or_default().insert(test.to_owned());
        }
        skips
    }
}

impl fmt::Display for Skips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, tests) in &self.by_reason {
            writeln!(f, "skipped, {reason}:")?;
            for test in tests {
                writeln!(f, "  {test}")?;
            }
        }
        Ok(())
    }
}

/// Whether a documentation example is to be run in any crate: `cargo test --doc` takes its time even for none.
fn has_doctests(root: &Path) -> Result<bool> {
    let mut folders: Vec<PathBuf> = vec![root.join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && holds_doctest(&fs::read_to_string(&path).unwrap_or_default())
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether a doc comment opens a code block that rustdoc runs or compiles.
fn holds_doctest(source: &str) -> bool {
    let mut open = false;
    for line in source.lines().map(str::trim_start) {
        let Some(text) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            open = false;
            continue;
        };
        let Some(tags) = text.trim_start().strip_prefix("```") else { continue };
        open = !open;
        let rust = |tag: &str| {
            matches!(tag, "" | "rust" | "should_panic" | "no_run" | "compile_fail")
                || tag.starts_with("edition")
        };
        if open && tags.split([',', ' ']).map(str::trim).all(rust) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_come_from_nextests_report() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="f0" time="1.0">
    <testsuite name="a" tests="99" failures="0" errors="0">"#;
        assert_eq!(from_junit(xml), Some(Totals { passed: 9, failed: 3, skipped: 0 }));
        assert_eq!(from_junit("<testsuites name=\"x\">"), None);
    }

    #[test]
    fn what_did_not_pass_at_once_is_told_by_name() {
        let xml = r#"<testsuites name="nextest-run" tests="3" failures="1" errors="0">
  <testsuite name="cli" tests="3" failures="1" errors="0">
    <testcase name="good" classname="cli" time="0.1"></testcase>
    <testcase name="shaky" classname="cli" time="0.1">
      <flakyFailure message="at a:1" type="test failure">first
a &lt; b
stack backtrace:
  1: no</flakyFailure>
    </testcase>
    <testcase name="bad" classname="cli" time="0.1">
      <failure message="at b:1" type="test failure">long</failure>
    </testcase>"#;
        assert_eq!(
            Trouble::parse(xml).to_string(),
            "failed:\n  cli bad: long\npassed only when run again:\n  cli shaky: first\n    a < b\n"
        );
        assert_eq!(Trouble::parse("").to_string(), "");
    }

    #[test]
    fn totals_come_from_libtests_lines() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(from_line(line), Totals { passed: 3, failed: 1, skipped: 2 });
        assert_eq!(from_line("running 3 tests"), Totals::default());
    }

    #[test]
    fn totals_read_as_ci_expects_them() {
        assert_eq!(Totals { passed: 3, failed: 0, skipped: 0 }.to_string(), "3 passed, 0 failed");
        assert_eq!(Totals { passed: 3, failed: 1, skipped: 2 }.to_string(), "3 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn skips_are_told_by_reason_and_counted_once() {
        let skips = Skips::parse(
            "SKIPPED a::b: needs root\nnoise\nSKIPPED c: needs root\nSKIPPED c: needs root\nSKIPPED d\n",
        );
        assert_eq!(skips.tests.len(), 3);
        assert_eq!(skips.to_string(), "skipped, needs root:\n  a::b\n  c\nskipped, no reason given:\n  d\n");
    }

    #[test]
    fn a_skip_is_counted_and_fails_ci() {
        let run = Totals { passed: 3, failed: 0, skipped: 1 };
        assert_eq!(judge(true, run, 2, false).unwrap(), Totals { passed: 1, failed: 0, skipped: 3 });
        assert_eq!(
            judge(true, run, 0, true).unwrap(),
            run,
            "a test that is switched off is not one that lacks something"
        );
        assert!(
            judge(true, run, 2, true)
                .unwrap_err()
                .to_string()
                .starts_with("1 passed, 0 failed, 3 skipped; in CI")
        );
        assert!(judge(false, run, 0, false).unwrap_err().to_string().starts_with("tests failed (3 passed"));
    }

    #[test]
    fn only_examples_that_rustdoc_runs_are_doctests() {
        for (source, expected) in [
            ("/// ```\n/// f();\n/// ```", true),
            ("    //! ```rust\n    //! f();\n", true),
            ("/// ```should_panic, edition2024\n/// ```", true),
            ("/// ```text\n/// a picture\n/// ```", false),
            ("/// ```yaml\n/// a: b\n/// ```\nfn f() {}", false),
            ("/// ```ignore\n/// ```", false),
            ("// ```\n// no doc\n// ```", false),
            ("fn f() {}", false),
        ] {
            assert_eq!(holds_doctest(source), expected, "{source}");
        }
    }
}
