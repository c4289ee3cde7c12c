//! The rhythm of an election: `election`.

use std::time::Duration;

/// The rhythm of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease holds that is not renewed.
    pub lease: Duration,
    /// How long the holder acts after a renewal that succeeded.
    pub renew: Duration,
    /// Between two tries.
    pub retry: Duration,
}

impl Default for Timing {
    /// client-go's defaults, which every component of Kubernetes has.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}
