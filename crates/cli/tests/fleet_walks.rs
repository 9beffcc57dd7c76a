//! The walk-throughs of the pages, run as they stand there (`support/walk.rs` says what is run, and what must be printed).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, process::Command};
use support::{
    backend, proc, wait_until,
    walk::{Step, Walk, in_scene, is_printed, steps, steps_of},
    workspace,
};
use tidegate_apiserver::{ApiServer, Options};

/// Walks through a page, or a section of it.
fn walk(test: &str, page: &str, section: Option<&str>) {
    let steps = steps(&fs::read_to_string(workspace().join(page)).unwrap(), section);
    assert!(steps.len() > 3, "{page} has hardly a step: {steps:?}");
    let Some(walk) = Walk::start(test) else { return };
    follow(walk, &steps);
}

fn follow(mut walk: Walk, steps: &[Step]) {
    walk.follow(steps);
    let group = walk.group();
    drop(walk);
    assert!(proc::of_group(group).is_empty(), "{:?}", proc::of_group(group));
}

#[test]
fn the_readme_works_as_written() {
    walk("the_readme_works_as_written", "README.md", Some("## Walk through"));
}

#[test]
fn a_policy_is_written_as_written() {
    walk("a_policy_is_written_as_written", "docs/tasks/write-a-policy.md", None);
}

#[test]
fn a_cluster_is_registered_as_written() {
    walk("a_cluster_is_registered_as_written", "docs/tasks/register-a-cluster.md", None);
}

#[test]
fn a_shift_is_made_as_written() {
    walk("a_shift_is_made_as_written", "docs/tasks/shift.md", None);
}

#[test]
fn a_drill_is_run_as_written() {
    walk("a_drill_is_run_as_written", "docs/tasks/drill.md", None);
}

/// One fleet is enough: the first page starts it.
#[test]
fn an_incident_is_gone_through_as_written() {
    let Some(walk) = Walk::start("an_incident_is_gone_through_as_written") else { return };
    let pages = ["docs/incident.md", "docs/page.md", "docs/tasks/troubleshooting.md"];
    follow(walk, &pages.map(|page| steps_of(page, None)).concat());
}

/// The fleet of the section on labs carries out all of them. Faults of Kubernetes: `drill_kubernetes.rs`.
#[test]
fn drills_of_every_kind_are_run_as_written() {
    let Some(mut walk) = Walk::start("drills_of_every_kind_are_run_as_written") else { return };
    let lab = steps_of("docs/drills.md", Some("## Faults of a lab"));
    let (demo, lab) = lab.split_at(1);
    walk.follow(demo);
    let told = wait_until("what the demo prints", || {
        fs::read_to_string(walk.folder().join("demo.txt")).ok().filter(|it| it.contains("Manifests"))
    });
    let behind = |words: &str| -> Vec<&str> {
        told.lines().filter_map(|it| it.split_once(words)).map(|it| it.1.trim()).collect()
    };
    let (edge, hub) = (behind("'host: web.shop.example' ")[0], behind("tidegate cluster list --admin ")[0]);
    let agents = behind("tidegate status --admin ");
    let host = "--header 'host: web.shop.example'";
    walk.set_up(&format!("curl --retry 60 --retry-all-errors --retry-delay 1 {host} {edge}"));
    let short = ("steady: 10s, fault: 30s, observe: 30s", "steady: 1s, fault: 2s, observe: 1s");
    walk.follow(&in_scene(lab.to_vec(), &[short, ("http://127.45.0.30:41234/", edge)]));

    walk.set_up("echo 'curl -X POST http://127.0.0.1:18200/lose/endpoint/web-us-east-1a-0' > break.sh; chmod +x break.sh");
    walk.set_up("echo 'curl -X POST http://127.0.0.1:18200/restore' > mend.sh; chmod +x mend.sh");
    let own = format!("--target {edge} {host}");
    let commands = [
        ("--target https://shop.example/health", own.as_str()),
        (
            "--steady 10s --fault 30s --observe 30s --rate 200",
            "--steady 1s --fault 3s --observe 2s --rate 50",
        ),
    ];
    walk.follow(&in_scene(steps_of("docs/drills.md", Some("## Run one")), &commands));

    walk.set_up(&format!("running() {{ until curl http://{hub}/api/v1/drills | grep -o -m1 'drill-[0-9a-f]*'; do sleep 0.2; done | head -1; }}"));
    walk.set_up("kept() { tidegate drill list | grep -o -m1 'drill-[0-9a-f]*'; }");
    // The hub sends no header to choose a service by.
    let shop = format!("http://{}/", backend::start("127.0.0.1"));
    let at_hub = ("192.0.2.7:18101", hub);
    let sections: [(&str, &[(&str, &str)]); 5] = [
        (
            "## Faults that agents carry out",
            &[
                short,
                at_hub,
                ("https://shop.example/health", &shop),
                ("10.0.0.5:18001", agents[0]),
                ("10.1.0.5:18001", agents[1]),
            ],
        ),
        ("## Drills that the hub runs", &[at_hub, ("stop ID", "stop $(running)")]),
        ("## Keep it, and prove it", &[at_hub, ("show ID", "show $(kept)"), ("report ID", "report $(kept)")]),
        ("## See how it changes", &[]),
        ("## Let it run by itself", &[]),
    ];
    for (section, table) in sections {
        walk.follow(&in_scene(steps_of("docs/drills.md", Some(section)), table));
        if section == "## Drills that the hub runs" {
            // One at a time: the stopped one writes its report first.
            walk.set_up("wait $!; true");
        }
    }
    follow(walk, &[]);
}

