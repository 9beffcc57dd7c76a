//! Certificates on their way to gateways: each as a secret of its own, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::Arc;
use tidegate_agent::{
    core::{Core, Input, Output},
    journal::{Header, Line},
};
use tidegate_api::{Loader, SourceFile};
use tidegate_model::Time;
use tidegate_xds::Change;

const BASE: &str =
    "{apiVersion: tidegate.dev/v1alpha1, kind: FleetCluster, metadata: {name: east}, spec: {region: east}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: tidegate-edge
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}]}}
";

/// A secret, and what of it nobody may be told: the first bytes of the scalar, and those that follow.
fn secret() -> (String, [String; 2]) {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let lines: Vec<&str> = key.lines().collect();
    let private = [lines[1][48..].to_owned(), lines[2][..20].to_owned()];
    let text = format!(
        "{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: shop, namespace: shop}}, stringData: \
         {{tls.crt: {chain:?}, tls.key: {key:?}}}}}"
    );
    (text, private)
}

/// What gateways are told, by `KIND NAME`; `None` is gone.
fn told(output: &Output) -> Vec<(String, Option<&[u8]>)> {
    let told = output.xds.iter().map(|change| match change {
        Change::Set { kind, name, body, .. } => (format!("{kind} {name}"), Some(&body[..])),
        Change::Remove { kind, name, .. } => (format!("{kind} {name}"), None),
    });
    told.collect()
}

#[test]
fn a_key_goes_to_gateways_as_a_secret_of_its_own_and_is_written_down_nowhere() {
    let mut loader = Loader::new("east".parse().unwrap());
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let (old, private_old) = secret();
    let (new, private_new) = secret();
    loader.set_file(&file("base.yaml", BASE));
    loader.set_file(&file("secret.yaml", &old));
    let update = loader.update();
    assert_eq!(update.problems, None);
    let mut core = Core::new("east".parse().unwrap(), None, Time::ZERO);
    let first = Input::Manifests(Arc::new(loader.config().clone()));
    let started = core.handle(first.clone(), Time::ZERO);
    loader.set_file(&file("secret.yaml", &new));
    let change = Input::ManifestsChanged(Arc::new(loader.update().change));
    let changed = core.handle(change.clone(), Time::ZERO);

    let name = "secret certificate/shop/shop".to_owned();
    let (before, after) = (told(&started), told(&changed));
    let of = |all: &[(String, Option<&[u8]>)], name: &str| {
        all.iter().find(|it| it.0 == name).unwrap().1.map(<[u8]>::to_vec)
    };
    let holds = |body: &[u8], part: &String| body.windows(part.len()).any(|it| it == part.as_bytes());
    for (all, private) in [(&before, &private_old), (&after, &private_new)] {
        assert!(holds(&of(all, &name).unwrap(), &private[0]));
        let elsewhere = all.iter().filter(|it| it.0 != name).filter_map(|it| it.1);
        assert!(elsewhere.into_iter().all(|body| private.iter().all(|part| !holds(body, part))));
    }
    let listener = "listener shop/edge/https";
    assert_eq!(of(&before, listener), of(&after, listener), "the listener names it only");

    // What is written down, kept and printed.
    let header = Header::first("east".parse().unwrap(), core.save(Time::ZERO), 0);
    let header = Header { resume: vec![Input::Manifests(Arc::clone(core.config()))], ..header };
    let line = |input: &Input| Line::Told { at: Time::ZERO, input: input.clone(), records: Vec::new() };
    let written = [
        serde_json::to_string(&header).unwrap(),
        serde_json::to_string(&line(&first)).unwrap(),
        serde_json::to_string(&line(&change)).unwrap(),
        format!("{first:?} {change:?} {started:?} {changed:?} {core:?}"),
    ];
    for text in &written {
        for part in private_old.iter().chain(&private_new) {
            assert!(!text.contains(part), "a part of a key is written down");
        }
    }
    // It can be repeated all the same.
    let again: Line = serde_json::from_str(&written[2]).unwrap();
    let Line::Told { input, .. } = again else { panic!("{again:?}") };
    core.handle(input, Time::ZERO);

    loader.remove("secret.yaml");
    let update = loader.update();
    assert!(update.problems.unwrap()[0].message.contains("there is no Secret shop/shop"));
    let gone = core.handle(Input::ManifestsChanged(Arc::new(update.change)), Time::ZERO);
    let gone = told(&gone);
    assert_eq!((of(&gone, &name), of(&gone, listener)), (None, None), "nobody is let in without");
    assert!(of(&gone, "listener shop/edge/http").is_some());
}
