//! When and how a leg's TLS moves into the kernel.

use crate::context::StreamContext;
use crate::engine::KtlsPolicy;
use crate::failure::LegError;
use crate::leg::Leg;

/// The kernel TLS policy of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ktls {
    policy: KtlsPolicy,
}

impl Ktls {
    pub(crate) fn new(policy: KtlsPolicy) -> Self {
        Self { policy }
    }

    /// Whether handshakes should stop exactly at a record's end, so that the kernel can go on.
    pub(crate) fn wanted(self) -> bool {
        self.policy != KtlsPolicy::Off
    }

    /// Moves the only session of `leg` into the kernel.
    pub(crate) fn take_over(self, cx: &StreamContext, _leg: &Leg) -> Result<(), LegError> {
        cx.counters().ktls_declined.inc();
        Ok(())
    }
}
