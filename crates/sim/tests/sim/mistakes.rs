//! What is wrong in a scenario is told with file, line, column and what to do: all of it at once.

use crate::root;
use std::path::Path;
use tidegate_sim::{Scenario, ScenarioError};

/// A scenario's head that is right, three lines long.
const HEAD: &str = "manifests: examples/two-regions\nduration: 5m\nfaults:\n";

/// All that is told of a scenario that lies in the project's folder.
fn told(text: &str) -> String {
    let folder = root().canonicalize().unwrap();
    let found = Scenario::parse(text, &folder.join("s.yaml")).and_then(|it| it.fleet().map(|_| ()));
    let told = match found {
        Ok(()) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    };
    told.replace(&format!("{}/", folder.display()), "")
}

/// Cases, each with its name, its text and what is told.
fn check(cases: &[(&str, String, &str)]) {
    for (name, text, expected) in cases {
        assert_eq!(told(text), *expected, "{name}:\n{text}");
    }
}

fn fault(text: &str) -> String {
    format!("{HEAD}- {text}\n")
}

fn demand(text: &str) -> String {
    format!("manifests: examples/two-regions\nduration: 5m\ndemand:\n- {text}\n")
}

#[test]
fn a_right_scenario_has_no_mistakes() {
    check(&[
        ("faults", fault("{at: 1s, for: 5s, lose: zone/us-east-1a}"), "nothing"),
        (
            "the same loss twice",
            fault("{at: 1s, lose: region/us-east}\n- {at: 2s, lose: region/us-east}"),
            "nothing",
        ),
        (
            "one after the other",
            fault(
                "{at: 1s, for: 1s, brownOut: zone/us-east-1a, percent: 10}\n- {at: 2s, brownOut: zone/us-east-1a, percent: 20}",
            ),
            "nothing",
        ),
        (
            "demand",
            demand("{service: shop/web, source: us-east/us-east-1a, curve: [{at: 0s, rps: 1}]}"),
            "nothing",
        ),
    ]);
}

#[test]
fn names_that_the_manifests_do_not_know_are_told_with_the_nearest_that_they_do() {
    check(&[
        ("region", fault("{at: 1s, lose: region/us-eats}"), "s.yaml:4:18: there is no region us-eats\n  hint: did you mean \"us-east\"?"),
        ("cluster", fault("{at: 1s, lose: cluster/mars}"), "s.yaml:4:18: there is no cluster mars\n  hint: the clusters are: us-east, us-west"),
        ("zone", fault("{at: 1s, lose: zone/us-east-1c}"), "s.yaml:4:18: there is no zone us-east-1c\n  hint: did you mean \"us-east-1a\"?"),
        ("endpoint", fault("{at: 1s, lose: \"endpoint/127.0.1.11:1\"}"), "s.yaml:4:18: no service has the endpoint 127.0.1.11:1\n  hint: use an address of an EndpointSlice, with its port"),
        ("partition", fault("{at: 1s, partition: {from: us-east, to: us-wset}}"), "s.yaml:4:43: there is no cluster us-wset\n  hint: did you mean \"us-west\"?"),
        ("agent", fault("{at: 1s, for: 1s, restartAgent: us-north}"), "s.yaml:4:35: there is no cluster us-north\n  hint: the clusters are: us-east, us-west"),
        ("service", demand("{service: shop/wbe, source: us-east/us-east-1a, curve: [{at: 0s, rps: 1}]}"), "s.yaml:4:13: there is no service shop/wbe\n  hint: did you mean \"shop/web\"?"),
        ("source's cluster", demand("{service: shop/web, source: us-esat/us-east-1a, curve: [{at: 0s, rps: 1}]}"), "s.yaml:4:31: there is no cluster us-esat\n  hint: did you mean \"us-east\"?"),
        ("source's zone", demand("{service: shop/web, source: us-east/us-west-1a, curve: [{at: 0s, rps: 1}]}"), "s.yaml:4:31: there is no zone us-west-1a in cluster us-east\n  hint: did you mean \"us-east-1a\"?"),
        ("capacity", "manifests: examples/two-regions\nduration: 5m\ncapacity: [{service: shop/card, perEndpoint: 5}]\n".to_owned(), "s.yaml:3:22: there is no service shop/card\n  hint: did you mean \"shop/cart\"?"),
    ]);
}

