//! `tidegate simulate` and `tidegate replay` as a user meets them: tables, JSON, pictures, exit codes, mistakes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use support::{
    command::{Ran, run},
    workspace,
};
use tidegate_agent::{
    core::{Core, Input},
    journal::{Header, Journal, Limits},
};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_model::{ClusterName, ProbeVerdict, Time};

fn incident(name: &str) -> String {
    workspace().join("examples/incidents").join(name).to_str().unwrap().to_owned()
}

fn good(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    &ran.stdout
}

#[test]
fn a_simulation_prints_its_tables_and_writes_its_picture() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("loss.svg");
    let ran = run(["simulate", "-f", &incident("zone-loss.yaml"), "--svg", svg.to_str().unwrap()]);
    let out = good(&ran);
    assert!(out.starts_with("Zone loss: us-east-1a answers nothing for 30 s\n"), "{out}");
    let row =
        |word: &str| out.lines().find(|it| it.contains(word)).unwrap_or_else(|| panic!("{word}: {out}"));
    for head in ["FAULT", "DETECTED", "RTO", "STABLE AGAIN"] {
        assert!(row("FROM").contains(head), "{out}");
    }
    let fault = row("zone us-east-1a lost");
    assert!(fault.contains("20.0 s") && fault.contains("50.0 s") && fault.contains("0.000 %"), "{fault}");
    assert!(row("shop/web").contains("us-east/us-east-1a"), "{out}");
    assert!(out.contains("us-east-1a: Serving to Out: 0 of 2 healthy"), "{out}");
    let kept = fs::read_to_string(workspace().join("docs/incidents/zone-loss.svg")).unwrap();
    assert!(fs::read_to_string(&svg).unwrap() == kept, "the picture is that of docs/incidents");
}

#[test]
fn the_json_of_a_simulation_has_the_numbers_of_each_fault_and_of_each_place() {
    let ran = run(["simulate", "-f", &incident("capacity-squeeze.yaml"), "-o", "json"]);
    let report: Value = serde_json::from_str(good(&ran)).unwrap();
    let fault = &report["faults"][0];
    assert_eq!((&fault["atMs"], &fault["what"]), (&80_000.into(), &"zone us-west-1a lost".into()));
    assert_eq!(fault["measures"]["rtoMs"], Value::Null, "it is not recovered from");
    assert!(fault["measures"]["errorFraction"].as_f64().unwrap() > 0.1, "{fault}");
    for place in
        ["shop/web@us-west/us-west-1b", "zone us-west/us-west-1b", "cluster us-west", "region us-west"]
    {
        assert!(report["utilisation"][place]["peak"].as_f64().unwrap() > 1.0, "{place}: {report}");
    }
    let sample = &report["samples"][300];
    assert!(sample["locations"]["region us-west"]["utilisation"].as_f64().is_some(), "{sample}");
}

#[test]
fn a_mistake_in_a_scenario_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (file, svg) = (folder.path().join("s.yaml"), folder.path().join("s.svg"));
    let manifests = workspace().join("examples/two-regions");
    let faults = "- {at: 1s, lose: region/us-eats}\n- {at: 1s, lose: zone/us-west-1c}\n";
    fs::write(&file, format!("manifests: {}\nduration: 1m\nfaults:\n{faults}", manifests.display())).unwrap();
    let ran = run(["simulate", "-f", file.to_str().unwrap(), "--svg", svg.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    let at = |line: u32| format!("{}:{line}:18: ", file.display());
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            format!("error: {}there is no region us-eats", at(4)),
            "  hint: did you mean \"us-east\"?".to_owned(),
            format!("{}there is no zone us-west-1c", at(5)),
            "  hint: did you mean \"us-west-1a\"?".to_owned(),
        ]
    );
    assert!(!svg.exists());
    let ran = run(["simulate", "-f", "/nowhere/s.yaml"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("hint: name a scenario file"), "{ran:?}");
    assert_eq!(run(["simulate"]).code, Some(2), "a command line without a file is wrong");
    let nowhere = ["simulate", "-f", &incident("zone-loss.yaml"), "--svg", "/nowhere/s.svg"];
    let ran = run(nowhere);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.starts_with("error: cannot write /nowhere/s.svg"), "{ran:?}");
}

/// A thousand faults in five minutes; those of one kind at one place follow each other.
fn thousand() -> String {
    let mut text = format!(
        "manifests: {}\nduration: 5m\ndemand:\n- {{service: shop/web, source: us-east/us-east-1a, curve: [{{at: 0s, rps: 100}}]}}\nfaults:\n",
        workspace().join("examples/two-regions").display()
    );
    let zones = ["us-east-1a", "us-east-1b", "us-west-1a", "us-west-1b"];
    for number in 0..1000_usize {
        let (at, zone) = (2_000 + 295 * number, zones[number / 5 % 4]);
        let what = match number % 5 {
            0 => format!("lose: zone/{zone}"),
            1 => format!("brownOut: zone/{zone}, percent: {}", number % 100),
            2 => format!("flap: zone/{zone}, period: 300ms"),
            3 => "dropStatus: us-east, percent: 50".to_owned(),
            _ => "restartAgent: us-west".to_owned(),
        };
        writeln!(text, "- {{at: {at}ms, for: {}ms, {what}}}", 200 + number % 1_000).unwrap();
    }
    text
}

