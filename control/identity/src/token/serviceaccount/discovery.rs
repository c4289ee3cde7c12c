//! Publishes issuer and keys: the OpenID discovery document and the JWKS.
//!
//! Paths, fields and headers are the API server's, so that whatever verifies its tokens verifies
//! ours. Source: Kubernetes `pkg/serviceaccount/openidmetadata.go`, `pkg/routes/openidmetadata.go`.

use crate::token::jwt::{Algorithm, JwkSet, PublicKey};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

/// Where the discovery document is.
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where the keys are.
pub const JWKS_PATH: &str = "/openid/v1/jwks";

const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// Why nothing can be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The issuer is no URL that verifiers follow (OpenID Connect Discovery 1.0, section 3).
    #[error("issuer {0:?} cannot be discovered; use an https URL without query and fragment")]
    Issuer(String),
    /// The JWKS's address is no URL.
    #[error("JWKS URI {0:?} cannot be fetched; use an https URL")]
    JwksUri(String),
}

/// The two documents, ready to serve.
#[derive(Clone, Debug)]
pub struct Discovery {
    configuration: Bytes,
    jwks: Bytes,
}

impl Discovery {
    /// Prepares both documents. Without `jwks_uri` the keys are below the issuer.
    ///
    /// # Errors
    /// Issuer or address is no https URL.
    pub fn new(
        issuer: &str,
        jwks_uri: Option<&str>,
        keys: &[PublicKey],
    ) -> Result<Self, DiscoveryError> {
        if !is_https(issuer) || issuer.contains(['?', '#']) {
            return Err(DiscoveryError::Issuer(issuer.to_owned()));
        }
        let below = format!("{}{JWKS_PATH}", issuer.trim_end_matches('/'));
        let jwks_uri = jwks_uri.unwrap_or(&below);
        if !is_https(jwks_uri) {
            return Err(DiscoveryError::JwksUri(jwks_uri.to_owned()));
        }
        let used = |algorithm: &Algorithm| keys.iter().any(|key| key.algorithm() == *algorithm);
        let algorithms: Vec<&str> = Algorithm::ALL
            .into_iter()
            .filter(used)
            .map(Algorithm::as_str)
            .collect();
        let configuration = json!({
            "issuer": issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        });
        Ok(Self {
            configuration: Bytes::from(configuration.to_string()),
            jwks: Bytes::from(json!(JwkSet::of(keys)).to_string()),
        })
    }

    /// The discovery document, JSON.
    pub fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    /// Answers a request for either; anything else is not found.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let (body, media_type) = match request.uri().path() {
            DISCOVERY_PATH => (&self.configuration, "application/json"),
            JWKS_PATH => (&self.jwks, "application/jwk-set+json"),
            _ => return refuse(StatusCode::NOT_FOUND, "not found\n"),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        let mut response = Response::new(Full::new(body.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, MAX_AGE);
        response
    }
}

fn is_https(url: &str) -> bool {
    let uri: Result<hyper::Uri, _> = url.parse();
    uri.is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some())
}

fn refuse(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
