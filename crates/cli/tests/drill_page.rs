//! The page of a drill's report in a browser: headless Chromium (Debian's package `chromium`, on PATH).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "drill/browser.rs"]
mod browser;
#[path = "drill/stage.rs"]
#[allow(dead_code, reason = "the tests of drills that go wrong use the rest")]
mod stage;
mod support;

use browser::Browser;
use serde_json::{Value, json};
use stage::Stage;
use std::{fs, process::Command};
use support::{
    command::finish,
    hub::{Hub, Place},
};
use tidegate_drill::report::{Report, html};

fn tidegate_drill() -> Command {
    let mut command = support::command::tidegate();
    command.args(["drill", "run"]);
    command
}

#[test]
fn the_page_of_a_report_opens_without_complaints_and_fits_a_desk_and_a_phone() {
    let Some(mut browser) = Browser::start() else {
        return support::skipped(
            "the_page_of_a_report_opens_without_complaints_and_fits_a_desk_and_a_phone",
            "no `chromium` on PATH (package chromium)",
        );
    };
    let (place, stage) = (Place::new(), Stage::start());
    let hub = Hub::start(&place, "127.0.0.1:0", &[]);
    let page = place.at("report.html");
    let long = format!("https://shop.example/{}", "long/".repeat(60));
    let mut drill = stage.drill(&stage.break_command(), &format!("echo {long}; {}", stage.mend_command()));
    drill.args([
        "--fault",
        "1s",
        "--observe",
        "1s",
        "--objective",
        "rto <= 5s",
        "--objective",
        "failed <= 0",
    ]);
    finish(drill.args(["--hub", &hub.admin.to_string(), "--report", page.to_str().unwrap()]));
    for width in [1280, 390] {
        browser.open(&page, width);
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{width}");
        assert_eq!(browser.value("innerWidth"), width);
        let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.value(overflow), 0, "{width}: the page is wider than the window");
        // What a person sees: both plots, with something drawn in them, and large enough to read.
        let plots = browser.value(
            "[...document.querySelectorAll('figure svg')].map(it => { const box = it.getBoundingClientRect(); \
             return [box.width >= 300 && box.height >= 100, it.querySelectorAll('path,rect,polyline,line').length > 5] })",
        );
        assert_eq!(plots, serde_json::json!([[true, true], [true, true]]), "{width}");
        let text = browser.value("document.body.innerText");
        let text = text.as_str().unwrap();
        assert!(
            text.contains("1 of 2 objectives missed") || text.contains("2 of 2 objectives missed"),
            "{text}"
        );
        assert!(text.contains("signed by the hub of"), "{text}");
        assert!(!text.contains("SignedDrillReport"), "the data within the page is not shown");
        let data = browser.value("JSON.parse(document.getElementById('signed-report').textContent).kind");
        assert_eq!(data, "SignedDrillReport");
    }
    // The same eyes see a page that is too wide, or that complains.
    let wrong = fs::read_to_string(&page).unwrap().replace(
        "<main>",
        "<main><p style=\"width:3000px\">wide</p><script>document.title = 'refused'</script>",
    );
    let path = place.at("wrong.html");
    fs::write(&path, wrong).unwrap();
    browser.open(&path, 1280);
    assert!(browser.value("document.documentElement.scrollWidth").as_u64() > Some(1280));
    let complaints = browser.complaints();
    assert!(complaints.iter().any(|it| it.contains("Content Security Policy")), "{complaints:?}");
}

