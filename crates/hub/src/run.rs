//! Setting a hub up and taking it down.

use crate::{
    access::needed,
    admin,
    authority::Keys,
    copy::{self, StateCopy},
    drills,
    hooks::{self, Counted},
    office::{KeyPlace, NewToken, Office, OfficeError, Superseded, make_token, trust_domain},
    page::{self, Page},
    server::Server,
    source::{PolicySource, Source},
    standby,
    store::{Store, StoreError},
    waves::WaveLimits,
};
use axum::middleware::from_fn;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_discovery::kube::AccessError;
use tidegate_link::{
    access::{Door, Doorkeeper, RefusedChange, local},
    hub::HeadError,
    identity::{
        AuthorityError, BundleError, Clock, Expect, IdentityError, SystemClock, TlsError, TrustDomain, accept,
    },
};
use tidegate_model::ClusterName;
use tidegate_status::{
    otlp::Collector,
    webhook::{WebhookError, Webhooks},
};
use tokio::{net::TcpListener, sync::Notify, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Streams that are open when the hub stops get so long to end.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(3);
/// And then so long to let go of the store.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);
/// The files of the authority are compared so often.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// A rollout is looked at so often.
const ROLL_EVERY: Duration = Duration::from_millis(500);
/// Writes that come together are read together.
const SETTLE: Duration = Duration::from_millis(20);

/// How a hub is set up.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Where its keys, history and audit log are.
    pub state_dir: PathBuf,
    /// Where policy comes from.
    pub policies: PolicySource,
    /// Where agents connect.
    pub listen: SocketAddr,
    /// Where people and their tools ask. Loopback only.
    pub admin: SocketAddr,
    /// Where they ask from elsewhere, by TLS and with tokens.
    pub admin_tls: Option<SocketAddr>,
    /// The name of the fleet's authority; kept in the state folder from the first start on.
    pub trust_domain: Option<TrustDomain>,
    /// A folder with an authority of one's own: `tls.crt`, `tls.key`, `ca.crt`.
    pub authority: Option<PathBuf>,
    /// How long an agent's certificate lasts; it is renewed at two thirds of it.
    pub certificate_ttl: Duration,
    /// How a new policy goes from wave to wave.
    pub waves: WaveLimits,
    /// Where a copy of the state folder is kept, from which another hub can start.
    pub copy: Option<StateCopy>,
    /// Who is told what happens.
    pub webhooks: Option<Webhooks>,
    /// The collector that traces are sent to.
    pub collector: Option<Collector>,
    /// The folder that another hub copies its state to: this one stands by until it is promoted.
    pub standby_of: Option<PathBuf>,
}

