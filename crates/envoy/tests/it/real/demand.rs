//! What a gateway reports is how many requests came in: each once, whatever became of its tries.

use super::{
    faults::edge,
    gateway::{Gateway, envoy},
    load::{Answer, Http, ask, by, http1, http2},
    toy::{Mode, Toy, addresses},
};
use crate::fixtures::{World, plan, service};
use hyper::{Method, body::Bytes};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_api::{GatewayRole, ServicePolicy};
use tidegate_envoy::{SHED_CATEGORY, demand_counter};
use tidegate_xds::{LoadAsked, LoadOf, LoadReport, XdsEvent};
use tokio::time::{Instant, timeout};

/// Long: it only matters when a test fails.
const WAIT: Duration = Duration::from_secs(20);

/// A gateway, how much was asked of it, and what it said of that.
struct Asked {
    gateway: Gateway,
    url: String,
    asked: i128,
    counters: BTreeMap<String, u64>,
    shed: u64,
    tries: u64,
}

impl Asked {
    fn take(&mut self, event: XdsEvent) -> bool {
        match event {
            XdsEvent::Counters(report) => {
                self.counters.extend(report.counters);
                return true;
            }
            XdsEvent::Load(report) => self.load(&report),
            _ => {}
        }
        false
    }

    fn load(&mut self, report: &LoadReport) {
        for cluster in report.clusters.iter().filter(|it| it.cluster == service().to_string()) {
            self.shed += cluster.shed.get(SHED_CATEGORY).copied().unwrap_or(0);
            self.tries += cluster.localities.iter().map(|it| it.counts.issued).sum::<u64>();
        }
    }

    fn reported(&self) -> i128 {
        let of_service = self.counters.iter().filter_map(|(name, value)| demand_counter(name, *value));
        of_service.map(|(_, adds)| adds).sum::<i128>() + i128::from(self.shed)
    }

    /// Until what is reported is what was asked, and still is after another report.
    async fn is_told(&mut self, of: &str) {
        let mut right = 0;
        let told = timeout(WAIT, async {
            while right < 2 {
                let event = self.gateway.ads.reports.recv().await.unwrap();
                if self.take(event) {
                    right = if self.reported() == self.asked { right + 1 } else { 0 };
                }
            }
        });
        if told.await.is_err() {
            panic!("{of}: {} asked, {} told: {:#?}", self.asked, self.reported(), self.counters);
        }
        eprintln!("{of}: {} requests, {} tries, {} shed", self.asked, self.tries, self.shed);
    }

