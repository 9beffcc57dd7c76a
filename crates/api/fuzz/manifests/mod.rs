//! Bytes as the life of a file of manifests beside one that is good, and what holds for any of them.
//!
//! A zero byte ends one version of the file and begins the next; the loader sees them one after the other, and then
//! the file is gone.

use std::collections::BTreeSet;
use tidegate_api::{Loaded, Loader, SourceFile};
use tidegate_model::ServiceName;

/// A fleet and a service, all right. Its name comes first, so that its objects win over others of the same names.
const GOOD: &str = include_str!("../../tests/base.yaml");

/// More versions than this add nothing but time.
const MAX_VERSIONS: usize = 3;

/// Panics with what does not hold.
pub(crate) fn hold(bytes: &[u8]) {
    let good = SourceFile { path: "base.yaml".to_owned(), text: GOOD.to_owned() };
    let mut loader = new();
    let before = loader.load(std::slice::from_ref(&good));
    assert!(before.problems.is_empty(), "{:?}", before.problems);
    let mut files = vec![good.clone(), SourceFile { path: "case.yaml".to_owned(), text: String::new() }];
    for version in bytes.split(|byte| *byte == 0).take(MAX_VERSIONS) {
        files[1].text = String::from_utf8_lossy(version).into_owned();
        let loaded = loader.load(&files);
        are_told(&loaded, &files);
        assert_eq!(loader.load(&files), loaded, "nothing changed");
        assert!(services(&loaded).is_superset(&services(&before)), "what was good is lost");
        let fresh = new().load(&files);
        are_told(&fresh, &files);
        assert_eq!(new().load(&files), fresh, "the same files mean the same");
        files.reverse();
        assert_eq!(new().load(&files), fresh, "files come in any order");
        files.reverse();
    }
    assert_eq!(loader.load(&[good]), before, "what is gone with its file leaves nothing behind");
}

fn new() -> Loader {
    Loader::new("us-east".parse().unwrap())
}

fn services(loaded: &Loaded) -> BTreeSet<&ServiceName> {
    loaded.config.services.keys().collect()
}

/// Every problem says where, what, and what to do, and can be shown with its line.
fn are_told(loaded: &Loaded, files: &[SourceFile]) {
    for problem in &loaded.problems {
        assert!(!problem.message.is_empty() && !problem.hint.is_empty(), "{problem:?}");
        let text = match files.iter().find(|it| it.path == problem.file) {
            Some(file) => &*file.text,
            None => {
                assert_eq!((&*problem.file, problem.line), ("", 0), "{problem:?}");
                ""
            }
        };
        let lines = text.split('\n').count();
        assert!(problem.line as usize <= lines + 1, "{problem:?} of {lines} lines");
        assert!(!format!("{:?}", problem.report(text)).is_empty());
    }
}
