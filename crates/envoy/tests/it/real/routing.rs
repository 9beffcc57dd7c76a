//! What the fields of routes do to requests, on the oldest and the newest supported Envoy.

use super::{
    gateway::{Gateway, envoys},
    load::{Answer, Http, ask, by, http1},
    toy::{Mode, Seen, Toy, addresses},
};
use crate::fixtures::{World, edge, gateway, listener, plan, rule, to, zone};
use hyper::{Method, body::Bytes};
use std::{collections::BTreeMap, path::Path, time::Duration};
use tidegate_api::{
    Backend, Filters, GatewayRole, HeaderChanges, HeaderFilters, HttpMatch, HttpRule, Limits, Mirror,
    NamedMatch, PathChange, PathMatch, Redirect, Rewrite, Upstream, ValueMatch,
};
use tidegate_envoy::{Resource, SERVICE_HEADER, edge_cluster, edge_endpoints, edge_listener, edge_routes};

/// A route as fixtures take it.
type Route<'r> = (&'r str, &'r [&'r str], Vec<HttpRule>);

/// A toy for each of these services, in zone a.
struct Shop {
    toys: BTreeMap<&'static str, Vec<Toy>>,
    upstream: Upstream,
}

impl Shop {
    async fn open(names: &[&'static str]) -> Self {
        let mut toys = BTreeMap::new();
        for name in names {
            toys.insert(*name, Toy::several(name, 1).await);
        }
        Self { toys, upstream: Upstream::default() }
    }

    fn resources(&self, routes: Vec<Route<'_>>) -> Vec<Resource> {
        let edge = edge(routes);
        let mut resources = vec![
            edge_listener(&gateway(), &listener()),
            edge_routes(&gateway(), &edge, &listener(), &|_| None, None),
        ];
        for (name, toys) in &self.toys {
            let mut plan = plan(&[("zone:a", 10_000)], &[]);
            plan.service = format!("shop/{name}").parse().unwrap();
            let world = World::default().zone("a", addresses(toys, toys.len()));
            resources.push(edge_cluster(&plan.service, &zone("a"), &self.upstream));
            resources.push(edge_endpoints(&plan, &world.view()));
        }
        resources
    }

    async fn gateway(&self, envoy: &Path, routes: Vec<Route<'_>>) -> Gateway {
        Gateway::start(envoy, GatewayRole::Edge, self.resources(routes)).await
    }

    fn last(&self, name: &str) -> Seen {
        self.toys[name][0].seen().last().unwrap().clone()
    }
}

async fn get(http: &Http, gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(http, Method::GET, format!("http://{}{path}", gateway.address), headers, Bytes::new()).await
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.to_owned())
}

fn named(name: &str, value: ValueMatch) -> Vec<NamedMatch> {
    vec![NamedMatch { name: name.to_owned(), value }]
}

fn exact(value: &str) -> ValueMatch {
    ValueMatch::Exact(value.to_owned())
}