#[test]
fn two_processes_give_the_same_bytes_for_a_scenario_of_a_thousand_events() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.yaml");
    fs::write(&file, thousand()).unwrap();
    let play = |name: &str| {
        let svg = folder.path().join(name);
        let ran =
            run(["simulate", "-f", file.to_str().unwrap(), "-o", "json", "--svg", svg.to_str().unwrap()]);
        (good(&ran).to_owned(), fs::read_to_string(svg).unwrap())
    };
    let (one, two) = (play("one.svg"), play("two.svg"));
    assert!(one == two, "two processes differ");
    let report: Value = serde_json::from_str(&one.0).unwrap();
    assert_eq!(report["faults"].as_array().unwrap().len(), 1000);
    assert!(report["decisions"].as_array().unwrap().len() > 500);
}

/// What an agent of examples/one-cluster wrote: its endpoints come up, and all but one go down.
fn journal(folder: &Path) -> PathBuf {
    let path = workspace().join("examples/one-cluster");
    let mut sources = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            sources.push(SourceFile { path: path.to_string_lossy().into_owned(), text });
        }
    }
    let own: ClusterName = "home".parse().unwrap();
    let config: Arc<Config> = Arc::new(Loader::new(own.clone()).load(&sources).config);
    let keys: Vec<_> = config
        .services
        .iter()
        .flat_map(|(name, it)| it.endpoints.keys().map(|address| (name.clone(), *address)))
        .collect();
    assert!(keys.len() > 1);
    let mut inputs = vec![Input::Manifests(Arc::clone(&config))];
    inputs.extend(keys.iter().map(|key| Input::Checked(key.clone(), ProbeVerdict::Up)));
    let down = ProbeVerdict::Down("connection refused".to_owned());
    inputs.extend(keys.iter().skip(1).map(|key| Input::Checked(key.clone(), down.clone())));
    let limits = Limits { queue: 10_000, file_bytes: u64::MAX, files: 2, bytes_per_second: u64::MAX };
    let (mut journal, writer) = Journal::new(folder.to_owned(), Header::first(own.clone(), None, 1), limits);
    let mut core = Core::new(own, None, Time::ZERO);
    for (number, input) in (1_u64..).zip(inputs) {
        let at = Time::from_millis(number * 10);
        let output = core.handle(input.clone(), at);
        journal.note(at, input, output.records, &core);
    }
    // It writes until nobody notes anything any more.
    drop(journal);
    writer.run();
    fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).min().unwrap()
}

#[test]
fn a_journal_replays_and_its_check_says_that_it_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let file = journal(folder.path());
    let file = file.to_str().unwrap();
    let ran = run(["replay", file]);
    let out = good(&ran);
    assert!(
        out.lines().any(|it| it.contains("Serving to Out") || it.contains("Serving to Reduced")),
        "{out}"
    );
    let ran = run(["replay", "--check", file]);
    assert!(good(&ran).trim_end().ends_with("decisions: the replay decides as the agent did"), "{ran:?}");
}

#[test]
fn a_journal_that_was_tampered_with_is_told_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = journal(folder.path());
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let number = lines.iter().position(|it| it.contains("connection refused")).unwrap();
    // The check is said to have succeeded, while the decisions that followed from its failure are still there.
    let mut input: Value = serde_json::from_str(lines[number]).unwrap();
    let verdict = find(&mut input, "verdict").unwrap();
    *verdict = serde_json::json!({"verdict": "up"});
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    lines[number] = input.to_string();
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let ran = run(["replay", "--check", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    let place = format!("error: {}:{}: at ", file.display(), number + 1);
    assert!(ran.stderr.starts_with(&place), "{} {place}", ran.stderr);
    assert!(ran.stderr.contains("written:") && ran.stderr.contains("replayed:\n    nothing"), "{ran:?}");
    assert_eq!(run(["replay", file.to_str().unwrap()]).code, Some(0), "without --check nothing is compared");
}

/// The object that has this key, wherever it is.
fn find<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    if value.get(key).is_some() {
        return Some(value);
    }
    match value {
        Value::Object(fields) => fields.values_mut().find_map(|it| find(it, key)),
        Value::Array(items) => items.iter_mut().find_map(|it| find(it, key)),
        _ => None,
    }
}

#[test]
fn what_is_no_journal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.jsonl");
    fs::write(&file, "hello\n").unwrap();
    for path in [file.to_str().unwrap(), "/nowhere/x.jsonl"] {
        let ran = run(["replay", path]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: {path}")), "{ran:?}");
    }
}
