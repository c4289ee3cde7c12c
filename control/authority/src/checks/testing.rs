//! Kubelets on loopback, and names, for tests.

use eyesplice_identity::pki::testing::Made;
use eyesplice_process::resolve::{Lookup, LookupFuture};
use eyesplice_proto::tls::provider;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A fatal alert `internal_error`: what Go sends when there is no certificate.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// How a fake kubelet answers.
#[derive(Clone)]
pub(crate) enum Manner {
    /// It has no certificate.
    Bare,
    /// It has this one.
    Presents(Arc<ServerConfig>),
    /// It speaks HTTP.
    Plain,
    /// It never answers.
    Silent,
}

impl Manner {
    /// Presents a certificate.
    pub(crate) fn presents(made: &Made) -> Self {
        let config = ServerConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.der()], made.private_key());
        Self::Presents(Arc::new(config.unwrap()))
    }
}

/// A port on which nobody listens, and that nobody else gets.
pub(crate) struct Reserved(TcpSocket);

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Listens there from now on.
    pub(crate) fn start(self, manner: Manner) -> Kubelet {
        let address = self.address();
        let listener = self.0.listen(64).unwrap();
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(accept(listener, manner, Arc::clone(&seen)));
        Kubelet {
            address,
            seen,
            task,
        }
    }
}

/// Something that listens as a kubelet does, until it is dropped.
pub(crate) struct Kubelet {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Kubelet {
    pub(crate) fn start(manner: Manner) -> Self {
        Reserved::new().start(manner)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many there were at a time at most.
    pub(crate) fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, manner: Manner, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(open, Ordering::SeqCst);
        let (manner, seen) = (manner.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            // How a peer leaves is its business.
            let _ = answer(stream, manner).await;
            seen.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn answer(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let mut buffer = [0; 4096];
    match manner {
        Manner::Presents(config) => {
            let mut stream = TlsAcceptor::from(config).accept(stream).await?;
            while stream.read(&mut buffer).await? > 0 {}
            return Ok(());
        }
        Manner::Bare => {
            hello(&mut stream).await?;
            stream.write_all(&INTERNAL_ERROR).await?;
        }
        Manner::Plain => {
            hello(&mut stream).await?;
            stream
                .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                .await?;
        }
        Manner::Silent => {}
    }
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Reads one record: what is left unread would reset the connection at its end.
async fn hello(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).await?;
    Ok(())
}

/// Names that resolve, and how often each was asked for.
#[derive(Default)]
pub(crate) struct Names {
    known: Mutex<HashMap<String, Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let mut known = self.known.lock().unwrap();
        known.insert(name.to_owned(), addresses);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Lookup for Names {
    fn lookup(&self, name: &str) -> LookupFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.known.lock().unwrap().get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such host")) })
    }
}
