//! `tidegate validate`: what it tells of manifests, in which form, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{fs, path::Path};
use support::{
    command::{Ran, finish, tidegate},
    schemas,
};
use tempfile::TempDir;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Runs in a folder, so that paths are as a pipeline would type them.
fn validate(here: &Path, arguments: &[&str]) -> Ran {
    finish(tidegate().current_dir(here).arg("validate").args(arguments))
}

const CLUSTER: &str =
    "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: home}\nspec: {region: r}\n";
const POLICY: &str = "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {name: web, namespace: shop}\n\
                      spec:\n  targetRefs: [{kind: Service, name: web}]\n";

/// A cluster, and a policy with these lines below `spec`.
fn with_policy(fields: &str) -> TempDir {
    folder(&[("fleet/clusters.yaml", CLUSTER), ("fleet/policy.yaml", &format!("{POLICY}{fields}"))])
}

#[test]
fn manifests_without_a_mistake_end_with_0_and_the_sum() {
    for (example, sum) in [
        ("examples/two-regions", "6 files with 22 objects of 2 clusters: nothing is wrong\n"),
        ("examples/two-regions/fleet", "2 files with 4 objects of 2 clusters: nothing is wrong\n"),
    ] {
        let ran = validate(&support::workspace(), &[example]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), sum, ""));
    }
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    let here = with_policy("  failoverThreshold: {percentage: 120}\n  retry: {atempts: 2}\n");
    fs::write(here.path().join("fleet/broken.yml"), "a: [\n").unwrap();
    let ran = validate(here.path(), &["fleet"]);
    assert_eq!(ran.code, Some(1));
    let told: Vec<&str> = ran.stdout.lines().filter(|line| !line.starts_with("  hint: ")).collect();
    let starts = [
        "fleet/broken.yml:",
        "fleet/policy.yaml:6:35: FailoverPolicy shop/web: ",
        "fleet/policy.yaml:7:11: FailoverPolicy shop/web: ",
    ];
    for (line, start) in told.iter().zip(starts) {
        assert!(line.starts_with(start), "{}", ran.stdout);
    }
    assert_eq!(told[3..], ["3 files with 2 objects of 1 cluster: 3 errors, 0 warnings"]);
    assert_eq!(ran.stdout.matches("\n  hint: ").count(), 3, "{}", ran.stdout);
}

