//! Watching real folders: every change arrives, broken files do no harm.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see helpers outside #[test]"
)]

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};
use tempfile::TempDir;
use tidegate_discovery::{Error, Folder, Snapshot, Update, Updates};
use tidegate_model::ServiceName;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

const CLUSTER: &str =
    "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: home}\nspec: {region: here}\n";

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{port: 80}}]}}\n"
    )
}

/// The manifests as they are known to somebody who follows them by what changed.
struct Watched {
    snapshot: Snapshot,
    updates: Updates,
    _stop: DropGuard,
}

impl Watched {
    fn at(paths: &[&Path]) -> Self {
        let stop = CancellationToken::new();
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        let (snapshot, updates) = Folder::watch(paths, "home".parse().unwrap(), stop.clone()).unwrap();
        Self { snapshot, updates, _stop: stop.drop_guard() }
    }

    fn services(&self) -> String {
        let names = self.snapshot.config.services.keys().map(|name| name.name().to_owned());
        names.collect::<Vec<_>>().join(" ")
    }

    fn problems(&self) -> usize {
        self.snapshot.problems.len()
    }

    /// Waits for these services and this number of problems. Half of the poll interval is allowed: it must be the event
    /// that brings it. Gives what came last.
    async fn until(&mut self, services: &str, problems: usize) -> Update {
        let mut last = Update::default();
        let arrived = timeout(Duration::from_millis(2500), async {
            while (self.services().as_str(), self.problems()) != (services, problems) {
                last = self.updates.next().await.unwrap();
                self.snapshot.apply(last.clone());
            }
        });
        if arrived.await.is_err() {
            panic!(
                "waited for {services:?} with {problems}, have {:?}: {}",
                self.services(),
                self.snapshot.problems_text()
            );
        }
        last
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cluster.yaml"), CLUSTER).unwrap();
    fs::write(folder.path().join("web.yaml"), service("web")).unwrap();
    folder
}

#[tokio::test]
async fn the_first_snapshot_is_there_at_once() {
    let folder = folder();
    let watched = Watched::at(&[folder.path()]);
    assert_eq!((watched.services().as_str(), watched.problems()), ("web", 0));
    assert_eq!(watched.snapshot.generation, 1);
}

#[tokio::test]
async fn a_change_of_one_file_is_told_alone() {
    let folder = folder();
    let mut watched = Watched::at(&[folder.path()]);
    fs::write(folder.path().join("cart.yaml"), service("cart")).unwrap();
    let update = watched.until("cart web", 0).await;
    assert_eq!(update.change.services.keys().map(ServiceName::name).collect::<Vec<_>>(), ["cart"]);
    assert_eq!((update.problems, update.change.clusters), (None, None));
    // What is written as it was is no change: the next one is told alone again.
    fs::write(folder.path().join("web.yaml"), service("web")).unwrap();
    fs::write(folder.path().join("cart.yaml"), service("cart") + "---\n" + &service("pay")).unwrap();
    let update = watched.until("cart pay web", 0).await;
    assert_eq!(update.change.services.keys().map(ServiceName::name).collect::<Vec<_>>(), ["pay"]);
}

#[tokio::test]
async fn changes_that_nobody_takes_become_one() {
    let folder = folder();
    let mut watched = Watched::at(&[folder.path()]);
    let at = |name: &str| folder.path().join(name);
    // At once: half a file would be a problem of its own, and an update more.
    let write = |name: &str| {
        fs::write(at("more.new"), service(name)).unwrap();
        fs::rename(at("more.new"), at("more.yaml")).unwrap();
    };
    let mut follower = Watched::at(&[folder.path()]);
    for name in ["cart", "pay", "zoo"] {
        write(name);
        // By the second one it is known that the change was loaded.
        follower.until(&format!("{name} web").replace("zoo web", "web zoo"), 0).await;
    }
    write("cart");
    follower.until("cart web", 0).await;
    let update = watched.until("cart web", 0).await;
    assert!(update.change.services.values().flatten().count() == 1, "{update:?}");
}

#[tokio::test]
async fn files_come_change_break_and_go() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let mut watched = Watched::at(&[folder.path()]);
    fs::write(at("cart.yml"), service("cart")).unwrap();
    watched.until("cart web", 0).await;
    fs::write(at("cart.yml"), service("pay")).unwrap();
    watched.until("pay web", 0).await;
    fs::write(at("cart.yml"), "apiVersion: v1\nkind: Serv: x").unwrap();
    watched.until("pay web", 1).await;
    fs::write(at("cart.yml"), [0xff, 0xfe]).unwrap();
    watched.until("pay web", 1).await;
    fs::write(at("cart.yml"), service("cart")).unwrap();
    watched.until("cart web", 0).await;
    fs::remove_file(at("cart.yml")).unwrap();
    watched.until("web", 0).await;
    assert!(watched.snapshot.generation > 5);
}

#[tokio::test]
async fn a_file_is_replaced_by_rename() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let mut watched = Watched::at(&[folder.path()]);
    for name in ["a", "b", "c"] {
        fs::write(at(".web.yaml.swp"), service(name)).unwrap();
        fs::rename(at(".web.yaml.swp"), at("web.yaml")).unwrap();
        watched.until(name, 0).await;
    }
}

