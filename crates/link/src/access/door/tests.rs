//! The door as a browser meets it, behind its TLS.

use super::*;
use crate::{
    access::Role,
    hub::Secret,
    identity::{
        Authority, Clock as _, Credentials, Party, PrivateKey, Refusals, Serial, SystemClock, TrustBundle,
    },
};
use axum::{
    Extension,
    body::Body,
    http::header::{COOKIE, LOCATION, SET_COOKIE},
    routing::get,
};
use std::{net::Ipv4Addr, sync::mpsc, time::Duration};
use tower::ServiceExt as _;

const DAY: Duration = Duration::from_secs(86_400);

fn identity() -> Identity {
    let (trust_domain, now) = ("tidegate".parse().unwrap(), SystemClock.now());
    let (certificate, key) = Authority::create(&trust_domain, now, DAY).unwrap();
    let authority = Authority::from_pem(trust_domain.clone(), &certificate, &key, None).unwrap();
    let key = PrivateKey::generate().unwrap();
    let request = key.request().unwrap();
    let issued = authority.issue(&request, &Party::Hub, &Serial::of(&[7; 15]), now, DAY / 2).unwrap();
    let bundle = TrustBundle::new(trust_domain, [authority.root().clone()]).unwrap();
    Identity::new(
        Credentials::new(issued.chain, &key, bundle).unwrap(),
        Refusals::default(),
        Arc::new(SystemClock),
    )
}

fn needed(method: &Method, path: &str) -> Option<Needed> {
    match (method, path) {
        (_, "/healthz") => None,
        (&Method::GET, _) => Some(Needed::of(Role::Viewer)),
        _ => Some(Needed::of(Role::Operator)),
    }
}

struct House {
    router: Router,
    refusals: Refusals,
    limited: mpsc::Receiver<IpAddr>,
    /// Who, what, why.
    refused: mpsc::Receiver<(String, String, String)>,
    viewer: String,
    operator: String,
}

fn token(name: &str) -> AccessToken {
    AccessToken {
        name: name.to_owned(),
        secret: Secret::draw().unwrap(),
        pin: "ab".repeat(32).parse().unwrap(),
    }
}

impl House {
    fn new() -> Self {
        let (viewer, operator) = (token("vera"), token("olaf"));
        let grant = |it: &AccessToken, role| {
            let grant = Grant { name: it.name.clone(), role, namespaces: None, expires_at: u64::MAX };
            (it.secret.hash(), grant)
        };
        let grants = std::collections::BTreeMap::from([
            grant(&viewer, Role::Viewer),
            grant(&operator, Role::Operator),
        ]);
        let identity = identity();
        let refusals = identity.refusals().clone();
        let known: Arc<Known> = Arc::new(move |kept_as: &str| grants.get(kept_as).cloned());
        let (told, limited) = mpsc::channel();
        let tell = move |from| told.send(from).unwrap();
        let (tell_refused, refused) = mpsc::channel();
        let noted = move |it: &RefusedChange<'_>| {
            let what = format!("{}{}", it.path, it.query);
            tell_refused.send((it.who.to_owned(), what, it.why.to_string())).unwrap();
        };
        let (limit, noted) = (Arc::new(tell), Arc::new(noted));
        let keeper = Doorkeeper { identity, known, needed, limited: limit, refused: noted };
        let opened = Arc::new(Guard { keeper, tries: Mutex::default() });
        let who = async |Extension(caller): Extension<Caller>| caller.name;
        let router = Router::new()
            .route("/", get(who))
            .route("/shifts", get(who).post(who))
            .route("/api/v1/shifts", get(who).post(who))
            .layer(from_fn_with_state(opened, guard));
        Self { router, refusals, limited, refused, viewer: viewer.reveal(), operator: operator.reveal() }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.ask_from(Ipv4Addr::LOCALHOST, method, path, headers, body).await
    }

    async fn ask_from(
        &self,
        from: Ipv4Addr,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let mut request = Request::new(Body::from(body.to_owned()));
        (*request.method_mut(), *request.uri_mut()) = (method, path.parse().unwrap());
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let from = PeerInfo { address: (from, 9).into(), certificate: None };
        request.extensions_mut().insert(ConnectInfo(Whence(from)));
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn login(&self, token: &str) -> Response {
        self.ask(Method::POST, "/login", &[], &format!("token={}", token.replace('@', "%40"))).await
    }
}

