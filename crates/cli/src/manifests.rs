//! Whose manifests are whose: the files of a whole fleet, given to each cluster as its agent would read them.

use anyhow::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    str::FromStr,
};
use tidegate_api::{Config, Loader, Problem, SourceFile};
use tidegate_discovery::read_once;
use tidegate_model::ClusterName;

/// A folder or file of manifests, as the command line names it: `DIR` or `CLUSTER=DIR`.
#[derive(Clone, Debug)]
pub(crate) struct Manifests {
    /// Whose all of it is; `None`: told by the names of folders.
    pub(crate) cluster: Option<ClusterName>,
    pub(crate) root: PathBuf,
}

impl FromStr for Manifests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            // A path may hold an equals sign; a cluster's name holds no slash.
            Some((name, folder)) if !name.contains('/') => match name.parse() {
                Ok(cluster) => Ok(Self { cluster: Some(cluster), root: PathBuf::from(folder) }),
                Err(error) => Err(format!("{error}; write CLUSTER=DIR or DIR")),
            },
            _ => Ok(Self { cluster: None, root: PathBuf::from(text) }),
        }
    }
}

/// A file and under which root it was found.
pub(crate) struct Placed {
    pub(crate) file: SourceFile,
    /// Whose it is, if that was said.
    pub(crate) cluster: Option<ClusterName>,
    /// The folders from the root (with its own name) down to the file.
    pub(crate) folders: Vec<String>,
}

/// The manifests of a fleet, loaded for each of its clusters.
pub(crate) struct Fleet {
    /// All files, by path, each with whose it is; `None` is everybody's.
    pub(crate) files: Vec<(Option<ClusterName>, SourceFile)>,
    /// What each cluster makes of them. Empty if no `FleetCluster` is among them.
    pub(crate) loaders: BTreeMap<ClusterName, Loader>,
    /// What is wrong with finding and reading files.
    pub(crate) unread: Vec<Problem>,
    /// What is wrong in them, each problem once.
    pub(crate) problems: Vec<Problem>,
    /// Why an answer about this as a fleet would not be one.
    obstacle: Option<String>,
    warnings: Vec<String>,
}

impl Fleet {
    /// Reads all that is there; whatever is wrong is kept.
    pub(crate) fn read(manifests: &[Manifests]) -> Self {
        let (mut files, mut unread) = (Vec::new(), Vec::new());
        for Manifests { cluster, root } in manifests {
            let (texts, problems) = match std::fs::metadata(root) {
                Ok(_) => read_once(std::slice::from_ref(root)),
                Err(error) => {
                    let message = format!("cannot be read: {error}");
                    let name = root.display().to_string();
                    (Vec::new(), vec![Problem::of_file(&name, message, "is the path right?")])
                }
            };
            unread.extend(problems);
            files.extend(texts.into_iter().map(|file| Placed {
                folders: folders(root, Path::new(&file.path)),
                cluster: cluster.clone(),
                file,
            }));
        }
        let roots = manifests.iter().map(|it| it.root.display().to_string()).collect::<Vec<_>>().join(", ");
        Self::of(files, unread, &roots)
    }

    /// The fleet that these files describe; `roots` is where they came from, for people.
    pub(crate) fn of(mut files: Vec<Placed>, unread: Vec<Problem>, roots: &str) -> Self {
        // The same file below two roots is one file; what was said of it by CLUSTER=DIR counts.
        files.sort_by(|a: &Placed, b| {
            (&a.file.path, a.cluster.is_none()).cmp(&(&b.file.path, b.cluster.is_none()))
        });
        files.dedup_by(|a, b| a.file.path == b.file.path);
        let clusters = clusters(&files);
        let owner = |it: &Placed| match &it.cluster {
            Some(cluster) => Some(cluster.clone()),
            None => it.folders.iter().find_map(|folder| clusters.get(folder.as_str()).cloned()),
        };
        let files = files.into_iter().map(|it| (owner(&it), it.file)).collect();
        let mut fleet = Self {
            files,
            loaders: BTreeMap::new(),
            unread,
            problems: Vec::new(),
            obstacle: None,
            warnings: Vec::new(),
        };
        fleet.obstacle = fleet.sort_out(&clusters, roots);
        fleet.load(&clusters);
        fleet.lone();
        fleet
    }

    /// What each cluster has in force.
    pub(crate) fn configs(&self) -> BTreeMap<ClusterName, Config> {
        self.loaders.iter().map(|(name, loader)| (name.clone(), loader.config().clone())).collect()
    }

    /// Fails if anything was left out: an answer about half of a fleet would be believed. Warnings go to standard error.
    pub(crate) fn is_whole(&self) -> Result<()> {
        if let Some(problem) = self.unread.first() {
            bail!("{problem}");
        }
        if let Some(obstacle) = &self.obstacle {
            bail!("{obstacle}");
        }
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
        for problem in &self.problems {
            eprintln!("{problem}");
        }
        match self.problems.iter().filter(|problem| problem.is_error()).count() {
            0 => Ok(()),
            count => bail!(
                "the manifests have {count} mistakes, told above\n  hint: mend them first; what they name would be left out \
                 of the answer"
            ),
        }
    }