#[tokio::test]
async fn a_file_given_by_name_is_followed_through_renames() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let mut watched = Watched::at(&[&at("web.yaml"), &at("cluster.yaml")]);
    for name in ["a", "b"] {
        fs::write(at("next"), service(name)).unwrap();
        fs::rename(at("next"), at("web.yaml")).unwrap();
        watched.until(name, 0).await;
    }
    // A file that was asked for by name and is gone is a mistake, not a decision.
    fs::remove_file(at("web.yaml")).unwrap();
    watched.until("b", 1).await;
}

#[tokio::test]
async fn folders_come_and_go_and_come_again() {
    let folder = folder();
    let deep = folder.path().join("team/shop");
    let mut watched = Watched::at(&[folder.path()]);
    for name in ["cart", "pay"] {
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("a.json"), service(name)).unwrap();
        watched.until(&format!("{name} web"), 0).await;
        fs::write(deep.join("b.yaml"), service("zoo")).unwrap();
        watched.until(&format!("{name} web zoo"), 0).await;
        fs::remove_dir_all(folder.path().join("team")).unwrap();
        watched.until("web", 0).await;
    }
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let version = |version: &str, text: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("web.yaml"), text).unwrap();
        fs::write(at(version).join("cluster.yaml"), CLUSTER).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    version("..1", &service("one"));
    symlink("..data/web.yaml", at("web.yaml")).unwrap();
    symlink("..data/cluster.yaml", at("cluster.yaml")).unwrap();
    let mut watched = Watched::at(&[folder.path()]);
    assert_eq!((watched.services().as_str(), watched.problems()), ("one", 0));
    version("..2", &service("two"));
    watched.until("two", 0).await;
}

#[tokio::test]
async fn a_root_that_is_a_link_is_followed_when_it_moves() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["one", "two"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("all.yaml"), format!("{CLUSTER}---\n{}", service(name))).unwrap();
    }
    symlink("one", at("current")).unwrap();
    let mut watched = Watched::at(&[&at("current")]);
    assert_eq!(watched.services(), "one");
    symlink("two", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    watched.until("two", 0).await;
    fs::write(at("two").join("more.yaml"), service("three")).unwrap();
    watched.until("three two", 0).await;
}

#[tokio::test]
async fn loops_and_files_reached_twice_are_read_once() {
    let folder = folder();
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    symlink("web.yaml", folder.path().join("again.yaml")).unwrap();
    let watched = Watched::at(&[folder.path(), folder.path()]);
    assert_eq!((watched.services().as_str(), watched.problems()), ("web", 0));
}

#[tokio::test]
async fn other_files_are_nobody_s_business() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("README.md"), "# not: yaml: at all").unwrap();
    fs::write(at(".hidden.yaml"), "{").unwrap();
    fs::create_dir(at(".git")).unwrap();
    fs::write(at(".git/x.yaml"), "{").unwrap();
    assert_eq!(Watched::at(&[folder.path()]).problems(), 0);
}

#[tokio::test]
async fn a_folder_that_vanishes_keeps_what_it_said() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("manifests");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("all.yaml"), format!("{CLUSTER}---\n{}", service("web"))).unwrap();
    let mut watched = Watched::at(&[&root]);
    fs::rename(&root, parent.path().join("elsewhere")).unwrap();
    watched.until("web", 1).await;
    fs::rename(parent.path().join("elsewhere"), &root).unwrap();
    watched.until("web", 0).await;
    fs::write(root.join("more.yaml"), service("zoo")).unwrap();
    watched.until("web zoo", 0).await;
}

#[tokio::test]
async fn a_burst_is_not_a_load_for_each_file() {
    let folder = folder();
    let mut watched = Watched::at(&[folder.path()]);
    for n in 0..200 {
        fs::write(folder.path().join(format!("s{n:03}.yaml")), service(&format!("s{n:03}"))).unwrap();
    }
    let all: Vec<String> = (0..200).map(|n| format!("s{n:03}")).collect();
    watched.until(&format!("{} web", all.join(" ")), 0).await;
    assert!(watched.snapshot.generation < 20, "{}", watched.snapshot.generation);
}

#[tokio::test]
async fn nothing_to_watch_is_an_error_that_says_so() {
    let watch = |paths| Folder::watch(paths, "home".parse().unwrap(), CancellationToken::new());
    assert!(matches!(watch(vec![]).unwrap_err(), Error::NoPaths));
    let error = watch(vec!["/nowhere/at/all".into()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the manifests /nowhere/at/all cannot be read: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn watching_ends_with_the_token() {
    let folder = folder();
    let stop = CancellationToken::new();
    let (_, mut updates) =
        Folder::watch(vec![folder.path().to_owned()], "home".parse().unwrap(), stop.clone()).unwrap();
    stop.cancel();
    assert_eq!(timeout(Duration::from_secs(5), updates.next()).await.unwrap(), None);
}
