//! How a client reaches the far end: directly, or through a proxy, with TLS and upgrades as wanted.

mod heads;
mod kubectl;
mod options;
mod via;

pub(crate) use heads::answer_upgrade;
pub use options::{RouteOptions, Upgrade};
pub(crate) use via::Via;

use crate::identity::Identity;
use crate::{Attempt, Error, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

/// What bytes go through.
pub(crate) trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

/// A stream that is ready for payload.
pub(crate) struct Opened {
    /// It.
    pub(crate) channel: Box<dyn Channel>,
    /// How TLS inside was shaken, if there is any.
    pub(crate) handshake: Option<HandshakeKind>,
}

/// A way to the far end.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    via: Via,
    /// Where the far end is: what is dialled directly, or what a CONNECT asks for.
    target: String,
    /// TLS around a CONNECT.
    outer: Option<Tls>,
    /// TLS with the far end, or with a proxy that ends it.
    inner: Option<Tls>,
    upgrade: Option<Upgrade>,
    /// The one session that all connections share, of a forwarded port.
    forward: Arc<OnceCell<kubectl::Forward>>,
}

#[derive(Clone, Debug)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Route {
    /// The route that options describe, to `target`; `identity` is trusted and shown where the
    /// options name no files.
    pub(crate) fn new(options: &RouteOptions, target: &str, identity: &Identity) -> Result<Self> {
        let via = options.via()?;
        let tls = |config: Arc<ClientConfig>, authority: &str| {
            let name = options.server_name(authority)?;
            Ok::<_, Error>(Tls { config, name })
        };
        let outer = match &via {
            Via::ConnectTls(proxy) => Some(Tls {
                config: options.outer_config(identity)?,
                name: options::name_of(proxy)?,
            }),
            _ => None,
        };
        let asked = match &via {
            Via::Tcp(proxy) => proxy,
            Via::KubectlPortForward(_) => kubectl::FORWARDED,
            _ => target,
        };
        let inner = match options.tls {
            true => Some(tls(options.inner_config(identity)?, asked)?),
            false => None,
        };
        Ok(Self {
            via,
            target: target.into(),
            outer,
            inner,
            upgrade: options.upgrade,
            forward: Arc::default(),
        })
    }

    /// The same work without the proxy.
    pub(crate) fn direct(&self, target: &str) -> Self {
        Self {
            via: Via::Direct,
            target: target.into(),
            outer: None,
            ..self.clone()
        }
    }

    /// Whether this is a way without a proxy.
    pub(crate) fn is_direct(&self) -> bool {
        self.via == Via::Direct
    }

    /// Whether this is the log of a pod, which comes one way and is no far end of ours.
    pub(crate) fn follows_a_log(&self) -> bool {
        matches!(self.via, Via::KubectlLogs(_))
    }

    /// Opens a stream, up to the last byte of its handshakes.
    pub(crate) async fn open(&self) -> Result<Opened> {
        let mut channel = self.dial().await?;
        if let Some(tls) = &self.outer {
            channel = tls.over(channel).await?.0;
        }
        if self.via.asks_for_target() {
            heads::connect(&mut channel, &self.target).await?;
        }
        let mut handshake = None;
        if let Some(tls) = &self.inner {
            (channel, handshake) = tls.over(channel).await?;
        }
        if let Some(upgrade) = self.upgrade {
            heads::upgrade(&mut channel, &self.target, upgrade).await?;
        }
        Ok(Opened { channel, handshake })
    }

    async fn dial(&self) -> Result<Box<dyn Channel>> {
        match &self.via {
            Via::Direct => tcp(&self.target).await,
            Via::Tcp(address) | Via::ConnectTcp(address) | Via::ConnectTls(address) => {
                tcp(address).await
            }
            Via::Unix(path) | Via::ConnectUnix(path) => {
                let socket = UnixStream::connect(path).await;
                let socket = socket.attempt(format!("connect to {}", path.display()))?;
                Ok(Box::new(socket))
            }
            Via::KubectlExec(pod) => kubectl::exec(pod),
            Via::KubectlLogs(pod) => kubectl::logs(pod),
            Via::KubectlPortForward(pod) => {
                let session = self.forward.get_or_try_init(|| kubectl::forward(pod));
                tcp(session.await?.address()).await
            }
        }
    }
}

impl Tls {
    async fn over(
        &self,
        channel: Box<dyn Channel>,
    ) -> Result<(Box<dyn Channel>, Option<HandshakeKind>)> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(self.name.clone(), channel).await;
        let stream = stream.attempt("finish a TLS handshake")?;
        let kind = stream.get_ref().1.handshake_kind();
        Ok((Box::new(stream), kind))
    }
}

async fn tcp(address: &str) -> Result<Box<dyn Channel>> {
    let socket = TcpStream::connect(address).await;
    let socket = socket.attempt(format!("connect to {address}"))?;
    socket.set_nodelay(true).attempt("set TCP_NODELAY")?;
    Ok(Box::new(socket))
}
