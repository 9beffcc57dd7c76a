//! A hub and its agents as processes: from empty folders to an applied policy, and what happens when the hub is away.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use support::{
    command::{Running, run},
    hub::{ANY, Agent, Hub, Place, agent_command, bound},
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
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
";

fn policy(name: &str, field: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: {name}}}]\n  failback: {{{field}}}\n"
    )
}

#[test]
fn a_fleet_comes_up_from_empty_folders_and_lives_without_its_hub() {
    let place = Place::new();
    let manifests = place.at("us-east-manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("service.yaml"), SERVICE).unwrap();
    // A local policy of the same name: the hub's is in force, and the local one is told.
    fs::write(manifests.join("policy.yaml"), policy("web", "holdDown: 99s")).unwrap();
    place.write("clusters.yaml", CLUSTERS);
    place.write("web.yaml", &policy("web", "holdDown: 11s"));
    let mut hub = Hub::start(&place, "127.0.0.1:0", &[]);
    let east = Agent::join(&place, &hub, "us-east", Some(&manifests));
    let west = Agent::join(&place, &hub, "eu-west", None);
    for cluster in ["us-east", "eu-west"] {
        hub.until("FailoverPolicy shop/web", cluster, "applied");
    }
    east.until_rule("failback.holdDown 11s, by FailoverPolicy shop/web at (hub) web.yaml:");
    let problems = east.decisions()[2].to_string();
    assert!(problems.contains("the object is already in (hub) web.yaml:1"), "{problems}");
    let listed = hub.ask(&["cluster", "list"]).stdout;
    assert!(listed.contains("us-east") && listed.contains("connected, heard"), "{listed}");
    let table = hub.ask(&["rollout", "status"]).stdout;
    assert!(table.contains("FailoverPolicy shop/web") && table.contains("applied"), "{table}");

    // A bad object stays as it was; another one in the same change goes out.
    place.write("web.yaml", &policy("web", "holdDwon: 22s"));
    place.write("api.yaml", &policy("api", "holdDown: 5s"));
    let rollout = hub.until("FailoverPolicy shop/api", "us-east", "applied");
    let told = rollout["problems"].to_string();
    assert!(told.contains("web.yaml:6:14: FailoverPolicy shop/web: ") && told.contains("holdDwon"), "{told}");
    east.until_rule("failback.holdDown 11s");

    // The hub dies: nothing moves, and an agent that starts without it has its policy.
    let before = (east.decisions(), west.decisions());
    hub.running.signal(rustix::process::Signal::KILL);
    hub.running.ended();
    let mut east = east;
    east.running
        .until_said("that the hub is away", |text| text.contains("the hub is not followed").then_some(()));
    assert_eq!((east.decisions(), west.decisions()), before);
    drop(west);
    let address = hub.listen.to_string();
    let west = Agent::start(agent_command(&place.at("eu-west"), None, ANY).args(["--hub", &address]));
    assert!(west.running.said().contains("the last good policy is on disk"), "{}", west.running.said());

    // It comes back with news: they are told by delta.
    place.write("web.yaml", &policy("web", "holdDown: 33s"));
    let mut hub = Hub::start(&place, &address, &[]);
    hub.until("FailoverPolicy shop/web", "us-east", "applied");
    hub.until("FailoverPolicy shop/web", "eu-west", "applied");
    east.until_rule("failback.holdDown 33s");
    let held =
        |text: &str| (text.matches("an agent is connected cluster=").count() >= 2).then(|| text.to_owned());
    let said = hub.running.until_said("both agents", held);
    assert!(!said.contains("held=0"), "each held a policy that the hub knew: {said}");
    for (said, which) in [(said, "hub"), (east.running.said(), "us-east"), (west.running.said(), "eu-west")] {
        assert!(!said.contains("PRIVATE KEY") && !said.contains("tidegate-join."), "{which}: {said}");
    }
}

#[test]
fn a_token_that_does_not_fit_is_told_and_ends_the_agent() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    let hub = Hub::start(&place, "127.0.0.1:0", &[]);
    let (token, address) = (hub.token("us-east"), hub.listen.to_string());
    let refused = |arguments: &[&str], state: &str| {
        let mut command = agent_command(&place.at(state), None, ANY);
        let mut running = Running::start(command.args(["--hub", &address]).args(arguments));
        assert_eq!(running.ended().code(), Some(1));
        running.said()
    };
    let said = refused(&["--join", &token, "--cluster", "eu-west"], "a");
    assert!(said.contains("--cluster says eu-west, but the token is for us-east"), "{said}");
    let said = refused(&[], "b");
    assert!(
        said.contains("has not joined the hub's fleet")
            && said.contains("hint: on the hub: tidegate cluster join-token"),
        "{said}"
    );
    let renamed = token.replace("us-east", "eu-west");
    let said = refused(&["--join", &renamed], "c");
    assert!(said.contains("the token was made for another cluster"), "{said}");
    drop(Agent::start(agent_command(&place.at("d"), None, ANY).args(["--hub", &address, "--join", &token])));
    let said = refused(&["--join", &token], "e");
    assert!(said.contains("redeemed before, by another key"), "{said}");
    // Whoever redeemed it starts again with it, as a unit file would.
    drop(Agent::start(agent_command(&place.at("d"), None, ANY).args(["--hub", &address, "--join", &token])));
    let ran = run(["agent", "--state-dir", "x", "--join", "tidegate-join.secret"]);
    assert!(ran.stderr.contains("not a join token"), "{ran:?}");
    let ran = hub.ask(&["cluster", "join-token", "us-east", "--ttl", "1000h"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("a token lasts 1 s to 168 h"), "{ran:?}");
    for secret in ["hub/ca/tls.key", "hub/policy.key", "d/hub/identity.json"] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(place.at(secret)).unwrap().permissions().mode() & 0o777, 0o600, "{secret}");
    }
    // Made without the hub, from its state folder.
    let folder = place.at("hub");
    let offline = ["cluster", "join-token", "eu-west", "--state-dir", folder.to_str().unwrap()];
    let ran = run(offline);
    assert!(ran.code == Some(1) && ran.stderr.contains("in use by a running hub"), "{ran:?}");
    drop(hub);
    let ran = run(offline);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let hub = Hub::start(&place, &address, &[]);
    let token = ran.stdout.trim();
    drop(Agent::start(agent_command(&place.at("f"), None, ANY).args(["--hub", &address, "--join", token])));
    drop(hub);
}

