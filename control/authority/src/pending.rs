//! What nobody has decided about, for metrics.

use super::approve::Left;
use super::object::CertificateSigningRequest;
use eyesplice_identity::x509::Signer;
use eyesplice_process::metrics::{Metrics, Row};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// The label of signers that are not ours.
const OTHER: &str = "other";

/// How many of each signer and reason, and the age of the oldest in seconds.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<(&'static str, Left), (i64, i64)>);

impl Pending {
    pub(super) fn add(
        &mut self,
        object: &CertificateSigningRequest,
        left: Left,
        now: OffsetDateTime,
    ) {
        let created = object.metadata.creation_timestamp;
        let age = created.map_or(0, |created| (now - created.time()).whole_seconds().max(0));
        let (count, oldest) = self.0.entry((label(object), left)).or_default();
        *count += 1;
        *oldest = age.max(*oldest);
    }

    pub(super) fn show(self, metrics: &Metrics) {
        let rows = |value: fn(&(i64, i64)) -> i64| {
            let row = |((signer, left), values): (&(&'static str, Left), &(i64, i64))| Row {
                labels: vec![
                    ("signer", (*signer).to_owned()),
                    ("reason", left.as_str().to_owned()),
                ],
                value: value(values),
            };
            self.0.iter().map(row).collect()
        };
        metrics.authority.pending.replace(rows(|(count, _)| *count));
        metrics
            .authority
            .pending_age
            .replace(rows(|(_, oldest)| *oldest));
    }
}

/// The label of a CSR's signer.
pub(super) fn label(object: &CertificateSigningRequest) -> &'static str {
    Signer::by_name(&object.spec.signer_name).map_or(OTHER, Signer::name)
}
