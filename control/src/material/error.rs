//! What is wrong with the files of a configuration.

use crate::events::PolicyError;
use crate::leaf::IssuerError;
use eyesplice_identity::inventory::NodeListError;
use eyesplice_identity::kubeconfig::WebhookError;
use eyesplice_identity::pem::{FileRef, PemError};
use eyesplice_identity::pki::Flaw;
use eyesplice_identity::verify::TrustError;
use eyesplice_proto::login::LoginError;
use std::fmt;
use std::io;

/// All that is wrong with the files of a configuration; never empty.
#[derive(Debug)]
pub struct MaterialErrors(pub Vec<MaterialError>);

impl fmt::Display for MaterialErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "error" } else { "errors" };
        write!(f, "the files of the configuration have {count} {noun}")?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for MaterialErrors {}

/// One file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// A PEM file.
    #[error("{0}")]
    Pem(PemError),
    /// A certificate that is not for its role.
    #[error("{0}: {1}")]
    Role(FileRef, Flaw),
    /// An inventory, pins file or deny list.
    #[error("{0}: {1}")]
    Nodes(String, NodeListError),
    /// An audit policy.
    #[error("{0}: {1}")]
    Policy(String, PolicyError),
    /// The kubeconfig of an audit webhook.
    #[error("{0}: {1}")]
    Webhook(String, WebhookError),
    /// Files that can be read and give no trust.
    #[error("{0}: {1}")]
    Trust(String, TrustError),
    /// A TLS server cannot be built of a certificate.
    #[error("{0}: cannot serve TLS with it: {1}; issue another")]
    Tls(FileRef, rustls::Error),
    /// The file with user and password for a proxy.
    #[error("{0}: {1}")]
    Login(FileRef, LoginFileError),
    /// No keys for session tickets.
    #[error("timeouts.sessionTicket: the system's random source failed: {0}; try again")]
    Tickets(rustls::Error),
    /// A CA for break-glass that is another's, too.
    #[error(
        "front.breakGlass.clientCAFile: a CA in it is in {0} as well, whose users could break \
         glass; make one of its own, as `eyesplice pki issue DIR --break-glass NAME` does"
    )]
    NotItsOwn(String),
    /// The egress CA cannot issue leaves.
    #[error("egressCA: {0}")]
    Issuer(IssuerError),
}

/// Why a file has no login. Its text is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum LoginFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// It has another text.
    #[error("{0}")]
    Text(LoginError),
}

impl MaterialError {
    /// The field that names the file, as far as it is known.
    pub(crate) fn field(&self) -> &str {
        match self {
            Self::Pem(error) => &error.file.field,
            Self::Role(file, _) | Self::Tls(file, _) | Self::Login(file, _) => &file.field,
            Self::Nodes(field, _) | Self::Trust(field, _) => field,
            Self::Policy(field, _) | Self::Webhook(field, _) => field,
            Self::Tickets(_) => "timeouts.sessionTicket",
            Self::NotItsOwn(_) => "front.breakGlass.clientCAFile",
            Self::Issuer(_) => "egressCA",
        }
    }
}
