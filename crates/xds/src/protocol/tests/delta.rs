use std::collections::HashMap;

use super::*;

fn stream(content: &[(ResourceType, &str, &str)]) -> Stream {
    Stream::new(Transport::Delta, content)
}

impl Stream {
    fn request(&mut self, kind: ResourceType, request: DeltaDiscoveryRequest) -> Option<Verdict> {
        let request = DeltaDiscoveryRequest { type_url: kind.type_url().into(), ..request };
        let reaction = self.machine.on_delta(request, NOW);
        self.react(reaction)
    }

    pub(super) fn subscribe(&mut self, kind: ResourceType, names: &[&str]) {
        let resource_names_subscribe = strings(names);
        self.request(kind, DeltaDiscoveryRequest { resource_names_subscribe, ..Default::default() });
    }

    fn unsubscribe(&mut self, kind: ResourceType, names: &[&str]) {
        let resource_names_unsubscribe = strings(names);
        self.request(kind, DeltaDiscoveryRequest { resource_names_unsubscribe, ..Default::default() });
    }

    fn resume(&mut self, kind: ResourceType, names: &[&str], held: &[(&str, &str)]) {
        let held = held.iter().map(|(name, version)| (name.to_string(), version.to_string()));
        self.request(
            kind,
            DeltaDiscoveryRequest {
                resource_names_subscribe: strings(names),
                initial_resource_versions: held.collect::<HashMap<_, _>>(),
                ..Default::default()
            },
        );
    }

    pub(super) fn ack(&mut self, response: &Outgoing) -> Option<Verdict> {
        let response_nonce = response.nonce.clone();
        self.request(response.kind, DeltaDiscoveryRequest { response_nonce, ..Default::default() })
    }

    pub(super) fn nack(&mut self, response: &Outgoing) -> Option<Verdict> {
        let response_nonce = response.nonce.clone();
        self.request(
            response.kind,
            DeltaDiscoveryRequest { response_nonce, error_detail: refusal(), ..Default::default() },
        )
    }
}

#[test]
fn an_empty_first_subscription_to_clusters_means_all() {
    let mut s = stream(&[(Cluster, "a", "1"), (Cluster, "b", "1")]);
    s.subscribe(Cluster, &[]);
    let all = s.expect(Cluster, "a=1 b=1");
    assert_eq!(s.ack(&all), Some(Verdict::Acked { version: all.version.clone() }));
    s.set(&[(Cluster, "c", "1"), (Cluster, "a", "1")]);
    s.expect(Cluster, "c=1");
}

#[test]
fn an_empty_first_subscription_to_endpoints_means_none() {
    let mut s = stream(&[(Endpoint, "a", "1")]);
    s.subscribe(Endpoint, &[]);
    s.expect_nothing();
    s.subscribe(Endpoint, &["*"]);
    s.expect(Endpoint, "a=1");
}

#[test]
fn a_wildcard_without_resources_is_answered_empty_once() {
    let mut s = stream(&[]);
    s.subscribe(Cluster, &["*"]);
    let empty = s.expect(Cluster, "");
    s.ack(&empty);
    s.expect_nothing();
}

#[test]
fn a_legacy_wildcard_goes_on_beside_a_named_subscription_and_ends_by_name() {
    let mut s = stream(&[(Cluster, "a", "1"), (Cluster, "b", "1")]);
    s.subscribe(Cluster, &[]);
    let all = s.expect(Cluster, "a=1 b=1");
    s.ack(&all);
    s.subscribe(Cluster, &["a"]);
    let named = s.expect(Cluster, "a=1");
    s.ack(&named);
    s.unsubscribe(Cluster, &["*"]);
    s.set(&[(Cluster, "a", "2"), (Cluster, "b", "2")]);
    s.expect(Cluster, "a=2");
}

