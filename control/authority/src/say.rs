//! Log lines about decisions, and about what waits for one.

use super::approve::Left;
use super::object::{CertificateSigningRequest, Condition};

/// Says why a CSR is left, where an operator can do something about it.
pub(super) fn left(object: &CertificateSigningRequest, left: Left) {
    let (csr, user) = (&object.metadata.name, &object.spec.username);
    match left {
        Left::UnknownNode => tracing::warn!(
            csr,
            user,
            "CSR waits: the inventory does not know its node; add it to approval.inventoryFile, or \
             decide with kubectl certificate approve|deny"
        ),
        Left::UnknownGateway => tracing::warn!(
            csr,
            user,
            "CSR waits: its gateway is not known; add it to approval.gateways, or decide with kubectl \
             certificate approve|deny"
        ),
        // A check tells of itself.
        _ => {}
    }
}

/// Says what is against a CSR that is left to people nevertheless.
pub(super) fn refused(csr: &str, user: &str, why: &str) {
    tracing::warn!(
        csr,
        user,
        why,
        "CSR waits: something is against it (approval.onRefusal: leave); decide with kubectl \
         certificate approve|deny"
    );
}

/// Says aloud that a requester is braked.
pub(super) fn braked(object: &CertificateSigningRequest, most: usize) {
    tracing::warn!(
        csr = object.metadata.name,
        user = object.spec.username,
        most,
        reason = Left::Brake.as_str(),
        "nothing more is approved for this requester: it waits for more first certificates of nodes \
         than there are nodes and approval.maxPending; look at its CSRs, delete those that nobody \
         needs and the bootstrap token if it is in wrong hands, or decide with kubectl certificate \
         approve|deny"
    );
}

/// Says what was decided.
pub(super) fn decided(object: &CertificateSigningRequest, word: &str, condition: &Condition) {
    let (csr, signer) = (&object.metadata.name, &object.spec.signer_name);
    let (user, why) = (&object.spec.username, &condition.message);
    if condition.reason == "InsecureAutoApproved" {
        tracing::warn!(
            csr,
            signer,
            user,
            why,
            "CSR approved without any check of its requester"
        );
    } else {
        tracing::info!(csr, signer, user, why, decision = word, "CSR decided");
    }
}