/// Why a hub cannot run, or cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({what}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The admin address could be reached from elsewhere.
    #[error(
        "the admin address {0} is not a loopback address\n  hint: it asks nobody who they are; --admin-tls does"
    )]
    Admin(SocketAddr),
    /// A file of the state folder cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The roots cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The Kubernetes API cannot be asked at all.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A name is none.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The policy in the store is of another key.
    #[error(
        "the policy in the state folder cannot be used: {0}\n  hint: was policy.key replaced? put the old one back"
    )]
    Head(#[from] HeadError),
    /// The key for policy is none.
    #[error("{0} is not a key that policy can be signed with")]
    PolicyKey(PathBuf),
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
    /// Another trust domain was asked for than the one of the state folder.
    #[error(
        "the state folder is of the trust domain {kept}, not {wanted}\n  hint: a fleet keeps its trust domain; start a new state folder and join all clusters again"
    )]
    TrustDomain {
        /// What it is.
        kept: TrustDomain,
        /// What was asked for.
        wanted: TrustDomain,
    },
    /// Webhooks cannot be used.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// Something that was asked for is not done.
    #[error(transparent)]
    Office(#[from] OfficeError),
    /// Another hub was promoted.
    #[error(transparent)]
    Superseded(#[from] Superseded),
    /// A server ended by itself.
    #[error("the {what} server failed: {why}")]
    Server {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// Runs a hub until `stop` is cancelled.
///
/// # Errors
/// If an address cannot be bound, or its state or keys cannot be used.
pub async fn run(config: HubConfig, stop: CancellationToken) -> Result<(), HubError> {
    if !config.admin.ip().is_loopback() {
        return Err(HubError::Admin(config.admin));
    }
    if let Some(folder) = config.standby_of.clone()
        && standby::run(&config, folder, &stop).await? == standby::Ended::Stopped
    {
        return Ok(());
    }
    let place = place(&config.state_dir, config.authority.clone(), config.trust_domain.as_ref())?;
    let office = Arc::new(Office::open(place, config.certificate_ttl, config.waves, Arc::new(SystemClock))?);
    // Whoever dials while the policy is read waits in the kernel's queue, instead of trying again much later.
    let listener = bind(config.listen, "agents").await?;
    let reload = Arc::new(Notify::new());
    let (source, api) = config.policies.open(&config.state_dir, &reload).await?;
    // Read once before anybody is answered: a hub that starts has no reason to hand out what was.
    let source = read(&office, source).await;
    office.begin_epoch()?;
    let left = office.record_left()?;
    if let Some(copy) = &config.copy {
        copy::write(&office, &config.state_dir, &copy.folder)?;
    }
    let admin_listener = bind(config.admin, "administration").await?;
    tracing::info!(address = %listener.local_addr().unwrap_or(config.listen), "serves agents");
    tracing::info!(address = %admin_listener.local_addr().unwrap_or(config.admin), "serves administration");

    let (held, watched) = (Arc::downgrade(&office), Arc::clone(&office));
    let tasks = TaskTracker::new();
    // Not the caller's own: drills are mended before streams end.
    let ended = CancellationToken::new();
    let _whatever_happens = ended.clone().drop_guard();
    tasks.spawn(follow(Arc::clone(&office), source, Arc::clone(&reload), ended.clone()));
    tasks.spawn(keep_keys(Arc::clone(&office), ended.clone()));
    if let Some(copy) = config.copy {
        tasks.spawn(copy::follow(Arc::clone(&office), config.state_dir, copy, ended.clone()));
    }
    tasks.spawn(roll(Arc::clone(&office), ended.clone()));
    tasks.spawn(drills::follow(Arc::clone(&office), ended.clone()));
    if let Some(left) = left {
        tasks.spawn(drills::clear(Arc::clone(&office), left, ended.clone()));
    }
    let telling = api.as_ref().map(|api| {
        let (telling, told) = api.tell(Arc::clone(&office), ended.clone());
        tasks.spawn(told);
        telling
    });
    tasks.spawn(auditor(Arc::clone(&office), ended.clone()));
    let boot = rand::random();
    let webhooks = config.webhooks.as_ref().map(|it| hooks::tell(it, &office, boot, &ended)).transpose()?;
    let spans = config.collector.as_ref().map(|it| hooks::trace(it, &office, boot, &ended));
    let counted = Counted { webhooks, spans };
    let grpc = serve_agents(listener, Arc::clone(&office), ended.clone())?;
    let page = Page::new(Arc::clone(&office));
    tasks.spawn(Arc::clone(&page).follow(ended.clone()));
    let router = admin::router(Arc::clone(&office), reload, telling, counted);
    let router =
        |without_tokens| page::mount(router.clone(), Arc::clone(&page), without_tokens, ended.clone());
    if let Some(address) = config.admin_tls {
        let listener = bind(address, "administration by TLS").await?;
        let address = listener.local_addr().unwrap_or(address);
        let door = Door::open(listener, address, keeper(&office), ended.clone())?;
        tracing::info!(%address, "serves people with tokens and certificates");
        tasks.spawn(door.serve(router(false), ended.clone()));
    }
    let http = axum::serve(admin_listener, router(true).layer(from_fn(local)))
        .with_graceful_shutdown(ended.clone().cancelled_owned());
    let mut grpc = tasks.spawn(grpc);
    let mut http = tasks.spawn(async move { http.await.map_err(|error| error.to_string()) });
    let failed = |what, result: Result<Result<(), String>, tokio::task::JoinError>| match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(HubError::Server { what, why }),
        Err(error) => Err(HubError::Server { what, why: error.to_string() }),
    };
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        superseded = watched.until_superseded() => Err(superseded.into()),
        result = &mut grpc => failed("agents'", result),
        result = &mut http => failed("administration", result),
    };
    watched.end_drills().await;
    drop(watched);
    // Whatever ended one ends the rest.
    ended.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_LIMIT, tasks.wait()).await.is_err() {
        tracing::warn!("some connections did not end in {} s and are cut", STOP_LIMIT.as_secs());
    }
    // Connections let go of the store a moment after they ended, and say nothing of it. Whoever called may open it again.
    let until = Instant::now() + RELEASE_LIMIT;
    while held.strong_count() > 0 && Instant::now() < until {
        sleep(SETTLE).await;
    }
    outcome
}

/// A token from the state folder of a hub that does not run.
///
/// # Errors
/// If the hub runs, or its state or keys cannot be used.
pub fn token_of_stopped(
    state_dir: &Path,
    authority: Option<&Path>,
    cluster: &ClusterName,
    ttl: Duration,
) -> Result<NewToken, HubError> {
    let place = place(state_dir, authority.map(PathBuf::from), None)?;
    let store = Store::open(&place.state.join("hub.redb"))?;
    let now = SystemClock.now();
    let keys = Keys::open(&place.state, place.brought.as_deref(), &place.trust_domain, now)?;
    Ok(make_token(&store, cluster, ttl, keys.authority.pin()?, now.as_secs())?)
}

