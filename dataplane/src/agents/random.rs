//! Draws what nobody must guess: the ids of opens and processes.

use rustls::crypto::SecureRandom;

/// The system gave no random bits, so that an id would be predictable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed, and ids of tunnels must not be predictable; try again")]
pub(crate) struct NoRandomness;

/// 128 random bits.
pub(crate) fn random(source: &dyn SecureRandom) -> Result<[u8; 16], NoRandomness> {
    let mut bits = [0; 16];
    source.fill(&mut bits).map_err(|_| NoRandomness)?;
    Ok(bits)
}
