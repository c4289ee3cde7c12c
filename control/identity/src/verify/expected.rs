//! What a stream expects at its far end, and by which name.

use eyesplice_proto::target::Host;
use rustls::pki_types::ServerName;
use std::sync::Arc;

/// What one stream expects at its far end.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What was dialled; the certificate must cover it, unless `names` or `server_name` say else.
    pub host: Host,
    /// The port, for messages.
    pub port: u16,
    /// The node that owns the address. If absent, a kubelet's is looked up in the inventory.
    pub node: Option<Arc<str>>,
    /// Refuse a kubelet whose address no node of the inventory has.
    pub require_node: bool,
    /// Names of which the certificate must cover one, instead of `host`; empty: `host`.
    pub names: Arc<[Host]>,
    /// Sent as SNI instead of `host`, and verified if `names` is empty.
    pub server_name: Option<Host>,
    /// `host` is one of several that may be dialled, so that no message names it.
    pub one_of_several: bool,
}

impl Expected {
    /// Expects a kubelet at what was dialled.
    pub fn kubelet(host: Host, port: u16, node: Option<Arc<str>>) -> Self {
        Self {
            host,
            port,
            node,
            require_node: false,
            names: Arc::new([]),
            server_name: None,
            one_of_several: false,
        }
    }

    /// Expects a pod or service at what was dialled; empty `names`: under the dialled name.
    pub fn target(host: Host, port: u16, names: Arc<[Host]>, server_name: Option<Host>) -> Self {
        Self {
            host,
            port,
            node: None,
            require_node: false,
            names,
            server_name,
            one_of_several: false,
        }
    }

    /// The names of which one must be in the certificate.
    pub(super) fn accepted(&self) -> &[Host] {
        match (&self.server_name, self.names.is_empty()) {
            (_, false) => &self.names,
            (Some(name), true) => std::slice::from_ref(name),
            (None, true) => std::slice::from_ref(&self.host),
        }
    }
}

/// Converts a host into what rustls and webpki compare certificates with.
pub(super) fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Ip(ip) => Some(ServerName::IpAddress((*ip).into())),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).ok(),
    }
}
