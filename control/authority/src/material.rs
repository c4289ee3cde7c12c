//! What the authority works with: everything that its files hold, loaded together.

use super::roles::Roles;
use super::sign::SignerCa;
use crate::apiserver::ConnectError;
use crate::approve::Agents;
use crate::config::{ApprovalSettings, AuthorityConfig, SignerSettings};
use crate::pods::Pods;
use data_encoding::BASE64;
use eyesplice_identity::authn::{SourceError, Sources};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::denylist::DenyList;
use eyesplice_identity::document::{ConfigErrors, Document};
use eyesplice_identity::inventory::{Inventory, NodeListError};
use eyesplice_identity::pem;
use eyesplice_identity::pem::{
    CaBundle, CertificateInfo, Credential, FileRef, Note, PemError, Role as CertificateRole, note,
};
use eyesplice_identity::pki::{Authority, AuthorityError};
use eyesplice_identity::x509::Signer;
use eyesplice_process::reload::Valid;
use eyesplice_proto::tls::provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use time::Duration;

/// One generation of what the authority works with.
#[derive(derive_more::Debug)]
#[debug("AuthorityMaterial({server:?}, {signers:?})")]
pub struct AuthorityMaterial {
    pub(super) config: AuthorityConfig,
    pub(super) server: Credential,
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) signers: BTreeMap<Signer, SignerCa>,
    pub(super) inventory: Option<Inventory>,
    pub(super) roles: Roles,
    /// Whose pods may be agents.
    pub(super) pods: Option<Pods>,
    /// Which agents may not, as a file says.
    pub(super) denied: Option<DenyList>,
    /// The kubeconfig in `cluster-info`.
    pub(super) cluster_info: Option<String>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityMaterialError {
    /// A certificate, key or bundle.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A CA cannot sign.
    #[error("{field} ({})", .file.display())]
    Signer {
        /// As in `signers[kubernetes.io/kubelet-serving]`.
        field: String,
        /// Its certificate.
        file: PathBuf,
        /// What is wrong.
        source: AuthorityError,
    },
    /// The client CAs cannot be used.
    #[error("{field} cannot be used to verify clients")]
    Clients {
        /// The field that names them.
        field: String,
        /// What is wrong.
        source: VerifierBuilderError,
    },
    /// Where bearer tokens are looked up.
    #[error("authentication")]
    Tokens(#[source] SourceError),
    /// The inventory.
    #[error("{field}")]
    Inventory {
        /// The field that names it.
        field: String,
        /// What is wrong.
        source: NodeListError,
    },
    /// The list of revoked agents.
    #[error("{field}")]
    DenyList {
        /// The field that names it.
        field: String,
        /// What is wrong.
        source: ConfigErrors,
    },
    /// What agents get would be taken elsewhere as well.
    #[error(
        "{field}: {subject} is {other_use} as well, so that the certificate of an agent would be \
         taken there; give agents a CA of their own (`eyesplice pki init --agent NAME` makes \
         tunnel-ca)"
    )]
    SharedCa {
        /// As in `signers[eyesplice.dev/agent-client]`.
        field: String,
        /// The CA.
        subject: String,
        /// What else it is for.
        other_use: String,
    },
    /// The API server's address or our credential.
    #[error("cluster.kubeconfigFile")]
    Cluster(#[source] ConnectError),
}

impl AuthorityMaterialError {
    /// The field that names the file.
    pub(crate) fn field(&self) -> &str {
        match self {
            Self::Pem(error) => &error.file.field,
            Self::Signer { field, .. }
            | Self::Clients { field, .. }
            | Self::DenyList { field, .. }
            | Self::SharedCa { field, .. }
            | Self::Inventory { field, .. } => field,
            Self::Tokens(_) => "authentication",
            Self::Cluster(_) => "cluster.kubeconfigFile",
        }
    }
}

