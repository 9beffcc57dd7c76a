//! What somebody at a terminal is shown: tables of any width, JSON and YAML of the same, what is watched, shifts that are told before
//! they are begun, completions and manual pages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};
use support::{
    TIDEGATE, backend,
    command::{Agent, Ran, Running, finish, run, tidegate},
    hub::{self, Hub, Place},
    skipped, wait_until, workspace,
};
use tempfile::TempDir;

/// What shows something of an agent.
const VIEWS: [&[&str]; 11] = [
    &["status"],
    &["get", "services"],
    &["get", "pools"],
    &["get", "gateways"],
    &["get", "clusters"],
    &["get", "shifts"],
    &["get", "drills"],
    &["explain", "shop/web"],
    &["whatif"],
    &["timeline"],
    &["shift", "list"],
];

/// An agent of `examples/one-cluster` with living endpoints, and its folder.
fn agent() -> (Agent, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    backend::one_cluster(&manifests);
    let agent = Agent::start(&manifests, &folder.path().join("state"));
    wait_until("all endpoints to be healthy", || {
        let pools = agent.ask_json(&["get", "pools", "--phase", "Serving"]);
        pools
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["healthy"] == 2)
            .then_some(pools)
            .filter(|it| it.as_array().unwrap().len() == 2)
    });
    (agent, folder)
}

/// The command in a terminal of this size.
fn in_terminal(columns: u32, arguments: &str) -> Command {
    let mut command = Command::new("script");
    let line = format!("stty cols {columns} rows 40 && exec {TIDEGATE} {arguments}");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm");
    command
}

fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!((ran.code, ran.stdout.lines().last()), (Some(1), ran.stdout.lines().last()), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "{word} is not in {ran:?}");
    }
}

#[test]
fn every_view_is_a_table_and_the_same_as_json_and_yaml() {
    let (agent, _folder) = agent();
    for view in VIEWS {
        let table = agent.ask(view);
        // What one cluster alone has would not survive its loss.
        let wanted = i32::from(*view == ["whatif"]);
        assert!(table.code == Some(wanted) && !table.stdout.trim().is_empty(), "{view:?}: {table:?}");
        assert!(!table.stdout.contains('\x1b'), "{view:?} is no terminal: {table:?}");
        let json = agent.ask(&[view, &["-o", "json"]].concat());
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        let yaml = agent.ask(&[view, &["-o", "yaml"]].concat());
        let read: Value =
            serde_saphyr::from_str(&yaml.stdout).unwrap_or_else(|it| panic!("{view:?}: {it}\n{yaml:?}"));
        // What is a time is later in the second answer.
        let kind =
            |it: &Value| (it.is_array(), it.as_object().map(|it| it.keys().cloned().collect::<Vec<_>>()));
        assert_eq!(kind(&read), kind(&json), "{view:?}");
    }
    let services = agent.ask(&["get", "services"]).stdout;
    assert!(services.contains("shop/web  4/4      Serving  -"), "{services}");
}

