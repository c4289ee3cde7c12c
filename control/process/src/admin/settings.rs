//! Where the endpoint listens: `admin` of every configuration.

use eyesplice_identity::document::{Section, value};
use std::net::SocketAddr;

/// The health and metrics endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Loopback unless the operator insisted.
    pub address: SocketAddr,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}

impl AdminSettings {
    /// Reads `admin`. Anything but loopback must be asked for.
    pub fn read(root: &mut Section<'_>) -> Self {
        let Some(mut section) = root.section("admin") else {
            return Self::default();
        };
        let address = section.optional("address", value::socket_address);
        let insecure = section
            .optional("insecureNonLoopback", value::boolean)
            .unwrap_or_default();
        let admin = address.map_or_else(Self::default, |address| Self { address });
        if !admin.address.ip().to_canonical().is_loopback() {
            let address = admin.address;
            let what = format!("{address} is no loopback address, and the endpoint has no login");
            if insecure {
                section.warn("address", what, "keep the port behind a firewall");
            } else {
                let fix =
                    "use 127.0.0.1, or add `insecureNonLoopback: true` if the port is guarded";
                section.error("address", what, fix);
            }
        }
        admin
    }
}
