//! Whose manifests are whose: the files of a whole fleet, given to each cluster as its agent would read them.

use anyhow::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use tidegate_api::{Config, Loader, Problem, SourceFile, fleet_state};
use tidegate_discovery::read_once;
use tidegate_engine::FleetState;
use tidegate_model::ClusterName;

/// A folder or file of manifests.
#[derive(Clone, Debug)]
pub(super) struct Manifests {
    /// Whose all of it is; `None`: told by the names of folders.
    pub(super) cluster: Option<ClusterName>,
    pub(super) root: PathBuf,
}

/// A file and under which root it was found.
struct Placed {
    file: SourceFile,
    cluster: Option<ClusterName>,
    /// The folders from the root (with its own name) down to the file.
    folders: Vec<String>,
}

/// The fleet that the manifests describe. Warnings go to standard error; a mistake ends it, because an answer about
/// half of a fleet would be believed.
pub(super) fn load(manifests: &[Manifests]) -> Result<FleetState> {
    let files = read(manifests)?;
    let clusters = clusters(&files, manifests)?;
    let owner = |it: &Placed| match &it.cluster {
        Some(cluster) => Some(cluster.clone()),
        None => it.folders.iter().find_map(|folder| clusters.get(folder.as_str()).cloned()),
    };
    let owned: Vec<(Option<ClusterName>, &SourceFile)> =
        files.iter().map(|it| (owner(it), &it.file)).collect();
    let owners: BTreeSet<&ClusterName> = owned.iter().filter_map(|(owner, _)| owner.as_ref()).collect();
    if owners.is_empty() && clusters.len() > 1 {
        let names = clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
        bail!(
            "no folder is named after one of the clusters ({names}), so whose services are whose is not known\n  \
             hint: put each cluster's objects into a folder of its name, or say --manifests CLUSTER=DIR"
        );
    }
    for cluster in clusters.iter().filter(|cluster| clusters.len() > 1 && !owners.contains(cluster)) {
        eprintln!(
            "warning: no folder holds the objects of cluster {cluster}; it is taken to have no endpoints"
        );
    }
    if let Some(stranger) = owners.iter().find(|owner| !clusters.contains(**owner)) {
        let names: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
        let nearest = tidegate_api::nearest_first(stranger.as_str(), names).join(", ");
        bail!(
            "there is no FleetCluster {stranger}\n  hint: the clusters are, the nearest name first: {nearest}"
        );
    }
    let mut configs = BTreeMap::new();
    let mut problems = Vec::new();
    for cluster in &clusters {
        // With a single cluster all is its own, whatever the folders are called.
        let own = |owner: &Option<ClusterName>| owner.as_ref().is_none_or(|owner| owner == cluster);
        let texts: Vec<SourceFile> =
            owned.iter().filter(|(owner, _)| own(owner)).map(|(_, file)| (*file).clone()).collect();
        let loaded = Loader::new(cluster.clone()).load(&texts);
        configs.insert(cluster.clone(), loaded.config);
        problems.push(loaded.problems);
    }
    let everyones: BTreeSet<&str> =
        owned.iter().filter(|(owner, _)| owner.is_none()).map(|(_, file)| file.path.as_str()).collect();
    judge(&problems, &everyones)?;
    lone(&configs);
    Ok(fleet_state(&configs))
}

fn read(manifests: &[Manifests]) -> Result<Vec<Placed>> {
    let mut files = Vec::new();
    for Manifests { cluster, root } in manifests {
        if let Err(error) = std::fs::metadata(root) {
            bail!("the manifests {} cannot be read: {error}\n  hint: is the path right?", root.display());
        }
        let (texts, problems) = read_once(std::slice::from_ref(root));
        if let Some(problem) = problems.first() {
            bail!("{problem}");
        }
        files.extend(texts.into_iter().map(|file| Placed {
            folders: folders(root, Path::new(&file.path)),
            cluster: cluster.clone(),
            file,
        }));
    }
    // The same file below two roots is one file; what was said of it by CLUSTER=DIR counts.
    files.sort_by(|a: &Placed, b| {
        (&a.file.path, a.cluster.is_none()).cmp(&(&b.file.path, b.cluster.is_none()))
    });
    files.dedup_by(|a, b| a.file.path == b.file.path);
    Ok(files)
}

/// The names of the folders that a file lies in, from the root's own name on.
fn folders(root: &Path, file: &Path) -> Vec<String> {
    let above = if root.is_dir() { root } else { root.parent().unwrap_or(root) };
    let name = above.file_name().map(|name| name.to_string_lossy().into_owned());
    let below = file.strip_prefix(above).ok().and_then(Path::parent);
    let below = below.into_iter().flat_map(Path::iter).map(|it| it.to_string_lossy().into_owned());
    name.into_iter().chain(below).collect()
}

/// The clusters that the files name.
fn clusters(files: &[Placed], manifests: &[Manifests]) -> Result<BTreeSet<ClusterName>> {
    let texts: Vec<SourceFile> = files.iter().map(|it| it.file.clone()).collect();
    let Ok(nobody) = "whatif".parse() else { bail!("a loader needs a name") };
    // Which clusters there are is said by files that are not sorted yet, so objects that several clusters have under
    // one name are conflicts here; each cluster's own loading tells what is wrong.
    let Config { clusters, .. } = Loader::new(nobody).load(&texts).config;
    if clusters.is_empty() {
        let roots = manifests.iter().map(|it| it.root.display().to_string()).collect::<Vec<_>>().join(", ");
        bail!(
            "no FleetCluster is among the {} files of {roots}\n  hint: the manifests of a fleet name its clusters, as \
             examples/two-regions/fleet/clusters.yaml does",
            files.len()
        );
    }
    Ok(clusters.into_keys().collect())
}

/// Tells warnings, and fails on mistakes. What a file that every cluster reads gets wrong it gets wrong in each of
/// them; what only some find is that an object of the fleet is of no use to them.
fn judge(problems: &[Vec<Problem>], everyones: &BTreeSet<&str>) -> Result<()> {
    let mut told: Vec<&Problem> = Vec::new();
    for problem in problems.iter().flatten() {
        let by_all = problems.iter().all(|list| list.contains(problem));
        if !told.contains(&problem) && (by_all || !everyones.contains(problem.file.as_str())) {
            told.push(problem);
        }
    }
    for problem in &told {
        eprintln!("{problem}");
    }
    match told.iter().filter(|problem| problem.is_error()).count() {
        0 => Ok(()),
        count => bail!(
            "the manifests have {count} mistakes, told above\n  hint: mend them first; what they name would be left out \
             of the answer"
        ),
    }
}

/// Services that are in one cluster of several are mostly meant so, and sometimes a name that is spelled differently.
fn lone(configs: &BTreeMap<ClusterName, Config>) {
    let zoneless =
        configs.iter().filter(|(_, config)| config.services.values().all(|it| it.endpoints.is_empty()));
    for (cluster, _) in zoneless.filter(|(_, config)| !config.services.is_empty()) {
        eprintln!(
            "warning: cluster {cluster} has services but no endpoint, so no zone from which they are asked for"
        );
    }
}
