use super::*;
use tidegate_api::Loader;

const SERVICE: &Watched = &ALL[0];

fn loader() -> Loader {
    Loader::new("eu-1".parse().unwrap())
}

fn service(name: &str, version: &str, port: u16) -> Change {
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}","namespace":"shop"}},"spec":{{"ports":[{{"port":{port}}}]}}}}"#
    );
    let path = format!("kubernetes: Service shop/{name}");
    Change { path, version: version.to_owned(), text: Some(text.into()) }
}

fn names(loader: &mut Loader) -> Vec<String> {
    loader.update();
    loader.config().services.keys().map(|name| name.name().to_owned()).collect()
}

#[test]
fn a_complete_list_drops_what_it_does_not_name_and_a_broken_one_nothing() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    let mut take = |told: Told, loader: &mut Loader| shelf.take(told, loader);
    take(Told::Verdict(SERVICE, Verdict::Begins), &mut loader);
    take(Told::Objects(SERVICE, vec![service("a", "1", 80), service("b", "2", 80)]), &mut loader);
    take(Told::Verdict(SERVICE, Verdict::Complete), &mut loader);
    assert_eq!(names(&mut loader), ["a", "b"]);
    // One that breaks off after the first object.
    take(Told::Verdict(SERVICE, Verdict::Begins), &mut loader);
    take(Told::Objects(SERVICE, vec![service("b", "2", 80)]), &mut loader);
    take(Told::Verdict(SERVICE, Verdict::Begins), &mut loader);
    assert_eq!(names(&mut loader), ["a", "b"]);
    take(Told::Objects(SERVICE, vec![service("b", "2", 80), service("c", "3", 80)]), &mut loader);
    assert_eq!(names(&mut loader), ["a", "b", "c"]);
    take(Told::Verdict(SERVICE, Verdict::Complete), &mut loader);
    assert_eq!(names(&mut loader), ["b", "c"]);
}

#[test]
fn what_was_saved_counts_until_a_complete_list() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    assert!(shelf.put_back(service("a", "1", 80), &mut loader));
    assert!(shelf.put_back(service("b", "1", 80), &mut loader));
    let odd = Change { path: "kubernetes: Odd a".to_owned(), ..service("a", "1", 80) };
    assert!(!shelf.put_back(odd, &mut loader), "of a kind that nobody watches");
    shelf.take(Told::Verdict(SERVICE, Verdict::Begins), &mut loader);
    shelf.take(Told::Objects(SERVICE, vec![service("a", "5", 81)]), &mut loader);
    assert_eq!(names(&mut loader), ["a", "b"]);
    shelf.take(Told::Verdict(SERVICE, Verdict::Complete), &mut loader);
    assert_eq!(names(&mut loader), ["a"]);
}

#[test]
fn a_new_version_that_says_the_same_is_no_change() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    shelf.take(Told::Objects(SERVICE, vec![service("a", "1", 80)]), &mut loader);
    assert!(shelf.take_changed());
    assert!(!loader.update().change.is_empty());
    shelf.take(Told::Objects(SERVICE, vec![service("a", "2", 80)]), &mut loader);
    assert!(!shelf.take_changed());
    assert!(loader.update().change.is_empty());
    // And one that says something else is one, though an earlier version said it before.
    shelf.take(Told::Objects(SERVICE, vec![service("a", "3", 81)]), &mut loader);
    shelf.take(Told::Objects(SERVICE, vec![service("a", "4", 80)]), &mut loader);
    assert!(shelf.take_changed());
}

#[test]
fn all_first_lists_are_complete_only_with_the_last_kind() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    for watched in &ALL[1..] {
        shelf.take(Told::Verdict(watched, Verdict::NoneServed), &mut loader);
    }
    assert!(!shelf.is_complete());
    assert_eq!(shelf.awaited().collect::<Vec<_>>(), ["Service"]);
    shelf.take(Told::Verdict(SERVICE, Verdict::Begins), &mut loader);
    assert!(!shelf.is_complete());
    shelf.take(Told::Verdict(SERVICE, Verdict::Complete), &mut loader);
    assert!(shelf.is_complete());
}

#[test]
fn what_is_wrong_with_all_kinds_alike_is_told_once() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    let away = Problem::of_file("kubernetes", "away", "wait");
    for watched in &ALL {
        shelf.take(Told::Failing(watched.kind, Some(away.clone())), &mut loader);
    }
    assert_eq!(shelf.problems(), [away]);
    for watched in &ALL {
        shelf.take(Told::Failing(watched.kind, None), &mut loader);
    }
    assert_eq!(shelf.problems(), []);
}

#[test]
fn an_agent_without_a_right_to_secrets_does_not_wait_for_them() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    for watched in ALL.iter().filter(|it| it.kind != "Secret" && it.kind != "Service") {
        shelf.take(Told::Verdict(watched, Verdict::NoneServed), &mut loader);
    }
    let refused = |kind| {
        let message = format!("{} {kind}: forbidden", board::MAY_NOT_READ);
        Told::Failing(kind, Some(Problem::of_file("kubernetes", message, "give it")))
    };
    let away = Problem::of_file("kubernetes", "the API is away".to_owned(), "wait");
    shelf.take(Told::Failing("Secret", Some(away)), &mut loader);
    assert_eq!(shelf.awaited().collect::<Vec<_>>(), ["Service", "Secret"]);
    shelf.take(refused("Secret"), &mut loader);
    shelf.take(refused("Service"), &mut loader);
    assert_eq!(shelf.awaited().collect::<Vec<_>>(), ["Service"], "nothing goes without services");
    shelf.take(Told::Verdict(SERVICE, Verdict::NoneServed), &mut loader);
    assert!(shelf.is_complete());
}

