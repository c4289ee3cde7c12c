//! Loads the parts of a [`Material`](super::Material), collecting everything that is wrong.

use super::KubeletMaterial;
use super::error::{MaterialError, MaterialErrors};
use super::listener::{Purpose, tls_server};
use crate::config::{
    Config, LeafSigner, RuleAction, TcpTransport, Transport, Upstream, Verification,
};
use crate::grants::Grants;
use crate::leaf::{Authority, DEFAULT_CAPACITY, LeafIssuer, LeafOptions, LeafRequests};
use crate::tickets::Tickets;
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{DownstreamTls, ListenerName};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::denylist::DenyList;
use eyesplice_identity::document::Document;
use eyesplice_identity::inventory::{Inventory, NodeListError};
use eyesplice_identity::pem;
use eyesplice_identity::pem::{
    CaBundle, CertificateInfo, Credential, FileRef, NoteKind, Role, note,
};
use eyesplice_identity::pins::Pins;
use eyesplice_identity::pki::{Expected, Flaw, unfit};
use eyesplice_identity::verify::{KubeletTrust, Mode, TargetTrust, Trust, client_verifier};
use eyesplice_proto::tls::Groups;
use rustls::RootCertStore;
use rustls::server::danger::ClientCertVerifier;
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What lives shorter is not renewed by hand.
const SHORT_LIFE: time::Duration = time::Duration::days(35);

/// TLS by listener.
pub(super) type Listeners = HashMap<ListenerName, DownstreamTls>;

/// How the certificates of users are validated, by listener.
pub(super) type Users = HashMap<ListenerName, Arc<dyn ClientCertVerifier>>;

