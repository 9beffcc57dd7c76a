use super::*;
use crate::{
    clock::Clock,
    course,
    load::{Outcome, Sample},
    timeline::{AgentPart, DecisionLine, GatewayAck, InForce, PoolTraffic, PoolUse, TrafficPart},
};
use tidegate_api::{Drill, DrillFault, DrillLoad, DrillSteps, ExecFault};

/// A fail-over of a second in a drill of a minute: 100 requests a second.
fn record() -> Record {
    let at = Time::from_millis;
    let samples = (0..60_000_u64)
        .step_by(10)
        .map(|due| {
            let (outcome, us) = match due {
                20_000..20_600 => (Outcome::Connect, 400),
                20_600..21_100 if due % 20 == 0 => (Outcome::Status(503), 900),
                20_600..21_100 => (Outcome::Status(200), 1_300_000),
                40_000..40_200 => (Outcome::Status(200), 80_000),
                // Some noise that is the same each time.
                _ => (Outcome::Status(200), 1500 + due * 7919 % 1700),
            };
            Sample::new(at(due + 5), Duration::from_micros(us), outcome)
        })
        .collect();
    let words = |text: &str| vec![text.to_owned()];
    let ran = |command: &str, output: &str| Ran {
        command: words(command),
        started_unix_us: 1_793_534_400_000_000,
        took_ms: 12,
        error: None,
        output: output.to_owned(),
    };
    Record {
        id: "drill-0123456789abcdef".to_owned(),
        drill: Drill {
            name: "shop/lose-a-backend".to_owned(),
            target: DrillTarget::Url("https://shop.example/health".to_owned()),
            fault: DrillFault::Exec(ExecFault {
                start: words("./break.sh"),
                mend: words("./mend.sh"),
                timeout: Duration::from_secs(30),
            }),
            expires_after: Duration::from_secs(120),
            steps: DrillSteps::default(),
            load: DrillLoad::default(),
            guards: Vec::new(),
            objectives: ["rto <= 5s", "errorRate <= 0.1%", "failed <= 100", "repeated <= 0"]
                .map(|text| Objective::parse(text).unwrap())
                .to_vec(),
            window: None,
        },
        urls: words("https://shop.example/health?a=1&b=<2>"),
        clock: Clock::start(),
        moments: course::Moments {
            steady: Some(at(5)),
            fault: Some(at(20_005)),
            mending: Some(at(40_005)),
            mended: Some(at(40_105)),
            verified: Some(at(40_905)),
            done: Some(at(60_005)),
        },
        ending: Ending::Completed,
        mend_error: None,
        commands: vec![ran("./break.sh", "stopped <web-1> & \"web-2\"\n"), ran("./mend.sh", "")],
        agents: None,
        samples,
        tally: None,
    }
}

