//! The server is started, loses its process and gets its state back.

use std::process::{Command, Output};
use tidegate_apiserver::{ApiServer, Options};

fn run(command: &mut Command) -> Output {
    command.output().expect("kubectl is there")
}

fn names(server: &ApiServer) -> String {
    let output = run(server.kubectl().args(["get", "configmaps", "-n", "default", "-o", "name"]));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("names are text")
}

fn create(server: &ApiServer, name: &str) {
    let output = run(server.kubectl().args(["create", "configmap", "-n", "default", name]));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_stored_outlives_a_restart_and_can_be_put_back() {
    let Some(mut server) = ApiServer::start_or_skip(&Options::default()) else { return };
    create(&server, "first");
    let kept = server.keep().expect("a copy");
    create(&server, "second");
    server.restart().expect("restarts");
    assert_eq!(names(&server), "configmap/first\nconfigmap/second\n");
    server.put_back(&kept).expect("puts back");
    assert_eq!(names(&server), "configmap/first\n");
}

#[test]
fn with_rbac_a_user_without_a_role_is_refused() {
    let options = Options { rbac: true, users: vec!["somebody".to_owned()] };
    let Some(server) = ApiServer::start_or_skip(&options) else { return };
    create(&server, "first");
    let output = run(server.kubectl_as("somebody").args(["get", "configmaps", "-n", "default"]));
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("User \"somebody\" cannot list resource \"configmaps\""), "{told}");
}