fn place(state: &Path, brought: Option<PathBuf>, wanted: Option<&TrustDomain>) -> Result<KeyPlace, HubError> {
    let file = |source| HubError::File { path: state.to_owned(), source };
    std::fs::create_dir_all(state).map_err(file)?;
    let trust_domain = trust_domain(state, wanted)?;
    Ok(KeyPlace { state: state.to_owned(), brought, trust_domain })
}

/// Whose listener ended a moment ago may not have let go of the address yet.
pub(crate) async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, HubError> {
    let until = Instant::now() + RELEASE_LIMIT;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                sleep(SETTLE).await;
            }
            bound => return bound.map_err(|source| HubError::Bind { address, what, source }),
        }
    }
}

/// Who is let in from elsewhere.
fn keeper(office: &Arc<Office>) -> Doorkeeper {
    let (identity, notes, audit) = (office.identity.clone(), Arc::clone(office), Arc::clone(office));
    let office = Arc::clone(office);
    let known = Arc::new(move |kept_as: &str| office.known(kept_as));
    let limited = move |from: IpAddr| {
        notes.audit_later(
            &from.to_string(),
            "accessLimited",
            "too many wrong tokens came from it".to_owned(),
        );
    };
    let refused = move |it: &RefusedChange<'_>| {
        let why = format!("{}, from {}", it.why, it.from);
        audit.refuse_change(it.who, (it.path, it.query), why);
    };
    Doorkeeper { identity, known, needed, limited: Arc::new(limited), refused: Arc::new(refused) }
}

fn serve_agents(
    listener: TcpListener,
    office: Arc<Office>,
    stop: CancellationToken,
) -> Result<impl Future<Output = Result<(), String>>, HubError> {
    let config = office.identity.server(Expect::AnyAgent, true)?;
    let incoming = accept(listener, config, office.identity.refusals().clone(), stop.clone());
    let server = Server { office, stop: stop.clone() };
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_concurrent_streams(Some(16))
        .add_service(server.enrolment())
        .add_service(server.fleet());
    Ok(async move {
        router
            .serve_with_incoming_shutdown(incoming, stop.cancelled())
            .await
            .map_err(|error| error.to_string())
    })
}

/// Reads the policy on a thread for blocking work, and gives the source back.
async fn read(office: &Arc<Office>, mut source: Box<dyn Source>) -> Box<dyn Source> {
    let office = Arc::clone(office);
    let work = tokio::task::spawn_blocking(move || {
        match source.read() {
            Ok(found) => {
                let who = source.who(&found);
                if let Err(error) = office.take(&found, &who) {
                    tracing::error!(%error, "the policy could not be published");
                }
            }
            Err(error) => office.unreadable(error.to_string(), source.age()),
        }
        source
    });
    match work.await {
        Ok(source) => source,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn follow(
    office: Arc<Office>,
    mut source: Box<dyn Source>,
    reload: Arc<Notify>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = reload.notified() => sleep(SETTLE).await,
            () = sleep(source.interval()) => {}
        }
        source = read(&office, source).await;
    }
}

/// Follows the files of the authority, and renews the hub's own certificate in time.
async fn keep_keys(office: Arc<Office>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(KEYS_EVERY) => {}
        }
        let office = Arc::clone(&office);
        let work = tokio::task::spawn_blocking(move || {
            let due = office.identity.current().facts.renew_at() <= office.identity.now();
            match office.reload_keys() {
                Ok(false) if due => office.renew_trust(),
                other => other.map(drop),
            }
        });
        if let Ok(Err(error)) = work.await {
            tracing::error!(%error, "the keys stay as they were");
        }
    }
}

/// Looks how the rollout is, and lets it go on or halts it.
async fn roll(office: Arc<Office>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(ROLL_EVERY) => {}
        }
        let office = Arc::clone(&office);
        let step = tokio::task::spawn_blocking(move || office.step(Instant::now()));
        if let Ok(Err(error)) = step.await {
            tracing::error!(%error, "the rollout cannot go on");
        }
    }
}

/// Writes what agents report to the audit log, all that waits in one transaction.
async fn auditor(office: Arc<Office>, stop: CancellationToken) {
    let every = Duration::from_millis(200);
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = sleep(every) => false,
        };
        let office = Arc::clone(&office);
        office.count_refused(stopped);
        let began = Instant::now();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || office.write_audit()).await {
            tracing::error!(%error, took = ?began.elapsed(), "the audit log could not be written");
        }
        if stopped {
            return;
        }
    }
}
