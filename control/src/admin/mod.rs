//! Health and metrics over plain HTTP on loopback: `/livez`, `/readyz`, `/healthz`, `/metrics`.
//!
//! Only GET and HEAD; no request body is read. A connection that is slow or idle is closed, and at
//! most `MAX_CONNECTIONS` are served at a time: the next one waits in the listener's backlog.

mod readiness;

pub use readiness::Readiness;

use crate::metrics::{CONTENT_TYPE, Metrics};
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use readiness::Checks;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections served at a time: a few scrapers and probes.
const MAX_CONNECTIONS: usize = 32;

/// From the first moment of a connection, or the end of a response, to the end of a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The life of one connection: longer than any scrape interval in use, and an end for a reader that
/// stopped in the middle of a response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of one request head: what a probe or scraper sends is a few hundred.
const MAX_HEAD: usize = 16 << 10;

/// The wait after accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        let error = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the task is dropped.
    pub async fn serve(self, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let metrics = Arc::clone(&metrics);
                    let readiness = Arc::clone(&readiness);
                    tokio::spawn(async move {
                        serve_connection(stream, metrics, readiness).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin endpoint cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
    let service = service_fn(move |request| {
        let response = respond(&request, &metrics, &readiness);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
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
        "/metrics" => exposition(metrics),
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

fn exposition(metrics: &Metrics) -> Response<Full<Bytes>> {
    match metrics.render() {
        Ok(body) => typed(StatusCode::OK, CONTENT_TYPE, body),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be rendered\n".into(),
            )
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE_HEADER, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
