//! What can be wrong with a kubeconfig.

use super::severity::Severity;
use crate::certificate::instant;
use crate::document::{ConfigErrors, Finding};
use crate::pem::{NoteKind, PemError};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One thing that is wrong with a kubeconfig, or deserves a look.
#[derive(Debug)]
pub enum Flaw {
    /// It is no kubeconfig, and no client loads it.
    Document(ConfigErrors),
    /// What clients pass over in silence.
    Passed(Finding),
    /// Of several files this one is not there.
    Absent,
    /// It is wrong with one of several files.
    Of {
        /// Which.
        file: PathBuf,
        /// What.
        flaw: Box<Flaw>,
    },
    /// It is wrong with an entry that the current context does not use.
    Aside(Box<Flaw>),
    /// A file before this one has an entry of that name.
    Hidden {
        /// `cluster`, `user` or `context`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// No context is chosen.
    NoCurrentContext,
    /// The chosen context is not there.
    NoSuchContext(String),
    /// A context names what is not there.
    Dangling {
        /// The context.
        context: String,
        /// `cluster` or `user`.
        kind: &'static str,
        /// The name; absent if the context names none.
        name: Option<String>,
    },
    /// A cluster without a usable URL.
    Server {
        /// The cluster.
        cluster: String,
        /// What it has.
        server: Option<String>,
    },
    /// Credentials would go out in the clear.
    PlainServer {
        /// The cluster.
        cluster: String,
    },
    /// Nothing is verified.
    Insecure {
        /// The cluster.
        cluster: String,
    },
    /// Verifies nothing, and has a CA.
    InsecureWithAuthority {
        /// The cluster.
        cluster: String,
    },
    /// The system's CAs are trusted.
    SystemRoots {
        /// The cluster.
        cluster: String,
    },
    /// A proxy is between.
    Proxied {
        /// The cluster.
        cluster: String,
    },
    /// A proxy that no client dials.
    Proxy {
        /// The cluster.
        cluster: String,
    },
    /// Both data and a file.
    Both {
        /// The field of the file.
        field: String,
    },
    /// A file or embedded piece cannot be used.
    Piece(PemError),
    /// The file of a token cannot be read.
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A token that cannot stand in a header.
    Token {
        /// The user.
        user: String,
    },
    /// A token whose time is over.
    TokenExpired {
        /// The user.
        user: String,
        /// When it ended.
        end: SystemTime,
    },
    /// Token and token file.
    TokenTwice {
        /// The user.
        user: String,
        /// Which of them counts.
        counts: &'static str,
    },
    /// Credentials that exclude each other.
    TwoMethods {
        /// The user.
        user: String,
        /// Which.
        methods: &'static str,
    },
    /// A key without its certificate, beside another credential.
    IdleKey {
        /// The user.
        user: String,
    },
    /// Half of a pair.
    Half {
        /// The user.
        user: String,
        /// What is missing.
        missing: &'static str,
    },
    /// A user that shows nothing.
    Anonymous {
        /// The user.
        user: String,
    },
    /// The time of a certificate.
    Validity {
        /// Whose.
        subject: String,
        /// What of it.
        kind: NoteKind,
    },
    /// A program is run.
    Exec {
        /// The user.
        user: String,
        /// The program.
        command: String,
    },
    /// A plugin that client-go does not run.
    ExecField {
        /// The user.
        user: String,
        /// What it lacks.
        field: &'static str,
        /// What to write.
        fix: &'static str,
    },
    /// A plugin that clients do not have, or not configured so.
    Provider {
        /// The user.
        user: String,
        /// What is wrong, with the remedy.
        problem: String,
    },
    /// Removed from the API server.
    Basic {
        /// The user.
        user: String,
    },
    /// Acts as somebody else.
    Impersonates {
        /// The user.
        user: String,
    },
    /// Says more of somebody else than who it is.
    ImpersonatesNobody {
        /// The user.
        user: String,
    },
    /// Others may read it.
    Mode {
        /// The permission bits.
        mode: u32,
    },
    /// The API server shows a certificate that the CA did not sign, or another name.
    ServerCertificate {
        /// What is wrong, with the remedy.
        message: String,
    },
    /// The API server cannot be asked.
    Unreachable {
        /// Where.
        address: String,
        /// What the kernel or the TLS library said.
        source: io::Error,
    },
}

impl Flaw {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Of { flaw, .. } => flaw.severity(),
            Self::SystemRoots { .. }
            | Self::Passed(_)
            | Self::Absent
            | Self::Aside(_)
            | Self::Hidden { .. }
            | Self::Proxied { .. }
            | Self::TokenTwice { .. }
            | Self::IdleKey { .. }
            | Self::Exec { .. }
            | Self::Impersonates { .. }
            | Self::Validity {
                kind: NoteKind::ExpiresSoon(_),
                ..
            } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// Says which of several files it is about.
    pub(super) fn of_file(self, file: &Path) -> Self {
        match self {
            // It names the file itself.
            Self::Document(_) => self,
            flaw => Self::Of {
                file: file.to_owned(),
                flaw: Box::new(flaw),
            },
        }
    }