#[test]
fn what_is_no_fleet_is_told_at_the_line_that_names_it() {
    check(&[
        (
            "no folder",
            "manifests: examples/none\nduration: 5m\n".to_owned(),
            "s.yaml:1:12: examples/none: No such file or directory (os error 2)\n  hint: write a folder, relative to this file",
        ),
        (
            "no cluster",
            "manifests: docs\nduration: 5m\n".to_owned(),
            "s.yaml:1:12: docs names no cluster\n  hint: put each cluster's manifests into a folder of its name, beside the FleetClusters",
        ),
    ]);
}

#[test]
fn times_and_figures_that_have_no_meaning_are_told() {
    check(&[
        (
            "negative",
            fault("{at: -5s, lose: zone/us-east-1a}"),
            "s.yaml:4:8: \"-5s\" is negative\n  hint: times count from the start of the scenario, which is 0s",
        ),
        (
            "no unit",
            fault("{at: \"5\", lose: zone/us-east-1a}"),
            "s.yaml:4:8: \"5\" is no duration\n  hint: write e.g. 500ms, 10s or 1m30s",
        ),
        (
            "after the end",
            fault("{at: 5m, lose: zone/us-east-1a}"),
            "s.yaml:4:8: the fault strikes at 5m, when the scenario is over\n  hint: let it strike earlier, or make duration longer",
        ),
        (
            "no time",
            fault("{at: 1s, for: 0s, lose: zone/us-east-1a}"),
            "s.yaml:4:17: the fault lasts no time\n  hint: write e.g. for: 30s, or leave it out: to the end",
        ),
        (
            "more than all",
            fault("{at: 1s, brownOut: zone/us-east-1a, percent: 130}"),
            "s.yaml:4:48: a percentage is 0 to 100, not 130\n  hint: write e.g. 30",
        ),
        (
            "less than nothing",
            fault("{at: 1s, dropStatus: us-east, percent: -1}"),
            "s.yaml:4:42: a percentage is 0 to 100, not -1\n  hint: write e.g. 30",
        ),
        (
            "period",
            fault("{at: 1s, flap: zone/us-east-1a, period: 1ms}"),
            "s.yaml:4:43: a period is 10ms or longer\n  hint: write e.g. 5s",
        ),
        (
            "rate",
            demand("{service: shop/web, source: us-east/us-east-1a, curve: [{at: 0s, rps: -1}]}"),
            "s.yaml:4:73: -1 is no rate\n  hint: write requests per second, 0 to 1e9",
        ),
        (
            "backwards",
            demand(
                "{service: shop/web, source: us-east/us-east-1a, curve: [{at: 2s, rps: 1}, {at: 1s, rps: 2}]}",
            ),
            "s.yaml:4:82: the points of a curve must go forward in time\n  hint: sort them by at",
        ),
        (
            "no points",
            demand("{service: shop/web, source: us-east/us-east-1a, curve: []}"),
            "s.yaml:4:3: the curve has no points\n  hint: write e.g. [{at: 0s, rps: 100}]",
        ),
        (
            "duration",
            "manifests: examples/two-regions\nduration: 25h\n".to_owned(),
            "s.yaml:2:11: duration is nothing, or more than a day\n  hint: write e.g. 5m",
        ),
        (
            "start",
            "manifests: examples/two-regions\nduration: 5m\nstartsAt: noon\n".to_owned(),
            "s.yaml:3:11: \"noon\" is no time of day in UTC\n  hint: write e.g. 2026-01-01T00:00:00Z",
        ),
        (
            "itself",
            fault("{at: 1s, partition: {from: us-east, to: us-east}}"),
            "s.yaml:4:43: a cluster always reaches itself\n  hint: name two clusters",
        ),
    ]);
}

