//! What an agent wrote down, fed to a fresh core, gives the same decisions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidegate_agent::{
    core::{Core, Input},
    journal::{Header, Journal, JournalError, JournalFile, Limits, read, replay},
    saved::SavedAgent,
};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_engine::Target;
use tidegate_model::{ClusterName, Fraction, Locality, Phase, PoolStatus, ProbeVerdict, ServiceName, Time};

const ROOMY: Limits = Limits { queue: 100_000, file_bytes: u64::MAX, files: 8, bytes_per_second: u64::MAX };

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

/// The manifests of examples/two-regions for us-east.
fn config() -> Arc<Config> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/two-regions");
    let mut sources = Vec::new();
    for folder in ["fleet", "us-east"] {
        for path in files(&root.join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            sources.push(SourceFile { path: path.to_string_lossy().into_owned(), text });
        }
    }
    let loaded = Loader::new(name("us-east")).load(&sources);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    Arc::new(loaded.config)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn read_all(folder: &Path) -> Vec<JournalFile> {
    files(folder).iter().map(|path| read(path).unwrap()).collect()
}

/// A linear congruence (Numerical Recipes): the same inputs on every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Any input that an agent may get.
fn input(draw: &mut Draw, config: &Arc<Config>, less: &Arc<Config>) -> Input {
    let services: Vec<&ServiceName> = config.services.keys().collect();
    let service = services[draw.below(services.len())].clone();
    let peer: ClusterName = name("us-west");
    match draw.below(20) {
        0 => Input::Manifests(Arc::clone(if draw.below(2) == 0 { config } else { less })),
        1 => Input::Reachable { peer, quick: draw.below(2) == 0, detail: "heard \"again\"".into() },
        2 => Input::Suspect(peer),
        3 => Input::Unreachable(peer, "silent".into()),
        4 => Input::Gateway(name(["us-east-1a", "us-east-1c"][draw.below(2)])),
        5 => Input::Release(service, Target::Zone(name("us-east-1a"))),
        6 | 7 => Input::RemotePools(peer, services.iter().map(|it| status(it, draw.below(3))).collect()),
        8..=12 => Input::Tick,
        _ => {
            let addresses: Vec<SocketAddr> = config.services[&service].endpoints.keys().copied().collect();
            let verdict = match draw.below(2) {
                0 => ProbeVerdict::Up,
                _ => ProbeVerdict::Down("connection refused".into()),
            };
            Input::Checked((service, addresses[draw.below(addresses.len())]), verdict)
        }
    }
}

fn status(service: &ServiceName, healthy: usize) -> PoolStatus {
    let count = u32::try_from(healthy).unwrap();
    PoolStatus {
        service: service.clone(),
        locality: Locality { region: name("us-west"), zone: name("us-west-1a") },
        expected: 2,
        present: 2,
        healthy: count,
        admit: Fraction::of(count, 2),
        phase: [Phase::Out, Phase::Reduced, Phase::Serving][healthy],
        hold_remaining: Duration::ZERO,
    }
}

/// An agent's core that is told random things, and its journal in `folder`. The life is named by the seed.
fn run(folder: &Path, seed: u64, count: usize, limits: Limits, saved: Option<SavedAgent>) -> Core {
    let config = config();
    let mut less = (*config).clone();
    less.services = less.services.into_iter().skip(1).collect::<BTreeMap<_, _>>();
    let less = Arc::new(less);
    let header = Header::first(name("us-east"), saved.clone(), seed);
    let (mut journal, writer) = Journal::new(folder.to_owned(), header, limits);
    let writer = std::thread::spawn(|| writer.run());
    let mut core = Core::new(name("us-east"), saved, Time::ZERO);
    let (mut draw, mut now) = (Draw(seed), Time::ZERO);
    let first = Input::Manifests(Arc::clone(&config));
    for number in 0..=count {
        let input = if number == 0 { first.clone() } else { input(&mut draw, &config, &less) };
        now = now + Duration::from_nanos(u64::try_from(draw.below(2_000_000_011)).unwrap());
        let output = core.handle(input.clone(), now);
        journal.note(now, input, output.records, &core);
        // A disk that keeps up, so that parts begin where a file is full.
        if limits.file_bytes < u64::MAX && number % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    drop(journal);
    writer.join().unwrap();
    core
}

#[test]
fn a_replay_decides_what_the_agent_decided() {
    for seed in 1..=8 {
        let dir = tempfile::tempdir().unwrap();
        // Every other one begins with what an agent before it had saved.
        let before = tempfile::tempdir().unwrap();
        let saved = (seed % 2 == 0).then(|| {
            run(before.path(), seed + 100, 100, ROOMY, None).save(Time::from_millis(1 << 30)).unwrap()
        });
        run(dir.path(), seed, 600, ROOMY, saved);
        let files = read_all(dir.path());
        assert_eq!(files.len(), 1);
        let replayed = replay(&files, true);
        assert_eq!(replayed.difference, None);
        assert!(replayed.exact && replayed.inputs == 601, "{} inputs", replayed.inputs);
        let plans = replayed.decisions.iter().filter(|(_, record)| record.kind == "planChanged").count();
        assert!(plans > 10, "seed {seed}: {plans} plan changes prove little");
    }
}

#[test]
fn parts_in_order_are_replayed_exactly_and_a_later_part_alone_says_that_it_is_not_exact() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 3, 2_000, Limits { file_bytes: 10_000, files: 10_000, ..ROOMY }, None);
    let files = read_all(dir.path());
    assert!(files.len() > 1, "no second part was begun");
    let replayed = replay(&files, true);
    assert_eq!(replayed.difference, None);
    assert!(replayed.exact && replayed.inputs == 2_001);
    let later = replay(&files[1..], false);
    assert!(!later.exact && later.difference.is_none());
}

