//! What the pages say is there: every link leads somewhere, and every command shown is one that the program takes.
//!
//! Commands stand in blocks of ```` ```sh ```` and ```` ```console ```` (`fleet_walks.rs` and `pages` run most as they stand). Each `tidegate ...` in
//! them is given to the program with `--help` behind it: its options and their values are read, and nothing is started.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "how many commands are run is worth reading")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use support::{
    TIDEGATE,
    page::{commands, lines, sections},
    workspace,
};

/// The pages of the project.
fn pages() -> Vec<PathBuf> {
    let root = workspace();
    let mut pages = Vec::new();
    let mut folders: Vec<PathBuf> = ["docs", "examples", "deploy"].map(|it| root.join(it)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(path);
            }
        }
    }
    pages.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|it| root.join(it)));
    pages.sort();
    pages
}

/// The name that a heading is linked by, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings =
        lines(text).into_iter().filter(|(_, block, line)| block.is_none() && line.starts_with('#'));
    headings
        .map(|(_, _, line)| {
            let name = anchor(line.trim_start_matches('#'));
            let times = seen.entry(name.clone()).or_default();
            *times += 1;
            if *times == 1 { name } else { format!("{name}-{}", *times - 1) }
        })
        .collect()
}

/// Where the links and pictures of a line lead.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|it| it.split_once(')')).map(|it| it.0);
    let pictures = line.split("src=\"").skip(1).filter_map(|it| it.split_once('"')).map(|it| it.0);
    targets.chain(pictures).map(|it| it.split_whitespace().next().unwrap_or_default()).collect()
}

/// What is wrong with a link of a page.
fn trouble(page: &Path, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, name) = link.split_once('#').map_or((link, None), |(file, name)| (file, Some(name)));
    let target = if file.is_empty() { page.to_owned() } else { page.parent()?.join(file) };
    if !target.exists() {
        return Some("there is no such file".to_owned());
    }
    let name = name?;
    let there = if file.is_empty() { text.to_owned() } else { fs::read_to_string(&target).ok()? };
    let names = anchors(&there);
    (!names.contains(name)).then(|| format!("that page has no such heading; it has {names:?}"))
}