    /// The flaw itself, wherever it is.
    pub(super) fn bare(&self) -> &Self {
        match self {
            Self::Of { flaw, .. } | Self::Aside(flaw) => flaw.bare(),
            flaw => flaw,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(errors) => errors.fmt(f),
            Self::Piece(error) => error.fmt(f),
            Self::Passed(finding) => finding.fmt(f),
            Self::Absent => f.write_str("does not exist, and is passed over"),
            Self::Of { file, flaw } => write!(f, "{}: {flaw}", file.display()),
            Self::Aside(flaw) => write!(f, "{flaw} (not of the current context)"),
            Self::Hidden { kind, name } => write!(
                f,
                "{kind} {name:?} is not used: a file before has one of that name; rename one"
            ),
            Self::Validity { subject, kind } => validity(subject, *kind, f),
            Self::Mode { mode } => {
                write!(f, "may be read by others (mode {mode:04o}); set it to 0600")
            }
            Self::ServerCertificate { message } => f.write_str(message),
            Self::Unreachable { address, source } => {
                write!(
                    f,
                    "cannot ask {address}: {source}; check address and network"
                )
            }
            Self::TokenFile { path, source } => {
                write!(f, "cannot read the token file {}: {source}", path.display())
            }
            Self::NoCurrentContext => f.write_str(
                "has no current-context, so that clients dial localhost:8080; choose one (kubectl \
                     config use-context NAME), or check by --context",
            ),
            Self::NoSuchContext(name) => {
                write!(
                    f,
                    "current-context {name:?} is not among contexts; choose one that is"
                )
            }
            Self::Dangling {
                context,
                kind,
                name: Some(name),
            } => write!(
                f,
                "context {context:?} names {kind} {name:?}, which is not there; add it"
            ),
            Self::Dangling { context, kind, .. } => {
                write!(f, "context {context:?} names no {kind}; add one")
            }
            _ => self.of_entry(f),
        }
    }
}

impl Flaw {
    /// The flaws of one cluster or user.
    fn of_entry(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { cluster, server } => match server {
                Some(server) => write!(f, "cluster {cluster:?}: server {server:?} is no URL"),
                None => write!(f, "cluster {cluster:?} has no server"),
            }
            .and_then(|()| f.write_str("; write https://HOST:PORT")),
            Self::PlainServer { cluster } => write!(
                f,
                "cluster {cluster:?} is dialled without TLS; write https://HOST:PORT"
            ),
            Self::Insecure { cluster } => write!(
                f,
                "cluster {cluster:?} verifies nothing (insecure-skip-tls-verify); give its CA instead"
            ),
            Self::InsecureWithAuthority { cluster } => write!(
                f,
                "cluster {cluster:?} has a CA and insecure-skip-tls-verify, which no client takes \
                 together; remove insecure-skip-tls-verify"
            ),
            Self::Proxy { cluster } => write!(
                f,
                "cluster {cluster:?}: proxy-url is none that clients dial; write http://, https:// or \
                 socks5:// and the proxy's address"
            ),
            Self::SystemRoots { cluster } => write!(
                f,
                "cluster {cluster:?} has no CA: whatever this machine trusts may pose as it; \
                 embed the cluster's CA"
            ),
            Self::Proxied { cluster } => write!(
                f,
                "cluster {cluster:?} is reached over a proxy; exec and port-forward go over it too"
            ),
            Self::Both { field } => {
                write!(
                    f,
                    "{field} and {field}-data are both there, which no client takes; remove one"
                )
            }
            Self::Token { user } => write!(
                f,
                "user {user:?}: the token has characters that no header takes; write it again"
            ),
            Self::TokenExpired { user, end } => {
                let end = instant((*end).into());
                write!(f, "user {user:?}: the token expired {end}; ask for another")
            }
            Self::TokenTwice { user, counts } => {
                write!(
                    f,
                    "user {user:?} has token and tokenFile; {counts}, remove one"
                )
            }
            Self::TwoMethods { user, methods } => {
                write!(
                    f,
                    "user {user:?} has {methods}, which no client takes together; remove one"
                )
            }
            Self::IdleKey { user } => write!(
                f,
                "user {user:?} has a client-key without a client-certificate, which nobody reads; \
                 remove it"
            ),
            Self::Half { user, missing } => {
                write!(
                    f,
                    "user {user:?} lacks {missing}; a certificate needs its key and its key it"
                )
            }
            Self::Anonymous { user } => {
                write!(
                    f,
                    "user {user:?} shows no credential, so that kubectl asks for a name and a password; \
                     add a certificate or a token"
                )
            }
            Self::Exec { user, command } => write!(
                f,
                "user {user:?} runs {command:?} on every machine that uses this; trust its author"
            ),
            Self::ExecField { user, field, fix } => {
                write!(
                    f,
                    "user {user:?}: exec.{field} is missing, unknown or not usable; {fix}"
                )
            }
            Self::Provider { user, problem } => {
                write!(f, "user {user:?}: auth-provider: {problem}")
            }
            Self::ImpersonatesNobody { user } => write!(
                f,
                "user {user:?} has as-uid, as-groups or as-user-extra without as; add who it is"
            ),
            Self::Basic { user } => write!(
                f,
                "user {user:?} has a password, which Kubernetes 1.19 removed; use a token"
            ),
            Self::Impersonates { user } => {
                write!(f, "user {user:?} acts as somebody else (as, as-groups)")
            }
            _ => Ok(()),
        }
    }
}

fn validity(subject: &str, kind: NoteKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        NoteKind::Expired(end) => {
            let end = instant(end.into());
            write!(f, "the certificate {subject} expired {end}; renew it")
        }
        NoteKind::ExpiresSoon(end) => {
            let end = instant(end.into());
            write!(f, "the certificate {subject} expires {end}; renew it")
        }
        NoteKind::NotYetValid(start) => {
            let start = instant(start.into());
            write!(
                f,
                "the certificate {subject} is valid from {start} only; check the clock"
            )
        }
    }
}
