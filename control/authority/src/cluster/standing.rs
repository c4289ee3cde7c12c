//! Who holds a client certificate in this cluster, as far as its CSRs tell, and who is about to get one.

use super::super::held::{Held, Holders, key_of};
use super::object::{ApiCsr, certificate, name, read, uid};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::x509::{CertificateRequest, Signer};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What was read of CSRs, each once.
#[derive(Default)]
pub(super) struct Standing {
    /// By UID; `None` for what is no client certificate of a node or gateway.
    read: HashMap<String, Option<(String, Arc<Held>)>>,
    claims: Arc<Mutex<Claims>>,
}

/// Names that were approved for a CSR which is not signed yet, as far as the watch shows: name to UID
/// and holder.
type Claims = HashMap<String, (String, Arc<Held>)>;

/// The same for one turn.
#[derive(Default)]
pub(super) struct Known {
    holders: Holders,
    claims: Arc<Mutex<Claims>>,
}

impl Standing {
    /// Looks at all CSRs of the cluster.
    pub(super) fn look(&mut self, objects: &[Arc<ApiCsr>]) -> Known {
        let alive: HashSet<&str> = objects.iter().map(|object| uid(object)).collect();
        self.read.retain(|uid, _| alive.contains(uid.as_str()));
        let mut open = HashSet::new();
        let mut holders = Holders::new();
        for object in objects {
            let Some(signer) = of_clients(object) else {
                continue;
            };
            let Some(pem) = certificate(object) else {
                if has(object, "Approved") && !has(object, "Denied") && !has(object, "Failed") {
                    self.approved(object, signer);
                }
                if !has(object, "Denied") && !has(object, "Failed") {
                    open.insert(uid(object));
                }
                continue;
            };
            let entry = self.read.entry(uid(object).to_owned());
            let entry = entry.or_insert_with(|| signed(object, pem));
            if let Some((name, held)) = entry {
                let newest = holders
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(held));
                if newest.not_after < held.not_after {
                    *newest = Arc::clone(held);
                }
            }
        }
        self.claims
            .lock()
            .retain(|_, (uid, _)| open.contains(uid.as_str()));
        Known {
            holders,
            claims: Arc::clone(&self.claims),
        }
    }

    /// Another replica, or a person, has approved it.
    fn approved(&self, object: &ApiCsr, signer: Signer) {
        if self
            .claims
            .lock()
            .values()
            .any(|(claimant, _)| claimant == uid(object))
        {
            return;
        }
        let Ok(csr) = read(object) else { return };
        let Ok(request) = CertificateRequest::read(&csr.spec.request.0) else {
            return;
        };
        if let Some((name, held)) = claim(&csr.metadata.name, &csr.spec.username, signer, &request)
        {
            self.claims
                .lock()
                .entry(name)
                .or_insert_with(|| (uid(object).to_owned(), Arc::new(held)));
        }
    }
}

impl Known {
    /// Finds who has a name, or was granted it for another CSR than this one.
    pub(super) fn held(&self, common_name: &str, uid: &str) -> Option<Arc<Held>> {
        let held = self.holders.get(common_name).cloned();
        held.or_else(|| {
            let claims = self.claims.lock();
            let (claimant, held) = claims.get(common_name)?;
            (claimant != uid).then(|| Arc::clone(held))
        })
    }

    /// Takes a name for a CSR that is about to be approved; false if another one came first, by another
    /// key.
    pub(super) fn claim(
        &self,
        object: &ApiCsr,
        user: &str,
        signer: Signer,
        request: &CertificateRequest,
    ) -> bool {
        let Some((common_name, held)) = claim(name(object), user, signer, request) else {
            return true;
        };
        let mut claims = self.claims.lock();
        match claims.get(&common_name) {
            Some((claimant, first)) if claimant != uid(object) => first.key == held.key,
            _ => {
                claims.insert(common_name, (uid(object).to_owned(), Arc::new(held)));
                true
            }
        }
    }
}

fn claim(
    csr: &str,
    user: &str,
    signer: Signer,
    request: &CertificateRequest,
) -> Option<(String, Held)> {
    let now = time::OffsetDateTime::now_utc();
    // Its end is not known before it is signed.
    Held::of(
        signer,
        request,
        csr,
        user,
        now,
        super::super::held::unsigned_until(),
    )
}

fn signed(object: &ApiCsr, pem: &[u8]) -> Option<(String, Arc<Held>)> {
    let leaf = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    let facts = CertificateFacts::read(&leaf).ok()?;
    let issued = object.metadata.creation_timestamp.as_ref();
    let issued =
        issued.and_then(|at| time::OffsetDateTime::from_unix_timestamp(at.0.as_second()).ok());
    let held = Held {
        issued: super::super::object::Timestamp::new(issued.unwrap_or(facts.not_before)),
        not_after: super::super::object::Timestamp::new(facts.not_after),
        key: key_of(&facts.spki),
        brought_by: object.spec.username.clone().unwrap_or_default(),
        seen: format!("CSR {}", name(object)),
    };
    Some((facts.subject.common_name?, Arc::new(held)))
}

fn of_clients(object: &ApiCsr) -> Option<Signer> {
    let signer = Signer::by_name(&object.spec.signer_name)?;
    matches!(signer, Signer::KubeletClient | Signer::GatewayClient).then_some(signer)
}

pub(super) fn has(object: &ApiCsr, kind: &str) -> bool {
    let conditions = object.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == kind))
}