#[test]
fn warnings_fail_if_strictness_is_asked_for() {
    let here = with_policy("  residency: {regions: [r, q]}\n");
    let ran = validate(here.path(), &["fleet"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stdout.contains("warning: FailoverPolicy shop/web: no FleetCluster knows the region \"q\""),
        "{ran:?}"
    );
    assert!(ran.stdout.ends_with("2 files with 2 objects of 1 cluster: 0 errors, 1 warning\n"), "{ran:?}");
    assert_eq!(validate(here.path(), &["--strict", "fleet"]).code, Some(1));
}

#[test]
fn what_is_not_read_is_named() {
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let here = folder(&[
        ("fleet/clusters.yaml", CLUSTER),
        (
            "fleet/other.yaml",
            &format!("{config_map}---\n{config_map}---\napiVersion: apps/v1\nkind: DaemonSet\n"),
        ),
        ("fleet/README.md", ""),
        ("fleet/deep/policy.yaml.bak", "kind: ["),
        ("fleet/.git/config", ""),
        ("fleet/.hidden.yaml", ""),
    ]);
    let ran = validate(here.path(), &["fleet"]);
    assert_eq!(ran.code, Some(0));
    let notes: Vec<&str> = ran.stdout.lines().filter_map(|line| line.strip_prefix("note: ")).collect();
    assert_eq!(
        notes,
        [
            "3 documents of kinds that Tidegate does not read: 1 apps/v1 DaemonSet, 2 v1 ConfigMap",
            "4 files not read, as manifests are named *.yaml, *.yml or *.json: fleet/.git, fleet/.hidden.yaml, \
             fleet/README.md, fleet/deep/policy.yaml.bak"
        ]
    );
    // Warnings are what may be a mistake; these are none.
    assert_eq!(validate(here.path(), &["--strict", "fleet"]).code, Some(0));
    let json: Value = serde_json::from_str(&validate(here.path(), &["fleet", "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["foreign"][2]["kind"], &json["foreign"][2]["line"]), (&"DaemonSet".into(), &9.into()));
}

#[test]
fn a_folder_that_holds_nothing_is_an_error() {
    let here = folder(&[
        ("empty/README.md", ""),
        ("blank/a.yaml", "# nothing\n"),
        ("other/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"),
        ("fleet/clusters.yaml", CLUSTER),
    ]);
    for (name, told) in [
        ("empty", "empty: there is no manifest in it\n  hint: manifests are files named"),
        (
            "blank",
            "1 file without an object that Tidegate reads; they are empty\n  hint: is it the right folder?",
        ),
        ("other", "1 file without an object that Tidegate reads; they hold ConfigMap\n"),
        (
            "nowhere",
            "nowhere: cannot be read: No such file or directory (os error 2)\n  hint: is the path right?",
        ),
    ] {
        let ran = validate(here.path(), &[name]);
        assert_eq!(ran.code, Some(1));
        assert!(ran.stdout.starts_with(told), "{name}: {}", ran.stdout);
        // Beside a folder that is in order it is one all the same.
        let both = validate(here.path(), &["fleet", name]);
        assert_eq!(
            both.code,
            Some(i32::from(["empty", "nowhere"].contains(&name))),
            "{name}: {}",
            both.stdout
        );
    }
}

#[test]
fn a_folder_of_policy_alone_is_not_asked_for_what_clusters_have() {
    let shift = "apiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {name: away, namespace: shop}\n\
                 spec: {awayFrom: {zone: a, service: shop/web}, percent: 50, expiresAt: 2999-01-01T00:00:00Z, comment: test}\n";
    let here = folder(&[("fleet/clusters.yaml", CLUSTER), ("fleet/shift.yaml", shift)]);
    let ran = validate(here.path(), &["--strict", "fleet"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("note: no Service is among them"), "{ran:?}");
    // Beside services it is a name that is spelled differently.
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: wbe, namespace: shop}\nspec: {ports: [{port: 80}]}\n";
    fs::write(here.path().join("fleet/service.yaml"), service).unwrap();
    let ran = validate(here.path(), &["--strict", "fleet"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("there is no Service shop/web"), "{ran:?}");
}

#[test]
fn a_cluster_that_no_manifest_names_is_an_error() {
    let here = with_policy("");
    let ran = validate(here.path(), &["hom=fleet"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout
            .contains("there is no FleetCluster hom\n  hint: the clusters are, the nearest name first: home"),
        "{ran:?}"
    );
    // Without any cluster each object is checked by itself.
    let alone = folder(&[("policy.yaml", &format!("{POLICY}  residency: {{regions: [anywhere]}}\n"))]);
    let ran = validate(alone.path(), &["."]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("note: no FleetCluster is among them"), "{ran:?}");
}

#[test]
fn a_mistake_of_one_cluster_is_told_once_and_so_is_one_of_all() {
    let fleet = format!("{CLUSTER}---\n{}", CLUSTER.replace("home", "away"));
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: w, labels: {kubernetes.io/service-name: web}}\n\
                 addressType: IPv4\nendpoints: [{addresses: [no-address], zone: z}]\n";
    let here = folder(&[
        ("fleet/clusters.yaml", &fleet),
        ("fleet/policy.yaml", &format!("{POLICY}  spred: Spray\n")),
        ("home/web.yaml", slice),
    ]);
    let ran = validate(here.path(), &["."]);
    assert_eq!(ran.code, Some(1));
    for place in ["fleet/policy.yaml:6:3", "home/web.yaml:5:"] {
        assert_eq!(ran.stdout.matches(place).count(), 1, "{place} in {}", ran.stdout);
    }
}

#[test]
fn secrets_are_not_quoted() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\ndata: {tls.crt: aGlkZGVu, tls.key: aGlkZGVu}\n";
    let here = folder(&[("c.yaml", CLUSTER), ("s.yaml", secret)]);
    for form in ["text", "json", "sarif", "github"] {
        let ran = validate(here.path(), &[".", "-o", form]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(!ran.stdout.contains("aGlkZGVu") && !ran.stdout.contains("hidden"), "{ran:?}");
    }
}

#[test]
fn a_pull_request_is_annotated() {
    let here = with_policy("  failoverThreshold: {percentage: 120}\n");
    for argument in
        ["fleet".to_owned(), here.path().canonicalize().unwrap().join("fleet").display().to_string()]
    {
        let ran = validate(here.path(), &[&argument, "-o", "github"]);
        assert_eq!(ran.code, Some(1));
        let [line] = ran.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{ran:?}") };
        let start = "::error file=fleet/policy.yaml,line=6,col=35,title=FailoverPolicy shop/web::";
        assert!(line.starts_with(start) && line.contains("%0Ahint: "), "{line}");
    }
}

#[test]
fn programs_read_json() {
    let here = with_policy("  failoverThreshold: {percentage: 120}\n");
    let json: Value = serde_json::from_str(&validate(here.path(), &["fleet", "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["errors"], &json["files"], &json["objects"]), (&1.into(), &2.into(), &2.into()));
    let problem = &json["problems"][0];
    assert_eq!(problem["file"], "fleet/policy.yaml");
    assert_eq!((&problem["line"], &problem["column"]), (&6.into(), &35.into()));
    assert_eq!(
        (&problem["severity"], &problem["object"]),
        (&"error".into(), &"FailoverPolicy shop/web".into())
    );
    assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
}

#[test]
fn code_scanning_reads_sarif() {
    let test = "code_scanning_reads_sarif";
    let here = with_policy("  failoverThreshold: {percentage: 120}\n  residency: {regions: [r, q]}\n");
    fs::write(here.path().join("fleet/a b.yaml"), "a: [\n").unwrap();
    let log = validate(here.path(), &["fleet", "nowhere", "-o", "sarif"]).stdout;
    let json: Value = serde_json::from_str(&log).unwrap();
    let results = json["runs"][0]["results"].as_array().unwrap();
    let short: Vec<(&str, &str, &Value)> = results
        .iter()
        .map(|it| {
            let place = &it["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            (it["ruleId"].as_str().unwrap(), uri, &place["region"]["startLine"])
        })
        .collect();
    assert_eq!(
        short,
        [
            ("unreadable-file", "fleet/a%20b.yaml", &1.into()),
            ("invalid-object", "fleet/policy.yaml", &6.into()),
            ("unreadable-file", "nowhere", &1.into()),
        ]
    );
    let clean = validate(&support::workspace(), &["examples/two-regions", "-o", "sarif"]).stdout;
    for log in [&log, &clean] {
        let Some(findings) = schemas::findings(test, "sarif", log) else { return };
        assert_eq!(findings, [""; 0], "{log}");
    }
    // The schema is asked: a log that breaks it is found.
    let broken = log.replace("\"level\": \"error\"", "\"level\": \"fatal\"");
    assert_ne!(schemas::findings(test, "sarif", &broken).unwrap(), [""; 0]);
}
