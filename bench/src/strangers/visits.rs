//! The API server: a new stream at fixed moments, whatever became of the ones before.

use crate::identity::Identity;
use crate::{Attempt, Result};
use hdrhistogram::Histogram;
use rustls::ClientConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

/// When an API server gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens streams through a gateway.
pub(super) struct ApiServer {
    config: Arc<ClientConfig>,
    gateway: SocketAddr,
    target: SocketAddr,
}

/// How long streams took to open, from when they were due.
pub(super) struct Visits {
    pub(super) microseconds: Histogram<u64>,
    pub(super) failures: u64,
}

impl ApiServer {
    pub(super) fn new(
        identity: &Identity,
        gateway: SocketAddr,
        target: SocketAddr,
    ) -> Result<Self> {
        Ok(Self {
            config: identity.client()?,
            gateway,
            target,
        })
    }

    /// Opens `rate` streams a second for so long.
    pub(super) async fn visits(&self, rate: u32, length: Duration) -> Result<Visits> {
        let mut visits = Visits {
            microseconds: Histogram::new(3)
                .map_err(io::Error::other)
                .attempt("make a histogram")?,
            failures: 0,
        };
        let (start, every) = (Instant::now(), Duration::from_secs(1) / rate.max(1));
        let mut running = JoinSet::new();
        let mut due = start;
        while due < start + length {
            sleep_until(due).await;
            let (config, gateway, target) = (Arc::clone(&self.config), self.gateway, self.target);
            running.spawn(async move {
                let opened = timeout(PATIENCE, open(config, gateway, target)).await;
                (opened.is_ok_and(|opened| opened.is_ok()), due.elapsed())
            });
            due += every;
        }
        while let Some(visit) = running.join_next().await {
            match visit {
                Ok((true, took)) => {
                    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    let noted = visits.microseconds.record(took);
                    noted.map_err(io::Error::other).attempt("record a time")?;
                }
                Ok((false, _)) | Err(_) => visits.failures += 1,
            }
        }
        Ok(visits)
    }
}

async fn open(
    config: Arc<ClientConfig>,
    gateway: SocketAddr,
    target: SocketAddr,
) -> io::Result<()> {
    let socket = TcpStream::connect(gateway).await?;
    socket.set_nodelay(true)?;
    let mut tls = TlsConnector::from(config)
        .connect(Identity::name(), socket)
        .await?;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    tls.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("refused"))
    }
}
