//! Whom one generation of the configuration trusts.

use crate::inventory::Inventory;
use crate::pins::{Pins, SpkiHash};
use eyesplice_proto::target::Host;
use eyesplice_proto::tls::{Groups, provider};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::TrustAnchor;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error, RootCertStore};
use std::sync::Arc;

/// The only protocol that is spoken inside: a kubelet that chose h2 would be relayed unread.
const ALPN: &[u8] = b"http/1.1";

/// What happens when a certificate fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The handshake fails.
    #[default]
    Enforce,
    /// It goes on, and the failure is reported. The peer must still prove that it has the key of
    /// what it presented.
    Observe,
}

/// Trust in kubelets.
#[derive(Clone, Debug)]
pub struct KubeletTrust {
    /// Issuers of serving certificates.
    pub roots: Arc<RootCertStore>,
    /// Public keys by node.
    pub pins: Arc<Pins>,
    /// Nodes by address.
    pub inventory: Option<Arc<Inventory>>,
    /// What happens when a certificate fails.
    pub mode: Mode,
}

/// Trust in the pods and services of one rule; never observed only.
#[derive(Clone, Debug)]
pub struct TargetTrust {
    /// Issuers; absent: the pins alone decide.
    pub roots: Option<Arc<RootCertStore>>,
    /// Public keys, one of which must be presented; empty: any that the roots vouch for.
    pub pins: Arc<[SpkiHash]>,
}

/// Trust that trusts nobody or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Neither roots nor pins.
    #[error("trusts nobody: give a CA file, or the SHA-256 of public keys")]
    Nobody,
    /// Pins are by node, and nothing says which node has which address.
    #[error("pins need an inventory: name the nodes and their addresses in kubelet.inventoryFile")]
    PinsWithoutInventory,
    /// No TLS version is left.
    #[error("cannot build a TLS configuration")]
    Tls(#[source] Error),
    /// The client CAs cannot be used.
    #[error("cannot use the client CA bundle")]
    ClientRoots(#[source] rustls::server::VerifierBuilderError),
}

/// Whom to trust at the far end of streams; shared by all streams of a generation.
#[derive(Debug)]
pub struct Trust {
    scope: Scope,
    mode: Mode,
    words: Words,
    base: ClientConfig,
}

/// How messages call what is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// A kubelet.
    Kubelet,
    /// A pod or service of a rule.
    Target,
    /// An API server.
    ApiServer,
}

impl Words {
    /// What it is.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Target => "target",
            Self::ApiServer => "API server",
        }
    }

    /// Where its issuers are configured.
    pub(super) fn ca_field(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet.caFile",
            Self::Target => "the rule's caFile",
            Self::ApiServer => "apiservers.caFile",
        }
    }
}

#[derive(Debug)]
enum Scope {
    Kubelets {
        roots: Arc<RootCertStore>,
        pins: Arc<Pins>,
        inventory: Option<Arc<Inventory>>,
    },
    Targets(TargetTrust),
}

impl Trust {
    /// Trusts kubelets.
    ///
    /// # Errors
    /// Nobody would be trusted, or pins could never be found.
    pub fn kubelets(trust: KubeletTrust) -> Result<Self, TrustError> {
        let KubeletTrust {
            roots,
            pins,
            inventory,
            mode,
        } = trust;
        if roots.is_empty() && pins.is_empty() {
            return Err(TrustError::Nobody);
        }
        if inventory.is_none() && !pins.is_empty() {
            return Err(TrustError::PinsWithoutInventory);
        }
        Self::new(
            Scope::Kubelets {
                roots,
                pins,
                inventory,
            },
            mode,
            Words::Kubelet,
        )
    }

    /// Trusts the pods and services of one rule.
    ///
    /// # Errors
    /// Nobody would be trusted.
    pub fn targets(trust: TargetTrust) -> Result<Self, TrustError> {
        let rooted = trust.roots.as_ref().is_some_and(|roots| !roots.is_empty());
        if !rooted && trust.pins.is_empty() {
            return Err(TrustError::Nobody);
        }
        Self::new(Scope::Targets(trust), Mode::Enforce, Words::Target)
    }

    /// Trusts API servers whose certificates these roots vouch for.
    ///
    /// # Errors
    /// Nobody would be trusted.
    pub fn api_servers(roots: Arc<RootCertStore>) -> Result<Self, TrustError> {
        if roots.is_empty() {
            return Err(TrustError::Nobody);
        }
        let trust = TargetTrust {
            roots: Some(roots),
            pins: Arc::new([]),
        };
        Self::new(Scope::Targets(trust), Mode::Enforce, Words::ApiServer)
    }

    fn new(scope: Scope, mode: Mode, words: Words) -> Result<Self, TrustError> {
        let base = base_config(provider::shared()).map_err(TrustError::Tls)?;
        Ok(Self {
            scope,
            mode,
            words,
            base,
        })
    }

    /// The same, with these key exchange groups alone.
    ///
    /// # Errors
    /// No TLS version is left.
    pub fn allowing(self, groups: Groups) -> Result<Self, TrustError> {
        let base = base_config(provider::allowing(groups)).map_err(TrustError::Tls)?;
        Ok(Self { base, ..self })
    }

    pub(super) fn base(&self) -> &ClientConfig {
        &self.base
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// How messages call what is trusted here.
    pub(super) fn words(&self) -> Words {
        self.words
    }

    /// Says whether failures concern a kubelet.
    pub(super) fn is_kubelets(&self) -> bool {
        matches!(self.scope, Scope::Kubelets { .. })
    }

    /// The node of an address, by inventory.
    pub(super) fn node_of(&self, host: &Host) -> Option<&Arc<str>> {
        match &self.scope {
            Scope::Kubelets {
                inventory: Some(inventory),
                ..
            } => inventory.node_of(host),
            Scope::Kubelets {
                inventory: None, ..
            }
            | Scope::Targets(_) => None,
        }
    }

    /// How public keys are judged; `node` matters to kubelets.
    pub(super) fn pinning(&self, node: Option<&str>) -> Pinning<'_> {
        match &self.scope {
            Scope::Kubelets { pins, .. } => match node.and_then(|node| pins.of(node)) {
                Some(pins) => Pinning::Enough(pins),
                None => Pinning::None,
            },
            Scope::Targets(TargetTrust { pins, .. }) if pins.is_empty() => Pinning::None,
            Scope::Targets(TargetTrust { pins, roots: None }) => Pinning::Enough(pins),
            Scope::Targets(TargetTrust {
                pins,
                roots: Some(_),
            }) => Pinning::Besides(pins),
        }
    }

    /// The anchors of the chain.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        match &self.scope {
            Scope::Kubelets { roots, .. }
            | Scope::Targets(TargetTrust {
                roots: Some(roots), ..
            }) => &roots.roots,
            Scope::Targets(TargetTrust { roots: None, .. }) => &[],
        }
    }
}

/// What a match with a pin is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinning<'a> {
    /// There are no pins.
    None,
    /// The key must be pinned, and then chain and names do not matter.
    Enough(&'a [SpkiHash]),
    /// The key must be pinned besides all else.
    Besides(&'a [SpkiHash]),
}

fn base_config(provider: Arc<CryptoProvider>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        // Nobody is trusted until a stream's own verifier takes its place.
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // Kernel TLS takes the traffic secrets.
    config.enable_secret_extraction = true;
    Ok(config)
}