/// What was found so far.
pub(super) struct Loader<'a> {
    now: SystemTime,
    in_force: &'a [CertificateInfo],
    /// Files in it may be missing.
    unenrolled: Option<PathBuf>,
    pub(super) tickets: Tickets,
    pub(super) groups: Groups,
    /// Who issues certificates for break-glass, which front listeners ask for as well.
    pub(super) break_glass: Option<Arc<RootCertStore>>,
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
            groups: Groups::default(),
            break_glass: None,
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

    /// Ends the loading: the certificates and warnings that were found, or all errors.
    pub(super) fn finish(self) -> Result<(Vec<CertificateInfo>, Vec<String>), MaterialErrors> {
        if self.errors.is_empty() {
            Ok((self.certificates, self.warnings))
        } else {
            Err(MaterialErrors(self.errors))
        }
    }

    /// Adds what deserves a look.
    pub(super) fn warn(&mut self, words: String) {
        self.warnings.push(words);
    }

    /// The gateway's own certificate for the authority, if it has one.
    pub(super) fn identity(&mut self, config: &Config) {
        let Some(identity) = &config.identity else {
            return;
        };
        self.bundle(&identity.ca_file);
        if let Some(file) = &identity.issuer_ca_file {
            self.bundle(file);
        }
        let file = identity.client_file();
        self.credential(&file, &file, Role::Client);
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

    /// The key exchange groups of all that follows.
    pub(super) fn groups(&mut self, config: &Config) {
        self.groups = config.tls.groups;
    }

    /// TLS of the TCP listeners, and how users' certificates are validated on those that take some;
    /// those with errors are left out.
    pub(super) fn listeners(&mut self, config: &Config) -> (Listeners, Users) {
        let (mut listeners, mut users) = (HashMap::new(), HashMap::new());
        for (index, listener) in config.listeners.iter().enumerate() {
            let field = format!("listeners[{index}].{}", listener.transport.as_str());
            let tls = match &listener.transport {
                Transport::Unix(_) | Transport::ApiServer(_) => continue,
                Transport::Tcp(tcp) => self.listener(&field, tcp, Purpose::Egress),
                Transport::Tunnel(tcp) => self.listener(&field, tcp, Purpose::Tunnel),
                Transport::Front(front) => self.front(&field, front).map(|(tls, of_users)| {
                    users.extend(of_users.map(|users| (listener.name.clone(), users)));
                    tls
                }),
            };
            if let Some(tls) = tls {
                listeners.insert(listener.name.clone(), tls);
            }
        }
        (listeners, users)
    }

    fn listener(
        &mut self,
        field: &str,
        tcp: &TcpTransport,
        purpose: Purpose,
    ) -> Option<DownstreamTls> {
        let (certificate, key) = (&tcp.tls_cert_file, &tcp.tls_private_key_file);
        let credential = self.credential(certificate, key, Role::Server);
        let clients = self.bundle(&tcp.client_ca_file);
        let (credential, clients) = (credential?, clients?);
        let clients = client_verifier(clients.roots, &tcp.allowed_names);
        let clients =
            self.keep(clients.map_err(|error| MaterialError::Trust(field.to_owned(), error)))?;
        let tls = tls_server(&credential, clients, purpose, (&self.tickets, self.groups));
        self.keep(tls.map_err(|error| MaterialError::Tls(credential.file, error)))
    }

    /// What the API server must present inside of a terminated kubelet stream.
    pub(super) fn apiserver_clients(
        &mut self,
        config: &Config,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        let kubelet = config.kubelet.as_ref()?;
        let bundle = self.bundle(&kubelet.apiserver_client_ca_file)?;
        let clients = client_verifier(bundle.roots, &kubelet.apiserver_client_names);
        self.keep(clients.map_err(|error| MaterialError::Trust(bundle.file.field, error)))
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
        self.guard(key_file);
        let authority = Authority::load(cert_file, key_file);
        let authority =
            self.keep(authority.map_err(|error| MaterialError::Issuer(error.into())))?;
        let facts = authority.facts();
        self.record(cert_file, facts);
        self.in_time(cert_file, facts);
        let issuer = LeafIssuer::new(LeafOptions {
            authority,
            lifetime: ca.leaf_lifetime,
            capacity: DEFAULT_CAPACITY,
            clients: clients.cloned(),
            tickets: self.tickets.clone(),
        });
        let issuer = self.keep(issuer.map_err(MaterialError::Issuer))?;
        Some(Arc::new(issuer.allowing(self.groups)))
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
        self.bundle(ca_file)?;
        let certificates = pem::certificates(ca_file).map_err(MaterialError::Pem);
        let certificates = self.keep(certificates)?;
        Some(Arc::new(LeafRequests {
            identity,
            authority: (ca_file.to_string(), certificates),
            lifetime: ca.leaf_lifetime,
            clients,
            tickets: self.tickets.clone(),
            groups: self.groups,
        }))
    }

    /// Both identities of kubelet streams, if they are configured.
    pub(super) fn kubelet(&mut self, config: &Config) -> Option<KubeletMaterial> {
        let kubelet = config.kubelet.as_ref()?;
        let roots = self.bundle(&kubelet.ca_file);
        let (certificate, key) = (&kubelet.client_cert_file, &kubelet.client_key_file);
        let client = self.credential(certificate, key, Role::Client);
        let inventory = self.nodes(kubelet.inventory_file.as_ref(), Inventory::load);
        let pins = self.nodes(kubelet.pins_file.as_ref(), Pins::load);
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
        let trust = trust.and_then(|trust| trust.allowing(self.groups));
        let trust = trust.map_err(|error| MaterialError::Trust("kubelet".into(), error));
        let trust = self.keep(trust)?;
        let client = client?;
        Some(KubeletMaterial {
            trust: Arc::new(trust),
            client: client.certified,
            client_until: client.leaf.not_after.into(),
            inventory,
            actions: Arc::clone(&kubelet.actions),
        })
    }

    /// Who may be an agent of a tunnel.
    pub(super) fn grants(
        &mut self,
        config: &Config,
        inventory: Option<&Inventory>,
    ) -> Option<Arc<Grants>> {
        let tunnel = config.tunnel.as_ref()?;
        let load = |path: &Path| Ok(<DenyList as Document>::load(path)?.config);
        let denied = self.nodes(tunnel.deny_file.as_ref(), load);
        let denied = tunnel
            .deny_file
            .as_ref()
            .map(|file| file.path.clone())
            .zip(denied);
        for (index, agent) in tunnel.agents.iter().enumerate() {
            let known = |node: &&Arc<str>| inventory.is_none_or(|inventory| inventory.has(node));
            for node in agent.nodes.iter().filter(|node| !known(node)) {
                self.warnings.push(format!(
                    "tunnel.agents[{index}].nodes: {node} is not in the inventory, so nothing \
                     leads to it; add it to kubelet.inventoryFile"
                ));
            }
        }
        Some(Arc::new(Grants::new(tunnel, inventory, denied)))
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
            Some(file) => Some(self.bundle(file)?.roots),
            None => None,
        };
        let trust = Trust::targets(TargetTrust {
            roots,
            pins: Arc::clone(&upstream.spki_sha256),
        });
        let trust = trust.and_then(|trust| trust.allowing(self.groups));
        let trust = trust.map_err(|error| MaterialError::Trust(field.to_owned(), error));
        self.keep(trust).map(Arc::new)
    }

    pub(super) fn credential(
        &mut self,
        certificate: &FileRef,
        key: &FileRef,
        role: Role,
    ) -> Option<Credential> {
        let dir = self.unenrolled.as_deref();
        if dir.is_some_and(|dir| key.path.starts_with(dir)) && !key.path.exists() {
            let what = format!("{key}: is not there yet; the gateway requests it");
            self.warnings.push(what);
            return None;
        }
        self.guard(key);
        let loaded = Credential::load(certificate.clone(), key, role);
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
                self.errors.push(MaterialError::Role(file, flaw));
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
            self.errors
                .push(MaterialError::Role(file.clone(), Flaw::Validity(note.kind)));
        }
    }

    pub(super) fn bundle(&mut self, file: &FileRef) -> Option<CaBundle> {
        let bundle = self.keep(CaBundle::load(file.clone()).map_err(MaterialError::Pem))?;
        let notes = bundle.notes(self.now);
        self.warnings.extend(notes.iter().map(ToString::to_string));
        let first = bundle
            .certificates
            .iter()
            .min_by_key(|facts| facts.not_after);
        self.certificates
            .extend(first.map(|facts| CertificateInfo::new(file, facts)));
        Some(bundle)
    }

    fn record(&mut self, file: &FileRef, facts: &CertificateFacts) {
        self.certificates.push(CertificateInfo::new(file, facts));
    }

    fn nodes<T>(
        &mut self,
        file: Option<&FileRef>,
        load: impl Fn(&Path) -> Result<T, NodeListError>,
    ) -> Option<T> {
        let FileRef { field, path } = file?;
        let loaded = load(path);
        self.keep(loaded.map_err(|error| MaterialError::Nodes(field.clone(), error)))
    }

    /// Warns of a secret that every user of this host can read.
    pub(super) fn guard(&mut self, key: &FileRef) {
        let Ok(metadata) = std::fs::metadata(&key.path) else {
            return;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o004 != 0 {
            let warning = format!("{key}: is readable by all users (mode {mode:04o}); chmod 0600");
            self.warnings.push(warning);
        }
    }

    pub(super) fn keep<T>(&mut self, loaded: Result<T, MaterialError>) -> Option<T> {
        loaded.map_err(|error| self.errors.push(error)).ok()
    }
}
