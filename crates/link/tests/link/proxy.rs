//! A TCP proxy between an observer and a gateway, which can do what networks do.

use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Bytes pass.
    Open,
    /// Bytes vanish and nothing is closed. A connection that has lost a byte stays dead.
    BlackHole,
    /// Connections are closed at once.
    Refusing,
}

#[derive(Clone, Copy, Debug)]
struct Road {
    way: Way,
    to: SocketAddr,
    /// Connections made before the last cut end.
    cuts: u32,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    road: watch::Sender<Road>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (road, watched) = watch::channel(Road { way: Way::Open, to, cuts: 0 });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (inbound, _) = listener.accept().await.unwrap();
                connections.spawn(carry(inbound, watched.clone()));
            }
        });
        Self { address, road, _tasks: tasks }
    }

    pub(crate) fn set(&self, way: Way) {
        self.road.send_modify(|road| road.way = way);
    }

    /// Ends all connections; new ones go to `to`.
    pub(crate) fn cut_over(&self, to: SocketAddr) {
        self.road.send_modify(|road| (road.to, road.cuts) = (to, road.cuts + 1));
    }

    pub(crate) fn cut(&self) {
        self.road.send_modify(|road| road.cuts += 1);
    }
}

async fn carry(inbound: TcpStream, mut road: watch::Receiver<Road>) {
    let made = *road.borrow();
    if made.way == Way::Refusing {
        return;
    }
    let Ok(outbound) = TcpStream::connect(made.to).await else { return };
    let (from_observer, to_observer) = inbound.into_split();
    let (from_gateway, to_gateway) = outbound.into_split();
    tokio::select! {
        () = copy(from_observer, to_gateway, road.clone()) => {}
        () = copy(from_gateway, to_observer, road.clone()) => {}
        _ = road.wait_for(|now| now.cuts != made.cuts || now.way == Way::Refusing) => {}
    }
}

async fn copy(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, road: watch::Receiver<Road>) {
    let mut buffer = vec![0; 16 << 10];
    let mut lost = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        lost |= road.borrow().way == Way::BlackHole;
        if !lost && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // The end of a connection does not pass a black hole either.
    if lost || road.borrow().way == Way::BlackHole {
        std::future::pending::<()>().await;
    }
}
