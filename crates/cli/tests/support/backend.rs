//! Endpoints that answer 200 to anything, for an agent's checks.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
};

/// Starts an endpoint on a free port of this address; it serves until the test ends.
pub(crate) fn start(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // The requests are small: they come in one piece. A client that is gone is no matter.
            let _ = stream.read(&mut [0; 4096]);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n");
        }
    });
    address
}

/// The manifests of `examples/one-cluster` with living endpoints: two in each zone.
pub(crate) fn one_cluster(folder: &std::path::Path) {
    super::copy_example("one-cluster", folder);
    let file = folder.join("services.yaml");
    let example = std::fs::read_to_string(&file).unwrap();
    let mut documents = vec![example.split("---\n").next().unwrap().to_owned()];
    for (number, zone) in ["zone-a", "zone-a", "zone-b", "zone-b"].into_iter().enumerate() {
        let address = start(if cfg!(target_os = "linux") { "127.0.0.2" } else { "127.0.0.1" });
        documents.push(format!(
            "apiVersion: discovery.k8s.io/v1\n\
             kind: EndpointSlice\n\
             metadata: {{name: web-{number}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: IPv4\n\
             ports: [{{name: http, port: {}}}]\n\
             endpoints: [{{addresses: [{}], zone: {zone}, conditions: {{ready: true}}}}]\n",
            address.port(),
            address.ip(),
        ));
    }
    std::fs::write(file, documents.join("---\n")).unwrap();
}
