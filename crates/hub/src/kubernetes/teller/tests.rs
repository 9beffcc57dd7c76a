use super::*;
use crate::view::RejectedView;
use serde_json::json;
use tidegate_api::{Problem, SourceFile};

fn object(kind: &'static str, name: &str) -> Arc<FleetObject> {
    let subject = tidegate_discovery::kube::Subject {
        api_version: "tidegate.dev/v1alpha1".into(),
        kind,
        plural: "things",
        namespace: (kind != "FleetCluster").then(|| "shop".into()),
        name: name.into(),
        uid: None,
        generation: Some(3),
        path: format!("kubernetes/{kind}/{name}"),
        spec: Value::Null,
    };
    Arc::new(FleetObject { subject, text: String::new() })
}

fn view(connected: bool, ends: Option<u64>, revoked: bool) -> ClusterView {
    ClusterView {
        cluster: "us-east".parse().unwrap(),
        connected,
        heard_ms: None,
        applied: 7,
        rejected: Vec::<RejectedView>::new(),
        held_back: None,
        services: 0,
        pools: 0,
        pools_not_serving: 0,
        gateways: 0,
        certificate_ends: ends,
        revoked,
    }
}

fn condition(status: &Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array().unwrap();
    let it = conditions.iter().find(|it| it["type"] == kind).unwrap();
    assert_eq!(it["observedGeneration"], 3);
    format!("{} {}", it["status"].as_str().unwrap(), it["reason"].as_str().unwrap())
}

fn of(kind: &'static str, problems: Vec<Problem>, views: &[ClusterView], state: &[State]) -> Wanted {
    let judged = Judged { objects: vec![object(kind, "us-east")], problems };
    let versions = BTreeMap::from([(7, Some("abc".to_owned()))]);
    let stands = |_: &FleetObject| {
        state.iter().map(|state| InCluster { cluster: "us-east".into(), state: state.clone() }).collect()
    };
    let [wanted] = &wanted(&judged, views, &versions, &Picture::default(), stands)[..] else { panic!("one") };
    wanted.clone()
}

#[test]
fn a_policy_says_how_far_it_is_and_waits_for_clusters_that_do_not_have_it() {
    let told = of("FailoverPolicy", Vec::new(), &[], &[State::Programmed]);
    assert_eq!((condition(&told.status, "Programmed"), told.settled), ("True Programmed".into(), true));
    let told = of("FailoverPolicy", Vec::new(), &[], &[State::Unknown]);
    assert_eq!((condition(&told.status, "Programmed"), told.settled), ("False Pending".into(), false));
    let told = of("FailoverPolicy", Vec::new(), &[], &[State::Rejected("an older agent".into())]);
    assert_eq!((condition(&told.status, "Programmed"), told.settled), ("False Rejected".into(), true));
    assert_eq!(told.status["clusters"][0]["message"], "an older agent");
}

#[test]
fn a_mistake_is_told_at_once_and_of_no_cluster() {
    let problem = Problem::of_file("kubernetes/FailoverPolicy/us-east", "no such field", "mend it");
    let told = of("FailoverPolicy", vec![problem], &[], &[]);
    assert_eq!((condition(&told.status, "Accepted"), told.settled), ("False Invalid".into(), true));
    assert_eq!(told.status["clusters"], json!([]));
}

#[test]
fn a_cluster_says_whether_it_joined_and_is_heard_and_what_it_has() {
    let told = |view: Option<ClusterView>| {
        let told = of("FleetCluster", Vec::new(), view.as_slice(), &[]);
        (condition(&told.status, "Joined"), condition(&told.status, "Connected"), told)
    };
    let (joined, connected, it) = told(Some(view(true, Some(1), false)));
    assert_eq!((&*joined, &*connected, it.settled), ("True Joined", "True Connected", true));
    assert_eq!(it.status["policyVersion"], "abc");
    let (joined, connected, it) = told(Some(view(false, Some(1), false)));
    assert_eq!((&*joined, &*connected, it.settled), ("True Joined", "False Away", false));
    let (joined, connected, it) = told(Some(view(false, None, true)));
    assert_eq!((&*joined, &*connected, it.settled), ("False Revoked", "False Away", true));
    let (joined, _, it) = told(None);
    assert_eq!((&*joined, it.settled, it.status.get("policyVersion")), ("False NotJoined", true, None));
}

#[test]
fn what_is_handed_out_as_another_text_is_not_this() {
    let it = object("FailoverPolicy", "web");
    let key = "FailoverPolicy shop/web".to_owned();
    let out = |text: &str| {
        let file = SourceFile { path: it.subject.path.clone(), text: text.to_owned() };
        let out = tidegate_link::hub::PolicyObject { source: file.path, line: 1, text: file.text };
        let mut policy = Published::default();
        policy.objects.insert(key.clone(), out);
        policy.since.insert(key.clone(), 5);
        policy
    };
    assert_eq!(handed(&out(""), &it), Some((key.clone(), 5)));
    assert_eq!(handed(&out("# before"), &it), None);
    assert_eq!(handed(&Published::default(), &it), None);
}
