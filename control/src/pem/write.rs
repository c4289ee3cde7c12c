//! Writes certificates and keys as PEM (RFC 7468).

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

/// RFC 7468, section 2.
const LINE: usize = 64;

/// Encodes certificates, in order.
pub(crate) fn encode(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        block("CERTIFICATE", &BASE64.encode(certificate), &mut text);
    }
    text
}

/// Encodes a certificate request.
pub(crate) fn encode_request(request: &[u8]) -> String {
    let mut text = String::new();
    block("CERTIFICATE REQUEST", &BASE64.encode(request), &mut text);
    text
}

/// Encodes a PKCS#8 key.
pub(crate) fn encode_key(pkcs8: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64.encode(pkcs8));
    // Room for both labels and a line break in 64: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 64));
    block("PRIVATE KEY", &body, &mut text);
    text
}

fn block(label: &str, body: &str, text: &mut String) {
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = body;
    while !rest.is_empty() {
        // Base64 is ASCII.
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
}
