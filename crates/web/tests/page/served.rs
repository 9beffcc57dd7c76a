//! What the router answers: who may what, what is escaped, how large it is, and what headers say.

use crate::{
    fixture,
    stage::{Told, limited, now_ms, operator, page, viewer},
};
use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tidegate_web::{Action, Options, Visitor};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const PAGES: [&str; 11] = [
    "/",
    "/services",
    "/services/shop/web",
    "/foresight",
    "/foresight?lost=zone%3Aus-east-1%2Fus-east-1b",
    "/drills",
    "/shifts",
    "/shifts/new?from=zone%3Aus-west-2%2Fus-west-2a&for=30m&comment=why",
    "/rollout",
    "/audit",
    "/timeline",
];

fn told() -> Arc<Told> {
    Told::new(fixture::fleet(now_ms()))
}

fn app(told: &Arc<Told>, visitor: Visitor) -> Router {
    page(told, Some(visitor), Options::default())
}

async fn get(app: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).header(header::HOST, "hub:1").body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn shown(app: &Router, path: &str) -> String {
    let answer = get(app, path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    text(answer).await
}

async fn post(app: &Router, path: &str, form: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::post(path).header(header::HOST, "hub:1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(form.to_owned())).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

/// The seal that a page's forms carry.
fn seal(page: &str) -> &str {
    page.split_once("name=\"seal\" value=\"").expect("the page has a form").1.split('"').next().unwrap()
}

#[tokio::test]
async fn who_is_not_known_is_shown_nothing() {
    let app = page(&told(), None, Options::default());
    for path in PAGES.into_iter().chain([
        "/events",
        "/api/v1/page/fleet",
        "/drills/reports/drill-9",
        "/drills/trends/0",
    ]) {
        let answer = get(&app, path).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        let text = text(answer).await;
        assert!(text.contains("token") && !text.contains("us-east-1"), "{path}: {text}");
    }
    assert_eq!(post(&app, "/shifts/end", "name=shift-7", &[]).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_page_is_guarded_against_what_other_sites_do() {
    let app = app(&told(), operator());
    for path in
        PAGES.into_iter().chain(["/nowhere", "/services/shop/none", "/assets/page.css", "/api/v1/page/fleet"])
    {
        let answer = get(&app, path).await;
        let header = |name: &str| {
            answer.headers().get(name).map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        if path == "/nowhere" {
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            continue;
        }
        let policy = header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        let cached = header("cache-control");
        assert_eq!(cached, if path.starts_with("/assets") { "no-cache" } else { "no-store" }, "{path}");
        if !path.starts_with("/assets") {
            let text = text(answer).await;
            assert!(
                !text.contains("style=\"") && !text.contains("<style") && !text.contains(" onclick"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_report_and_a_trend_are_kept_apart_from_the_page() {
    let app = app(&told(), operator());
    for (path, kind) in
        [("/drills/reports/drill-9", "text/html; charset=utf-8"), ("/drills/trends/0", "image/svg+xml")]
    {
        let answer = get(&app, path).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], kind);
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.contains("sandbox") && policy.contains("default-src 'none'") && !policy.contains("script"),
            "{policy}"
        );
    }
}

#[tokio::test]
async fn an_asset_is_sent_once() {
    let app = app(&told(), viewer());
    let first = get(&app, "/assets/page.js").await;
    let etag = first.headers()[header::ETAG].clone();
    assert!(!etag.to_str().unwrap().starts_with("W/"), "a strong one");
    let again =
        Request::get("/assets/page.js").header(header::IF_NONE_MATCH, etag).body(Body::empty()).unwrap();
    assert_eq!(app.clone().oneshot(again).await.unwrap().status(), StatusCode::NOT_MODIFIED);
    assert_eq!(get(&app, "/assets/../Cargo.toml").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get(&app, "/assets/none.js").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn html_in_names_and_comments_stays_text() {
    const EVIL: &str = "<img src=x onerror=alert(1)>\"'&</svg><script>alert(1)</script>";
    let told = told();
    told.change(|fleet| {
        fleet.attention[0].text = EVIL.to_owned();
        fleet.shifts[0].comment = EVIL.to_owned();
        fleet.shifts[0].name = EVIL.to_owned();
        fleet.shifts[0].away_from = EVIL.to_owned();
        fleet.policy.why = Some(EVIL.to_owned());
        fleet.policy.version = EVIL.to_owned();
        fleet.services.iter_mut().for_each(|row| row.why = Some(EVIL.to_owned()));
        let cluster = &mut fleet.regions[1].clusters[0];
        cluster.held_back = Some(EVIL.to_owned());
        cluster.rejected.push((EVIL.to_owned(), EVIL.to_owned()));
        cluster.gateways[0].node = EVIL.to_owned();
        cluster.gateways[0].refused = vec![EVIL.to_owned()];
        cluster.peers[0].state = EVIL.to_owned();
    });
    {
        let mut web = told.web.lock().unwrap();
        web.plans[0].reasons = vec![EVIL.to_owned()];
        web.plans[0].shares[0].0 = EVIL.to_owned();
        web.policy[0].from = EVIL.to_owned();
        web.missing[0].1 = EVIL.to_owned();
        web.timeline[0].text = EVIL.to_owned();
        told.events.lock().unwrap()[0].text = EVIL.to_owned();
        let mut drills = told.drills.lock().unwrap();
        drills.past[0].id = EVIL.to_owned();
        drills.offered[0].drill = EVIL.to_owned();
        drills.trends[0].0 = EVIL.to_owned();
    }
    let evil = Visitor { name: EVIL.to_owned(), ..operator() };
    let app = app(&told, evil);
    for path in PAGES {
        let text = shown(&app, path).await;
        assert!(
            !text.contains("<img src=x") && !text.contains("<script>") && !text.contains("alert(1)</script>"),
            "{path}"
        );
        assert!(
            text.contains("&lt;img") || text.contains("&#60;img"),
            "{path}: at least the visitor's name is shown"
        );
    }
    let asked = shown(&app, "/services?q=%22%3E%3Cscript%3E&ns=%3Cb%3E").await;
    assert!(!asked.contains("<script>") && !asked.contains("<b>"));
    let done = shown(&app, "/shifts?done=%3Cb%3Eall+is+well&seal=AAAA").await;
    assert!(!done.contains("all is well"), "nobody can make the page say that something was done");
}

#[tokio::test]
async fn a_viewer_sees_no_button_and_cannot_post() {
    let told = told();
    let (mine, theirs) = (app(&told, operator()), app(&told, viewer()));
    for path in
        ["/shifts", "/drills", "/services/shop/web", "/shifts/new?from=cluster%3Ause1-a&for=30m&comment=why"]
    {
        let text = shown(&theirs, path).await;
        assert!(!text.contains("method=\"post\"") && !text.contains("Shift away"), "{path}");
        assert_ne!(shown(&mine, path).await.len(), text.len(), "{path}: an operator sees more");
    }
    for (path, form) in [
        ("/shifts", "from=cluster:use1-a&for=30m&comment=why"),
        ("/shifts/end", "name=shift-7"),
        ("/shifts/extend", "name=shift-7&for=1h"),
        ("/drills/start", "name=shop/zone-loss"),
        ("/drills/end", "name=drill-10"),
    ] {
        // The seal of an operator's page is not the viewer's, and one of their own would not help.
        let page = shown(&mine, "/shifts").await;
        let answer = post(&theirs, path, &format!("{form}&seal={}", seal(&page)), &[]).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert!(told.acted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_form_is_taken_from_the_page_it_was_shown_on_only() {
    let told = told();
    let app = app(&told, operator());
    let page = shown(&app, "/shifts").await;
    let form = format!("name=shift-7&seal={}", seal(&page));
    for (form, headers) in [
        ("name=shift-7", &[][..]),
        (&form, &[("origin", "http://evil.example")][..]),
        (&form, &[("origin", "null")][..]),
        (&form, &[("sec-fetch-site", "cross-site")][..]),
    ] {
        let answer = post(&app, "/shifts/end", form, headers).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{headers:?}");
        assert!(text(answer).await.contains("nothing was done"));
    }
    assert!(told.acted.lock().unwrap().is_empty());
    let answer =
        post(&app, "/shifts/end", &form, &[("origin", "https://hub:1"), ("sec-fetch-site", "same-origin")])
            .await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(*told.acted.lock().unwrap(), [("ann".to_owned(), Action::EndShift("shift-7".to_owned()))]);
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    assert!(shown(&app, &location).await.contains("shift-7 has ended"));
    let long = format!("name={}&seal=x", "a".repeat(20_000));
    assert_eq!(post(&app, "/shifts/end", &long, &[]).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn where_nobody_needs_a_token_only_local_hosts_are_answered() {
    let app = page(&told(), Some(operator()), Options { local_hosts_only: true, ..Options::default() });
    for (host, status) in [
        ("127.0.0.1:1", StatusCode::OK),
        ("localhost", StatusCode::OK),
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let request = Request::get("/").header(header::HOST, host).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{host}");
    }
}

#[tokio::test]
async fn who_is_limited_to_a_namespace_sees_and_changes_no_other() {
    let told = told();
    let app = app(&told, limited());
    for path in
        ["/", "/services", "/shifts", "/rollout", "/timeline", "/foresight", "/drills", "/services?ns=pay"]
    {
        let text = shown(&app, path).await;
        for hidden in ["pay/", "search/index", "ledger"] {
            assert!(!text.contains(hidden), "{path} tells of {hidden}");
        }
    }
    assert!(shown(&app, "/").await.contains("us-east-1a"), "the map is whole");
    for path in ["fleet", "services", "rollout", "timeline", "foresight", "shifts", "drills"] {
        let text = shown(&app, &format!("/api/v1/page/{path}")).await;
        assert!(!text.contains("pay/") && !text.contains("ledger"), "{path}");
    }
    assert!(shown(&app, "/services").await.contains("shop/</span>web"));
    for path in ["/services/pay/card", "/services/pay/none"] {
        let answer = get(&app, path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        let name = path.trim_start_matches("/services/");
        assert!(text(answer).await.contains(&format!("No service {name} is known")), "one as the other");
    }
    for path in ["/audit", "/api/v1/page/audit", "/shifts/new?from=cluster%3Ause1-a&for=30m&comment=why"] {
        assert_eq!(get(&app, path).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let page = shown(&app, "/shifts").await;
    let seal = seal(&page).to_owned();
    for (path, form) in [
        ("/shifts", "from=cluster:use1-a&for=30m&comment=why"),
        ("/shifts", "from=cluster:use1-a&for=30m&comment=why&service=pay/card"),
        ("/drills/start", "name=shop/zone-loss"),
    ] {
        let answer = post(&app, path, &format!("{form}&seal={seal}"), &[]).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{form}");
    }
    assert!(told.acted.lock().unwrap().is_empty());
    let own = format!("from=cluster:use1-a&for=30m&comment=why&service=shop/web&seal={seal}");
    assert_eq!(post(&app, "/shifts", &own, &[]).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn services_are_filtered_sorted_and_paged_by_the_question() {
    let large = app(&Told::new(fixture::large(now_ms())), viewer());
    let first = shown(&large, "/services").await;
    assert!(first.contains("1–100 of 10000") && first.contains("reduced"), "the worst come first");
    let last = shown(&large, "/services?sort=name&page=100").await;
    assert!(
        last.contains("9901–10000 of 10000") && last.contains("service-09999") && !last.contains(">Next<")
    );
    assert!(shown(&large, "/services?page=4000").await.contains("9901–10000 of 10000"));
    let team = shown(&large, "/services?ns=team-07&away=1").await;
    assert!(team.contains("team-07/") && !team.contains("team-08/</span>"));
    let small = app(&told(), viewer());
    let stuck = shown(&small, "/services?stuck=1").await;
    assert!(stuck.contains("shop/</span>batch") && !stuck.contains("shop/</span>web"));
    let one = shown(&small, "/services?q=op/we").await;
    assert!(one.contains("1–1 of 1") && one.contains("shop/</span>web"));
    assert!(shown(&small, "/services?standing=shifted&phase=shifted").await.contains("1–1 of 1"));
    assert!(shown(&small, "/services?q=nothing").await.contains("No service is as asked for"));
}

#[tokio::test]
async fn pages_of_a_large_fleet_are_small() {
    let app = app(&Told::new(fixture::large(now_ms())), operator());
    for path in PAGES.into_iter().chain(["/?q=region-4", "/services?sort=rate"]) {
        let path = path.replace("shop/web", "team-00/service-00000");
        let length = shown(&app, &path).await.len();
        eprintln!("{path}: {} KB", length / 1000);
        assert!(length <= 200_000, "{path}: {length} bytes");
    }
}

#[tokio::test]
async fn a_wrong_question_is_answered_with_what_to_write() {
    let app = app(&told(), operator());
    for (path, status, said) in [
        ("/foresight?lost=planet", StatusCode::UNPROCESSABLE_ENTITY, "write zone:"),
        ("/shifts/new?from=cluster%3Aa&for=30m", StatusCode::UNPROCESSABLE_ENTITY, "Say why"),
        (
            "/shifts/new?from=cluster%3Aa&for=30m&comment=refuse+me",
            StatusCode::UNPROCESSABLE_ENTITY,
            "tick force",
        ),
        ("/services/shop/none", StatusCode::NOT_FOUND, "/services has those"),
        ("/api/v1/page/foresight?lost=planet", StatusCode::UNPROCESSABLE_ENTITY, "write zone:"),
    ] {
        let answer = get(&app, path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert!(text(answer).await.contains(said), "{path}");
    }
}

#[tokio::test]
async fn many_pages_that_show_the_same_cost_one_rendering() {
    let told = told();
    let app = app(&told, viewer());
    let parts = (0..50).map(|_| shown(&app, "/services/shop/web?part=main"));
    let parts = futures::future::join_all(parts).await;
    assert!(parts.iter().all(|part| !part.contains("<html") && part.contains("Where requests go")));
    assert_eq!(*told.asked.lock().unwrap(), 1);
    told.change(|_| {});
    shown(&app, "/services/shop/web?part=main").await;
    assert_eq!(*told.asked.lock().unwrap(), 2);
}

#[tokio::test]
async fn streams_tell_the_newest_version_only_are_limited_and_end() {
    let told = told();
    let stop = CancellationToken::new();
    let app = page(&told, Some(viewer()), Options { streams: 1, stop: stop.clone(), ..Options::default() });
    let answer = get(&app, "/events").await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(get(&app, "/events").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let mut events = answer.into_body().into_data_stream();
    let mut next = async || String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(next().await.contains("event: version\ndata: {\"version\":1,"));
    for _ in 0..20 {
        told.change(|_| {});
    }
    let second = next().await;
    assert!(second.contains("\"version\":21,"), "versions between are not told: {second}");
    assert!(next().await.contains("event: beat"), "silence is told from loss");
    stop.cancel();
    let mut rest = 0;
    while events.next().await.is_some() {
        rest += 1;
        assert!(rest < 3, "it ends");
    }
}

#[tokio::test]
async fn a_browser_that_does_not_read_loses_its_stream() {
    let told = told();
    let app = page(&told, Some(viewer()), Options { streams: 1, ..Options::default() });
    let stuck = get(&app, "/events").await;
    told.change(|_| {});
    // Its task waits for somebody to read, for a few seconds.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), told.unwatched()).await;
    assert!(ended.is_ok(), "its task has ended");
    assert_eq!(get(&app, "/events").await.status(), StatusCode::OK, "its place is free again");
    drop(stuck);
}
