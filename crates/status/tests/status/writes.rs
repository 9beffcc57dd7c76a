//! Statuses are written once, by the leader, on what it has seen.

use crate::{accepted, client, install, second_of, server, until, version};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;
use tidegate_status::{
    leader::{Candidate, Leadership, stand},
    lease::Pace,
    writer::{Object, Writer},
};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_written_once_and_a_second_writer_finds_it_done() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let (object, api) = install(&client).await;
    let writer = Writer::start(client.clone(), "tidegate-test", Leadership::alone());
    writer.want(object.clone(), accepted("True"));
    until("it is written", || async { writer.counted().written == 1 }).await;
    let written = api.get("one").await.expect("is there");
    let condition = &written.data["status"]["conditions"][0];
    assert_eq!((condition["status"].as_str(), condition["reason"].as_str()), (Some("True"), Some("Because")));
    assert!(second_of(&condition["lastTransitionTime"]) > 0);
    let before = version(&api).await;
    writer.want(object.clone(), accepted("True"));
    let other = Writer::start(client.clone(), "tidegate-test", Leadership::alone());
    other.want(object, accepted("True"));
    until("the other looked", || async { other.counted().unchanged == 1 }).await;
    assert_eq!(version(&api).await, before);
    assert_eq!((writer.counted().written, other.counted().written, writer.counted().waiting), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_flaps_costs_a_bounded_number_of_writes() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let (object, api) = install(&client).await;
    let writer = Writer::start(client.clone(), "tidegate-test", Leadership::alone());
    let began = tokio::time::Instant::now();
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(3) {
        asked += 1;
        writer.want(object.clone(), accepted(if asked % 2 == 0 { "True" } else { "False" }));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    writer.want(object, accepted("Unknown"));
    until("the last one is there", || async {
        api.get("one").await.expect("is there").data["status"]["conditions"][0]["status"] == "Unknown"
    })
    .await;
    let counted = writer.counted();
    assert!(counted.written <= 6, "{asked} asked for, {counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_stays_and_an_object_that_is_gone_is_let_go() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let (object, api) = install(&client).await;
    let theirs = json!({"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "one"},
        "status": {"conditions": [{"type": "Theirs", "status": "True"}]}});
    api.patch_status("one", &PatchParams::apply("another"), &Patch::Apply(&theirs))
        .await
        .expect("is written");
    let writer = Writer::start(client.clone(), "tidegate-test", Leadership::alone());
    writer.want(object.clone(), accepted("True"));
    writer.want(Object { name: "absent".into(), ..object }, accepted("True"));
    until("both were looked at", || async { writer.counted().written == 1 && writer.counted().waiting == 0 })
        .await;
    let written = api.get("one").await.expect("is there");
    let conditions = written.data["status"]["conditions"].as_array().expect("a list");
    let kinds: Vec<&str> = conditions.iter().filter_map(|condition| condition["type"].as_str()).collect();
    assert_eq!(kinds, ["Theirs", "Accepted"]);
    assert_eq!(writer.counted().failed, 0);
}

/// What the fence stands on: a status applied on top of an older version is refused by the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_on_top_of_what_was_not_seen_is_refused_by_the_server() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let (_, api) = install(&client).await;
    let seen = version(&api).await;
    let status = |value: &str| {
        let metadata = json!({"name": "one", "resourceVersion": seen});
        json!({"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": metadata, "status": accepted(value)})
    };
    let params = PatchParams::apply("tidegate-test").force();
    api.patch_status("one", &params, &Patch::Apply(&status("True"))).await.expect("the next leader writes");
    let late = api.patch_status("one", &params, &Patch::Apply(&status("False"))).await;
    assert!(matches!(&late, Err(kube::Error::Api(status)) if status.code == 409), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_lead_writes_nothing_and_the_next_leader_does() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let (object, _) = install(&client).await;
    let pace = Pace {
        duration: Duration::from_secs(3),
        renew_within: Duration::from_secs(2),
        retry: Duration::from_millis(200),
    };
    let of = |identity: &str| Candidate {
        namespace: "default".into(),
        name: "agents".into(),
        identity: identity.into(),
        pace,
    };
    let stop = CancellationToken::new();
    let first = stand(client.clone(), of("one"), stop.clone());
    until("the first leads", || async { first.leads() }).await;
    let second = stand(client.clone(), of("two"), CancellationToken::new());
    let idle = Writer::start(client.clone(), "tidegate-test", second);
    idle.want(object.clone(), accepted("True"));
    let busy = Writer::start(client.clone(), "tidegate-test", first);
    busy.want(object, accepted("True"));
    until("the leader has written", || async { busy.counted().written == 1 }).await;
    assert_eq!((idle.counted().written, idle.counted().unchanged, idle.counted().waiting), (0, 0, 1));
    stop.cancel();
    until("the next leader looks", || async { idle.counted().unchanged == 1 }).await;
}
