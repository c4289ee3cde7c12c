//! Where a far end listens: a plain and a TLS port, or standard input and output.

use super::{Faults, stream};
use crate::crypto::Group;
use crate::identity::{Identity, Suite};
use crate::relay::{Line, listener};
use crate::route::Channel;
use crate::wire::{Content, Side};
use crate::{Attempt, Result, child};
use clap::Args;
use eyesplice_sys::limits;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a far end of its own is told.
#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    /// Where to take plain streams
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where to take TLS streams
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen_tls: SocketAddr,
    /// Directory with ca.crt, leaf.crt and leaf.key, as `certificates` makes it [default: made for each run]
    #[arg(long, value_name = "DIRECTORY")]
    pub certificates: Option<PathBuf>,
    /// The group with which TLS streams agree on keys
    #[arg(long, value_enum, default_value_t)]
    pub group: Group,
    /// Ends with standard input
    #[arg(long)]
    pub until_eof: bool,
    /// Takes one stream, on standard input and output
    #[arg(long)]
    pub stdio: bool,
}

/// A far end in this process; stops listening when dropped.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it takes plain streams.
    pub(crate) plain: SocketAddr,
    /// Where it takes TLS streams.
    pub(crate) tls: SocketAddr,
    /// What it found wrong.
    pub(crate) faults: Faults,
    side: Side,
    tasks: Vec<JoinHandle<()>>,
}

impl Origin {
    /// Listens beyond `line`, or here if there is none: on these addresses, or on free ports.
    pub(crate) fn start(
        content: &Arc<Content>,
        identity: &Identity,
        listen: [Option<SocketAddr>; 2],
        line: Option<&Line>,
    ) -> Result<Self> {
        let [plain, tls] = listen.map(|address| listening(address, line));
        Self::on(content, identity, plain?, tls?)
    }

    /// Takes TLS streams with another identity too: on this address, or on a free port.
    pub(crate) fn also(
        &mut self,
        identity: &Identity,
        listen: Option<SocketAddr>,
        line: Option<&Line>,
    ) -> Result<SocketAddr> {
        let acceptor = TlsAcceptor::from(identity.far_end()?);
        let listener = listening(listen, line)?;
        let (side, faults) = (self.side.clone(), self.faults.clone());
        let (address, task) = accept(listener, Some(acceptor), side, faults)?;
        self.tasks.push(task);
        Ok(address)
    }

    fn on(
        content: &Arc<Content>,
        identity: &Identity,
        plain: std::net::TcpListener,
        tls: std::net::TcpListener,
    ) -> Result<Self> {
        let side = Side::new("far end", Arc::clone(content));
        let faults = Faults::default();
        let acceptor = TlsAcceptor::from(identity.far_end()?);
        let (plain, first) = accept(plain, None, side.clone(), faults.clone())?;
        let (tls, second) = accept(tls, Some(acceptor), side.clone(), faults.clone())?;
        Ok(Self {
            plain,
            tls,
            faults,
            side,
            tasks: vec![first, second],
        })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    side: Side,
    faults: Faults,
) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::from_std(listener).attempt("accept streams")?;
    let address = listener
        .local_addr()
        .attempt("read the far end's address")?;
    let task = tokio::spawn(async move {
        loop {
            // Out of descriptors: the client that got none will say so.
            let Ok((socket, _)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let (tls, side, faults) = (tls.clone(), side.clone(), faults.clone());
            tokio::spawn(async move {
                if let Some(channel) = channel(socket, tls).await {
                    stream(channel, side, &faults).await;
                }
            });
        }
    });
    Ok((address, task))
}

fn listening(address: Option<SocketAddr>, line: Option<&Line>) -> Result<std::net::TcpListener> {
    match line {
        Some(line) => line.listen(address.map_or(0, |address| address.port())),
        None => bind(address.unwrap_or(([127, 0, 0, 1], 0).into())),
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener> {
    listener(address).attempt(format!("listen on {address}"))
}

/// A stream whose handshake failed is its client's to judge.
async fn channel(socket: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Channel>> {
    socket.set_nodelay(true).ok()?;
    match tls {
        None => Some(Box::new(socket)),
        Some(acceptor) => Some(Box::new(acceptor.accept(socket).await.ok()?)),
    }
}

/// Runs a far end: until standard input ends where that is wanted, or for good.
///
/// # Errors
/// If it cannot listen, or bytes were wrong.
pub async fn serve(options: &ServeOptions) -> Result<()> {
    limits::raise_open_files().attempt("raise the limit of open files")?;
    let content = Arc::new(Content::new());
    if options.stdio {
        let faults = Faults::default();
        let channel = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        stream(Box::new(channel), Side::new("far end", content), &faults).await;
        return verdict(&faults);
    }
    let directory = tempfile::tempdir().attempt("make a temporary directory")?;
    let identity = match &options.certificates {
        Some(path) => Identity::open(path, Suite::default()),
        None => Identity::create(directory.path(), Suite::default())?,
    };
    let identity = identity.exchanging(options.group.into());
    let (plain, tls) = (bind(options.listen)?, bind(options.listen_tls)?);
    let origin = Origin::on(&content, &identity, plain, tls)?;
    child::say_ready(&format!("plain {} tls {}", origin.plain, origin.tls))?;
    if !options.until_eof {
        std::future::pending::<()>().await;
    }
    let dismissed = tokio::task::spawn_blocking(child::until_dismissed);
    dismissed
        .await
        .map_err(|_| crate::Error::Ended("far end"))??;
    verdict(&origin.faults)
}

fn verdict(faults: &Faults) -> Result<()> {
    let faults = faults.take();
    match faults.first() {
        None => Ok(()),
        Some(first) => Err(crate::Error::Void {
            failures: faults.len(),
            first: first.clone(),
        }),
    }
}
