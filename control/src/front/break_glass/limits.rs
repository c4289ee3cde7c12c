//! The bounds of break-glass that are not configured.

use std::time::Duration;

/// How long a kubelet may take for one question: one that is well answers in milliseconds.
pub(super) const KUBELET_PATIENCE: Duration = Duration::from_secs(5);

/// Kubelets that are asked at a time: no switch sees a flood, and dead ones do not hold up a round.
pub(super) const KUBELETS_AT_A_TIME: usize = 32;

/// Bytes of a drill's question.
pub(super) const DRILL: usize = 4 << 10;
