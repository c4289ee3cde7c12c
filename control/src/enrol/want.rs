//! What a configuration wants from the authority.

use super::{GROUP, user};
use crate::bootstrap::Wish;
use crate::config::{AgentConfig, AgentIdentity, Config, Identity};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::pem::FileRef;
use eyesplice_identity::x509::{AGENT_GROUP, NODE_AGENT_PREFIX, Signer};

/// Everything that is wanted, and who asks; the asker's own client certificate comes first, for
/// all others are asked with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) identity: Identity,
    pub(crate) certificates: Vec<Want>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// Where it is kept with its key, and the field that asks for it.
    pub(crate) file: FileRef,
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
        file: identity.client_file(),
        wish: wish(Signer::GatewayClient, &[]),
    }];
    for listener in &config.listeners {
        let transport = &listener.transport;
        if let Some(([file, _], names)) = transport.presented().zip(transport.tls_from_authority())
        {
            certificates.push(Want {
                file: file.clone(),
                wish: wish(Signer::Serving, names),
            });
        }
    }
    Some(Wants {
        identity,
        certificates,
    })
}

/// Lists what an agent wants: its client certificate, if it is a pod.
pub(crate) fn agent_wants(config: &AgentConfig) -> Option<Wants> {
    let AgentIdentity::Pod(pod) = &config.identity else {
        return None;
    };
    let identity = pod.asker()?;
    let wish = Wish {
        signer: Signer::AgentClient,
        common_name: format!("{NODE_AGENT_PREFIX}{}", identity.name),
        organization: AGENT_GROUP,
        names: Vec::new(),
        lifetime: identity.lifetime,
    };
    Some(Wants {
        identity,
        certificates: vec![Want {
            file: pod.pair(),
            wish,
        }],
    })
}
