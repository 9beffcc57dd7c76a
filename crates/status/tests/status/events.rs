//! Events stand beside their object, once, and counted.

use crate::{client, server, until};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use tidegate_status::{
    events::{Events, Happened},
    leader::Leadership,
    writer::Object,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_told_once_and_a_flood_of_them_is_not() {
    let Some(server) = server() else { return };
    let client = client(&server).await;
    let events = Events::start(client.clone(), "tidegate.dev/agent", "agent-0", Leadership::alone());
    let of = |name: String| Happened {
        object: Object {
            api_version: "v1".into(),
            kind: "Service".into(),
            plural: "services".into(),
            namespace: Some("default".into()),
            name,
        },
        uid: Some("7".into()),
        warning: true,
        reason: "FailedOver",
        action: "Shift",
        note: "cart: zone us-east-1a is lost, its share goes to us-east-1b".into(),
    };
    for number in 0..300 {
        assert!(events.tell(of(format!("cart-{}", number / 2))));
    }
    let api: Api<Event> = Api::namespaced(client.clone(), "default");
    let list = || async { api.list(&ListParams::default()).await.expect("is listed").items };
    until("a burst is there", || async { list().await.len() >= 100 }).await;
    let told = list().await;
    assert!(told.len() <= 110, "{}", told.len());
    let first = told
        .iter()
        .find(|event| event.regarding.as_ref().and_then(|of| of.name.as_deref()) == Some("cart-0"));
    let first = first.expect("the first is told");
    assert_eq!((first.type_.as_deref(), first.reason.as_deref()), (Some("Warning"), Some("FailedOver")));
    assert_eq!(first.regarding.as_ref().and_then(|of| of.uid.as_deref()), Some("7"));
    assert!(first.note.as_deref().is_some_and(|note| note.starts_with("cart: zone us-east-1a is lost")));
    assert!(first.series.is_none());
}