#[test]
fn services_are_found_by_what_is_wrong_with_them() {
    let (agent, _folder) = agent();
    let found =
        |more: &[&str]| agent.ask_json(&[&["get", "services"], more].concat()).as_array().unwrap().len();
    assert_eq!((found(&[]), found(&["-n", "shop"]), found(&["-n", "shops"])), (1, 1, 0));
    let broken = || [found(&["--away"]), found(&["--phase", "out"]), found(&["--phase", "shifted"])];
    assert_eq!(broken(), [0, 0, 0]);
    assert_eq!([found(&["--at-risk"]), found(&["--cannot-fail-over"])], [0, 0], "the other zone is there");
    let away = ["shift", "away", "--zone", "zone-a", "--for", "5m", "--comment", "test", "--yes"];
    assert_eq!(agent.ask(&away).code, Some(0));
    wait_until("the shift to be seen", || (broken() == [1, 0, 1]).then_some(()));
    let ran = agent.ask(&["get", "services", "--phase", "gone"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("a phase is one of Serving, Reduced, Out"), "{ran:?}");
}

#[test]
fn who_watches_is_told_what_is_new_and_ends_in_order() {
    let (agent, _folder) = agent();
    let admin = agent.admin.to_string();
    let mut table = Running::start(tidegate().args(["get", "pools", "--watch", "--admin", &admin]));
    let mut json = Running::start(tidegate().args(["get", "shifts", "-w", "-o", "json", "--admin", &admin]));
    let mut timeline = Running::start(tidegate().args(["timeline", "-w", "--admin", &admin]));
    table.until_said("both pools", |text| (text.matches("Serving").count() == 2).then_some(()));
    json.until_said("that there is no shift", |text| text.contains("[]").then_some(()));
    let away = ["shift", "away", "--zone", "zone-a", "--for", "5m", "--comment", "test", "--yes"];
    assert_eq!(agent.ask(&away).code, Some(0));
    table.until_said("the new phase", |text| text.contains("Shifted").then_some(()));
    let said = table.said();
    assert_eq!(said.matches("SERVICE").count(), 1, "only what is new: {said}");
    assert_eq!(said.matches("zone-b").count(), 1, "only what is new: {said}");
    json.until_said("the shift", |text| {
        let line = text.lines().find(|line| line.contains("zone-zone-a"))?;
        serde_json::from_str::<Value>(line).ok()
    });
    timeline.until_said("the shift", |text| text.contains("shiftChanged").then_some(()));
    for mut watch in [table, json, timeline] {
        watch.signal(Signal::INT);
        let (ended, said) = (watch.ended(), watch.said());
        assert!(ended.success() && !said.contains('\x1b'), "{ended:?} {said}");
    }
}

#[test]
fn a_watch_goes_on_without_the_agent_and_says_so() {
    let (agent, _folder) = agent();
    let mut watch = Running::start(tidegate().args(["status", "-w", "--admin", &agent.admin.to_string()]));
    watch.until_said("the status", |text| text.contains("tidegate explain").then_some(()));
    drop(agent);
    watch.until_said("that nobody answers", |text| text.contains("error: nobody answers at").then_some(()));
    watch.signal(Signal::TERM);
    assert!(watch.ended().success());
}

#[test]
fn a_narrow_terminal_breaks_no_name_and_colour_is_never_needed() {
    let test = "a_narrow_terminal_breaks_no_name_and_colour_is_never_needed";
    if !cfg!(target_os = "linux") {
        return skipped(test, "script takes other options elsewhere");
    }
    let (agent, _folder) = agent();
    let away = ["shift", "away", "--zone", "zone-a", "--for", "5m", "--comment", "test", "--yes"];
    assert_eq!(agent.ask(&away).code, Some(0));
    for view in VIEWS.iter().filter(|it| **it != ["timeline"]) {
        let line = format!("{} --admin {}", view.join(" "), agent.admin);
        let ran = finish(in_terminal(60, &line).env("NO_COLOR", "1"));
        assert!(!ran.stdout.contains("\x1b["), "{view:?}: {}", ran.stdout);
        let wide = ran.stdout.lines().find(|it| it.trim_end().chars().count() > 60);
        // A name that is longer stays whole.
        assert!(
            wide.is_none_or(|it| it.split_whitespace().any(|word| word.len() > 50)),
            "{view:?}: {wide:?}"
        );
        assert!(!ran.stdout.trim().is_empty(), "{view:?}");
    }
    let line = format!("get pools --admin {}", agent.admin);
    let plain = finish(in_terminal(60, &line).env("NO_COLOR", "1")).stdout;
    let coloured = finish(in_terminal(60, &line).env_remove("NO_COLOR")).stdout;
    assert!(coloured.contains("\x1b[36mShifted\x1b[0m"), "{coloured}");
    assert_eq!(coloured.replace("\x1b[36m", "").replace("\x1b[0m", ""), plain, "colour adds nothing");
}

#[test]
fn a_shift_is_told_before_it_is_begun_and_is_extended_and_ended() {
    let (agent, _folder) = agent();
    let away = ["shift", "away", "--zone", "zone-a", "--for", "30m", "--comment", "rack work"];
    let told = agent.ask(&away);
    refused(&told, &["nothing was moved", "--yes"]);
    for text in [
        "If 100 % of the traffic left zone local/zone-a",
        "zone zone-a 100 %  zone zone-b 100 %",
        "2 -> 4 endpoints",
        "N-1 AFTERWARDS",
    ] {
        assert!(told.stdout.contains(text), "{text} is not in\n{}", told.stdout);
    }
    let dry = agent.ask(&[away.as_slice(), &["--dry-run"]].concat());
    assert!(dry.code == Some(0) && dry.stdout.contains("nothing was moved"), "{dry:?}");
    let typo = ["shift", "away", "--zone", "zone-x", "--for", "30m", "--comment", "c", "--yes"];
    refused(&agent.ask(&typo), &["the fleet has no zone/local/zone-x", "hint:", "zone/local/zone-a"]);
    assert_eq!(agent.ask_json(&["shift", "list"]), serde_json::json!([]), "nothing was begun");

    let begun = agent.ask(&[away.as_slice(), &["--yes"]].concat());
    assert!(begun.code == Some(0) && begun.stdout.contains("tidegate shift end zone-zone-a"), "{begun:?}");
    let left = || agent.ask_json(&["shift", "list"])[0]["remainingMs"].as_u64().unwrap();
    assert!(left() <= 1_800_000);
    let extend = |lasts: &str| agent.ask(&["shift", "extend", "zone-zone-a", "--for", lasts]);
    assert_eq!(extend("2h").code, Some(0));
    assert!((7_000_000..=7_200_000).contains(&left()), "{}", left());
    refused(&extend("10m"), &["anyway, which is longer", "tidegate shift end zone-zone-a"]);
    refused(&extend("soon"), &["for is a duration"]);
    refused(
        &agent.ask(&["shift", "extend", "zone-q", "--for", "1h"]),
        &["no shift \"zone-q\"", "tidegate shift list"],
    );

    // The last healthy place is refused, and the outlook says so.
    let last =
        agent.ask(&["shift", "away", "--zone", "zone-b", "--for", "5m", "--comment", "c", "--dry-run"]);
    assert!(last.stdout.contains("REFUSED") && last.stdout.contains("--force"), "{last:?}");
    assert_eq!(agent.ask(&["shift", "end", "zone-zone-a"]).code, Some(0));
    assert_eq!(agent.ask_json(&["get", "shifts"]), serde_json::json!([]));
}

#[test]
fn at_a_terminal_it_asks_and_does_what_is_answered() {
    let test = "at_a_terminal_it_asks_and_does_what_is_answered";
    if !cfg!(target_os = "linux") {
        return skipped(test, "script takes other options elsewhere");
    }
    let (agent, _folder) = agent();
    let line = format!("shift away --zone zone-a --for 5m --comment test --admin {}", agent.admin);
    for (answer, shifts) in [("n\n", 0), ("\n", 0), ("y\n", 1)] {
        let mut asked = Running::start(in_terminal(80, &line).stdin(Stdio::piped()));
        asked.answer(answer);
        asked.ended();
        let said = asked.said();
        assert!(said.contains("Move the traffic? [y/N]"), "{said}");
        assert_eq!(agent.ask_json(&["shift", "list"]).as_array().unwrap().len(), shifts, "{said}");
    }
}

#[test]
fn the_hub_answers_for_the_fleet_and_says_what_it_does_not_know() {
    let place = Place::new();
    let cluster = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: us-east}\nspec: {region: us}\n";
    place.write("fleet.yaml", cluster);
    let hub = Hub::start(&place, hub::ANY, &["--trust-domain", "fleet.example"]);
    let manifests = place.at("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::copy(workspace().join("examples/one-cluster/services.yaml"), manifests.join("services.yaml"))
        .unwrap();
    let agent = hub::Agent::join(&place, &hub, "us-east", Some(&manifests));
    let admin = hub.admin.to_string();
    let ask = |view: &[&str], form: &str| run([view, &["--hub", &admin, "-o", form]].concat());
    let pools = || -> Value { serde_json::from_str(&ask(&["get", "pools"], "json").stdout).unwrap() };
    wait_until("the hub to know the pools", || (pools().as_array()?.len() == 2).then_some(()));
    for view in [
        ["status"].as_slice(),
        &["get", "services"],
        &["get", "pools"],
        &["get", "gateways"],
        &["get", "clusters"],
        &["get", "drills"],
        &["get", "shifts"],
        &["shift", "list"],
        &["explain", "shop/web"],
        &["timeline"],
    ] {
        for form in ["table", "json", "yaml"] {
            let ran = ask(view, form);
            assert!(ran.code == Some(0) && !ran.stdout.trim().is_empty(), "{view:?} {form}: {ran:?}");
        }
    }
    assert!(ask(&["get", "services"], "table").stdout.contains("us-east"));
    refused(&ask(&["get", "services", "--at-risk"], "table"), &["does not foresee", "--admin"]);
    refused(&ask(&["explain", "shop/wbe"], "table"), &["shop/wbe", "tidegate get services --hub"]);
    drop(agent);
    wait_until("what is old to say so", || {
        ask(&["get", "services"], "table").stdout.contains("us-east is gone, heard").then_some(())
    });
}

#[test]
fn whatever_is_asked_in_vain_says_what_to_do() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for view in VIEWS {
        let ran = run([view, &["--admin", &address]].concat());
        assert!(ran.code.is_some_and(|code| code > 0), "{view:?}: {ran:?}");
        assert!(
            ran.stderr.contains("nobody answers at") && ran.stderr.contains("hint:"),
            "{view:?}: {ran:?}"
        );
    }
    for wrong in [
        ["get", "servces"].as_slice(),
        &["shft"],
        &["get", "pools", "--pase", "Out"],
        &["completions", "tcsh"],
    ] {
        let ran = run(wrong);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let helps = ["similar", "possible values", "--help"];
        assert!(helps.iter().any(|it| ran.stderr.contains(it)), "{ran:?}");
    }
}

