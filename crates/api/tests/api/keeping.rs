//! What stays in force when files go wrong, and what does not.

use crate::{BASE, file, loader, told};
use tidegate_api::{Config, Loaded, MAX_FILE_BYTES, SourceFile};
use tidegate_model::Fraction;

fn policy(percentage: &str) -> SourceFile {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: web}}]\n  failoverThreshold: {{percentage: {percentage}}}\n"
    );
    file("policy.yaml", &text)
}

fn base() -> SourceFile {
    file("base.yaml", BASE)
}

fn threshold(config: &Config) -> Fraction {
    config.services[&"shop/web".parse().unwrap()].policy.engine.failover_threshold.value
}

fn percent(percent: f64) -> Fraction {
    Fraction::from_percentage(percent).unwrap()
}

fn only_problem(loaded: &Loaded) -> &str {
    assert_eq!(loaded.problems.len(), 1, "{}", told(loaded));
    &loaded.problems[0].message
}

#[test]
fn an_object_that_becomes_wrong_stays_as_it_was() {
    let mut loader = loader();
    assert_eq!(threshold(&loader.load(&[base(), policy("60")]).config), percent(60.0));
    for _ in 0..2 {
        let wrong = loader.load(&[base(), policy("-1")]);
        assert_eq!(threshold(&wrong.config), percent(60.0));
        only_problem(&wrong);
        assert!(told(&wrong).contains("stays in force as it last was"), "{}", told(&wrong));
    }
    let mended = loader.load(&[base(), policy("65")]);
    assert_eq!(threshold(&mended.config), percent(65.0));
    assert!(mended.problems.is_empty());
    let removed = loader.load(&[base()]);
    assert_eq!(threshold(&removed.config), percent(70.0));
}

