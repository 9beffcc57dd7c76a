//! What `/proc` says of processes: who is whose child, and who is still there.

use std::{collections::BTreeSet, fs};

/// A process. Its start time tells it from a later one with the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) id: i32,
    started: u64,
}

struct Stat {
    process: Process,
    parent: i32,
    group: i32,
    is_dead: bool,
}

/// All descendants of a process that live, without itself.
pub(crate) fn descendants(root: u32) -> BTreeSet<Process> {
    let all: Vec<Stat> = living().collect();
    let mut ids = BTreeSet::from([i32::try_from(root).unwrap()]);
    let mut found = BTreeSet::new();
    loop {
        let children =
            all.iter().filter(|stat| ids.contains(&stat.parent) && !ids.contains(&stat.process.id));
        let children: Vec<Process> = children.map(|stat| stat.process.clone()).collect();
        if children.is_empty() {
            return found;
        }
        ids.extend(children.iter().map(|child| child.id));
        found.extend(children);
    }
}

/// Those of these processes that still live, with their command lines.
pub(crate) fn left_of(processes: &BTreeSet<Process>) -> Vec<(i32, String)> {
    let left = living().filter(|stat| processes.contains(&stat.process));
    left.map(|stat| (stat.process.id, command_line(stat.process.id))).collect()
}

/// Processes whose command line has `text` in it.
pub(crate) fn naming(text: &str) -> Vec<(i32, String)> {
    let all = living().map(|stat| (stat.process.id, command_line(stat.process.id)));
    all.filter(|(_, line)| line.contains(text)).collect()
}

/// The processes of a group.
pub(crate) fn of_group(group: i32) -> Vec<(i32, String)> {
    let members = living().filter(|stat| stat.group == group);
    members.map(|stat| (stat.process.id, command_line(stat.process.id))).collect()
}

fn command_line(id: i32) -> String {
    let bytes = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// All processes but those that are dead and only not waited for yet.
fn living() -> impl Iterator<Item = Stat> {
    let ids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    ids.filter_map(stat).filter(|stat| !stat.is_dead)
}

/// `None` if it is gone meanwhile.
fn stat(id: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; after it come state, parent, group, and the start as the 20th.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        process: Process { id, started: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
    })
}
