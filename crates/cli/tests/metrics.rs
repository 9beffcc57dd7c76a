//! What others build on: the metrics of a real agent and a real hub, the rules and the dashboard over them, and their pages.
//! Needs promtool, of Debian's package prometheus (`cargo xtask setup`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};
use support::{
    command::Ran,
    hub::{self, Agent, Hub, Place},
    pair::get,
    skipped, wait_until, workspace,
};

/// Name to type and meaning.
type Families = BTreeMap<String, (String, String)>;

fn file(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap()
}

/// promtool with this on its standard input, or `None` after saying that the test was skipped. CI must have it.
fn promtool(test: &str, arguments: &[&str], input: &str) -> Option<Ran> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(workspace());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut running) = piped else {
        skipped(test, "no promtool on PATH");
        return None;
    };
    running.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some(Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// The families of an answer, and the labels of its samples by name.
fn exposed(text: &str) -> (Families, BTreeMap<String, BTreeSet<String>>) {
    let (mut families, mut labels) = (Families::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')) {
            families.insert(name.to_owned(), (String::new(), help.to_owned()));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')) {
            families.get_mut(name).unwrap().0 = kind.to_owned();
        } else if let Some((name, rest)) = line.split_once('{') {
            let names = rest.split("=\"").map(|it| it.rsplit(['{', ',', '"']).next().unwrap().to_owned());
            let names: Vec<String> = names.collect();
            labels.entry(name.to_owned()).or_default().extend(names[..names.len() - 1].iter().cloned());
        }
    }
    (families, labels)
}

/// The rows of the table below a heading of docs/metrics.md, and the labels of each.
fn documented(heading: &str) -> (Families, BTreeMap<String, BTreeSet<String>>) {
    let page = file("docs/metrics.md");
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let (mut families, mut labels) = (Families::new(), BTreeMap::new());
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, names, help] = cells[..] else { panic!("{row}") };
        let name = name.trim_matches('`').to_owned();
        labels
            .insert(name.clone(), names.split(", ").filter(|it| !it.is_empty()).map(str::to_owned).collect());
        families.insert(name, (kind.to_owned(), help.to_owned()));
    }
    (families, labels)
}

#[test]
fn every_metric_of_a_real_agent_and_hub_is_documented_and_the_other_way_round() {
    let test = "every_metric_of_a_real_agent_and_hub_is_documented_and_the_other_way_round";
    let place = Place::new();
    let cluster = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: us-east}\nspec: {region: us}\n";
    place.write("fleet.yaml", cluster);
    let hub = Hub::start(&place, hub::ANY, &["--trust-domain", "fleet.example"]);
    let manifests = place.at("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::copy(workspace().join("examples/one-cluster/services.yaml"), manifests.join("services.yaml"))
        .unwrap();
    let agent = Agent::join(&place, &hub, "us-east", Some(&manifests));
    let body = |admin| {
        let answer = get(admin, "/metrics").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    wait_until("the hub to know the pools", || {
        body(hub.admin).contains("tidegate_hub_cluster_pools{cluster=\"us-east\"} 2").then_some(())
    });
    wait_until("the hub to be followed", || {
        body(agent.admin).contains("tidegate_agent_hub_connected 1").then_some(())
    });
    for (heading, text) in [("Agent", body(agent.admin)), ("Hub", body(hub.admin))] {
        let (families, labels) = exposed(&text);
        let (wanted, known) = documented(heading);
        assert_eq!(families, wanted, "docs/metrics.md, {heading}");
        for (name, labels) in labels {
            assert!(
                labels.is_subset(&known[&name]),
                "{name} has the labels {labels:?}, documented are {:?}",
                known[&name]
            );
        }
        let Some(ran) = promtool(test, &["check", "metrics"], &text) else { return };
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""), "{heading}");
    }
}

#[test]
fn what_only_webhooks_and_a_collector_count_is_documented_too() {
    let place = Place::new();
    let manifests = place.at("manifests");
    support::copy_example("one-cluster", &manifests);
    let nobody = "http://127.0.0.1:9/";
    let mut command = hub::agent_command(&place.at("home"), Some(&manifests), hub::ANY);
    let agent = Agent::start(command.args(["--cluster", "home", "--webhook", nobody, "--otlp", nobody]));
    let hub = Hub::start(&place, hub::ANY, &["--webhook", nobody, "--otlp", nobody]);
    for (admin, ordinary) in [(agent.admin, "Agent"), (hub.admin, "Hub")] {
        let (mut families, labels) = exposed(&get(admin, "/metrics").unwrap());
        families.retain(|name, _| !documented(ordinary).0.contains_key(name));
        let (wanted, known) = documented("Agent or hub with webhooks or a collector");
        assert_eq!(families, wanted, "{ordinary}");
        assert!(
            wanted.keys().all(|it| labels.get(it).is_none_or(|own| own.is_subset(&known[it]))),
            "{labels:?}"
        );
    }
}

