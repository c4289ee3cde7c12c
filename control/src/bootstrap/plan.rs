//! What `eyesplice bootstrap` shall do, checked, and where it keeps what it gets.

use super::error::BootstrapError;
use super::request::Issued;
use super::trust::{self, Trusted};
use clap::Args;
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::file::Mode;
use eyesplice_identity::https::Endpoint;
use eyesplice_identity::inventory::check_node_name;
use eyesplice_identity::kubeconfig::{Credential as Shown, Kubeconfig, Source};
use eyesplice_identity::pem::{FileRef, Role};
use eyesplice_identity::pins::SpkiHash;
use eyesplice_identity::token::BearerToken;
use eyesplice_identity::token::bootstrap::BootstrapToken;
use eyesplice_identity::{file, pem};
use rustls::pki_types::pem::PemObject;
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// Key and certificate, in one file, so that no crash leaves one without the other.
pub(super) const PAIR: &str = "node-client.pem";
/// The kubeconfig that names it.
pub(super) const KUBECONFIG: &str = "node.kubeconfig";
/// The CA that the server was verified by.
pub(super) const CA: &str = "ca.crt";

/// Longest token file: a token and a line end, with room for an editor's habits.
const TOKEN_FILE: u64 = 4096;

/// Longest token of a pod, with a line end.
const POD_TOKEN_FILE: u64 = 64 << 10;

/// What the command line says.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The authority or API server
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// The node's name
    #[arg(long, value_name = "NAME")]
    pub node: String,
    /// File with a bootstrap token, read when it is needed
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// CA that issued the server's certificate
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of that CA's public key; without --ca-file, the CA is taken from the server's
    /// cluster-info
    #[arg(long, value_name = "sha256:HEX")]
    pub ca_pin: Option<String>,
    /// Directory to write into; created if absent, mode 0700
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How long to wait for the certificate, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "900")]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, ParseIntError> {
    text.parse().map(Duration::from_secs)
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Key and certificate.
    pub pair: PathBuf,
    /// The kubeconfig.
    pub kubeconfig: PathBuf,
    /// When the certificate ends.
    pub not_after: OffsetDateTime,
    /// When it should be renewed.
    pub renew_at: OffsetDateTime,
    /// Nothing was to be done.
    pub unchanged: bool,
}

/// Checked options.
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) endpoint: Endpoint,
    pub(super) pin: Option<SpkiHash>,
}

impl Plan {
    pub(super) fn new(options: &Options) -> Result<Self, BootstrapError> {
        let endpoint = options.server.parse();
        let endpoint =
            endpoint.map_err(|problem| BootstrapError::Server(options.server.clone(), problem))?;
        check_node_name(&options.node)
            .map_err(|problem| BootstrapError::Node(options.node.clone(), problem))?;
        let pin = options
            .ca_pin
            .as_deref()
            .map(trust::parse_pin)
            .transpose()?;
        if options.ca_file.is_none() && pin.is_none() {
            return Err(BootstrapError::NoTrust);
        }
        Ok(Self {
            options: options.clone(),
            endpoint,
            pin,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.options.dir.join(name)
    }

    /// The certificate that is there and usable, if there is one.
    pub(super) fn current(&self) -> Option<pem::Credential> {
        let file = FileRef::new("client certificate", self.path(PAIR));
        let loaded = pem::Credential::load(file.clone(), &file, Role::Client).ok()?;
        loaded
            .leaf
            .subject
            .is_node(&self.options.node)
            .then_some(loaded)
    }

    pub(super) fn joined(
        &self,
        facts: &CertificateFacts,
        renew_at: OffsetDateTime,
        unchanged: bool,
    ) -> Joined {
        Joined {
            pair: self.path(PAIR),
            kubeconfig: self.path(KUBECONFIG),
            not_after: facts.not_after,
            renew_at,
            unchanged,
        }
    }

    /// Writes CA, pair and kubeconfig, each whole or not at all; the pair before what names it.
    pub(super) fn store(
        &self,
        trusted: &Trusted,
        issued: &Issued,
    ) -> Result<CertificateFacts, BootstrapError> {
        let first =
            rustls::pki_types::CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
        let first = first.into_iter().next().and_then(Result::ok);
        let facts = first.and_then(|der| CertificateFacts::read(&der).ok());
        let facts = facts.filter(|facts| facts.spki == issued.spki);
        let facts = facts.ok_or(BootstrapError::NotOurs)?;
        let dir = std::path::absolute(&self.options.dir);
        let dir = dir.map_err(|source| BootstrapError::Dir(self.options.dir.clone(), source))?;
        file::create_dir(&dir)?;
        let ca = pem::encode(&trusted.certificates);
        file::replace(&dir.join(CA), ca.as_bytes(), Mode::Public)?;
        let pair = Zeroizing::new(format!("{}{}", issued.certificate, *issued.key));
        file::replace(&dir.join(PAIR), pair.as_bytes(), Mode::Secret)?;
        let kubeconfig = Kubeconfig {
            cluster: "kubernetes".to_owned(),
            server: self.options.server.clone(),
            tls_server_name: None,
            namespace: None,
            user: format!("system:node:{}", self.options.node),
            authority: Some(Source::File(dir.join(CA))),
            credential: Shown::Certificate {
                certificate: Source::File(dir.join(PAIR)),
                key: Source::File(dir.join(PAIR)),
            },
        };
        let text = kubeconfig.render();
        file::replace(&dir.join(KUBECONFIG), text.as_bytes(), Mode::Secret)?;
        Ok(facts)
    }
}

/// Reads the token of the pod that this process runs in; the kubelet replaces it before its end.
pub(crate) fn read_pod_token(path: &Path) -> Result<BearerToken, BootstrapError> {
    let text = file::read(path, POD_TOKEN_FILE).map_err(BootstrapError::TokenFile)?;
    let token = BearerToken::new(text.trim());
    token.map_err(|problem| BootstrapError::NoPodToken(path.to_owned(), problem))
}

/// Reads the token when it is needed, so that a new one may lie there at the next need.
pub(crate) fn read_token(path: &Path) -> Result<BootstrapToken, BootstrapError> {
    let text = file::read(path, TOKEN_FILE).map_err(BootstrapError::TokenFile)?;
    text.trim()
        .parse()
        .map_err(|problem| BootstrapError::Token(path.to_owned(), problem))
}
