//! What one turn of the controller knows of those who ask for first certificates.
//!
//! It is found out when the first of them is looked at: most turns have none.

use super::held::{Held, Holders, unsigned_until};
use super::object::CertificateSigningRequest;
use super::roles::Roles;
use super::store::Object;
use eyesplice_identity::x509::{CertificateRequest, NODE_PREFIX, Signer};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// One turn's knowledge.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Approved and not signed yet: the next one of that name must know.
    granted: Option<Holders>,
    /// How many first certificates of nodes each requester waits for.
    waiting: Option<HashMap<String, usize>>,
    over: HashSet<String>,
}

impl Standing {
    /// Finds who was granted this name and has no certificate yet.
    pub(super) fn granted(&mut self, name: &str, objects: &[Object]) -> Option<Arc<Held>> {
        let granted = self.granted.get_or_insert_with(|| {
            let waiting = objects.iter().filter(|object| object.awaits_signature());
            waiting.filter_map(|object| grant(object)).collect()
        });
        granted.get(name).cloned()
    }

    /// Notes that this was approved.
    pub(super) fn grants(&mut self, object: &CertificateSigningRequest) {
        if let (Some(granted), Some((name, held))) = (&mut self.granted, grant(object)) {
            granted.insert(name, held);
        }
    }

    /// Says whether the requester of a node's first certificate waits for more of them than there are
    /// nodes and `margin` more. Of one requester: others' are not held up by it.
    pub(super) fn brakes(
        &mut self,
        object: &CertificateSigningRequest,
        objects: &[Object],
        roles: &Roles,
        most: usize,
    ) -> bool {
        if !is_first_of_node(object, roles) {
            return false;
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            let mut waiting = HashMap::new();
            for object in objects {
                if object.is_pending() && is_first_of_node(object, roles) {
                    *waiting.entry(object.spec.username.clone()).or_default() += 1;
                }
            }
            waiting
        });
        let waiting = waiting.get(&object.spec.username);
        let over = waiting.is_some_and(|count| *count > most);
        if over {
            self.over.insert(object.spec.username.clone());
        }
        over
    }

    /// Says whether a requester waited for too many in this turn.
    pub(super) fn waits(&self, user: &str) -> bool {
        self.over.contains(user)
    }
}

/// A node's first certificate is asked for, and not by the node.
pub(super) fn is_first_of_node(object: &CertificateSigningRequest, roles: &Roles) -> bool {
    let spec = &object.spec;
    spec.signer_name == Signer::KubeletClient.name()
        && !spec.username.starts_with(NODE_PREFIX)
        && roles.bootstraps_nodes(&spec.groups)
}

fn grant(object: &CertificateSigningRequest) -> Option<(String, Arc<Held>)> {
    let signer = Signer::by_name(&object.spec.signer_name)?;
    if !matches!(signer, Signer::KubeletClient | Signer::GatewayClient) {
        return None;
    }
    let request = CertificateRequest::read(&object.spec.request.0).ok()?;
    let since = object.metadata.creation_timestamp?.time();
    let (csr, user) = (&object.metadata.name, &object.spec.username);
    let (name, held) = Held::of(signer, &request, csr, user, since, unsigned_until())?;
    Some((name, Arc::new(held)))
}
