//! `cargo xtask deps`: what the workspace may depend on, and which of its crates may use which.
//!
//! The rules are in `deny.toml`, in cargo-deny's own form. Where cargo-deny is installed it judges;
//! elsewhere this module does, from `cargo metadata`, for the part of that form that we use.

use crate::{
    command, floors, licence,
    metadata::{self, Follow, Metadata, Package},
    progress,
};
use anyhow::{Context, Result, bail};
use semver::VersionReq;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
};

/// What `deny.toml` says.
#[derive(Debug, Deserialize)]
struct Rules {
    graph: GraphRules,
    licenses: LicenceRules,
    bans: BanRules,
}

#[derive(Debug, Deserialize)]
struct GraphRules {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct LicenceRules {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct BanRules {
    deny: Vec<CrateRule>,
    skip: Vec<CrateRule>,
}

#[derive(Debug, Deserialize)]
struct CrateRule {
    /// `NAME` or `NAME@VERSIONS`.
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

impl CrateRule {
    fn fits(&self, package: &Package) -> Result<bool> {
        let (name, versions) = self.spec.split_once('@').unwrap_or((&self.spec, "*"));
        let versions: VersionReq =
            versions.parse().with_context(|| format!("deny.toml: `{}` names no versions", self.spec))?;
        Ok(name == package.name && versions.matches(&package.version))
    }
}

impl Rules {
    fn read(root: &Path) -> Result<Self> {
        let path = root.join("deny.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text)
            .context("deny.toml: xtask needs graph.targets, licenses.allow, bans.deny and bans.skip")
    }
}

/// Checks the dependencies of the workspace.
pub(crate) fn run(root: &Path) -> Result<()> {
    let rules = Rules::read(root)?;
    let step = progress::step("Reading the dependency graph".to_owned());
    let metadata = metadata::load(root, &rules.graph.targets)?;
    drop(step);
    let mut offences = floors::offences(&metadata);
    if has_cargo_deny(root) {
        let mut deny = command::cargo(root);
        deny.args(["deny", "--locked", "check", "licenses", "bans", "sources"]);
        if let Err(error) = command::run(&mut deny) {
            offences.push(format!("{error:#}"));
        }
    } else {
        let findings = judge(&metadata, &rules)?;
        offences.extend(findings.offences);
        for note in findings.notes {
            println!("note: {note}");
        }
    }
    if offences.is_empty() {
        println!("{} packages, no rule is broken.", metadata.packages.len());
        return Ok(());
    }
    for offence in &offences {
        eprintln!("- {offence}");
    }
    bail!(
        "{} dependency rules are broken (deny.toml, DESIGN.md section 8); each says how to mend it",
        offences.len()
    )
}

fn has_cargo_deny(root: &Path) -> bool {
    let mut version = command::cargo(root);
    version.args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    offences: Vec<String>,
    notes: Vec<String>,
}

fn judge(metadata: &Metadata, rules: &Rules) -> Result<Findings> {
    let packages = metadata.by_id();
    let members = || metadata.workspace_members.iter().map(String::as_str);
    let reached = |follow| {
        metadata
            .reach(members(), follow)
            .into_keys()
            .filter_map(|id| packages.get(id).copied())
            .collect::<Vec<_>>()
    };
    let mut findings = Findings::default();
    let registry = registry(&reached(Follow::All));
    for package in reached(Follow::All) {
        let why = || metadata.why(&package.id, Follow::All);
        let Package { name, version, .. } = package;
        if let Some(problem) = licence_problem(package, &rules.licenses.allow) {
            findings.offences.push(format!(
                "licence: {name} {version} {problem}; allow it in deny.toml or do without ({})",
                why()
            ));
        }
        for rule in &rules.bans.deny {
            if rule.fits(package)? {
                findings.offences.push(format!(
                    "ban: {name} {version}: {}; switch the feature off that brings it ({})",
                    rule.reason,
                    why()
                ));
            }
        }
        if let Some(source) = package.source.as_deref().filter(|source| Some(*source) != registry) {
            findings.offences.push(format!(
                "source: {name} {version} comes from {source}; only the registry of all the others is allowed ({})",
                why()
            ));
        }
    }
    doubled(metadata, &reached(Follow::NormalAndBuild), &rules.bans.skip, &mut findings)?;
    Ok(findings)
}

/// The registry that most packages come from: which one that is, a mirror perhaps, is the builder's business.
fn registry<'a>(packages: &[&'a Package]) -> Option<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let sources = packages.iter().filter_map(|package| package.source.as_deref());
    for source in sources.filter(|source| !source.starts_with("git+")) {
        *counts.entry(source).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source)
}

fn licence_problem(package: &Package, allowed: &BTreeSet<String>) -> Option<String> {
    let Some(expression) = &package.license else {
        return Some("names no licence".to_owned());
    };
    match licence::is_allowed(expression, allowed) {
        Ok(true) => None,
        Ok(false) => Some(format!("is under {expression}, which is not allowed")),
        Err(problem) => Some(format!("has a licence that cannot be read: {problem}")),
    }
}

fn doubled(
    metadata: &Metadata,
    reached: &[&Package],
    skip: &[CrateRule],
    findings: &mut Findings,
) -> Result<()> {
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for &package in reached {
        by_name.entry(&package.name).or_default().push(package);
    }
    by_name.retain(|_, versions| versions.len() > 1);
    for (name, versions) in &by_name {
        let mut left = Vec::new();
        for &package in versions {
            let mut skipped = false;
            for rule in skip {
                skipped |= rule.fits(package)?;
            }
            if !skipped {
                left.push(package);
            }
        }
        if left.len() > 1 {
            let each: Vec<String> = left
                .iter()
                .map(|p| format!("\n    {}: {}", p.version, metadata.why(&p.id, Follow::NormalAndBuild)))
                .collect();
            findings.offences.push(format!(
                "doubled: {} versions of {name}; agree on one, or skip the older in deny.toml with its reason{}",
                left.len(),
                each.concat()
            ));
        }
    }
    for rule in skip {
        let mut needed = false;
        for package in by_name.values().flatten() {
            needed |= rule.fits(package)?;
        }
        if !needed {
            findings
                .notes
                .push(format!("deny.toml: the skip of {} ({}) is idle; remove it", rule.spec, rule.reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixture::graph;

    fn rules() -> Rules {
        toml::from_str(
            r#"
            [graph]
            targets = []
            [licenses]
            allow = ["MIT"]
            [bans]
            deny = [{ crate = "openssl", reason = "rustls only" }]
            skip = [{ crate = "syn@2", reason = "old macros" }]
            "#,
        )
        .unwrap()
    }

    fn offences(metadata: &Metadata) -> Vec<String> {
        judge(metadata, &rules()).unwrap().offences
    }

    #[test]
    fn a_clean_graph_has_no_offences() {
        let metadata = graph(&[
            ("tidegate 0.1.0", &["a 1.0.0", "syn 2.0.1", "syn 3.0.0"]),
            ("a 1.0.0", &[]),
            ("syn 2.0.1", &[]),
            ("syn 3.0.0", &[]),
        ]);
        assert_eq!(judge(&metadata, &rules()).unwrap(), Findings::default());
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_shown_with_who_brings_it() {
        let mut metadata =
            graph(&[("tidegate 0.1.0", &["a 1.0.0 dev"]), ("a 1.0.0", &["b 2.0.0"]), ("b 2.0.0", &[])]);
        metadata.packages[2].license = Some("GPL-3.0".to_owned());
        let found = offences(&metadata);
        assert_eq!(
            found,
            ["licence: b 2.0.0 is under GPL-3.0, which is not allowed; allow it in deny.toml or do without \
              (used by a; one way to it: tidegate -> a -> b)"]
        );
        metadata.packages[2].license = None;
        assert!(offences(&metadata)[0].contains("names no licence"));
        metadata.packages[2].license = Some("MIT OR".to_owned());
        assert!(offences(&metadata)[0].contains("cannot be read"));
    }

    #[test]
    fn a_banned_crate_is_an_offence_also_deep_down() {
        let metadata = graph(&[
            ("tidegate 0.1.0", &["a 1.0.0"]),
            ("a 1.0.0", &["openssl 0.10.0 build"]),
            ("openssl 0.10.0", &[]),
        ]);
        let found = offences(&metadata);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("ban: openssl 0.10.0: rustls only"), "{found:?}");
    }

    #[test]
    fn two_versions_of_a_crate_are_an_offence_but_not_among_dev_dependencies() {
        let shipped = graph(&[
            ("tidegate 0.1.0", &["a 1.0.0", "b 1.0.0"]),
            ("a 1.0.0", &["b 2.0.0"]),
            ("b 1.0.0", &[]),
            ("b 2.0.0", &[]),
        ]);
        let found = offences(&shipped);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("doubled: 2 versions of b"), "{found:?}");
        assert!(found[0].contains("2.0.0: used by a; one way to it: tidegate -> a -> b"), "{found:?}");

        let dev = graph(&[
            ("tidegate 0.1.0", &["a 1.0.0 dev", "b 1.0.0"]),
            ("a 1.0.0", &["b 2.0.0"]),
            ("b 1.0.0", &[]),
            ("b 2.0.0", &[]),
        ]);
        assert_eq!(offences(&dev), Vec::<String>::new());
    }

    #[test]
    fn a_skip_that_skips_nothing_is_noted() {
        let metadata = graph(&[("tidegate 0.1.0", &["syn 2.0.1"]), ("syn 2.0.1", &[])]);
        let findings = judge(&metadata, &rules()).unwrap();
        assert_eq!(findings.offences, Vec::<String>::new());
        assert_eq!(findings.notes, ["deny.toml: the skip of syn@2 (old macros) is idle; remove it"]);
    }

    #[test]
    fn a_crate_from_elsewhere_is_an_offence() {
        let mut metadata = graph(&[("tidegate 0.1.0", &["a 1.0.0"]), ("a 1.0.0", &[])]);
        metadata.packages[1].source = Some("git+ssh://example.org/a".to_owned());
        let found = offences(&metadata);
        assert!(found[0].starts_with("source: a 1.0.0 comes from git+ssh://example.org/a"), "{found:?}");
    }

    #[test]
    fn the_projects_own_rules_can_be_read() {
        let rules = Rules::read(&crate::root().unwrap()).unwrap();
        assert!(rules.licenses.allow.contains("Apache-2.0"));
        assert!(rules.bans.deny.iter().any(|rule| rule.spec == "openssl"));
        assert!(rules.bans.skip.iter().all(|rule| !rule.reason.is_empty()));
    }
}
