//! Writes certificates as PEM (RFC 7468).

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;

/// RFC 7468, section 2.
const LINE: usize = 64;

/// Encodes certificates, in order.
pub(crate) fn encode(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let body = BASE64.encode(certificate);
        let mut rest = body.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII.
            let (line, after) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
