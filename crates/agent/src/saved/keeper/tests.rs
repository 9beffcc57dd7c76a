use super::super::fixture::{at, changed, check, engine, whole};
use super::*;
use std::fs;
use tidegate_engine::{Engine, Saved};

fn keeper(folder: &StateDir, log_bytes: u64) -> (Keeper, JoinHandle<()>) {
    let (keeper, writer) = Keeper::new(folder.clone());
    let writer = Writer { log_bytes, pause: Duration::ZERO, ..writer };
    (keeper, std::thread::spawn(|| writer.run()))
}

fn give(keeper: &Keeper, engine: &mut Engine, now: Time) {
    let batch = Batch { at: now, parts: changed(engine, now) };
    keeper.sender.blocking_send(batch).unwrap();
}

#[test]
fn what_is_given_over_many_logs_and_lives_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = StateDir::open(dir.path()).unwrap();
    let mut saved = Saved::default();
    for life in 1..=12_u64 {
        let (keeper, writer) = keeper(&folder, 2000);
        let mut engine = engine(4, saved, Time::ZERO);
        for second in 1..=30 {
            let number = usize::try_from((second + life) % 4).unwrap();
            check(&mut engine, number, 1, second % 3 > 0, at(second));
            give(&keeper, &mut engine, at(second));
        }
        drop(keeper);
        writer.join().unwrap();
        let (loaded, problems) = folder.load();
        assert!(problems.is_empty(), "{problems:?}");
        let loaded = loaded.unwrap();
        assert_eq!(loaded, whole(&engine, at(30)));
        saved = loaded.engine;
    }
    let logs = folder.logs().unwrap();
    assert!(logs.len() <= 2 * LOGS && logs[0] > 1, "logs are put into the whole and removed: {logs:?}");
}

#[test]
fn few_small_logs_are_put_together_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = StateDir::open(dir.path()).unwrap();
    for _ in 0..3 * LOGS {
        let (keeper, writer) = keeper(&folder, LOG_BYTES);
        give(&keeper, &mut engine(1, Saved::default(), Time::ZERO), at(1));
        drop(keeper);
        writer.join().unwrap();
    }
    let logs = folder.logs().unwrap();
    assert!(logs.len() <= 2 * LOGS, "{logs:?}");
}

#[test]
fn after_a_failure_of_the_disk_all_is_wanted_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("state");
    let folder = StateDir::open(&place).unwrap();
    let (keeper, writer) = keeper(&folder, LOG_BYTES);
    let mut engine = engine(2, Saved::default(), Time::ZERO);
    // No folder: it can neither be written nor read.
    fs::remove_dir_all(&place).unwrap();
    give(&keeper, &mut engine, at(1));
    while keeper.sender.capacity() < QUEUE {
        std::thread::yield_now();
    }
    // The writer has taken the first one and is in the middle of it, or done with it, when the folder is back: whichever
    // is the case, the folder holds all in the end.
    fs::create_dir_all(&place).unwrap();
    check(&mut engine, 1, 1, true, at(2));
    give(&keeper, &mut engine, at(2));
    give(&keeper, &mut engine, at(3));
    drop(keeper.sender);
    writer.join().unwrap();
    let known = folder.load().0.is_some_and(|loaded| loaded == whole(&engine, at(3)));
    assert!(known || keeper.lost.load(Ordering::Relaxed), "what is not on disk is asked for again");
}

#[test]
fn many_changes_are_taken_soon_and_little_by_little() {
    assert_eq!(pace(0, false), SLOW_PULSE);
    assert_eq!(pace(0, true), PULSE);
    assert_eq!(pace(AT_ONCE, true), EVERY);
    assert_eq!(pace(AT_ONCE + 1, false), SOON);
    let turns = u32::try_from(10_000 / AT_ONCE).unwrap();
    assert!(SOON * turns < Duration::from_secs(1), "ten thousand services within a second");
}

#[test]
fn what_the_disk_has_no_room_for_waits_in_the_core() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keeper, writer) = Keeper::new(StateDir::open(dir.path()).unwrap());
    let mut core = crate::core::Core::new("east".parse().unwrap(), None, Time::ZERO);
    for _ in 0..QUEUE {
        keeper.sender.try_send(Batch { at: Time::ZERO, parts: Vec::new() }).unwrap();
    }
    core.mark_unsaved();
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: east}\nspec: {region: us-east}\n";
    let file = tidegate_api::SourceFile { path: "f.yaml".into(), text: text.into() };
    let config = tidegate_api::Loader::new("east".parse().unwrap()).load(&[file]).config;
    core.handle(crate::core::Input::Manifests(Arc::new(config)), Time::ZERO);
    assert!(core.is_ready() && core.unsaved() > 0);
    let waits = core.unsaved();
    keeper.keep_if_due(&mut core, at(60));
    assert_eq!(core.unsaved(), waits);
    drop(writer);
}

#[test]
fn the_oldest_change_is_taken_first_and_never_more_than_was_asked_for() {
    let mut engine = engine(300, Saved::default(), at(1));
    let names = |parts: &[tidegate_engine::SavedPart]| -> Vec<String> {
        let text = |part: &tidegate_engine::SavedPart| serde_json::to_value(part).unwrap();
        parts.iter().map(|part| text(part)["service"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = engine.take_unsaved(AT_ONCE, false, at(1));
    assert_eq!(names(&first).first().unwrap(), "shop/s-0");
    assert_eq!(first.len(), AT_ONCE);
    check(&mut engine, 0, 1, true, at(2));
    check(&mut engine, 299, 1, true, at(2));
    assert_eq!(engine.unsaved(), 300 - AT_ONCE + 1, "who waits already waits once");
    let rest = engine.take_unsaved(usize::MAX, false, at(2));
    assert_eq!(names(&rest).last().unwrap(), "shop/s-0");
    assert!(engine.take_unsaved(usize::MAX, true, at(2)).is_empty());
}
