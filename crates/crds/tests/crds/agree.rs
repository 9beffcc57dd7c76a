//! The readers and the schemas, over every object of the cases, the examples and the refusals: what a reader takes the API must
//! take, and what the API takes and a reader refuses is listed here, with the reason.

use crate::{refused, server::Server};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tidegate_api::{Loader, Severity, SourceFile};

/// What only the readers see: a part of what they say, and why a schema cannot.
const READERS_ONLY: &[(&str, &str)] = &[
    ("means nothing while no capacity is declared", "another layer of policy may declare it"),
    ("is above the failoverThreshold in force", "the threshold is that of another layer of policy"),
    ("metadata.creationTimestamp must be a time in UTC", "the API sets it, whatever is written"),
    ("there is no Drill", "the drill may come later"),
    ("runs from the command line only", "the same kind is read from files by `tidegate drill`"),
    ("cannot target namespace", "a rule of `spec` does not see the object's namespace"),
    (
        "which the tier does not",
        "comparing 64 names with 64 members for 4096 tiers costs more than the API allows",
    ),
    ("lacks the", "comparing 64 names with 64 members for 4096 tiers costs more than the API allows"),
    (
        "the cluster tidegate-agent is Tidegate's own",
        "rules do not see fields without a schema, and Envoy's have none",
    ),
];

/// The objects that the API takes, whatever a reader says.
const TAKEN: &str = "taken.yaml";

fn yaml_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, into);
        } else if path.extension().is_some_and(|it| it == "yaml") {
            into.push(path);
        }
    }
}

/// Every object of ours in the cases and the examples, each with where it was found.
fn objects() -> Vec<(String, Value)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    yaml_files(&root.join("crates/api/tests/cases"), &mut files);
    let cases = files.len();
    yaml_files(&root.join("examples"), &mut files);
    assert!(cases > 60 && files.len() > cases + 10, "the cases or the examples are not where they should be");
    for own in ["readers.yaml", TAKEN] {
        files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crds").join(own));
    }
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // What is no YAML never comes to the API.
        let Ok(documents) = serde_saphyr::from_multiple::<Value>(&fs::read_to_string(&path).unwrap()) else {
            continue;
        };
        let mut documents: Vec<Value> = documents;
        while let Some(document) = documents.pop() {
            if let Some(items) = document["items"].as_array() {
                documents.extend(items.iter().cloned());
            }
            let ours =
                document["apiVersion"] == "tidegate.dev/v1alpha1" && refused::is_kind(&document["kind"]);
            if ours && document["metadata"]["name"].is_string() {
                found.push((name.clone(), document));
            }
        }
    }
    found
}

/// What the reader refuses of an object that is alone in a fleet.
fn refusals(object: &Value) -> Vec<String> {
    let file = SourceFile { path: "object.yaml".to_owned(), text: object.to_string() };
    // The fleet that the cases are written for, unless the object is one of its clusters.
    let base = match object["kind"] == "FleetCluster" {
        true => String::new(),
        false => include_str!("../../../api/tests/base.yaml").to_owned(),
    };
    let base = SourceFile { path: "base.yaml".to_owned(), text: base };
    let loaded = Loader::new("us-east".parse().unwrap()).load(&[base, file]);
    let of_object =
        loaded.problems.iter().filter(|it| it.file == "object.yaml" && it.severity == Severity::Error);
    of_object.map(|it| it.message.clone()).collect()
}

#[test]
fn what_a_reader_takes_the_api_takes_and_the_rest_has_its_reasons() {
    let Some(server) = Server::start() else { return };
    let mut objects = objects();
    objects.extend(refused::cases().into_iter().map(|case| ("refused.yaml".to_owned(), case.object)));
    let namespaces: BTreeSet<_> =
        objects.iter().filter_map(|(_, it)| it["metadata"]["namespace"].as_str()).collect();
    for namespace in namespaces.into_iter().filter(|it| *it != "default") {
        // One that is no name cannot be made, and its object is refused.
        let _ = server.api.kubectl().args(["create", "namespace", namespace]).output().unwrap();
    }
    let (mut both, mut neither, mut seen) = (0, 0, BTreeSet::new());
    let (mut stricter, mut laxer) = (Vec::new(), Vec::new());
    for (file, object) in objects {
        let title = format!("{file}: {} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"]);
        match (refusals(&object), server.try_out(&object)) {
            (none, Ok(())) if none.is_empty() => both += 1,
            (none, Err(said)) if none.is_empty() => stricter.push(format!("{title}: {said}\n  {object}")),
            (_, Err(said)) if file == TAKEN => stricter.push(format!("{title}: {said}\n  {object}")),
            (_, Err(_)) => neither += 1,
            (said, Ok(())) => {
                for message in said {
                    let known = READERS_ONLY.iter().find(|(part, _)| message.contains(part));
                    match known {
                        Some((part, _)) => drop(seen.insert(*part)),
                        None => laxer.push(format!("{title}: {message}")),
                    }
                }
            }
        }
    }
    assert!(stricter.is_empty(), "a reader takes it and the API does not:\n{}", stricter.join("\n"));
    assert!(
        laxer.is_empty(),
        "the API takes it and the reader does not, for no listed reason:\n{}",
        laxer.join("\n")
    );
    let idle: Vec<_> = READERS_ONLY.iter().filter(|(part, _)| !seen.contains(part)).collect();
    assert!(idle.is_empty(), "listed, and never seen: {idle:?}");
    assert!(both > 40 && neither > 100, "{both} are taken by both, {neither} by neither");
}