/// What two agents told of it.
fn agents_part() -> AgentsPart {
    let in_force = |cluster: &str| InForce {
        cluster: cluster.to_owned(),
        region: Some(cluster.to_owned()),
        tidegate: "0.1.0".to_owned(),
        manifests_generation: 3,
        policy: 12,
        policy_version: Some("4f9c2e7".to_owned()),
        gateways: [(format!("{cluster}/edge-1"), "1.40.0".to_owned())].into(),
    };
    let ack = |gateway: &str, first_ms, last_ms| GatewayAck {
        gateway: gateway.to_owned(),
        first_ms,
        last_ms,
        version: "00c0ffee00c0ffee".to_owned(),
    };
    let east = AgentPart {
        agent: "10.0.0.5:18001".to_owned(),
        clock_ahead_ms: Some(-3.5),
        uncertainty_ms: Some(0.4),
        detect_ms: Some(312.4),
        decide_ms: Some(353.4),
        moves: 2,
        moves_back: 4,
        push_first_ms: Some(361.0),
        push_last_ms: Some(366.2),
        gateways: vec![ack("us-east-1/edge-1", 361.0, 1402.0), ack("us-east-1/edge-2", 366.2, 1402.5)],
        drain_ms: Some(1020.0),
        drain_uncertainty_ms: Some(100.4),
        first_failback_ms: Some(10_100.0),
        stable_failback_ms: Some(14_200.0),
        in_force: Some(in_force("us-east-1")),
        missing: Vec::new(),
        error: None,
    };
    let west = AgentPart {
        agent: "10.1.0.5:18001".to_owned(),
        detect_ms: Some(320.0),
        decide_ms: Some(380.0),
        push_last_ms: Some(391.0),
        push_first_ms: Some(391.0),
        gateways: vec![ack("us-west-1/edge-1", 391.0, 391.0)],
        drain_ms: None,
        in_force: Some(in_force("us-west-1")),
        ..east.clone()
    };
    let over_time = |value: fn(u32) -> f64| (0..60).map(|second| Some(value(second))).collect::<Vec<_>>();
    let pool = |pool: &str, broken, rps| PoolTraffic { pool: pool.to_owned(), broken, rps };
    let line = |at_ms, kind: &str, what: &str| DecisionLine {
        at_ms,
        agent: east.agent.clone(),
        kind: kind.to_owned(),
        what: what.to_owned(),
    };
    AgentsPart {
        detect_ms: Some(312.4),
        decide_ms: Some(41.0),
        uncertainty_ms: Some(0.4),
        push_first_ms: Some(7.6),
        push_last_ms: Some(30.0),
        drain_ms: Some(629.0),
        drain_uncertainty_ms: Some(100.4),
        first_failback_ms: Some(10_100.0),
        stable_failback_ms: Some(14_200.0),
        moves: Some(2),
        utilisation: Some(0.775),
        traffic: Some(TrafficPart {
            bin_ms: 1000,
            pools: vec![
                pool(
                    "us-east-1/us-east-1b",
                    false,
                    over_time(|at| if (20..53).contains(&at) { 65.0 } else { 40.0 }),
                ),
                pool(
                    "us-east-1/us-east-1a",
                    true,
                    over_time(|at| if (21..51).contains(&at) { 0.0 } else { 60.0 }),
                ),
                pool("us-west-1", false, over_time(|at| if (20..50).contains(&at) { 35.0 } else { 0.0 })),
            ],
            utilisation: vec![
                PoolUse {
                    pool: "shop/web in us-east-1/us-east-1b".to_owned(),
                    broken: false,
                    used: over_time(|at| if (20..53).contains(&at) { 0.775 } else { 0.42 }),
                    most: Some(0.775),
                },
                PoolUse {
                    pool: "shop/web in us-east-1/us-east-1a".to_owned(),
                    broken: true,
                    used: over_time(|at| if (21..51).contains(&at) { 0.0 } else { 0.6 }),
                    most: Some(0.6),
                },
            ],
        }),
        decisions: vec![
            line(
                20_317.4,
                "poolChanged",
                "shop/web us-east-1a: Serving to Draining: 0 of 2 <healthy>, admit 0",
            ),
            line(
                20_358.4,
                "planChanged",
                "shop/web from us-east-1/us-east-1a: 60 % moved from zone us-east-1a",
            ),
        ],
        decisions_left_out: 7,
        agents: vec![east.clone(), west],
    }
}

/// The same drill with what agents told.
fn with_agents() -> Report {
    Report { agents: Some(agents_part()), ..report() }
}

/// The same each time, but for when it ran.
fn report() -> Report {
    Report { started_at: "2026-11-01T12:00:00Z".to_owned(), ..Report::new(&record(), Some(0)) }
}

#[test]
fn objectives_are_judged_and_what_was_not_measured_is_missed() {
    let found = report();
    let verdicts: Vec<(&str, bool)> =
        found.objectives.iter().map(|it| (it.measured.as_str(), it.passed)).collect();
    assert_eq!(verdicts, [("1.09 s", true), ("40.476 %", false), ("85", true), ("0", true)]);
    assert!(!found.passed);
    assert_eq!(found.verdict(), "1 of 4 objectives missed");
    let unasked = Report::new(&record(), None);
    assert_eq!(unasked.objectives[3].measured, "not measured");
    assert!(!unasked.objectives[3].passed);
}

#[test]
fn what_agents_tell_is_judged_also_where_no_requests_were_sent() {
    let objectives = |texts: &[&str]| texts.iter().map(|it| Objective::parse(it).unwrap()).collect();
    let mut record = Record { urls: Vec::new(), agents: Some(agents_part()), ..record() };
    record.drill.objectives = objectives(&["detect <= 1s", "decide <= 40ms", "moves <= 2", "rto <= 5s"]);
    let verdicts = |record: &Record| -> Vec<(String, bool)> {
        Report::new(record, None).objectives.iter().map(|it| (it.measured.clone(), it.passed)).collect()
    };
    let told = [("312.4 ms", true), ("41.0 ms", false), ("2", true), ("not measured", false)];
    assert_eq!(verdicts(&record), told.map(|(measured, passed)| (measured.to_owned(), passed)));
    record.moments.fault = None;
    let none = || ("not measured".to_owned(), false);
    assert_eq!(verdicts(&record), [none(), none(), none(), none()], "nothing was broken");
}

#[test]
fn what_an_agent_did_not_tell_is_said() {
    let mut agents = agents_part();
    agents.agents[0].missing = vec!["what went where: it is too old".to_owned()];
    let page = html(&Report { agents: Some(agents), ..report() });
    assert!(
        page.contains("<td>did not tell</td><td class=\"n\">what went where: it is too old</td>"),
        "{page}"
    );
}

