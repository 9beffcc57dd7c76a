//! What webhooks are told, as processes: an agent, and a receiver that first refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};
use support::{
    backend,
    command::run,
    hub::{ANY, Agent, Place, agent_command},
    pair::get,
    wait_until,
    walk::{Walk, in_scene, steps_of},
};

/// What a receiver was sent: the headers in lower case, and the event.
type Received = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers 503 to the first `refused` requests, and 204 from then on.
fn receiver(refused: usize) -> (SocketAddr, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let received = Received::default();
    let kept = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut head).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let head = head.to_lowercase();
                    let length = head.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap();
                    let mut body = vec![0; length.parse().unwrap()];
                    reader.read_exact(&mut body).unwrap();
                    let mut kept = kept.lock().unwrap();
                    kept.push((head, serde_json::from_slice(&body).unwrap()));
                    let status =
                        if kept.len() <= refused { "503 Service Unavailable" } else { "204 No Content" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    if (&stream).write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, received)
}

#[test]
fn a_webhook_is_told_of_a_shift_once_and_in_order_though_it_refuses_at_first() {
    let place = Place::new();
    let manifests = place.at("manifests");
    backend::one_cluster(&manifests);
    let token = place.at("token");
    fs::write(&token, "s3cret\n").unwrap();
    let (address, received) = receiver(2);
    let mut command = agent_command(&place.at("home"), Some(&manifests), ANY);
    command.args(["--cluster", "home", "--webhook", &format!("http://{address}/hook?key=1")]);
    command.arg("--webhook-token-file").arg(&token);
    let agent = Agent::start(&mut command);
    let admin = agent.admin.to_string();
    let events = || -> Vec<(String, Value)> { received.lock().unwrap().clone() };
    let told = |wanted: &str| {
        let of_type = |(_, event): &(String, Value)| event["type"] == format!("dev.tidegate.{wanted}");
        wait_until(&format!("an event {wanted}"), || events().iter().find(|it| of_type(it)).cloned())
    };
    let shift = [
        "shift",
        "away",
        "--zone",
        "zone-a",
        "--for",
        "5m",
        "--comment",
        "rack <work>",
        "--yes",
        "--admin",
        &admin,
    ];
    let shifted = run(shift);
    assert_eq!(shifted.code, Some(0), "{shifted:?}");
    let (head, event) = told("ShiftChanged");
    assert!(head.starts_with("post /hook?key=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/cloudevents+json; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("authorization: bearer s3cret\r\n"), "{head}");
    assert_eq!((&event["specversion"], &event["source"]), (&"1.0".into(), &"/clusters/home".into()));
    assert!(event["data"]["message"].as_str().unwrap().contains("rack <work>"), "{event}");
    let (_, moved) = told("FailedOver");
    assert_eq!(
        (&moved["subject"], &moved["data"]["severity"]),
        (&"Service shop/web".into(), &"warning".into())
    );
    assert!(moved["time"].as_str().unwrap().ends_with('Z'), "{moved}");
    // What was refused was sent again as it was; everything came in order.
    let all = events();
    let ids: Vec<&str> = all.iter().map(|it| it.1["id"].as_str().unwrap()).collect();
    assert_eq!((ids[0], ids[1]), (ids[2], ids[2]), "{ids:?}");
    let numbers: Vec<u64> =
        ids[2..].iter().map(|it| it.rsplit_once('-').unwrap().1.parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len(), "{ids:?}");
    let metrics = get(agent.admin, "/metrics").unwrap();
    assert!(metrics.contains("tidegate_webhook_retries_total 2"), "{metrics}");
    assert!(metrics.contains("tidegate_webhook_events_total{result=\"lost\"} 0"), "{metrics}");
    assert!(!agent.running.said().contains("s3cret"));
}

#[test]
fn what_is_no_address_is_refused_with_what_one_looks_like() {
    let ran = run(["agent", "--webhook", "hooks.example", "--state-dir", "x", "--manifests", "x"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("is no address of a webhook") && ran.stderr.contains("http://HOST"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_page_of_webhooks_works_as_written() {
    let Some(mut walk) = Walk::without_envoy("the_page_of_webhooks_works_as_written") else { return };
    walk.set_up("cp -r examples/two-regions/us-east manifests && cp -r examples/two-regions/fleet policies");
    walk.set_up("cp policies/* manifests && echo s3cret > token");
    let (address, received) = receiver(0);
    let table = [
        ("https://hooks.example", &*format!("http://{address}")),
        ("--manifests", "--listen 127.77.0.4:18000 --admin 127.77.0.4:18001 --manifests"),
        ("--policies", "--listen 127.77.0.4:18100 --admin 127.77.0.4:18101 --policies"),
    ];
    walk.follow(&in_scene(steps_of("docs/webhooks.md", None), &table));
    for port in [18001, 18101] {
        let ready = format!("http://127.77.0.4:{port}/readyz");
        walk.set_up(&format!(
            "curl --retry 60 --retry-connrefused --retry-all-errors --retry-delay 1 {ready}"
        ));
    }
    walk.set_up("tidegate shift away --zone us-east-1a --for 5m --comment x --yes --admin 127.77.0.4:18001");
    // What the hub began with is no news.
    walk.set_up("sed -i 's/interval: 1s/interval: 2s/' policies/policy.yaml");
    for (source, kind) in
        [("/clusters/us-east", "ShiftChanged"), ("/fleets/fleet.example", "PolicyPublished")]
    {
        let (head, event) = wait_until(kind, || {
            let received = received.lock().unwrap();
            received.iter().find(|it| it.1["type"] == format!("dev.tidegate.{kind}")).cloned()
        });
        assert_eq!(event["source"], source);
        assert!(head.starts_with("post /tidegate http/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: bearer s3cret\r\n"), "{head}");
    }
}