    async fn ask(&mut self, http: &Http, method: &Method, count: usize) -> Vec<Answer> {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(ask(http, method.clone(), self.url.clone(), &[], Bytes::new()).await);
        }
        self.asked += count as i128;
        answers
    }

    /// The same at once.
    async fn ask_together(&mut self, count: usize) -> Vec<Answer> {
        let http = http1();
        let requests = (0..count).map(|_| {
            let (http, url) = (http.clone(), self.url.clone());
            tokio::spawn(async move { ask(&http, Method::GET, url, &[], Bytes::new()).await })
        });
        let mut answers = Vec::new();
        for request in requests.collect::<Vec<_>>() {
            answers.push(request.await.unwrap());
        }
        self.asked += count as i128;
        answers
    }

    async fn update(&mut self, resources: Vec<tidegate_envoy::Resource>) {
        self.gateway.update(resources).await;
        self.asked += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_is_told_once_however_often_it_was_tried() {
    let Some(envoy) = envoy("each_request_is_told_once_however_often_it_was_tried") else { return };
    let (a, b) = (Toy::several("a", 2).await, Toy::several("b", 2).await);
    let world = || World::default().zone("a", addresses(&a, 2)).zone("b", addresses(&b, 2));
    let policy = ServicePolicy::default();
    let limit = Some(Duration::from_secs(1));
    let both = plan(&[("zone:a", 5_000), ("zone:b", 5_000)], &[]);
    let gateway = Gateway::start(&envoy, GatewayRole::Edge, edge(&both, &world(), &policy, limit)).await;
    let url = format!("http://{}/", gateway.address);
    let mut asked = Asked { gateway, url, asked: 0, counters: BTreeMap::new(), shed: 0, tries: 0 };
    let set = |toys: &[Toy], mode| toys.iter().for_each(|toy| toy.set(mode));

    asked.ask(&http1(), &Method::GET, 20).await;
    asked.ask(&http2(), &Method::GET, 20).await;
    asked.is_told("both protocols").await;
    let answers = asked.ask_together(40).await;
    assert_eq!(by(&answers).values().sum::<usize>(), 40);
    asked.is_told("at once").await;

    set(&a, Mode::Freeze);
    asked.ask_together(20).await;
    asked.is_told("half of them frozen: hedges").await;
    set(&b, Mode::Freeze);
    let answers = asked.ask_together(20).await;
    assert_eq!(by(&answers), BTreeMap::from([("504".to_owned(), 20)]));
    asked.is_told("all frozen: hedges, and the request's timeout").await;

    set(&a, Mode::Answer(503));
    set(&b, Mode::Serve);
    asked.ask(&http1(), &Method::GET, 20).await;
    asked.is_told("half of them answer 503: retries").await;
    set(&b, Mode::Answer(503));
    let before = asked.tries;
    asked.ask(&http1(), &Method::GET, 20).await;
    asked.ask(&http1(), &Method::POST, 20).await;
    asked.is_told("all answer 503: every retry there is").await;
    assert!(
        asked.tries - before >= 60,
        "a load report counts tries: {} of 40 requests",
        asked.tries - before
    );

    set(&a, Mode::Late(Duration::from_secs(5)));
    set(&b, Mode::Late(Duration::from_secs(5)));
    for _ in 0..10 {
        let (http, url) = (http1(), asked.url.clone());
        let seen = || a.iter().chain(&b).map(|toy| toy.seen().len()).sum::<usize>();
        let before = seen();
        let arrived = async {
            while seen() == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // It gives up once it has arrived, which is before it is answered.
        tokio::select! {
            answer = ask(&http, Method::POST, url, &[], Bytes::new()) => panic!("{answer:?}"),
            () = arrived => {}
        }
        asked.asked += 1;
    }
    asked.is_told("clients that gave up").await;

    a.iter().for_each(Toy::kill);
    set(&b, Mode::Serve);
    asked.ask(&http1(), &Method::GET, 20).await;
    asked.is_told("half of them refuse").await;
    let half = plan(&[("zone:b", 5_000)], &[]);
    asked.update(edge(&half, &world(), &policy, limit)).await;
    let answers = asked.ask_together(200).await;
    asked.is_told("half shed").await;
    let shed = answers.iter().filter(|answer| answer.status == 503).count() as u64;
    assert!((50..=150).contains(&shed), "{shed} of 200");
    assert!((shed..=shed + 1).contains(&asked.shed), "and one may be of the update");

    asked.update(edge(&half, &World::default(), &policy, limit)).await;
    asked.ask(&http1(), &Method::GET, 20).await;
    asked.is_told("no endpoint at all").await;
}

/// A place in doubt is declared out after a second unless requests are seen to succeed there. In a large fleet gateways are
/// not asked for what is there before it is in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_asked_for_anew_is_reported_within_the_second_in_which_it_may_be_spared() {
    let Some(envoy) =
        envoy("a_service_that_is_asked_for_anew_is_reported_within_the_second_in_which_it_may_be_spared")
    else {
        return;
    };
    let toys = Toy::several("a", 1).await;
    let world = World::default().zone("a", addresses(&toys, 1));
    let resources = edge(&plan(&[("zone:a", 10_000)], &[]), &world, &ServicePolicy::default(), None);
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, resources).await;
    let url = format!("http://{}/", gateway.address);
    let load = |names: BTreeSet<String>, ms| LoadAsked {
        interval: Duration::from_millis(ms),
        per_endpoint: false,
        clusters: LoadOf::Named(Arc::new(names)),
    };
    gateway.ads.xds.ask_load(load(BTreeSet::new(), 100));
    let asking = tokio::spawn(async move {
        let http = http1();
        loop {
            ask(&http, Method::GET, url.clone(), &[], Bytes::new()).await;
        }
    });
    let quiet = async {
        loop {
            let Some(XdsEvent::Load(report)) = gateway.ads.reports.recv().await else { continue };
            if report.clusters.is_empty() {
                break;
            }
        }
    };
    timeout(WAIT, quiet).await.expect("reports come, and what is not named is not in them");

    let asked = Instant::now();
    // Another name, of nothing that the Envoy has, is passed over.
    let names = BTreeSet::from([service().to_string(), "shop/nowhere".to_owned()]);
    gateway.ads.xds.ask_load(load(names, 400));
    let told = async {
        loop {
            let Some(XdsEvent::Load(report)) = gateway.ads.reports.recv().await else { continue };
            let of_service = report.clusters.iter().filter(|it| it.cluster == service().to_string());
            if of_service.flat_map(|it| &it.localities).any(|it| it.counts.success > 0) {
                break;
            }
        }
    };
    timeout(WAIT, told).await.expect("it is told");
    assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
    asking.abort();
}
