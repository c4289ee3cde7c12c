//! What can be wrong with a kubeconfig.

use super::severity::Severity;
use crate::certificate::instant;
use crate::document::{ConfigErrors, Finding};
use crate::pem::{NoteKind, PemError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One thing that is wrong with a kubeconfig, or deserves a look. Text in front is the name of the
/// cluster, user or context.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It is no kubeconfig, and no client loads it.
    #[error("{0}")]
    Document(ConfigErrors),
    /// What clients pass over in silence.
    #[error("{0}")]
    Passed(Finding),
    /// Of several files this one is not there.
    #[error("does not exist, and is passed over")]
    Absent,
    /// It is wrong with one of several files.
    #[error("{file}: {1}", file = .0.display())]
    Of(PathBuf, Box<Flaw>),
    /// It is wrong with an entry that the current context does not use.
    #[error("{0} (not of the current context)")]
    Aside(Box<Flaw>),
    /// A file before this one has an entry of that kind and name.
    #[error("{0} {1:?} is not used: a file before has one of that name; rename one")]
    Hidden(&'static str, String),
    /// No context is chosen.
    #[error(
        "has no current-context, so that clients dial localhost:8080; choose one (kubectl config \
         use-context NAME), or check by --context"
    )]
    NoCurrentContext,
    /// The chosen context is not there.
    #[error("current-context {0:?} is not among contexts; choose one that is")]
    NoSuchContext(String),
    /// A context names a cluster or user that is not there.
    #[error("context {0:?} names {1} {2:?}, which is not there; add it")]
    Dangling(String, &'static str, String),
    /// A context names no cluster or no user.
    #[error("context {0:?} names no {1}; add one")]
    Unnamed(String, &'static str),
    /// A cluster without a URL.
    #[error("cluster {0:?} has no server; write https://HOST:PORT")]
    NoServer(String),
    /// A cluster whose URL is none.
    #[error("cluster {0:?}: server {1:?} is no URL; write https://HOST:PORT")]
    Server(String, String),
    /// Credentials would go out in the clear.
    #[error("cluster {0:?} is dialled without TLS; write https://HOST:PORT")]
    PlainServer(String),
    /// Nothing is verified.
    #[error("cluster {0:?} verifies nothing (insecure-skip-tls-verify); give its CA instead")]
    Insecure(String),
    /// Verifies nothing, and has a CA.
    #[error(
        "cluster {0:?} has a CA and insecure-skip-tls-verify, which no client takes together; remove \
         insecure-skip-tls-verify"
    )]
    InsecureWithAuthority(String),
    /// The system's CAs are trusted.
    #[error(
        "cluster {0:?} has no CA: whatever this machine trusts may pose as it; embed the cluster's CA"
    )]
    SystemRoots(String),
    /// A proxy is between.
    #[error("cluster {0:?} is reached over a proxy; exec and port-forward go over it too")]
    Proxied(String),
    /// A proxy that no client dials.
    #[error(
        "cluster {0:?}: proxy-url is none that clients dial; write http://, https:// or socks5:// \
         and the proxy's address"
    )]
    Proxy(String),
    /// Both data and a file, of a field.
    #[error("{0} and {0}-data are both there, which no client takes; remove one")]
    Both(String),
    /// A file or embedded piece cannot be used.
    #[error("{0}")]
    Piece(PemError),
    /// The file of a token cannot be read.
    #[error("cannot read the token file {file}: {1}", file = .0.display())]
    TokenFile(PathBuf, io::Error),
    /// A token that cannot stand in a header.
    #[error("user {0:?}: the token has characters that no header takes; write it again")]
    Token(String),
    /// A token whose time is over.
    #[error("user {0:?}: the token expired {end}; ask for another", end = instant((*.1).into()))]
    TokenExpired(String, SystemTime),
    /// Token and token file, with which of them counts.
    #[error("user {0:?} has token and tokenFile; {1}, remove one")]
    TokenTwice(String, &'static str),
    /// Credentials that exclude each other.
    #[error("user {0:?} has {1}, which no client takes together; remove one")]
    TwoMethods(String, &'static str),
    /// A key without its certificate, beside another credential.
    #[error(
        "user {0:?} has a client-key without a client-certificate, which nobody reads; remove it"
    )]
    IdleKey(String),
    /// Half of a pair, with what is missing.
    #[error("user {0:?} lacks {1}; a certificate needs its key and its key it")]
    Half(String, &'static str),
    /// A user that shows nothing.
    #[error(
        "user {0:?} shows no credential, so that kubectl asks for a name and a password; add a \
         certificate or a token"
    )]
    Anonymous(String),
    /// The time of the certificate of a subject.
    #[error("the certificate {0} {1}")]
    Validity(String, NoteKind),
    /// A program is run.
    #[error("user {0:?} runs {1:?} on every machine that uses this; trust its author")]
    Exec(String, String),
    /// A plugin that client-go does not run, with the field and the remedy.
    #[error("user {0:?}: exec.{1} is missing, unknown or not usable; {2}")]
    ExecField(String, &'static str, &'static str),
    /// A plugin that clients do not have, or not configured so; with the remedy.
    #[error("user {0:?}: auth-provider: {1}")]
    Provider(String, String),
    /// Removed from the API server.
    #[error("user {0:?} has a password, which Kubernetes 1.19 removed; use a token")]
    Basic(String),
    /// Acts as somebody else.
    #[error("user {0:?} acts as somebody else (as, as-groups)")]
    Impersonates(String),
    /// Says more of somebody else than who it is.
    #[error("user {0:?} has as-uid, as-groups or as-user-extra without as; add who it is")]
    ImpersonatesNobody(String),
    /// Others may read it.
    #[error("may be read by others (mode {0:04o}); set it to 0600")]
    Mode(u32),
    /// The API server shows a certificate that the CA did not sign, or another name; with the remedy.
    #[error("{0}")]
    ServerCertificate(String),
    /// The API server at an address cannot be asked.
    #[error("cannot ask {0}: {1}; check address and network")]
    Unreachable(String, io::Error),
}

impl Flaw {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Of(_, flaw) => flaw.severity(),
            Self::SystemRoots(_)
            | Self::Passed(_)
            | Self::Absent
            | Self::Aside(_)
            | Self::Hidden(..)
            | Self::Proxied(_)
            | Self::TokenTwice(..)
            | Self::IdleKey(_)
            | Self::Exec(..)
            | Self::Impersonates(_)
            | Self::Validity(_, NoteKind::ExpiresSoon(_)) => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// Says which of several files it is about.
    pub(super) fn of_file(self, file: &Path) -> Self {
        match self {
            // It names the file itself.
            Self::Document(_) => self,
            flaw => Self::Of(file.to_owned(), Box::new(flaw)),
        }
    }

    /// The flaw itself, wherever it is.
    pub(super) fn bare(&self) -> &Self {
        match self {
            Self::Of(_, flaw) | Self::Aside(flaw) => flaw.bare(),
            flaw => flaw,
        }
    }
}
