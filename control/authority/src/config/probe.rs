//! How nodes are probed: `approval.probe`.

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
