//! The shell: paths to pages, who may, and what is sent. It decides nothing.

use crate::{
    Source, Trouble, Visitor, answer, assets,
    cache::{Key, Part, Parts},
    guard::{self, Guard},
    live,
    pages::{self, Ask, Room},
    query::Query,
    sight::Sight,
};
use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header},
    middleware::{self, Next},
    routing::get,
};
use std::{sync::Arc, time::Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What a form may send, in bytes.
const FORM: usize = 16 * 1024;
/// The clock of this process, by which browsers count ages on.
const NOW: HeaderName = HeaderName::from_static("x-tidegate-now");
/// The version of the picture that is shown.
const VERSION: HeaderName = HeaderName::from_static("x-tidegate-version");

/// How the page is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Open pages that are told of news, at once; the others look by themselves every few seconds.
    pub streams: usize,
    /// The cookie by which the access layer knows a browser: forms are bound to it.
    pub session_cookie: String,
    /// Whether only `localhost` and addresses are taken as the host asked for. To be set where visitors need no token: otherwise a
    /// site whose name is pointed at this machine could read the page.
    pub local_hosts_only: bool,
    /// Ends all streams, so that the process can end.
    pub stop: CancellationToken,
}

impl Default for Options {
    fn default() -> Self {
        let session_cookie = "tidegate-session".to_owned();
        Self { streams: 256, session_cookie, local_hosts_only: false, stop: CancellationToken::new() }
    }
}

struct Shell {
    source: Arc<dyn Source>,
    options: Options,
    guard: Guard,
    parts: Parts,
    streams: Arc<Semaphore>,
}

/// The page, its files, its events, and the same facts as JSON below `/api/v1/page/`. To be mounted at `/`. Each request carries an
/// `axum::Extension` of [`Visitor`], or is shown nothing.
pub fn router(source: Arc<dyn Source>, options: Options) -> Router {
    let guard = Guard::new(&options.session_cookie);
    let streams = Arc::new(Semaphore::new(options.streams));
    let shell = Arc::new(Shell { source, options, guard, parts: Parts::default(), streams });
    let shown = Room::PATHS.into_iter().fold(Router::new(), |router, path| {
        let json = format!("/api/v1/page{}", if path == "/" { "/fleet" } else { path });
        router.route(path, get(show).post(act)).route(&json, get(tell))
    });
    shown
        .route("/events", get(events))
        .route("/drills/reports/{id}", get(report))
        .route("/drills/trends/{number}", get(trend))
        .route("/assets/{name}", get(asset))
        .layer(middleware::from_fn_with_state(shell.clone(), guarded))
        .with_state(shell)
}

type Shared = State<Arc<Shell>>;
type Who = Option<Extension<Visitor>>;

async fn guarded(State(shell): Shared, request: Request, next: Next) -> Response<Body> {
    let host = host(request.uri(), request.headers());
    let mut answer = if shell.options.local_hosts_only && !guard::is_local_or_address(&host) {
        let text = "Nobody needs a token here, so the page is shown by address or as localhost only.\n";
        let mut answer = Response::new(Body::from(text));
        *answer.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        answer
    } else {
        next.run(request).await
    };
    answer::guarded(answer.headers_mut());
    answer
}

/// As the browser has it in its address bar.
fn host(uri: &Uri, headers: &HeaderMap) -> String {
    let said = headers.get(header::HOST).and_then(|value| value.to_str().ok()).map(str::to_owned);
    said.or_else(|| uri.authority().map(ToString::to_string)).unwrap_or_default()
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response<Body> {
    assets::asset(&name, &headers).unwrap_or_else(|| {
        let mut answer = Response::new(Body::from("There is no such file.\n"));
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer
    })
}

async fn events(State(shell): Shared, who: Who) -> Response<Body> {
    if who.is_none() {
        return answer::nobody(true);
    }
    let Ok(place) = shell.streams.clone().try_acquire_owned() else {
        let error = "So many pages are open that this one is not told of news; it looks by itself.";
        return answer::json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "error": error }));
    };
    let mut answer = Response::new(live::events(shell.source.fleet(), shell.options.stop.clone(), place));
    let kind = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    // A proxy that gathers answers would hold news back.
    answer.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

impl Shell {
    fn ask(&self, visitor: &Visitor, query: Query) -> Ask {
        let sight = Sight::of(visitor);
        let all = self.source.fleet().borrow().clone();
        let fleet = if sight.is_whole() { all } else { Arc::new(sight.fleet(&all)) };
        Ask {
            source: self.source.clone(),
            fleet,
            sight,
            is_operator: visitor.is_operator,
            query,
            now_ms: live::now_ms(),
            seal: self.guard.placeholder.clone(),
        }
    }

    /// What was done by the form before, if it was this process that did it.
    fn done(&self, query: &Query) -> Option<String> {
        let (done, seal) = (query.text("done"), query.text("seal"));
        self.guard.is_sealed(done, seal).then(|| done.to_owned())
    }
}

