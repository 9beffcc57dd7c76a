use super::*;

fn stream(content: &[(ResourceType, &str, &str)]) -> Stream {
    Stream::new(Transport::Sotw, content)
}

impl Stream {
    fn want(&mut self, kind: ResourceType, names: &[&str], nonce: &str) -> Option<Verdict> {
        self.sotw(kind, names, nonce, false)
    }

    fn refuse(&mut self, response: &Outgoing, names: &[&str]) -> Option<Verdict> {
        self.sotw(response.kind, names, &response.nonce, true)
    }

    fn sotw(&mut self, kind: ResourceType, names: &[&str], nonce: &str, refuse: bool) -> Option<Verdict> {
        let request = DiscoveryRequest {
            type_url: kind.type_url().into(),
            resource_names: strings(names),
            response_nonce: nonce.into(),
            error_detail: if refuse { refusal() } else { None },
            ..Default::default()
        };
        let reaction = self.machine.on_sotw(request, NOW);
        self.react(reaction)
    }
}

#[test]
fn clusters_are_always_complete() {
    let mut s = stream(&[(Cluster, "a", "1"), (Cluster, "b", "1")]);
    s.want(Cluster, &[], "");
    let first = s.expect(Cluster, "a=1 b=1");
    let acked = s.want(Cluster, &[], &first.nonce);
    assert_eq!(acked, Some(Verdict::Acked { version: first.version.clone() }));
    s.expect_nothing();
    s.set(&[(Cluster, "b", "2")]);
    let second = s.expect(Cluster, "a=1 b=2");
    assert_ne!(first.version, second.version);
    s.want(Cluster, &[], &second.nonce);
    s.remove(&[(Cluster, "a")]);
    let third = s.expect(Cluster, "b=2");
    s.want(Cluster, &[], &third.nonce);
    s.remove(&[(Cluster, "b")]);
    s.expect(Cluster, "");
}

#[test]
fn the_version_is_of_the_content_whatever_the_way_to_it() {
    let mut s = stream(&[(Cluster, "a", "1")]);
    s.want(Cluster, &[], "");
    let first = s.expect(Cluster, "a=1");
    s.want(Cluster, &[], &first.nonce);
    s.set(&[(Cluster, "b", "1")]);
    let second = s.expect(Cluster, "a=1 b=1");
    s.want(Cluster, &[], &second.nonce);
    s.remove(&[(Cluster, "b")]);
    assert_eq!(s.expect(Cluster, "a=1").version, first.version);
    let mut other = stream(&[(Cluster, "a", "1"), (Cluster, "b", "1")]);
    other.want(Cluster, &["*"], "");
    assert_eq!(other.expect(Cluster, "a=1 b=1").version, second.version);
}

#[test]
fn an_empty_world_is_answered() {
    let mut s = stream(&[]);
    s.want(Listener, &[], "");
    let empty = s.expect(Listener, "");
    s.want(Listener, &[], &empty.nonce);
    s.expect_nothing();
}

#[test]
fn an_empty_list_after_names_means_none() {
    let mut s = stream(&[(Listener, "a", "1"), (Listener, "b", "1")]);
    s.want(Listener, &["a"], "");
    let named = s.expect(Listener, "a=1");
    s.want(Listener, &[], &named.nonce);
    s.set(&[(Listener, "a", "2")]);
    s.expect_nothing();
}

#[test]
fn a_name_ends_a_wildcard_unless_it_is_said_again() {
    let mut s = stream(&[(Listener, "a", "1"), (Listener, "b", "1")]);
    s.want(Listener, &[], "");
    let all = s.expect(Listener, "a=1 b=1");
    s.want(Listener, &["a"], &all.nonce);
    let one = s.expect(Listener, "a=1");
    s.want(Listener, &["*", "a"], &one.nonce);
    s.expect(Listener, "a=1 b=1");
}

#[test]
fn an_added_name_is_answered_a_missing_one_left_out() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.want(Endpoint, &["a", "none"], "");
    let first = s.expect(Endpoint, "a=1");
    s.want(Endpoint, &["a", "b", "none"], &first.nonce);
    let second = s.expect(Endpoint, "b=1");
    s.want(Endpoint, &["a", "b", "none"], &second.nonce);
    s.expect_nothing();
    s.set(&[(Endpoint, "none", "1")]);
    s.expect(Endpoint, "none=1");
}

#[test]
fn endpoints_that_vanish_are_not_told_but_their_return_is() {
    let mut s = stream(&[(Endpoint, "a", "1")]);
    s.want(Endpoint, &["a"], "");
    let first = s.expect(Endpoint, "a=1");
    s.want(Endpoint, &["a"], &first.nonce);
    s.remove(&[(Endpoint, "a")]);
    s.expect_nothing();
    s.set(&[(Endpoint, "a", "1")]);
    s.expect(Endpoint, "a=1");
}

