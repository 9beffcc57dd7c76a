//! Policy in waves: agents say how they are, and the hub goes on, stops, or goes back.

use super::fixture::{Agent, CLUSTERS, Hub, LIMIT, Stream, config, folder, hello, join, policy, token};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};
use tempfile::TempDir;
use tidegate_hub::WaveLimits;
use tidegate_link::{
    hub::proto::{self, from_agent},
    identity::PrivateKey,
};
use tokio::time::timeout;

const BAKE: Duration = Duration::from_millis(300);

async fn start(folder: &Path) -> Hub {
    let mut config = config(folder);
    config.waves = WaveLimits { bake: BAKE, ..WaveLimits::default() };
    Hub::start_as(config).await
}

/// A hub, us-east in wave 0, eu-west in wave 1, both with the first policy.
struct Fleet {
    folder: TempDir,
    hub: Hub,
    agents: [Agent; 2],
    streams: [Stream; 2],
    first: [proto::Policy; 2],
}

const NAMES: [&str; 2] = ["us-east", "eu-west"];

impl Fleet {
    async fn new() -> Self {
        let folder = folder();
        let clusters = CLUSTERS.replace("spec: {region: eu}", "spec: {region: eu, rolloutWave: 1}");
        fs::write(folder.path().join("policies/clusters.yaml"), clusters).unwrap();
        start(folder.path()).await.stop().await;
        let tokens = NAMES.map(|it| token(folder.path(), it, LIMIT));
        let hub = start(folder.path()).await;
        let (east, west) = (&tokens[0], &tokens[1]);
        let key = || PrivateKey::generate().unwrap();
        let east = join(&hub.address, east, NAMES[0], &key()).await.unwrap();
        let west = join(&hub.address, west, NAMES[1], &key()).await.unwrap();
        let agents = [east, west];
        let mut streams = [
            agents[0].sync(&hub.address, hello(NAMES[0], None)).await,
            agents[1].sync(&hub.address, hello(NAMES[1], None)).await,
        ];
        let first = [streams[0].policy().await, streams[1].policy().await];
        let fleet = Self { folder, hub, agents, streams, first };
        for at in [0, 1] {
            fleet.applied(at, &fleet.first[at], &[]).await;
            fleet.well(at, 2).await;
        }
        fleet.until("applied", |it| it["objects"].to_string().matches("\"applied\"").count() == 6).await;
        // What an agent says of its pools comes after what it has applied, on the same stream.
        fleet.until_pools().await;
        fleet
    }

    async fn applied(&self, at: usize, policy: &proto::Policy, rejected: &[&str]) {
        let rejected = rejected
            .iter()
            .map(|it| proto::Rejected { object: (*it).to_owned(), reason: "it is not right".to_owned() });
        let sequence = self.agents[at].open(policy).sequence;
        let applied = proto::Applied { sequence, rejected: rejected.collect() };
        self.streams[at].say(from_agent::What::Applied(applied)).await;
    }

