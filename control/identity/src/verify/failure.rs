//! Why a certificate is refused, in one line that a kubectl user can act on.

use super::expected::Expected;
use super::trust::{Trust, Words};
use crate::certificate::{CertificateFacts, FactsError, Weakness, instant, printable};
use crate::pins::SpkiHash;
use eyesplice_proto::target::{Host, Target};
use rustls::{CertificateError, Error as TlsError};
use std::fmt;
use std::sync::Arc;

/// Longest message: it becomes an HTTP reason phrase, which is all that the kubectl user sees.
pub const MAX_MESSAGE: usize = 400;

/// Longest name of a node, host or subject within a message; the remedy must have room.
const MAX_NAME: usize = 72;

/// Names of a certificate that a message lists.
const MAX_LISTED: usize = 3;

/// What is wrong with a presented certificate.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// It cannot be parsed.
    Malformed(FactsError),
    /// It can be parsed, but not used.
    Unusable(webpki::Error),
    /// It is not valid yet.
    NotYetValid,
    /// It is not valid any more.
    Expired,
    /// An intermediate of its chain is not valid any more.
    IssuerExpired,
    /// An intermediate of its chain is not valid yet.
    IssuerNotYetValid,
    /// It is signed by itself, or by the CA that a kubelet makes for itself alone.
    SelfSigned,
    /// Its issuer is not in the bundle.
    UnknownIssuer,
    /// An issuer of that name is in the bundle, but did not sign it.
    IssuerSignature,
    /// It is signed by an algorithm that is not trusted.
    WeakSignature,
    /// A key or a signature of its chain is not taken.
    Weak(Weakness),
    /// The handshake is not signed by its key.
    HandshakeSignature,
    /// It is not for TLS servers.
    WrongKeyUsage,
    /// It is a CA's.
    AuthorityAsServer,
    /// It does not cover what was dialled.
    WrongName,
    /// Its issuer may not sign for its names.
    NameConstraint,
    /// It is not of the node that has the address.
    WrongNode,
    /// No node has the address.
    NoNode,
    /// Its key is not among the pins.
    PinMismatch {
        /// Its key.
        presented: SpkiHash,
    },
}

impl Cause {
    /// The label in metrics and audit.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Unusable(_) => "malformed",
            Self::NotYetValid | Self::IssuerNotYetValid => "not_yet_valid",
            Self::Expired | Self::IssuerExpired => "expired",
            Self::SelfSigned => "self_signed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::IssuerSignature | Self::WeakSignature | Self::HandshakeSignature => {
                "bad_signature"
            }
            Self::Weak(_) => "weak_key",
            Self::WrongKeyUsage | Self::AuthorityAsServer => "wrong_key_usage",
            Self::WrongName | Self::NameConstraint => "wrong_name",
            Self::WrongNode | Self::NoNode => "wrong_node",
            Self::PinMismatch { .. } => "pin_mismatch",
        }
    }

    /// What goes to the peer: rustls picks the alert by it.
    pub(super) fn tls_error(&self) -> TlsError {
        TlsError::InvalidCertificate(match self {
            Self::Malformed(_) | Self::Unusable(_) => CertificateError::BadEncoding,
            Self::NotYetValid | Self::IssuerNotYetValid => CertificateError::NotValidYet,
            Self::Expired | Self::IssuerExpired => CertificateError::Expired,
            Self::SelfSigned | Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::IssuerSignature | Self::WeakSignature | Self::HandshakeSignature => {
                CertificateError::BadSignature
            }
            Self::Weak(_) | Self::WrongKeyUsage | Self::AuthorityAsServer => {
                CertificateError::InvalidPurpose
            }
            Self::WrongName | Self::NameConstraint => CertificateError::NotValidForName,
            Self::WrongNode | Self::NoNode | Self::PinMismatch { .. } => {
                CertificateError::ApplicationVerificationFailure
            }
        })
    }
}

/// A refused certificate with all that its message needs.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is wrong.
    pub cause: Cause,
    words: Words,
    node: Option<Arc<str>>,
    /// None: one of several.
    address: Option<Target>,
    accepted: Vec<Host>,
    presented: Option<CertificateFacts>,
}

impl Failure {
    pub(super) fn new(
        trust: &Trust,
        expected: &Expected,
        cause: Cause,
        presented: Option<CertificateFacts>,
    ) -> Self {
        Self {
            cause,
            words: trust.words(),
            node: expected.node.clone(),
            address: (!expected.one_of_several).then(|| Target {
                host: expected.host.clone(),
                port: expected.port,
            }),
            accepted: expected.accepted().to_vec(),
            presented,
        }
    }

    /// Whose certificate it is, for audit.
    pub fn identity(&self) -> Arc<str> {
        match &self.presented {
            Some(facts) => facts.subject.to_string().into(),
            None => "(unreadable subject)".into(),
        }
    }

    fn is_kubelet(&self) -> bool {
        self.words == Words::Kubelet
    }

    fn peer(&self) -> String {
        let mut peer = self.words.noun().to_owned();
        if let Some(node) = &self.node {
            peer = format!("{peer} {}", printable(node, MAX_NAME));
        }
        match &self.address {
            Some(address) => {
                format!("{peer} at {}", printable(&address.to_string(), MAX_NAME))
            }
            None => format!("one {peer} of several"),
        }
    }