impl AuthorityMaterial {
    /// Loads and checks every file of a configuration; where tokens are looked up comes apart, for
    /// the authenticator. Blocks.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn load(
        config: AuthorityConfig,
        now: SystemTime,
    ) -> Result<Valid<(Self, Sources)>, Vec<AuthorityMaterialError>> {
        let mut loader = Loader::new(now);
        let server = loader.server(&config);
        let clients = loader.clients(&config);
        let signers = loader.signers(&config.signers);
        let inventory = loader.inventory(&config.approval);
        let sources = loader.sources(&config);
        let pods = sources.as_ref().and_then(|_| loader.pods(&config));
        let denied = loader.denied(&config.approval);
        loader.agents_alone(&config, &signers);
        let cluster_info = loader.cluster_info(&config);
        let roles = Roles::new(&config.roles);
        let state = server.zip(sources).map(|(server, sources)| {
            let material = Self {
                config,
                server,
                clients,
                signers,
                inventory,
                roles,
                pods,
                denied,
                cluster_info,
            };
            (material, sources)
        });
        loader.finish(state)
    }

    /// What decides about agents that are pods.
    pub(crate) fn agents(&self) -> Option<Agents<'_>> {
        let settings = self.config.approval.agents.as_ref()?;
        let file = settings.deny_file.as_ref().map(|file| &*file.path);
        Some(Agents {
            denied: file.zip(self.denied.as_ref()),
        })
    }
}

/// Loads one file after the other, and notes what is wrong with each.
pub(super) struct Loader {
    now: SystemTime,
    pub(super) errors: Vec<AuthorityMaterialError>,
    pub(super) warnings: Vec<String>,
    certificates: Vec<CertificateInfo>,
}