#[test]
fn an_object_that_never_was_right_is_left_out() {
    let loaded = loader().load(&[base(), policy("-1")]);
    assert_eq!(threshold(&loaded.config), percent(70.0));
    assert!(!told(&loaded).contains("stays in force"), "{}", told(&loaded));
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_objects() {
    let mut loader = loader();
    let before = loader.load(&[base(), policy("60")]);
    for broken in ["{", "a: b: c", "\tx", "", "\n", &"#".repeat(MAX_FILE_BYTES + 1)] {
        let loaded = loader.load(&[base(), file("policy.yaml", broken)]);
        assert_eq!(loaded.config, before.config);
        only_problem(&loaded);
    }
    let emptied = loader.load(&[base(), file("policy.yaml", "# nothing here any more\n")]);
    assert_eq!(threshold(&emptied.config), percent(70.0));
    assert!(emptied.problems.is_empty());
}

#[test]
fn a_file_with_all_objects_may_break_and_be_mended() {
    let mut loader = loader();
    let before = loader.load(&[base(), policy("60")]);
    let broken = loader.load(&[file("base.yaml", &BASE[..BASE.len() / 2]), policy("60")]);
    // Cut in the middle of an object it is still YAML perhaps, but then the object is gone or wrong.
    assert_eq!(broken.config.clusters, before.config.clusters);
    let mended = loader.load(&[base(), policy("60")]);
    assert_eq!(mended, before);
}

#[test]
fn an_object_that_lost_its_name_may_be_any_of_its_file() {
    let mut loader = loader();
    let before = loader.load(&[base(), policy("60")]);
    let nameless = SourceFile { text: policy("50").text.replace("name: web, ", ""), ..policy("50") };
    let loaded = loader.load(&[base(), nameless]);
    assert_eq!(loaded.config, before.config);
    assert_eq!(only_problem(&loaded), "metadata.name is missing");
}

#[test]
fn an_object_that_moves_to_another_file_is_moved() {
    let mut loader = loader();
    loader.load(&[base(), policy("60")]);
    let moved = SourceFile { path: "a-new-place.yaml".to_owned(), ..policy("61") };
    let loaded = loader.load(&[base(), moved.clone()]);
    assert_eq!(threshold(&loaded.config), percent(61.0));
    assert!(loaded.problems.is_empty());
    // Even when the file that it came from is being rewritten at that moment.
    let loaded = loader.load(&[base(), file("policy.yaml", "{"), moved]);
    assert_eq!(threshold(&loaded.config), percent(61.0));
    only_problem(&loaded);
}

#[test]
fn a_route_with_a_wrong_rule_keeps_the_rules_that_it_had() {
    let route = |rules: &str| {
        let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: shop}\n";
        file("route.yaml", &format!("{head}spec: {{parentRefs: [{{name: edge}}], rules: [{rules}]}}\n"))
    };
    let rules = |loaded: &Loaded| {
        let gateway = &loaded.config.gateways[&"shop/edge".parse().unwrap()];
        gateway
            .matches()
            .iter()
            .map(|found| format!("{:?}", found.matching.path))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (a, b) =
        ("{matches: [{path: {value: /a}}], backendRefs: [{name: web}]}", "{backendRefs: [{name: web}]}");
    let wrong = "{matches: [{method: GRT}], backendRefs: [{name: web}]}";
    let mut fresh = loader();
    assert_eq!(rules(&fresh.load(&[base(), route(&format!("{a}, {wrong}"))])), "Prefix(\"/a\")");
    assert_eq!(rules(&fresh.load(&[base(), route(&format!("{b}, {wrong}"))])), "Prefix(\"/\")");
    let mut seasoned = loader();
    assert_eq!(rules(&seasoned.load(&[base(), route(&format!("{b}, {a}"))])), "Prefix(\"/a\") Prefix(\"/\")");
    let kept = seasoned.load(&[base(), route(&format!("{a}, {wrong}"))]);
    assert_eq!(rules(&kept), "Prefix(\"/a\") Prefix(\"/\")");
    assert_eq!(kept.problems.len(), 1);
}

#[test]
fn the_order_of_files_does_not_matter() {
    let twice = SourceFile { path: "z.yaml".to_owned(), ..policy("50") };
    let forwards = loader().load(&[base(), policy("60"), twice.clone()]);
    let backwards = loader().load(&[twice, policy("60"), base()]);
    assert_eq!(forwards, backwards);
    assert_eq!(threshold(&forwards.config), percent(60.0));
    assert!(only_problem(&forwards).starts_with("the object is already in policy.yaml:1"));
}

#[test]
fn too_many_objects_are_told_and_the_first_are_kept() {
    let one = "---\n- X\n";
    let text = one.repeat(tidegate_api::MAX_OBJECTS + 10);
    let loaded = loader().load(&[base(), file("z.yaml", &text)]);
    assert!(loaded.problems.iter().any(|p| p.message.contains("more than 100000 objects")));
    assert_eq!(threshold(&loaded.config), percent(70.0));
}

#[test]
fn the_own_cluster_must_be_known() {
    let mut loader = tidegate_api::Loader::new("us-esat".parse().unwrap());
    let near = "there is no FleetCluster \"us-esat\", which is this agent's own cluster\n  hint: add it, or start the \
                agent with the name of its cluster; did you mean \"us-east\"?\n";
    assert_eq!(told(&loader.load(&[base()])), near);
    let none = "there is no FleetCluster \"us-esat\", which is this agent's own cluster\n  hint: add `kind: FleetCluster` \
                with `metadata: {name: us-esat}` and its region; there is none yet\n";
    assert_eq!(told(&loader.load(&[])), none);
}

#[test]
fn an_object_full_of_mistakes_is_cut_short() {
    let entries = "- {addresses: [x], zone: z}\n".repeat(10_000);
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: a, namespace: shop, labels: \
         {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{port: 1}}]\nendpoints:\n{entries}"
    );
    let loaded = loader().load(&[base(), file("slice.yaml", &text)]);
    assert_eq!(loaded.problems.len(), 101);
    let refs = "{kind: Service, name: web}, ".repeat(65);
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: web, namespace: shop}}\nspec: \
         {{targetRefs: [{refs}]}}\n"
    );
    let loaded = loader().load(&[base(), file("policy.yaml", &text)]);
    assert!(told(&loaded).contains("must have at most 64 entries, not 65"), "{}", told(&loaded));
}
