//! Which crate of the workspace may use which: DESIGN.md, section 8.
//!
//! A crate may use crates of lower floors only, with the three exceptions below.
//! Dev-dependencies count too, or tests would tie the floors together; only the top floor is free
//! to test with anything.

use crate::metadata::{Follow, Metadata};
use std::collections::BTreeMap;

/// The house. A new crate must be given a floor here, and in DESIGN.md.
const FLOORS: &[(u8, &[&str])] = &[
    (4, &["tidegate", "tidegate-lab", "tidegate-sim", "xtask"]),
    (3, &["tidegate-agent", "tidegate-hub"]),
    (
        2,
        &[
            "tidegate-crds",
            "tidegate-discovery",
            "tidegate-drill",
            "tidegate-envoy",
            "tidegate-link",
            "tidegate-render",
            "tidegate-status",
            "tidegate-web",
        ],
    ),
    (1, &["tidegate-api", "tidegate-install", "tidegate-probe", "tidegate-xds"]),
    (0, &["tidegate-apiserver", "tidegate-engine", "tidegate-model"]),
];

/// Who may use a crate of its own floor: (user, used).
const WITHIN_A_FLOOR: &[(&str, &str)] =
    &[("tidegate-engine", "tidegate-model"), ("tidegate", "tidegate-lab"), ("tidegate", "tidegate-sim")];

/// Whose dev-dependencies are free.
const FREE_TESTS: &[&str] = &["tidegate", "tidegate-lab"];

/// Compile in seconds, and decide without I/O.
const LIGHT: &[&str] = &["tidegate-engine", "tidegate-model"];

/// What a light crate must not reach, by whatever way.
const HEAVY: &[&str] = &["tokio", "prost", "tonic", "kube", "k8s-openapi", "hyper"];

/// What breaks the rules, one line each, with what to do.
pub(crate) fn offences(metadata: &Metadata) -> Vec<String> {
    let floors: BTreeMap<&str, u8> =
        FLOORS.iter().flat_map(|(floor, names)| names.iter().map(|name| (*name, *floor))).collect();
    let mut offences = Vec::new();
    for package in metadata.members() {
        let user = package.name.as_str();
        let Some(&floor) = floors.get(user) else {
            offences.push(format!(
                "floors: {user} has no floor; give it one in DESIGN.md section 8 and in FLOORS (xtask/src/floors.rs)"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            let Some(&below) = floors.get(used) else { continue };
            let in_tests = dependency.kind.as_deref() == Some("dev");
            let free = WITHIN_A_FLOOR.contains(&(user, used)) || (in_tests && FREE_TESTS.contains(&user));
            if below >= floor && !free {
                let what = if in_tests { "tests with" } else { "uses" };
                let place = if below == floor { "beside" } else { "above" };
                offences.push(format!(
                    "floors: {user} (floor {floor}) {what} {used} (floor {below}), which is {place} it; \
                     move the shared part to a lower floor"
                ));
            }
        }
    }
    offences.extend(weights(metadata));
    offences
}

fn weights(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.by_id();
    let mut offences = Vec::new();
    for light in metadata.members().filter(|package| LIGHT.contains(&package.name.as_str())) {
        let reached = metadata.reach([light.id.as_str()], Follow::NormalAndBuild);
        for id in reached.keys() {
            let Some(heavy) = packages.get(id).filter(|package| HEAVY.contains(&package.name.as_str()))
            else {
                continue;
            };
            let mut way = vec![heavy.name.as_str()];
            let mut at = *id;
            while let Some(Some(from)) = reached.get(at) {
                way.push(packages.get(from).map_or(*from, |package| package.name.as_str()));
                at = from;
            }
            way.reverse();
            offences.push(format!(
                "floors: {} reaches {} ({}); it must stay free of runtimes, protobuf and Kubernetes types",
                light.name,
                heavy.name,
                way.join(" -> ")
            ));
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{self, fixture::graph};

    #[test]
    fn the_workspace_keeps_the_floors() {
        let metadata = metadata::load(&crate::root().unwrap(), &[]).unwrap();
        assert!(metadata.members().any(|package| package.name == "tidegate-engine"));
        let found = offences(&metadata);
        assert!(found.is_empty(), "\n{}", found.join("\n"));
    }

    /// One crate that uses another; the rest of the house is empty.
    fn offences_of(user: &str, used: &str) -> Vec<String> {
        let bare = used.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        offences(&graph(&[(user, &[used]), (&bare, &[])]))
    }

    #[test]
    fn lower_floors_may_be_used() {
        for (user, used) in [
            ("tidegate-envoy 0.1.0", "tidegate-xds 0.1.0"),
            ("tidegate-discovery 0.1.0", "tidegate-api 0.1.0"),
            ("tidegate-api 0.1.0", "tidegate-engine 0.1.0 dev"),
            ("tidegate-lab 0.1.0", "tidegate-agent 0.1.0"),
        ] {
            assert_eq!(offences_of(user, used), Vec::<String>::new(), "{user} -> {used}");
        }
    }

    #[test]
    fn a_crate_above_must_not_be_used() {
        let found = offences_of("tidegate-xds 0.1.0", "tidegate-envoy 0.1.0");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("which is above it"), "{found:?}");
    }

    #[test]
    fn a_crate_beside_must_not_be_used() {
        for (user, used) in [
            ("tidegate-api 0.1.0", "tidegate-xds 0.1.0"),
            ("tidegate-model 0.1.0", "tidegate-engine 0.1.0"),
            ("tidegate-lab 0.1.0", "tidegate 0.1.0"),
            ("xtask 0.1.0", "tidegate-lab 0.1.0"),
        ] {
            let found = offences_of(user, used);
            assert_eq!(found.len(), 1, "{user} -> {used}: {found:?}");
            assert!(found[0].contains("which is beside it"), "{found:?}");
        }
    }

    #[test]
    fn three_crates_may_use_a_neighbour() {
        assert_eq!(offences_of("tidegate-engine 0.1.0", "tidegate-model 0.1.0"), Vec::<String>::new());
        assert_eq!(offences_of("tidegate 0.1.0", "tidegate-lab 0.1.0"), Vec::<String>::new());
    }

    #[test]
    fn dev_dependencies_count_except_on_the_top_floor() {
        let found = offences_of("tidegate-agent 0.1.0", "tidegate-lab 0.1.0 dev");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("tests with tidegate-lab"), "{found:?}");
        assert_eq!(offences_of("tidegate-lab 0.1.0", "tidegate 0.1.0 dev"), Vec::<String>::new());
    }

    #[test]
    fn a_new_crate_needs_a_floor() {
        let found = offences(&graph(&[("tidegate-attic 0.1.0", &[])]));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("tidegate-attic has no floor; give it one"), "{found:?}");
    }

    #[test]
    fn a_light_crate_must_not_reach_a_heavy_one_except_in_its_tests() {
        let metadata = graph(&[
            ("tidegate-model 0.1.0", &["a 1.0.0", "hyper 1.0.0 dev"]),
            ("a 1.0.0", &["tokio 1.0.0 build"]),
            ("tokio 1.0.0", &[]),
            ("hyper 1.0.0", &[]),
        ]);
        let found = offences(&metadata);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("reaches tokio (tidegate-model -> a -> tokio)"), "{found:?}");
    }
}
