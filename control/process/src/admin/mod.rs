//! Health and metrics over plain HTTP on loopback: `/livez`, `/readyz`, `/healthz`, `/metrics`, and
//! `/tunnels` and `/break-glass` of a process that has any.
//!
//! Only GET and HEAD; no request body is read. A connection that is slow or idle is closed. The next one
//! is always taken, for it may be the probe that decides whether the process may live: where there are
//! too many, the one that has been silent longest is closed for it.

mod readiness;
mod settings;

pub use readiness::{Audited, Condition, Readiness};
pub use settings::AdminSettings;

use crate::guests::{Bounds, Guest, Guests, Trouble, While};
use crate::linger::lingering;
use crate::listen;
use crate::metrics::{BreakGlassAnswer, Form, Metrics};
use eyesplice_sys::socket::{Inherited, Place, tcp_place};
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use readiness::Checks;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections held at a time: a few scrapers and probes, and room so that none of them ever meets a
/// crowd. All are strangers here, for nobody shows a credential.
const BOUNDS: Bounds = Bounds {
    all: 64,
    strangers: 64,
    strangers_per_source: 48,
    handshakes_per_second: 0,
};

/// From the first moment of a connection, or the end of a response, to the end of a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The life of one connection: longer than any scrape interval in use, and an end for a reader that
/// stopped in the middle of a response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of one request head: what a probe or scraper sends is a few hundred.
const MAX_HEAD: usize = 16 << 10;

/// The endpoint could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("admin endpoint cannot listen on {address}; set admin.address to a free one")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// A bound endpoint.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// An address that is in use or not of this machine.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        Self::take(address, &mut Inherited::default()).await
    }

    /// The same with the socket of a process before this one, where it has one there.
    ///
    /// # Errors
    /// As those of [`Admin::bind`].
    pub async fn take(address: SocketAddr, inherited: &mut Inherited) -> Result<Self, BindError> {
        let bound = listen::tcp_from(inherited, address).await;
        let (listener, address) = bound.map_err(|source| BindError { address, source })?;
        Ok(Self { listener, address })
    }

    /// A second descriptor of its socket, for another process.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn second(&self) -> io::Result<(Place, OwnedFd)> {
        let fd = self.listener.as_fd();
        Ok((tcp_place(fd)?, fd.try_clone_to_owned()?))
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the task is dropped.
    pub async fn serve(self, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
        let guests = Guests::new("admin", BOUNDS, metrics.servers.clone());
        let mut trouble = Trouble::default();
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // One that finds no place is closed: everybody here is served at this moment.
                    let Some(guest) = guests.enter(peer.ip()) else {
                        continue;
                    };
                    let metrics = Arc::clone(&metrics);
                    let readiness = Arc::clone(&readiness);
                    tokio::spawn(async move {
                        tokio::select! {
                            () = guest.sent_away() => {}
                            () = serve_connection(stream, &guest, metrics, readiness) => {}
                        }
                    });
                }
                Err(error) => trouble.wait(&guests, &error).await,
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    guest: &Arc<Guest>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
) {
    let service = service_fn(move |request| {
        let busy = guest.busy();
        let mut response = respond(&request, &metrics, &readiness);
        if readiness.is_handed_over() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        async move { Ok::<_, Infallible>(response.map(|body| While::new(body, busy))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(lingering(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection ended"),
    }
}

fn respond<B: Body>(
    request: &Request<B>,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed\n".into(),
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let verbose = request.uri().query().is_some_and(asks_verbose);
    match request.uri().path() {
        "/livez" => health("livez", &readiness.alive(), verbose),
        "/healthz" => health("healthz", &readiness.alive(), verbose),
        "/readyz" => health("readyz", &readiness.checks(), verbose),
        "/metrics" => exposition(metrics, accepted(request)),
        "/tunnels" => tunnels(metrics),
        "/break-glass" => break_glass(metrics, None),
        "/break-glass/drill" => break_glass(metrics, Some(request.uri().query().unwrap_or(""))),
        _ => text(StatusCode::NOT_FOUND, "not found\n".into()),
    }
}

fn asks_verbose(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| pair == "verbose" || pair.starts_with("verbose="))
}

/// A check that failed, or has more to say, is always listed: who sees it wants to know which.
fn health(endpoint: &str, checks: &Checks, verbose: bool) -> Response<Full<Bytes>> {
    if !checks.hold() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, checks.verbose(endpoint));
    }
    text(
        StatusCode::OK,
        if verbose || checks.have_notes() {
            checks.verbose(endpoint)
        } else {
            "ok".to_owned()
        },
    )
}

/// The form of the exposition that a request asks for.
fn accepted<B>(request: &Request<B>) -> Form {
    let lines = request.headers().get_all(ACCEPT).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    Form::accepted(&lines.join(","))
}

fn exposition(metrics: &Metrics, form: Form) -> Response<Full<Bytes>> {
    match metrics.write(form) {
        Ok(body) => {
            let mut response = typed(StatusCode::OK, form.media_type(), body);
            let headers = response.headers_mut();
            headers.insert(VARY, HeaderValue::from_static("accept"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be rendered\n".into(),
            )
        }
    }
}

/// Only of a process that has tunnels.
fn tunnels(metrics: &Metrics) -> Response<Full<Bytes>> {
    match metrics.tunnels.json() {
        Some(body) => typed(StatusCode::OK, "application/json", body),
        None => text(
            StatusCode::NOT_FOUND,
            "this process has no tunnels\n".into(),
        ),
    }
}

/// Only of a process that has it. Nothing is opened here: a drill says what would be.
fn break_glass(metrics: &Metrics, drill: Option<&str>) -> Response<Full<Bytes>> {
    match metrics.break_glass.answer(drill) {
        BreakGlassAnswer::Known(body) => typed(StatusCode::OK, "application/json", body),
        BreakGlassAnswer::Unclear(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        BreakGlassAnswer::Absent => text(
            StatusCode::NOT_FOUND,
            "this process has no break-glass; see front.breakGlass\n".into(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
