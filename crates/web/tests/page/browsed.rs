//! The page in a browser: headless Chromium (Debian's package `chromium`, on PATH). What it looked like is kept below the target folder,
//! in `tmp/page`.

use crate::{
    browser::Browser,
    fixture,
    stage::{Stage, Told, now_ms, operator},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};
use tidegate_model::Phase;
use tidegate_web::{Action, model::Standing};

/// Says that a test could not be run; CI must be able to.
fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}");
    eprintln!("{line}");
    if let Some(log) = env::var_os("TIDEGATE_SKIPPED") {
        let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "{line}").unwrap();
    }
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "{line}");
}

fn started(test: &str) -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        skipped(test, "no `chromium` on PATH (package chromium)");
    }
    browser
}

fn stage() -> (Arc<Told>, Stage) {
    let told = Told::new(fixture::fleet(now_ms()));
    let stage = Stage::serve(&told, operator());
    (told, stage)
}

/// `axe-core` from npm, or `None` after saying that it cannot be had.
fn axe(test: &str) -> Option<String> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/axe");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    fs::create_dir_all(&to).unwrap();
    let lock = fs::File::create(to.join("lock")).unwrap();
    lock.lock().unwrap();
    let script = to.join("node_modules/axe-core/axe.min.js");
    let files = ["package.json", "package-lock.json"];
    let same = |name: &str| fs::read(to.join(name)).ok() == Some(fs::read(from.join(name)).unwrap());
    if !(script.exists() && files.iter().all(|name| same(name))) {
        for name in files {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"])
            .current_dir(&to)
            .output();
        match npm {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                skipped(test, &format!("npm ci failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
                return None;
            }
            Err(error) => {
                skipped(test, &format!("npm cannot be run ({error}); `cargo xtask setup` installs it"));
                return None;
            }
        }
    }
    Some(fs::read_to_string(script).unwrap())
}

/// Shifts and drills are there to be looked at too.
const PAGES: [(&str, &str); 10] = [
    ("fleet", "/"),
    ("services", "/services"),
    ("service", "/services/shop/web"),
    ("foresight", "/foresight"),
    ("loss", "/foresight?lost=zone%3Aus-east-1%2Fus-east-1b"),
    ("shifts", "/shifts"),
    ("preview", "/shifts/new?from=zone%3Aus-west-2%2Fus-west-2a&for=30m&percent=50&comment=kernel+upgrade"),
    ("drills", "/drills"),
    ("rollout", "/rollout"),
    ("timeline", "/timeline"),
];

/// Words of lines in the map that stand on a box or on each other, as the browser draws them.
const COVERED: &str = "(() => {
  const rects = of => [...document.querySelectorAll(of)].map(it => [it.textContent, it.getBoundingClientRect()]);
  const words = rects('svg.map .m-flow').filter(it => it[1].width > 0);
  const meet = (a, b) => a.left + 1 < b.right && b.left + 1 < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
  const boxes = rects('svg.map .m-box');
  return words.flatMap((one, at) =>
    [...boxes, ...words.slice(at + 1)].filter(it => meet(one[1], it[1])).map(it => `${one[0]} on ${it[0] || 'a box'}`));
})()";

fn keep(browser: &mut Browser, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    let path: PathBuf = folder.join(format!("{name}.png"));
    fs::write(path, STANDARD.decode(browser.screenshot()).unwrap()).unwrap();
}

