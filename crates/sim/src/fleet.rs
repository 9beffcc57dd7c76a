//! The manifests of a whole fleet: a folder for each cluster, named after it, and what lies beside them for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_model::ClusterName;

/// Folders are looked into so deep: more is a loop.
const MAX_DEPTH: usize = 16;

/// What each cluster's agent reads.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// By cluster.
    pub configs: BTreeMap<ClusterName, Arc<Config>>,
}

/// Why a folder is no fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Something cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is wrong in the manifests.
    #[error("the manifests of cluster {cluster} have mistakes\n{problems}")]
    Problems {
        /// The cluster.
        cluster: ClusterName,
        /// What is wrong, one after the other.
        problems: String,
    },
    /// No cluster is named.
    #[error(
        "{path} names no cluster\n  hint: put each cluster's manifests into a folder of its name, beside the FleetClusters"
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

impl Fleet {
    /// Loads the manifests below `folder`.
    ///
    /// Sub-folders that are named after a `FleetCluster` are that cluster's own; all else is for every cluster.
    ///
    /// # Errors
    /// If a file cannot be read, has a mistake, or no cluster is named.
    pub fn load(folder: &Path) -> Result<Self, FleetError> {
        let mut roots: BTreeMap<PathBuf, Vec<SourceFile>> = BTreeMap::new();
        for path in entries(folder)? {
            let mut found = Vec::new();
            collect(&path, 0, &mut found)?;
            roots.insert(path, found);
        }
        let names = cluster_names(roots.values().flatten());
        if names.is_empty() {
            return Err(FleetError::Empty { path: folder.to_owned() });
        }
        // The text of a cluster's own folder is needed once only.
        let mut own: BTreeMap<&ClusterName, Vec<SourceFile>> = BTreeMap::new();
        for name in &names {
            let path = folder.join(name.as_str());
            if path.is_dir() {
                own.insert(name, roots.remove(&path).unwrap_or_default());
            }
        }
        let shared: Vec<SourceFile> = roots.into_values().flatten().collect();
        let mut configs = BTreeMap::new();
        for cluster in &names {
            let mut files = own.remove(cluster).unwrap_or_default();
            files.extend(shared.iter().cloned());
            let loaded = Loader::new(cluster.clone()).load(&files);
            let problems: String =
                loaded.problems.iter().filter(|it| it.is_error()).map(|it| format!("{it}\n")).collect();
            if !problems.is_empty() {
                return Err(FleetError::Problems { cluster: cluster.clone(), problems });
            }
            configs.insert(cluster.clone(), Arc::new(loaded.config));
        }
        Ok(Self { configs })
    }
}

/// The clusters that any file names. All folders together name many things twice; only the clusters count here, so only
/// files that speak of one are read.
fn cluster_names<'a>(files: impl Iterator<Item = &'a SourceFile>) -> BTreeSet<ClusterName> {
    let Ok(nobody) = ClusterName::new("nobody") else { return BTreeSet::new() };
    let speaking: Vec<SourceFile> =
        files.filter(|file| file.text.contains("FleetCluster")).cloned().collect();
    Loader::new(nobody).load(&speaking).config.clusters.into_keys().collect()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, FleetError> {
    let io = |source| FleetError::Io { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(io)?.collect::<io::Result<Vec<_>>>().map_err(io)?;
    let mut paths: Vec<PathBuf> = entries
        .iter()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(fs::DirEntry::path)
        .collect();
    paths.sort();
    Ok(paths)
}

fn collect(path: &Path, depth: usize, found: &mut Vec<SourceFile>) -> Result<(), FleetError> {
    if path.is_dir() {
        if depth < MAX_DEPTH {
            for entry in entries(path)? {
                collect(&entry, depth + 1, found)?;
            }
        }
        return Ok(());
    }
    let known = path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json");
    if known {
        let text =
            fs::read_to_string(path).map_err(|source| FleetError::Io { path: path.to_owned(), source })?;
        found.push(SourceFile { path: path.to_string_lossy().into_owned(), text });
    }
    Ok(())
}
