//! Who a gateway is to the authority of a test.

use crate::config::Identity;
use eyesplice_authority::testing::{Served, Site};

/// Who gateway `name` is to the authority that serves at an address.
pub(crate) fn gateway_identity(site: &Site, served: &Served, name: &str) -> Identity {
    Identity {
        name: name.to_owned(),
        server: format!("https://{}", served.address).parse().unwrap(),
        ca_file: site.path("server-ca.crt"),
        token_file: Some(site.path("token")),
        dir: site.path("identity"),
        issuer_ca_file: Some(site.path("ca.crt")),
        lifetime: None,
    }
}
