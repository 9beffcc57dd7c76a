//! The page of a hub whose clusters joined it: what is decided in a cluster is shown at the hub, and what is clicked at the hub happens there.

use crate::{
    browser::Browser,
    open::{LIVE, Open, keep},
    support::{
        course::{Course, cluster},
        skipped, until,
    },
};
use serde_json::Value;
use std::{fs, net::SocketAddr};
use tidegate_lab::{
    fleet::{Fault, FleetSpec},
    load::LoadMethod,
    toy::ToyMode,
};

const EDGE: &str = "us-central-1";
const EAST: &str = "us-east-1";

/// A route for whatever host is asked for: the hub's load asks for an address.
const ANY_HOST: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: any-host, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: infra}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";

fn drill(edge: SocketAddr) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: lose-east, namespace: shop}}\nspec:\n  \
         target: {{zone: us-east-1b, region: us-east}}\n  fault: {{type: Verdict, expiresAfter: 120s}}\n  \
         steps: {{steady: 6s, fault: 90s, observe: 5s}}\n  load: {{rateRps: 50, urls: [\"http://{edge}/\"]}}\n  \
         objectives: [errorRate <= 5%]\n"
    )
}

/// A fleet with a hub whose clusters all reach each other, under load.
async fn start(test: &str) -> Option<Course> {
    if !cfg!(target_os = "linux") {
        skipped(test, "each gateway has a loopback address of its own, which needs Linux");
        return None;
    }
    let mut spec = FleetSpec::tiers();
    spec.policy.check_timeout = std::time::Duration::from_secs(2);
    let mut course = Course::start(test, spec).await?;
    let manifests = course.fleet().files().join("manifests").join(EDGE);
    fs::write(manifests.join("any-host.yaml"), ANY_HOST).unwrap();
    let edge = course.fleet().edge(&cluster(EDGE)).unwrap().access;
    fs::write(course.fleet().files().join("hub/policy/drill.yaml"), drill(edge)).unwrap();
    until("all clusters to be heard, and the edge to reach them", async || {
        let fleet = course.fleet().ask_hub("/api/v1/fleet").await.ok()?;
        let clusters = fleet["regions"].as_array()?.iter().flat_map(|it| it["clusters"].as_array().unwrap());
        let clusters: Vec<&Value> = clusters.collect();
        let edge = clusters.iter().find(|it| it["name"] == EDGE)?;
        let peers = edge["peers"].as_array()?;
        let reached = peers.len() == 3 && peers.iter().all(|it| it["state"] == "Reachable");
        (reached && clusters.len() == 4 && clusters.iter().all(|it| it["state"] == "live")).then_some(())
    })
    .await;
    course.load(&[EDGE], LoadMethod::Get).await;
    Some(course)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_shows_a_lost_zone_within_a_second_and_shifts_and_drills_by_click() {
    let test = "the_hub_shows_a_lost_zone_within_a_second_and_shifts_and_drills_by_click";
    let Some(course) = start(test).await else { return };
    let hub = course.fleet().hub_admin().unwrap();
    let url = |path: &str| format!("http://{hub}{path}");
    let pages = [
        ("map", url("/"), "document.querySelector('.map')?.textContent.includes('✕ us-east-1a')"),
        (
            "service",
            url("/services/shop/web"),
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
    course.fleet().fault(zone.clone()).await.unwrap();
    let decided = until("the decision", async || {
        let events = course.events(EAST).await;
        let moved = events.iter().find(|it| it.seq > before && it.kind == "planChanged");
        moved.map(|it| it.unix_micros / 1000)
    })
    .await;
    let mut late = Vec::new();
    for (name, open) in &mut opened {
        let took = tokio::task::block_in_place(|| open.shown().saturating_sub(decided));
        eprintln!("MEASURED the hub's {name} shows the loss {took} ms after the first decision");
        late.extend((took > 1000).then_some((*name, took)));
    }
    for (name, open) in &mut opened {
        tokio::task::block_in_place(|| keep(&mut open.0, &format!("hub-{name}")));
    }
    let mut browser = opened.remove(0).1.0;
    tokio::task::block_in_place(|| {
        for name in ["services", "foresight", "rollout"] {
            browser.visit(&url(&format!("/{name}")));
            keep(&mut browser, &format!("hub-{name}"));
        }
    });
    assert!(late.is_empty(), "later than a second after the decision: {late:?}");
    course.fleet().mend(&zone).await.unwrap();
    until_good(&course).await;

    tokio::task::block_in_place(|| shift(&mut browser, &url("/shifts")));
    // A drill does not begin while what it is to break still comes back.
    until_good(&course).await;
    tokio::task::block_in_place(|| drilled(&mut browser, hub));
    let audit = course.fleet().ask_hub("/api/v1/audit").await.unwrap().to_string();
    for what in ["shiftStarted", "shiftEnded"] {
        assert!(audit.contains(what), "{what}: {audit}");
    }
    course.stop().await;
}

/// Waits until everything is served at home again, as the hub knows it.
async fn until_good(course: &Course) {
    until("every service to be good", async || {
        let fleet = course.fleet().ask_hub("/api/v1/fleet").await.ok()?;
        let good = fleet["services"].as_array()?.iter().all(|it| it["standing"] == "good");
        (good && fleet["shifts"] == serde_json::json!([])).then_some(())
    })
    .await;
}

/// Begun with its preview, and ended.
fn shift(browser: &mut Browser, url: &str) {
    browser.visit(url);
    browser.wait(LIVE);
    browser.value(
        "document.getElementById('from').value = 'zone:us-east/us-east-1b'; document.getElementById('percent').value = 50; \
         document.getElementById('comment').value = 'rack <work>'; 0",
    );
    browser.click("#new button");
    browser.wait("document.querySelector('h1')?.textContent === 'What would happen'");
    keep(browser, "hub-preview");
    browser.click(".confirm button");
    browser.wait("document.querySelector('#shifts')?.textContent.includes('rack <work>')");
    keep(browser, "hub-shifts");
    browser.click("#shifts details summary");
    browser.click("#shifts details button");
    browser.wait("!document.querySelector('#shifts')?.textContent.includes('rack <work>')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Begun with its confirmation, watched, ended; its report and its place in the history.
fn drilled(browser: &mut Browser, hub: SocketAddr) {
    browser.visit(&format!("http://{hub}/drills"));
    browser.wait(LIVE);
    browser.wait("document.querySelector('#scroll-offered')?.textContent.includes('shop/lose-east')");
    browser.click("#scroll-offered summary");
    keep(browser, "hub-drill-confirm");
    browser.click("#scroll-offered details button");
    // Where it is, and how many requests there were, without a reload.
    // Whichever step it is in by now.
    browser.wait("document.querySelector('.steps .here') !== null");
    browser.wait(
        "document.querySelector('main .card h3')?.textContent === 'shop/lose-east: zone us-east/us-east-1b'",
    );
    browser.wait("document.querySelector('.steps .here')?.textContent === 'Fault'");
    let count =
        "Number(document.querySelector('main .card')?.textContent.match(/Requests: ([0-9]+)/)?.[1] ?? 0)";
    let seen = browser.value(count).as_u64().unwrap();
    assert!(seen > 0, "requests are counted before the fault");
    browser.value("window.mark = 2; 0");
    browser.wait(&format!("{count} > {}", seen + 50));
    assert_eq!(browser.value("window.mark"), 2, "the page was loaded anew");
    keep(browser, "hub-drill");
    browser.click("main .card details summary");
    browser.click("main .card details button");
    browser.wait("document.querySelector('#scroll-past')?.textContent.includes('stopped')");
    browser.wait("!document.querySelector('main .card')");
    keep(browser, "hub-drill-over");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.click("#scroll-past a");
    browser.next();
    // A report runs no script of its own.
    let report = browser.value("document.body.innerText").to_string();
    assert!(report.contains("shop/lose-east") && report.contains("stopped by operator"), "{report}");
    keep(browser, "hub-drill-report");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
