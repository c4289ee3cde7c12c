//! Issues the certificates that the API server sees in place of a kubelet's, pod's or service's.
//!
//! The leaf is for the dialled name or address, from the egress CA that the API server trusts as
//! `--kubelet-certificate-authority`. In place of a known node's kubelet its subject is that node's, as
//! API servers will want it (KEP-4872); it is for servers alone, so nobody can be that node by it. All leaves of an issuer share one key: they live in the same
//! memory, so a key each would protect nothing, and cost a key pair per target. A reload makes a new
//! issuer and with it a new key.

mod asked;

pub(crate) use asked::Named;
pub use asked::{LeafRequests, LeafStore};

pub use eyesplice_identity::pki::{Authority, AuthorityError};

use crate::tickets::Tickets;
use eyesplice_dataplane::seam::DownstreamTls;
use eyesplice_identity::certificate::{CertificateFacts, instant};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::pem::Role;
use eyesplice_identity::pki::{BACKDATE, alternative_names, random_serial};
use eyesplice_identity::recent::Recent;
use eyesplice_identity::x509::{NODE_GROUP, NODE_PREFIX};
use eyesplice_proto::target::Host;
use eyesplice_proto::tls::{Groups, provider};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Error as TlsError, ServerConfig};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// How long a leaf is valid unless configured; short, because nothing revokes it.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Leaves that are kept, at some 3 KiB each: one for each node of a large cluster; the next one
/// displaces the one that was not used for the longest time.
pub const DEFAULT_CAPACITY: usize = 4096;

/// RFC 5280, appendix A: ub-common-name.
const MAX_COMMON_NAME: usize = 64;

/// The common name where the host's is too long; nobody looks at it, names are in the SAN.
const FALLBACK_COMMON_NAME: &str = "eyesplice egress";

/// What the API server must show when it connects to a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// Its kubelet client certificate.
    Required,
    /// Nothing: it presents nothing to pods and services.
    None,
}

/// Why there is no issuer of leaves.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The CA cannot sign leaves.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The key of the leaves cannot be made.
    #[error("cannot make the key of the leaves")]
    LeafKey(#[source] rcgen::Error),
    /// The TLS library does not take that key.
    #[error("cannot use the key of the leaves")]
    Tls(#[source] TlsError),
}

/// Why there is no leaf.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The CA's time is over.
    #[error(
        "cannot issue a certificate for {host}: the egress CA {subject} expired {}; renew it",
        instant(*.expired)
    )]
    AuthorityExpired {
        /// For whom.
        host: Host,
        /// The CA.
        subject: String,
        /// When it ended.
        expired: OffsetDateTime,
    },
    /// A client certificate is to be required, but no CA for it is configured.
    #[error("cannot require the API server's client certificate for {0}: no CA is configured")]
    NoClientAuthority(Host),
    /// The certificate library failed.
    #[error("cannot issue a certificate for {0}")]
    Issue(Host, #[source] rcgen::Error),
    /// The authority gave none.
    #[error("no certificate for {0} from the authority: {1}")]
    Refused(Host, Arc<str>),
    /// The authority takes too long.
    #[error("no certificate for {0} from the authority within {1:?}; try again")]
    Slow(Host, Duration),
    /// Too many are asked for at once.
    #[error("no certificate for {0}: {1} others are being requested now; try again")]
    Busy(Host, usize),
    /// The system gave no random bytes.
    #[error("cannot draw a serial number for {0}: the system's random source failed")]
    Random(Host),
    /// The TLS library refused what we made.
    #[error("cannot build the TLS server for {0}")]
    Tls(Host, #[source] TlsError),
}

/// How leaves are made.
#[derive(Debug)]
pub struct LeafOptions {
    /// Who signs.
    pub authority: Authority,
    /// How long a leaf is valid; see [`DEFAULT_LIFETIME`]. Never longer than its CA.
    pub lifetime: Duration,
    /// Leaves that are kept; see [`DEFAULT_CAPACITY`].
    pub capacity: usize,
    /// Judges the API server's kubelet client certificate.
    pub clients: Option<Arc<dyn ClientCertVerifier>>,
    /// How sessions are resumed.
    pub tickets: Tickets,
}

/// Whom the leaf is for, the node that it names, and who may connect.
type Key = (Host, Option<Arc<str>>, ClientAuth);

/// One issued leaf, ready to serve.
#[derive(Clone)]
struct Leaf {
    tls: DownstreamTls,
    not_before: SystemTime,
    renew_at: SystemTime,
}

impl Leaf {
    /// A clock that was set back may make a leaf one of the future.
    fn is_fresh(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.renew_at
    }
}

/// The issuer of leaves with its cache. Calls may come from several threads at once.
#[derive(derive_more::Debug)]
#[debug("LeafIssuer({})", authority.facts().describe())]
pub struct LeafIssuer {
    authority: Authority,
    lifetime: Duration,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Tickets,
    groups: Groups,
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    cache: Recent<Key, Leaf>,
}

impl LeafIssuer {
    /// The same, whose leaves are served with these key exchange groups alone.
    pub fn allowing(self, groups: Groups) -> Self {
        Self { groups, ..self }
    }

    /// Draws the key of all leaves.
    ///
    /// # Errors
    /// The CA may not sign for servers, or the random source failed.
    pub fn new(options: LeafOptions) -> Result<Self, IssuerError> {
        let LeafOptions {
            authority,
            lifetime,
            capacity,
            clients,
            tickets,
        } = options;
        authority.signs_for(Role::Server)?;
        let provider = provider::shared();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssuerError::LeafKey)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = provider
            .key_provider
            .load_private_key(der)
            .map_err(IssuerError::Tls)?;
        Ok(Self {
            authority,
            lifetime,
            clients,
            tickets,
            groups: Groups::default(),
            key,
            signing,
            cache: Recent::new(capacity),
        })
    }

    /// What the CA says of itself.
    pub fn authority(&self) -> &CertificateFacts {
        self.authority.facts()
    }

    /// Gives the TLS server for a dialled host, in place of `node` if it is known. Cheap while the leaf is in the cache; a miss costs
    /// one signature by the CA's key: an RSA one takes a millisecond, so do it on a thread that may
    /// wait.
    ///
    /// # Errors
    /// The CA has expired; the TLS or certificate library failed.
    pub fn tls_server(
        &self,
        host: &Host,
        node: Option<&Arc<str>>,
        client_auth: ClientAuth,
        now: SystemTime,
    ) -> Result<DownstreamTls, LeafError> {
        if let Some(tls) = self.cached(host, node, client_auth, now) {
            return Ok(tls);
        }
        // Two streams may miss at once; both leaves are good, and the later one stays.
        let leaf = self.issue(host, node, client_auth, now)?;
        let tls = leaf.tls.clone();
        let key = (host.clone(), node.cloned(), client_auth);
        self.cache.insert(key, leaf);
        Ok(tls)
    }

    /// Gives the TLS server for a dialled host if it is in the cache; never blocks for long.
    pub fn cached(
        &self,
        host: &Host,
        node: Option<&Arc<str>>,
        client_auth: ClientAuth,
        now: SystemTime,
    ) -> Option<DownstreamTls> {
        let key = (host.clone(), node.cloned(), client_auth);
        self.cache
            .find(&key, |leaf| leaf.is_fresh(now))
            .map(|leaf| leaf.tls)
    }

    /// Says how many leaves are kept.
    pub fn cached_leaves(&self) -> usize {
        self.cache.held()
    }

    fn issue(
        &self,
        host: &Host,
        node: Option<&Arc<str>>,
        client_auth: ClientAuth,
        now: SystemTime,
    ) -> Result<Leaf, LeafError> {
        let ca = self.authority.facts();
        let start = OffsetDateTime::from(now);
        if start >= ca.not_after {
            let (host, subject) = (host.clone(), ca.subject.to_string());
            return Err(LeafError::AuthorityExpired {
                host,
                subject,
                expired: ca.not_after,
            });
        }
        let lifetime = time::Duration::try_from(self.lifetime).unwrap_or(time::Duration::MAX);
        let not_before = start.saturating_sub(BACKDATE).max(ca.not_before);
        let not_after = start.saturating_add(lifetime).min(ca.not_after);
        let failed = |source| LeafError::Issue(host.clone(), source);
        let mut params = params(host, node.map(|node| &**node)).map_err(failed)?;
        params.not_before = not_before;
        params.not_after = not_after;
        let serial = random_serial().map_err(|_| LeafError::Random(host.clone()))?;
        params.serial_number = Some(serial);
        let leaf = self.authority.sign(&params, &self.key, None);
        let mut chain = vec![leaf.map_err(failed)?];
        chain.extend_from_slice(self.authority.intermediates());
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signing)));
        let manner = Manner {
            clients: self.clients.as_ref(),
            tickets: &self.tickets,
            groups: self.groups,
        };
        Ok(Leaf {
            tls: tls_server(host, certified, client_auth, &manner)?,
            not_before: not_before.into(),
            renew_at: start.saturating_add((not_after - start) * 2 / 3).into(),
        })
    }
}