#[test]
fn shells_complete_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(["completions", shell]);
        assert!(script.code == Some(0) && script.stdout.contains("tidegate"), "{shell}");
        fs::write(folder.path().join(shell), script.stdout).unwrap();
    }
    let complete = |words: &str, word: &str| {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tidegate tidegate '{word}' ''; echo ${{COMPREPLY[*]}}",
            folder.path().join("bash").display()
        );
        finish(Command::new("bash").args(["--norc", "-c", &script])).stdout
    };
    assert_eq!(complete("tidegate timel", "timel").trim(), "timeline");
    assert_eq!(complete("tidegate get s", "s").trim(), "services shifts");
    assert_eq!(complete("tidegate shift away --comm", "--comm").trim(), "--comment");
}

#[test]
fn every_command_has_a_manual_page_that_renders() {
    let test = "every_command_has_a_manual_page_that_renders";
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    let ran = run(["man", pages.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for name in ["tidegate", "tidegate-get-services", "tidegate-shift-away", "tidegate-drill-run"] {
        assert!(pages.join(format!("{name}.1")).is_file(), "{name}");
    }
    if Command::new("man").arg("--version").output().is_err() {
        return skipped(test, "no man on PATH");
    }
    for page in fs::read_dir(&pages).unwrap() {
        let mut man = Command::new("man");
        man.args(["--warnings=w", "-E", "UTF-8", "-l"]).arg(page.unwrap().path()).env("MANWIDTH", "80");
        let ran = finish(man.stdin(Stdio::null()));
        assert!(ran.code == Some(0) && ran.stderr.is_empty() && ran.stdout.contains("NAME"), "{ran:?}");
    }
}