impl Loader {
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            now,
            errors: Vec::new(),
            warnings: Vec::new(),
            certificates: Vec::new(),
        }
    }

    /// Gives what was made of the files, unless one of them cannot be used.
    pub(super) fn finish<S>(
        self,
        state: Option<S>,
    ) -> Result<Valid<S>, Vec<AuthorityMaterialError>> {
        match state {
            Some(state) if self.errors.is_empty() => Ok(Valid {
                state,
                warnings: self.warnings,
                certificates: self.certificates,
            }),
            _ => Err(self.errors),
        }
    }

    fn keep<T>(&mut self, result: Result<T, AuthorityMaterialError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    fn notes(&mut self, notes: impl IntoIterator<Item = Note>) {
        self.warnings
            .extend(notes.into_iter().map(|note| note.to_string()));
    }

    fn server(&mut self, config: &AuthorityConfig) -> Option<Credential> {
        let (certificate, key) = (&config.tls_cert_file, &config.tls_private_key_file);
        let loaded = Credential::load(certificate.clone(), key, CertificateRole::Server);
        let credential = self.keep(loaded.map_err(Into::into))?;
        self.notes(credential.notes(self.now));
        self.certificates
            .push(CertificateInfo::new(&credential.file, &credential.leaf));
        Some(credential)
    }

    fn clients(&mut self, config: &AuthorityConfig) -> Option<Arc<dyn ClientCertVerifier>> {
        let file = config.authentication.client_ca_file.as_ref()?;
        let bundle = self.keep(CaBundle::load(file.clone()).map_err(Into::into))?;
        self.notes(bundle.notes(self.now));
        let first = bundle
            .certificates
            .iter()
            .min_by_key(|facts| facts.not_after);
        self.certificates
            .extend(first.map(|facts| CertificateInfo::new(&bundle.file, facts)));
        let provider = provider::shared();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&bundle.roots), provider)
                .allow_unauthenticated()
                .build();
        self.keep(verifier.map_err(|source| AuthorityMaterialError::Clients {
            field: bundle.file.field,
            source,
        }))
    }

    /// A kubeconfig without a user, as kubeadm publishes it.
    fn cluster_info(&mut self, config: &AuthorityConfig) -> Option<String> {
        let info = config.cluster_info.as_ref()?;
        self.keep(CaBundle::load(info.ca_file.clone()).map_err(Into::into))?;
        let certificates = self.keep(pem::certificates(&info.ca_file).map_err(Into::into))?;
        let cluster = json!({
            "server": info.server,
            "certificate-authority-data": BASE64.encode(pem::encode(&certificates).as_bytes()),
        });
        // JSON is YAML.
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "", "cluster": cluster}],
            "contexts": [],
            "current-context": "",
            "users": [],
        });
        Some(kubeconfig.to_string())
    }

    fn sources(&mut self, config: &AuthorityConfig) -> Option<Sources> {
        match Sources::load(&config.authentication.tokens) {
            Ok(sources) => {
                self.warnings.extend(sources.warnings().iter().cloned());
                Some(sources)
            }
            Err(errors) => {
                let errors = errors.0.into_iter();
                self.errors
                    .extend(errors.map(AuthorityMaterialError::Tokens));
                None
            }
        }
    }

    /// Whose pods may be agents. Their tokens are reviewed where others are.
    fn pods(&mut self, config: &AuthorityConfig) -> Option<Pods> {
        let settings = config.approval.agents.as_ref()?;
        let review = config.authentication.tokens.token_review.as_ref()?;
        let pods = Pods::new(settings, review);
        self.keep(pods.map_err(|error| AuthorityMaterialError::Tokens(error.into())))
    }

    fn denied(&mut self, approval: &ApprovalSettings) -> Option<DenyList> {
        let settings = approval.agents.as_ref()?;
        let FileRef { field, path } = settings.deny_file.as_ref()?;
        let loaded = <DenyList as Document>::load(path).map(|loaded| loaded.config);
        self.keep(loaded.map_err(|source| AuthorityMaterialError::DenyList {
            field: field.clone(),
            source,
        }))
    }

    /// A certificate that a pod gets by its token must open no other door.
    fn agents_alone(&mut self, config: &AuthorityConfig, signers: &BTreeMap<Signer, SignerCa>) {
        let own = Signer::AgentClient;
        let (Some(_), Some(ca)) = (&config.approval.agents, signers.get(&own)) else {
            return;
        };
        let facts = ca.authority.facts();
        let mut uses: Vec<String> = signers
            .iter()
            .filter(|(signer, ca)| **signer != own && ca.authority.facts().spki == facts.spki)
            .map(|(signer, _)| format!("the CA of {signer}"))
            .collect();
        let clients = config.authentication.client_ca_file.as_ref();
        // One that cannot be read was reported.
        let clients = clients.and_then(|file| CaBundle::load(file.clone()).ok());
        let vouches = |other: &CertificateFacts| {
            other.spki == facts.spki || (!facts.self_issued && other.subject == facts.issuer)
        };
        if clients.is_some_and(|bundle| bundle.certificates.iter().any(vouches)) {
            uses.push("vouched for by authentication.clientCAFile".to_owned());
        }
        let errors = uses
            .into_iter()
            .map(|other_use| AuthorityMaterialError::SharedCa {
                field: format!("signers[{own}]"),
                subject: facts.subject.to_string(),
                other_use,
            });
        self.errors.extend(errors);
    }

    /// Which node has which address, if a file says it.
    pub(super) fn inventory(&mut self, approval: &ApprovalSettings) -> Option<Inventory> {
        let FileRef { field, path } = approval.inventory_file.as_ref()?;
        let loaded = Inventory::load(path);
        self.keep(loaded.map_err(|source| AuthorityMaterialError::Inventory {
            field: field.clone(),
            source,
        }))
    }

    /// Every signer with its CA.
    pub(super) fn signers(&mut self, settings: &[SignerSettings]) -> BTreeMap<Signer, SignerCa> {
        let mut signers = BTreeMap::new();
        for settings in settings {
            let signer = settings.signer;
            let certificate = &settings.cert_file;
            let loaded = Authority::load(certificate, &settings.key_file)
                .and_then(|authority| authority.signs_for(signer.role()).map(|()| authority));
            let loaded = loaded.map_err(|source| AuthorityMaterialError::Signer {
                field: format!("signers[{signer}]"),
                file: certificate.path.clone(),
                source,
            });
            let Some(authority) = self.keep(loaded) else {
                continue;
            };
            self.notes(note(certificate, authority.facts(), self.now));
            self.certificates
                .push(CertificateInfo::new(certificate, authority.facts()));
            let longest = Duration::try_from(settings.duration).unwrap_or(Duration::MAX);
            signers.insert(signer, SignerCa { authority, longest });
        }
        signers
    }
}
