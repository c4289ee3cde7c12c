//! Loads the parts of a [`Material`](super::Material), collecting everything that is wrong.

use super::error::{MaterialError, MaterialErrors};
use super::listener::tls_server;
use super::{KubeletMaterial, Material};
use crate::config::{
    Config, LeafSigner, RuleAction, TcpTransport, Transport, Upstream, Verification,
};
use crate::leaf::{Authority, DEFAULT_CAPACITY, LeafIssuer, LeafOptions, LeafRequests};
use crate::tickets::Tickets;
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{DownstreamTls, ListenerName};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::inventory::{Inventory, NodeListError};
use eyesplice_identity::pem;
use eyesplice_identity::pem::{
    CaBundle, CertificateInfo, Credential, FileRef, NoteKind, Role, note,
};
use eyesplice_identity::pins::Pins;
use eyesplice_identity::pki::{Expected, Flaw, unfit};
use eyesplice_identity::verify::{KubeletTrust, Mode, TargetTrust, Trust, client_verifier};
use rustls::server::danger::ClientCertVerifier;
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What lives shorter is not renewed by hand.
const SHORT_LIFE: time::Duration = time::Duration::days(35);

/// What was found so far.
pub(super) struct Loader<'a> {
    now: SystemTime,
    in_force: &'a [CertificateInfo],
    /// Files in it may be missing.
    unenrolled: Option<PathBuf>,
    tickets: Tickets,
    errors: Vec<MaterialError>,
    certificates: Vec<CertificateInfo>,
    warnings: Vec<String>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(now: SystemTime, in_force: &'a [CertificateInfo]) -> Self {
        Self {
            now,
            in_force,
            unenrolled: None,
            tickets: Tickets::none(),
            errors: Vec::new(),
            certificates: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Lets files in this directory be missing.
    pub(super) fn unenrolled(self, dir: Option<PathBuf>) -> Self {
        Self {
            unenrolled: dir,
            ..self
        }
    }

    /// Ends the loading: a material, or all errors.
    pub(super) fn finish(
        self,
        build: impl FnOnce(Vec<CertificateInfo>, Vec<String>) -> Material,
    ) -> Result<Material, MaterialErrors> {
        if self.errors.is_empty() {
            Ok(build(self.certificates, self.warnings))
        } else {
            Err(MaterialErrors(self.errors))
        }
    }

    /// The gateway's own certificate for the authority, if it has one.
    pub(super) fn identity(&mut self, config: &Config) {
        let Some(identity) = &config.identity else {
            return;
        };
        self.bundle(FileRef::new("identity.caFile", &identity.ca_file));
        if let Some(file) = &identity.issuer_ca_file {
            self.bundle(FileRef::new("identity.issuerCAFile", file));
        }
        let file = FileRef::new("identity", identity.client_file());
        self.credential(file.clone(), file, Role::Client);
    }

    /// The keys of session tickets. Under kernel TLS there are none: a ticket waits for the first
    /// record of the session, and the kernel makes that one.
    pub(super) fn tickets(&mut self, config: &Config) {
        let lifetime = config.timeouts.session_ticket;
        if !lifetime.is_zero() && config.engine.ktls == KtlsPolicy::Off {
            let tickets = Tickets::new(lifetime).map_err(MaterialError::Tickets);
            self.tickets = self.keep(tickets).unwrap_or_default();
        }
    }

    /// TLS of the TCP listeners; those with errors are left out.
    pub(super) fn listeners(&mut self, config: &Config) -> HashMap<ListenerName, DownstreamTls> {
        let mut listeners = HashMap::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let Transport::Tcp(tcp) = &listener.transport else {
                continue;
            };
            if let Some(tls) = self.listener(&format!("listeners[{index}].tcp"), tcp) {
                listeners.insert(listener.name.clone(), tls);
            }
        }
        listeners
    }

    fn listener(&mut self, field: &str, tcp: &TcpTransport) -> Option<DownstreamTls> {
        let (certificate, key) = match &tcp.tls_from_authority {
            Some(_) => ("tlsFromAuthority", "tlsFromAuthority"),
            None => ("tlsCertFile", "tlsPrivateKeyFile"),
        };
        let credential = self.credential(
            FileRef::new(format!("{field}.{certificate}"), &tcp.tls_cert_file),
            FileRef::new(format!("{field}.{key}"), &tcp.tls_private_key_file),
            Role::Server,
        );
        let clients = self.bundle(FileRef::new(
            format!("{field}.clientCAFile"),
            &tcp.client_ca_file,
        ));
        let (credential, clients) = (credential?, clients?);
        let clients = client_verifier(clients.roots, &tcp.allowed_names);
        let clients = self.keep(clients.map_err(|error| MaterialError::Trust {
            field: field.to_owned(),
            error,
        }))?;
        let tls = tls_server(&credential, clients, &self.tickets);
        self.keep(tls.map_err(|error| MaterialError::Tls {
            file: credential.file,
            error,
        }))
    }

    /// What the API server must present inside of a terminated kubelet stream.
    pub(super) fn apiserver_clients(
        &mut self,
        config: &Config,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        const FIELD: &str = "kubelet.apiserverClientCAFile";
        let kubelet = config.kubelet.as_ref()?;
        let bundle = self.bundle(FileRef::new(FIELD, &kubelet.apiserver_client_ca_file))?;
        let clients = client_verifier(bundle.roots, &kubelet.apiserver_client_names);
        self.keep(clients.map_err(|error| MaterialError::Trust {
            field: FIELD.into(),
            error,
        }))
    }

    /// The issuer of leaves, if there is one.
    pub(super) fn issuer(
        &mut self,
        config: &Config,
        clients: Option<&Arc<dyn ClientCertVerifier>>,
    ) -> Option<Arc<LeafIssuer>> {
        let ca = config.egress_ca.as_ref()?;
        let LeafSigner::Files {
            cert_file,
            key_file,
        } = &ca.signer
        else {
            return None;
        };
        let certificate = FileRef::new("egressCA.certFile", cert_file);
        let key = FileRef::new("egressCA.keyFile", key_file);
        self.guard(&key);
        let authority = Authority::load(&certificate, &key);
        let authority =
            self.keep(authority.map_err(|error| MaterialError::Issuer(error.into())))?;
        let facts = authority.facts();
        self.record(&certificate, facts);
        self.in_time(&certificate, facts);
        let issuer = LeafIssuer::new(LeafOptions {
            authority,
            lifetime: ca.leaf_lifetime,
            capacity: DEFAULT_CAPACITY,
            clients: clients.cloned(),
            tickets: self.tickets.clone(),
        });
        self.keep(issuer.map_err(MaterialError::Issuer))
            .map(Arc::new)
    }

    /// How leaves are asked of the authority, if they are.
    pub(super) fn leaf_requests(
        &mut self,
        config: &Config,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Option<Arc<LeafRequests>> {
        let (ca, identity) = (config.egress_ca.as_ref()?, config.identity.clone()?);
        let LeafSigner::Authority { ca_file } = &ca.signer else {
            return None;
        };
        let file = FileRef::new("egressCA.caFile", ca_file);
        self.bundle(file.clone())?;
        let certificates = pem::certificates(&file).map_err(MaterialError::Pem);
        let certificates = self.keep(certificates)?;
        Some(Arc::new(LeafRequests {
            identity,
            authority: (file.to_string(), certificates),
            lifetime: ca.leaf_lifetime,
            clients,
            tickets: self.tickets.clone(),
        }))
    }

    /// Both identities of kubelet streams, if they are configured.
    pub(super) fn kubelet(&mut self, config: &Config) -> Option<KubeletMaterial> {
        let kubelet = config.kubelet.as_ref()?;
        let roots = self.bundle(FileRef::new("kubelet.caFile", &kubelet.ca_file));
        let (certificate, key) = if kubelet.client_from_authority {
            ("kubelet.clientFromAuthority", "kubelet.clientFromAuthority")
        } else {
            ("kubelet.clientCertFile", "kubelet.clientKeyFile")
        };
        let client = self.credential(
            FileRef::new(certificate, &kubelet.client_cert_file),
            FileRef::new(key, &kubelet.client_key_file),
            Role::Client,
        );
        let inventory = self.nodes(
            "kubelet.inventoryFile",
            kubelet.inventory_file.as_deref(),
            Inventory::load,
        );
        let pins = self.nodes("kubelet.pinsFile", kubelet.pins_file.as_deref(), Pins::load);
        let inventory = inventory.map(Arc::new);
        let trust = Trust::kubelets(KubeletTrust {
            roots: roots?.roots,
            pins: Arc::new(pins.unwrap_or_default()),
            inventory: inventory.clone(),
            mode: match kubelet.verification {
                Verification::Enforce => Mode::Enforce,
                Verification::Observe => Mode::Observe,
            },
        });
        let trust = trust.map_err(|error| MaterialError::Trust {
            field: "kubelet".into(),
            error,
        });
        let trust = self.keep(trust)?;
        Some(KubeletMaterial {
            trust: Arc::new(trust),
            client: client?.certified,
            inventory,
            actions: Arc::clone(&kubelet.actions),
        })
    }

    /// The trust of each rule that has its own, by index.
    pub(super) fn targets(&mut self, config: &Config) -> Vec<Option<Arc<Trust>>> {
        let rules = config.egress.rules.iter().enumerate();
        rules
            .map(|(index, rule)| match &rule.action {
                RuleAction::Originate(upstream) | RuleAction::TerminateOpaque(upstream) => {
                    self.target(&format!("egress.rules[{index}].upstream"), upstream)
                }
                RuleAction::Deny | RuleAction::Splice | RuleAction::TerminateKubelet => None,
            })
            .collect()
    }

    fn target(&mut self, field: &str, upstream: &Upstream) -> Option<Arc<Trust>> {
        let roots = match &upstream.ca_file {
            Some(file) => Some(
                self.bundle(FileRef::new(format!("{field}.caFile"), file))?
                    .roots,
            ),
            None => None,
        };
        let trust = Trust::targets(TargetTrust {
            roots,
            pins: Arc::clone(&upstream.spki_sha256),
        });
        let trust = trust.map_err(|error| MaterialError::Trust {
            field: field.to_owned(),
            error,
        });
        self.keep(trust).map(Arc::new)
    }

    fn credential(&mut self, certificate: FileRef, key: FileRef, role: Role) -> Option<Credential> {
        let dir = self.unenrolled.as_deref();
        if dir.is_some_and(|dir| key.path.starts_with(dir)) && !key.path.exists() {
            let what = format!("{key}: is not there yet; the gateway asks the authority for it");
            self.warnings.push(what);
            return None;
        }
        self.guard(&key);
        let loaded = Credential::load(certificate, &key, role);
        let credential = self.keep(loaded.map_err(MaterialError::Pem))?;
        self.record(&credential.file, &credential.leaf);
        let expected = Expected {
            role,
            subject: None,
            names: None,
            authorities: None,
        };
        let chain = &credential.certified.cert;
        for flaw in unfit(&expected, chain, &credential.leaf, self.now) {
            if !matches!(flaw, Flaw::Validity(_)) {
                let file = credential.file.clone();
                self.errors.push(MaterialError::Role { file, flaw });
            }
        }
        self.in_time(&credential.file, &credential.leaf);
        Some(credential)
    }

    /// What has expired, or is not valid yet, must not come into force; what is in force already is
    /// warned of.
    fn in_time(&mut self, file: &FileRef, facts: &CertificateFacts) {
        let Some(note) = note(file, facts, self.now) else {
            return;
        };
        let own = CertificateInfo::new(file, facts);
        let known = self.in_force.iter().any(|other| other.is_same(&own));
        if matches!(note.kind, NoteKind::ExpiresSoon(_)) || known {
            // A short life is renewed by a program; whether that works, the gateway watches.
            if facts.not_after - facts.not_before > SHORT_LIFE {
                self.warnings.push(note.to_string());
            }
        } else {
            self.errors.push(MaterialError::Role {
                file: file.clone(),
                flaw: Flaw::Validity(note.kind),
            });
        }
    }

    fn bundle(&mut self, file: FileRef) -> Option<CaBundle> {
        let bundle = self.keep(CaBundle::load(file).map_err(MaterialError::Pem))?;
        self.warnings
            .extend(bundle.notes(self.now).iter().map(ToString::to_string));
        if let Some(first) = bundle
            .certificates
            .iter()
            .min_by_key(|facts| facts.not_after)
        {
            self.record(&bundle.file, first);
        }
        Some(bundle)
    }

    fn record(&mut self, file: &FileRef, facts: &CertificateFacts) {
        self.certificates.push(CertificateInfo::new(file, facts));
    }

    fn nodes<T>(
        &mut self,
        field: &'static str,
        file: Option<&Path>,
        load: impl Fn(&Path) -> Result<T, NodeListError>,
    ) -> Option<T> {
        let loaded = load(file?);
        self.keep(loaded.map_err(|error| MaterialError::Nodes { field, error }))
    }

    /// Warns of a key that every user of this host can read.
    fn guard(&mut self, key: &FileRef) {
        let Ok(metadata) = std::fs::metadata(&key.path) else {
            return;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o004 != 0 {
            let warning = format!("{key}: is readable by everybody (mode {mode:04o}); chmod 0600");
            self.warnings.push(warning);
        }
    }

    fn keep<T>(&mut self, loaded: Result<T, MaterialError>) -> Option<T> {
        loaded.map_err(|error| self.errors.push(error)).ok()
    }
}
