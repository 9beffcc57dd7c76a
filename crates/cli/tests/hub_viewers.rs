//! People at the hub's door for people elsewhere (`--admin-tls`): by the page in headless Chromium (Debian's package `chromium`, on PATH), by
//! the JSON API with `curl`, and by the terminal. Viewers look; who is limited to a namespace sees nothing of others; without a token nobody
//! sees anything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "drill/browser.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod browser;
mod support;

use browser::Browser;
use std::{fs, process::Command};
use support::{
    command::{Ran, finish, run},
    hub::{ANY, Agent, Hub, Place, bound},
    wait_until,
};

const CLUSTER: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
";

/// A service and a drill of a namespace. Nobody answers there, and nothing here needs that.
fn service(namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 9}}]\nendpoints:\n\
         - {{addresses: [127.0.77.1], zone: us-a, conditions: {{ready: true}}}}\n- {{addresses: [127.0.77.2], zone: us-b, conditions: {{ready: true}}}}\n"
    )
}

const DRILL: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Drill
metadata: {name: lose-a, namespace: pay}
spec:
  target: {zone: us-a, region: us}
  fault: {type: Verdict, expiresAfter: 60s}
  steps: {steady: 1s, fault: 30s, observe: 1s}
";

const POLICY: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: NAMESPACE}
spec:
  targetRefs: [{kind: Service, name: web}]
  healthCheck: {active: {type: None}}
---
";

struct Fleet {
    place: Place,
    hub: Hub,
    door: String,
    _agent: Agent,
}

impl Fleet {
    fn start() -> Self {
        let place = Place::new();
        let policies = ["shop", "pay"].map(|it| POLICY.replace("NAMESPACE", it)).concat();
        place.write("fleet.yaml", &[CLUSTER, "---\n", &policies, DRILL].concat());
        let manifests = place.at("manifests");
        fs::create_dir(&manifests).unwrap();
        for namespace in ["shop", "pay"] {
            fs::write(manifests.join(format!("{namespace}.yaml")), service(namespace)).unwrap();
        }
        let mut hub = Hub::start(&place, ANY, &["--admin-tls", ANY]);
        let door = hub.running.until_said("its door", bound("serves people with tokens")).to_string();
        let agent = Agent::join(&place, &hub, "us-east", Some(&manifests));
        wait_until("both services", || {
            let services = hub.json(&["get", "services", "--hub", &hub.admin.to_string()]);
            (services.to_string().contains("pay/web") && services.to_string().contains("shop/web"))
                .then_some(())
        });
        Self { place, hub, door, _agent: agent }
    }

    fn grant(&self, name: &str, more: &[&str]) -> String {
        let ran = self.hub.ask(&[&["access", "grant", name], more].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        fs::write(self.place.at(name), &ran.stdout).unwrap();
        ran.stdout.trim().to_owned()
    }

    /// The status, and all bytes of an answer, headers too.
    fn curl(&self, path: &str, more: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        // Whose authority it is, is not the question here: the fleet's own.
        command.args(["--silent", "--show-error", "--insecure", "--include", "--max-time", "20"]).args(more);
        let ran = finish(command.arg(format!("https://{}{path}", self.door)));
        assert_eq!(ran.code, Some(0), "{path}: {ran:?}");
        let status = ran.stdout.split(' ').nth(1).unwrap().parse().unwrap();
        (status, ran.stdout)
    }

    fn terminal(&self, name: &str, arguments: &[&str]) -> Ran {
        let token = self.place.at(name);
        run([arguments, &["--token-file", token.to_str().unwrap()]].concat())
    }

    /// Who and what, of those in the audit log.
    fn refused_changes(&self) -> Vec<(String, String)> {
        let answer = self.hub.audit();
        let records: serde_json::Value =
            serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let all = records.as_array().unwrap().iter().filter(|it| it["what"] == "changeRefused");
        let text = |it: &serde_json::Value| it.as_str().unwrap().to_owned();
        all.map(|it| (text(&it["who"]), text(&it["detail"]))).collect()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.door)
    }
}

/// What somebody sees who typed a token into the form: of each page its text, and how many forms change something.
fn looked_at(browser: &mut Browser, fleet: &Fleet, token: &str) -> Vec<(&'static str, String, u64)> {
    browser.visit(&fleet.url("/"));
    browser.value(&format!("document.getElementById('token').value = {}; 0", serde_json::json!(token)));
    browser.click("button");
    browser.next();
    let pages =
        ["/", "/services", "/services/shop/web", "/services/pay/web", "/shifts", "/drills", "/timeline"];
    pages
        .map(|page| {
            browser.visit(&fleet.url(page));
            let text = browser.value("document.documentElement.outerHTML").as_str().unwrap().to_owned();
            let forms = "document.querySelectorAll('form[method=post], a.button[href*=shifts], form[action=\"/shifts/new\"]').length";
            (page, text, browser.value(forms).as_u64().unwrap())
        })
        .into()
}