/// Names of our metrics in a text, and of what is recorded of them.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_' || it == ':'));
    words.filter(|it| it.starts_with("tidegate_") || it.contains(":tidegate_")).map(str::to_owned).collect()
}

fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&file("deploy/prometheus/rules.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    groups.flat_map(|it| it["rules"].as_array().unwrap().clone()).collect()
}

/// All that may be asked for: what is documented, and what is recorded.
fn known() -> BTreeSet<String> {
    let metrics = ["Agent", "Hub"].into_iter().flat_map(|it| documented(it).0.into_keys());
    let recorded = rules().into_iter().filter_map(|it| Some(it["record"].as_str()?.to_owned()));
    metrics.chain(recorded).collect()
}

#[test]
fn every_rule_holds_in_its_tests_and_asks_for_metrics_that_there_are() {
    let test = "every_rule_holds_in_its_tests_and_asks_for_metrics_that_there_are";
    let known = known();
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap();
        let unknown: Vec<String> = named(expression).into_iter().filter(|it| !known.contains(it)).collect();
        assert!(unknown.is_empty(), "{expression} asks for {unknown:?}");
    }
    for arguments in [
        ["check", "rules", "deploy/prometheus/rules.yaml"],
        ["test", "rules", "deploy/prometheus/tests.yaml"],
    ] {
        let Some(ran) = promtool(test, &arguments, "") else { return };
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[test]
fn every_alert_has_a_test_of_each_kind_and_a_runbook() {
    let tests: Value = serde_saphyr::from_str(&file("deploy/prometheus/tests.yaml")).unwrap();
    let names: BTreeSet<&str> =
        tests["tests"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let page = file("docs/alerts.md");
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let Some(alert) = rule["alert"].as_str() else { continue };
        for kind in ["fires", "does not fire"] {
            assert!(names.contains(format!("{alert} {kind}").as_str()), "no test: {alert} {kind}");
        }
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        let (path, anchor) = runbook.split_once('#').unwrap();
        assert!(path.ends_with("/docs/alerts.md") && anchor == alert.to_lowercase(), "{runbook}");
        assert!(page.contains(&format!("\n## {alert}\n")), "docs/alerts.md has no section {alert}");
        assert!(["info", "warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        alerts.insert(alert.to_owned());
    }
    let sections = page.lines().filter_map(|line| line.strip_prefix("## Tidegate"));
    let sections: BTreeSet<String> = sections.map(|it| format!("Tidegate{it}")).collect();
    assert_eq!(sections, alerts, "the sections of docs/alerts.md are the alerts");
}

/// The queries of the dashboard, with its variables filled in.
fn queries(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "expr") {
                    Some(text) => into.push(text.replace("$cluster", ".*").replace("$__rate_interval", "5m")),
                    None => queries(value, into),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|it| queries(it, into)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are_in_words_that_prometheus_reads() {
    let test = "the_dashboard_asks_for_metrics_that_there_are_in_words_that_prometheus_reads";
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana/tidegate.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels of one id");
        assert!(panel["title"].as_str().is_some_and(|it| !it.is_empty()));
    }
    let mut asked = Vec::new();
    queries(&dashboard["panels"], &mut asked);
    assert!(asked.len() >= panels.len() - panels.iter().filter(|it| it["type"] == "row").count());
    let known = known();
    for query in &asked {
        let names = named(query);
        assert!(!names.is_empty() || query.contains("up{"), "{query}");
        for name in names {
            assert!(known.contains(&name), "{query} asks for {name}");
        }
    }
    // As rules, because that is what promtool parses.
    let of = |(number, query): (usize, &String)| serde_json::json!({ "record": format!("query:{number}"), "expr": query });
    let rules: Vec<Value> = asked.iter().enumerate().map(of).collect();
    let document = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.yaml");
    fs::write(&path, document.to_string()).unwrap();
    check(test, &path);
}

fn check(test: &str, path: &Path) {
    if let Some(ran) = promtool(test, &["check", "rules", path.to_str().unwrap()], "") {
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}
