//! Renews leaves from the authority, and shows when the next one in use ends.

use crate::admit::Gatekeeper;
use crate::leaf::LeafStore;
use eyesplice_process::expiry::row;
use eyesplice_process::metrics::Table;
use std::sync::Arc;
use std::time::SystemTime;

/// The row of all leaves from the authority.
const LEAVES: &str = "egressCA.fromAuthority";

/// The leaves that the gateway holds.
#[derive(Clone, Debug)]
pub(super) struct Leaves {
    pub(super) gatekeeper: Arc<Gatekeeper>,
    pub(super) store: Arc<LeafStore>,
    pub(super) certificates: Arc<Table>,
}

impl Leaves {
    /// Renews leaves that are due, and shows the next end. Needs a runtime.
    pub(super) fn look(&self, now: SystemTime) {
        let state = self.gatekeeper.state();
        let requests = state.material.leaf_requests.as_ref();
        let end = requests.and_then(|requests| self.store.sweep(requests, now));
        let rows = end.map(|end| row(LEAVES, String::new(), end));
        let rows = rows.into_iter().collect();
        self.certificates.replace_part("leaves", rows);
    }
}
