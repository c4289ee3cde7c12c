//! Whom to ask about tokens, and how.

use crate::document::{FileRef, Section};
use std::time::Duration;

/// Whom to ask about tokens that nobody here knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenReviewSettings {
    /// `https://HOST[:PORT]` of an API server.
    pub server: String,
    /// Who issued its serving certificate.
    pub ca_file: FileRef,
    /// Our credential there: a certificate with its key, or a token.
    pub credential: ReviewCredential,
    /// One question, from dial to answer.
    pub timeout: Duration,
    /// How long an accepted token is accepted without asking again.
    pub authorized_ttl: Duration,
    /// How long a refused token is refused without asking again.
    pub unauthorized_ttl: Duration,
}

/// What the asking process proves itself with. It needs the role system:auth-delegator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewCredential {
    /// A client certificate.
    Certificate {
        /// The chain.
        cert_file: FileRef,
        /// Its key.
        key_file: FileRef,
    },
    /// A file with a bearer token, read for each question: mounted ones are replaced.
    Token(FileRef),
}

impl ReviewCredential {
    /// Reads the fields of a credential, which may be left out where it is not `required`.
    pub fn read(section: &mut Section<'_>, required: bool) -> Option<Self> {
        let cert = section.file("clientCertFile");
        let key = section.file("clientKeyFile");
        let token = section.file("tokenFile");
        match (cert, key, token) {
            (Some(cert_file), Some(key_file), None) => Some(Self::Certificate {
                cert_file,
                key_file,
            }),
            (None, None, Some(file)) => Some(Self::Token(file)),
            (None, None, None) if !required => None,
            _ => {
                let or_none = if required { "" } else { ", or none of them" };
                let fix =
                    format!("set either clientCertFile and clientKeyFile, or tokenFile{or_none}");
                section.error("", "has not exactly one credential", fix);
                None
            }
        }
    }
}