/// A rule with this one match.
fn matching(matching: HttpMatch, backend: &str) -> HttpRule {
    HttpRule { matches: vec![matching], ..rule(&[], backend) }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_matched_by_path_method_headers_and_query_in_order_of_precedence() {
    for envoy in envoys("requests_are_matched_by_path_method_headers_and_query_in_order_of_precedence") {
        matched(&envoy).await;
    }
}

async fn matched(envoy: &Path) {
    let shop = Shop::open(&["any", "prefix", "exact", "regex", "method", "header", "query", "host"]).await;
    let at = |path: &str| HttpMatch::path(prefix(path));
    let rules = vec![
        matching(at("/"), "shop/any"),
        matching(at("/a"), "shop/prefix"),
        matching(HttpMatch { headers: named("x-ring", exact("canary")), ..at("/a") }, "shop/header"),
        matching(
            HttpMatch { query: named("v", ValueMatch::Regex("[0-9]+".into())), ..at("/a") },
            "shop/query",
        ),
        matching(HttpMatch { method: Some("POST".into()), ..at("/a") }, "shop/method"),
        matching(HttpMatch::path(PathMatch::Exact("/a/b".into())), "shop/exact"),
        matching(HttpMatch::path(PathMatch::Regex("/a/[0-9]+/.*".into())), "shop/regex"),
        // Envoy's own limit for an expression is a hundred instructions.
        matching(HttpMatch::path(PathMatch::Regex("/[a-z]{900}".into())), "shop/regex"),
    ];
    let hosts: &[&str] = &["*.shop.example"];
    let routes = vec![("shop/r", &[][..], rules), ("shop/h", hosts, vec![rule(&[prefix("/")], "shop/host")])];
    let gateway = shop.gateway(envoy, routes).await;
    let http = http1();
    let host = ("host", "deep.web.shop.example");
    for (method, path, headers, served) in [
        ("GET", "/", &[][..], "any"),
        ("GET", "/ab", &[], "any"),
        ("GET", "/a", &[], "prefix"),
        ("GET", "/a/", &[], "prefix"),
        ("GET", "/a/b", &[], "exact"),
        ("POST", "/a/b", &[], "exact"),
        ("GET", "/a/17/x", &[], "regex"),
        ("GET", "/a/17", &[], "prefix"),
        ("POST", "/a/c", &[], "method"),
        ("POST", "/a/c", &[("x-ring", "canary")], "method"),
        ("GET", "/a/c", &[("x-ring", "canary")], "header"),
        ("GET", "/a/c", &[("x-ring", "stable")], "prefix"),
        ("GET", "/a/c?v=17", &[], "query"),
        ("GET", "/a/c?v=17", &[("x-ring", "canary")], "header"),
        ("GET", "/a/c?v=x", &[], "prefix"),
        ("GET", "/a", &[host], "host"),
        ("GET", "/a", &[("host", "shop.example")], "prefix"),
    ] {
        let url = format!("http://{}{path}", gateway.address);
        let answer = ask(&http, method.parse().unwrap(), url, headers, Bytes::new()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, served), "{method} {path} {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_share_by_weight_name_themselves_and_one_that_is_none_answers_500() {
    for envoy in envoys("backends_share_by_weight_name_themselves_and_one_that_is_none_answers_500") {
        weighted(&envoy).await;
    }
}

async fn weighted(envoy: &Path) {
    let shop = Shop::open(&["web", "cart"]).await;
    let with = |path: &str, backends: Vec<Backend>| HttpRule { backends, ..rule(&[prefix(path)], "none") };
    let mut marked = to("shop/cart", 10);
    let changed = HeaderFilters {
        request: HeaderChanges { set: pairs(&[("x-who", "cart")]), ..HeaderChanges::default() },
        response: HeaderChanges { set: pairs(&[("x-from", "cart")]), ..HeaderChanges::default() },
    };
    marked.headers = changed.into();
    let mut rules = vec![
        with("/split", vec![to("shop/web", 30), marked, to("shop/web", 0)]),
        with("/half", vec![to("shop/web", 1), to("none", 1)]),
        with("/none", vec![to("none", 1)]),
        with("/zero", vec![to("shop/web", 0)]),
    ];
    let mut changed = Filters::default();
    changed.headers.request.set = pairs(&[("x-who", "rule"), ("x-rule", "1")]);
    rules[0].filters = changed.into();
    let gateway = shop.gateway(envoy, vec![("shop/r", &[], rules)]).await;
    let http = http1();
    let mut answers = Vec::new();
    for _ in 0..400 {
        let answer = get(&http, &gateway, "/split", &[]).await;
        assert_eq!(answer.headers.contains_key("x-from"), answer.body == "cart");
        answers.push(answer);
    }
    let counts = by(&answers);
    assert!(counts["cart"].abs_diff(100) < 50 && counts["web"].abs_diff(300) < 50, "{counts:?}");
    for name in ["web", "cart"] {
        let seen = shop.last(name);
        assert_eq!(seen.headers[SERVICE_HEADER], format!("shop/{name}"), "for the east-west gateways");
        assert_eq!(seen.headers["x-rule"], "1");
        let who = if name == "cart" { "cart" } else { "rule" };
        assert_eq!(seen.headers["x-who"], who, "what a backend says comes after its rule");
    }
    answers.clear();
    for _ in 0..200 {
        answers.push(get(&http, &gateway, "/half", &[]).await);
    }
    let counts = by(&answers);
    assert!(counts["500"].abs_diff(100) < 40 && counts["web"].abs_diff(100) < 40, "{counts:?}");
    for path in ["/none", "/zero"] {
        assert_eq!(get(&http, &gateway, path, &[]).await.status, 500, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_change_headers_paths_and_hosts_and_copies_name_their_own_service() {
    for envoy in envoys("filters_change_headers_paths_and_hosts_and_copies_name_their_own_service") {
        filtered(&envoy).await;
    }
}

/// Gateway API's table for ReplacePrefixMatch (`HTTPPathModifier`), and its like for the root: path, prefix,
/// replacement, outcome.
const REPLACED: [(&str, &str, &str, &str); 14] = [
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "/", "/bar"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
    ("/foo/bar?a=/foo", "/foo", "/", "/bar?a=/foo"),
    ("/foo?a=1", "/foo", "/xyz", "/xyz?a=1"),
    ("/f.o/bar", "/f.o", "/", "/bar"),
    ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
    ("/foo", "/", "/xyz/", "/xyz/foo"),
    ("/foo", "/", "/", "/foo"),
    ("/foo/foo/bar", "/foo", "/", "/foo/bar"),
];

async fn filtered(envoy: &Path) {
    let shop = Shop::open(&["web", "copy"]).await;
    let hosts: Vec<String> = (0..REPLACED.len()).map(|case| format!("case-{case}.example")).collect();
    let hosts: Vec<[&str; 1]> = hosts.iter().map(|host| [host.as_str()]).collect();
    let mut routes: Vec<Route<'_>> = Vec::new();
    for (case, (_, from, to, _)) in REPLACED.iter().enumerate() {
        let mut rule = rule(&[prefix(from)], "shop/web");
        let rewrite = Some(Rewrite { hostname: None, path: Some(PathChange::Prefix((*to).into())) });
        rule.filters = Filters { rewrite, ..Filters::default() }.into();
        routes.push(("shop/case", &hosts[case], vec![rule]));
    }
    let mut all = rule(&[prefix("/")], "shop/web");
    let changed = Filters {
        headers: HeaderFilters {
            request: HeaderChanges {
                set: pairs(&[("x-set", "100%REQ(:path)%"), ("x-empty", "")]),
                add: pairs(&[("x-add", "more")]),
                remove: vec!["x-secret".to_owned()],
            },
            response: HeaderChanges { add: pairs(&[("x-answer", "1")]), ..HeaderChanges::default() },
        },
        rewrite: Some(Rewrite {
            hostname: Some("inner.example".to_owned()),
            path: Some(PathChange::Full("/a\\1/b".to_owned())),
        }),
        mirrors: vec![Mirror { service: "shop/copy".parse().unwrap(), numerator: 100, denominator: 100 }],
        redirect: None,
    };
    all.filters = changed.into();
    routes.push(("shop/all", &["all.example"], vec![all]));
    let gateway = shop.gateway(envoy, routes).await;
    let http = http1();
    for (case, (path, from, to, outcome)) in REPLACED.iter().enumerate() {
        let answer = get(&http, &gateway, path, &[("host", hosts[case][0])]).await;
        assert_eq!(
            (answer.status, shop.last("web").path.as_str()),
            (200, *outcome),
            "{path}: {from} -> {to}"
        );
    }
    let sent = [("host", "all.example"), ("x-set", "0"), ("x-add", "some"), ("x-secret", "s")];
    let answer = get(&http, &gateway, "/whatever?q=1", &sent).await;
    assert_eq!((answer.status, &answer.headers["x-answer"]), (200, &"1".parse().unwrap()));
    let copied = async {
        while shop.toys["copy"][0].seen().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), copied).await.expect("the copy comes");
    for (name, service) in [("web", "shop/web"), ("copy", "shop/copy")] {
        let seen = shop.last(name);
        let headers = &seen.headers;
        assert_eq!(seen.path, "/a\\1/b?q=1", "{name}");
        assert_eq!(headers[SERVICE_HEADER], service);
        assert_eq!(headers["x-set"], "100%REQ(:path)%");
        assert_eq!(
            (&headers["x-empty"], &headers["host"]),
            (&"".parse().unwrap(), &"inner.example".parse().unwrap())
        );
        let added: Vec<_> = headers.get_all("x-add").iter().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(added.join(","), "some,more");
        assert!(!headers.contains_key("x-secret"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_keep_what_they_do_not_change() {
    for envoy in envoys("redirects_keep_what_they_do_not_change") {
        redirected(&envoy).await;
    }
}

async fn redirected(envoy: &Path) {
    let shop = Shop::open(&["web"]).await;
    let redirect = |path: &str, redirect: Redirect| {
        let filters = Filters { redirect: Some(redirect), ..Filters::default() }.into();
        HttpRule { backends: Vec::new(), filters, ..rule(&[prefix(path)], "none") }
    };
    let none = Redirect { scheme: None, hostname: None, path: None, port: None, status: 302 };
    let host = || Some("new.example".to_owned());
    let https = || Some("https".to_owned());
    let rules = vec![
        redirect("/host", Redirect { hostname: host(), port: Some(8080), ..none.clone() }),
        redirect("/tls", Redirect { scheme: https(), status: 301, ..none.clone() }),
        redirect("/tls-host", Redirect { scheme: https(), hostname: host(), status: 308, ..none.clone() }),
        redirect("/port", Redirect { port: Some(81), status: 307, ..none.clone() }),
        redirect(
            "/full",
            Redirect {
                path: Some(PathChange::Full("/x".into())),
                status: 303,
                port: Some(81),
                ..none.clone()
            },
        ),
        redirect(
            "/pre",
            Redirect { path: Some(PathChange::Prefix("/".into())), hostname: host(), port: Some(80), ..none },
        ),
    ];
    let gateway = shop.gateway(envoy, vec![("shop/r", &[], rules)]).await;
    let http = http1();
    for (path, status, location) in [
        ("/host/a?b=c", 302, "http://new.example:8080/host/a?b=c"),
        ("/tls", 301, "https://old.example:443/tls"),
        ("/tls-host", 308, "https://new.example/tls-host"),
        ("/port", 307, "http://old.example:81/port"),
        ("/full/a?b=c", 303, "http://old.example:81/x?b=c"),
        ("/pre/a?b=c", 302, "http://new.example/a?b=c"),
    ] {
        let answer = get(&http, &gateway, path, &[("host", "old.example:10080")]).await;
        assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (status, location));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_at_a_backend_ends_at_its_own_limit_whatever_the_method() {
    for envoy in envoys("a_try_at_a_backend_ends_at_its_own_limit_whatever_the_method") {
        limited(&envoy).await;
    }
}

async fn limited(envoy: &Path) {
    let shop = Shop::open(&["web"]).await;
    let limit = |path: &str, ms| HttpRule {
        backend_timeout: Some(Duration::from_millis(ms)),
        ..rule(&[prefix(path)], "shop/web")
    };
    let rules =
        vec![limit("/short", 100), limit("/long", 500), limit("/safe", 100), limit("/safe-long", 500)];
    let gateway = shop.gateway(envoy, vec![("shop/r", &[], rules)]).await;
    shop.toys["web"][0].set(Mode::Freeze);
    let http = http1();
    // The default policy: 3 more tries for safe methods, one each 200 ms.
    let asked = [
        (Method::POST, "/short", 1),
        (Method::POST, "/long", 1),
        (Method::GET, "/safe", 4),
        (Method::GET, "/safe-long", 4),
    ];
    for (method, path, most) in asked {
        let url = format!("http://{}{path}", gateway.address);
        let answer = ask(&http, method.clone(), url, &[], Bytes::new()).await;
        assert_eq!(answer.status, 504, "{method} {path}: {answer:?}");
        // Without the limit it would end with the whole request, after 15 s. Envoy counts from when its loop last looked
        // at the clock, and may have given a try up before the endpoint has even read it: what is late is not counted.
        assert!(answer.took < Duration::from_secs(5), "{method} {path}: {answer:?}");
        let tries = shop.toys["web"][0].seen().iter().filter(|seen| seen.path == path).count();
        assert!(tries <= most, "{method} {path}: {tries}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_gets_no_more_requests_at_a_time_than_its_limit() {
    let test = "a_service_gets_no_more_requests_at_a_time_than_its_limit";
    for envoy in envoys(test) {
        let mut shop = Shop::open(&["web"]).await;
        shop.upstream.limits = Limits { max_parallel_requests: Some(2), ..Limits::default() };
        let gateway =
            shop.gateway(&envoy, vec![("shop/r", &[], vec![rule(&[prefix("/")], "shop/web")])]).await;
        shop.toys["web"][0].set(Mode::Late(Duration::from_secs(1)));
        let url = format!("http://{}/", gateway.address);
        let http = http1();
        let post = || ask(&http, Method::POST, url.clone(), &[], Bytes::new());
        let (a, b, c, d) = tokio::join!(post(), post(), post(), post());
        let counts = by(&[a, b, c, d]);
        assert_eq!((counts["web"], counts["503"]), (2, 2), "{counts:?}");
    }
}
