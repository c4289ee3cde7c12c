//! Rows of the metric that shows when each certificate ends.

use super::Row;
use crate::material::CertificateInfo;
use std::time::UNIX_EPOCH;

/// One row per certificate: field and file, and its end in seconds since 1970.
pub(crate) fn certificate_rows(certificates: &[CertificateInfo]) -> Vec<Row> {
    let row = |certificate: &CertificateInfo| {
        let seconds = match certificate.not_after.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        let labels = vec![
            ("name", certificate.field.clone()),
            ("file", certificate.file.display().to_string()),
        ];
        Row {
            labels,
            value: seconds,
        }
    };
    certificates.iter().map(row).collect()
}
