//! What `cargo metadata` says of the packages, and questions about their graph.

use crate::command::{cargo, output};
use anyhow::{Context, Result};
use semver::Version;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: BTreeSet<String>,
    pub(crate) resolve: Resolve,
    pub(crate) target_directory: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

/// A dependency as its manifest has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or none.
    pub(crate) kind: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<Edge>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Edge {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<EdgeKind>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EdgeKind {
    pub(crate) kind: Option<String>,
}

/// Which dependencies are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// What is shipped and what builds it.
    NormalAndBuild,
    /// The same, and what tests use.
    All,
}

/// Asks cargo. Only dependencies for `platforms` are followed; none given means for all platforms.
pub(crate) fn load(root: &Path, platforms: &[String]) -> Result<Metadata> {
    let mut command = cargo(root);
    command.args(["metadata", "--format-version", "1", "--locked"]);
    for platform in platforms {
        command.args(["--filter-platform", platform]);
    }
    let json = output(&mut command)
        .context("if Cargo.lock is out of date, run `cargo check` once and commit what it changed")?;
    serde_json::from_str(&json).context("cargo metadata in a form that xtask does not know")
}

/// Where cargo builds to.
pub(crate) fn target_directory(root: &Path) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Short {
        target_directory: PathBuf,
    }
    let json = output(cargo(root).args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let short: Short = serde_json::from_str(&json).context("cargo metadata names no target directory")?;
    Ok(short.target_directory)
}

impl Metadata {
    pub(crate) fn by_id(&self) -> BTreeMap<&str, &Package> {
        self.packages.iter().map(|package| (package.id.as_str(), package)).collect()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Everything that `roots` lead to, themselves included, each with the package that it was
    /// reached from first on a shortest way (`None` for the roots).
    pub(crate) fn reach<'a>(
        &'a self,
        roots: impl IntoIterator<Item = &'a str>,
        follow: Follow,
    ) -> BTreeMap<&'a str, Option<&'a str>> {
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
        let mut reached: BTreeMap<&str, Option<&str>> = roots.into_iter().map(|id| (id, None)).collect();
        let mut queue: VecDeque<&str> = reached.keys().copied().collect();
        while let Some(id) = queue.pop_front() {
            for edge in nodes.get(id).map_or(&[][..], |node| &node.deps) {
                if edge.counts(follow) && !reached.contains_key(edge.pkg.as_str()) {
                    reached.insert(&edge.pkg, Some(id));
                    queue.push_back(&edge.pkg);
                }
            }
        }
        reached
    }

    /// Who uses a package directly, and one way to it from the workspace, for people.
    pub(crate) fn why(&self, id: &str, follow: Follow) -> String {
        let packages = self.by_id();
        let name = |id: &str| packages.get(id).map_or_else(|| id.to_owned(), |p| p.name.clone());
        let reached = self.reach(self.workspace_members.iter().map(String::as_str), follow);
        let users: BTreeSet<String> = self
            .resolve
            .nodes
            .iter()
            .filter(|node| reached.contains_key(node.id.as_str()))
            .filter(|node| node.deps.iter().any(|edge| edge.pkg == id && edge.counts(follow)))
            .map(|node| name(&node.id))
            .collect();
        let mut way = vec![name(id)];
        let mut at = id;
        while let Some(Some(from)) = reached.get(at) {
            way.push(name(from));
            at = from;
        }
        way.reverse();
        let users: Vec<String> = users.into_iter().collect();
        format!("used by {}; one way to it: {}", users.join(", "), way.join(" -> "))
    }
}

impl Edge {
    fn counts(&self, follow: Follow) -> bool {
        follow == Follow::All || self.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
    }
}

/// Small graphs for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// A graph from lines `NAME VERSION`, each followed by its dependencies as `NAME VERSION` with
    /// an optional ` dev` or ` build`. Names that begin with `tidegate` or are `xtask` are members.
    pub(crate) fn graph(packages: &[(&str, &[&str])]) -> Metadata {
        let id = |text: &str| text.split_whitespace().take(2).collect::<Vec<_>>().join("@");
        let kind = |text: &str| text.split_whitespace().nth(2).map(str::to_owned);
        let name = |text: &str| text.split_whitespace().next().unwrap().to_owned();
        let is_member = |text: &str| text.starts_with("tidegate") || text.starts_with("xtask");
        let package = |(text, deps): &(&str, &[&str])| Package {
            id: id(text),
            name: name(text),
            version: text.split_whitespace().nth(1).unwrap().parse().unwrap(),
            license: Some("MIT".to_owned()),
            source: (!is_member(text)).then(|| "registry+https://registry.example".to_owned()),
            dependencies: deps.iter().map(|d| Dependency { name: name(d), kind: kind(d) }).collect(),
            targets: Vec::new(),
        };
        let node = |(text, deps): &(&str, &[&str])| Node {
            id: id(text),
            deps: deps
                .iter()
                .map(|d| Edge { pkg: id(d), dep_kinds: vec![EdgeKind { kind: kind(d) }] })
                .collect(),
        };
        Metadata {
            packages: packages.iter().map(package).collect(),
            workspace_members: packages.iter().filter(|(t, _)| is_member(t)).map(|(t, _)| id(t)).collect(),
            resolve: Resolve { nodes: packages.iter().map(node).collect() },
            target_directory: "target".into(),
        }
    }
}