#[test]
fn a_drill_passes_only_if_it_ran_to_its_end_and_is_mended() {
    let good = || {
        let mut record = record();
        record.drill.objectives.truncate(1);
        record
    };
    assert!(Report::new(&good(), None).passed);
    assert_eq!(Report::new(&good(), None).verdict(), "all 1 objectives met");
    let stopped = Record { ending: Ending::Stopped("guard: it".to_owned()), ..good() };
    let unmended = Record { mend_error: Some("it said no".to_owned()), ..good() };
    let moments = course::Moments { verified: None, ..good().moments };
    let unwell = Record { moments, ..good() };
    for (record, said) in
        [(stopped, "stopped: guard: it"), (unmended, "NOT MENDED"), (unwell, "does not answer well")]
    {
        let report = Report::new(&record, None);
        assert!(!report.passed && report.verdict().contains(said), "{}", report.verdict());
    }
}

#[test]
fn pictures_and_pages_are_as_they_were_looked_at() {
    let report = report();
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("requests.svg", requests_chart(&report));
        insta::assert_snapshot!("latency.svg", latency_chart(&report));
        insta::assert_snapshot!("report.md", markdown(&report));
        let report = with_agents();
        insta::assert_snapshot!("waterfall.svg", waterfall_chart(&report).unwrap());
        insta::assert_snapshot!("shares.svg", shares_chart(&report).unwrap());
        insta::assert_snapshot!("utilisation.svg", utilisation_chart(&report).unwrap());
        insta::assert_snapshot!("recovery.md", markdown(&report));
        insta::assert_snapshot!("junit.xml", junit(&report));
    });
    if let Some(folder) = std::env::var_os("TIDEGATE_DRILL_PICTURES") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("requests.svg"), requests_chart(&report)).unwrap();
        std::fs::write(folder.join("latency.svg"), latency_chart(&report)).unwrap();
        std::fs::write(folder.join("report.html"), html(&report)).unwrap();
        std::fs::write(folder.join("agents.html"), html(&with_agents())).unwrap();
    }
}

