//! What the pages say is there: every link leads somewhere, and every command shown is one that the program takes.
//!
//! Commands stand in blocks of ```` ```sh ```` and ```` ```console ````. Each `tidegate ...` in
//! them is given to the program with `--help` behind it: its options and their values are read, and nothing is started. Which test really runs
//! them, whole page or section by section, say `WALKED` and `RUN`.

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
    walk::{Step, steps},
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
    // What the shell would put there is an address as good as any.
    let spaced = command.replace("$(", " 127.0.0.1:1 ; ").replace(['|', ';', '&', ')'], " ; ");
    let words = shlex::split(&spaced).unwrap_or_else(|| panic!("not read: {command}"));
    let parts = words.split(|it| it == ";" || it == "do");
    let calls = parts.filter(|it| it.first().is_some_and(|it| it == "tidegate"));
    calls
        .map(|call| {
            let own = call.iter().skip(1).take_while(|it| !it.starts_with('>') && !it.starts_with("2>"));
            let own = own.filter(|it| !matches!(it.as_str(), "..." | "…"));
            own.map(|it| if it.starts_with('$') { "127.0.0.1:1".to_owned() } else { it.clone() }).collect()
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

/// Which test runs a page, or a section of it: all steps of it, one after the other, or it fails (`support/walk.rs`).
const WALKED: [(&str, Option<&str>, &str); 24] = [
    ("README.md", Some("## Walk through"), "fleet_walks.rs"),
    ("docs/decision.md", None, "walks.rs"),
    ("docs/drills.md", Some("## Run one"), "fleet_walks.rs"),
    ("docs/drills.md", Some("## Faults that agents carry out"), "fleet_walks.rs"),
    ("docs/drills.md", Some("## Faults of a lab"), "fleet_walks.rs"),
    ("docs/drills.md", Some("## Faults of Kubernetes"), "drill_kubernetes.rs"),
    ("docs/drills.md", Some("## Drills that the hub runs"), "fleet_walks.rs"),
    ("docs/drills.md", Some("## Keep it, and prove it"), "fleet_walks.rs"),
    ("docs/drills.md", Some("## See how it changes"), "fleet_walks.rs"),
    ("docs/drills.md", Some("## Let it run by itself"), "fleet_walks.rs"),
    ("docs/incident.md", None, "fleet_walks.rs"),
    ("docs/page.md", None, "fleet_walks.rs"),
    ("docs/policy-checks.md", None, "walks.rs"),
    ("docs/render.md", None, "walks.rs"),
    ("docs/replicas.md", None, "walks.rs"),
    ("docs/tasks/alerts.md", None, "fleet_walks.rs"),
    ("docs/tasks/drill.md", None, "fleet_walks.rs"),
    ("docs/tasks/install.md", None, "fleet_walks.rs"),
    ("docs/tasks/register-a-cluster.md", None, "fleet_walks.rs"),
    ("docs/tasks/shift.md", None, "fleet_walks.rs"),
    ("docs/tasks/troubleshooting.md", None, "fleet_walks.rs"),
    ("docs/tasks/write-a-policy.md", None, "fleet_walks.rs"),
    ("docs/traces.md", None, "otlp.rs"),
    ("docs/webhooks.md", None, "webhook.rs"),
];

/// Pages whose sections the tests of `pages` run, each command of them.
const RUN: [&str; 3] = ["docs/hub.md", "docs/install.md", "docs/kubernetes.md"];

/// Sections of these that nobody runs, and why.
const NOT_RUN: [(&str, &str, &str); 1] = [(
    "docs/hub.md",
    "How large a fleet may be",
    "`cargo xtask bench fleet` takes minutes, and measures only on a quiet machine",
)];

/// Whether it is one of those that a test must run.
fn counts(command: &str) -> bool {
    command.starts_with("curl ") || command.contains(" curl ") || !calls(command).is_empty()
}

/// How many commands of a page are run, by the tests that are said to run it.
fn walked(name: &str, text: &str, wrong: &mut Vec<String>) -> usize {
    let mut run = 0;
    for (_, section, test) in WALKED.iter().filter(|it| it.0 == name) {
        let test_text = fs::read_to_string(workspace().join("crates/cli/tests").join(test)).unwrap();
        for named in [Some(name), *section].into_iter().flatten() {
            if !test_text.contains(&format!("{named:?}")) {
                wrong.push(format!("{test} does not name {named:?}"));
            }
        }
        let steps = steps(text, *section);
        run += steps.iter().filter(|it| matches!(it, Step::Run(command, _) if counts(command))).count();
    }
    run
}

#[test]
fn it_is_known_of_every_page_whether_its_commands_are_run() {
    let (mut run, mut wrong) = (0, Vec::new());
    let mut names = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let name = page.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
        let found = commands(&text).iter().filter(|it| counts(&it.1)).count();
        let walked = walked(&name, &text, &mut wrong);
        match RUN.contains(&&*name) {
            true if walked == 0 => run += found,
            false if walked == found => run += found,
            by_sections => wrong.push(format!(
                "{name}: of {found} commands {walked} are walked; listed as run by sections: {by_sections}"
            )),
        }
        // Nothing is shown as a command where no test looks for one.
        for (number, block, line) in lines(&text) {
            let elsewhere = block.is_some_and(|it| !["sh", "console"].contains(&it));
            if elsewhere && ["tidegate ", "$ tidegate ", "curl "].iter().any(|it| line.starts_with(it)) {
                wrong.push(format!("{name}:{number}: a command in a block that is neither sh nor console"));
            }
        }
        names.insert(name);
    }
    let gone = WALKED.iter().map(|it| it.0).chain(RUN).filter(|it| !names.contains(*it));
    wrong.extend(gone.map(|it| format!("there is no page {it}")));
    assert!(wrong.is_empty(), "what stands in a page is run:\n{}", wrong.join("\n"));
    println!("MEASURED {run} commands stand in the pages, and are run");
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