#[test]
fn every_link_leads_somewhere() {
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (number, _, line) in lines(&text).into_iter().filter(|it| it.1.is_none()) {
            for link in links(line) {
                followed += 1;
                let why = trouble(&page, &text, link);
                wrong.extend(why.map(|why| format!("{}:{number}: {link}: {why}", page.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(followed > 50, "only {followed} links were found");
}

/// The words of each `tidegate ...` in a command.
fn calls(command: &str) -> Vec<Vec<String>> {
    // A comment begins the line or stands behind a space.
    let command = if command.starts_with('#') { "" } else { command.split(" #").next().unwrap_or_default() };
    if !command.contains("tidegate ") {
        return Vec::new();
    }
    let spaced = command.replace("$(", " ; ").replace(['|', ';', '&', ')'], " ; ");
    let words = shlex::split(&spaced).unwrap_or_else(|| panic!("not read: {command}"));
    let parts = words.split(|it| it == ";" || it == "do");
    let calls = parts.filter(|it| it.first().is_some_and(|it| it == "tidegate"));
    calls
        .map(|call| {
            let own = call.iter().skip(1).take_while(|it| !it.starts_with('>') && !it.starts_with("2>"));
            own.filter(|it| !matches!(it.as_str(), "..." | "…")).cloned().collect()
        })
        .collect()
}

#[test]
fn calls_are_found_in_pipes_loops_and_continued_lines() {
    let text = "```sh\n# tidegate no\ntidegate a \\\n  --b 'c d' | kubectl x > y   # z\nfor it in 1 2; do tidegate e > \"$it\"; done\n```\n\
                ```console\n$ tidegate f &\ntidegate is not a command here\n```\n```yaml\ntidegate: no\n```\n";
    let found: Vec<_> = commands(text).iter().flat_map(|it| calls(&it.1)).collect();
    assert_eq!(found, [vec!["a", "--b", "c d"], vec!["e"], vec!["f"]]);
}

/// Pages that `fleet_walks.rs` runs as they stand.
const WALKED: [&str; 7] = [
    "README.md",
    "docs/tasks/alerts.md",
    "docs/tasks/drill.md",
    "docs/tasks/install.md",
    "docs/tasks/register-a-cluster.md",
    "docs/tasks/shift.md",
    "docs/tasks/write-a-policy.md",
];

/// Pages whose sections the tests of `pages` run, each command of them.
const RUN: [&str; 3] = ["docs/hub.md", "docs/install.md", "docs/kubernetes.md"];

/// Sections of these that nobody runs, and why.
const NOT_RUN: [(&str, &str, &str); 1] = [(
    "docs/hub.md",
    "How large a fleet may be",
    "`cargo xtask bench fleet` takes minutes, and measures only on a quiet machine",
)];

/// Pages whose commands are only read by the program, and why nobody runs them there.
const READ: &[(&str, &str)] = &[
    (
        "docs/decision.md",
        "its commands simulate the incidents of the pictures; simulate.rs plays the same files",
    ),
    (
        "docs/drills.md",
        "they break a reader's own system, at addresses of it; drill.rs, hub_drills.rs and drill_kubernetes.rs run such drills",
    ),
    (
        "docs/incident.md",
        "they ask a fleet in which something is broken; terminal.rs and hub_fleet.rs ask each of them",
    ),
    ("docs/policy-checks.md", "they stand in pipelines of a forge; validate.rs and diff.rs run them"),
    (
        "docs/render.md",
        "the reader's cluster applies what is printed; render.rs holds it against the schemas",
    ),
    ("docs/traces.md", "it needs a collector; otlp.rs is one"),
    ("docs/webhooks.md", "it needs a receiver; webhook.rs is one"),
];

#[test]
fn it_is_known_of_every_page_whether_its_commands_are_run() {
    let walks = fs::read_to_string(workspace().join("crates/cli/tests/fleet_walks.rs")).unwrap();
    for page in WALKED {
        assert!(walks.contains(&format!("{page:?}")), "fleet_walks.rs does not walk through {page}");
    }
    let (mut run, mut read, mut wrong) = (0, 0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let name = page.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
        let found = commands(&text).iter().map(|it| calls(&it.1).len()).sum::<usize>();
        let is_run = WALKED.contains(&&*name) || RUN.contains(&&*name);
        match (found, is_run, READ.iter().any(|it| it.0 == name)) {
            (0, _, false) => {}
            (_, true, false) => run += found,
            (1.., false, true) => read += found,
            (_, is_run, listed) => {
                wrong.push(format!("{name}: {found} commands, run {is_run}, read {listed}"));
            }
        }
    }
    assert!(wrong.is_empty(), "each page with commands is in one of the lists:\n{}", wrong.join("\n"));
    println!("MEASURED {run} commands stand in pages that are run, {read} in pages that are read");
    assert!(READ.iter().all(|(_, why)| !why.is_empty()));
}

#[test]
fn each_section_of_a_page_that_is_run_has_its_test() {
    let folder = workspace().join("crates/cli/tests/pages");
    let tests: String =
        fs::read_dir(folder).unwrap().map(|it| fs::read_to_string(it.unwrap().path()).unwrap()).collect();
    let mut shown = Vec::new();
    for page in RUN {
        let text = fs::read_to_string(workspace().join(page)).unwrap();
        shown.extend(sections(&text).into_iter().map(|(heading, _)| (page, heading)));
    }
    for (page, heading) in &shown {
        let is_run = tests.contains(&format!("Section::read({page:?}, {heading:?})"));
        let is_not = NOT_RUN.iter().any(|it| (it.0, it.1) == (*page, heading.as_str()));
        assert!(is_run != is_not, "{page}, {heading}: run {is_run}, listed as not run {is_not}");
    }
    for (page, heading, why) in NOT_RUN {
        assert!(shown.iter().any(|it| it.0 == page && it.1 == heading), "{page} has no {heading}: {why}");
    }
}

#[test]
fn every_command_shown_is_one_that_the_program_takes() {
    let (mut wrong, mut taken) = (Vec::new(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (number, command) in commands(&text) {
            for call in calls(&command) {
                taken += 1;
                let help = Command::new(TIDEGATE).args(&call).arg("--help").output().unwrap();
                if !help.status.success() {
                    let said = String::from_utf8_lossy(&help.stderr).into_owned();
                    wrong.push(format!("{}:{number}: tidegate {}\n{said}", page.display(), call.join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(taken > 40, "only {taken} commands were found");
}
