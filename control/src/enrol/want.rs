//! What a configuration wants from the authority.

use super::{GROUP, user};
use crate::bootstrap::Wish;
use crate::config::{Config, Identity, Transport};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::x509::Signer;
use std::path::PathBuf;

/// Everything that is wanted, and who asks; the gateway's own client certificate comes first, for
/// all others are asked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) identity: Identity,
    pub(crate) certificates: Vec<Want>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// The field that asks for it.
    pub(crate) field: String,
    /// Where it is kept with its key.
    pub(crate) file: PathBuf,
    pub(crate) wish: Wish,
}

/// Lists what a configuration wants; nothing if it has no identity.
pub(crate) fn wants(config: &Config) -> Option<Wants> {
    let identity = config.identity.clone()?;
    let wish = |signer, names: &[HostAddress]| Wish {
        signer,
        common_name: user(&identity),
        organization: GROUP,
        names: names.to_vec(),
        lifetime: identity.lifetime,
    };
    let mut certificates = vec![Want {
        field: "identity".to_owned(),
        file: identity.client_file(),
        wish: wish(Signer::GatewayClient, &[]),
    }];
    for (index, listener) in config.listeners.iter().enumerate() {
        if let Transport::Tcp(tcp) = &listener.transport
            && let Some(names) = &tcp.tls_from_authority
        {
            certificates.push(Want {
                field: format!("listeners[{index}].tcp.tlsFromAuthority"),
                file: identity.serving_file(&listener.name),
                wish: wish(Signer::Serving, names),
            });
        }
    }
    Some(Wants {
        identity,
        certificates,
    })
}