#[test]
fn an_older_hub_is_not_followed_and_a_revoked_cluster_is_cut_off() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    let manifests = place.at("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("service.yaml"), SERVICE).unwrap();
    let hub = Hub::start(&place, "127.0.0.1:0", &[]);
    let address = hub.listen.to_string();
    let mut east = Agent::join(&place, &hub, "us-east", Some(&manifests));
    hub.until("FleetCluster us-east", "us-east", "applied");
    drop(hub);
    let older = fs::read(place.at("hub/hub.redb")).unwrap();
    place.write("web.yaml", &policy("web", "holdDown: 11s"));
    let hub = Hub::start(&place, &address, &[]);
    hub.until("FailoverPolicy shop/web", "us-east", "applied");
    drop(hub);

    // The backup is restored, and the policy folder is as it was then.
    fs::write(place.at("hub/hub.redb"), older).unwrap();
    fs::remove_file(place.at("policies/web.yaml")).unwrap();
    let hub = Hub::start(&place, &address, &[]);
    east.running
        .until_said("that the hub is older", |text| text.contains("is older than policy 2").then_some(()));
    let listed = wait_until("the hub to say so", || {
        Some(hub.ask(&["cluster", "list"]).stdout).filter(|it| it.contains("which this hub does not know"))
    });
    assert!(listed.contains("tidegate rollout resume"), "{listed}");
    assert!(east.rule().unwrap().contains("11s"), "it keeps what it has");
    let ran = hub.ask(&["rollout", "resume"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    east.until_rule("failback.holdDown 30s");

    let ran = hub.ask(&["cluster", "revoke", "us-east"]);
    assert!(ran.stdout.contains("2 certificates of us-east are revoked"), "{ran:?}");
    east.running
        .until_said("that it is out", |text| text.contains("the certificate was revoked").then_some(()));
    wait_until("the list to say so", || {
        hub.ask(&["cluster", "list"]).stdout.contains("revoked").then_some(())
    });
    place.write("web.yaml", &policy("web", "holdDown: 44s"));
    wait_until("the new policy", || (hub.json(&["rollout", "status"])["sequence"] == 4).then_some(()));
    assert!(east.rule().unwrap().contains("30s"), "it is told nothing any more");
    drop(east);
    // Back by another token, over the old state.
    let token = hub.token("us-east");
    let mut command = agent_command(&place.at("us-east"), Some(&manifests), ANY);
    let east = Agent::start(command.args(["--hub", &address, "--join", &token]));
    east.until_rule("failback.holdDown 44s");
}

#[test]
fn policy_goes_from_wave_to_wave_and_back() {
    let place = Place::new();
    place.write("clusters.yaml", &CLUSTERS.replace("{region: eu}", "{region: eu, rolloutWave: 1}"));
    let manifests = place.at("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("service.yaml"), SERVICE).unwrap();
    place.write("web.yaml", &policy("web", "holdDown: 11s"));
    let hub = Hub::start(&place, "127.0.0.1:0", &["--wave-bake", "3s"]);
    let east = Agent::join(&place, &hub, "us-east", Some(&manifests));
    let west = Agent::join(&place, &hub, "eu-west", Some(&manifests));
    east.until_rule("failback.holdDown 11s");
    west.until_rule("failback.holdDown 11s");
    place.write("web.yaml", &policy("web", "holdDown: 22s"));
    east.until_rule("failback.holdDown 22s");
    let table = hub.ask(&["rollout", "status"]).stdout;
    assert!(table.contains("wave 1 keeps policy 1: eu-west"), "{table}");
    assert!(west.rule().unwrap().contains("11s"));
    west.until_rule("failback.holdDown 22s");
    wait_until("its end", || (hub.json(&["rollout", "status"])["rollout"]["phase"] == "done").then_some(()));

    // While the next one is on its way, an operator goes back further than to the one before.
    place.write("web.yaml", &policy("web", "holdDown: 33s"));
    east.until_rule("failback.holdDown 33s");
    let history = hub.ask(&["rollout", "history"]).stdout;
    assert!(history.contains("SEQUENCE"), "{history}");
    let ran = hub.ask(&["rollout", "rollback", "--to", "1"]);
    assert!(ran.stdout.contains("policy 1 is handed out to all clusters again, as policy 4"), "{ran:?}");
    east.until_rule("failback.holdDown 11s");
    west.until_rule("failback.holdDown 11s");
    let table = hub.ask(&["rollout", "status"]).stdout;
    assert!(table.contains("rolled back, against the source: FailoverPolicy shop/web"), "{table}");
    let ran = hub.ask(&["rollout", "rollback", "--to", "999"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("tidegate rollout history"), "{ran:?}");
    let ran = hub.ask(&["rollout", "resume"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    east.until_rule("failback.holdDown 33s");
}

#[test]
fn certificates_are_renewed_on_a_living_stream() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    let mut hub = Hub::start(&place, "127.0.0.1:0", &["--certificate-ttl", "6s"]);
    let mut east = Agent::join(&place, &hub, "us-east", None);
    east.running
        .until_said("the renewal", |text| text.contains("the certificates are renewed").then_some(()));
    hub.running.until_said("the renewal", |text| text.contains("what=\"renewed\"").then_some(()));
    place.write("web.yaml", &policy("web", "holdDown: 11s"));
    hub.until("FailoverPolicy shop/web", "us-east", "applied");
    assert_eq!(hub.running.said().matches("an agent is connected").count(), 1, "{}", hub.running.said());
}

#[test]
fn a_cluster_that_joined_before_gateways_had_certificates_is_given_one_at_its_next_start() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    let hub = Hub::start(&place, "127.0.0.1:0", &[]);
    drop(Agent::join(&place, &hub, "us-east", None));
    let path = place.at("us-east/hub/identity.json");
    let read = || serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap();
    let mut older = read();
    older.as_object_mut().unwrap().remove("gateway").unwrap();
    fs::write(&path, older.to_string()).unwrap();
    let mut command = agent_command(&place.at("us-east"), None, ANY);
    let east = Agent::start(command.args(["--hub", &hub.listen.to_string()]));
    let said = east.running.said();
    assert!(said.contains("waiting for the hub to give the gateways a certificate"), "{said}");
    let newer = read();
    assert!(newer["gateway"]["chain"].is_array() && newer["key"] != older["key"], "both are new");
}

#[test]
fn another_hub_takes_over_from_a_copy_that_is_older_than_what_agents_hold() {
    let place = Place::new();
    let repository = place.at("repository");
    fs::create_dir(&repository).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(arguments);
        let ran = command.current_dir(&repository).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    let commit = |hold_down: &str| {
        fs::write(repository.join("web.yaml"), policy("web", hold_down)).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "--quiet", "-m", hold_down]);
    };
    let manifests = place.at("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("service.yaml"), SERVICE).unwrap();
    git(&["init", "--quiet", "-b", "main"]);
    fs::write(repository.join("clusters.yaml"), CLUSTERS).unwrap();
    commit("holdDown: 11s");
    // The address of the other hub, which nobody serves yet.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (url, copy) = (repository.to_str().unwrap(), place.at("copy"));
    let start = |state: &str, listen: &str, more: &[&str]| {
        let source = ["--git", url, "--git-interval", "1s"];
        Hub::start_from(&source, &place.at(state), listen, more)
    };
    // The copy is made at the start, and not again within this test.
    let copying = ["--copy-to", copy.to_str().unwrap(), "--copy-every", "1h"];
    let mut first = start("hub", "127.0.0.1:0", &copying);
    let address = first.listen.to_string();
    let join = |cluster: &str| {
        let mut command = agent_command(&place.at(cluster), Some(&manifests), ANY);
        command.args(["--hub", &address, "--hub", &other, "--join", &first.token(cluster)]);
        Agent::start(&mut command)
    };
    let (mut east, west) = (join("us-east"), join("eu-west"));
    for hold_down in ["22s", "33s"] {
        commit(&format!("holdDown: {hold_down}"));
        for agent in [&east, &west] {
            agent.until_rule(&format!("failback.holdDown {hold_down}"));
        }
    }
    assert_eq!(first.json(&["rollout", "status"])["sequence"], 3);
    first.running.signal(rustix::process::Signal::KILL);
    first.running.ended();

    // The other one knows of neither cluster and of no policy after the first: it has them from Git and from the agents.
    let mut second = start("copy", &other, &[]);
    let at_other = format!("connected to the hub hub=\"{other}\"");
    east.running.until_said("the other hub", |text| text.contains(&at_other).then_some(()));
    second
        .running
        .until_said("what it adopts", |text| text.contains("an agent holds this policy").then_some(()));
    for cluster in ["us-east", "eu-west"] {
        second.until("FailoverPolicy shop/web", cluster, "applied");
    }
    assert_eq!(second.json(&["rollout", "status"])["sequence"], 3);
    let listed = second.json(&["cluster", "list"]);
    let all = listed.as_array().unwrap();
    assert!(all.iter().all(|it| it["connected"] == true && it["certificateEnds"].is_u64()), "{listed}");
    // And it goes on.
    commit("holdDown: 44s");
    for agent in [&east, &west] {
        agent.until_rule("failback.holdDown 44s");
    }
}

#[test]
fn the_hub_knows_where_a_cluster_sends_what_it_does_not_serve_where_it_enters() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    // Nobody answers at these addresses.
    let unchecked = policy("web", "holdDown: 11s")
        .replace("failback: {", "healthCheck: {active: {type: None}}\n  failback: {");
    place.write("web.yaml", &unchecked);
    let manifests = place.at("manifests");
    fs::create_dir(&manifests).unwrap();
    // One zone has nobody, so the other serves for both.
    let service = |ready| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: 9}}]\nendpoints:\n\
             - {{addresses: [127.0.77.1], zone: a, conditions: {{ready: {ready}}}}}\n\
             - {{addresses: [127.0.77.2], zone: b, conditions: {{ready: true}}}}\n"
        )
    };
    fs::write(manifests.join("web.yaml"), service("true")).unwrap();
    let mut hub = Hub::start(&place, ANY, &["--admin-tls", ANY]);
    let door = hub.running.until_said("its door", bound("serves people")).to_string();
    let agent = Agent::join(&place, &hub, "us-east", Some(&manifests));
    let show = || hub.json(&["cluster", "show", "us-east"]);
    wait_until("its pools", || (show()["cluster"]["pools"] == 2).then_some(()));
    assert_eq!(show()["plans"], serde_json::json!([]), "what is ordinary is not told");

    fs::write(manifests.join("web.yaml"), service("false")).unwrap();
    let plan = wait_until("the plan", || show()["plans"].as_array()?.first().cloned());
    assert_eq!((&plan["service"], &plan["zone"]), (&"shop/web".into(), &"a".into()));
    assert_eq!(plan["shares"], serde_json::json!([{"target": "zone b", "permille": 1000}]));
    assert!(plan["why"].as_str().unwrap().contains("zone a"), "{plan}");
    let decided = |seen: &serde_json::Value| -> Vec<u64> {
        seen["decisions"].as_array().unwrap().iter().map(|it| it["seq"].as_u64().unwrap()).collect()
    };
    let before = wait_until("the decision", || {
        let seen = show();
        let moved = seen["decisions"].as_array()?.iter().any(|it| it["kind"] == "planChanged");
        moved.then(|| decided(&seen))
    });
    let table = hub.ask(&["cluster", "show", "us-east"]).stdout;
    assert!(table.contains("connected, heard") && table.contains("100.0% zone b"), "{table}");

    // Whoever is limited to another namespace sees none of it.
    let ran = hub.ask(&["access", "grant", "pia", "--role", "viewer", "--namespace", "pay"]);
    fs::write(place.at("pia"), ran.stdout).unwrap();
    let token = place.at("pia");
    let asked = [
        "cluster",
        "show",
        "us-east",
        "-o",
        "json",
        "--admin",
        &door,
        "--token-file",
        token.to_str().unwrap(),
    ];
    let seen: serde_json::Value = serde_json::from_str(&run(asked).stdout).unwrap();
    assert_eq!((&seen["plans"], &seen["decisions"]), (&serde_json::json!([]), &serde_json::json!([])));

    // A hub that starts knows it again from the agent, each decision once; what the agent said last stays when it is gone.
    let (listen, admin) = (hub.listen.to_string(), hub.admin);
    hub.running.signal(rustix::process::Signal::KILL);
    hub.running.ended();
    drop(hub);
    let hub = Hub::start(&place, &listen, &[]);
    assert_ne!(hub.admin, admin);
    let show = || hub.json(&["cluster", "show", "us-east"]);
    wait_until("the plan again", || show()["plans"].as_array()?.first().cloned());
    let after =
        wait_until("the decisions again", || Some(decided(&show())).filter(|it| it.len() >= before.len()));
    assert!(
        after.windows(2).all(|pair| pair[0] < pair[1]) && after.starts_with(&before),
        "{before:?} {after:?}"
    );
    drop(agent);
    wait_until("its end", || (show()["cluster"]["connected"] == false).then_some(()));
    assert_eq!(show()["plans"].as_array().unwrap().len(), 1);
    let ran = hub.ask(&["cluster", "show", "nowhere"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("no cluster nowhere is known"), "{ran:?}");
}

