//! A bootstrap token and its record, for tests.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use super::{BootstrapToken, Bound, Expiry, Record, Usages};
use crate::pki::testing::now;
use std::time::Duration;
use time::OffsetDateTime;

/// The token of [`record`].
pub(crate) const TOKEN: &str = "abcdef.0123456789abcdef";

/// It, parsed.
pub fn token() -> BootstrapToken {
    TOKEN.parse().unwrap()
}

/// What is kept of it: it ends an hour after the day of tests.
pub fn record() -> Record {
    Record {
        token: token(),
        expiry: Expiry::At(OffsetDateTime::from(now()) + Duration::from_secs(3600)),
        usages: Usages {
            authentication: true,
            signing: false,
        },
        groups: vec!["system:bootstrappers:kubeadm:default-node-token".to_owned()],
        bound: Bound::default(),
        description: "the \"first\" rack: é".to_owned(),
    }
}
