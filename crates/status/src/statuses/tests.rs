use super::*;
use tidegate_api::{Cause, Severity};

const SPEAKER: Speaker<'_> = Speaker { controller: "tidegate.dev/agent", now: "2026-01-01T00:00:00Z" };

fn subject(kind: &str, name: &str, spec: Value) -> Subject {
    let object = Object {
        api_version: "v1".into(),
        kind: kind.into(),
        plural: kind.to_lowercase() + "s",
        namespace: Some("shop".into()),
        name: name.into(),
    };
    let path = format!("kubernetes: {kind} shop/{name}");
    Subject { object, uid: None, generation: Some(3), path, spec }
}

fn problem(subject: &Subject, severity: Severity, cause: Cause, message: &str) -> Problem {
    Problem { severity, cause, ..Problem::of_file(&subject.path, message, "mend it") }
}

fn own(state: State) -> impl Fn(&Subject) -> Vec<InCluster> {
    move |_| vec![InCluster { cluster: "us-east".into(), state: state.clone() }]
}

fn of(subjects: &[Subject], problems: &[Problem], state: State) -> Vec<Value> {
    statuses(subjects, problems, SPEAKER, own(state)).into_iter().map(|(_, status)| status).collect()
}

/// A condition as `True Reason` or `False Reason: message`.
fn told(status: &Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array().expect("has conditions");
    let condition = conditions.iter().find(|it| it["type"] == kind).expect("is among them");
    assert_eq!(condition["observedGeneration"], 3);
    let of = |name: &str| condition[name].as_str().expect("is a text").to_owned();
    match &*of("message") {
        "" => format!("{} {}", of("status"), of("reason")),
        message => format!("{} {}: {message}", of("status"), of("reason")),
    }
}

fn policy(name: &str) -> Subject {
    subject("FailoverPolicy", name, json!({"targetRefs": [{"group": "", "kind": "Service", "name": "web"}]}))
}

#[test]
fn a_good_policy_is_accepted_and_programmed_once_every_gateway_has_it() {
    let subjects = [policy("web")];
    let [status] = &of(&subjects, &[], State::Accepted)[..] else { panic!("one status") };
    assert_eq!(told(status, "Accepted"), "True Accepted");
    assert_eq!(told(status, "Programmed"), "False Pending: waits for us-east");
    let [status] = &of(&subjects, &[], State::Programmed)[..] else { panic!("one status") };
    assert_eq!(told(status, "Programmed"), "True Programmed");
    let ancestor = &status["ancestors"][0];
    assert_eq!(ancestor["ancestorRef"], json!({"kind": "Service", "name": "web", "namespace": "shop"}));
    assert_eq!(ancestor["controllerName"], "tidegate.dev/agent");
    assert_eq!(told(ancestor, "ResolvedRefs"), "True ResolvedRefs");
    let cluster = json!({"cluster": "us-east", "state": "Programmed", "observedGeneration": 3, "reportedAt": SPEAKER.now});
    assert_eq!(status["clusters"], json!([cluster]));
}

#[test]
fn what_is_wrong_with_an_object_is_said_on_it_and_on_no_other() {
    let subjects = [policy("bad"), policy("late"), policy("lost"), policy("good")];
    let problems = [
        problem(&subjects[0], Severity::Error, Cause::Invalid, "no such field"),
        problem(&subjects[1], Severity::Error, Cause::Conflict, "web already has a policy"),
        problem(&subjects[2], Severity::Warning, Cause::NoSuchObject, "there is no Service shop/web"),
    ];
    let [bad, late, lost, good] = &of(&subjects, &problems, State::Programmed)[..] else {
        panic!("four statuses")
    };
    assert_eq!(told(bad, "Accepted"), "False Invalid: no such field (mend it)");
    assert!(told(bad, "Programmed").starts_with("False Invalid: "));
    assert_eq!(told(late, "Accepted"), "False Conflicted: web already has a policy (mend it)");
    assert_eq!(told(lost, "Accepted"), "True Accepted");
    assert_eq!(told(lost, "ResolvedRefs"), "False TargetNotFound: there is no Service shop/web (mend it)");
    assert_eq!(
        (told(good, "Accepted"), told(good, "ResolvedRefs")),
        ("True Accepted".into(), "True ResolvedRefs".into())
    );
}

#[test]
fn a_cluster_that_does_not_take_it_is_named() {
    let subjects = [policy("web")];
    let clusters = |_: &Subject| {
        let of = |cluster: &str, state| InCluster { cluster: cluster.into(), state };
        vec![of("us-west", State::Programmed), of("eu-west", State::Rejected("an older agent".into()))]
    };
    let told_all = statuses(&subjects, &[], SPEAKER, clusters);
    let status = &told_all[0].1;
    assert_eq!(told(status, "Programmed"), "False Rejected: not taken by eu-west");
    assert_eq!(status["clusters"][0]["message"], "an older agent");
    assert_eq!(status["clusters"][1]["cluster"], "us-west");
}

#[test]
fn a_route_has_a_parent_for_each_of_our_gateways_and_none_for_others() {
    let listeners = json!([{"name": "http", "protocol": "HTTP"}, {"name": "raw", "protocol": "TCP"}]);
    let edge =
        subject("Gateway", "edge", json!({"gatewayClassName": "tidegate-edge", "listeners": listeners}));
    let other = subject("Gateway", "other", json!({"gatewayClassName": "another", "listeners": []}));
    let refs = json!([{"name": "edge"}, {"name": "other"}, {"name": "edge", "sectionName": "http"}]);
    let route = subject("HTTPRoute", "web", json!({"parentRefs": refs}));
    let foreign = subject("HTTPRoute", "foreign", json!({"parentRefs": [{"name": "other"}]}));
    let subjects = [edge, other, route, foreign];
    let problems =
        [problem(&subjects[2], Severity::Error, Cause::NoSuchObject, "there is no Service shop/w")];
    let [edge, route] = &of(&subjects, &problems, State::Programmed)[..] else { panic!("two statuses") };
    let parents = route["parents"].as_array().expect("a list");
    assert_eq!(parents.len(), 2);
    assert_eq!(parents[1]["parentRef"], json!({"name": "edge", "sectionName": "http"}));
    assert_eq!(
        told(&parents[0], "ResolvedRefs"),
        "False BackendNotFound: there is no Service shop/w (mend it)"
    );
    assert_eq!(told(edge, "Programmed"), "True Programmed");
    let attached: Vec<_> =
        edge["listeners"].as_array().expect("a list").iter().map(|it| &it["attachedRoutes"]).collect();
    assert_eq!(attached, [2, 1]);
    assert_eq!(edge["listeners"][1]["supportedKinds"][0]["kind"], "TCPRoute");
}

#[test]
fn a_message_has_a_limit() {
    let subjects = [policy("bad")];
    let problems: Vec<Problem> =
        (0..500).map(|_| problem(&subjects[0], Severity::Error, Cause::Invalid, "ä wrong field")).collect();
    let [status] = &of(&subjects, &problems, State::Programmed)[..] else { panic!("one status") };
    let message = status["conditions"][0]["message"].as_str().expect("a text");
    assert!(message.len() < 2_100 && message.ends_with(" ..."), "{}", message.len());
}