#[test]
fn a_config_map_that_nobody_names_any_more_is_dropped_and_not_saved_again() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    let naming = ALL.iter().find(|it| it.kind == named::NAMING).unwrap();
    let map = |name: &str| {
        Change {
        path: format!("kubernetes: ConfigMap shop/{name}"),
        version: "1".to_owned(),
        text: Some(
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"shop"}},"data":{{}}}}"#)
                .into(),
        ),
    }
    };
    let policy = |map: &str| {
        Change {
        path: "kubernetes: BackendTLSPolicy shop/tls".to_owned(),
        version: map.to_owned(),
        text: Some(
            format!(
                r#"{{"apiVersion":"gateway.networking.k8s.io/v1","kind":"BackendTLSPolicy","metadata":{{"name":"tls","namespace":"shop"}},
                "spec":{{"validation":{{"caCertificateRefs":[{{"kind":"ConfigMap","name":"{map}"}}]}}}}}}"#
            )
            .into(),
        ),
    }
    };
    let held = |shelf: &Shelf| {
        let maps = shelf.held().filter_map(|(path, ..)| path.strip_prefix("kubernetes: ConfigMap shop/"));
        maps.map(str::to_owned).collect::<Vec<_>>()
    };
    // From the file, in the order in which it lies there: maps before policies.
    for change in [map("ca"), map("old"), policy("ca")] {
        assert!(shelf.put_back(change, &mut loader));
    }
    assert_eq!(held(&shelf), ["ca", "old"], "nobody knows yet what is named");
    shelf.take(Told::Verdict(naming, Verdict::Begins), &mut loader);
    shelf.take(Told::Objects(naming, vec![policy("ca")]), &mut loader);
    shelf.take_changed();
    shelf.take(Told::Verdict(naming, Verdict::Complete), &mut loader);
    assert_eq!((held(&shelf), shelf.take_changed()), (vec!["ca".to_owned()], true));
    // It was asked for while it was named, and the answer comes when it is not any more.
    shelf.take(Told::Objects(naming, vec![policy("new")]), &mut loader);
    shelf.take(Told::Objects(&NAMED, vec![map("ca"), map("new")]), &mut loader);
    assert_eq!(held(&shelf), ["new"]);
    shelf.take(Told::Verdict(naming, Verdict::NoneServed), &mut loader);
    assert_eq!(held(&shelf), [""; 0]);
}

#[test]
fn of_what_is_told_in_one_moment_the_last_counts() {
    struct Counted(Loader, Vec<String>);
    impl Onward for Counted {
        fn set(&mut self, path: &str, version: &str, text: &str) {
            self.1.push(version.to_owned());
            self.0.set(path, version, text);
        }
        fn remove(&mut self, path: &str) {
            Onward::remove(&mut self.0, path);
        }
    }
    let (mut shelf, mut onward) = (Shelf::default(), Counted(loader(), Vec::new()));
    let gone = Change { text: None, ..service("b", "6", 80) };
    let told = vec![
        Told::Objects(SERVICE, vec![service("a", "1", 80), service("b", "2", 80), service("a", "3", 81)]),
        Told::Objects(SERVICE, vec![service("a", "4", 82), service("c", "5", 80), gone]),
    ];
    shelf.take_all(told, &mut onward);
    assert_eq!((names(&mut onward.0), onward.1.join(" ")), (vec!["a".into(), "c".into()], "4 5".into()));
    // What a list named stays, whatever is told of it behind its end.
    let told = vec![
        Told::Verdict(SERVICE, Verdict::Begins),
        Told::Objects(SERVICE, vec![service("a", "4", 82), service("c", "5", 80)]),
        Told::Verdict(SERVICE, Verdict::Complete),
        Told::Objects(SERVICE, vec![service("c", "7", 83)]),
    ];
    shelf.take_all(told, &mut onward);
    assert_eq!((names(&mut onward.0), onward.1.join(" ")), (vec!["a".into(), "c".into()], "4 5 7".into()));
}

#[test]
fn what_was_saved_has_a_status_to_be_told_though_the_api_says_nothing_new() {
    let (mut shelf, mut loader) = (Shelf::default(), loader());
    let policies = ALL.iter().find(|it| it.kind == "FailoverPolicy").unwrap();
    let text = r#"{"apiVersion":"tidegate.dev/v1alpha1","kind":"FailoverPolicy","metadata":{"name":"web","namespace":"shop"},"spec":{}}"#;
    let path = "kubernetes: FailoverPolicy shop/web".to_owned();
    let policy = Change { path, version: "1".to_owned(), text: Some(text.into()) };
    assert!(shelf.put_back(policy.clone(), &mut loader));
    shelf.take(Told::Verdict(policies, Verdict::Begins), &mut loader);
    shelf.take(Told::Objects(policies, vec![policy]), &mut loader);
    shelf.take(Told::Verdict(policies, Verdict::Complete), &mut loader);
    assert!(shelf.take_subjects_changed(), "nobody was told of it yet");
    assert!(!shelf.take_subjects_changed());
}
