//! Reports of drills at a hub as a user meets them: handed over, signed, listed, verified, compared.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "drill/stage.rs"]
#[allow(dead_code, reason = "the tests of drills that go wrong use the rest")]
mod stage;
mod support;

use stage::Stage;
use std::{fs, path::Path, process::Command};
use support::{
    command::{finish, run},
    hub::{Hub, Place, bound},
};

fn tidegate_drill() -> Command {
    let mut command = support::command::tidegate();
    command.args(["drill", "run"]);
    command
}

/// A drill of two seconds and a half.
fn short(stage: &Stage) -> Command {
    let mut command = stage.drill(&stage.break_command(), &stage.mend_command());
    command.args(["--fault", "1s", "--observe", "1s", "-o", "json"]);
    command
}

fn verify(file: &Path, more: &[&str]) -> support::command::Ran {
    run([&["drill", "verify", file.to_str().unwrap()], more].concat())
}

#[test]
fn a_report_is_handed_over_signed_listed_and_verified() {
    let (place, stage) = (Place::new(), Stage::start());
    let hub = Hub::start(&place, "127.0.0.1:0", &[]);
    let (page, address) = (place.at("run.html"), hub.admin.to_string());
    let ran = finish(short(&stage).args([
        "--hub",
        &address,
        "--report",
        page.to_str().unwrap(),
        "--objective",
        "failed <= 0",
        "--name",
        "shop/lose-a-backend",
    ]));
    assert_eq!(ran.code, Some(1), "the objective is missed, whatever the hub says: {ran:?}");
    assert!(ran.stderr.contains("the hub keeps the report drill-"), "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let id = report["id"].as_str().unwrap();

    let listed = hub.json(&["drill", "list"]);
    assert_eq!((&listed[0]["id"], &listed[0]["passed"]), (&report["id"], &serde_json::json!(false)));
    assert_eq!(listed[0]["errorRate"], report["costs"]["errorRate"]);
    assert_eq!((&listed[0]["drill"], &report["drill"]), (&"shop/lose-a-backend".into(), &listed[0]["drill"]));
    let trend = hub.ask(&["drill", "trend", "shop/lose-a-backend"]);
    assert!(trend.code == Some(0) && trend.stdout.contains("shop/lose-a-backend"), "{trend:?}");
    let unnamed = finish(short(&stage).args(["--name", "Lose A Backend"]));
    assert!(unnamed.code == Some(2) && unnamed.stderr.contains("write NAMESPACE/NAME"), "{unnamed:?}");
    let table = hub.ask(&["drill", "list"]).stdout;
    assert!(table.contains(id) && table.contains("0/1") && table.contains("failed"), "{table}");
    let shown = hub.ask(&["drill", "show", &id[..12]]).stdout;
    assert!(
        shown.contains("1 of 1 objectives missed") && shown.contains("signed by the hub of tidegate"),
        "{shown}"
    );
    let audit = hub.audit();
    assert!(audit.contains(r#""what":"drillReport""#) && audit.contains(id), "{audit}");

    let key = place.at("hub.pem");
    fs::write(&key, hub.ask(&["drill", "key"]).stdout).unwrap();
    let by_key = ["--key", key.to_str().unwrap()];
    let signed = place.at("report.json");
    for (form, file) in [("json", &signed), ("html", &page)] {
        // The page of the run was written with the signature.
        if form == "json" {
            fs::write(file, hub.ask(&["drill", "report", id, "-o", form]).stdout).unwrap();
        }
        for how in [&by_key[..], &["--hub", &address]] {
            let ran = verify(file, how);
            assert_eq!(ran.code, Some(0), "{form} {how:?}: {ran:?}");
            assert!(ran.stdout.contains(id) && ran.stdout.contains("handed over by operator"), "{ran:?}");
        }
    }
    // Laid out anew it is the same report; with a number, a name or a word changed it is none.
    let text = fs::read_to_string(&signed).unwrap();
    let laid_out: Box<serde_json::value::RawValue> = serde_json::from_str(&text).unwrap();
    let changed = place.at("changed.json");
    fs::write(&changed, laid_out.get().replace("\n", "\n\n")).unwrap();
    assert_eq!(verify(&changed, &by_key).code, Some(0));
    for (from, to) in [
        ("\"passed\":false", "\"passed\":true"),
        ("operator", "operatox"),
        (id, "drill-0"),
        ("\"failed\":", "\"failed\":1"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&changed, text.replace(from, to)).unwrap();
        let ran = verify(&changed, &by_key);
        assert!(ran.code == Some(1) && ran.stderr.contains("was changed"), "{from}: {ran:?}");
    }
    // A page that shows something else around what was signed.
    let text = fs::read_to_string(&page).unwrap();
    let changed = place.at("changed.html");
    fs::write(&changed, text.replacen("✘ failed", "✔ passed", 2)).unwrap();
    let ran = verify(&changed, &by_key);
    assert!(ran.code == Some(1) && ran.stderr.contains("the page around it"), "{ran:?}");
    // Another hub's key.
    let other = Place::new();
    let other_hub = Hub::start(&other, "127.0.0.1:0", &[]);
    let ran = verify(&page, &["--hub", &other_hub.admin.to_string()]);
    assert!(ran.code == Some(1) && ran.stderr.contains("not one of those that are believed"), "{ran:?}");
    let plain = place.at("plain.json");
    fs::write(&plain, report.to_string()).unwrap();
    assert!(verify(&plain, &by_key).stderr.contains("is not signed"));
    let ran = other_hub.ask(&["drill", "show", id]);
    assert!(ran.code == Some(1) && ran.stderr.contains("tidegate drill list"), "{ran:?}");
}

#[test]
fn a_report_that_cannot_be_handed_over_is_a_file_and_changes_no_exit_code() {
    let (place, stage) = (Place::new(), Stage::start());
    // Nobody listens on the port of a socket that was bound and left.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ran = finish(short(&stage).args(["--hub", &nobody]).current_dir(place.at("policies")));
    assert_eq!(ran.code, Some(0), "the drill passed: {ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let name = format!("{}.json", report["id"].as_str().unwrap());
    assert!(ran.stderr.contains(&format!("hint: tidegate drill hand-over {name}")), "{}", ran.stderr);
    let file = place.at("policies").join(name);

    let mut hub = Hub::start(&place, "127.0.0.1:0", &["--admin-tls", "127.0.0.1:0"]);
    let door = hub.running.until_said("its door", bound("serves people with tokens")).to_string();
    let hand_over = |who: &str, more: &[&str]| {
        let granted = hub.ask(&[&["access", "grant", who, "--role"], more].concat());
        let token = place.at(who);
        fs::write(&token, granted.stdout).unwrap();
        let token = token.to_str().unwrap().to_owned();
        run(["drill", "hand-over", file.to_str().unwrap(), "--admin", &door, "--token-file", &token])
    };
    let ran = hand_over("victor", &["viewer"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("this needs operator"), "{ran:?}");
    let ran = hand_over("olga", &["operator", "--namespace", "shop"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("limited to namespaces"), "{ran:?}");
    let ran = hand_over("otto", &["operator"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("handed over by otto"), "{ran:?}");
    // Again is the same; another one of the same id is none.
    let ran = hub.ask(&["drill", "hand-over", file.to_str().unwrap()]);
    assert!(ran.code == Some(0) && ran.stdout.contains("handed over by otto"), "{ran:?}");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"passed\":true", "\"passed\":false"))
        .unwrap();
    let ran = hub.ask(&["drill", "hand-over", file.to_str().unwrap()]);
    assert!(ran.code == Some(1) && ran.stderr.contains("never replaced"), "{ran:?}");
    fs::write(&file, "{\"kind\": \"Nonsense\"}").unwrap();
    let ran = hub.ask(&["drill", "hand-over", file.to_str().unwrap()]);
    assert!(ran.code == Some(1) && ran.stderr.contains("not the report of a drill"), "{ran:?}");
    fs::write(&file, " ".repeat((4 << 20) + 1)).unwrap();
    let ran = hub.ask(&["drill", "hand-over", file.to_str().unwrap()]);
    assert!(ran.code == Some(1) && ran.stderr.contains("at most 4194304 bytes"), "{ran:?}");
    assert_eq!(hub.json(&["drill", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_drill_that_recovers_later_than_before_fails_the_pipeline_that_asks_for_it() {
    let (place, stage) = (Place::new(), Stage::start());
    let hub = Hub::start(&place, "127.0.0.1:0", &[]);
    let ran = finish(&mut short(&stage));
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let keep = |n: u32, stable_ms: f64| {
        let mut it = report.clone();
        it["id"] = format!("drill-{n}").into();
        it["costs"]["stableRecoveryMs"] = stable_ms.into();
        let file = place.at("it.json");
        fs::write(&file, it.to_string()).unwrap();
        assert_eq!(hub.ask(&["drill", "hand-over", file.to_str().unwrap()]).code, Some(0));
    };
    let trend = ["drill", "trend", "command-line/drill", "--fail-on-regression"];
    assert!(hub.ask(&trend).stderr.contains("no run of the drill command-line/drill"));
    for (n, ms) in [(1, 1000.0), (2, 1020.0), (3, 990.0), (4, 1010.0)] {
        keep(n, ms);
    }
    let ran = hub.ask(&trend);
    assert!(ran.code == Some(0) && ran.stdout.contains("as before"), "{ran:?}");
    keep(5, 2000.0);
    let ran = hub.ask(&trend);
    assert!(ran.code == Some(1) && ran.stdout.contains("▅▅▄▅█"), "{ran:?}");
    assert!(ran.stdout.contains("REGRESSION"), "{ran:?}");
    let found = hub.json(&trend[..3]);
    assert_eq!((&found["regression"], &found["runs"][4]), (&true.into(), &"drill-5".into()));
    assert_eq!(found["trends"][2]["median"], 1005.0);
}

#[test]
fn a_schedule_says_what_is_next_and_why_what_was_due_did_not_start() {
    let place = Place::new();
    let drill = "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {name: flip, namespace: shop}\nspec:\n  \
                 target: {url: \"http://127.0.0.1:1/\"}\n  fault: {type: Exec, expiresAfter: 1m, exec: {start: [\"true\"], mend: [\"true\"]}}\n";
    let schedule = "---\napiVersion: tidegate.dev/v1alpha1\nkind: DrillSchedule\nmetadata: {name: NAME, namespace: shop}\n\
                    spec: {drill: flip, cron: CRON, timeZone: Europe/Berlin}\n";
    let named = |name: &str, cron: &str| schedule.replace("NAME", name).replace("CRON", cron);
    place.write(
        "a.yaml",
        &[drill, &named("minutely", "\"* * * * *\""), &named("never", "\"0 0 30 2 *\"")].concat(),
    );
    let hub = Hub::start(&place, "127.0.0.1:0", &[]);
    let table = hub.ask(&["drill", "schedule"]).stdout;
    assert!(table.contains("shop/minutely") && table.contains("there is no such time"), "{table}");
    let view = hub.json(&["drill", "schedule"]);
    assert_eq!(view["schedules"][0]["next"].as_array().map(Vec::len), Some(5), "{view}");
    // Within a minute one is due. Commands are never run by a schedule, and it says so.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(90);
    let run = loop {
        let view = hub.json(&["drill", "schedule"]);
        if let Some(run) = view["runs"].as_array().and_then(|it| it.first()) {
            break run.clone();
        }
        assert!(std::time::Instant::now() < until, "{view}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    assert_eq!(run["schedule"], "shop/minutely");
    assert!(run["skipped"].as_str().unwrap().contains("runs from the command line only"), "{run}");
    assert!(hub.audit().contains(r#""what":"drillSkipped""#));
    let table = hub.ask(&["drill", "schedule"]).stdout;
    assert!(table.contains("skipped: the policy has no Drill shop/flip"), "{table}");
}
