//! The chart is what the code makes: `UPDATE_GENERATED=1 cargo test -p tidegate-install` writes it anew.

use std::{collections::BTreeSet, fs, path::PathBuf};

pub(crate) fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/tidegate")
}

#[test]
fn the_chart_is_that_of_the_code() {
    let mut names = BTreeSet::new();
    for (name, fresh) in tidegate_install::chart::files() {
        let path = chart().join(&name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &fresh).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == fresh,
            "deploy/helm/tidegate/{name} is old: run `UPDATE_GENERATED=1 cargo test -p tidegate-install`"
        );
        names.insert(name);
    }
    for folder in ["templates", "crds"] {
        for entry in fs::read_dir(chart().join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(names.contains(&name), "{name} is written by nobody");
        }
    }
}

#[test]
fn the_same_options_give_the_same_text() {
    for ((what, once), (_, again)) in crate::all().into_iter().zip(crate::all()) {
        assert_eq!(tidegate_install::documents(&once), tidegate_install::documents(&again), "{what}");
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same_objects() {
    for (what, objects) in crate::all() {
        let text = tidegate_install::documents(&objects);
        let read: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(read, objects, "{what}");
        assert!(
            !text.contains("@{") && !text.contains("@#{") && !text.contains("{{"),
            "{what} has places of the chart:\n{text}"
        );
    }
}