    /// What speaks against taking this for a fleet, whether that is asked for or not; nothing as long as nobody has a service:
    /// a folder of policy alone is in order.
    pub(crate) fn doubts(&self) -> (Option<&str>, &[String]) {
        let said = self
            .files
            .iter()
            .any(|(owner, _)| owner.as_ref().is_some_and(|it| !self.loaders.contains_key(it)));
        let has_services = self.loaders.values().any(|loader| !loader.config().services.is_empty());
        match said || has_services {
            true => (self.obstacle.as_deref(), &self.warnings),
            false => (None, &[]),
        }
    }

    /// Why it cannot be told whose objects are whose.
    fn sort_out(&mut self, clusters: &BTreeSet<ClusterName>, roots: &str) -> Option<String> {
        let owners: BTreeSet<&ClusterName> =
            self.files.iter().filter_map(|(owner, _)| owner.as_ref()).collect();
        if clusters.is_empty() {
            return Some(format!(
                "no FleetCluster is among the {} files of {roots}\n  hint: the manifests of a fleet name its clusters, as \
                 examples/two-regions/fleet/clusters.yaml does",
                self.files.len()
            ));
        }
        if owners.is_empty() && clusters.len() > 1 {
            let names = clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
            return Some(format!(
                "no folder is named after one of the clusters ({names}), so whose services are whose is not known\n  \
                 hint: put each cluster's objects into a folder of its name, or say CLUSTER=DIR"
            ));
        }
        let missing = clusters.iter().filter(|cluster| clusters.len() > 1 && !owners.contains(cluster));
        let warning = |cluster| {
            format!("no folder holds the objects of cluster {cluster}; it is taken to have no endpoints")
        };
        self.warnings.extend(missing.map(warning));
        let stranger = owners.iter().find(|owner| !clusters.contains(**owner))?;
        let names: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
        let nearest = tidegate_api::nearest_first(stranger.as_str(), names).join(", ");
        Some(format!(
            "there is no FleetCluster {stranger}\n  hint: the clusters are, the nearest name first: {nearest}"
        ))
    }

    /// Loads what each cluster reads. What a file that every cluster reads gets wrong it gets wrong in each of them; what
    /// only some find is that an object of the fleet is of no use to them.
    fn load(&mut self, clusters: &BTreeSet<ClusterName>) {
        let mut lists: Vec<Vec<Problem>> = Vec::new();
        for cluster in clusters {
            // With a single cluster all is its own, whatever the folders are called.
            let own = |owner: &Option<ClusterName>| owner.as_ref().is_none_or(|owner| owner == cluster);
            let texts: Vec<SourceFile> =
                self.files.iter().filter(|(owner, _)| own(owner)).map(|(_, file)| file.clone()).collect();
            let mut loader = Loader::new(cluster.clone());
            lists.push(loader.load(&texts).problems);
            self.loaders.insert(cluster.clone(), loader);
        }
        if clusters.is_empty() {
            // Nobody's: what is wrong with each object by itself is wrong everywhere.
            lists.extend(nobody().map(|mut nobody| {
                let texts: Vec<SourceFile> = self.files.iter().map(|(_, file)| file.clone()).collect();
                let problems = nobody.load(&texts).problems.into_iter();
                problems.filter(|problem| !problem.file.is_empty()).collect()
            }));
        }
        let everyones: BTreeSet<&str> =
            self.files.iter().filter(|(owner, _)| owner.is_none()).map(|(_, it)| it.path.as_str()).collect();
        let mut told: Vec<Problem> = Vec::new();
        for problem in lists.iter().flatten() {
            let by_all = || lists.iter().all(|list| list.contains(problem));
            if !told.contains(problem) && (!everyones.contains(problem.file.as_str()) || by_all()) {
                told.push(problem.clone());
            }
        }
        self.problems = told;
    }

    /// A cluster with services and without endpoints is mostly not meant so.
    fn lone(&mut self) {
        for (cluster, loader) in &self.loaders {
            let services = &loader.config().services;
            if !services.is_empty() && services.values().all(|it| it.endpoints.is_empty()) {
                self.warnings.push(format!(
                    "cluster {cluster} has services but no endpoint, so no zone from which they are asked for"
                ));
            }
        }
    }
}

/// A loader that is no cluster's.
fn nobody() -> Option<Loader> {
    "nobody".parse().ok().map(Loader::new)
}

/// The names of the folders that a file lies in, from the root's own name on.
pub(crate) fn folders(root: &Path, file: &Path) -> Vec<String> {
    let above = if root.is_dir() { root } else { root.parent().unwrap_or(root) };
    let name = above.file_name().map(|name| name.to_string_lossy().into_owned());
    let below = file.strip_prefix(above).ok().and_then(Path::parent);
    let below = below.into_iter().flat_map(Path::iter).map(|it| it.to_string_lossy().into_owned());
    name.into_iter().chain(below).collect()
}

/// The clusters that the files name. Which there are is said by files that are not sorted yet, so objects that several
/// clusters have under one name are conflicts here; each cluster's own loading tells what is wrong.
fn clusters(files: &[Placed]) -> BTreeSet<ClusterName> {
    let texts: Vec<SourceFile> = files.iter().map(|it| it.file.clone()).collect();
    let config = nobody().map(|mut nobody| nobody.load(&texts).config).unwrap_or_default();
    config.clusters.into_keys().collect()
}
