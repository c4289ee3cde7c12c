//! What one writes first: tokio, tokio-rustls on both legs, `copy_bidirectional` with 64 KiB buffers.

use super::preamble::{ESTABLISHED, HEAD, target};
use crate::identity::{Identity, Manners};
use crate::run::runtime;
use crate::{Attempt, Result};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Bytes of the copy buffer of each direction.
const BUFFER: usize = 64 * 1024;

/// Starts the proxy: on one thread, or on tokio's scheduler of several for more workers than one.
///
/// # Errors
/// If it cannot listen or start a thread.
pub fn start(socket: &Path, identity: &Identity, manners: Manners, workers: usize) -> Result<()> {
    let acceptor = TlsAcceptor::from(identity.server_with(manners)?);
    let connector = TlsConnector::from(identity.client_with(manners)?);
    let runtime = runtime(workers)?;
    let listener = {
        let _entered = runtime.enter();
        UnixListener::bind(socket).attempt("listen for tokio-rustls")?
    };
    thread::Builder::new()
        .name("tokio-rustls".into())
        .spawn(move || runtime.block_on(serve(listener, acceptor, connector)))
        .attempt("start tokio-rustls")?;
    Ok(())
}

async fn serve(
    listener: UnixListener,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
) -> io::Result<()> {
    let (acceptor, connector) = (Arc::new(acceptor), Arc::new(connector));
    loop {
        let (downstream, _) = listener.accept().await?;
        let (acceptor, connector) = (Arc::clone(&acceptor), Arc::clone(&connector));
        tokio::spawn(async move {
            if let Err(error) = stream(downstream, &acceptor, &connector).await {
                eprintln!("tokio-rustls proxy: {error}");
            }
        });
    }
}

async fn stream(
    mut downstream: UnixStream,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
) -> io::Result<()> {
    let mut head = [0; HEAD];
    let read = downstream.read(&mut head).await?;
    let upstream = TcpStream::connect(target(&head[..read])?).await?;
    upstream.set_nodelay(true)?;
    let mut upstream = connector.connect(Identity::name(), upstream).await?;
    downstream.write_all(ESTABLISHED).await?;
    let mut downstream = acceptor.accept(downstream).await?;
    copy_bidirectional_with_sizes(&mut downstream, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}