fn cookie(response: &Response) -> String {
    let set = response.headers()[SET_COOKIE].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 16).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_browser_without_a_token_sees_nothing_but_the_form() {
    let house = House::new();
    for path in ["/", "/shifts", "/assets/page.css"] {
        let response = house.ask(Method::GET, path, &[], "").await;
        assert_eq!(
            (response.status(), &response.headers()[LOCATION]),
            (StatusCode::SEE_OTHER, &"/login".parse().unwrap())
        );
        assert!(text(response).await.is_empty());
    }
    let form = house.ask(Method::GET, "/login", &[], "").await;
    assert!(form.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(text(form).await.contains("<form method=\"post\" action=\"/login\">"));
    let api = house.ask(Method::GET, "/api/v1/shifts", &[], "").await;
    assert_eq!(api.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_that_is_typed_becomes_a_cookie_and_a_wrong_one_is_counted() {
    let house = House::new();
    let wrong = house.login(&token("vera").reveal()).await;
    assert_eq!((wrong.status(), wrong.headers().get(SET_COOKIE)), (StatusCode::UNAUTHORIZED, None));
    assert!(text(wrong).await.contains("No such token is known here"));
    assert_eq!(house.refusals.counts()["access_unknown"], 1);
    let entered = house.login(&house.viewer).await;
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let set = entered.headers()[SET_COOKIE].to_str().unwrap();
    for part in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = cookie(&entered);
    let page = house.ask(Method::GET, "/", &[("cookie", &cookie)], "").await;
    assert_eq!(text(page).await, "vera");
    let left = house.ask(Method::POST, "/logout", &[("cookie", &cookie)], "").await;
    assert!(left.headers()[SET_COOKIE].to_str().unwrap().contains("tidegate-session=; "));
    let elsewhere = [("sec-fetch-site", "cross-site")];
    let sent = house.ask(Method::POST, "/login", &elsewhere, &format!("token={}", house.viewer)).await;
    assert_eq!(sent.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_viewer_changes_nothing_and_a_cookie_is_none_for_changes_by_the_api() {
    let house = House::new();
    let viewer = cookie(&house.login(&house.viewer).await);
    let operator = cookie(&house.login(&house.operator).await);
    let post = async |path: &str, header: &str, value: &str| {
        house.ask(Method::POST, path, &[(header, value)], "").await.status()
    };
    assert_eq!(post("/shifts", COOKIE.as_str(), &viewer).await, StatusCode::FORBIDDEN);
    assert_eq!(post("/shifts", COOKIE.as_str(), &operator).await, StatusCode::OK);
    assert_eq!(post("/api/v1/shifts", COOKIE.as_str(), &operator).await, StatusCode::UNAUTHORIZED);
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(post("/api/v1/shifts", "authorization", &bearer(&house.operator)).await, StatusCode::OK);
    assert_eq!(post("/api/v1/shifts", "authorization", &bearer(&house.viewer)).await, StatusCode::FORBIDDEN);
    let address = format!("/?token={}", house.operator);
    assert_eq!(house.ask(Method::GET, &address, &[], "").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_refused_change_of_somebody_known_is_told_of_and_what_nobody_knows_is_not() {
    let house = House::new();
    let bearer = format!("Bearer {}", house.viewer);
    let path = "/api/v1/shifts?zone=a";
    house.ask(Method::POST, path, &[("authorization", &bearer)], "").await;
    let told = house.refused.try_recv().unwrap();
    let why = "vera is viewer, and this needs operator";
    assert_eq!(told, ("vera".to_owned(), format!("POST {path}"), why.to_owned()));
    house.ask(Method::POST, path, &[], "").await;
    house.ask(Method::POST, path, &[("authorization", "Bearer tga-nobody")], "").await;
    house.ask(Method::GET, path, &[("authorization", &bearer)], "").await;
    assert!(house.refused.try_recv().is_err());
}

#[tokio::test]
async fn whoever_shows_many_wrong_tokens_waits_and_nobody_else_does() {
    let house = House::new();
    let bearer = |token: &str| format!("Bearer {token}");
    let mine = bearer(&house.viewer);
    let first = house.ask(Method::GET, "/api/v1/shifts", &[("authorization", &mine)], "").await;
    assert_eq!(first.status(), StatusCode::OK);
    let wrong = bearer(&token("vera").reveal());
    let mut last = None;
    for _ in 0..20 {
        last = Some(house.ask(Method::GET, "/api/v1/shifts", &[("authorization", &wrong)], "").await);
    }
    let last = last.unwrap();
    assert_eq!(last.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = last.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert!(text(last).await.contains("too many wrong tokens came from this address"));
    let counts = house.refusals.counts();
    assert_eq!(counts["access_unknown"] + counts["access_limited"], 20);
    // It is told once, not each time.
    assert_eq!(house.limited.try_iter().collect::<Vec<_>>(), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    // A token that nobody saw yet waits there, even a good one; the form and pages say so.
    assert_eq!(house.login(&house.operator).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let page = house.ask(Method::GET, "/", &[("authorization", &wrong)], "").await;
    assert_eq!(page.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(text(page).await.contains("Try again in"));
    // One that was good before does not, and no address but that one.
    let again = house.ask(Method::GET, "/api/v1/shifts", &[("authorization", &mine)], "").await;
    assert_eq!(again.status(), StatusCode::OK);
    let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
    let mine = bearer(&house.operator);
    let other =
        house.ask_from(elsewhere, Method::GET, "/api/v1/shifts", &[("authorization", &mine)], "").await;
    assert_eq!(other.status(), StatusCode::OK);
}
