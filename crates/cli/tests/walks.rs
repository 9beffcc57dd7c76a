//! Walk-throughs of pages that need no fleet (`support/walk.rs` says what is run, and what must be printed), each in a scene that has what
//! only its reader has: these may run beside other tests, so each has loopback addresses of its own. The others are in `fleet_walks.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use support::{
    kube::{Kind, define, kubectl},
    walk::{Walk, in_scene, steps_of},
    workspace,
};
use tidegate_apiserver::{ApiServer, Options};

/// Ends what is in the background, and waits until it has.
const END: &str = "kill $!; wait $!; true";
const READY: &str =
    "curl --retry 60 --retry-connrefused --retry-all-errors --retry-delay 1 http://127.77.0.1:18001/readyz";

#[test]
fn the_incidents_are_simulated_and_a_night_is_replayed_as_written() {
    let test = "the_incidents_are_simulated_and_a_night_is_replayed_as_written";
    let Some(mut walk) = Walk::without_envoy(test) else { return };
    walk.set_up("mkdir -p docs/incidents");
    walk.set_up("tidegate agent --manifests examples/one-cluster --cluster home --state-dir state --listen 127.77.0.1:18000 --admin 127.77.0.1:18001 &");
    walk.set_up(READY);
    walk.set_up(END);
    walk.follow(&steps_of("docs/decision.md", None));
    let mut drawn = 0;
    for picture in fs::read_dir(walk.folder().join("docs/incidents")).unwrap().map(Result::unwrap) {
        let kept = workspace().join("docs/incidents").join(picture.file_name());
        assert!(fs::read(picture.path()).unwrap() == fs::read(kept).unwrap(), "{picture:?}");
        drawn += 1;
    }
    assert_eq!(drawn, fs::read_dir(workspace().join("docs/incidents")).unwrap().count());
}

#[test]
fn a_change_of_policy_is_checked_as_written() {
    let Some(mut walk) = Walk::without_envoy("a_change_of_policy_is_checked_as_written") else { return };
    let who = "-c user.name=somebody -c user.email=somebody@example.org";
    for command in [
        "git init --quiet -b main . && cp -r examples/gitops/fleet fleet && git add fleet",
        &format!("git {who} commit --quiet -m one && git update-ref refs/remotes/origin/main HEAD"),
        "cp -r fleet fleet-old && cp -r fleet in-force && mkdir clusters",
        "cp -r fleet policy && mv policy/us-east clusters/use1 && rm -r policy/us-west",
        "tidegate hub --policies in-force --trust-domain fleet.example --state-dir hub --listen 127.77.0.2:18100 --admin 127.77.0.2:18101 &",
        &READY.replace("127.77.0.1:18001", "127.77.0.2:18101"),
    ] {
        walk.set_up(command);
    }
    let hub = [("127.0.0.1:18101", "127.77.0.2:18101")];
    walk.follow(&in_scene(steps_of("docs/policy-checks.md", None), &hub));
}

/// What the example becomes. The API takes any field of these: `render.rs` holds what is rendered against the schemas.
const ISTIO: (&str, &str) = ("networking.istio.io", "v1beta1");
const RENDERED: [Kind; 2] = [
    (ISTIO, "DestinationRule", "destinationrules", "Namespaced"),
    (ISTIO, "ServiceEntry", "serviceentries", "Namespaced"),
];

#[test]
fn a_policy_is_rendered_and_applied_as_written() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    let Some(mut walk) = Walk::without_envoy("a_policy_is_rendered_and_applied_as_written") else { return };
    define(&server, &RENDERED);
    kubectl(&server, &["create", "namespace", "shop"], "");
    walk.kubeconfig(&server.kubeconfig());
    walk.follow(&steps_of("docs/render.md", None));
    let applied =
        kubectl(&server, &["get", "destinationrules,serviceentries", "-n", "shop", "-o", "name"], "");
    assert_eq!(applied.lines().count(), 9, "{applied}");
}

/// Waits until each of two replicas hears the other.
const HEARD: &str = "for agent in 127.77.1.10 127.77.2.10; do until tidegate status -o json --admin $agent:18001 | grep -q '\"heard\": 1'; do sleep 0.2; done; done";

#[test]
fn replicas_find_each_other_as_written() {
    let Some(mut walk) = Walk::start("replicas_find_each_other_as_written") else { return };
    for command in [
        "cp -r examples/two-regions/fleet policies && cp -r examples/two-regions/us-east manifests && cp policies/* manifests",
        "sed -i 's/127.0.1.1}/127.77.1.1}/; s/127.0.1.1,/127.77.1.1,/' manifests/gateways.yaml",
    ] {
        walk.set_up(command);
    }
    let mut plain = steps_of("docs/replicas.md", None);
    let joined = plain.split_off(3);
    let table = [
        ("10.0.1.10", "127.77.1.10"),
        ("10.0.2.10", "127.77.2.10"),
        ("state-1", "state-1 --admin 127.77.1.10:18001"),
        ("state-2", "state-2 --admin 127.77.2.10:18001"),
        ("--zone us-east-1a", "--zone us-east-1a --admin 127.77.1.1:18002"),
    ];
    walk.follow(&in_scene(plain, &table));
    walk.set_up(HEARD);
    walk.set_up("until tidegate get gateways --admin 127.77.1.10:18001 | grep shop/edge || tidegate get gateways --admin 127.77.2.10:18001 | grep shop/edge; do sleep 0.2; done");
    walk.set_up("kill %1 %2 %3; wait");
    let hub = "127.77.0.5:18101";
    for command in [
        "tidegate hub --policies policies --trust-domain fleet.example --state-dir hub --listen 127.77.0.5:18100 --admin 127.77.0.5:18101 &",
        &READY.replace("127.77.0.1:18001", hub),
        &format!(
            "for it in 1 2; do tidegate cluster join-token us-east --ttl 1h --admin {hub} > token-$it; done"
        ),
    ] {
        walk.set_up(command);
    }
    let table = [
        ("10.0.1.10", "127.77.1.10"),
        ("10.0.2.10", "127.77.2.10"),
        ("hub.example:18100", "127.77.0.5:18100"),
        ("token-1", "token-1 --admin 127.77.1.10:18001"),
        ("token-2", "token-2 --admin 127.77.2.10:18001"),
    ];
    walk.follow(&in_scene(joined, &table));
    walk.set_up(HEARD);
}
