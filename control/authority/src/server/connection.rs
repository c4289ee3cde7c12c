//! One connection: TLS, whose it is, then request after request.

use super::call::{Call, Server, stopped};
use super::route;
use crate::limits;
use crate::material::AuthorityMaterial;
use eyesplice_identity::verify::judged_later;
use eyesplice_process::guests::{Bounds, Guest, Guests, Trouble, While};
use eyesplice_process::linger::lingering;
use eyesplice_proto::tls::provider;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// How many connections there are, and of whom.
const BOUNDS: Bounds = Bounds {
    all: limits::CONNECTIONS,
    strangers: limits::STRANGERS,
    strangers_per_source: limits::STRANGERS_PER_SOURCE,
    handshakes_per_second: limits::HANDSHAKES_PER_SECOND,
};

/// Accepts until the process stops, then lets live requests end.
pub(crate) async fn serve(server: Arc<Server>, listener: TcpListener) {
    let guests = Guests::new("authority", BOUNDS, server.metrics.servers.clone());
    let mut trouble = Trouble::default();
    let mut stopping = server.stopping.clone();
    // Each connection holds one; all are gone when the last has ended.
    let (alive, mut gone) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Everybody here is known and served; who comes now may come again.
                let Some(guest) = guests.enter(peer.ip()) else {
                    continue;
                };
                let (server, guests) = (Arc::clone(&server), Arc::clone(&guests));
                let alive = alive.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = guest.sent_away() => {}
                        () = overdue(&guest) => {}
                        () = connection(server, &guests, &guest, stream, peer) => {}
                    }
                    drop(alive);
                });
            }
            Err(error) => trouble.wait(&guests, &error).await,
        }
    }
    drop((listener, alive));
    if timeout(limits::STOP, gone.recv()).await.is_err() {
        tracing::warn!(live = guests.live(), "stopping with live connections");
    }
}

/// Waits until the time for a first request is over, and for ever once one has come.
async fn overdue(guest: &Guest) {
    sleep(limits::FIRST_REQUEST).await;
    if !guest.is_silent() {
        std::future::pending::<()>().await;
    }
}

async fn connection(
    server: Arc<Server>,
    guests: &Guests,
    guest: &Arc<Guest>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    if let Some(connection) = handshake(&server, guests, stream, peer).await {
        if connection.chain.is_some() {
            guest.is_known();
        }
        requests(server, connection, guest, peer.to_string()).await;
    }
}

/// A connection and its client's verified chain.
struct Connection {
    stream: TlsStream<TcpStream>,
    chain: Option<Vec<CertificateDer<'static>>>,
}

/// Charged when the ClientHello has come: a connection that sends nothing costs nobody a handshake.
async fn handshake(
    server: &Server,
    guests: &Guests,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Connection> {
    // Small answers: nothing to gain from waiting for more.
    let _ = stream.set_nodelay(true);
    let material = server.material.load_full();
    let shaken = timeout(limits::HANDSHAKE_TIMEOUT, async {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if !guests.may_handshake(peer.ip()) {
            return Ok(None);
        }
        let config = tls_config(&material).map_err(io::Error::other)?;
        hello.into_stream(Arc::new(config)).await.map(Some)
    });
    let stream = match shaken.await {
        Ok(Ok(stream)) => stream?,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!("TLS handshake took too long");
            return None;
        }
    };
    let chain = stream.get_ref().1.peer_certificates();
    let chain = chain.and_then(|chain| verified(&material, chain));
    Some(Connection { stream, chain })
}

/// Keeps a chain that the client CA vouches for. Another one counts as none, as at the API server:
/// the request gets a 401 that says what to do, where a failed handshake says nothing.
fn verified(
    material: &AuthorityMaterial,
    chain: &[CertificateDer<'static>],
) -> Option<Vec<CertificateDer<'static>>> {
    let (leaf, intermediates) = chain.split_first()?;
    let verifier = material.clients.as_ref()?;
    match verifier.verify_client_cert(leaf, intermediates, UnixTime::now()) {
        Ok(_) => Some(chain.to_vec()),
        Err(error) => {
            let subject = eyesplice_identity::certificate::identify(chain);
            tracing::info!(%subject, %error, "client certificate is not accepted");
            None
        }
    }
}

async fn requests(server: Arc<Server>, connection: Connection, guest: &Arc<Guest>, peer: String) {
    let Connection { stream, chain } = connection;
    let chain: Option<Arc<[CertificateDer<'static>]>> = chain.map(Into::into);
    let mut stopping = server.stopping.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let call = Call {
            server: Arc::clone(&server),
            chain: chain.clone(),
            peer: peer.clone(),
            guest: Arc::clone(guest),
        };
        let busy = guest.busy();
        async move {
            let response = route::answer(call, request).await;
            Ok::<_, Infallible>(response.map(|body| While::new(body, busy)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::HEAD)
        .serve_connection(lingering(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn tls_config(material: &AuthorityMaterial) -> Result<ServerConfig, rustls::Error> {
    let clients: Arc<dyn ClientCertVerifier> = match &material.clients {
        Some(verifier) => judged_later(Arc::clone(verifier)),
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let certified = Arc::clone(&material.server.certified);
    let mut config =
        ServerConfig::builder_with_provider(provider::allowing(material.config.groups))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from((*certified).clone())));
    // HTTP/1.1 alone: each watch has a connection of its own, which TCP's flow control bounds.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would skip the check of the client's chain against the CA in force.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
