//! An API server for tests, whose answers a test writes, and that remembers what it was asked.

use crate::https::{Endpoint, HttpsClient};
use crate::pki::testing::{Made, authority, client, kubelet};
use eyesplice_proto::tls::provider;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Its path, with the query.
    pub path: String,
    /// Its Authorization header.
    pub authorization: Option<String>,
    /// Its body; null if there is none.
    pub body: Value,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Told {
    /// This status and body.
    Says(u16, Value),
    /// No answer ever.
    Silent,
    /// A closed connection.
    HangsUp,
}

type Script = dyn Fn(&Asked) -> Told + Send + Sync;

/// An API server that listens on loopback until it is dropped.
pub struct ScriptedApiServer {
    /// Where.
    pub address: SocketAddr,
    /// Who issued its certificate, and that of its clients.
    pub ca: Made,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ScriptedApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedApiServer {
    /// Answers as `script` says.
    pub async fn start(script: impl Fn(&Asked) -> Told + Send + Sync + 'static) -> Self {
        let ca = authority("ca").self_signed();
        let mut recipe = kubelet();
        recipe.names = vec!["127.0.0.1"];
        let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots(), provider::shared())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let pair = SingleCertAndKey::from(recipe.signed_by(&ca).certified());
        let config = ServerConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(pair));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let (log, count) = (Arc::clone(&asked), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
                let (log, count) = (Arc::clone(&log), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    let service = service_fn(move |request| {
                        answer(Arc::clone(&script), Arc::clone(&log), request)
                    });
                    // A client that leaves is no concern of the server.
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    drop(served.await);
                });
            }
        });
        Self {
            address,
            ca,
            asked,
            connections,
            task,
        }
    }

    /// A client of it with a certificate.
    pub fn client(&self) -> HttpsClient {
        let ours = client("eyesplice").signed_by(&self.ca).certified();
        let tls = ClientConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.ca.roots())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(ours)));
        HttpsClient::new(self.endpoint(), tls)
    }

    /// Its address as configuration has it.
    pub fn endpoint(&self) -> Endpoint {
        format!("https://{}", self.address).parse().unwrap()
    }

    /// All that it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    /// How many requests came whose path holds `part`.
    pub fn count(&self, part: &str) -> usize {
        let asked = self.asked();
        asked.iter().filter(|one| one.path.contains(part)).count()
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        *self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    script: Arc<Script>,
    log: Arc<Mutex<Vec<Asked>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let authorization = head.headers.get(AUTHORIZATION);
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let told = script(&asked);
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked);
    match told {
        Told::Says(status, body) => {
            let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
            *response.status_mut() = status.try_into().unwrap();
            Ok(response)
        }
        Told::Silent => std::future::pending().await,
        Told::HangsUp => panic!("hang up, as the test says"),
    }
}
