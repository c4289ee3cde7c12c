//! Why a node did not get its certificate, by the part that failed.

use eyesplice_identity::certificate::Weakness;
use eyesplice_identity::file::FileFault;
use eyesplice_identity::https::EndpointError;
use eyesplice_identity::inventory::NameError;
use eyesplice_identity::pem::PemError;
use eyesplice_identity::pki::Flaw;
use eyesplice_identity::token::BearerError;
use eyesplice_identity::token::bootstrap::FormatError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a node did not get its certificate.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The URL is none.
    #[error("--server {0:?} {1}; write it like https://10.0.0.1:6443")]
    Server(String, EndpointError),
    /// The node's name is none.
    #[error("--node {0:?} {1}")]
    Node(String, NameError),
    /// The pin is none.
    #[error(
        "--ca-pin {0:?} is not a pin; write sha256: and 64 hexadecimal digits, or 44 characters of base64"
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
        "no CA of {0} has the pin of --ca-pin (it has {1}); take pin and CA from the same \
         cluster. If you did, the connection is intercepted"
    )]
    WrongCa(String, String),
    /// The CA with the pin has a key by which it proves nothing.
    #[error("the CA of {0} that has the pin {1}")]
    WeakCa(String, Weakness),
    /// The server shows no CA.
    #[error("{0} has no cluster-info to find its CA by ({1}); give --ca-file")]
    NoClusterInfo(String, String),
    /// The token file cannot be read.
    #[error("cannot use --token-file (identity.tokenFile); check path and permissions")]
    TokenFile(#[source] FileFault),
    /// It holds no token.
    #[error("{file} holds no bootstrap token: {1}", file = .0.display())]
    Token(PathBuf, FormatError),
    /// The server is not reached.
    #[error("cannot reach {0}; check address, port, routes and firewalls")]
    Network(String, #[source] io::Error),
    /// The server is not who it should be, or does not speak TLS.
    #[error("{0} is not trusted; check --ca-file and --ca-pin, and that it is the right server")]
    Tls(String, #[source] io::Error),
    /// A certificate is not valid now: clocks disagree.
    #[error("the certificate of {0} is not valid now; compare this node's clock with the server's")]
    Clock(String, #[source] io::Error),
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
        "the new certificate expired {not_after}, and this node's clock says {now}; set it \
         by NTP"
    )]
    Over {
        /// When it ended.
        not_after: String,
        /// What the clock says.
        now: String,
    },
    /// The conversation broke off.
    #[error("{0} closed the connection; try again, and see its log")]
    Http(String, #[source] hyper::Error),
    /// There was no answer in time.
    #[error("{0} did not answer within {1:?}; see its log")]
    Timeout(String, Duration),
    /// The server does not know us.
    #[error(
        "{0} does not accept the {1}: it is unknown, expired or without the usage \
         authentication; see `eyesplice token bootstrap list` there, and make a new one"
    )]
    Unauthorized(String, &'static str),
    /// The server does not know the pod.
    #[error(
        "{0} does not accept the token of this pod: its namespace, service account and audience \
         must be those of approval.agents there; see its log"
    )]
    PodToken(String),
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
    #[error("{0} does not answer as a Kubernetes API server; check --server")]
    Answer(String),
    /// An approver said no.
    #[error("CSR {0} was denied: {1}")]
    Denied(String, String),
    /// The signer said no.
    #[error("CSR {0} failed: {1}")]
    Failed(String, String),
    /// Nobody decided.
    #[error("CSR {0} was not signed within {1:?}; approve it: kubectl certificate approve {0}")]
    Pending(String, Duration),
    /// The token of a pod cannot be read.
    #[error("{file} holds no token of a pod: {1}", file = .0.display())]
    NoPodToken(PathBuf, BearerError),
    /// The certificate is for another key.
    #[error("the issued certificate is not for the key that was requested; see the server's log")]
    NotOurs,
    /// There is nothing to ask with.
    #[error(
        "there is no valid client certificate in {} and no identity.tokenFile to request the first \
         one with; add a bootstrap token of group system:bootstrappers:eyesplice:gateways", .0.display()
    )]
    NoCredential(PathBuf),
    /// What came does not fit its role.
    #[error("the issued certificate {0}; it is not used. See the signer at identity.server")]
    Role(Flaw),
    /// The key or request could not be made.
    #[error("cannot make the key and its request")]
    Key(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    /// The directory's path cannot be made absolute.
    #[error("--dir {} is not a path", .0.display())]
    Dir(PathBuf, #[source] io::Error),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileFault),
}

impl BootstrapError {
    /// The word of metrics: what came of a request.
    pub(crate) fn result(&self) -> &'static str {
        match self {
            Self::Denied(..) | Self::Failed(..) | Self::Refused { .. } => "refused",
            Self::Role(_) | Self::NotOurs => "rejected",
            _ => "failed",
        }
    }

    /// Which part failed, in one word or two.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::TokenFile(_) | Self::Token(..) | Self::NoCredential(_) => "token",
            Self::NoPodToken(..) | Self::PodToken(_) => "token",
            Self::Unauthorized(..) => "token or expiry",
            Self::Pin(_) | Self::NoTrust | Self::CaFile(_) | Self::WrongCa(..) => "CA pin",
            Self::WeakCa(..) | Self::NoClusterInfo(..) | Self::Tls(..) => "CA pin",
            Self::Clock(..) | Self::NotYet { .. } | Self::Over { .. } => "clock",
            Self::Network(..) | Self::Http(..) | Self::Timeout(..) => "network",
            Self::Refused { .. } | Self::Denied(..) | Self::Failed(..) => "approval",
            Self::Pending(..) => "approval",
            Self::Server(..) | Self::Node(..) => "command line",
            Self::Answer(_) | Self::NotOurs | Self::Role(_) => "server",
            Self::Key(_) | Self::Setup(_) | Self::Dir(..) | Self::File(_) => "this node",
        }
    }
}