#[test]
fn a_name_unsubscribed_under_a_wildcard_is_answered_with_what_the_wildcard_matches() {
    let mut s = stream(&[(Cluster, "a", "1")]);
    s.subscribe(Cluster, &["*", "a", "none"]);
    let all = s.expect(Cluster, "a=1 -none");
    s.ack(&all);
    s.unsubscribe(Cluster, &["a", "none"]);
    s.expect(Cluster, "a=1 -none");
}

#[test]
fn only_what_changed_is_sent_and_nothing_for_the_same_body() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1"), (Endpoint, "c", "1")]);
    s.subscribe(Endpoint, &["a", "b"]);
    let both = s.expect(Endpoint, "a=1 b=1");
    s.ack(&both);
    s.set(&[(Endpoint, "b", "1"), (Endpoint, "c", "2")]);
    s.expect_nothing();
    s.set(&[(Endpoint, "b", "2")]);
    s.expect(Endpoint, "b=2");
}

#[test]
fn one_response_of_a_type_is_in_flight_and_changes_meanwhile_coalesce() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.subscribe(Endpoint, &["a", "b"]);
    let first = s.expect(Endpoint, "a=1 b=1");
    s.set(&[(Endpoint, "a", "2")]);
    s.set(&[(Endpoint, "a", "3")]);
    // There and back again: nothing is owed.
    s.set(&[(Endpoint, "b", "2")]);
    s.set(&[(Endpoint, "b", "1")]);
    s.expect_nothing();
    s.ack(&first);
    let second = s.expect(Endpoint, "a=3");
    s.ack(&second);
    s.expect_nothing();
}

#[test]
fn a_subscribed_name_that_does_not_exist_is_told_once() {
    let mut s = stream(&[]);
    s.subscribe(Endpoint, &["a"]);
    let absent = s.expect(Endpoint, "-a");
    s.ack(&absent);
    s.expect_nothing();
    s.set(&[(Endpoint, "a", "1")]);
    s.expect(Endpoint, "a=1");
}

#[test]
fn a_removed_resource_is_told_and_its_return_too() {
    let mut s = stream(&[(Endpoint, "a", "1")]);
    s.subscribe(Endpoint, &["a"]);
    let held = s.expect(Endpoint, "a=1");
    s.ack(&held);
    s.remove(&[(Endpoint, "a")]);
    let removed = s.expect(Endpoint, "-a");
    s.ack(&removed);
    s.set(&[(Endpoint, "a", "1")]);
    s.expect(Endpoint, "a=1");
}

#[test]
fn a_name_subscribed_again_is_answered_again_even_if_unchanged() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.subscribe(Endpoint, &["a", "b", "c"]);
    let first = s.expect(Endpoint, "a=1 b=1 -c");
    s.ack(&first);
    s.subscribe(Endpoint, &["a", "c"]);
    s.expect(Endpoint, "a=1 -c");
}

#[test]
fn a_subscription_counts_even_with_a_stale_nonce_but_its_verdict_does_not() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.subscribe(Endpoint, &["a"]);
    let first = s.expect(Endpoint, "a=1");
    let stale = DeltaDiscoveryRequest {
        response_nonce: "another".into(),
        error_detail: refusal(),
        resource_names_subscribe: strings(&["b"]),
        ..Default::default()
    };
    assert_eq!(s.request(Endpoint, stale), None);
    s.expect_nothing();
    s.ack(&first);
    s.expect(Endpoint, "b=1");
}

#[test]
fn an_unsubscribed_name_is_sent_no_more() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.subscribe(Endpoint, &["a", "b"]);
    let first = s.expect(Endpoint, "a=1 b=1");
    s.unsubscribe(Endpoint, &["a"]);
    s.ack(&first);
    s.set(&[(Endpoint, "a", "2")]);
    s.expect_nothing();
    // Subscribed anew, it is new to the client.
    s.subscribe(Endpoint, &["a"]);
    s.expect(Endpoint, "a=2");
}

