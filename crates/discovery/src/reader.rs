//! Reads manifests again and again: only the files that changed. Where the file system names them, no others are
//! even looked at.

use crate::{
    events::{Events, Told, watch_only, watcher},
    kube::{Board, saved, shelf, subjects},
    scan::{self, Found, Stamp},
    watch::Given,
};
use notify::RecommendedWatcher;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidegate_api::{ConfigChange, Loader, Problem};

/// A file that was written so shortly before it was read may have been written again with the same time: file systems
/// count time in steps, the coarsest of those in use in seconds.
const COARSEST_TIME: Duration = Duration::from_secs(2);

/// Reads the manifests.
pub(crate) struct Reader {
    roots: Vec<PathBuf>,
    pub(crate) loader: Loader,
    found: Found,
    /// The files that the loader has, by path.
    loaded: BTreeSet<PathBuf>,
    /// The files that are handed to it, which the loader has too.
    given: Given,
    /// Files that could not be read the last time, and why.
    unreadable: BTreeMap<PathBuf, Problem>,
    /// Files that may have changed since without looking different.
    doubtful: BTreeSet<PathBuf>,
    /// What was wrong in finding and reading, the last time.
    own: Vec<Problem>,
    /// What the API of a cluster told, which the loader has too.
    pub(crate) shelf: shelf::Shelf,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Reader {
    pub(crate) fn new(roots: Vec<PathBuf>, loader: Loader, events: &Arc<Events>, poll: Duration) -> Self {
        Self {
            watcher: watcher(&roots, Arc::clone(events), poll),
            roots,
            loader,
            found: Found::default(),
            loaded: BTreeSet::new(),
            given: Given::default(),
            unreadable: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            own: Vec::new(),
            shelf: shelf::Shelf::default(),
            watched: BTreeSet::new(),
        }
    }

    /// Whether files came, went or changed since the last load, or may have.
    pub(crate) fn looks_different(&self) -> bool {
        let now = scan::find(&self.roots);
        now.files != self.found.files
            || now.folders != self.found.folders
            || now.unlisted != self.found.unlisted
            || !self.doubtful.is_empty()
    }

    /// The number of the files that are handed to it.
    pub(crate) const fn given(&self) -> u64 {
        self.given.number
    }

    /// Uses the files that are handed now from the next load on.
    pub(crate) fn take(&mut self, given: Given) {
        let kept: BTreeSet<&str> = given.files.iter().map(|file| &*file.path).collect();
        for gone in self.given.files.iter().filter(|file| !kept.contains(&*file.path)) {
            self.loader.remove(&gone.path);
        }
        given.files.iter().for_each(|file| self.loader.set_file(file));
        self.given = given;
    }

    /// Uses what the API of a cluster told from the next load on.
    pub(crate) fn take_told(&mut self, told: Vec<shelf::Told>) {
        self.shelf.take_all(told, &mut self.loader);
    }

    /// Says which objects of the API are named by others, and so are to be asked for.
    pub(crate) fn tell_named(&self, board: &Board) {
        board.want(self.shelf.named());
    }

    /// Uses what the API of a cluster told in an earlier life. Whether there was anything.
    pub(crate) fn take_saved(&mut self, path: &Path) -> bool {
        match saved::read(path, &mut self.shelf, &mut self.loader) {
            Ok((0, 0)) => {}
            Ok((objects, bad)) => {
                tracing::info!(objects, bad, path = %path.display(), "what the cluster's API told last is on disk");
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "what the cluster's API told last cannot be read; it is asked anew");
            }
        }
        !self.shelf.is_empty()
    }

    /// Keeps what the API told on disk, if it is not what was kept last and all of it was told once.
    pub(crate) fn save(&mut self, path: &Path) {
        if !self.shelf.is_complete() || !self.shelf.take_changed() {
            return;
        }
        if let Err(error) = saved::write(path, &self.shelf) {
            tracing::error!(path = %path.display(), %error, "what the cluster's API told cannot be kept on disk");
        }
    }

    /// Tells what was decided about of the API's objects that have a status, if anything about them may be new.
    pub(crate) fn tell_judged(&mut self, board: &Board, news: bool) {
        let subjects = self.shelf.take_subjects_changed().then(|| subjects::of(&self.shelf));
        if news || subjects.is_some() {
            board.judge(subjects, self.problems());
        }
    }