/// A page, or its main part alone.
async fn show(State(shell): Shared, who: Who, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let Some(Extension(visitor)) = who else { return answer::nobody(false) };
    let query = Query::parse(uri.query().unwrap_or_default());
    let is_part = query.text("part") == "main";
    let done = shell.done(&query);
    let ask = shell.ask(&visitor, query);
    let (fleet, now_ms, version) = (ask.fleet.clone(), ask.now_ms, ask.fleet.version);
    let room = Room::of(uri.path());
    let live = room.as_ref().is_ok_and(Room::is_live);
    let key = Key {
        version,
        path: uri.path().to_owned(),
        query: ask.query.key(),
        sight: ask.sight.clone(),
        is_operator: ask.is_operator,
    };
    let render = async { pages::part(room?, &ask).await };
    let (status, part) = match shell.parts.get(key, Instant::now(), render).await {
        Ok(part) => (StatusCode::OK, part),
        Err(trouble) => {
            let (status, title) = answer::kind(&trouble);
            let main = answer::trouble(&trouble, pages::above(uri.path()));
            (status, Arc::new(Part { title: title.to_owned(), main }))
        }
    };
    let mut main = part.main.replace(&shell.guard.placeholder, &shell.guard.seal(&visitor, &headers));
    if let Some(done) = done {
        main.insert_str(0, &pages::done(&done));
    }
    let text = if is_part {
        main
    } else {
        answer::page(&part.title, main, uri.path(), &fleet, &visitor, (now_ms, live))
    };
    let mut answer = answer::html(status, text);
    answer.headers_mut().insert(NOW, now_ms.into());
    answer.headers_mut().insert(VERSION, version.into());
    answer
}

/// The same as JSON.
async fn tell(State(shell): Shared, who: Who, uri: Uri) -> Response<Body> {
    let Some(Extension(visitor)) = who else { return answer::nobody(true) };
    let path = uri.path().trim_start_matches("/api/v1/page");
    let ask = shell.ask(&visitor, Query::parse(uri.query().unwrap_or_default()));
    let told = async { pages::json(Room::of(if path == "/fleet" { "/" } else { path })?, &ask).await };
    match told.await {
        Ok(value) => answer::json(StatusCode::OK, &value),
        Err(trouble) => {
            answer::json(answer::kind(&trouble).0, &serde_json::json!({ "error": trouble.to_string() }))
        }
    }
}

/// A form that changes something.
async fn act(State(shell): Shared, who: Who, request: Request) -> Response<Body> {
    let Some(Extension(visitor)) = who else { return answer::nobody(false) };
    let (parts, body) = request.into_parts();
    let done = async {
        let body = to_bytes(body, FORM).await.map_err(|_| {
            Trouble::Refused(format!("The form is cut off, or longer than {FORM} bytes. Send it again."))
        })?;
        let form = Query::parse(&String::from_utf8_lossy(&body));
        shell.guard.admit(&visitor, &parts.headers, &host(&parts.uri, &parts.headers), form.text("seal"))?;
        let action =
            pages::action(&visitor, parts.uri.path(), &form, &shell.source.fleet().borrow().clone())?;
        shell.source.act(&visitor, action).await
    };
    match done.await {
        Ok(done) => {
            let seal = shell.guard.seal_text(&done.done);
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("done", &done.done).append_pair("seal", &seal);
            answer::to(&format!("{}?{}", done.link, query.finish()))
        }
        Err(trouble) => {
            let (status, title) = answer::kind(&trouble);
            let main = answer::trouble(&trouble, parts.uri.path());
            let fleet = shell.ask(&visitor, Query::default()).fleet;
            let page = answer::page(title, main, parts.uri.path(), &fleet, &visitor, (live::now_ms(), false));
            let mut answer = answer::html(status, page);
            // For whoever keeps a record of what was refused.
            answer.extensions_mut().insert(trouble);
            answer
        }
    }
}

/// The report of a drill, as it was written.
async fn report(State(shell): Shared, who: Who, Path(id): Path<String>) -> Response<Body> {
    let Some(Extension(visitor)) = who else { return answer::nobody(false) };
    let sight = Sight::of(&visitor);
    let report = async {
        // Who sees a part of the fleet sees the reports of their own drills.
        if !sight.is_whole()
            && !shell.source.drills().await?.past.iter().any(|it| it.id == id && sight.drill(it))
        {
            return Err(Trouble::Unknown(format!(
                "There is no report {id:?}; /drills has those that there are."
            )));
        }
        shell.source.report(&id).await
    };
    match report.await {
        Ok(text) => answer::apart("text/html; charset=utf-8", text),
        Err(trouble) => {
            let fleet = shell.ask(&visitor, Query::default()).fleet;
            let (status, title) = answer::kind(&trouble);
            let main = answer::trouble(&trouble, "/drills");
            answer::html(
                status,
                answer::page(title, main, "/drills", &fleet, &visitor, (live::now_ms(), false)),
            )
        }
    }
}

/// A picture of how a drill went over time: a file, so that its styles are its own.
async fn trend(State(shell): Shared, who: Who, Path(number): Path<usize>) -> Response<Body> {
    let Some(Extension(visitor)) = who else { return answer::nobody(false) };
    let sight = Sight::of(&visitor);
    let trends = shell.source.drills().await.map(|drills| drills.trends).unwrap_or_default();
    match trends.into_iter().nth(number).filter(|(drill, _)| sight.object(drill)) {
        Some((_, picture)) => answer::apart("image/svg+xml", picture),
        None => {
            answer::json(StatusCode::NOT_FOUND, &serde_json::json!({ "error": "There is no such trend." }))
        }
    }
}