#[test]
fn a_client_that_comes_back_with_all_its_versions_is_sent_nothing() {
    let mut s = stream(&[(Cluster, "a", "1"), (Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    let (cluster, a) = (s.version(Cluster, "a"), s.version(Endpoint, "a"));
    let b = s.version(Endpoint, "b");
    s.resume(Cluster, &[], &[("a", &cluster)]);
    s.resume(Endpoint, &["a", "b"], &[("a", &a), ("b", &b)]);
    s.expect_nothing();
    s.set(&[(Endpoint, "b", "2")]);
    s.expect(Endpoint, "b=2");
}

#[test]
fn a_client_that_comes_back_is_sent_what_changed_and_what_is_gone() {
    let mut s = stream(&[(Cluster, "a", "1"), (Cluster, "b", "1"), (Endpoint, "a", "1")]);
    let a = s.version(Cluster, "a");
    s.resume(Cluster, &["*"], &[("a", &a), ("b", "some-old-version"), ("gone", &a)]);
    s.resume(Endpoint, &["a", "gone"], &[("gone", "0123456789abcdef"), ("unclaimed", "1")]);
    let changed = s.expect(Cluster, "b=1");
    let endpoint = s.expect(Endpoint, "a=1");
    s.ack(&changed);
    s.ack(&endpoint);
    let gone = s.expect(Cluster, "-gone");
    s.ack(&gone);
    s.expect(Endpoint, "-gone");
}

#[test]
fn a_refused_version_is_not_sent_again_until_it_changes_and_holds_back_no_other() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.subscribe(Endpoint, &["a", "b"]);
    let first = s.expect(Endpoint, "a=1 b=1");
    s.ack(&first);
    s.set(&[(Endpoint, "a", "bad")]);
    let bad = s.expect(Endpoint, "a=bad");
    assert_eq!(s.nack(&bad), nacked(&["a"]));
    s.expect_nothing();
    s.set(&[(Endpoint, "b", "2")]);
    let other = s.expect(Endpoint, "b=2");
    s.ack(&other);
    // The client still holds the version before the refusal.
    s.set(&[(Endpoint, "a", "1")]);
    s.expect_nothing();
    s.set(&[(Endpoint, "a", "3")]);
    s.expect(Endpoint, "a=3");
}

#[test]
fn a_refused_response_is_halved_until_the_bad_resource_stands_alone() {
    let names = ["a", "b", "c", "d"];
    let mut s = stream(&names.map(|name| (Endpoint, name, "1")));
    s.subscribe(Endpoint, &names);
    let all = s.expect(Endpoint, "a=1 b=1 c=1 d=1");
    assert_eq!(s.nack(&all), nacked(&names));
    let left = s.expect(Endpoint, "a=1 b=1");
    s.ack(&left);
    let right = s.expect(Endpoint, "c=1 d=1");
    s.nack(&right);
    let bad = s.expect(Endpoint, "c=1");
    assert_eq!(s.nack(&bad), nacked(&["c"]));
    // What changes meanwhile goes first.
    s.set(&[(Endpoint, "a", "2")]);
    let fresh = s.expect(Endpoint, "a=2");
    s.ack(&fresh);
    let good = s.expect(Endpoint, "d=1");
    s.ack(&good);
    s.expect_nothing();
    let status = &s.machine.status()[0];
    assert_eq!(status.last_nack.as_ref().unwrap().names, ["c"]);
    let refused: Vec<_> = status.refused.iter().map(|it| (it.name.as_str(), it.at_ms)).collect();
    assert_eq!(refused, [("c", NOW)]);
    let states = s.states(Endpoint);
    assert_eq!(states, ["a Acked", "b Acked", "c Nacked", "d Acked"]);
}

#[test]
fn endpoints_come_in_responses_of_bounded_size_clusters_in_one() {
    let big = "x".repeat(900_000);
    let names = ["a", "b", "c", "d"];
    let mut s = stream(&names.map(|name| (Endpoint, name, big.as_str())));
    s.set(&names.map(|name| (Cluster, name, big.as_str())));
    s.subscribe(Endpoint, &names);
    s.subscribe(Cluster, &[]);
    assert_eq!(s.next().unwrap().resources.len(), 4);
    let first = s.next().unwrap();
    assert_eq!((first.kind, first.resources.len()), (Endpoint, 3));
    s.ack(&first);
    assert_eq!(s.next().unwrap().resources.len(), 1);
}

#[test]
fn more_names_than_the_limit_end_the_stream() {
    let mut s = stream(&[]);
    let names: Vec<String> = (0..99).map(|i| i.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    s.subscribe(Endpoint, &names);
    s.subscribe(Endpoint, &names);
    s.subscribe(Route, &["r"]);
    let request = DeltaDiscoveryRequest {
        type_url: Route.type_url().into(),
        resource_names_subscribe: strings(&["q"]),
        ..Default::default()
    };
    assert_eq!(s.machine.on_delta(request, NOW).unwrap_err(), Refusal::TooManyNames { limit: 100 });
}

#[test]
fn a_name_beyond_the_limit_ends_the_stream() {
    let mut s = stream(&[]);
    let long = "x".repeat(101);
    let request = |subscribe: &[&str], held: &[&str]| DeltaDiscoveryRequest {
        type_url: Endpoint.type_url().into(),
        resource_names_subscribe: strings(subscribe),
        initial_resource_versions: held.iter().map(|name| (name.to_string(), String::new())).collect(),
        ..Default::default()
    };
    for request in [request(&["a", &long], &[]), request(&[], &[&long])] {
        let refusal = Refusal::NameTooLong { limit: 100, bytes: 101 };
        assert_eq!(s.machine.on_delta(request, NOW).unwrap_err(), refusal);
    }
}

#[test]
fn memory_is_counted_for_what_the_client_says_and_given_back() {
    let mut s = stream(&[(Cluster, "a", "1"), (Cluster, "b", "1")]);
    // What the wildcard matches is the store's doing.
    s.subscribe(Cluster, &[]);
    let all = s.expect(Cluster, "a=1 b=1");
    s.ack(&all);
    assert_eq!(s.machine.bytes(), 0);
    s.subscribe(Endpoint, &["x", "y"]);
    let two = s.machine.bytes();
    assert!(two > 2, "{two}");
    s.subscribe(Endpoint, &["x"]);
    assert_eq!(s.machine.bytes(), two);
    s.unsubscribe(Endpoint, &["x", "y", "y"]);
    assert_eq!(s.machine.bytes(), 0);
    // What a wildcard client claims to hold counts until it is told that it is gone.
    s.resume(Listener, &["*"], &[("p", "1"), ("q", "1")]);
    s.expect(Listener, "-p -q");
    assert_eq!(s.machine.bytes(), 0);
}

#[test]
fn a_type_that_is_not_served_is_passed_over() {
    let mut s = stream(&[]);
    let request = DeltaDiscoveryRequest { type_url: "unknown".into(), ..Default::default() };
    assert!(s.machine.on_delta(request, NOW).unwrap().is_none());
}

#[test]
fn a_resource_that_the_words_of_a_refusal_name_is_the_culprit() {
    let mut s =
        stream(&[(Cluster, "shop/web", "1"), (Cluster, "shop/web-2", "1"), (Cluster, "shop/cart", "bad")]);
    s.subscribe(Cluster, &["*"]);
    let all = s.next().unwrap();
    let error =
        RpcStatus { message: "Error updating cluster(s) shop/cart: no".into(), ..RpcStatus::default() };
    let request =
        DeltaDiscoveryRequest { response_nonce: all.nonce, error_detail: Some(error), ..Default::default() };
    let verdict = s.request(Cluster, request);
    assert!(matches!(verdict, Some(Verdict::Nacked { names, .. }) if names == ["shop/cart"]));
    assert_eq!(s.states(Cluster), ["shop/cart Nacked", "shop/web Requested", "shop/web-2 Requested"]);
}

#[test]
fn a_refusal_is_over_when_the_resource_is_accepted_or_gone() {
    let mut s = stream(&[(Endpoint, "a", "bad"), (Endpoint, "b", "bad")]);
    for name in ["a", "b"] {
        s.subscribe(Endpoint, &[name]);
        let bad = s.next().unwrap();
        s.nack(&bad);
    }
    assert_eq!(s.states(Endpoint), ["a Nacked", "b Nacked"]);
    s.set(&[(Endpoint, "a", "good")]);
    let good = s.expect(Endpoint, "a=good");
    s.ack(&good);
    s.remove(&[(Endpoint, "b")]);
    let gone = s.next();
    assert!(gone.is_some());
    s.ack(&gone.unwrap());
    assert_eq!(s.states(Endpoint), ["a Acked", "b DoesNotExist"]);
    let status = &s.machine.status()[0];
    assert!(status.refused.is_empty() && status.last_nack.is_some());
}

#[test]
fn how_each_resource_stands() {
    let mut s = stream(&[(Endpoint, "acked", "1"), (Route, "later", "1"), (Endpoint, "sent", "1")]);
    s.subscribe(Endpoint, &["acked", "none"]);
    let first = s.expect(Endpoint, "acked=1 -none");
    s.ack(&first);
    s.subscribe(Endpoint, &["sent"]);
    s.expect(Endpoint, "sent=1");
    s.subscribe(Endpoint, &["later"]);
    assert_eq!(s.states(Endpoint), ["acked Acked", "later Requested", "none DoesNotExist", "sent Sent"]);
}

#[test]
fn what_was_on_its_way_while_the_wildcard_ended_and_began_again_is_not_forgotten() {
    let mut s = stream(&[(Cluster, "a", "1")]);
    s.subscribe(Cluster, &["*"]);
    let on_its_way = s.expect(Cluster, "a=1");
    s.unsubscribe(Cluster, &["*"]);
    s.expect_nothing();
    s.remove(&[(Cluster, "a")]);
    s.subscribe(Cluster, &["*"]);
    s.expect_nothing();
    // The client wants clusters when this arrives, and keeps it.
    s.ack(&on_its_way);
    let next = s.expect(Cluster, "");
    s.ack(&next);
    s.expect(Cluster, "-a");
}

#[test]
fn what_is_made_again_while_its_removal_is_on_its_way_is_sent() {
    let mut s = stream(&[(Cluster, "a", "1")]);
    s.subscribe(Cluster, &["*"]);
    let held = s.expect(Cluster, "a=1");
    s.ack(&held);
    s.remove(&[(Cluster, "a")]);
    let removed = s.expect(Cluster, "-a");
    s.set(&[(Cluster, "a", "1")]);
    s.expect_nothing();
    s.ack(&removed);
    s.expect(Cluster, "a=1");
}

#[test]
fn a_wildcard_that_ends_and_begins_again_between_two_looks_is_answered_in_full() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.subscribe(Endpoint, &["*"]);
    let all = s.expect(Endpoint, "a=1 b=1");
    s.ack(&all);
    s.unsubscribe(Endpoint, &["*"]);
    s.subscribe(Endpoint, &["*"]);
    s.expect(Endpoint, "a=1 b=1");
}

#[test]
fn what_was_asked_for_is_answered_though_it_came_with_something_bad() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.subscribe(Endpoint, &["a"]);
    let first = s.expect(Endpoint, "a=1");
    s.ack(&first);
    s.subscribe(Endpoint, &["a", "b"]);
    let both = s.expect(Endpoint, "a=1 b=1");
    s.nack(&both);
    let again = s.expect(Endpoint, "a=1");
    s.ack(&again);
    s.expect(Endpoint, "b=1");
}
