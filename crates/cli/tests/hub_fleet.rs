//! A hub that is asked about the whole fleet and told of shifts, with agents as processes: the facts behind the page.
//! One test needs the Python package `schemathesis`: `TIDEGATE_SCHEMATHESIS`, or the one that `cargo xtask test` fetches into `.tools`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};
use support::{
    command::run,
    hub::{ANY, Agent, Hub, Place},
    wait_until,
};

const CLUSTERS: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: eu-west}
spec: {region: eu}
";

/// Nobody answers at these addresses, so nobody asks them.
const POLICY: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  healthCheck: {active: {type: None}}
  capacity: {requestsPerSecond: 100}
  failback: {holdDown: 11s}
";

fn service(zones: [&str; 2]) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 9}}]\nendpoints:\n\
         - {{addresses: [127.0.77.1], zone: {}, conditions: {{ready: true}}}}\n\
         - {{addresses: [127.0.77.2], zone: {}, conditions: {{ready: true}}}}\n",
        zones[0], zones[1]
    )
}

/// The status and the body.
fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    // A large body comes in chunks, which JSON is not: join them.
    let body = if answer.contains("transfer-encoding: chunked") { chunks(body) } else { body.to_owned() };
    (status, body)
}

fn chunks(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}

fn json(address: SocketAddr, path: &str) -> Value {
    let (status, body) = ask(address, "GET", path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// What a value has that its schema does not, or the other way round. Enough of JSON Schema for what the documents use.
fn against(schema: &Value, value: &Value, document: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.trim_start_matches('#')).ok_or(format!("{at}: no {name}"))?;
        return against(schema, value, document, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|it| against(it, value, document, at).is_ok());
        return if fits { Ok(()) } else { Err(format!("{at}: {value} is none of {any:?}")) };
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64(),
        _ => value.is_null(),
    };
    let fits = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if !fits || schema["enum"].as_array().is_some_and(|it| !it.contains(value)) {
        return Err(format!("{at}: {value} is not {schema}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        against(&schema["items"], item, document, &format!("{at}[{index}]"))?;
    }
    let required = schema["required"].as_array().filter(|_| value.is_object());
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        value.get(name).ok_or_else(|| format!("{at}: no {name}"))?;
    }
    for (name, item) in value.as_object().into_iter().flatten() {
        let more = &schema["additionalProperties"];
        match schema["properties"].get(name) {
            Some(schema) => against(schema, item, document, &format!("{at}.{name}"))?,
            None if *more == Value::Bool(false) => return Err(format!("{at}: {name} is not told of")),
            None => against(more, item, document, &format!("{at}.{name}"))?,
        }
    }
    Ok(())
}

/// Asks everything that can be asked with these names, and holds the answers against the document.
fn as_told(address: SocketAddr, document: &str) -> usize {
    let path = support::workspace().join("docs/api").join(document);
    let document: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{namespace}/{name}", "shop/web").replace("{cluster}", "us-east");
        if methods.get("get").is_none() || path.contains('{') {
            continue;
        }
        let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        // A question without its fields is none.
        let fields = if path.ends_with("/shift-preview") { "?zone=us-a&for=30m&comment=test" } else { "" };
        let (status, body) = ask(address, "GET", &format!("{path}{fields}"));
        assert_eq!(status, 200, "{path}: {body}");
        if schema.is_object() {
            let value: Value = serde_json::from_str(&body).unwrap();
            against(schema, &value, &document, &path).unwrap();
            asked += 1;
        }
    }
    asked
}

struct Fleet {
    hub: Hub,
    east: Agent,
    west: Agent,
    _place: Place,
}

fn fleet() -> Fleet {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    place.write("web.yaml", POLICY);
    let hub = Hub::start(&place, ANY, &[]);
    let join = |cluster: &str, zones| {
        let manifests = place.at(&format!("{cluster}-manifests"));
        fs::create_dir(&manifests).unwrap();
        fs::write(manifests.join("web.yaml"), service(zones)).unwrap();
        Agent::join(&place, &hub, cluster, Some(&manifests))
    };
    let (east, west) = (join("us-east", ["us-a", "us-b"]), join("eu-west", ["eu-a", "eu-b"]));
    Fleet { hub, east, west, _place: place }
}

