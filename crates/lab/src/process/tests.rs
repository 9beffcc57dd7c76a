//! `sh` stands in for `tidegate`: `read` ends at the end of standard input, as `--exit-with-stdin` does.

use super::*;
use std::os::unix::process::ExitStatusExt as _;

const LIMIT: Duration = Duration::from_secs(10);

fn sh(dir: &Path, script: &str) -> Child {
    let spec = ChildSpec {
        name: "child".to_owned(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        log_dir: dir.to_owned(),
    };
    Child::start(spec).unwrap()
}

/// Waits until the child has written so many lines.
async fn lines(child: &Child, count: usize) -> Vec<String> {
    let read = async {
        loop {
            let text = std::fs::read_to_string(child.log()).unwrap_or_default();
            if text.lines().count() >= count && text.ends_with('\n') {
                return text.lines().map(str::to_owned).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, read).await.expect("the child writes")
}

/// Waits until a process of this id is gone or a zombie that nobody reaps.
async fn gone(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    let gone = async {
        while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the process ends");
}

fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_child_ends_in_order_when_its_input_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sh(dir.path(), "read line; echo ended");
    child.check().unwrap();
    child.stop(LIMIT).await.unwrap();
    assert_eq!(lines(&child, 1).await, ["ended"]);
    assert_eq!(child.pid(), None);
}

#[tokio::test]
async fn killing_takes_what_the_child_started_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sh(dir.path(), "sleep 1000 & echo $!; wait");
    let grandchild = lines(&child, 1).await[0].parse().unwrap();
    child.kill().await.unwrap();
    gone(grandchild).await;
}

#[tokio::test]
async fn dropping_takes_what_the_child_started_too() {
    let dir = tempfile::tempdir().unwrap();
    let child = sh(dir.path(), "sleep 1000 & echo $!; wait");
    let grandchild = lines(&child, 1).await[0].parse().unwrap();
    let pid = i32::try_from(child.pid().unwrap()).unwrap();
    drop(child);
    gone(grandchild).await;
    gone(pid).await;
}

#[tokio::test]
async fn a_child_that_ended_shows_the_end_of_its_log_and_can_be_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sh(dir.path(), "echo no such gateway >&2; exit 3");
    assert_eq!(child.wait(LIMIT).await.unwrap().code(), Some(3));
    let error = child.check().unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.ends_with("no such gateway"), "{error}");
    child.restart().await.unwrap();
    assert_eq!(lines(&child, 2).await.len(), 2);
}

#[tokio::test]
async fn a_paused_child_is_resumed_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sh(dir.path(), "read line; echo ended");
    child.pause().unwrap();
    let late = child.wait(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(ProcessError::Late { .. })));
    child.stop(LIMIT).await.unwrap();
    assert_eq!(lines(&child, 1).await, ["ended"]);
}

#[tokio::test]
async fn a_child_that_does_not_listen_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = sh(dir.path(), "trap '' TERM; echo ready; while :; do sleep 1000; done");
    lines(&child, 1).await;
    child.terminate().unwrap();
    assert!(child.check().is_ok());
    child.stop(Duration::from_millis(50)).await.unwrap();
    assert_eq!(child.process.wait().await.unwrap().signal(), Some(9));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let spec = ChildSpec {
        name: "agent".to_owned(),
        program: "/no/such/tidegate".into(),
        args: Vec::new(),
        log_dir: dir.path().to_owned(),
    };
    let error = Child::start(spec).unwrap_err().to_string();
    assert!(error.starts_with("agent: cannot start /no/such/tidegate"), "{error}");
}
