//! Opening a connection: TCP from the source that is asked for, TLS where the URL says so, HTTP/1 or HTTP/2.

use super::target::{Checked, Wire};
use http_body_util::Full;
use hyper::{body::Bytes, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{io, net::IpAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;

pub(super) type Body = Full<Bytes>;

/// A connection that can be asked.
pub(super) enum Opened {
    Http1(conn::http1::SendRequest<Body>),
    Http2(conn::http2::SendRequest<Body>),
}

/// Opens a connection; it is driven by a task of its own, and ends with its last sender.
pub(super) async fn open(to: &Checked, from: Option<IpAddr>) -> io::Result<Opened> {
    let stream = connect(to, from).await?;
    match &to.tls {
        None => speak(to.wire, stream).await,
        Some((config, name)) => {
            let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
            speak(to.wire, stream).await
        }
    }
}

async fn connect(to: &Checked, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in lookup_host((to.host.as_str(), to.port)).await? {
        if from.is_some_and(|from| from.is_ipv4() != address.is_ipv4()) {
            continue;
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from {
            socket.bind((from, 0).into())?;
        }
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn speak<S>(wire: Wire, stream: S) -> io::Result<Opened>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if wire == Wire::Http1 {
        let (sender, connection) = conn::http1::handshake(io).await.map_err(io::Error::other)?;
        // How it ended is told to who asked by it.
        tokio::spawn(async move { drop(connection.await) });
        return Ok(Opened::Http1(sender));
    }
    let (sender, connection) = conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(Opened::Http2(sender))
}