    /// All of its status: one service with so many of two endpoints healthy.
    async fn well(&self, at: usize, healthy: u32) {
        let name = proto::PoolName { service: "shop/web".to_owned(), zone: "a".to_owned() };
        let pool = proto::Pool {
            name: Some(name),
            expected: 2,
            healthy,
            admit_ppm: healthy * 500_000,
            phase: "Serving".to_owned(),
            capacity: None,
        };
        let status = proto::Status { full: true, pools: vec![pool], ..Default::default() };
        self.streams[at].say(from_agent::What::Status(status)).await;
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("policies").join(name), text).unwrap();
    }

    fn get(&self, path: &str) -> Value {
        let text = self.hub.http("GET", path);
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let rollout = self.get("/api/v1/rollout");
                if is(&rollout) {
                    return rollout;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = timeout(LIMIT, found).await;
        found.unwrap_or_else(|_| panic!("not {what}: {:#}", self.get("/api/v1/rollout")["rollout"]))
    }

    async fn until_pools(&self) {
        let known = async {
            while self.get("/api/v1/clusters").as_array().unwrap().iter().any(|it| it["pools"] != 1) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, known).await.unwrap();
    }

    /// Nothing but signs of trust comes on this stream.
    async fn silent(&mut self, at: usize) {
        let more = timeout(BAKE * 5, self.streams[at].policy()).await;
        assert!(more.is_err(), "{}: {:?}", NAMES[at], self.agents[at].open(&more.unwrap()));
    }

    async fn phase(&self, phase: &str) -> String {
        let rollout = self.until(phase, |it| it["rollout"]["phase"] == phase).await;
        rollout["rollout"]["why"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_waits_for_the_one_before_and_a_regress_halts_until_a_better_policy_comes() {
    let mut fleet = Fleet::new().await;
    fleet.write("web.yaml", &policy("20s"));
    let second = fleet.streams[0].policy().await;
    fleet.silent(1).await;
    let waiting = fleet.get("/api/v1/rollout");
    assert_eq!(waiting["rollout"]["waitsFor"], serde_json::json!(["us-east"]), "{waiting}");
    fleet.applied(0, &second, &[]).await;
    let second = fleet.streams[1].policy().await;
    assert!(!second.full && second.changed.len() == 1);
    fleet.applied(1, &second, &[]).await;
    fleet.phase("done").await;

    // The next one is rejected by the first cluster: the second never hears of it.
    fleet.write("web.yaml", &policy("30s"));
    let third = fleet.streams[0].policy().await;
    fleet.applied(0, &third, &["FailoverPolicy shop/web"]).await;
    let why = fleet.phase("halted").await;
    assert_eq!(why, "us-east rejects FailoverPolicy shop/web, which it did not before: it is not right");
    fleet.silent(1).await;
    assert!(fleet.hub.http("GET", "/metrics").contains("tidegate_hub_rollout_halted 1"));
    assert!(fleet.get("/api/v1/audit").to_string().contains("policy 3: us-east rejects"));

    // Over a restart it stays so: whoever comes back to a wave that is closed is handed the policy before.
    let Fleet { folder, hub, agents, first, .. } = fleet;
    hub.stop().await;
    let hub = start(folder.path()).await;
    let mut streams = [
        agents[0].sync(&hub.address, hello(NAMES[0], third.head.clone())).await,
        agents[1].sync(&hub.address, hello(NAMES[1], None)).await,
    ];
    let kept = streams[1].policy().await;
    assert_eq!(agents[1].open(&kept).sequence, 2);
    let mut fleet = Fleet { folder, hub, agents, streams, first };
    assert_eq!(fleet.phase("halted").await, why);
    fleet.applied(0, &third, &["FailoverPolicy shop/web"]).await;
    fleet.applied(1, &kept, &[]).await;
    fleet.silent(0).await;

    // A better one goes the same way, by delta from what each holds.
    fleet.write("web.yaml", &policy("40s"));
    let fourth = fleet.streams[0].policy().await;
    assert_eq!(fourth.base_sequence, 3);
    fleet.applied(0, &fourth, &[]).await;
    let fourth = fleet.streams[1].policy().await;
    assert_eq!((fourth.base_sequence, fourth.full, fourth.changed.len()), (2, false, 1));
    fleet.applied(1, &fourth, &[]).await;
    fleet.phase("done").await;
    fleet.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_endpoints_or_whose_gateway_refuses_halts_and_an_operator_may_go_on() {
    let mut fleet = Fleet::new().await;
    fleet.write("web.yaml", &policy("20s"));
    let second = fleet.streams[0].policy().await;
    fleet.well(0, 0).await;
    fleet.applied(0, &second, &[]).await;
    // It bakes for 300 ms and a loss has to last for 5 s: what is worse now keeps the wave from ending.
    assert_eq!(
        fleet.phase("halted").await,
        "us-east got worse: shop/web has no healthy endpoint there any more"
    );
    let answer = fleet.hub.http("POST", "/api/v1/rollout/resume");
    assert!(answer.contains("the rollout of policy 2 goes on"), "{answer}");
    let second = fleet.streams[1].policy().await;
    fleet.applied(1, &second, &[]).await;
    fleet.phase("done").await;

    fleet.write("web.yaml", &policy("30s"));
    let third = fleet.streams[0].policy().await;
    let gateway = proto::Gateway {
        node: "edge-1".to_owned(),
        connected: true,
        refused: vec!["listener x: bad".to_owned()],
        ..Default::default()
    };
    let status = proto::Status { gateways: vec![gateway], ..Default::default() };
    fleet.streams[0].say(from_agent::What::Status(status)).await;
    fleet.applied(0, &third, &[]).await;
    assert_eq!(fleet.phase("halted").await, "us-east: the gateway edge-1 refuses listener x: bad");
    fleet.silent(1).await;
    fleet.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_hands_the_former_policy_to_all_and_outlasts_the_source_and_a_restart() {
    let mut fleet = Fleet::new().await;
    fleet.write("web.yaml", &policy("20s"));
    let second = fleet.streams[0].policy().await;
    fleet.applied(0, &second, &["FailoverPolicy shop/web"]).await;
    fleet.phase("halted").await;
    let history = fleet.get("/api/v1/rollout/history");
    let listed: Vec<_> =
        history.as_array().unwrap().iter().map(|it| it["sequence"].as_u64().unwrap()).collect();
    assert_eq!(listed, [2, 1]);
    for (to, words) in [("99", "no policy 99"), ("2", "says the same"), ("", "no policy ")] {
        let answer = fleet.hub.http("POST", &format!("/api/v1/rollout/rollback?to={to}"));
        assert!(answer.contains("400 Bad Request") && answer.contains(words), "{to}: {answer}");
    }
    let former = history[1]["version"].as_str().unwrap().to_owned();
    let answer = fleet.hub.http("POST", &format!("/api/v1/rollout/rollback?to={former}"));
    assert!(answer.contains("policy 1 is handed out to all clusters again, as policy 3"), "{answer}");
    let third = [fleet.streams[0].policy().await, fleet.streams[1].policy().await];
    assert_eq!(fleet.agents[0].open(&third[0]).version, former);
    assert!(third[0].changed.len() == 1 && third[0].changed[0].text.contains("10s"), "{:?}", third[0]);
    assert_eq!((third[1].changed.len(), third[1].removed.len()), (0, 0), "it never had the other one");

    // The source still says what was rolled back. Other changes go out, that one does not, also after a restart.
    let Fleet { folder, hub, agents, first, .. } = fleet;
    hub.stop().await;
    let hub = start(folder.path()).await;
    let streams = [
        agents[0].sync(&hub.address, hello(NAMES[0], third[0].head.clone())).await,
        agents[1].sync(&hub.address, hello(NAMES[1], third[1].head.clone())).await,
    ];
    let mut fleet = Fleet { folder, hub, agents, streams, first };
    fleet.silent(0).await;
    let told = fleet.get("/api/v1/rollout");
    assert_eq!(told["rollout"]["rolledBack"], serde_json::json!(["FailoverPolicy shop/web"]), "{told}");
    fleet.write("api.yaml", &policy("7s").replace("name: web", "name: api"));
    let fourth = fleet.streams[0].policy().await;
    let keys: Vec<_> = fourth.changed.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["FailoverPolicy shop/api"]);
    // An operator wants it after all.
    let answer = fleet.hub.http("POST", "/api/v1/rollout/resume");
    assert!(answer.contains("the source counts again for 1 objects"), "{answer}");
    let fifth = fleet.streams[0].policy().await;
    assert!(fifth.changed.len() == 1 && fifth.changed[0].text.contains("20s"), "{fifth:?}");
    assert_eq!(fleet.get("/api/v1/rollout")["rollout"]["rolledBack"], serde_json::json!([]));
    fleet.hub.stop().await;
}
