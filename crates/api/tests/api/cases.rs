//! A folder of inputs, each with what is said about it. `INSTA_UPDATE=always` writes the answers anew: read them.

use crate::{load, told};
use std::{fs, path::Path};
use tidegate_api::Trust;

#[test]
fn every_case_says_what_it_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 25, "the cases are not where they should be");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for name in names {
        let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        let loaded = load(&text);
        assert_eq!(name.starts_with("good-"), loaded.problems.is_empty(), "{name}: {}", told(&loaded));
        for problem in &loaded.problems {
            assert!(!problem.message.is_empty() && !problem.hint.is_empty(), "{problem:?}");
            let _ = format!("{:?}", problem.report(&text));
        }
        let in_force: Vec<String> = (loaded.config.services.iter())
            .map(|(name, service)| {
                let broken = service.endpoints.iter().filter(|(_, it)| !it.node_ready);
                let broken: String = broken.map(|(at, _)| format!(", {at} on a broken node")).collect();
                let wanted = service.replicas.map(|it| format!(" of {it}")).unwrap_or_default();
                let tls = service.tls.as_ref().map(|tls| {
                    let trust = match &tls.trust {
                        Trust::System => "what the machine believes".to_owned(),
                        Trust::Authorities(pem) => format!("{} authorities", pem.matches("BEGIN").count()),
                        Trust::Nobody => "nobody".to_owned(),
                    };
                    format!(", by TLS as {} {:?} trusting {trust}", tls.server_name, tls.names)
                });
                let tls = tls.unwrap_or_default();
                format!("service {name}: {}{wanted} endpoints{broken}{tls}", service.endpoints.len())
            })
            .chain(loaded.config.gateways.iter().map(|(name, gateway)| {
                let listeners = gateway.listeners.iter().map(|l| format!("{} {:?}", l.address, l.hostnames));
                let routes = gateway.routes.iter().map(|route| {
                    format!(
                        "\n  route {} on {:?} for {:?}: {} rules",
                        route.name,
                        route.listeners,
                        route.hostnames,
                        route.rules.len()
                    )
                });
                let streams = gateway.streams.iter().map(|it| {
                    let backends: Vec<String> =
                        it.backends.iter().map(|it| format!("{:?}", it.service)).collect();
                    format!(
                        "\n  stream {} on {} for {:?} to {}",
                        it.name,
                        it.listener,
                        it.hostnames,
                        backends.join(" ")
                    )
                });
                format!(
                    "gateway {name} on {}{}{}",
                    listeners.collect::<Vec<_>>().join(", "),
                    routes.collect::<String>(),
                    streams.collect::<String>()
                )
            }))
            .chain(loaded.config.shifts.iter().map(|(name, it)| {
                format!(
                    "shift {name}: {} % away from {}, {:?}, {}",
                    it.percent, it.target, it.expiry, it.comment
                )
            }))
            .collect();
        let clusters = loaded
            .config
            .clusters
            .keys()
            .map(tidegate_model::ClusterName::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let shown = format!("{}\nin force:\nclusters {clusters}\n{}\n", told(&loaded), in_force.join("\n"));
        settings.bind(|| insta::assert_snapshot!(name.as_str(), shown));
    }
}