#[test]
fn nobody_sees_anything_without_a_token() {
    let fleet = Fleet::start();
    let pages = [
        "/",
        "/services",
        "/services/shop/web",
        "/shifts",
        "/drills",
        "/foresight",
        "/rollout",
        "/timeline",
        "/audit",
        "/events",
        "/login",
        "/nowhere",
        "/assets/page.js",
        "/metrics",
        "/healthz",
    ];
    let api = [
        "fleet",
        "services",
        "clusters",
        "rollout",
        "audit",
        "shifts",
        "drills",
        "page/fleet",
        "page/services",
    ];
    let all = pages.map(str::to_owned).into_iter().chain(api.map(|it| format!("/api/v1/{it}")));
    for path in all {
        let (status, bytes) = fleet.curl(&path, &[]);
        for name in ["shop", "web", "us-east", "us-a", "lose-a"] {
            assert!(!bytes.contains(name), "{path} names {name}: {status} {bytes}");
        }
        assert!(status != 200 || ["/login", "/healthz"].contains(&&*path), "{path}: {status} {bytes}");
    }
    let (status, bytes) =
        fleet.curl("/shifts", &["--request", "POST", "--data", "from=zone:us/us-a&for=5m&comment=x"]);
    assert!((300..500).contains(&status) && !bytes.contains("us-a"), "{bytes}");
    assert_eq!(
        fleet.hub.json(&["get", "shifts", "--hub", &fleet.hub.admin.to_string()]),
        serde_json::json!([])
    );
}

#[test]
fn a_viewer_sees_and_changes_nothing_by_page_api_and_terminal() {
    let test = "a_viewer_sees_and_changes_nothing_by_page_api_and_terminal";
    let Some(mut browser) = Browser::start() else {
        return support::skipped(test, "no `chromium` on PATH (package chromium)");
    };
    browser.trust_any();
    browser.window(1280, 900);
    let fleet = Fleet::start();
    let token = fleet.grant("vera", &["--role", "viewer"]);
    let seen = looked_at(&mut browser, &fleet, &token);
    for (page, text, forms) in &seen {
        assert_eq!(*forms, 0, "{page}: {text}");
        assert!(text.contains("vera, viewer"), "{page}: {text}");
    }
    assert!(seen[1].1.contains("shop/web") && seen[1].1.contains("pay/web"), "{}", seen[1].1);
    assert!(seen[5].1.contains("pay/lose-a"), "{}", seen[5].1);
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // What a browser would send if there were a button, and what a program sends.
    let cookie = format!("tidegate-session={token}");
    let bearer = format!("Authorization: Bearer {token}");
    for (path, form) in [
        ("/shifts", "from=zone:us/us-a&percent=100&for=5m&comment=x&seal=AAAA"),
        ("/drills/start", "name=pay/lose-a&seal=AAAA"),
    ] {
        let (status, body) = fleet.curl(path, &["--cookie", &cookie, "--data", form]);
        assert_eq!(status, 403, "{body}");
    }
    for path in ["/api/v1/shifts?zone=us-a&for=5m&comment=x", "/api/v1/drills"] {
        let (status, body) = fleet.curl(path, &["--request", "POST", "--header", &bearer]);
        assert!(status == 403 && body.contains("vera is viewer, and this needs operator"), "{body}");
    }
    let away =
        ["shift", "away", "--yes", "--zone", "us-a", "--for", "5m", "--comment", "x", "--admin", &fleet.door];
    let by_hub = [&away[..9], &["--hub", &fleet.door]].concat();
    let extend = ["shift", "extend", "zone-us-a", "--for", "1h", "--hub", &fleet.door];
    let end = ["shift", "end", "zone-us-a", "--hub", &fleet.door];
    let drill = fleet.place.at("drill.yaml");
    fs::write(&drill, DRILL).unwrap();
    let drill = ["drill", "run", drill.to_str().unwrap(), "--hub", &fleet.door];
    for arguments in [&away[..], &by_hub, &extend, &end, &drill] {
        let ran = fleet.terminal("vera", arguments);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.contains("vera is viewer, and this needs operator"), "{ran:?}");
    }
    let shown = fleet.terminal("vera", &["get", "services", "--hub", &fleet.door]);
    assert!(shown.code == Some(0) && shown.stdout.contains("pay/web"), "{shown:?}");

    // Nothing began, and each try is written down and counted.
    assert_eq!(
        fleet.hub.json(&["get", "shifts", "--hub", &fleet.hub.admin.to_string()]),
        serde_json::json!([])
    );
    let said = fleet.hub.running.said();
    for line in [
        "POST /shifts from 127.0.0.1 is refused: vera is viewer",
        "POST /drills/start from 127.0.0.1 is refused",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains(&token), "no token is in the log");

    // Refused changes are in the audit log with who and why, each once however often it was tried; nobody without a token is.
    for _ in 0..20 {
        let (status, _) = fleet
            .curl("/api/v1/shifts?zone=us-a&for=5m&comment=x", &["--request", "POST", "--header", &bearer]);
        assert_eq!(status, 403);
        assert_eq!(fleet.curl("/api/v1/drills", &["--request", "POST"]).0, 401);
    }
    let refused = wait_until("the audit log", || {
        let refused = fleet.refused_changes();
        (refused.len() >= 6).then_some(refused)
    });
    assert!(refused.iter().all(|(who, _)| who == "vera"), "{refused:?}");
    let shifts = "POST /api/v1/shifts?zone=us-a&for=5m&comment=x: vera is viewer, and this needs operator, from 127.0.0.1";
    assert_eq!(refused.iter().filter(|(_, detail)| detail == shifts).count(), 1, "{refused:?}");
    for path in
        ["POST /shifts", "POST /drills/start", "POST /api/v1/drills", "POST /api/v1/shifts/zone-us-a/extend"]
    {
        let is_it = |(_, detail): &(String, String)| {
            detail.strip_prefix(path).is_some_and(|rest| rest.starts_with([':', '?']))
        };
        assert!(refused.iter().any(is_it), "{path}: {refused:?}");
    }
    browser.visit(&fleet.url("/audit"));
    let shown = browser.value("document.body.innerText").as_str().unwrap().to_owned();
    assert!(shown.contains("changeRefused") && shown.contains("vera is viewer"), "{shown}");
}

