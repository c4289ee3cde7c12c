//! Reads where a listener with TLS of ours is, and the certificate that it presents.

use super::bounds;
use super::identity;
use eyesplice_identity::document::{FileRef, Node, Section, value};
use eyesplice_identity::inventory::HostAddress;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The field that asks the authority for a listener's certificate, and those that name its files.
const FROM_AUTHORITY: &str = "tlsFromAuthority";
const FILES: [&str; 2] = ["tlsCertFile", "tlsPrivateKeyFile"];

/// What every listener with TLS of ours has, as far as it could be read.
pub(super) struct Serving {
    pub(super) address: Option<SocketAddr>,
    pub(super) cert_file: Option<FileRef>,
    pub(super) key_file: Option<FileRef>,
    pub(super) from_authority: Option<Vec<HostAddress>>,
}

/// Reads these fields; `kept` is where an identity keeps a certificate of the authority, and
/// `example` an address and two files for who left some out.
pub(super) fn read(
    section: &mut Section<'_>,
    kept: Option<PathBuf>,
    example: [&str; 3],
) -> Serving {
    let [address, cert, key] = example;
    let address = section.required("address", address, value::socket_address);
    if section.has(FROM_AUTHORITY) {
        if kept.is_none() {
            identity::missing(section, FROM_AUTHORITY);
        }
        let names = read_from_authority(section);
        let kept = kept.map(|path| FileRef::new(section.path_of(FROM_AUTHORITY), path));
        return Serving {
            address,
            cert_file: kept.clone(),
            key_file: kept,
            from_authority: Some(names),
        };
    }
    let [cert_field, key_field] = FILES;
    Serving {
        address,
        cert_file: section.required_file(cert_field, cert),
        key_file: section.required_file(key_field, key),
        from_authority: None,
    }
}

/// Reads the names that the authority shall sign for.
fn read_from_authority(section: &mut Section<'_>) -> Vec<HostAddress> {
    for field in FILES.into_iter().filter(|field| section.has(field)) {
        let what = format!("cannot be combined with {FROM_AUTHORITY}");
        section.error(field, what, "remove one of them");
    }
    let Some(mut section) = section.section(FROM_AUTHORITY) else {
        return Vec::new();
    };
    if section.is_blank("names") {
        section.missing("names", "[10.0.0.1, egress.example]");
    }
    let name = |node: &Node| value::host(node).map(|host| HostAddress::from(&host));
    section.list("names", bounds::LISTENER_ENTRIES, name)
}
