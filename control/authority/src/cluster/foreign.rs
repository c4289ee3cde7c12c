//! Finds certificates that somebody else issued for a signer of ours.
//!
//! kube-controller-manager signs `kubernetes.io/*`, too, unless it is told not to. Two signers of one
//! name mean that verifiers that trust one CA refuse half of the certificates.

use eyesplice_identity::pki::Authority;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Says whether the first certificate of a PEM was issued by this CA.
pub(super) fn is_ours(pem: &[u8], ca: &Authority) -> bool {
    let Some(Ok(leaf)) = CertificateDer::pem_slice_iter(pem).next() else {
        return false;
    };
    let (Ok((_, leaf)), Ok((_, ca))) = (
        X509Certificate::from_der(&leaf),
        X509Certificate::from_der(ca.certificate()),
    ) else {
        return false;
    };
    leaf.issuer().as_raw() == ca.subject().as_raw()
        && leaf.verify_signature(Some(ca.public_key())).is_ok()
}
