use super::*;
use crate::kube::object;

fn watched(kind: &str) -> &'static Watched {
    ALL.iter().find(|it| it.kind == kind).unwrap()
}

fn change(kind: &str, json: &str) -> Told {
    let version = watched(kind).api_version(watched(kind).versions[0]);
    Told::Objects(watched(kind), vec![object::read(watched(kind), &version, json, false).unwrap()])
}

fn listed(held: &mut Held, verdict: Verdict) {
    for kind in ALL.iter().filter(|it| Kinds::Fleet.has(it)) {
        held.take(Told::Verdict(kind, verdict));
    }
}

fn policy(generation: u32, version: u32, spec: &str) -> Told {
    change(
        "FailoverPolicy",
        &format!(
            r#"{{"metadata":{{"name":"web","namespace":"shop","uid":"u","generation":{generation},
            "resourceVersion":"{version}","managedFields":[{{}}],"annotations":{{"other.example/a":"b"}}}},
            "spec":{spec},"status":{{"conditions":[{version}]}}}}"#
        ),
    )
}

fn texts(followed: &Followed) -> Vec<(&str, &str)> {
    followed.objects.iter().map(|it| (&*it.subject.path, &*it.text)).collect()
}

#[test]
fn nothing_is_told_before_all_is_listed_and_then_each_object_as_its_author_wrote_it() {
    let mut held = Held::default();
    listed(&mut held, Verdict::Begins);
    held.take(policy(4, 9, r#"{"failback":{"holdDown":"1m"}}"#));
    held.take(Told::Verdict(watched("FailoverPolicy"), Verdict::Complete));
    let unread = held.read("here").unwrap_err();
    assert!(
        matches!(&unread, Unread::Awaited { kinds, .. } if !kinds.contains("FailoverPolicy")
        && kinds.contains("FleetCluster") && !kinds.contains("Secret")),
        "{unread}"
    );
    listed(&mut held, Verdict::Complete);
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata:\n  name: web\n  namespace: shop\n\
                spec:\n  failback:\n    holdDown: 1m\n";
    let first = held.read("here").unwrap();
    assert_eq!(texts(&first), [("kubernetes/FailoverPolicy/shop/web", text)]);
    assert_eq!(first.objects[0].subject.generation, Some(4));
    // Its status was written: nothing changes. Another content is another generation.
    held.take(policy(4, 10, r#"{"failback":{"holdDown":"1m"}}"#));
    assert_eq!(texts(&held.read("here").unwrap()), texts(&first));
    held.take(policy(5, 11, r#"{"failback":{"holdDown":"2m"}}"#));
    let second = held.read("here").unwrap();
    assert!(second.objects[0].text.contains("holdDown: 2m"), "{}", second.objects[0].text);
    assert_eq!(second.objects[0].subject.generation, Some(5));
}

#[test]
fn kinds_that_are_not_served_are_no_policy_without_objects() {
    let mut held = Held::default();
    listed(&mut held, Verdict::Begins);
    held.take(policy(1, 9, "{}"));
    listed(&mut held, Verdict::Complete);
    assert_eq!(held.read("here").unwrap().objects.len(), 1);
    held.take(Told::Verdict(watched("FailoverPolicy"), Verdict::NoneServed));
    let unread = held.read("here").unwrap_err();
    assert!(
        unread.to_string().starts_with("the API at here does not serve FailoverPolicy\n  hint: "),
        "{unread}"
    );
    // The definition is back, and the list is on its way.
    held.take(Told::Verdict(watched("FailoverPolicy"), Verdict::Begins));
    held.read("here").unwrap_err();
    held.take(Told::Verdict(watched("FailoverPolicy"), Verdict::Complete));
    assert_eq!(held.read("here").unwrap().objects.len(), 0);
    // The Gateway API need not be there.
    held.take(Told::Verdict(watched("Gateway"), Verdict::NoneServed));
    held.read("here").unwrap();
}

#[test]
fn an_api_that_is_away_is_told_after_what_it_told_last_was_read() {
    let mut held = Held::default();
    listed(&mut held, Verdict::Begins);
    listed(&mut held, Verdict::Complete);
    held.take(policy(1, 9, "{}"));
    held.take(Told::Failing("FailoverPolicy", Some(Problem::of_file("kubernetes", "the API is away", ""))));
    assert_eq!(held.read("here").unwrap().objects.len(), 1);
    assert_eq!(held.read("here").unwrap_err(), Unread::Away("the API is away".to_owned()));
    held.take(Told::Failing("FailoverPolicy", None));
    assert_eq!(held.read("here").unwrap().objects.len(), 1);
    let denied = Problem::of_file("kubernetes: Drill", "the hub may not read drills", "");
    held.take(Told::Failing("Drill", Some(denied.clone())));
    assert_eq!(held.read("here").unwrap().problems, [denied], "the others are followed");
}

#[test]
fn a_gateway_is_handed_on_only_if_it_says_that_it_is_for_the_fleet() {
    let mut held = Held::default();
    listed(&mut held, Verdict::Begins);
    for (name, scope) in
        [("a", r#""tidegate.dev/scope":"Fleet""#), ("b", r#""tidegate.dev/scope":"Cluster""#), ("c", "")]
    {
        held.take(change(
            "Gateway",
            &format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"shop","annotations":{{{scope}}}}},"spec":{{}}}}"#
            ),
        ));
    }
    listed(&mut held, Verdict::Complete);
    let followed = held.read("here").unwrap();
    let [(path, text)] = texts(&followed)[..] else { panic!("{followed:?}") };
    assert_eq!(path, "kubernetes/Gateway/shop/a");
    assert!(text.contains("tidegate.dev/scope: Fleet"), "{text}");
}

#[test]
fn texts_that_look_like_something_else_are_read_back_as_they_were() {
    let odd = [
        "yes",
        "1e3",
        "0x1F",
        "null",
        "~",
        "01:30",
        "- a",
        "a: b",
        "#",
        "",
        " x ",
        "---\nb",
        "a\n\n  b\n",
        "\u{85}ü\t",
    ];
    let long = "word ".repeat(100);
    let value = serde_json::json!({"spec": {"odd": odd, "long": long, "n": [1, -2, 1.5, true, null, {}, []], "on": "off"}});
    let file = SourceFile { path: String::new(), text: yaml(&value) };
    assert_eq!(plain_objects(&file), [value], "{}", file.text);
}
