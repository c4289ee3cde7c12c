//! Who is this? Turns a client certificate or a bearer token into a Kubernetes user.
//!
//! Credentials are tried in the order of the API server: the certificate of the connection, then the
//! bearer token as bootstrap token, as entry of the token file, as service-account token, and at
//! last by asking another API server (TokenReview). The first that accepts decides; a request that
//! nobody accepts is refused, and so is an anonymous one. Source: apiserver
//! `pkg/authentication/request/{x509,bearertoken,union}`.

mod authenticator;
mod certificate;
mod config;
mod error;
pub mod review;
mod settings;
mod sources;

pub use authenticator::Authenticator;
pub use certificate::{CertificateRefusal, certificate_user};
pub use config::AuthenticationConfig;
pub use config::read_settings;
pub use error::{AuthnError, CredentialKind, Refusal};
pub use settings::{ServiceAccountSettings, Settings};
pub use sources::{Reviewed, SourceError, SourceErrors, Sources};

#[cfg(test)]
mod tests;
