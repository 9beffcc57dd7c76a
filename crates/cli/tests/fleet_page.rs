//! The pages of an agent and of a hub of fleets under load, in a browser: headless Chromium (Debian's package `chromium`, on PATH). A zone is lost, and
//! the map, the service and the timeline show it without a reload; a shift begins and ends by click, and moves real requests. What the
//! pages look like is kept in `target/tmp/page`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "what was measured is told")]

#[path = "drill/browser.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod browser;
#[path = "fleet_page/hub.rs"]
mod hub;
#[path = "fleet_page/open.rs"]
mod open;
mod support;

use open::{LIVE, Open, keep};
use serde_json::Value;
use std::thread;
use support::{
    course::{Course, EAST, EUROPE, WEST, cluster, spec},
    skipped, until,
};
use tidegate_lab::{fleet::Fault, load::LoadMethod, toy::ToyMode};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_zone_is_shown_as_soon_as_it_is_decided_and_a_shift_is_made_by_click() {
    let test = "a_lost_zone_is_shown_as_soon_as_it_is_decided_and_a_shift_is_made_by_click";
    let Some(mut course) = Course::start(test, spec()).await else { return };
    for name in [EAST, WEST, EUROPE] {
        course.until_peers_are_heard(name).await;
    }
    course.load(&[EAST], LoadMethod::Get).await;
    let admin = course.fleet().addresses(&cluster(EAST)).unwrap().agent_admin;
    let url = |path: &str| format!("http://{admin}{path}");
    let plans = course.plans(EAST).await;
    let (service, _) = plans.keys().find(|(_, source)| source.ends_with("us-east-1a")).unwrap().clone();

    let pages = [
        ("map", url("/"), "document.querySelector('.map')?.textContent.includes('✕ us-east-1a')"),
        (
            "service",
            url(&format!("/services/{service}")),
            "document.querySelector('#scroll-pools')?.textContent.includes('out')",
        ),
        (
            "timeline",
            url("/timeline"),
            "document.querySelector('#scroll-events')?.textContent.match(/moved from zone us-east-1a/)",
        ),
    ];
    let opened = tokio::task::spawn_blocking(move || {
        pages.map(|(name, url, shown)| Some((name, Open::at(&url, shown)?)))
    });
    let mut opened: Vec<(&str, Open)> = match opened.await.unwrap().into_iter().collect() {
        Some(opened) => opened,
        None => return skipped(test, "no `chromium` on PATH (package chromium)"),
    };

    let before = course.events(EAST).await.last().map_or(0, |it| it.seq);
    let zone = Fault::Zone { zone: "us-east-1a".parse().unwrap(), mode: ToyMode::Refuse };
    course.fleet().fault(zone).await.unwrap();
    let decided = until("the decision", async || {
        let events = course.events(EAST).await;
        let moved = events.iter().find(|it| it.seq > before && it.kind == "planChanged");
        moved.map(|it| it.unix_micros / 1000)
    })
    .await;
    let mut late = Vec::new();
    for (name, open) in &mut opened {
        let took = tokio::task::block_in_place(|| open.shown().saturating_sub(decided));
        eprintln!("MEASURED the {name} shows the loss {took} ms after the first decision");
        tokio::task::block_in_place(|| keep(&mut open.0, &format!("agent-{name}")));
        late.extend((took > 1000).then_some((*name, took)));
    }
    assert!(late.is_empty(), "later than a second after the decision: {late:?}");

    // A shift by click, with what it would do first.
    let mut browser = opened.remove(0).1.0;
    thread::scope(|scope| {
        let clicks = scope.spawn(|| {
            browser.visit(&url("/shifts"));
            browser.wait(LIVE);
            browser.value(
                "document.getElementById('from').value = 'zone:us-east/us-east-1b'; document.getElementById('percent').value = 50; \
                 document.getElementById('comment').value = 'rack <work>'; 0",
            );
            browser.click("#new button");
            browser.wait("document.querySelector('h1')?.textContent === 'What would happen'");
            browser.click(".confirm button");
            browser.wait("document.querySelector('#shifts')?.textContent.includes('rack <work>')");
            browser.click("#shifts details summary");
            browser.click("#shifts details button");
            browser.wait("!document.querySelector('#shifts')?.textContent.includes('rack <work>')");
            assert_eq!(browser.complaints(), Vec::<String>::new());
        });
        tokio::task::block_in_place(|| clicks.join().unwrap());
    });
    let events = course.events(EAST).await;
    let shifts: Vec<&str> =
        events.iter().filter(|it| it.kind == "shiftChanged").filter_map(|it| it.reason.as_deref()).collect();
    assert!(shifts.iter().any(|it| it.contains("rack <work>")), "{shifts:?}");
    let left: Value = course.status(EAST).await;
    assert_eq!(left["shifts"], serde_json::json!([]), "it has ended");
    course.stop().await;
}
