//! What the API and the way to it may do without making an agent decide wrongly.

use crate::{
    TWO,
    proxy::Proxy,
    world::{Followed, apply, define, endpoints, fleet, home, kubectl, options, service, slice},
};
use std::time::Duration;
use tempfile::TempDir;
use tidegate_apiserver::{ApiServer, Options};

fn prepared() -> Option<ApiServer> {
    let server = ApiServer::start_or_skip(&Options::default())?;
    define(&server, &fleet());
    apply(&server, &(home() + &service("web") + &slice("web-1", "web", &TWO)));
    Some(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_cut_at_any_time_lose_nothing() {
    let Some(server) = prepared() else { return };
    let folder = TempDir::new().unwrap();
    let mut proxy = Proxy::to(server.port()).await;
    let path = proxy.kubeconfig(&server.kubeconfig(), server.port(), folder.path());
    let mut followed = Followed::start(options(path, None).await).await;
    for round in 1..=8_u8 {
        let address = format!("10.0.1.{round}");
        let write = {
            let slice = slice("web-2", "web", &[(&address, Some("c"), "node-3")]);
            let server = &server;
            move || apply(server, &slice)
        };
        // Before, while and after it is written.
        match round % 3 {
            0 => proxy.cut(),
            1 => {
                proxy.cut();
                proxy.awaits(1).await;
            }
            _ => {}
        }
        tokio::task::block_in_place(write);
        if round % 3 == 2 {
            proxy.cut();
        }
        let wanted = format!("{address}@c");
        let is_right = |config: &tidegate_api::Config| {
            let there = endpoints(config, "web");
            // The others never go.
            assert!(there.starts_with(&["10.0.0.1@a".to_owned(), "10.0.0.2@b".to_owned()]), "{there:?}");
            there.contains(&wanted) && there.len() == 3
        };
        followed.until("the slice as it was written last", |it| is_right(&it.config)).await;
    }
    // The last cut may have met a request of another kind.
    followed.until("all is well", |it| it.problems.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_is_away_nothing_is_dropped_and_then_what_is_gone_is() {
    let Some(mut server) = prepared() else { return };
    apply(&server, &slice("web-2", "web", &[("10.0.0.3", Some("c"), "node-3")]));
    let folder = TempDir::new().unwrap();
    let proxy = Proxy::to(server.port()).await;
    let path = proxy.kubeconfig(&server.kubeconfig(), server.port(), folder.path());
    let mut followed = Followed::start(options(path, None).await).await;
    proxy.set_open(false);
    kubectl(&server, &["delete", "endpointslice", "-n", "shop", "web-2"], "");
    server.restart().unwrap();
    followed
        .holds(Duration::from_secs(3), "three endpoints", |it| endpoints(&it.config, "web").len() == 3)
        .await;
    let text = followed.snapshot.problems_text();
    assert!(text.contains("is away") && text.matches("is away").count() == 1, "{text}");
    let view = followed.board.view();
    assert!(view.age.unwrap() >= Duration::from_millis(2900), "{view:?}");
    proxy.set_open(true);
    followed.until("what is gone", |it| endpoints(&it.config, "web") == ["10.0.0.1@a", "10.0.0.2@b"]).await;
    followed.until("all is well", |it| it.problems.is_empty()).await;
    assert!(followed.board.view().age.unwrap() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_put_back_is_believed_only_after_a_while() {
    let Some(mut server) = prepared() else { return };
    let kept = server.keep().unwrap();
    apply(&server, &(service("new") + &slice("new-1", "new", &[("10.0.0.9", Some("a"), "node-1")])));
    kubectl(&server, &["delete", "endpointslice", "-n", "shop", "web-1"], "");
    apply(&server, &slice("web-9", "web", &[("10.0.0.5", Some("b"), "node-2")]));
    let mut followed = Followed::start(options(server.kubeconfig(), None).await).await;
    assert_eq!(followed.endpoints("web"), ["10.0.0.5@b"]);
    server.put_back(&kept).unwrap();
    followed.stands("EndpointSlice", "Doubting").await;
    // What is stored there was true once; what was known counts on.
    assert_eq!((followed.endpoints("web").len(), followed.endpoints("new").len()), (1, 1));
    // What controllers do: they write what is so now.
    apply(&server, &slice("web-9", "web", &[("10.0.0.5", Some("b"), "node-2")]));
    kubectl(&server, &["delete", "endpointslice", "-n", "shop", "web-1"], "");
    let never_back = |config: &tidegate_api::Config| assert_eq!(endpoints(config, "web"), ["10.0.0.5@b"]);
    followed
        .until("what is stored", |it| {
            never_back(&it.config);
            endpoints(&it.config, "new").is_empty()
        })
        .await;
    // And it is followed again.
    apply(&server, &slice("web-9", "web", &[("10.0.0.6", Some("b"), "node-2")]));
    followed.until("a change", |it| endpoints(&it.config, "web") == ["10.0.0.6@b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_api_is_away_starts_with_what_it_knew() {
    let Some(mut server) = prepared() else { return };
    let folder = TempDir::new().unwrap();
    let saved = folder.path().join("objects");
    drop(Followed::start(options(server.kubeconfig(), Some(&saved)).await).await);
    let written = async {
        while !saved.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.unwrap();
    server.kill();
    let mut followed = Followed::start(options(server.kubeconfig(), Some(&saved)).await).await;
    assert_eq!(followed.endpoints("web"), ["10.0.0.1@a", "10.0.0.2@b"]);
    server.restart().unwrap();
    apply(&server, &slice("web-1", "web", &TWO[..1]));
    followed.until("what is so now", |it| endpoints(&it.config, "web") == ["10.0.0.1@a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_knows_nothing_waits_for_its_api() {
    let Some(mut server) = prepared() else { return };
    server.kill();
    let options = options(server.kubeconfig(), None).await;
    let started = tokio::spawn(Followed::start(options));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!started.is_finished(), "an empty world was taken for the truth");
    server.restart().unwrap();
    assert_eq!(started.await.unwrap().endpoints("web").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_are_few_updates_and_none_is_lost() {
    let Some(server) = prepared() else { return };
    let mut followed = Followed::start(options(server.kubeconfig(), None).await).await;
    let client = options(server.kubeconfig(), None).await.client;
    let address = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1";
    let patch = |body: String| {
        let request = http::Request::patch(address).header("content-type", "application/merge-patch+json");
        let (client, request) = (client.clone(), request.body(body.into_bytes()).unwrap());
        async move { client.request_text(request).await.unwrap() }
    };
    // What nobody reads changes nothing at all.
    for number in 0..200 {
        patch(format!(r#"{{"metadata":{{"annotations":{{"touched":"{number}"}}}}}}"#)).await;
    }
    let before = followed.snapshot.generation;
    followed.holds(Duration::from_millis(500), "nothing changed", |it| it.generation == before).await;
    let addresses = |last: u32| {
        format!(r#"{{"endpoints":[{{"addresses":["10.1.{}.{}"],"zone":"a"}}]}}"#, last >> 8, last & 255)
    };
    let begun = std::time::Instant::now();
    let changes: Vec<_> = (1..=1000).map(|number| patch(addresses(number))).collect();
    let mut under_way = tokio::task::JoinSet::new();
    for change in changes {
        under_way.spawn(change);
        if under_way.len() >= 16 {
            under_way.join_next().await;
        }
    }
    under_way.join_all().await;
    patch(addresses(2000)).await;
    followed.until("what was written last", |it| endpoints(&it.config, "web") == ["10.1.7.208@a"]).await;
    // Five milliseconds are one update at most, whatever came in them.
    let most = begun.elapsed().as_millis() / 5 + 2;
    let updates = u128::from(followed.snapshot.generation - before);
    assert!((1..=most).contains(&updates), "{updates} updates, {most} at most");
}
