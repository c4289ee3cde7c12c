//! Rows of the metric that shows when each certificate ends.

use super::Row;
use eyesplice_identity::pem::CertificateInfo;
use std::time::{SystemTime, UNIX_EPOCH};

/// One row per certificate: field and file, and its end in seconds since 1970.
pub fn certificate_rows(certificates: &[CertificateInfo]) -> Vec<Row> {
    let row = |certificate: &CertificateInfo| {
        let labels = vec![
            ("name", certificate.field.clone()),
            ("file", certificate.file.display().to_string()),
        ];
        Row {
            labels,
            value: seconds(certificate.not_after),
        }
    };
    certificates.iter().map(row).collect()
}

/// An instant in seconds since 1970.
pub fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