#[test]
fn alerts_are_checked_as_written() {
    let test = "alerts_are_checked_as_written";
    if Command::new("promtool").arg("--version").output().is_err() {
        return support::skipped(test, "no promtool on PATH (package prometheus)");
    }
    walk(test, "docs/tasks/alerts.md", None);
}

#[test]
fn an_agent_is_installed_as_written() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    // The API of the tests has no workloads, and says so at the end; all else is applied.
    let apply = "kubectl apply --server-side -f /tmp/agent.yaml";
    let table = [(apply, &*format!("{apply} # exit code 1"))];
    let steps = in_scene(steps_of("docs/tasks/install.md", None), &table);
    let Some(mut walk) = Walk::start("an_agent_is_installed_as_written") else { return };
    walk.kubeconfig(&server.kubeconfig());
    follow(walk, &steps);
}

const SAMPLE: &str = "\
# Title

```console
$ not of the section
```

## Walk through

Start it:

```console
$ serve --port 1 &
$ tidegate agent \\
    --cluster home &
$ curl http://127.0.0.1/
one
two
```

```sh
# all of it
tidegate get drills \\
    -o json    # as JSON

false # exit code 1: so it is
```

```text
$ not of a shell
```

```yaml a/b.yaml
kind: X
```

```yaml
kind: no file
```

```console
$ kill %1
```

## After

```console
$ not of the section either
```
";

#[test]
fn steps_are_the_commands_of_the_section_with_their_output_and_the_files_it_has() {
    let run = |command: &str, output: &[&str]| {
        Step::Run(command.to_owned(), output.iter().map(|it| (*it).to_owned()).collect())
    };
    let wanted = [
        run("serve --port 1 &", &[]),
        run("tidegate agent --cluster home &", &[]),
        run("curl http://127.0.0.1/", &["one", "two"]),
        run("tidegate get drills -o json    # as JSON", &[]),
        run("false # exit code 1: so it is", &[]),
        Step::Write("a/b.yaml".to_owned(), "kind: X\n".to_owned()),
        run("kill %1", &[]),
    ];
    assert_eq!(steps(SAMPLE, Some("## Walk through")), wanted);
    assert_eq!(steps("# No such section\n", Some("## Walk through")), []);
    assert_eq!(steps(SAMPLE, None).len(), wanted.len() + 2);
}

#[test]
fn what_only_a_reader_has_is_replaced_everywhere_and_told_if_it_is_nowhere() {
    let text =
        "```sh\nstop ID\n```\n```console\n$ echo ID\nID\n```\n```yaml a.yaml\nof: hooks.example\n```\n";
    let replaced = in_scene(steps(text, None), &[("ID", "7"), ("hooks.example", "here")]);
    let run = |command: &str, output: &[&str]| {
        Step::Run(command.to_owned(), output.iter().map(|it| (*it).to_owned()).collect())
    };
    let file = Step::Write("a.yaml".to_owned(), "of: here\n".to_owned());
    assert_eq!(replaced, [run("stop 7", &[]), run("echo 7", &["7"]), file]);
    let missing = std::panic::catch_unwind(|| in_scene(steps(text, None), &[("192.0.2.7", "127.0.0.1")]));
    assert!(missing.is_err(), "the table has what the page does not");
}

#[test]
fn what_is_printed_is_held_against_what_is_written() {
    let is = |printed: &str, written: &str| {
        is_printed(printed, &written.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    assert!(is("a\nb\n", "a\nb"));
    assert!(is("a   b ┆ c\n──────\n", "a b ┆ c\n──"));
    assert!(is("a\nx\ny\nb\n", "a\n...\nb"));
    assert!(is("in 13 ms, of 4\n", "in … ms, of …"));
    assert!(!is("a\nb\n", "a"), "there is more than is written");
    assert!(!is("a\n", "a\nb"));
    assert!(!is("a\nx\nc\n", "a\n...\nb"));
    assert!(!is("in 13 s\n", "in … ms"));
}

#[test]
#[should_panic(expected = "step 3 ended with 1")]
fn a_step_that_fails_ends_the_walk() {
    let text = "```console\n$ sleep 60 &\n$ kill %1\n$ echo two\ntwo\n$ false\n$ echo three\n```\n";
    Walk::at(tempfile::tempdir().unwrap()).follow(&steps(text, None));
}

#[test]
fn a_step_waits_for_what_is_written_and_for_its_exit_code() {
    let text = "```console\n$ (for n in 1 2 3; do echo $n > /tmp/n; sleep 0.3; done) &\n$ cat /tmp/n\n3\n$ exit_with() { return $1; }\n\
                $ exit_with 2    # exit code 2\n```\n";
    Walk::at(tempfile::tempdir().unwrap()).follow(&steps(text, None));
}