#[test]
fn faults_that_are_unclear_or_contradict_each_other_are_told() {
    check(&[
        (
            "nothing",
            fault("{at: 1s}"),
            "s.yaml:4:3: a fault does exactly one thing\n  hint: write one of lose, brownOut, flap, partition, loss, lateLine, stopGateway, slowTelemetry, dropStatus, clockSkew, restartAgent, pauseAgent",
        ),
        (
            "two",
            fault("{at: 1s, lose: zone/us-east-1a, flap: zone/us-east-1b, period: 1s}"),
            "s.yaml:4:3: a fault does exactly one thing\n  hint: write one of lose, brownOut, flap, partition, loss, lateLine, stopGateway, slowTelemetry, dropStatus, clockSkew, restartAgent, pauseAgent",
        ),
        (
            "stray figure",
            fault("{at: 1s, lose: zone/us-east-1a, percent: 3}"),
            "s.yaml:4:3: percent belongs to brownOut, dropStatus or loss, and brownOut, dropStatus or loss needs it\n  hint: write both or neither, e.g. brownOut, dropStatus or loss with percent",
        ),
        (
            "both ways",
            fault("{at: 1s, clockSkew: us-east, ahead: 1s, behind: 1s}"),
            "s.yaml:4:3: one of ahead and behind belongs to clockSkew, and clockSkew needs it\n  hint: write both or neither, e.g. clockSkew with one of ahead and behind",
        ),
        (
            "no place",
            fault("{at: 1s, lose: planet/a}"),
            "s.yaml:4:18: \"planet/a\" is no place\n  hint: write zone/NAME, cluster/NAME, region/NAME or endpoint/IP:PORT",
        ),
        (
            "endless restart",
            fault("{at: 1s, restartAgent: us-east}"),
            "s.yaml:4:3: a restart needs the time that it takes\n  hint: write e.g. for: 20s",
        ),
        (
            "endless pause",
            fault("{at: 1s, pauseAgent: us-east}"),
            "s.yaml:4:3: a pause needs the time that it takes\n  hint: write e.g. for: 250ms",
        ),
        (
            "number of nothing",
            fault("{at: 1s, lose: zone/us-east-1a, number: 1}"),
            "s.yaml:4:3: number belongs to stopGateway\n  hint: leave it out, or stop a gateway",
        ),
        (
            "a line to itself",
            fault("{at: 1s, loss: {between: us-east, and: us-east}, percent: 20}"),
            "s.yaml:4:42: a cluster always reaches itself\n  hint: name two clusters",
        ),
        (
            "two figures at once",
            fault(
                "{at: 1s, for: 20s, brownOut: zone/us-east-1a, percent: 10}\n- {at: 10s, brownOut: zone/us-east-1a, percent: 20}",
            ),
            "s.yaml:5:3: this contradicts the fault in line 4: \"zone us-east-1a: 10 % fail\" and \"zone us-east-1a: 20 % fail\" at the same time\n  hint: let one end (for) before the other begins (at)",
        ),
        (
            "gone twice",
            fault("{at: 1s, for: 20s, restartAgent: us-east}\n- {at: 10s, for: 1s, restartAgent: us-east}"),
            "s.yaml:5:3: this contradicts the fault in line 4: \"agent of us-east gone\" and \"agent of us-east gone\" at the same time\n  hint: let one end (for) before the other begins (at)",
        ),
    ]);
}

#[test]
fn an_unknown_field_and_broken_yaml_are_told_at_their_place() {
    let unknown = told("manifests: m\nduration: 5m\nfault: []\n");
    assert!(unknown.starts_with("s.yaml:3:1: ") && unknown.contains("fault"), "{unknown}");
    assert!(unknown.ends_with("\n  hint: docs/decision.md lists the fields of a scenario"), "{unknown}");
    let broken = told("manifests: m\nduration: [5m\n");
    assert!(broken.starts_with("s.yaml:") && broken.contains("hint: "), "{broken}");
    let missing = told("duration: 5m\n");
    assert!(missing.contains("manifests"), "{missing}");
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let told = told(
        "manifests: examples/two-regions\nduration: soon\ndemand:\n- {service: web, source: x, curve: []}\nfaults:\n- {at: -1s, lose: moon}\n",
    );
    let places: Vec<&str> = told
        .lines()
        .filter(|it| !it.starts_with("  hint"))
        .map(|it| it.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        ["s.yaml:2:11", "s.yaml:4:3", "s.yaml:4:13", "s.yaml:4:26", "s.yaml:6:8", "s.yaml:6:19"],
        "{told}"
    );
}

#[test]
fn a_file_that_is_not_there_is_told_with_one_that_is() {
    let error = Scenario::read(Path::new("/nowhere/s.yaml")).unwrap_err();
    assert!(matches!(error, ScenarioError::Io { .. }));
    assert_eq!(
        error.to_string(),
        "/nowhere/s.yaml: No such file or directory (os error 2)\n  hint: name a scenario file, e.g. examples/incidents/zone-loss.yaml"
    );
}