#[test]
fn only_changed_endpoints_are_sent() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.want(Endpoint, &["a", "b"], "");
    let first = s.expect(Endpoint, "a=1 b=1");
    s.set(&[(Endpoint, "b", "2")]);
    s.expect_nothing();
    s.want(Endpoint, &["a", "b"], &first.nonce);
    s.expect(Endpoint, "b=2");
}

#[test]
fn a_stale_nonce_is_ignored_altogether() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.want(Endpoint, &["a"], "nonce of an earlier stream");
    let first = s.expect(Endpoint, "a=1");
    assert_eq!(s.want(Endpoint, &["a", "b"], "0"), None);
    s.expect_nothing();
    s.want(Endpoint, &["a", "b"], &first.nonce);
    let second = s.expect(Endpoint, "b=1");
    assert_eq!(s.refuse(&first, &["a"]), None);
    assert!(s.want(Endpoint, &["a", "b"], &second.nonce).is_some());
}

#[test]
fn a_name_given_up_and_wanted_again_is_sent_again() {
    let mut s = stream(&[(Endpoint, "a", "1"), (Endpoint, "b", "1")]);
    s.want(Endpoint, &["a", "b"], "");
    let first = s.expect(Endpoint, "a=1 b=1");
    s.want(Endpoint, &["b"], &first.nonce);
    s.set(&[(Endpoint, "a", "2")]);
    s.expect_nothing();
    s.want(Endpoint, &["a", "b"], &first.nonce);
    s.expect(Endpoint, "a=2");
}

#[test]
fn a_refused_world_is_not_sent_again_until_something_changes() {
    let mut s = stream(&[(Cluster, "a", "1")]);
    s.want(Cluster, &[], "");
    let first = s.expect(Cluster, "a=1");
    s.want(Cluster, &[], &first.nonce);
    s.set(&[(Cluster, "b", "bad")]);
    let bad = s.expect(Cluster, "a=1 b=bad");
    assert_eq!(s.refuse(&bad, &[]), nacked(&["a", "b"]));
    s.expect_nothing();
    s.set(&[(Cluster, "a", "2")]);
    s.expect(Cluster, "a=2 b=bad");
}

#[test]
fn refused_endpoints_are_halved_like_in_delta() {
    let mut s = stream(&[(Endpoint, "a", "bad"), (Endpoint, "b", "1")]);
    s.want(Endpoint, &["a", "b"], "");
    let both = s.expect(Endpoint, "a=bad b=1");
    s.refuse(&both, &["a", "b"]);
    let bad = s.expect(Endpoint, "a=bad");
    s.refuse(&bad, &["a", "b"]);
    let good = s.expect(Endpoint, "b=1");
    s.want(Endpoint, &["a", "b"], &good.nonce);
    s.expect_nothing();
}

#[test]
fn a_removed_cluster_stays_in_the_world_until_the_routes_are_settled() {
    let mut s = stream(&[(Cluster, "old", ""), (Route, "r", "to old")]);
    s.want(Cluster, &[], "");
    let clusters = s.expect(Cluster, "old=");
    s.want(Cluster, &[], &clusters.nonce);
    s.want(Route, &["r"], "");
    let routes = s.expect(Route, "r=to old");
    s.want(Route, &["r"], &routes.nonce);
    s.apply(&[(Cluster, "new", ""), (Route, "r", "to new")], &[(Cluster, "old")]);
    let both = s.expect(Cluster, "new= old=");
    s.expect_nothing();
    s.want(Cluster, &[], &both.nonce);
    let routes = s.expect(Route, "r=to new");
    s.expect_nothing();
    s.want(Route, &["r"], &routes.nonce);
    s.expect(Cluster, "new=");
}

#[test]
fn what_a_client_holds_already_is_not_what_it_refuses_in_a_complete_response() {
    let mut s = stream(&[(Cluster, "a", "1"), (Cluster, "b", "1")]);
    s.want(Cluster, &[], "");
    let first = s.expect(Cluster, "a=1 b=1");
    s.want(Cluster, &[], &first.nonce);
    s.set(&[(Cluster, "b", "bad")]);
    let second = s.expect(Cluster, "a=1 b=bad");
    s.refuse(&second, &[]);
    assert_eq!(s.states(Cluster), ["a Acked", "b Nacked"]);
}

#[test]
fn a_name_left_before_a_wildcard_is_sent_again_with_it() {
    let mut s = stream(&[(Route, "a", "1")]);
    s.want(Route, &["a"], "");
    let first = s.expect(Route, "a=1");
    s.want(Route, &["a"], &first.nonce);
    s.want(Route, &[], &first.nonce);
    s.want(Route, &["*"], &first.nonce);
    s.expect(Route, "a=1");
}
