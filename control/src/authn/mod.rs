//! Who is this? Turns a client certificate or a bearer token into a Kubernetes user.
//!
//! Credentials are tried in the order of the API server: the certificate of the connection, then the
//! bearer token as bootstrap token, as entry of the token file, as service-account token, and at
//! last by asking another API server (TokenReview). The first that accepts decides; a request that
//! nobody accepts is refused, and so is an anonymous one. Source: apiserver
//! `pkg/authentication/request/{x509,bearertoken,union}`.

mod authenticator;
mod bearer;
mod certificate;
mod error;
mod settings;
mod sources;
mod user;

pub use authenticator::Authenticator;
pub use bearer::BearerToken;
pub(crate) use bearer::MAX_TOKEN;
pub(crate) use certificate::CREDENTIAL_ID;
pub use certificate::CertificateRefusal;
pub use error::{AuthnError, Cause, CredentialKind, Refusal};
pub use settings::{ReviewCredential, ServiceAccountSettings, Settings, TokenReviewSettings};
pub use sources::{Reviewed, SourceError, SourceErrors, Sources};
pub use user::{ALL_AUTHENTICATED, UserInfo};

#[cfg(test)]
mod tests;
