//! What is wrong with the files of a configuration.

use crate::leaf::IssuerError;
use eyesplice_identity::inventory::NodeListError;
use eyesplice_identity::pem::{FileRef, PemError};
use eyesplice_identity::pki::Flaw;
use eyesplice_identity::verify::TrustError;
use std::fmt;

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
    #[error("{file}: {flaw}")]
    Role {
        /// Its file.
        file: FileRef,
        /// What is wrong.
        flaw: Flaw,
    },
    /// An inventory or pins file.
    #[error("{field}: {error}{}", Cause(error))]
    Nodes {
        /// The field that names it.
        field: &'static str,
        /// What is wrong with it.
        error: NodeListError,
    },
    /// Files that can be read and give no trust.
    #[error("{field}: {error}")]
    Trust {
        /// The section that names them.
        field: String,
        /// What is wrong.
        error: TrustError,
    },
    /// A TLS server cannot be built of a certificate.
    #[error("{file}: cannot serve TLS with it: {error}; issue another")]
    Tls {
        /// The certificate.
        file: FileRef,
        /// What rustls says.
        error: rustls::Error,
    },
    /// No keys for session tickets.
    #[error("timeouts.sessionTicket: the system's random source failed: {0}; try again")]
    Tickets(rustls::Error),
    /// The egress CA cannot issue leaves.
    #[error("egressCA: {0}")]
    Issuer(IssuerError),
}

impl MaterialError {
    /// The field that names the file, as far as it is known.
    pub(crate) fn field(&self) -> &str {
        match self {
            Self::Pem(error) => &error.file.field,
            Self::Role { file, .. } | Self::Tls { file, .. } => &file.field,
            Self::Nodes { field, .. } => field,
            Self::Trust { field, .. } => field,
            Self::Tickets(_) => "timeouts.sessionTicket",
            Self::Issuer(_) => "egressCA",
        }
    }
}

/// The kernel's words where the error itself does not have them.
struct Cause<'a>(&'a NodeListError);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            NodeListError::Read { source, .. } => write!(f, " ({source})"),
            _ => Ok(()),
        }
    }
}
