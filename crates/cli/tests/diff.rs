//! `tidegate diff`: what it tells of a change, against a folder, a revision and a hub, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{fs, path::Path, process::Command};
use support::{
    command::{Ran, finish, tidegate},
    hub::{ANY, Hub, Place},
    wait_until, workspace,
};
use tempfile::TempDir;

fn diff(here: &Path, arguments: &[&str]) -> Ran {
    finish(tidegate().current_dir(here).arg("diff").args(arguments))
}

fn json(here: &Path, arguments: &[&str]) -> Value {
    let ran = diff(here, &[arguments, &["-o", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn git(here: &Path, arguments: &[&str]) {
    let who = [
        "-c",
        "user.name=somebody",
        "-c",
        "user.email=somebody@example.org",
        "-c",
        "init.defaultBranch=main",
    ];
    let output = Command::new("git").current_dir(here).args(who).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A repository with `examples/two-regions` in the folder `deep/fleet`, as its first commit.
fn repository() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&workspace().join("examples/two-regions"), &folder.path().join("deep/fleet"));
    git(folder.path(), &["init", "--quiet", "."]);
    git(folder.path(), &["add", "-A"]);
    git(folder.path(), &["commit", "--quiet", "-m", "one"]);
    folder
}

/// Replaces a text in a file that must have it.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

const POLICY: &str = "deep/fleet/fleet/policy.yaml";
const RESIDENCY: &str = "residency: {regions: [us-east, us-west]}";

#[test]
fn what_is_only_written_another_way_is_no_change() {
    let repository = repository();
    let policy = repository.path().join(POLICY);
    let text = fs::read_to_string(&policy).unwrap();
    fs::write(&policy, format!("# Lines move, and so do the places of rules.\n\n\n{text}")).unwrap();
    edit(&policy, RESIDENCY, "residency:\n    regions:\n    - \"us-east\"\n    - us-west");
    let ran = diff(repository.path(), &["deep/fleet", "--against", "HEAD", "--exit-code"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with("nothing changes against HEAD ("), "{ran:?}");
    assert_eq!(json(repository.path(), &["deep/fleet", "--against", "HEAD"])["changed"], false);
}

#[test]
fn a_change_is_told_in_plans_losses_and_objects() {
    let repository = repository();
    edit(&repository.path().join(POLICY), RESIDENCY, "residency: {regions: [us-east]}");
    let changes = json(repository.path(), &["deep/fleet", "--against", "HEAD"]);
    assert_eq!((&changes["changed"], &changes["holds"]), (&true.into(), &serde_json::json!([true, false])));
    let changed = &changes["objects"]["changed"];
    assert_eq!(
        (changed.as_array().unwrap().len(), &changed[0]["object"]),
        (1, &"FailoverPolicy shop/pay".into())
    );
    assert_eq!(
        changed[0]["fields"],
        serde_json::json!([{"path": "spec.residency.regions", "before": "[\"us-east\",\"us-west\"]", "after": "[\"us-east\"]"}])
    );
    let lost: Vec<&Value> = changes["newlyImpossible"].as_array().unwrap().iter().collect();
    let places: Vec<&str> = lost.iter().map(|it| it["lost"].as_str().unwrap()).collect();
    assert_eq!(places, ["cluster/us-east", "region/us-east"]);
    let plan =
        changes["plans"].as_array().unwrap().iter().find(|it| it["from"] == "us-west/us-west-1a").unwrap();
    assert_eq!((&plan["service"], &plan["after"]), (&"shop/pay".into(), &"cluster us-east 100 %".into()));
    assert_eq!(changes["newFindings"][0], "shop/pay: residency leaves it in region us-east alone");
    // Only `pay` is touched.
    for list in ["plans", "losses"] {
        assert!(changes[list].as_array().unwrap().iter().all(|it| it["service"] == "shop/pay"), "{changes}");
    }
    let ran = diff(repository.path(), &["deep/fleet", "--against", "HEAD", "--exit-code"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("THE FLEET DOES NOT HOLD ANY MORE"), "{}", ran.stdout);
    // The other way round it is possible again.
    git(repository.path(), &["commit", "--quiet", "-am", "two"]);
    edit(&repository.path().join(POLICY), "residency: {regions: [us-east]}", RESIDENCY);
    let back = json(repository.path(), &["deep/fleet", "--against", "main"]);
    assert_eq!(
        (&back["holds"], &back["newlyImpossible"]),
        (&serde_json::json!([false, true]), &serde_json::json!([]))
    );
    assert_eq!(back["newlyPossible"].as_array().unwrap().len(), 2);
}

#[test]
fn capacity_is_told_as_utilisation_where_demand_is_said() {
    let repository = repository();
    let policy = repository.path().join(POLICY);
    let capacity =
        |rps: u32| format!("spec:\n  capacity: {{requestsPerSecond: {rps}}}\n  targetRefs:\n  - {{group");
    edit(&policy, "spec:\n  targetRefs:\n  - {group", &capacity(100));
    git(repository.path(), &["commit", "--quiet", "-am", "two"]);
    edit(&policy, &capacity(100), &capacity(60));
    // Eight endpoints, of which four are left: 250 of 400, then of 240.
    let arguments = ["deep/fleet", "--against", "HEAD", "--rps", "shop/web=250"];
    let changes = json(repository.path(), &arguments);
    let loss =
        changes["losses"].as_array().unwrap().iter().find(|it| it["lost"] == "region/us-east").unwrap();
    assert_eq!(
        (&loss["service"], &loss["before"], &loss["after"]),
        (&"shop/web".into(), &"62 % utilisation".into(), &"105 % utilisation".into())
    );
    // What is asked for of nobody else is not known.
    assert!(changes["losses"].as_array().unwrap().iter().all(|it| it["service"] == "shop/web"), "{changes}");
    let ran = diff(repository.path(), &["deep/fleet", "--against", "HEAD", "--rps", "shop/wbe=250"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("there is no Service shop/wbe\n  hint: did you mean \"shop/web\"?"),
        "{ran:?}"
    );
    let ran = diff(repository.path(), &["deep/fleet", "--against", "HEAD", "--rps", "much"]);
    assert!(ran.stderr.contains("no whole number of requests per second"), "{ran:?}");
}

#[test]
fn folders_are_compared_and_the_markdown_is_stable() {
    let repository = repository();
    let before = tempfile::tempdir().unwrap();
    copy(&repository.path().join("deep/fleet"), &before.path().join("fleet"));
    edit(&repository.path().join(POLICY), RESIDENCY, "residency: {regions: [us-east]}");
    let old = before.path().join("fleet").display().to_string();
    let arguments = ["deep/fleet", "--against", &old, "-o", "markdown"];
    let ran = diff(repository.path(), &arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!("diff-markdown", ran.stdout.replace(&old.replace('_', "\\_"), "OLD"));
    assert_eq!(diff(repository.path(), &arguments).stdout, ran.stdout);
}

#[test]
fn a_folder_that_is_new_and_objects_that_come_and_go_are_told() {
    let repository = repository();
    for name in ["services.yaml", "gateways.yaml"] {
        fs::remove_file(repository.path().join("deep/fleet/us-west").join(name)).unwrap();
    }
    let added = "apiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {name: away, namespace: shop}\n\
                 spec: {awayFrom: {zone: us-east-1a}, percent: 50, expiresAt: 2999-01-01T00:00:00Z, comment: test}\n";
    fs::write(repository.path().join("deep/fleet/fleet/shift.yaml"), added).unwrap();
    let changes = json(repository.path(), &["deep/fleet", "--against", "HEAD"]);
    assert_eq!(changes["objects"]["added"], serde_json::json!(["TrafficShift shop/away"]));
    let removed = changes["objects"]["removed"].as_array().unwrap();
    assert_eq!((removed.len(), &removed[0]), (9, &"EndpointSlice shop/cart-1 of us-west".into()));
}

#[test]
fn a_comparison_that_cannot_be_made_says_what_to_do() {
    let repository = repository();
    let away = tempfile::tempdir().unwrap();
    copy(&workspace().join("examples/two-regions"), &away.path().join("fleet"));
    fs::create_dir(repository.path().join("fresh")).unwrap();
    copy(&repository.path().join("deep/fleet"), &repository.path().join("fresh"));
    for (here, arguments, told) in [
        (repository.path(), ["deep/fleet", "--against", "no-such"], "hint: is it fetched?"),
        (repository.path(), ["deep/fleet", "--against", "--help-me"], "--against"),
        (repository.path(), ["fresh", "--against", "HEAD"], "hint: compare with a folder instead"),
        (away.path(), ["fleet", "--against", "HEAD"], "lies in no Git repository that has it"),
        (away.path(), ["nowhere", "--against", "fleet"], "hint: is the path right?"),
        (away.path(), ["fleet", "--hub", "127.0.0.1:1"], "nobody answers at 127.0.0.1:1"),
    ] {
        let ran = diff(here, &arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(told), "{told}: {ran:?}");
    }
}

#[test]
fn a_mistake_in_what_was_is_told_and_does_not_stop_its_repair() {
    let repository = repository();
    let policy = repository.path().join(POLICY);
    edit(&policy, RESIDENCY, "residency: {regios: [us-east, us-west]}");
    git(repository.path(), &["commit", "--quiet", "-am", "broken"]);
    let ran = diff(repository.path(), &["deep/fleet", "--against", "HEAD~1"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    edit(&policy, "residency: {regios: [us-east, us-west]}", RESIDENCY);
    let ran = diff(repository.path(), &["deep/fleet", "--against", "HEAD"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.starts_with("warning: HEAD ("), "{ran:?}");
}

#[test]
fn the_policy_of_a_hub_is_compared_with() {
    let place = Place::new();
    let example = workspace().join("examples/two-regions/fleet");
    for name in ["clusters.yaml", "policy.yaml"] {
        place.write(name, &fs::read_to_string(example.join(name)).unwrap());
    }
    let hub = Hub::start(&place, ANY, &[]);
    wait_until("the first policy", || {
        let status = hub.json(&["rollout", "status"]);
        (status["sequence"].as_u64()? > 0).then_some(())
    });
    let repository = repository();
    let address = hub.admin.to_string();
    let arguments = ["deep/fleet", "--hub", &address];
    assert_eq!(json(repository.path(), &arguments)["changed"], false);
    edit(&repository.path().join(POLICY), RESIDENCY, "residency: {regions: [us-east]}");
    let changes = json(repository.path(), &arguments);
    assert_eq!(changes["against"], format!("policy 1 of the hub at {address}"));
    assert_eq!(changes["objects"]["changed"][0]["object"], "FailoverPolicy shop/pay");
    assert_eq!(changes["newlyImpossible"].as_array().unwrap().len(), 2);
}
