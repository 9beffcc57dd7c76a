//! The page of a drill's report in a browser: headless Chromium (Debian's package `chromium`, on PATH).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "drill/browser.rs"]
mod browser;
#[path = "drill/stage.rs"]
#[allow(dead_code, reason = "the tests of drills that go wrong use the rest")]
mod stage;
mod support;

use browser::Browser;
use stage::Stage;
use std::{fs, process::Command};
use support::{
    command::finish,
    hub::{Hub, Place},
};

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
