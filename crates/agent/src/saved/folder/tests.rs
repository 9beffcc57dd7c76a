use super::super::fixture::{at, changed, check, engine, whole};
use super::*;
use tidegate_engine::{Engine, Saved};
use tidegate_model::Time;

/// A state folder, and an engine that writes to it as an agent does.
struct Disk {
    dir: tempfile::TempDir,
    engine: Engine,
    head: Head,
    now: Time,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let head = Head { format: FORMAT, life: 1, number: 0, at: Time::ZERO };
        let mut disk = Self { dir, engine: engine(3, Saved::default(), Time::ZERO), head, now: Time::ZERO };
        disk.begin();
        disk.append();
        for number in 0..3 {
            disk.check(number, 1, true, 1);
            disk.check(number, 2, true, 1);
        }
        disk
    }

    fn state(&self) -> StateDir {
        StateDir::open(self.dir.path()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Another log.
    fn begin(&mut self) {
        self.head = Head { number: self.head.number + 1, at: self.now, ..self.head };
        self.state().begin_log(self.head).unwrap();
    }

    /// Appends what changed, or that time has passed.
    fn append(&mut self) {
        let mut text = Vec::new();
        let parts = changed(&mut self.engine, self.now);
        if parts.is_empty() {
            Line::Until(self.now).write(&mut text).unwrap();
        }
        parts.into_iter().for_each(|part| Line::Part(self.now, part).write(&mut text).unwrap());
        let mut log = fs::OpenOptions::new().append(true).open(self.state().log(self.head.number)).unwrap();
        log.write_all(&text).unwrap();
    }

    fn check(&mut self, number: usize, n: u8, up: bool, seconds: u64) {
        self.now = at(seconds);
        check(&mut self.engine, number, n, up, self.now);
        self.append();
    }

    fn wait(&mut self, seconds: u64) {
        self.now = at(seconds);
        self.engine.tick(self.now);
        self.append();
    }

    /// Another life of the agent, in which so many services come back.
    fn restart(&mut self, services: usize) {
        let (saved, problems) = self.state().load();
        assert!(problems.is_empty(), "{problems:?}");
        self.now = Time::ZERO;
        self.engine = engine(services, saved.unwrap().engine, self.now);
        self.head.life += 1;
        self.begin();
        self.append();
    }

    #[track_caller]
    fn holds_all(&self) {
        let (loaded, problems) = self.state().load();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(loaded.unwrap(), whole(&self.engine, self.now));
    }

    /// A fault and the beginning of its end: hold-downs run.
    fn fault(&mut self, seconds: u64) {
        self.check(0, 1, false, seconds);
        self.check(0, 2, false, seconds + 1);
        self.check(0, 1, true, seconds + 2);
    }
}

#[test]
fn what_is_appended_is_the_whole_with_its_times_run_on() {
    let mut disk = Disk::new();
    disk.holds_all();
    disk.fault(5);
    disk.holds_all();
    disk.wait(20);
    disk.holds_all();
    disk.begin();
    disk.wait(30);
    disk.holds_all();
    assert_eq!(StateDir::open(&disk.path("none/yet")).unwrap().load().0, None);
}

#[test]
fn the_whole_and_the_logs_after_it_say_the_same_as_before() {
    let mut disk = Disk::new();
    disk.fault(5);
    disk.wait(9);
    disk.state().compact(1).unwrap();
    disk.holds_all();
    disk.begin();
    disk.check(1, 1, false, 12);
    disk.wait(15);
    disk.holds_all();
    disk.state().compact(2).unwrap();
    disk.holds_all();
    disk.begin();
    disk.wait(20);
    disk.holds_all();
    disk.engine.handle(tidegate_engine::Event::ServiceRemoved(super::super::fixture::service(1)), disk.now);
    disk.append();
    disk.holds_all();
    disk.state().compact(3).unwrap();
    disk.holds_all();
    assert_eq!(disk.state().logs().unwrap(), [3], "those that both wholes hold are removed");
}

#[test]
fn time_that_nobody_watched_does_not_count() {
    let mut disk = Disk::new();
    disk.fault(5);
    disk.wait(10);
    disk.restart(0);
    disk.wait(40);
    disk.holds_all();
    disk.state().compact(2).unwrap();
    disk.holds_all();
    disk.restart(3);
    disk.wait(5);
    disk.holds_all();
    let before = disk.engine.save(disk.now);
    disk.restart(1);
    assert_eq!(disk.engine.save(disk.now), before, "the same, whoever is back");
    disk.wait(6);
    disk.holds_all();
}

#[test]
fn a_crash_at_any_step_of_making_a_whole_loses_nothing() {
    let mut disk = Disk::new();
    disk.fault(5);
    disk.state().compact(1).unwrap();
    disk.begin();
    disk.check(2, 1, false, 10);
    // The first time there is no previous whole; the second time there is.
    for number in [2, 3] {
        let state = disk.state();
        let length = state.write_new(number).unwrap();
        let new = fs::read(disk.path(NEW)).unwrap();
        assert_eq!(length, new.len() as u64);
        for cut in (0..new.len()).step_by(97) {
            fs::write(disk.path(NEW), &new[..cut]).unwrap();
            disk.holds_all();
        }
        fs::write(disk.path(NEW), &new).unwrap();
        disk.holds_all();
        state.keep_previous().unwrap();
        disk.holds_all();
        state.put_in_place().unwrap();
        disk.holds_all();
        // Only some of the logs are removed.
        fs::remove_file(state.log(number - 1)).unwrap();
        disk.holds_all();
        state.prune().unwrap();
        disk.holds_all();
        disk.begin();
        disk.check(2, 2, false, 10 + number);
    }
}

#[test]
fn after_a_crash_between_the_renames_the_next_whole_is_made_of_the_previous_one() {
    let mut disk = Disk::new();
    disk.state().compact(1).unwrap();
    disk.begin();
    disk.fault(5);
    disk.state().write_new(2).unwrap();
    disk.state().keep_previous().unwrap();
    disk.begin();
    disk.wait(12);
    disk.state().compact(3).unwrap();
    disk.holds_all();
}

#[test]
fn a_log_that_is_torn_anywhere_holds_what_was_written_before() {
    let mut disk = Disk::new();
    disk.fault(5);
    let log = disk.state().log(1);
    let text = fs::read(&log).unwrap();
    let head = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut last = None;
    let ends = |cut: &usize| text[cut - 1] == b'\n' || text[cut - 2] == b'\n' || cut.is_multiple_of(13);
    for cut in (head..=text.len()).filter(ends) {
        fs::write(&log, &text[..cut]).unwrap();
        let (loaded, problems) = disk.state().load();
        assert!(problems.is_empty(), "a crash is no fault of the disk: {problems:?}");
        if text[cut - 1] != b'\n' {
            assert_eq!(loaded, last, "cut at {cut}: half a line says nothing");
        }
        last = loaded;
    }
    assert_eq!(last.unwrap(), whole(&disk.engine, disk.now));
}

#[test]
fn a_line_that_was_changed_is_told_and_the_others_hold() {
    let mut disk = Disk::new();
    disk.fault(5);
    let log = disk.state().log(1);
    let text = fs::read_to_string(&log).unwrap();
    let changed = text.replacen("\"healthy\":false", "\"healthy\":true ", 1);
    assert_ne!(text, changed);
    fs::write(&log, changed).unwrap();
    let (loaded, problems) = disk.state().load();
    assert_eq!(loaded.unwrap(), whole(&disk.engine, disk.now), "each was written again later");
    assert!(problems[0].to_string().contains("1 lines were changed or torn"), "{}", problems[0]);
}

#[test]
fn a_whole_that_is_torn_or_changed_is_told_and_nothing_is_lost() {
    let mut disk = Disk::new();
    disk.state().compact(1).unwrap();
    disk.begin();
    disk.fault(5);
    disk.state().compact(2).unwrap();
    disk.begin();
    disk.check(1, 1, false, 12);
    let text = fs::read_to_string(disk.path(FILE)).unwrap();
    let lines = text.lines().count();
    let cut: String = text.lines().take(lines - 2).map(|line| format!("{line}\n")).collect();
    for broken in [cut, text[..text.len() / 2].to_owned(), text.replacen("s-0", "s-9", 1)] {
        fs::write(disk.path(FILE), broken).unwrap();
        let (loaded, problems) = disk.state().load();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("changed or torn"), "{}", problems[0]);
        assert_eq!(loaded.unwrap(), whole(&disk.engine, disk.now));
    }
    // The previous one stays until there is a sound one.
    disk.state().write_new(3).unwrap();
    disk.state().keep_previous().unwrap();
    assert_eq!(disk.state().load().0.unwrap(), whole(&disk.engine, disk.now));
    disk.state().put_in_place().unwrap();
    disk.holds_all();
}

#[test]
fn a_file_of_the_first_format_is_read_and_gone_on_from() {
    let mut disk = Disk::new();
    disk.fault(5);
    let state = serde_json::to_string(&whole(&disk.engine, disk.now)).unwrap();
    let sha256 = Sha256::digest(&state).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = serde_json::to_string(&Envelope { format: 1, sha256, state }).unwrap();
    fs::remove_file(disk.state().log(1)).unwrap();
    fs::write(disk.path(FILE), &text).unwrap();
    disk.holds_all();
    disk.restart(2);
    disk.wait(3);
    disk.holds_all();
    disk.state().compact(2).unwrap();
    disk.holds_all();
    fs::write(disk.path(FILE), text.replace("us-east", "us-west").replacen("s-0", "s-9", 1)).unwrap();
    let (loaded, problems) = disk.state().load();
    assert!(problems[0].to_string().contains("checksum"), "{}", problems[0]);
    assert_eq!(
        loaded.unwrap(),
        whole(&disk.engine, disk.now),
        "the previous one is that of the first format"
    );
}