    /// All that is wrong, in the files and with them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.own.iter().chain(self.loader.problems()).cloned().collect()
    }

    /// Reads what changed, as it was told. Gives what changed of what is in force, and all problems if they did.
    pub(crate) fn load(&mut self, told: &Told) -> (ConfigChange, Option<Vec<Problem>>) {
        match self.named(told) {
            Some(files) => files.into_iter().for_each(|(path, stamp)| self.read(path, stamp)),
            None => self.walk(told),
        }
        self.decide()
    }

    /// Decides about all that was taken in.
    pub(crate) fn decide(&mut self) -> (ConfigChange, Option<Vec<Problem>>) {
        let found = self.found.problems.iter().chain(self.unreadable.values()).cloned();
        let own: Vec<Problem> = found.chain(self.shelf.problems()).collect();
        let update = self.loader.update();
        let news = own != self.own || update.problems.is_some();
        self.own = own;
        (update.change, news.then(|| self.problems()))
    }

    /// The files that were told of, if it is known that nothing else changed: those that are known, and still are files.
    fn named(&self, told: &Told) -> Option<Vec<(PathBuf, Stamp)>> {
        if told.everything || !self.found.unlisted.is_empty() {
            return None;
        }
        let mut files = Vec::new();
        for path in &told.paths {
            let path = self.as_given(path)?;
            if self.found.files.contains_key(&path) {
                let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
                files.push((path, Stamp::of(&metadata)));
            } else if self.may_matter(&path) {
                return None;
            }
        }
        Some(files)
    }

    /// A path below a root as the scan names it.
    fn as_given(&self, path: &Path) -> Option<PathBuf> {
        self.roots.iter().find_map(|root| {
            let below = path.strip_prefix(std::path::absolute(root).ok()?).ok()?;
            // Joining nothing would add a slash.
            Some(if below.as_os_str().is_empty() { root.clone() } else { root.join(below) })
        })
    }

    /// Whether something that is no known file may be, or hold, or lead to manifests. What an editor writes beside them
    /// does not, nor does what is gone and was none.
    fn may_matter(&self, path: &Path) -> bool {
        match fs::symlink_metadata(path) {
            Ok(metadata) => !metadata.is_file() || scan::may_be_manifest(path),
            Err(_) => self.found.folders.contains(path),
        }
    }

    /// Looks at all files, and reads those that look different or were told of.
    fn walk(&mut self, told: &Told) {
        // Folders are watched before they are listed, so that what comes in between is an event. A new folder is
        // known only once it was listed, so it is listed again.
        let mut found = scan::find(&self.roots);
        if self.watch_folders(&found) {
            found = scan::find(&self.roots);
        }
        let told: BTreeSet<PathBuf> = told.paths.iter().filter_map(|path| self.as_given(path)).collect();
        let before = std::mem::replace(&mut self.found, found);
        let differs = |(path, stamp): &(&PathBuf, &Stamp)| {
            before.files.get(*path) != Some(*stamp)
                || self.doubtful.contains(*path)
                || self.unreadable.contains_key(*path)
                || told.contains(*path)
        };
        let files: Vec<(PathBuf, Stamp)> = self
            .found
            .files
            .iter()
            .filter(differs)
            .map(|(path, stamp)| (path.clone(), stamp.clone()))
            .collect();
        for (path, stamp) in files {
            self.read(path, stamp);
        }
        let Found { files, unlisted, .. } = &self.found;
        // What lies in a place that cannot be looked into now is not known to be gone.
        let is_gone = |path: &PathBuf| {
            !files.contains_key(path) && !unlisted.iter().any(|place| path.starts_with(place))
        };
        self.unreadable.retain(|path, _| files.contains_key(path));
        self.doubtful.retain(|path| files.contains_key(path));
        for path in self.loaded.extract_if(.., |path| is_gone(path)) {
            self.loader.remove(&path.to_string_lossy());
        }
    }

    /// Reads a file that looked like this before it was read.
    fn read(&mut self, path: PathBuf, stamp: Stamp) {
        let now = SystemTime::now();
        match stamp.is_older(COARSEST_TIME, now) {
            true => self.doubtful.remove(&path),
            false => self.doubtful.insert(path.clone()),
        };
        if let Some(known) = self.found.files.get_mut(&path) {
            *known = stamp;
        }
        match scan::read(&path) {
            Ok(file) => {
                self.loader.set_file(&file);
                self.unreadable.remove(&path);
                self.loaded.insert(path);
            }
            Err(problem) => {
                self.unreadable.insert(path, *problem);
            }
        }
    }

    /// Watches the folders that are there now; whether any is new.
    fn watch_folders(&mut self, found: &Found) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        // Of a root its folder too: it may be replaced as a whole, and a watch would follow the old one.
        let parents =
            self.roots.iter().filter_map(|root| std::path::absolute(root).ok()?.parent().map(PathBuf::from));
        let folders = found.folders.iter().filter_map(|folder| std::path::absolute(folder).ok());
        let watched = watch_only(watcher, &self.watched, folders.chain(parents).collect());
        let any_new = !watched.is_subset(&self.watched);
        self.watched = watched;
        any_new
    }
}