#[test]
fn from_elsewhere_the_hub_answers_to_tokens_by_their_role_and_namespace_only() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    place.write("web.yaml", &policy("web", "holdDown: 11s"));
    place.write("pay.yaml", &policy("web", "holdDown: 12s").replace("namespace: shop", "namespace: pay"));
    let mut hub = Hub::start(&place, "127.0.0.1:0", &["--admin-tls", "127.0.0.1:0"]);
    let door = hub.running.until_said("its door", bound("serves people with tokens")).to_string();
    let token = |name: &str, more: &[&str]| {
        let ran = hub.ask(&[&["access", "grant", name, "--role"], more].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let path = place.at(name);
        fs::write(&path, &ran.stdout).unwrap();
        (path, ran.stdout.trim().to_owned())
    };
    let (viewer, _) = token("victor", &["viewer"]);
    let (operator, _) = token("olga", &["operator", "--namespace", "shop"]);
    let (admin, secret) = token("ada", &["admin", "--ttl", "1h"]);
    let ask = |token: &std::path::Path, arguments: &[&str]| {
        let more = ["--admin", &door, "--token-file", token.to_str().unwrap()];
        run([arguments, &more].concat())
    };
    let refused = |token: &std::path::Path, arguments: &[&str], words: &str| {
        let ran = ask(token, arguments);
        assert!(ran.code == Some(1) && ran.stderr.contains(words), "{arguments:?}: {ran:?}");
    };
    let table = ask(&viewer, &["rollout", "status"]).stdout;
    assert!(table.contains("shop/web") && table.contains("pay/web"), "{table}");
    let table = ask(&operator, &["rollout", "status"]).stdout;
    assert!(table.contains("shop/web") && !table.contains("pay/"), "{table}");
    refused(&viewer, &["rollout", "rollback"], "victor is viewer, and this needs operator");
    refused(&operator, &["rollout", "rollback"], "olga is limited to namespaces");
    refused(&operator, &["cluster", "join-token", "us-east"], "this needs admin");
    refused(&viewer, &["access", "list"], "this needs admin");
    let ran = ask(&admin, &["cluster", "join-token", "us-east"]);
    assert!(ran.stdout.starts_with("tidegate-join.us-east."), "{ran:?}");
    let listed = ask(&admin, &["access", "list"]).stdout;
    assert!(
        listed.contains("olga") && listed.contains("shop") && !listed.contains("tidegate-access"),
        "{listed}"
    );
    let twice = hub.ask(&["access", "grant", "ada", "--role", "admin"]);
    assert!(twice.stderr.contains("ada has a token or certificate already"), "{twice:?}");

    // Revoked, forged, of another authority, without TLS, or none at all.
    assert_eq!(ask(&admin, &["access", "revoke", "victor"]).code, Some(0));
    refused(&viewer, &["rollout", "status"], "no such token is known here");
    let forged = place.at("forged");
    let (rest, pin) = secret.rsplit_once('.').unwrap();
    let (rest, own) = rest.rsplit_once('.').unwrap();
    fs::write(&forged, format!("{rest}.{}.{pin}", "00".repeat(32))).unwrap();
    refused(&forged, &["rollout", "status"], "no such token is known here");
    fs::write(&forged, format!("{rest}.{own}.{}", "00".repeat(32))).unwrap();
    refused(&forged, &["rollout", "status"], "cannot be asked by TLS");
    fs::write(&forged, "nothing").unwrap();
    refused(&forged, &["rollout", "status"], "not a token for the hub");
    let ran = run(["rollout", "status", "--admin", &door]);
    assert_eq!(ran.code, Some(1), "{ran:?}");

    // Whoever goes on with forged ones waits, and nobody else does.
    fs::write(&forged, format!("{rest}.{}.{pin}", "00".repeat(32))).unwrap();
    let mut last = String::new();
    for _ in 0..20 {
        last = ask(&forged, &["rollout", "status"]).stderr;
    }
    assert!(last.contains("too many wrong tokens came from this address; try again in"), "{last}");
    assert_eq!(ask(&admin, &["access", "list"]).code, Some(0));
    wait_until("the audit log to say so", || {
        hub.audit().contains(r#""who":"127.0.0.1","what":"accessLimited""#).then_some(())
    });
    let page = |query: &str| -> Vec<u64> {
        let text = hub.audit_of(query);
        let records: serde_json::Value =
            serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        records.as_array().unwrap().iter().map(|it| it["number"].as_u64().unwrap()).collect()
    };
    let (all, newest) = (page(""), page("?limit=2"));
    assert_eq!(newest, all[..2]);
    assert_eq!(page(&format!("?limit=3&before={}", newest[1])), all[2..5]);
    assert!(page("?before=1").is_empty() && all.len() <= 100);

    // The audit says who; what is kept is no secret.
    let audit = hub.audit();
    assert!(
        audit.contains(r#""who":"ada","what":"tokenMade""#)
            && audit.contains(r#""who":"ada","what":"grantRevoked""#),
        "{audit}"
    );
    let said = hub.running.said();
    assert!(said.contains("olga is limited to namespaces") && !said.contains(own), "{said}");
    drop(hub);
    let kept = fs::read(place.at("hub/hub.redb")).unwrap();
    assert!(!kept.windows(own.len()).any(|it| it == own.as_bytes()));
}