#[test]
fn a_changed_decision_is_found_with_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 300, ROOMY, None);
    let path = &files(dir.path())[0];
    let text = fs::read_to_string(path).unwrap();
    let at = text.lines().enumerate().skip(20).find(|(_, line)| line.contains("planChanged")).unwrap().0;
    let change = |(number, row): (usize, &str)| {
        let row = if number == at { row.replacen("planChanged", "planForged", 1) } else { row.to_owned() };
        row + "\n"
    };
    fs::write(path, text.lines().enumerate().map(change).collect::<String>()).unwrap();
    let difference = replay(&read_all(dir.path()), true).difference.unwrap();
    assert_eq!(difference.line, at + 1);
    assert!(difference.written.contains("planForged") && difference.replayed.contains("planChanged"));
}

#[test]
fn a_torn_last_line_is_passed_over_and_told() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 100, ROOMY, None);
    let path = &files(dir.path())[0];
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 5]).unwrap();
    let file = read(path).unwrap();
    assert!(file.torn);
    assert_eq!(file.lines.len(), 100);
    assert_eq!(replay(&[file], true).difference, None);
}

#[test]
fn damage_before_the_end_is_an_error_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 10, ROOMY, None);
    let path = &files(dir.path())[0];
    let text = fs::read_to_string(path).unwrap().replacen("{\"told\"", "{told", 3);
    fs::write(path, text).unwrap();
    let error = read(path).unwrap_err().to_string();
    assert!(error.contains(".jsonl:2: ") && error.contains("hint: "), "{error}");
}

#[test]
fn another_version_of_the_format_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 10, ROOMY, None);
    let path = &files(dir.path())[0];
    let text = fs::read_to_string(path).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    fs::write(path, text).unwrap();
    let error = read(path).unwrap_err();
    assert!(matches!(error, JournalError::Version { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("hint: replay it with the tidegate that wrote it"), "{error}");
    fs::write(path, "not a journal\n").unwrap();
    assert!(read(path).unwrap_err().to_string().contains("not the header of a journal"));
}

#[test]
fn a_slow_disk_leaves_a_gap_that_is_told_and_never_holds_up_the_loop() {
    let dir = tempfile::tempdir().unwrap();
    let header = Header::first(name("us-east"), None, 1);
    let (mut journal, writer) = Journal::new(dir.path().to_owned(), header, Limits { queue: 4, ..ROOMY });
    let mut core = Core::new(name("us-east"), None, Time::ZERO);
    let mut tell = |journal: &mut Journal, ms: u64, input: Input| {
        let now = Time::from_millis(ms);
        let output = core.handle(input.clone(), now);
        journal.note(now, input, output.records, &core);
    };
    tell(&mut journal, 0, Input::Manifests(config()));
    // Nobody writes yet: four fit, the rest is dropped at once.
    for ms in 1..10 {
        tell(&mut journal, ms, Input::Tick);
    }
    let writer = std::thread::spawn(|| writer.run());
    let path = dir.path().join(format!("{:020}-{:06}.jsonl", 1, 0));
    while fs::read_to_string(&path).map_or(0, |text| text.lines().count()) < 5 {
        std::thread::yield_now();
    }
    tell(&mut journal, 20, Input::Tick);
    drop(journal);
    writer.join().unwrap();
    let replayed = replay(&read_all(dir.path()), true);
    assert_eq!((replayed.missing, replayed.inputs), (6, 5));
    assert!(!replayed.exact);
}

#[test]
fn what_is_too_much_to_be_written_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes: 10_000, files: 10_000, bytes_per_second: 10, ..ROOMY };
    run(dir.path(), 1, 2_000, limits, None);
    let files = read_all(dir.path());
    let written: u64 = self::files(dir.path()).iter().map(|it| fs::metadata(it).unwrap().len()).sum();
    // Behind a gap it decides otherwise.
    let replayed = replay(&files, false);
    assert!(replayed.missing > 0 && replayed.inputs > 0 && !replayed.exact, "{replayed:?}");
    assert_eq!(replayed.missing + replayed.inputs, 2_001, "each is there or told as missing");
    assert!(written < 200_000, "{written}");
}

#[test]
fn a_file_that_begins_large_is_not_full_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // Its header and manifests alone have more bytes than that.
    run(dir.path(), 5, 2, Limits { file_bytes: 100, files: 10_000, ..ROOMY }, None);
    assert_eq!(files(dir.path()).len(), 1, "it is followed by another one when it has doubled");
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 5, 2_000, Limits { file_bytes: 100, files: 10_000, ..ROOMY }, None);
    assert!(files(dir.path()).len() > 1);
}

#[test]
fn old_files_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes: 1_000, files: 3, ..ROOMY };
    for seed in 1..=4 {
        run(dir.path(), seed, 300, limits, None);
        assert!(files(dir.path()).len() <= 3);
    }
    let newest = read_all(dir.path()).pop().unwrap();
    assert_eq!(newest.header.started_unix_micros, 4, "the newest stay");
}