#[test]
fn every_page_fits_every_screen_without_complaints_and_is_kept_as_a_picture() {
    let test = "every_page_fits_every_screen_without_complaints_and_is_kept_as_a_picture";
    let Some(mut browser) = started(test) else { return };
    let (told, stage) = stage();
    told.change(|fleet| fleet.drills = vec![fixture::running(now_ms())]);
    let large = Told::new(fixture::large(now_ms()));
    let far = Stage::serve(&large, operator());
    let [three, twelve] = [(3, 1), (4, 3)].map(|(regions, each)| {
        Stage::serve(&Told::new(fixture::crossing(now_ms(), regions, each)), operator())
    });
    let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    for (width, height) in [(390, 844), (1280, 800), (3840, 2160)] {
        browser.window(width, height);
        for dark in [false, true] {
            browser.dark(dark);
            let shade = if dark { "dark" } else { "light" };
            let pages = PAGES.iter().map(|(name, path)| (*name, stage.url(path)));
            let large = [("large", far.url("/")), ("many", far.url("/services"))];
            let maps = [("three", three.url("/")), ("twelve", twelve.url("/"))];
            for (name, url) in pages.chain(large).chain(maps) {
                browser.visit(&url);
                browser.wait("document.getElementById('live').dataset.state");
                let which = format!("{name} at {width} {shade}");
                assert_eq!(browser.complaints(), Vec::<String>::new(), "{which}");
                assert_eq!(browser.value(overflow), 0, "{which}: the page is wider than the window");
                assert_eq!(browser.value(COVERED), serde_json::json!([]), "{which}: words of lines");
                keep(&mut browser, &format!("{name}-{width}-{shade}"));
            }
        }
    }
    for (name, path) in &PAGES[..3] {
        browser.visit(&stage.url(path));
        browser.print(true);
        assert_eq!(browser.value(overflow), 0, "{name}: the page is wider than the paper");
        assert!(browser.pdf().len() > 10_000, "{name} prints");
        browser.print(false);
    }
}

#[test]
fn no_page_has_a_serious_finding_of_axe() {
    let test = "no_page_has_a_serious_finding_of_axe";
    let (Some(mut browser), Some(axe)) = (started(test), axe(test)) else { return };
    let (told, stage) = stage();
    told.change(|fleet| fleet.drills = vec![fixture::running(now_ms())]);
    for (width, dark) in [(1280, false), (1280, true), (390, false)] {
        browser.window(width, 900);
        browser.dark(dark);
        for (name, path) in PAGES.into_iter().chain([("audit", "/audit"), ("trouble", "/services/shop/none")])
        {
            browser.visit(&stage.url(path));
            browser.value(&format!("{axe}; 0"));
            let found = browser.value(
                "axe.run().then(it => it.violations.filter(one => ['serious', 'critical'].includes(one.impact)) \
                 .map(one => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(node => node.html.slice(0, 160) + ' ' + \
                 (node.any[0]?.message ?? '')).join(' | ')}`))",
            );
            assert_eq!(found, serde_json::json!([]), "{name} at {width}, dark: {dark}");
        }
    }
}

