//! `tidegate whatif`: what it prints and how it ends. The expected texts are the files in `tests/whatif`; run with
//! `TIDEGATE_BLESS=1` to write them anew, and read the difference.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What came of a run.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs from the root of the workspace, so that paths are as a reader would type them.
fn whatif(arguments: &[&str]) -> Ran {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("whatif")
        .args(arguments)
        .current_dir(here.join("../.."))
        .env_remove("TIDEGATE_LOG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The run must print the golden file, nothing else, in at most 80 columns.
fn golden(name: &str, code: i32, arguments: &[&str]) {
    let ran = whatif(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{}", ran.stdout);
    let wide: Vec<&str> = ran.stdout.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whatif").join(name);
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        fs::write(&path, &ran.stdout).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(ran.stdout == expected, "{} differs; it is now:\n{}", path.display(), ran.stdout);
}

const EXAMPLE: &str = "examples/two-regions";
const FLEET: &str = "crates/cli/tests/whatif/fleet";

#[test]
fn the_example_holds_whatever_one_place_is_lost() {
    golden("two-regions.txt", 0, &["--manifests", EXAMPLE]);
}

#[test]
fn the_example_without_a_region() {
    golden("two-regions-lose-us-east.txt", 0, &["--manifests", EXAMPLE, "--lose", "region/us-east"]);
}

#[test]
fn a_fleet_with_services_that_cannot_fail_over() {
    golden("fleet.txt", 1, &["--manifests", FLEET]);
}

#[test]
fn a_fleet_without_a_region() {
    golden("fleet-lose-us-east.txt", 1, &["--manifests", FLEET, "--lose", "region/us-east"]);
}

#[test]
fn a_zone_may_be_named_by_itself_and_places_may_be_lost_together() {
    let both = ["--manifests", FLEET, "--lose", "zone/us-west-1a", "--lose", "zone/us-east/us-east-1b"];
    golden("fleet-lose-two-zones.txt", 1, &both);
}

#[test]
fn pairs_of_places() {
    golden("fleet-pairs.txt", 1, &["--manifests", FLEET, "--pairs"]);
}

#[test]
fn folders_may_be_given_one_by_one() {
    let whole = whatif(&["--manifests", FLEET]);
    let [east, west, all] = ["east", "west", "fleet.yaml"].map(|name| format!("{FLEET}/{name}"));
    let by_name = whatif(&["--manifests", &east, &west, &all]);
    assert_eq!((by_name.code, by_name.stdout), (whole.code, whole.stdout.clone()));
    // Under other names, it must be said whose they are.
    let moved = tempfile::tempdir().unwrap();
    let folder = |name: &str| moved.path().join(name);
    for (from, to) in [("east", "use1"), ("west", "usw2")] {
        fs::create_dir(folder(to)).unwrap();
        fs::copy(workspace().join(FLEET).join(from).join("services.yaml"), folder(to).join("s.yaml"))
            .unwrap();
    }
    let [use1, usw2] = ["use1", "usw2"].map(|name| folder(name).display().to_string());
    let named = whatif(&["--manifests", &format!("east={use1}"), &format!("west={usw2}"), &all]);
    assert_eq!((named.code, named.stdout), (whole.code, whole.stdout));
    let unnamed = whatif(&["--manifests", &use1, &usw2, &all]);
    assert_eq!(unnamed.code, Some(2));
    assert!(unnamed.stderr.contains("say CLUSTER=DIR"), "{}", unnamed.stderr);
    let stranger = whatif(&["--manifests", &format!("eats={use1}"), &format!("west={usw2}"), &all]);
    assert!(stranger.stderr.contains("the nearest name first: east, west"), "{}", stranger.stderr);
}

#[test]
fn a_fleet_of_one_cluster_needs_no_folders() {
    let ran = whatif(&["--manifests", "examples/one-cluster", "--lose", "zone/zone-a"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let ran = whatif(&["--manifests", "examples/one-cluster"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("shop/web: all its endpoints are in region local"), "{}", ran.stdout);
}

#[test]
fn programs_read_json() {
    let ran = whatif(&["--manifests", FLEET, "--lose", "region/us-east", "-o", "json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &answer["holds"]), (Some(1), &Value::Bool(false)));
    let found = &answer["contingencies"][0];
    assert_eq!(found["holds"], false);
    assert_eq!(found["lost"][0], "region/us-east");
    assert_eq!(found["stranded"][0]["service"], "shop/cache");
    assert_eq!(found["forbidden"][0]["origin"]["file"]["line"], 22);
}

/// An agent with these manifests that ends with the test.
struct Agent {
    process: std::process::Child,
    admin: String,
    _state: tempfile::TempDir,
}

impl Agent {
    fn start(manifests: &str, cluster: &str) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (state, admin) = (tempfile::tempdir().unwrap(), free());
        let process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["agent", "--manifests", manifests, "--cluster", cluster, "--admin", &admin])
            .args(["--listen", &free(), "--state-dir", state.path().to_str().unwrap()])
            .current_dir(workspace())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self { process, admin, _state: state }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_agent_answers_for_how_things_stand_now() {
    // At addresses of its own: those of the example may be in use by whoever walks through it just now.
    let folder = tempfile::tempdir().unwrap();
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/one-cluster")).unwrap()
    {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap().replace("127.0.0.", "127.7.7.");
        fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let agent = Agent::start(folder.path().to_str().unwrap(), "home");
    let ask = |more: &[&str]| whatif(&[&["--admin", &agent.admin], more].concat());
    // No endpoint of the example is running, so the agent finds no healthy one, and has said so once it is ready.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let ran = loop {
        let ran = ask(&[]);
        if ran.stdout.contains("shop/web: it has no endpoint anywhere") {
            break ran;
        }
        assert!(std::time::Instant::now() < deadline, "{} {}", ran.stdout, ran.stderr);
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    assert!(ran.stdout.ends_with("It does not hold: something is down already.\n"), "{}", ran.stdout);
    let ran = ask(&["--lose", "region/nowhere"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("the fleet has no \"region/nowhere\"; its places are: "), "{}", ran.stderr);
    let ran = ask(&["--lose", "zone/zone-a", "-o", "json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["contingencies"][0]["lost"][0], "zone/local/zone-a");
}

#[test]
fn a_place_that_the_fleet_does_not_have_is_told_with_those_that_it_has() {
    let ran = whatif(&["--manifests", EXAMPLE, "--lose", "region/us-eest"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    let lines: Vec<&str> = ran.stderr.lines().map(str::trim).collect();
    assert_eq!(lines[0], "error: the fleet has no \"region/us-eest\"");
    assert_eq!(lines[2..4], ["region/us-east", "region/us-west"]);
}

#[test]
fn a_question_that_cannot_be_answered_says_what_to_do() {
    let ended = |arguments: &[&str], text: &str| {
        let ran = whatif(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.stderr.contains(text), "{}", ran.stderr);
    };
    ended(&[], "--manifests");
    ended(&["--manifests", "nowhere"], "is the path right?");
    ended(&["--manifests", "examples/two-regions/us-east"], "no FleetCluster is among the 2 files");
    ended(&["--manifests", EXAMPLE, "--pairs", "--lose", "region/us-east"], "cannot be used with");
    let folder = tempfile::tempdir().unwrap();
    let (path, text) = (
        folder.path().join("a.yaml"),
        "kind: FleetCluster\napiVersion: tidegate.dev/v1alpha1\nmetadata: {name: home}\nspec: {region: 'a b'}\n",
    );
    fs::write(path, text).unwrap();
    let also = folder.path().display().to_string();
    ended(&["--manifests", "examples/one-cluster", &also], "mend them first");
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["whatif", "--manifests", "examples/two-regions"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdout(writer)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
}

/// The profile's residency by label, the labels and the weights of the policy, all from manifests.
#[test]
fn a_profile_weights_and_labels_are_honoured() {
    let example = "examples/weighted-regions";
    let ran = whatif(&["--manifests", example, "--lose", "cluster/us-west", "--output", "json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let services = answer["contingencies"][0]["services"].as_array().unwrap();
    let report = services.iter().find(|it| it["service"] == "shop/report").unwrap();
    let from_east: Vec<&Value> = report["sources"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["source"]["cluster"] == "us-east")
        .collect();
    assert_eq!(from_east.len(), 2, "one for each zone: {report:#}");
    for source in from_east {
        assert_eq!(source["before"], serde_json::json!({"cluster us-west": 9000, "cluster eu": 1000}));
        assert_eq!(source["after"], serde_json::json!({"cluster eu": 10000}), "and staging is not approved");
    }
}
