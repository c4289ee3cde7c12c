//! Why a node did not get its certificate, by the part that failed.

use eyesplice_identity::certificate::Weakness;
use eyesplice_identity::file::FileFault;
use eyesplice_identity::https::EndpointError;
use eyesplice_identity::inventory::NameError;
use eyesplice_identity::pem::PemError;
use eyesplice_identity::pki::Flaw;
use eyesplice_identity::token::bootstrap::FormatError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a node did not get its certificate.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The URL is none.
    #[error("--server {server:?} {problem}; write it like https://10.0.0.1:6443")]
    Server {
        /// As given.
        server: String,
        /// What is wrong.
        problem: EndpointError,
    },
    /// The node's name is none.
    #[error("--node {node:?} {problem}")]
    Node {
        /// As given.
        node: String,
        /// What is wrong.
        problem: NameError,
    },
    /// The pin is none.
    #[error(
        "--ca-pin {0:?} is no pin; write sha256: and 64 hexadecimal digits, or 44 characters of base64"
    )]
    Pin(String),
    /// Nothing says whom to trust.
    #[error("nothing says which server to trust; give --ca-file, --ca-pin or both")]
    NoTrust,
    /// The CA file cannot be used.
    #[error(transparent)]
    CaFile(#[from] PemError),
    /// The CA is another one.
    #[error(
        "no CA of {place} has the pin that --ca-pin wants (it has {found}); get pin and CA from the \
         same cluster, and if that was done, somebody is in between"
    )]
    WrongCa {
        /// The file or server.
        place: String,
        /// The pins that are there.
        found: String,
    },
    /// The CA with the pin has a key by which it proves nothing.
    #[error("the CA of {place} that has the pin {weakness}")]
    WeakCa {
        /// The file or server.
        place: String,
        /// What is weak.
        weakness: Weakness,
    },
    /// The server shows no CA.
    #[error("{server} has no cluster-info to find its CA by ({why}); give --ca-file")]
    NoClusterInfo {
        /// The server.
        server: String,
        /// What is missing.
        why: String,
    },
    /// The token file cannot be read.
    #[error("cannot use --token-file (identity.tokenFile); check path and permissions")]
    TokenFile(#[source] FileFault),
    /// It holds no token.
    #[error("{} holds no bootstrap token: {problem}", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: FormatError,
    },
    /// The server is not reached.
    #[error("cannot reach {server}; check address, port, routes and firewalls")]
    Network {
        /// The server.
        server: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The server is not who it should be, or does not speak TLS.
    #[error(
        "{server} is not trusted; check --ca-file and --ca-pin, and that it is the right server"
    )]
    Tls {
        /// The server.
        server: String,
        /// What the TLS library said.
        source: io::Error,
    },
    /// A certificate is not valid now: clocks disagree.
    #[error(
        "the certificate of {server} is not valid now; compare this node's clock with the server's"
    )]
    Clock {
        /// The server.
        server: String,
        /// What the TLS library said.
        source: io::Error,
    },
    /// The node's own certificate begins later.
    #[error(
        "the node's certificate is valid from {not_before} on, and this node's clock says {now}; set \
         it by NTP"
    )]
    NotYet {
        /// When it begins.
        not_before: String,
        /// What the clock says.
        now: String,
    },
    /// A certificate that just came is over.
    #[error(
        "the certificate that just came ended {not_after}, and this node's clock says {now}; set it \
         by NTP"
    )]
    Over {
        /// When it ended.
        not_after: String,
        /// What the clock says.
        now: String,
    },
    /// The conversation broke off.
    #[error("{server} broke off the conversation; try again, and see its log")]
    Http {
        /// The server.
        server: String,
        /// What the HTTP library said.
        source: hyper::Error,
    },
    /// There was no answer in time.
    #[error("{server} did not answer within {after:?}; see its log")]
    Timeout {
        /// The server.
        server: String,
        /// How long.
        after: Duration,
    },
    /// The server does not know us.
    #[error(
        "{server} does not accept the {credential}: it is unknown, expired or without the usage \
         authentication; see `eyesplice token bootstrap list` there, and make a new one"
    )]
    Unauthorized {
        /// The server.
        server: String,
        /// What was shown.
        credential: &'static str,
    },
    /// The server refused what was asked.
    #[error("{server} refused with {code}: {message}")]
    Refused {
        /// The server.
        server: String,
        /// The status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The answer makes no sense.
    #[error("{0} answered something else than Kubernetes does; check --server")]
    Answer(String),
    /// An approver said no.
    #[error("CSR {name} was denied: {message}")]
    Denied {
        /// The CSR.
        name: String,
        /// Why.
        message: String,
    },
    /// The signer said no.
    #[error("CSR {name} failed: {message}")]
    Failed {
        /// The CSR.
        name: String,
        /// Why.
        message: String,
    },
    /// Nobody decided.
    #[error(
        "CSR {name} was not signed within {after:?}; approve it: kubectl certificate approve {name}"
    )]
    Pending {
        /// The CSR.
        name: String,
        /// How long.
        after: Duration,
    },
    /// The certificate is for another key.
    #[error(
        "the certificate that came is not for the key that was made here; see the server's log"
    )]
    NotOurs,
    /// There is nothing to ask with.
    #[error(
        "there is no valid client certificate in {} and no identity.tokenFile to ask for the first \
         one with; add a bootstrap token of group system:bootstrappers:eyesplice:gateways", .dir.display()
    )]
    NoCredential {
        /// Where the certificate would be.
        dir: PathBuf,
    },
    /// What came does not fit its role.
    #[error("the certificate that came {0}; it is not used. See the signer at identity.server")]
    Role(Flaw),
    /// The key or request could not be made.
    #[error("cannot make the key and its request")]
    Key(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    /// The directory's path cannot be made absolute.
    #[error("--dir {} is no path", .dir.display())]
    Dir {
        /// Which.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileFault),
}

impl BootstrapError {
    /// The word of metrics: what came of a request.
    pub(crate) fn result(&self) -> &'static str {
        match self {
            Self::Denied { .. } | Self::Failed { .. } | Self::Refused { .. } => "refused",
            Self::Role(_) | Self::NotOurs => "rejected",
            _ => "failed",
        }
    }

    /// Which part failed, in one word or two.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::TokenFile(_) | Self::Token { .. } | Self::NoCredential { .. } => "token",
            Self::Unauthorized { .. } => "token or expiry",
            Self::Pin(_) | Self::NoTrust | Self::CaFile(_) | Self::WrongCa { .. } => "CA pin",
            Self::WeakCa { .. } | Self::NoClusterInfo { .. } | Self::Tls { .. } => "CA pin",
            Self::Clock { .. } | Self::NotYet { .. } | Self::Over { .. } => "clock",
            Self::Network { .. } | Self::Http { .. } | Self::Timeout { .. } => "network",
            Self::Refused { .. } | Self::Denied { .. } | Self::Failed { .. } => "approval",
            Self::Pending { .. } => "approval",
            Self::Server { .. } | Self::Node { .. } => "command line",
            Self::Answer(_) | Self::NotOurs | Self::Role(_) => "server",
            Self::Key(_) | Self::Setup(_) | Self::Dir { .. } | Self::File(_) => "this node",
        }
    }
}