    fn what(&self) -> String {
        let facts = self.presented.as_ref();
        let until = |read: fn(&CertificateFacts) -> String| facts.map(read).unwrap_or_default();
        match &self.cause {
            Cause::Malformed(problem) => format!("presented a certificate that {problem}"),
            Cause::Unusable(error) => {
                format!("presented an unusable certificate or chain: {error:?}")
            }
            Cause::NotYetValid => {
                let from = until(|facts| instant(facts.not_before));
                format!("presented a certificate that is not valid before {from}")
            }
            Cause::Expired => {
                let end = until(|facts| instant(facts.not_after));
                format!("presented a certificate that expired {end}")
            }
            Cause::IssuerExpired => "presented a chain whose intermediate has expired".to_owned(),
            Cause::IssuerNotYetValid => {
                "presented a chain whose intermediate is not valid yet".to_owned()
            }
            Cause::SelfSigned => "presented a self-signed certificate".to_owned(),
            Cause::UnknownIssuer => {
                format!(
                    "presented a certificate of an unknown issuer, {}",
                    self.issuer()
                )
            }
            Cause::IssuerSignature => {
                format!(
                    "presented a certificate that the trusted {} did not sign",
                    self.issuer()
                )
            }
            Cause::WeakSignature => {
                "presented a certificate whose signature algorithm is not trusted".to_owned()
            }
            Cause::Weak(weakness) => format!("presented a certificate that {weakness}"),
            Cause::HandshakeSignature => {
                "presented a certificate and does not have its key".to_owned()
            }
            Cause::WrongKeyUsage => "presented a certificate that is not for servers".to_owned(),
            Cause::AuthorityAsServer => "presented a CA certificate as its own".to_owned(),
            Cause::WrongName => {
                let names = facts.map_or(&[][..], |facts| &facts.names);
                let accepted: Vec<String> = self.accepted.iter().map(ToString::to_string).collect();
                format!(
                    "presented a certificate for {}, not {}",
                    list(names),
                    list(&accepted)
                )
            }
            Cause::NameConstraint => {
                "presented a certificate for names that its issuer may not sign".to_owned()
            }
            Cause::WrongNode => "presented the certificate of another identity".to_owned(),
            Cause::NoNode => "is at an address that no node of the inventory has".to_owned(),
            Cause::PinMismatch { presented } => {
                format!("presented a key that is not pinned, {presented}")
            }
        }
    }

    fn issuer(&self) -> String {
        let issuer = self
            .presented
            .as_ref()
            .map(|facts| facts.issuer.to_string());
        printable(&issuer.unwrap_or_default(), MAX_NAME)
    }

    /// The certificate itself: subject, serial, validity.
    fn details(&self) -> String {
        let Some(facts) = &self.presented else {
            return String::new();
        };
        let subject = printable(&facts.subject.to_string(), MAX_NAME);
        let serial: String = facts.serial.chars().filter(|c| *c != ':').collect();
        let (from, until) = (instant(facts.not_before), instant(facts.not_after));
        format!(" ({subject}, serial {serial}, valid {from} to {until})")
    }

    fn remedy(&self) -> String {
        let field = self.words.ca_field();
        let pin = || match self.presented.as_ref() {
            Some(facts) => format!("pin {}", SpkiHash::of(&facts.spki)),
            None => "pin its key".to_owned(),
        };
        match &self.cause {
            Cause::Malformed(_) | Cause::Unusable(_) | Cause::WeakSignature | Cause::Weak(_) => {
                "issue it a new certificate".to_owned()
            }
            Cause::NotYetValid | Cause::IssuerNotYetValid => {
                "check the clocks of both machines".to_owned()
            }
            Cause::Expired if self.is_kubelet() => "set serverTLSBootstrap: true and approve its \
                 CSR, or renew its certificate"
                .to_owned(),
            Cause::Expired | Cause::IssuerExpired => "renew it".to_owned(),
            Cause::SelfSigned if self.is_kubelet() => {
                format!(
                    "set serverTLSBootstrap: true and approve its CSR, or {}",
                    pin()
                )
            }
            Cause::SelfSigned if self.words == Words::Target => {
                format!("have a CA of {field} sign it, or {}", pin())
            }
            Cause::SelfSigned => format!("have a CA of {field} sign it"),
            Cause::UnknownIssuer => {
                format!("add that CA to {field}, or have one that is there sign it")
            }
            Cause::IssuerSignature => {
                format!("that CA was replaced: update {field} or reissue the certificate")
            }
            Cause::HandshakeSignature => {
                "somebody else answers there, or its key file is wrong".to_owned()
            }
            Cause::WrongKeyUsage | Cause::AuthorityAsServer => "issue it a certificate with \
                 extended key usage serverAuth and key usage digitalSignature"
                .to_owned(),
            Cause::WrongName | Cause::NameConstraint => {
                "issue it one with that IP or DNS name in its subject alternative names".to_owned()
            }
            Cause::WrongNode => {
                let node = printable(self.node.as_deref().unwrap_or_default(), MAX_NAME);
                format!(
                    "expected CN=system:node:{node},O=system:nodes: correct the inventory, or \
                     find out who answers there"
                )
            }
            Cause::NoNode => "add it to kubelet.inventoryFile".to_owned(),
            Cause::PinMismatch { .. } if self.is_kubelet() => {
                "add it to kubelet.pinsFile if the key was rotated".to_owned()
            }
            Cause::PinMismatch { .. } => {
                "add it to the rule's spkiSHA256 if the key was rotated".to_owned()
            }
        }
    }
}

/// One line of visible ASCII, at most [`MAX_MESSAGE`] bytes; if something must go, it is from the
/// middle, not from the remedy.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = self.remedy();
        let front = format!("{} {}{}", self.peer(), self.what(), self.details());
        let room = MAX_MESSAGE.saturating_sub(remedy.len() + 2);
        write!(f, "{}; {remedy}", printable(&front, room))
    }
}

impl std::error::Error for Failure {}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MAX_LISTED)
        .map(|name| printable(name, MAX_NAME))
        .collect();
    match (names.len(), names.len().saturating_sub(MAX_LISTED)) {
        (0, _) => "no name at all".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