#[test]
fn who_is_limited_to_a_namespace_sees_only_that_by_page_api_and_terminal() {
    let test = "who_is_limited_to_a_namespace_sees_only_that_by_page_api_and_terminal";
    let Some(mut browser) = Browser::start() else {
        return support::skipped(test, "no `chromium` on PATH (package chromium)");
    };
    browser.trust_any();
    browser.window(1280, 900);
    let fleet = Fleet::start();
    let token = fleet.grant("olga", &["--role", "operator", "--namespace", "shop"]);
    let seen = looked_at(&mut browser, &fleet, &token);
    for (page, text, _) in &seen {
        let own = text.replace("/services/pay/web", "").replace("No service pay/web is known", "");
        assert!(!own.contains("pay/"), "{page}: {text}");
    }
    assert!(seen[1].1.contains("shop/web"), "{}", seen[1].1);
    assert!(seen[2].2 > 0, "a service of the own namespace may be shifted");
    assert_eq!(seen[5].2, 0, "a drill may be felt by others");
    let bearer = format!("Authorization: Bearer {token}");
    for path in ["/api/v1/services", "/api/v1/page/services", "/api/v1/page/fleet", "/api/v1/page/timeline"] {
        let (status, body) = fleet.curl(path, &["--header", &bearer]);
        assert!(status == 200 && !body.contains("pay/web"), "{path}: {body}");
    }
    assert_eq!(fleet.curl("/api/v1/explain/pay/web", &["--header", &bearer]).0, 403);
    let shown = fleet.terminal("olga", &["get", "services", "--hub", &fleet.door]);
    assert!(shown.stdout.contains("shop/web") && !shown.stdout.contains("pay/web"), "{shown:?}");
    let refused = fleet.terminal("olga", &["explain", "pay/web", "--hub", &fleet.door]);
    assert!(refused.code != Some(0) && !refused.stdout.contains("us-a"), "{refused:?}");

    // A whole zone is not theirs, by the command line, the API and the page; a service of theirs is.
    let away =
        ["shift", "away", "--zone", "us-a", "--for", "5m", "--comment", "x", "--yes", "--hub", &fleet.door];
    let ran = fleet.terminal("olga", &away);
    let why = "olga is limited to namespaces, and this concerns the whole fleet";
    assert!(ran.code != Some(0) && ran.stderr.contains(why), "{ran:?}");
    for (service, status) in [("", 403), ("&service=pay/web", 403), ("&service=shop/web", 200)] {
        let path = format!("/api/v1/shifts?zone=us-a&for=5m&comment=x{service}");
        let (found, body) = fleet.curl(&path, &["--request", "POST", "--header", &bearer]);
        assert_eq!(found, status, "{service}: {body}");
    }
    let own = [&away[..8], &["--service", "shop/web", "--dry-run", "--hub", &fleet.door]].concat();
    let ran = fleet.terminal("olga", &own);
    assert!(
        ran.code == Some(0) && ran.stdout.contains("shop/web") && !ran.stdout.contains("pay/"),
        "{ran:?}"
    );
    let ran = fleet.terminal("olga", &["shift", "end", "zone-us-a-shop-web", "--hub", &fleet.door]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    wait_until("the audit log", || {
        let refused = fleet.refused_changes();
        let is_it = |(who, detail): &(String, String)| who == "olga" && detail.contains(why);
        refused.iter().any(is_it).then_some(())
    });
}
