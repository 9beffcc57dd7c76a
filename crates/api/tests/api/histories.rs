//! Whatever happens to a folder: what is kept up to date by changes is what a whole load gives.

mod drawn;

use drawn::{Folder, Op, op};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;
use tidegate_api::{Config, Loader, SourceFile};

/// Somebody who follows a loader by what changed alone.
struct Follower {
    loader: Loader,
    config: Config,
    problems: Vec<tidegate_api::Problem>,
    files: BTreeMap<String, SourceFile>,
}

impl Follower {
    fn new() -> Self {
        let loader = super::loader();
        Self { loader, config: Config::default(), problems: Vec::new(), files: BTreeMap::new() }
    }

    /// Tells the loader which files are new, changed or gone, and takes in what it gives.
    fn follow(&mut self, files: &[SourceFile]) {
        let now: BTreeMap<String, SourceFile> =
            files.iter().map(|file| (file.path.clone(), file.clone())).collect();
        for path in self.files.keys().filter(|path| !now.contains_key(*path)) {
            self.loader.remove(path);
        }
        for file in now.values().filter(|file| self.files.get(&file.path) != Some(file)) {
            self.loader.set_file(file);
        }
        self.files = now;
        let update = self.loader.update();
        self.config.apply(&update.change);
        if let Some(problems) = update.problems {
            self.problems = problems;
        }
    }
}

/// Lives through a history step by step. A second loader is told all files each time, and makes everything anew.
fn hold(history: &[Vec<Op>]) {
    let mut folder = Folder::default();
    let (mut follower, mut whole) = (Follower::new(), super::loader());
    for ops in history {
        ops.iter().for_each(|op| folder.act(op));
        let files = folder.files();
        follower.follow(&files);
        let loaded = whole.load(&files);
        let rebuilt = whole.rebuilt();
        assert_eq!(loaded, rebuilt, "a loader that is told all files");
        assert_eq!(follower.config, rebuilt.config, "followed by changes");
        assert_eq!(follower.problems, rebuilt.problems, "followed by changes");
        let again = follower.loader.update();
        assert!(again.change.is_empty() && again.problems.is_none(), "nothing happened: {again:?}");
    }
}

fn cases() -> u32 {
    // More by PROPTEST_CASES: an hour of it is a soak.
    std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_followed_by_changes_is_what_a_whole_load_gives(
        start in vec(op(), 10..60),
        then in vec(vec(op(), 1..4), 1..12),
    ) {
        let history: Vec<Vec<Op>> = [start].into_iter().chain(then).collect();
        hold(&history);
    }
}