/// What two agents told of a drill, to be put into its report.
fn agents() -> Value {
    let over_time = |of: fn(u32) -> f64| (0..4).map(of).collect::<Vec<f64>>();
    let agent = |cluster: &str, address: &str| {
        json!({
            "agent": address, "clockAheadMs": 0.2, "uncertaintyMs": 0.3, "detectMs": 40.0, "decideMs": 41.5, "moves": 1,
            "movesBack": 2, "pushFirstMs": 44.0, "pushLastMs": 52.0, "drainMs": 210.0, "drainUncertaintyMs": 100.0,
            "gateways": [{"gateway": format!("{cluster}-edge-with-a-rather-long-name-1"), "firstMs": 44.0, "lastMs": 52.0, "version": "00c0ffee"}],
            "inForce": {"cluster": cluster, "region": null, "tidegate": "0.1.0", "manifestsGeneration": 1, "policy": 7,
                "gateways": {"edge-1": "1.40.0"}},
        })
    };
    json!({
        "detectMs": 40.0, "decideMs": 1.5, "uncertaintyMs": 0.3, "pushFirstMs": 2.5, "pushLastMs": 8.0, "drainMs": 158.0,
        "drainUncertaintyMs": 100.0, "firstFailbackMs": 900.0, "stableFailbackMs": 1400.0, "moves": 2, "utilisation": 0.7,
        "agents": [agent("us-east-1", "10.0.0.5:18001"), agent("us-west-1", "10.1.0.5:18001")],
        "traffic": {"binMs": 1000,
            "pools": [{"pool": "us-east-1/us-east-1a", "broken": true, "rps": over_time(|at| if at == 1 { 5.0 } else { 60.0 })},
                {"pool": "us-east-1/us-east-1b", "broken": false, "rps": over_time(|at| if at == 1 { 90.0 } else { 40.0 })}],
            "utilisation": [{"pool": "shop/web in us-east-1/us-east-1b", "broken": false, "used": over_time(|at| f64::from(at) / 4.0),
                "most": 0.7}]},
        "decisions": [{"atMs": 1040.0, "agent": "10.0.0.5:18001", "kind": "poolChanged",
            "what": format!("shop/web us-east-1a: Serving to Draining: {}", "0 of 2 healthy, ".repeat(12))}],
        "decisionsLeftOut": 0,
    })
}

#[test]
fn the_page_of_a_drill_that_agents_carried_out_has_each_plot_and_prints_whole() {
    let Some(mut browser) = Browser::start() else {
        return support::skipped(
            "the_page_of_a_drill_that_agents_carried_out_has_each_plot_and_prints_whole",
            "no `chromium` on PATH (package chromium)",
        );
    };
    let (place, stage) = (Place::new(), Stage::start());
    let mut drill = stage.drill(&stage.break_command(), &stage.mend_command());
    let ran = drill.args(["--fault", "1s", "--observe", "1s", "-o", "json"]).output().unwrap();
    let mut report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    report["agents"] = agents();
    let report: Report = serde_json::from_value(report).unwrap();
    let page = place.at("agents.html");
    fs::write(&page, html(&report)).unwrap();
    let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    // Each plot has something drawn in it that has a size, and no text of it leaves it.
    let plots = "[...document.querySelectorAll('figure svg')].map(it => { const box = it.getBoundingClientRect(); \
         const inside = [...it.querySelectorAll('text')].every(text => { const at = text.getBoundingClientRect(); \
         return at.left >= box.left - 1 && at.right <= box.right + 1 && at.top >= box.top - 1 && at.bottom <= box.bottom + 1 }); \
         const drawn = [...it.querySelectorAll('rect:not(.bg),polyline')].filter(part => { const at = part.getBoundingClientRect(); \
         return at.width > 1 && at.height >= 0 }).length; \
         return [it.querySelector('title').textContent, box.width >= 300 && box.height >= 100, inside, drawn > 0] })";
    let titles = [
        "Requests per second by outcome",
        "Latency over time",
        "The recovery, stage by stage",
        "Share of the requests by pool",
        "Utilisation of pools over time",
    ];
    let good: Vec<Value> = titles.iter().map(|title| json!([title, true, true, true])).collect();
    for width in [1280, 390] {
        browser.open(&page, width);
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{width}");
        assert_eq!(browser.value(overflow), 0, "{width}: the page is wider than the window");
        assert_eq!(browser.value(plots), Value::from(good.clone()), "{width}");
    }
    let text = browser.value("document.body.innerText");
    let text = text.as_str().unwrap();
    for said in ["policy 7 of the hub", "1 × 1.40.0", "Serving to Draining", "us-west-1 at 10.1.0.5:18001"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // On paper nothing scrolls: what is wider than its box would be cut off.
    browser.print(true);
    assert_eq!(browser.value(overflow), 0, "the page is wider than the paper");
    let cut = "[...document.querySelectorAll('figure,table,pre')].filter(it => it.scrollWidth > it.clientWidth + 1).length";
    assert_eq!(browser.value(cut), 0, "something is cut off on paper");
    assert!(browser.pdf().len() > 10_000, "it prints");
}
