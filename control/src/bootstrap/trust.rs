//! Whom to believe: a CA from a file, or the one that a pin picks out of what the server publishes.

use super::client::Client;
use super::error::BootstrapError;
use super::plan::Plan;
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::pem::{CaBundle, FileRef, PemError};
use eyesplice_identity::pins::SpkiHash;
use eyesplice_identity::verify::AnyServer;
use eyesplice_identity::{pem, yaml};
use eyesplice_proto::tls::provider;
use hyper::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::sync::Arc;

/// Where a cluster publishes its CA to everybody (kubeadm's).
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// CAs that the server may be of.
pub(crate) struct Trusted {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Takes all CAs of a file.
    pub(crate) fn load(file: &FileRef) -> Result<Self, PemError> {
        let bundle = CaBundle::load(file.clone())?;
        Ok(Self {
            roots: bundle.roots,
            certificates: pem::certificates(file)?,
        })
    }
}

/// Reads `sha256:HEX`, kubeadm's form of a CA's public key, or the base64 of pins files and curl behind
/// `sha256:` or `sha256//`. Without a prefix it could be a hash of something else.
pub(super) fn parse_pin(text: &str) -> Result<SpkiHash, BootstrapError> {
    let hash = text.starts_with("sha256").then(|| text.parse().ok());
    hash.flatten()
        .ok_or_else(|| BootstrapError::Pin(text.to_owned()))
}

/// Finds the CAs to verify the server by.
pub(super) async fn establish(plan: &Plan) -> Result<Trusted, BootstrapError> {
    let Some(path) = &plan.options.ca_file else {
        return discover(plan).await;
    };
    let file = FileRef::new("--ca-file", path);
    let Trusted {
        roots,
        certificates,
    } = Trusted::load(&file)?;
    pinned(plan.pin, certificates, &path.display().to_string(), roots)
}

/// Asks the server for its CA without knowing it. Nothing of ours is shown, and nothing of the
/// answer is used but certificates with the pinned key.
async fn discover(plan: &Plan) -> Result<Trusted, BootstrapError> {
    let builder = ClientConfig::builder_with_provider(provider::shared());
    let builder = builder.with_safe_default_protocol_versions();
    let tls = builder
        .map_err(BootstrapError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    let client = Client::anonymous(plan.endpoint.clone(), tls);
    let answer = client.ask(Method::GET, CLUSTER_INFO, None).await?;
    let missing = |why: String| BootstrapError::NoClusterInfo(client.server(), why);
    if answer.code != 200 {
        return Err(missing(format!("{}: {}", answer.code, answer.message())));
    }
    let kubeconfig = answer.body["data"]["kubeconfig"].as_str();
    let kubeconfig = kubeconfig
        .and_then(|text| serde_saphyr::from_str_with_options::<Value>(text, yaml::options()).ok());
    let kubeconfig = kubeconfig.ok_or_else(|| missing("it holds no kubeconfig".to_owned()))?;
    let data = &kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"];
    let pem = data
        .as_str()
        .and_then(eyesplice_identity::kubeconfig::decode);
    let pem = pem.ok_or_else(|| missing("its kubeconfig names no CA".to_owned()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| missing("its CA is not PEM".to_owned()))?;
    let place = client.server();
    pinned(plan.pin, found, &place, Arc::new(RootCertStore::empty()))
}

/// Keeps what has the pinned key, if that is strong enough; without a pin, everything.
pub(super) fn pinned(
    pin: Option<SpkiHash>,
    certificates: Vec<CertificateDer<'static>>,
    place: &str,
    all: Arc<RootCertStore>,
) -> Result<Trusted, BootstrapError> {
    let Some(pin) = pin else {
        return Ok(Trusted {
            roots: all,
            certificates,
        });
    };
    let hash = |der: &CertificateDer<'_>| {
        let facts = CertificateFacts::read(der).ok()?;
        Some(SpkiHash::of(&facts.spki))
    };
    let found: Vec<String> = certificates
        .iter()
        .filter_map(hash)
        .map(|hash| hash.as_pin())
        .collect();
    let mut roots = RootCertStore::empty();
    let mut kept = Vec::new();
    for certificate in certificates {
        if hash(&certificate) == Some(pin)
            && let Ok(facts) = CertificateFacts::read(&certificate)
            && let Some(weakness) = facts.weak_key
        {
            return Err(BootstrapError::WeakCa(place.to_owned(), weakness));
        }
        if hash(&certificate) == Some(pin) && roots.add(certificate.clone()).is_ok() {
            kept.push(certificate);
        }
    }
    if kept.is_empty() {
        return Err(BootstrapError::WrongCa(place.to_owned(), found.join(", ")));
    }
    Ok(Trusted {
        roots: Arc::new(roots),
        certificates: kept,
    })
}
