//! A way to the API that can be cut, closed and opened: what a network does to watches.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes bytes on to a server on loopback.
pub(crate) struct Proxy {
    port: u16,
    /// Grows with each cut; connections of an earlier number end.
    cuts: watch::Sender<u64>,
    open: watch::Sender<bool>,
    /// Connections that were made.
    pub(crate) made: watch::Receiver<u64>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cuts, open) = (watch::Sender::new(0), watch::Sender::new(true));
        let (counter, made) = watch::channel(0);
        let (was_cut, is_open, counter) = (cuts.subscribe(), open.subscribe(), Arc::new(counter));
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                if !*is_open.borrow() {
                    continue;
                }
                counter.send_modify(|made| *made += 1);
                let mut was_cut = was_cut.clone();
                was_cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        _ = was_cut.changed() => {}
                    }
                });
            }
        });
        Self { port: own, cuts, open, made }
    }

    /// Cuts all connections; new ones may be made.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets nobody through any more, or again.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
        if !open {
            self.cut();
        }
    }

    /// A kubeconfig that leads through here.
    pub(crate) fn kubeconfig(&self, of: &Path, port: u16, folder: &Path) -> PathBuf {
        let text = std::fs::read_to_string(of).unwrap();
        let text = text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", self.port));
        let path = folder.join("kubeconfig");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Waits until so many connections were made since `before`.
    pub(crate) async fn awaits(&mut self, more: u64) {
        let wanted = *self.made.borrow() + more;
        let made = self.made.wait_for(|made| *made >= wanted);
        tokio::time::timeout(Duration::from_secs(30), made).await.unwrap().unwrap();
    }
}
