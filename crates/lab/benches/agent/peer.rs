//! The peer: an Envoy of its own that reads the same health from files, one per watched service. A file that is moved
//! into place is Envoy's fastest own way to hear of a change: no server, no protocol, no process in between.

use crate::{
    estate::{Size, host, many_ip, watched_ips},
    toys::at,
};
use serde_json::{Value, json};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The files of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    port: u16,
}

impl Files {
    /// Writes the endpoints of all watched services, and the bootstrap; its path is returned.
    pub(crate) fn write(
        folder: &Path,
        size: Size,
        port: u16,
        edge: SocketAddr,
        admin: SocketAddr,
    ) -> io::Result<(Self, PathBuf)> {
        fs::create_dir_all(folder.join("eds"))?;
        let files = Self { folder: folder.join("eds"), port };
        for watched in 0..size.watched {
            files.set(watched, true)?;
        }
        let mut clusters: Vec<Value> = (0..size.many).map(|it| files.many(it, size)).collect();
        clusters.extend((0..size.watched).map(|it| files.watched(it)));
        let mut hosts: Vec<Value> = (0..size.many)
            .map(|it| route(&format!("s-{it:05}"), &format!("s-{it:05}.many.example")))
            .collect();
        hosts.extend((0..size.watched).map(|it| route(&format!("w-{it:04}"), &host(it))));
        let bootstrap = json!({
            "node": {"id": "peer", "cluster": "peer"},
            "admin": {"address": address(admin)},
            "static_resources": {"clusters": clusters, "listeners": [listener(edge, &hosts)]},
        });
        let path = folder.join("peer.json");
        fs::write(&path, bootstrap.to_string())?;
        Ok((files, path))
    }

    /// Says whether the first endpoint of a watched service is healthy. The change is there when this returns.
    pub(crate) fn set(&self, watched: usize, healthy: bool) -> io::Result<()> {
        let [first, second] = watched_ips(watched);
        let health = if healthy { "HEALTHY" } else { "UNHEALTHY" };
        let assignment = json!({
            "resources": [{
                "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": format!("w-{watched:04}"),
                "endpoints": [
                    {"priority": 0, "lb_endpoints": [{
                        "health_status": health, "endpoint": {"address": address(at(first, self.port))}}]},
                    {"priority": 1, "lb_endpoints": [{
                        "endpoint": {"address": address(at(second, self.port))}}]},
                ],
            }],
        });
        let new = self.folder.join(format!("w-{watched:04}.new"));
        fs::write(&new, assignment.to_string())?;
        fs::rename(new, self.path(watched))
    }

    fn path(&self, watched: usize) -> PathBuf {
        self.folder.join(format!("w-{watched:04}.json"))
    }

    fn watched(&self, watched: usize) -> Value {
        json!({
            "name": format!("w-{watched:04}"), "type": "EDS", "connect_timeout": "1s",
            "common_lb_config": {"update_merge_window": "0s"},
            "eds_cluster_config": {"eds_config": {"path_config_source": {"path": self.path(watched)}}},
        })
    }

    fn many(&self, service: usize, size: Size) -> Value {
        let endpoints: Vec<Value> = (0..size.endpoints)
            .map(|it| json!({"endpoint": {"address": address(at(many_ip(service, it, size), self.port))}}))
            .collect();
        let name = format!("s-{service:05}");
        json!({
            "name": name, "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        })
    }
}

fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip(), "port_value": at.port()}})
}

fn route(cluster: &str, domain: &str) -> Value {
    json!({"name": cluster, "domains": [domain], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]})
}

fn listener(edge: SocketAddr, hosts: &[Value]) -> Value {
    json!({
        "name": "edge", "address": address(edge),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "edge",
                "route_config": {"name": "all", "virtual_hosts": hosts},
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
            },
        }]}],
    })
}
