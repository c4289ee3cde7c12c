//! Single steps of the authority and of kubelet verification, for benches: no store, no network.
//!
//! What bench/ reaches by the public API (tokens, verdicts) is not here.

pub use eyesplice_authority::Rehearsal;

use eyesplice_identity::verify;
use eyesplice_identity::verify::{Expected, Failure, Trust};
use rustls::pki_types::{CertificateDer, UnixTime};

/// Judges what a kubelet presented, as its stream's verifier does.
///
/// # Errors
/// It is not what was expected.
pub fn verify_kubelet(
    trust: &Trust,
    expected: &Expected,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Box<Failure>> {
    verify::rehearse(trust, expected, chain, now)
}
