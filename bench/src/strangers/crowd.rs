//! A crowd of strangers: opens connections at a steady rate, from many addresses, and never authenticates.

use crate::child::{say_ready, until_dismissed};
use crate::identity::{Identity, Manners, Suite};
use crate::run::runtime;
use crate::{Attempt, Error, Result};
use clap::{Args, ValueEnum};
use eyesplice_sys::limits;
use rustls::{ClientConfig, ClientConnection};
use serde::Serialize;
use socket2::SockRef;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;

/// How long a stranger stays if nobody sends it away.
const STAY: Duration = Duration::from_secs(1);

/// Between two looks at how many are due.
const TICK: Duration = Duration::from_millis(1);

/// What the file with the number of opened connections is called.
const OPENED: &str = "opened";

/// What each stranger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Says nothing.
    Bare,
    /// Sends a ClientHello, and does not answer.
    Hello,
    /// Shakes hands without a certificate.
    Handshake,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Bare, Self::Hello, Self::Handshake];

    fn word(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Hello => "hello",
            Self::Handshake => "handshake",
        }
    }
}

/// One crowd.
#[derive(Args, Clone, Debug)]
pub struct CrowdSpec {
    #[arg(long, value_enum)]
    kind: Kind,
    /// Addresses from 127.1.0.0 on
    #[arg(long)]
    sources: u32,
    /// Connections a second
    #[arg(long)]
    rate: u32,
    /// Where to; a sink in this process if there is none
    #[arg(long)]
    to: Option<SocketAddr>,
    /// Where the certificates are, and the count of connections goes
    #[arg(long)]
    directory: PathBuf,
}

impl CrowdSpec {
    pub(super) fn new(
        kind: Kind,
        sources: u32,
        rate: u32,
        to: Option<SocketAddr>,
        directory: &Path,
    ) -> Self {
        Self {
            kind,
            sources,
            rate,
            to,
            directory: directory.to_path_buf(),
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "strangers-crowd".to_owned(),
            format!("--kind={}", self.kind.word()),
            format!("--sources={}", self.sources),
            format!("--rate={}", self.rate),
            format!("--directory={}", self.directory.display()),
        ];
        arguments.extend(self.to.map(|to| format!("--to={to}")));
        arguments
    }

    /// How many connections a crowd that has gone had opened.
    pub(super) fn opened(&self) -> Result<u64> {
        let text = fs::read_to_string(self.directory.join(OPENED)).attempt("read a count")?;
        text.parse().map_err(|_| Error::Ended("crowd"))
    }
}

/// Crowds until standard input ends.
///
/// # Errors
/// If the certificates cannot be read, or the count cannot be written.
pub fn crowd(spec: &CrowdSpec) -> Result<()> {
    limits::raise_open_files().attempt("raise the limit of open files")?;
    let identity = Identity::open(&spec.directory, Suite::default());
    let nobody = Manners {
        anonymous: true,
        tickets: false,
    };
    let config = identity.client_with(nobody)?;
    let opened = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let at_end = Arc::clone(&over);
    std::thread::spawn(move || {
        // However that ends, the parent is gone.
        let _ = until_dismissed();
        at_end.store(true, Relaxed);
    });
    runtime(1)?.block_on(come(spec, &config, &opened, &over))?;
    let count = opened.load(Relaxed).to_string();
    fs::write(spec.directory.join(OPENED), count).attempt("write a count")
}

async fn come(
    spec: &CrowdSpec,
    config: &Arc<ClientConfig>,
    opened: &Arc<AtomicU64>,
    over: &AtomicBool,
) -> Result<()> {
    let to = match spec.to {
        Some(to) => to,
        None => sink().await?,
    };
    say_ready("")?;
    let start = Instant::now();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun = 0;
    while !over.load(Relaxed) {
        tick.tick().await;
        let due = start.elapsed().as_micros() * u128::from(spec.rate) / 1_000_000;
        while u128::from(begun) < due {
            let source = Ipv4Addr::from(0x7f01_0000 + begun % spec.sources);
            begun += 1;
            let (kind, config, opened) = (spec.kind, Arc::clone(config), Arc::clone(opened));
            tokio::spawn(async move {
                // Refused, reset, out of ports: it is what a crowd meets.
                if let Ok(socket) = timeout(STAY, open(source, to)).await.unwrap_or_else(late) {
                    opened.fetch_add(1, Relaxed);
                    let _ = timeout(STAY, stay(kind, socket, config)).await;
                }
            });
        }
    }
    Ok(())
}

fn late<T>(_: tokio::time::error::Elapsed) -> io::Result<T> {
    Err(io::ErrorKind::TimedOut.into())
}

async fn open(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A reset gives the port back at once: they would run out.
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}

async fn stay(kind: Kind, mut socket: TcpStream, config: Arc<ClientConfig>) -> io::Result<()> {
    match kind {
        Kind::Bare => {}
        Kind::Hello => {
            let mut hello = Vec::new();
            ClientConnection::new(config, Identity::name())
                .map_err(io::Error::other)?
                .write_tls(&mut hello)?;
            socket.write_all(&hello).await?;
        }
        Kind::Handshake => {
            let connector = TlsConnector::from(config);
            let mut tls = connector.connect(Identity::name(), socket).await?;
            while tls.read(&mut [0]).await? > 0 {}
            return Ok(());
        }
    }
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Takes connections and what comes on them.
async fn sink() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.attempt("listen")?;
    let address = listener.local_addr().attempt("read an address")?;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut rest = [0; 1024];
                while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    Ok(address)
}
