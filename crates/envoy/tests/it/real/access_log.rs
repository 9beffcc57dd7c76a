//! What gateways write down of requests.

use super::{
    gateway::{Gateway, envoys},
    load::{ask, http1},
    toy::{Mode, Toy, addresses},
};
use crate::fixtures::{World, edge, gateway, listener, plan, rule, service, zone};
use hyper::{Method, body::Bytes};
use serde_json::Value;
use std::time::Duration;
use tidegate_api::{AccessLog, GatewayRole, Listener, PathMatch, Upstream};
use tidegate_engine::{Origin, Reason, Rule, Target};
use tidegate_envoy::{edge_cluster, edge_endpoints, edge_listener, edge_routes};
use tidegate_model::{Fraction, Phase, Share};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_says_which_pool_served_and_by_which_rule_of_the_plan() {
    let test = "a_line_says_which_pool_served_and_by_which_rule_of_the_plan";
    for envoy in envoys(test) {
        for (which, statuses) in [(AccessLog::All, &[200, 503][..]), (AccessLog::Errors, &[503])] {
            let toys = Toy::several("a", 1).await;
            let world = World::default().zone("a", addresses(&toys, 1));
            let mut plan = plan(&[("zone:a", 10_000)], &[]);
            plan.reasons = vec![Reason {
                target: Target::Zone(zone("a")),
                region: crate::fixtures::region(),
                tier: Some(1),
                share: Share::ALL,
                expected: 1,
                healthy: 1,
                admit: Fraction::ONE,
                phase: Phase::Serving,
                rule: Rule::Preferred,
                origin: Origin::Default,
                budget: None,
                note: None,
            }];
            let listener = Listener { access_log: which, ..listener() };
            let edge =
                edge(vec![("shop/web", &[], vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")])]);
            let resources = vec![
                edge_listener(&gateway(), &listener),
                edge_routes(&gateway(), &edge, &listener, &|_| None, None),
                edge_cluster(&service(), &zone("a"), &Upstream::default()),
                edge_endpoints(&plan, &world.view()),
            ];
            let gateway = Gateway::start(&envoy, GatewayRole::Edge, resources).await;
            let url = format!("http://{}/a%22b", gateway.address);
            for mode in [Mode::Serve, Mode::Answer(503)] {
                toys[0].set(mode);
                ask(&http1(), Method::POST, url.clone(), &[("x-request-id", "one")], Bytes::new()).await;
            }
            let lines = async {
                loop {
                    let text = gateway.access_log();
                    let lines: Vec<Value> =
                        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
                    if lines.len() >= statuses.len() {
                        break lines;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let lines = tokio::time::timeout(Duration::from_secs(20), lines).await.expect("lines come");
            assert_eq!(
                lines.iter().map(|line| line["status"].as_u64().unwrap()).collect::<Vec<_>>(),
                statuses
            );
            for line in lines {
                let told = ["pool", "reason", "service", "method", "path", "request_id"]
                    .map(|name| line[name].as_str().unwrap());
                assert_eq!(told, ["zone a", "Preferred", "shop/web", "POST", "/a%22b", "one"]);
                assert_eq!(
                    (&line["attempts"], &line["endpoint"]),
                    (&1.into(), &toys[0].address.to_string().into())
                );
            }
        }
    }
}