/// How the TLS server of a leaf behaves, whatever it shows.
struct Manner<'a> {
    clients: Option<&'a Arc<dyn ClientCertVerifier>>,
    tickets: &'a Tickets,
    groups: Groups,
}

/// Builds the TLS server that shows a leaf.
fn tls_server(
    host: &Host,
    certified: Arc<CertifiedKey>,
    client_auth: ClientAuth,
    manner: &Manner<'_>,
) -> Result<DownstreamTls, LeafError> {
    let (clients, purpose) = match (client_auth, manner.clients) {
        (ClientAuth::None, _) => (WebPkiClientVerifier::no_client_auth(), "leaf for anybody"),
        (ClientAuth::Required, Some(clients)) => (Arc::clone(clients), "leaf for API servers"),
        (ClientAuth::Required, None) => {
            return Err(LeafError::NoClientAuthority(host.clone()));
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider::allowing(manner.groups))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|source| LeafError::Tls(host.clone(), source))?
        .with_client_cert_verifier(Arc::clone(&clients))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&certified))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    manner.tickets.apply(&mut config, &certified, purpose);
    // The engine protects the records, or the kernel does.
    config.enable_secret_extraction = true;
    Ok(DownstreamTls {
        config: Arc::new(config),
        clients: Some(clients),
    })
}

fn params(host: &Host, node: Option<&str>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    if let Some(node) = node {
        // Longer than the RFC has it for long node names, as kubelets' own are.
        name.push(DnType::OrganizationName, NODE_GROUP);
        name.push(DnType::CommonName, format!("{NODE_PREFIX}{node}"));
    } else {
        let host = host.to_string();
        let common_name = if host.len() <= MAX_COMMON_NAME {
            &host
        } else {
            FALLBACK_COMMON_NAME
        };
        name.push(DnType::CommonName, common_name);
    }
    params.distinguished_name = name;
    params.subject_alt_names = alternative_names(&[HostAddress::from(host)])?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests;
