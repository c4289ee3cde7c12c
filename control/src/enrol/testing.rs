//! Who a gateway is to the authority of a test.

use crate::config::Identity;
use eyesplice_authority::testing::{Served, Site};
use eyesplice_identity::pem::FileRef;

/// Who gateway `name` is to the authority that serves at an address.
pub(crate) fn gateway_identity(site: &Site, served: &Served, name: &str) -> Identity {
    Identity {
        name: name.to_owned(),
        server: format!("https://{}", served.address).parse().unwrap(),
        ca_file: FileRef::new("identity.caFile", site.path("server-ca.crt")),
        token_file: Some(FileRef::new("identity.tokenFile", site.path("token"))),
        dir: site.path("identity"),
        issuer_ca_file: Some(FileRef::new("identity.issuerCAFile", site.path("ca.crt"))),
        lifetime: None,
    }
}
