//! Finds out what decisions about serving certificates need to know: asks DNS, and dials nodes.
//!
//! `checker` keeps, per CSR, what is being found out and when it is to be tried again; `slots` bounds
//! how much of it runs; `gather` asks, and `probe` dials one address. Nothing of it decides, and
//! nothing is remembered beyond one decision. What a crash or a change of the leader cuts is asked
//! again, because the CSR is still pending.

mod checker;
mod gather;
mod probe;
mod slots;

pub(super) use checker::{Checker, Subject};

use std::time::Duration;

/// The kubelet port, and how long one address may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Where kubelets listen.
    pub port: u16,
    /// From the first packet to the end of the handshake.
    pub timeout: Duration,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            port: 10_250,
            timeout: Duration::from_secs(3),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
