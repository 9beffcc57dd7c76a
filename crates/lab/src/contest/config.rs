//! The configurations: files beside this one, with a word between two `@` for each address. Pure.

use super::ENDPOINTS;
use std::{net::SocketAddr, path::Path};

/// The failover policy of Tidegate.
pub const TIDEGATE: &str = include_str!("configs/tidegate.yaml");

/// A file that a proxy reads.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    text: &'static str,
}

/// Envoy on its own.
pub const ENVOY: &[Template] = &[Template { name: "envoy.yaml", text: include_str!("configs/envoy.yaml") }];
/// `HAProxy`.
pub const HAPROXY: &[Template] =
    &[Template { name: "haproxy.cfg", text: include_str!("configs/haproxy.cfg") }];
/// nginx.
pub const NGINX: &[Template] = &[Template { name: "nginx.conf", text: include_str!("configs/nginx.conf") }];
/// Traefik.
pub const TRAEFIK: &[Template] = &[
    Template { name: "traefik.yaml", text: include_str!("configs/traefik.yaml") },
    Template { name: "traefik-routes.yaml", text: include_str!("configs/traefik-routes.yaml") },
];

/// What is filled in.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    /// Where the proxy listens.
    pub listen: SocketAddr,
    /// Its admin address, where it has one.
    pub admin: SocketAddr,
    /// The folder of its files.
    pub folder: &'a Path,
    /// The endpoints at home.
    pub home: [SocketAddr; ENDPOINTS],
    /// The endpoints that stand by.
    pub standby: [SocketAddr; ENDPOINTS],
}

impl Template {
    /// The file's text.
    #[must_use]
    pub fn fill(&self, places: &Places<'_>) -> String {
        let mut text = self.text.replace("@DIR@", &places.folder.to_string_lossy());
        let mut set = |word: &str, address: SocketAddr| {
            text = text
                .replace(&format!("@{word}@"), &address.to_string())
                .replace(&format!("@{word}_IP@"), &address.ip().to_string())
                .replace(&format!("@{word}_PORT@"), &address.port().to_string());
        };
        set("LISTEN", places.listen);
        set("ADMIN", places.admin);
        for (number, (a, b)) in (1..).zip(places.home.into_iter().zip(places.standby)) {
            set(&format!("A{number}"), a);
            set(&format!("B{number}"), b);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 40, 0, 9], port))
    }

    fn filled(template: &Template) -> String {
        let places = Places {
            listen: address(1),
            admin: address(2),
            folder: Path::new("/tmp/it"),
            home: [11, 12, 13, 14].map(address),
            standby: [21, 22, 23, 24].map(address),
        };
        template.fill(&places)
    }

    #[test]
    fn every_configuration_names_every_endpoint_once_and_keeps_no_word_unfilled() {
        for (name, templates) in
            [("envoy", ENVOY), ("haproxy", HAPROXY), ("nginx", NGINX), ("traefik", TRAEFIK)]
        {
            let text: String = templates.iter().map(filled).collect();
            for port in [11, 12, 13, 14, 21, 22, 23, 24] {
                let pair =
                    [format!("127.40.0.9:{port}"), format!("address: 127.40.0.9, port_value: {port}}}")];
                let named: usize = pair.iter().map(|it| text.matches(it.as_str()).count()).sum();
                assert_eq!(named, 1, "{name}: {port}\n{text}");
            }
            let words = text.split('@').skip(1).step_by(2);
            let unfilled: Vec<_> = words.filter(|it| it.chars().all(|c| c.is_ascii_uppercase())).collect();
            assert!(unfilled.is_empty(), "{name}: {unfilled:?}");
        }
    }

    #[test]
    fn the_other_place_stands_by_in_every_configuration() {
        let lines = [(HAPROXY, "@B1@ backup"), (NGINX, "@B1@ max_fails=1 fail_timeout=10s backup")];
        for (templates, line) in lines {
            assert!(templates[0].text.contains(line), "{line}");
        }
        assert!(ENVOY[0].text.contains("priority: 1") && TRAEFIK[1].text.contains("fallback: place-b"));
    }

    #[test]
    fn the_page_links_every_file() {
        let page = include_str!("../../../../docs/benchmarks.md");
        let all = [ENVOY, HAPROXY, NGINX, TRAEFIK].concat();
        for name in all.iter().map(|template| template.name).chain(["tidegate.yaml"]) {
            let link = format!("[{name}](../crates/lab/src/contest/configs/{name})");
            assert!(page.contains(&link), "docs/benchmarks.md lacks {link}");
        }
    }

    #[test]
    fn the_policy_of_tidegate_sets_a_health_check_and_keeps_the_defaults() {
        let policy: serde_json::Value = serde_saphyr::from_str(TIDEGATE).unwrap();
        let spec = &policy["spec"];
        let check = serde_json::json!(
            {"type": "HTTP", "path": crate::toy::HEALTH_PATH, "interval": "1s", "timeout": "500ms"}
        );
        assert_eq!(spec["healthCheck"]["active"], check);
        let back =
            serde_json::json!({"holdDown": "30s", "ramp": {"steps": [10, 50, 100], "interval": "10s"}});
        assert_eq!(spec["failback"], back);
    }
}