#[test]
fn what_changes_is_shown_without_a_reload_and_nothing_that_a_person_did_is_lost() {
    let test = "what_changes_is_shown_without_a_reload_and_nothing_that_a_person_did_is_lost";
    let Some(mut browser) = started(test) else { return };
    let (told, stage) = stage();
    browser.window(1280, 700);
    // Focus, what was typed, an open part and the scroll outlive the renewal.
    browser.visit(&stage.url("/"));
    browser.wait("document.getElementById('live').textContent === 'Live'");
    browser.value("window.mark = 1; document.querySelector('#flows').open = true; scrollTo(0, 333); 0");
    browser.key("/");
    browser.key("w");
    let kept = "[document.activeElement.id, document.activeElement.value, document.querySelector('#flows').open, scrollY, window.mark]";
    let before = browser.value(kept);
    assert_eq!((&before[0], &before[1]), (&"q".into(), &"w".into()), "a slash goes to the filter");
    let at = Instant::now();
    told.change(|fleet| {
        let west = &mut fleet.regions[2].clusters[0].zones[0];
        (west.standing, west.healthy) = (Standing::Out, 0);
        fleet.attention[0].text = "Zone us-west-2a of usw2-a is out".to_owned();
    });
    browser.wait("document.querySelector('.attention').textContent.includes('us-west-2a of usw2-a is out')");
    eprintln!("the map showed a change after {:?}", at.elapsed());
    assert!(at.elapsed().as_secs_f64() < 5.0, "{:?}", at.elapsed());
    browser.wait("document.querySelector('.map').textContent.includes('✕ us-west-2a')");
    browser.wait("document.getElementById('said').textContent.includes('us-west-2a')");
    assert_eq!(browser.value(kept), before);
    // The page of the service, and the timeline.
    browser.visit(&stage.url("/services/shop/web"));
    browser.wait("document.getElementById('live').textContent === 'Live'");
    let now = now_ms();
    let lost = fixture::event(
        0,
        99,
        ("poolChanged", Some(("use1-a/us-east-1b", Phase::Out)), Some("shop/web")),
        "shop/web us-east-1b: Serving to Out: 0 of 6 healthy",
        now,
    );
    let change = |told: &Told| {
        let mut web = told.web.lock().unwrap();
        (web.pools[1].phase, web.pools[1].healthy) = (Phase::Out, 0);
        web.timeline.insert(0, lost.clone());
        told.events.lock().unwrap().insert(0, lost.clone());
    };
    change(&told);
    told.change(|_| {});
    browser.wait("document.querySelector('#scroll-pools').textContent.match(/out/g).length === 2");
    browser
        .wait("document.querySelector('#scroll-events').textContent.includes('us-east-1b: Serving to Out')");
    assert!(
        browser
            .value("document.querySelector('#scroll-lanes').textContent")
            .as_str()
            .unwrap()
            .contains("use1-a/us-east-1b")
    );
    browser.visit(&stage.url("/timeline"));
    browser
        .wait("document.querySelector('#scroll-events').textContent.includes('us-east-1b: Serving to Out')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn shifts_and_drills_begin_and_end_by_click() {
    let test = "shifts_and_drills_begin_and_end_by_click";
    let Some(mut browser) = started(test) else { return };
    let (told, stage) = stage();
    browser.window(1280, 900);
    browser.visit(&stage.url("/shifts"));
    browser.value(
        "document.getElementById('from').value = 'zone:us-west-2/us-west-2a'; document.getElementById('percent').value = 40; \
         document.getElementById('comment').value = 'a <b>rack</b> burns'; 0",
    );
    browser.click("#new button");
    browser.wait("document.querySelector('h1')?.textContent === 'What would happen'");
    assert!(told.acted.lock().unwrap().is_empty(), "nothing moves before it is confirmed");
    browser.wait("document.getElementById('live').dataset.state === 'still'");
    browser.click(".confirm button");
    browser.wait("document.querySelector('.done')?.textContent.includes('shift-8 has begun')");
    browser.wait("document.querySelector('#shifts').textContent.includes('a <b>rack</b> burns')");
    browser.value("document.getElementById('for-2').value = '4h'; 0");
    browser.click("#shift-2 form.row button");
    browser.wait("document.querySelector('.done')?.textContent.includes('lasts longer')");
    browser.wait("document.querySelector('#shift-2').textContent.includes('in 3 h 59 min')");
    browser.click("#end-shift-8 summary");
    browser.click("#end-shift-8 button");
    browser.wait("document.querySelector('.done')?.textContent.includes('shift-8 has ended')");
    browser.wait("!document.querySelector('#shifts').textContent.includes('burns')");
    browser.visit(&stage.url("/drills"));
    browser.click("tbody tr:nth-child(1) summary");
    browser.click("tbody tr:nth-child(1) button");
    browser.wait("document.querySelector('.done')?.textContent.includes('drill-10 has begun')");
    // Its progress is shown as it goes.
    told.change(|fleet| {
        (fleet.drills[0].phase, fleet.drills[0].requests) = ("Fault".to_owned(), Some((1200, 3)));
    });
    browser.wait("document.querySelector('.steps .here')?.textContent === 'Fault'");
    browser.wait("document.querySelector('.card').textContent.includes('1200, 3 failed')");
    browser.click(".card summary");
    browser.click(".card button");
    browser.wait("document.querySelector('main').textContent.includes('No drill runs')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let acted = told.acted.lock().unwrap();
    let done: Vec<&Action> = acted.iter().map(|(_, action)| action).collect();
    assert!(matches!(
        done[..],
        [
            Action::Shift(_),
            Action::ExtendShift(..),
            Action::EndShift(_),
            Action::StartDrill(_),
            Action::EndDrill(_)
        ]
    ));
}

#[test]
fn a_page_says_that_it_has_lost_the_connection_and_how_old_it_is_and_comes_back() {
    let test = "a_page_says_that_it_has_lost_the_connection_and_how_old_it_is_and_comes_back";
    let Some(mut browser) = started(test) else { return };
    let (told, stage) = stage();
    let address = stage.address;
    browser.visit(&stage.url("/"));
    browser.wait("document.getElementById('live').textContent === 'Live'");
    drop(stage);
    browser.wait("/Connection lost. What is shown is [1-9]\\d* s old/.test(document.getElementById('live').textContent)");
    keep(&mut browser, "lost");
    let _again = Stage::at(address, &told, operator());
    told.change(|fleet| fleet.attention[0].text = "It is back".to_owned());
    browser.wait("document.querySelector('.attention').textContent.includes('It is back')");
    browser.wait("document.getElementById('live').textContent === 'Live'");
}

#[test]
fn without_a_script_everything_is_read_and_done_all_the_same() {
    let test = "without_a_script_everything_is_read_and_done_all_the_same";
    let Some(mut browser) = started(test) else { return };
    let (told, stage) = stage();
    browser.window(1280, 900);
    browser.scripts(false);
    browser.visit(&stage.url("/"));
    let head = browser.value("document.getElementById('live').textContent");
    assert!(head.as_str().unwrap().starts_with("As of "), "{head}");
    assert_eq!(browser.value("document.querySelector('noscript').innerHTML.includes('refresh')"), true);
    browser.visit(&stage.url("/services"));
    browser.click("thead th:nth-child(4) a");
    browser.next();
    assert_eq!(
        browser.value("document.querySelector('tbody th').textContent"),
        "shop/cart",
        "the farthest from home"
    );
    browser.visit(&stage.url("/shifts"));
    browser.click("#end-shift-7 summary");
    browser.click("#end-shift-7 button");
    browser.next();
    assert_eq!(
        browser.value("document.querySelector('.done').textContent.includes('shift-7 has ended')"),
        true
    );
    assert_eq!(told.acted.lock().unwrap().len(), 1);
}

#[test]
fn the_keyboard_reaches_everything_and_shows_where_it_is() {
    let test = "the_keyboard_reaches_everything_and_shows_where_it_is";
    let Some(mut browser) = started(test) else { return };
    let (_told, stage) = stage();
    browser.window(1280, 900);
    browser.visit(&stage.url("/"));
    let focus = "(() => { const it = document.activeElement; const style = getComputedStyle(it); const box = it.getBoundingClientRect(); \
         return [it.tagName, it.id || it.textContent.trim().slice(0, 20), style.outlineStyle !== 'none', box.x >= 0 && box.width > 0] })()";
    let mut seen = Vec::new();
    for _ in 0..40 {
        browser.tab();
        let at = browser.value(focus);
        if at[0] == "BODY" {
            break;
        }
        assert_eq!((&at[2], &at[3]), (&true.into(), &true.into()), "where the keyboard is, is seen: {at}");
        seen.push(at[1].as_str().unwrap().to_owned());
    }
    assert_eq!(seen[0], "Skip to content");
    for it in ["Services", "q", "Show", "scroll-wide", "scroll-clusters"] {
        assert!(seen.iter().any(|name| name == it), "{it} is not reached: {seen:?}");
    }
}
