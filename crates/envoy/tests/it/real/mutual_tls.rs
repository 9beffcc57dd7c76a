//! Between clusters: who is let in, who is believed, and that certificates are exchanged under load.

use super::{
    gateway::{Gateway, envoy, envoys},
    load::{Answer, ask, http1},
    streams::{self, Echo, stream_route},
    toy::{Toy, addresses},
};
use crate::fixtures::{World, edge, gateway, listener, plan, region, rule, service, zone};
use hyper::{Method, body::Bytes};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, SerialNumber, date_time_ymd,
};
use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};
use tidegate_api::{GatewayRole, Listener, ListenerProtocol, PathMatch, ServicePolicy, Upstream};
use tidegate_envoy::{
    CLIENT_HEADER, EndpointHealth::Healthy, Entrance, Resource, eastwest_cluster, eastwest_endpoints,
    eastwest_listener, eastwest_routes, edge_cluster, edge_endpoints, edge_listener, edge_routes,
    identity_secret, stream_listener, trust_secret,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Long: it only matters when the test fails.
const WAIT: Duration = Duration::from_secs(20);

const WEST: &str = "spiffe://fleet.example/cluster/west/gateway";
const EAST: &str = "spiffe://fleet.example/cluster/east/gateway";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The identity of `name` by its authority.
fn issue(issuer: &Authority, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Resource {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a gateway");
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let chain = params.signed_by(&key, issuer).unwrap().pem();
    identity_secret(&chain, &key.serialize_pem())
}

fn identity(issuer: &Authority, name: &str) -> Resource {
    issue(issuer, name, |_| {})
}

fn trust(issuers: &[&Authority]) -> Resource {
    trust_secret("fleet.example", &issuers.iter().map(|it| it.pem()).collect::<String>(), "")
}

fn secure() -> Upstream {
    Upstream { secure: true, ..Upstream::default() }
}

fn east_west(secrets: [Resource; 2], toys: &[Toy]) -> Vec<Resource> {
    let world = World::default().zone("c", addresses(toys, toys.len()));
    let streams = BTreeSet::new();
    let here = [
        eastwest_listener(&gateway(), &listener(), Entrance::MutualTls { streams: &streams }),
        eastwest_routes(&gateway(), &listener(), &streams),
        eastwest_cluster(&service(), &secure()),
        eastwest_endpoints(&service(), &region(), &world.zones),
    ];
    here.into_iter().chain(secrets).collect()
}

/// An edge whose requests all go to the cluster behind `east`.
fn edge_to(east: SocketAddr, secrets: [Resource; 2]) -> Vec<Resource> {
    let mut world = World::default().cluster("east", "us", &[&east.to_string()]);
    world.secure = true;
    let edge = edge(vec![("shop/web", &[], vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")])]);
    let policy = ServicePolicy::default();
    let there = [
        edge_listener(&gateway(), &listener()),
        edge_routes(&gateway(), &edge, &listener(), &|_| Some(&policy), None),
        edge_cluster(&service(), &zone("a"), &secure()),
        edge_endpoints(&plan(&[("cluster:east", 10_000)], &[]), &world.view()),
    ];
    there.into_iter().chain(secrets).collect()
}

async fn get(gateway: &Gateway) -> Answer {
    ask(&http1(), Method::GET, format!("http://{}/", gateway.address), &[], Bytes::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_of_the_fleet_reach_each_other_and_nobody_else_is_let_in_or_believed() {
    let test = "gateways_of_the_fleet_reach_each_other_and_nobody_else_is_let_in_or_believed";
    for envoy in envoys(test) {
        admitted(&envoy).await;
    }
}

async fn admitted(envoy: &Path) {
    let toys = Toy::several("east", 1).await;
    let (ours, others) = (authority(), authority());
    let believed = || trust(&[&ours]);
    let east = east_west([identity(&ours, EAST), believed()], &toys);
    let east = Gateway::start(envoy, GatewayRole::EastWest, east).await;
    let west = |identity, trust| edge_to(east.address, [identity, trust]);
    let good = west(identity(&ours, WEST), believed());
    let good = Gateway::start(envoy, GatewayRole::Edge, good).await;
    for _ in 0..10 {
        let answer = get(&good).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "east"));
    }
    assert!(toys[0].seen().iter().all(|it| !it.headers.contains_key(CLIENT_HEADER)), "not for services");
    let seen = toys[0].seen().len();

    // Who is not let in: each believes the east, and shows the wrong thing.
    let expired = issue(&ours, WEST, |it| it.not_after = date_time_ymd(2020, 1, 1));
    let early = issue(&ours, WEST, |it| it.not_before = date_time_ymd(4000, 1, 1));
    let server_only = issue(&ours, WEST, |it| it.extended_key_usages.truncate(1));
    for (what, identity) in [
        ("of another authority", identity(&others, WEST)),
        ("of another trust domain", identity(&ours, "spiffe://fleet-example/cluster/west/gateway")),
        ("of the hub", identity(&ours, "spiffe://fleet.example/hub")),
        ("expired", expired),
        ("not valid yet", early),
        ("not for clients", server_only),
    ] {
        let bad = Gateway::start(envoy, GatewayRole::Edge, west(identity, believed())).await;
        assert_eq!(get(&bad).await.status, 503, "{what}");
    }
    // Nor is who shows nothing at all, or speaks no TLS.
    let mut plain = TcpStream::connect(east.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-tidegate-service: shop/web\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    // A reset is as good.
    let _ = tokio::time::timeout(WAIT, plain.read_to_end(&mut heard)).await.expect("it is closed");
    assert_eq!(heard, b"");

    // Who is not believed: the east is another one than it says.
    for (what, identity, trust) in [
        ("of another authority", identity(&others, EAST), believed()),
        ("of the hub", identity(&ours, "spiffe://fleet.example/hub"), believed()),
    ] {
        let false_east = east_west([identity, trust], &toys);
        let false_east = Gateway::start(envoy, GatewayRole::EastWest, false_east).await;
        let misled = edge_to(false_east.address, [self::identity(&ours, WEST), believed()]);
        let misled = Gateway::start(envoy, GatewayRole::Edge, misled).await;
        assert_eq!(get(&misled).await.status, 503, "{what}");
    }
    assert_eq!(toys[0].seen().len(), seen, "nothing got through");
    assert_eq!(get(&good).await.status, 200, "and nobody else was disturbed");
}

/// A certificate by which it can be told whether it is in use.
fn numbered(issuer: &Authority, name: &str, serial: u8) -> Resource {
    issue(issuer, name, |it| it.serial_number = Some(SerialNumber::from(vec![0x5e, serial])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_the_authority_itself_are_exchanged_and_no_request_fails() {
    let test = "certificates_and_the_authority_itself_are_exchanged_and_no_request_fails";
    let Some(envoy) = envoy(test) else { return };
    let toys = Toy::several("east", 2).await;
    let (old, new) = (authority(), authority());
    let both = || trust(&[&old, &new]);
    let steps = |name, serial| {
        [
            [numbered(&old, name, serial), trust(&[&old])],
            // First everybody believes both, then all show the new one, then nobody believes the old one.
            [numbered(&old, name, serial), both()],
            [numbered(&new, name, serial + 1), both()],
            [numbered(&new, name, serial + 1), trust(&[&new])],
        ]
    };
    let (easts, wests) = (steps(EAST, 0x10), steps(WEST, 0x20));
    let mut east = Gateway::start(&envoy, GatewayRole::EastWest, east_west(easts[0].clone(), &toys)).await;
    let there = east.address;
    let west = edge_to(there, wests[0].clone());
    let mut west = Gateway::start(&envoy, GatewayRole::Edge, west).await;
    for (of_east, of_west) in easts.into_iter().zip(wests) {
        for (gateway, resources) in
            [(&mut east, east_west(of_east, &toys)), (&mut west, edge_to(there, of_west))]
        {
            gateway.ads.want(resources);
            gateway.ads.applied().await;
        }
        for _ in 0..50 {
            assert_eq!(get(&west).await.status, 200);
        }
    }
    for (gateway, serial) in [(&east, "5e11"), (&west, "5e21")] {
        let certificates = gateway.admin("/certs").await;
        assert!(certificates.contains(serial), "{serial} is in use: {certificates}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_find_their_service_by_the_server_name() {
    let test = "connections_find_their_service_by_the_server_name";
    for envoy in envoys(test) {
        passed_on(&envoy).await;
    }
}

async fn passed_on(envoy: &Path) {
    let bytes = Upstream { tunnelled: true, ..secure() };
    let echo = Echo::start("c").await;
    let ours = authority();
    let secrets = |name| [identity(&ours, name), trust(&[&ours])];
    let world = World::default().zone("c", [(echo.address, Healthy)]);
    let streams = BTreeSet::from([service()]);
    let here = [
        eastwest_listener(&gateway(), &listener(), Entrance::MutualTls { streams: &streams }),
        eastwest_routes(&gateway(), &listener(), &BTreeSet::new()),
        eastwest_cluster(&service(), &bytes),
        eastwest_endpoints(&service(), &region(), &world.zones),
    ];
    let here = here.into_iter().chain(secrets(EAST)).collect();
    let east = Gateway::start(envoy, GatewayRole::EastWest, here).await;

    let mut world = World::default().cluster("east", "us", &[&east.address.to_string()]);
    world.secure = true;
    let listener = Listener { protocol: ListenerProtocol::Tcp, ..listener() };
    let mut edge = edge(Vec::new());
    edge.streams = vec![stream_route("shop/db", &[], "shop/web")];
    let policy = ServicePolicy::default();
    let there = [
        stream_listener(&gateway(), &edge, &listener, &|_| Some(&policy)),
        edge_cluster(&service(), &zone("a"), &bytes),
        edge_endpoints(&plan(&[("cluster:east", 10_000)], &[]), &world.view()),
    ];
    let there = there.into_iter().chain(secrets(WEST)).collect();
    let west = Gateway::start(envoy, GatewayRole::Edge, there).await;
    // Tunnels lose what a client says first, on the oldest release one time in six.
    for _ in 0..60 {
        assert_eq!(streams::ask(west.address, b"\x00\xffbytes").await, "c");
    }
}