fn shift_names(admin: SocketAddr) -> Vec<String> {
    let shifts = json(admin, "/api/v1/shifts");
    shifts.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_hub_knows_the_fleet_and_moves_traffic_at_agents_that_are_cut_off_from_each_other() {
    let Fleet { hub, east, west, _place } = fleet();
    // Where the clusters lie, what they can take, and what they cannot say.
    let picture = wait_until("both clusters", || {
        let picture = json(hub.admin, "/api/v1/fleet");
        (picture["services"][0]["clusters"].as_array()?.len() == 2).then_some(picture)
    });
    let regions: Vec<&str> =
        picture["regions"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(regions, ["eu", "us"], "{picture}");
    let cluster = &picture["regions"][1]["clusters"][0];
    let zone = &cluster["zones"][0];
    assert_eq!(
        (&cluster["state"], &zone["name"], &zone["healthy"]),
        (&"live".into(), &"us-a".into(), &1.into())
    );
    let capacity = &zone["capacity"][0];
    assert_eq!((&capacity["declared"], &capacity["budget"]), (&100.0.into(), &80.0.into()), "{zone}");
    assert_eq!(capacity["unit"], "requests/s");
    let service = &json(hub.admin, "/api/v1/services")[0];
    assert_eq!((&service["standing"], &service["expected"]), (&"good".into(), &4.into()), "{service}");

    // Each agent explains its own end.
    let explained = json(hub.admin, "/api/v1/explain/shop/web");
    let clusters: Vec<&str> =
        explained.as_array().unwrap().iter().map(|it| it["cluster"].as_str().unwrap()).collect();
    assert_eq!(clusters, ["eu-west", "us-east"]);
    let (status, why) = ask(hub.admin, "GET", "/api/v1/explain/shop/nothing");
    assert!(status == 404 && why.contains("no service shop/nothing"), "{why}");
    let foreseen = json(hub.admin, "/api/v1/contingency?lose=zone/us-a");
    assert!(foreseen["clusters"]["us-east"]["contingencies"].is_array(), "{foreseen}");

    // The same at a terminal: each says it of its own callers, and these two clusters do not reach each other.
    let whatif = |more: &[&str]| run([&["whatif", "--hub", &hub.admin.to_string()], more].concat());
    let ran = whatif(&[]);
    assert!(ran.stdout.starts_with("as 2 clusters say it, each for its own callers\n"), "{ran:?}");
    assert!(ran.stdout.contains("zone/us/us-a"), "{ran:?}");
    let ran = whatif(&["--lose", "zone/us-a"]);
    assert!(ran.stdout.contains("CLUSTER us-east") && ran.stdout.contains("zone us-b"), "{ran:?}");
    let ran = whatif(&["--lose", "zone/nowhere"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("its places are: "), "{ran:?}");

    // What a shift would do, by both; the hub knows whose zone it is.
    let at_hub = hub.admin.to_string();
    let shift = |arguments: &[&str]| run([&["shift"], arguments, &["--hub", &at_hub]].concat());
    let away = ["away", "--zone", "us-a", "--for", "10m", "--comment", "rack work"];
    let dry = shift(&[&away[..], &["--dry-run"]].concat());
    for text in
        ["If 100 % of the traffic left zone us/us-a", "us-east/us-a", "1 -> 2 endpoints", "N-1 AFTERWARDS"]
    {
        assert!(dry.code == Some(0) && dry.stdout.contains(text), "{text}: {dry:?}");
    }
    let dry = shift(&[&away[..], &["--dry-run", "-o", "json"]].concat());
    let told: Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!(told["clusters"]["us-east"]["shift"]["awayFrom"], "zone us/us-a", "{dry:?}");
    let ran = shift(&away);
    assert!(ran.code != Some(0) && ran.stderr.contains("--yes"), "{ran:?}");
    let ran = shift(&["away", "--zone", "nowhere", "--for", "10m", "--comment", "x", "--yes"]);
    assert!(ran.code != Some(0) && ran.stderr.contains("no cluster tells of a zone nowhere"), "{ran:?}");
    assert!(shift_names(east.admin).is_empty(), "nothing was begun");

    // A zone alone is enough: the hub knows whose it is. There is no link between the clusters, so the hub tells both.
    let (status, body) = ask(hub.admin, "POST", "/api/v1/shifts?zone=us-a&for=10m&comment=rack%20work");
    assert_eq!(status, 200, "{body}");
    assert_eq!(shift_names(east.admin), ["zone-us-a"]);
    wait_until("the other cluster", || (shift_names(west.admin) == ["zone-us-a"]).then_some(()));
    assert_eq!(shift_names(hub.admin), ["zone-us-a"]);
    let seen = wait_until("the picture", || {
        let picture = json(hub.admin, "/api/v1/fleet");
        let shifts = picture["shifts"].as_array()?.clone();
        shifts.into_iter().find(|it| it["clusters"].as_array().is_some_and(|it| it.len() == 2))
    });
    assert_eq!((&seen["comment"], &seen["awayFrom"]), (&"rack work".into(), &"zone us/us-a".into()));
    assert_eq!((as_told(hub.admin, "hub.json"), as_told(east.admin, "agent.json")), (18, 12));

    // It is extended, and ended, everywhere.
    let (status, body) = ask(hub.admin, "POST", "/api/v1/shifts/zone-us-a/extend?for=2h");
    assert_eq!(status, 200, "{body}");
    let remaining = |admin| json(admin, "/api/v1/shifts")[0]["remainingMs"].as_u64().unwrap_or(0);
    assert!(remaining(east.admin) > 7_000_000 || remaining(west.admin) > 7_000_000);
    wait_until("both", || {
        (remaining(east.admin) > 7_000_000 && remaining(west.admin) > 7_000_000).then_some(())
    });
    let (status, body) = ask(hub.admin, "POST", "/api/v1/shifts/zone-us-a/extend?for=1m");
    assert!(status == 400 && body.contains("anyway, which is longer"), "{body}");
    assert_eq!(ask(hub.admin, "DELETE", "/api/v1/shifts/zone-us-a").0, 200);
    wait_until("the end", || {
        (shift_names(east.admin).is_empty() && shift_names(west.admin).is_empty()).then_some(())
    });
    let (status, body) = ask(hub.admin, "DELETE", "/api/v1/shifts/zone-us-a");
    assert!(status == 404 && body.contains("is in force"), "{body}");
    // And by the command line.
    let begun = shift(&[&away[..], &["--yes"]].concat());
    let ends = format!("end it with: tidegate shift end zone-us-a --hub {at_hub}");
    assert!(begun.code == Some(0) && begun.stdout.contains(&ends), "{begun:?}");
    wait_until("both agents", || {
        (shift_names(east.admin) == ["zone-us-a"] && shift_names(west.admin) == ["zone-us-a"]).then_some(())
    });
    let extended = shift(&["extend", "zone-us-a", "--for", "2h", "-o", "json"]);
    let view: Value = serde_json::from_str(&extended.stdout).unwrap();
    assert!(view["remainingMs"].as_u64() > Some(7_000_000), "{extended:?}");
    let ended = shift(&["end", "zone-us-a"]);
    assert!(ended.code == Some(0) && ended.stdout.contains("zone-us-a has ended"), "{ended:?}");
    wait_until("the end", || {
        (shift_names(east.admin).is_empty() && shift_names(west.admin).is_empty()).then_some(())
    });
    let ended = shift(&["end", "zone-us-a"]);
    assert!(ended.code != Some(0) && ended.stderr.contains("is in force"), "{ended:?}");

    let (status, body) = ask(hub.admin, "POST", "/api/v1/shifts?zone=nowhere&for=1m&comment=x");
    assert!(status == 404 && body.contains("no cluster tells of a zone nowhere"), "{body}");

    let audit = hub.audit();
    for what in ["shiftStarted", "shiftExtended", "shiftEnded", "shiftRepeated", "shiftRefused"] {
        assert!(audit.contains(&format!("\"what\":\"{what}\"")), "{what}: {audit}");
    }
}

/// The Python packages of Schemathesis, or `None` after saying that the test was skipped.
fn schemathesis(test: &str) -> Option<PathBuf> {
    let fetched = || support::workspace().join(".tools/schemathesis-4.32.5");
    let folder = std::env::var_os("TIDEGATE_SCHEMATHESIS").map_or_else(fetched, PathBuf::from);
    if folder.join("schemathesis").is_dir() {
        return Some(folder);
    }
    support::skipped(test, &format!("no Schemathesis at {} (set TIDEGATE_SCHEMATHESIS)", folder.display()));
    None
}

/// Asks whatever the document allows, and holds each answer against it.
fn asked_at_random(packages: &Path, address: SocketAddr, document: &str) {
    let document = support::workspace().join("docs/api").join(document);
    let ran = Command::new("python3")
        .args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"])
        .arg(document)
        .args(["--url", &format!("http://{address}"), "--phases", "fuzzing", "--no-color"])
        .args(["--seed", "1", "--max-examples", "15", "--max-time", "25"])
        // A cluster that is put out answers nothing more.
        .args(["--exclude-path-regex", "/revoke$"])
        .args(["--checks", "not_a_server_error,response_schema_conformance"])
        .args(["--checks", "status_code_conformance,content_type_conformance"])
        .env("PYTHONPATH", packages)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn whatever_the_documents_allow_is_answered_as_they_say() {
    let Some(packages) = schemathesis("whatever_the_documents_allow_is_answered_as_they_say") else { return };
    let Fleet { hub, east, west: _west, _place } = fleet();
    asked_at_random(&packages, hub.admin, "hub.json");
    asked_at_random(&packages, east.admin, "agent.json");
}

#[test]
fn what_was_told_stays_known_when_an_agent_is_gone_and_is_called_old() {
    let Fleet { hub, east, west, _place } = fleet();
    wait_until("both clusters", || {
        let picture = json(hub.admin, "/api/v1/fleet");
        (picture["services"][0]["clusters"].as_array()?.len() == 2).then_some(())
    });
    drop(west);
    let picture = wait_until("its end", || {
        let picture = json(hub.admin, "/api/v1/fleet");
        (picture["regions"][0]["clusters"][0]["state"] == "lost").then_some(picture)
    });
    let cluster = &picture["regions"][0]["clusters"][0];
    assert_eq!(cluster["zones"][0]["standing"], "unknown", "{cluster}");
    assert!(cluster["heardAtMs"].as_u64().is_some());
    let told = picture["attention"].to_string();
    assert!(told.contains("cluster eu-west is not heard any more"), "{told}");
    // The agent shows its own cluster by itself.
    let own = wait_until("the agent's picture", || {
        let own = json(east.admin, "/api/v1/fleet");
        (own["services"].as_array()?.len() == 1).then_some(own)
    });
    assert_eq!(own["scope"]["name"], "us-east", "{own}");
    let ran = run(["shift", "list", "--admin", &hub.admin.to_string()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