#[test]
fn a_page_stands_alone_and_quotes_what_is_not_its_own() {
    let page = html(&report());
    for outside in ["<script", "src=", "http-equiv=\"refresh", "@import", "url(", "href=\"http"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("stopped &lt;web-1&gt; &amp; &quot;web-2&quot;"));
    assert!(page.contains("a=1&amp;b=&lt;2&gt;"));
    assert_eq!(page.matches("<svg").count(), 2);
    let page = html(&with_agents());
    assert!(!page.contains("<script") && !page.contains("url("));
    assert_eq!(page.matches("<svg").count(), 5);
    for said in
        ["1 × 1.40.0", "policy 12 of the hub", "Serving to Draining: 0 of 2 &lt;healthy&gt;", "And 7 more."]
    {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn objectives_of_agents_are_judged_by_what_they_told() {
    let mut record = record();
    record.drill.objectives =
        ["detect <= 1s", "decide <= 10ms", "stableFailback <= 3m", "utilisation <= 70%", "moves <= 2"]
            .map(|text| Objective::parse(text).unwrap())
            .to_vec();
    let judged = |record: &Record| -> Vec<(String, bool)> {
        Report::new(record, None).objectives.into_iter().map(|it| (it.measured, it.passed)).collect()
    };
    record.agents = Some(agents_part());
    let told = |measured: &str, passed| (measured.to_owned(), passed);
    assert_eq!(
        judged(&record),
        [
            told("312.4 ms", true),
            told("41.0 ms", false),
            told("14.20 s", true),
            told("77.500 %", false),
            told("2", true)
        ]
    );
    record.agents = Some(AgentsPart { moves: Some(0), ..AgentsPart::default() });
    assert_eq!(judged(&record)[2], told("0 ms", true), "what never left is back");
    record.agents = None;
    assert!(judged(&record).iter().all(|it| *it == told("not measured", false)));
}

#[test]
fn a_report_reads_back_as_it_was_written_and_a_page_holds_it_signed() {
    let report = report();
    let json = serde_json::to_string(&report).unwrap();
    let read: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    assert_eq!(html(&read), html(&report), "what is drawn from it is the same to the byte");
    let seal = Seal { said: "signed by <somebody>", json: "{\"report\":1}" };
    let page = sealed_html(&read, seal);
    assert_eq!(signed_in(&page), Some("{\"report\":1}"));
    assert!(page.contains("signed by &lt;somebody&gt;"));
    assert_eq!(signed_in(&html(&report)), None);
    assert_eq!(signed_in(&(page.clone() + &page)), None, "which of two counts?");
}

#[test]
fn a_drill_that_never_began_has_a_report_too() {
    let record = Record {
        moments: course::Moments::default(),
        ending: Ending::NotStarted("nobody answers\u{1b}[31m".to_owned()),
        commands: Vec::new(),
        samples: Vec::new(),
        ..record()
    };
    let report = Report::new(&record, None);
    assert!(!report.passed && report.costs.is_none());
    assert!(html(&report).contains("not started: nobody answers"));
    assert!(junit(&report).contains("<failure message=\"not started: nobody answers\u{fffd}[31m\"/>"));
    assert!(markdown(&report).contains("never"));
    check(&serde_json::to_value(&report).unwrap());
}

/// The checked-in schema, of which only the words that it uses are understood here.
fn check(value: &serde_json::Value) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas/drill-report.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    schema::check(&schema, &schema, value, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_json_keeps_to_its_schema_and_the_schema_notices_what_does_not() {
    let good = serde_json::to_value(report()).unwrap();
    check(&good);
    check(&serde_json::to_value(with_agents()).unwrap());
    let mut silent = with_agents();
    silent.agents = Some(AgentsPart {
        agents: vec![AgentPart {
            agent: "a".to_owned(),
            error: Some("gone".to_owned()),
            ..AgentPart::default()
        }],
        ..AgentsPart::default()
    });
    check(&serde_json::to_value(silent).unwrap());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas/drill-report.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (at, bad) in [
        ("/passed", serde_json::json!("yes")),
        ("/costs/rtoMs", serde_json::json!(-1)),
        ("/ending/how", serde_json::json!("vanished")),
        ("/series/bins/0", serde_json::json!({"good": 1})),
    ] {
        let mut value = good.clone();
        *value.pointer_mut(at).unwrap() = bad;
        let mut wrong = Vec::new();
        schema::check(&schema, &schema, &value, "", &mut wrong);
        assert!(!wrong.is_empty(), "{at}");
    }
    let mut value = good;
    value.as_object_mut().unwrap().insert("more".to_owned(), serde_json::json!(1));
    let mut wrong = Vec::new();
    schema::check(&schema, &schema, &value, "", &mut wrong);
    assert_eq!(wrong, ["/more is not in the schema"]);
}

/// As much of JSON Schema as the schema uses; a word that is not understood is wrong too.
mod schema {
    use serde_json::Value;

    pub(super) fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        for (word, rule) in schema.as_object().unwrap() {
            match word.as_str() {
                "$schema" | "$id" | "title" | "description" | "$defs" | "properties" => {}
                "$ref" => {
                    let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                    check(root, target, value, at, wrong);
                }
                "anyOf" => {
                    let fits = rule.as_array().unwrap().iter().any(|option| {
                        let mut found = Vec::new();
                        check(root, option, value, at, &mut found);
                        found.is_empty()
                    });
                    if !fits {
                        wrong.push(format!("{at} is none of anyOf"));
                    }
                }
                "type" => {
                    let names: Vec<&str> = match rule {
                        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
                        name => vec![name.as_str().unwrap()],
                    };
                    if !names.iter().any(|name| is(name, value)) {
                        wrong.push(format!("{at} is not {names:?}: {value}"));
                    }
                }
                "const" if value == rule => {}
                "enum" if rule.as_array().unwrap().contains(value) => {}
                "const" | "enum" => wrong.push(format!("{at} must be {rule}")),
                "minimum" => {
                    if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) {
                        wrong.push(format!("{at} is below {rule}"));
                    }
                }
                "required" => {
                    let Some(object) = value.as_object() else { continue };
                    for name in rule.as_array().unwrap() {
                        if !object.contains_key(name.as_str().unwrap()) {
                            wrong.push(format!("{at} lacks {name}"));
                        }
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        check(root, rule, item, &format!("{at}/{index}"), wrong);
                    }
                }
                "additionalProperties" => {
                    let known = schema.get("properties").and_then(Value::as_object);
                    for (name, item) in value.as_object().into_iter().flatten() {
                        let at = format!("{at}/{name}");
                        match (known.and_then(|known| known.get(name)), rule) {
                            (Some(known), _) => check(root, known, item, &at, wrong),
                            (None, Value::Bool(false)) => wrong.push(format!("{at} is not in the schema")),
                            (None, rule) => check(root, rule, item, &at, wrong),
                        }
                    }
                }
                word => wrong.push(format!("the schema uses {word}, which is not understood here")),
            }
        }
    }

    fn is(name: &str, value: &Value) -> bool {
        match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            _ => false,
        }
    }
}
