//! Statuses for an API that is too busy to take them.

use crate::{accepted, until};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use std::time::Duration;
use tidegate_apiserver::{Mood, Served, StandIn};
use tidegate_status::{
    leader::Leadership,
    writer::{Object, Writer},
};
use tokio::time::Instant;

const THINGS: u64 = 200;
const THING: Served = Served { group: "test.dev", version: "v1", kind: "Thing", plural: "things" };

fn thing(number: u64) -> Object {
    Object {
        api_version: "test.dev/v1".into(),
        kind: "Thing".into(),
        plural: "things".into(),
        namespace: Some("shop".into()),
        name: format!("thing-{number}"),
    }
}

/// As agents ask: nothing is tried again by the client itself.
async fn client(api: &StandIn) -> Client {
    let read = Kubeconfig::read_from(api.kubeconfig()).expect("a kubeconfig");
    let mut config =
        Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a configuration");
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_too_busy_is_left_alone_by_all_statuses_and_gets_them_when_it_is_not() {
    let api = StandIn::start(&[THING]).expect("a stand-in");
    for number in 0..THINGS {
        let metadata = json!({"name": thing(number).name, "namespace": "shop"});
        api.set("things", json!({"apiVersion": "test.dev/v1", "kind": "Thing", "metadata": metadata}));
    }
    let writer = Writer::start(client(&api).await, "tidegate-test", Leadership::alone());
    let said = |number| api.get("things", &format!("shop/thing-{number}")).unwrap_or_default();
    for (word, after, rest) in [("True", None, 1), ("False", Some(2), 2)] {
        api.set_mood(Mood::Busy(after));
        let (refused, began) = (api.counted().refused, Instant::now());
        (0..THINGS).for_each(|number| writer.want(thing(number), accepted(word)));
        until("it is refused twice", || async { api.counted().refused >= refused + 2 }).await;
        assert!(began.elapsed() >= Duration::from_secs(rest), "it was to wait {rest} s");
        // Not each of two hundred finds out for itself.
        assert_eq!(api.counted().refused, refused + 2);
        api.set_mood(Mood::Well);
        until("all are told", || async {
            (0..THINGS).all(|number| said(number)["status"]["conditions"][0]["status"] == word)
        })
        .await;
    }
    assert_eq!((writer.counted().failed, writer.counted().waiting), (4, 0));
}
