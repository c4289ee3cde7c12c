//! Reads `tunnel.leases`: how a gateway says by a Lease that it is there, and finds the others.

use super::bounds;
use eyesplice_identity::document::{FileRef, Node, Problem, Section, value};
use eyesplice_identity::inventory::check_node_name;
use std::net::SocketAddr;
use std::time::Duration;

/// A gateway that comes is known in ten seconds, one that goes in forty, at three requests in ten
/// seconds.
const INTERVAL: Duration = Duration::from_secs(10);

/// The namespace of the shipped manifests.
const NAMESPACE: &str = "eyesplice";

/// How a gateway is one of those that Leases list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// The API server and the credential; `None`: the pod's service account.
    pub kubeconfig_file: Option<FileRef>,
    /// Where the Leases are.
    pub namespace: String,
    /// The name of this gateway's own.
    pub name: String,
    /// Where agents reach its tunnel listener.
    pub address: SocketAddr,
    /// Where other gateways reach its listener for API servers.
    pub peer_address: Option<SocketAddr>,
    /// Between two renewals, and two looks at the others.
    pub interval: Duration,
}

/// Reads the section; `advertise` is the default of its address.
pub(super) fn read(parent: &mut Section<'_>, advertise: Option<SocketAddr>) -> Option<Leases> {
    let mut section = parent.section("leases")?;
    let kubeconfig_file = section.file("kubeconfigFile");
    let namespace = section.optional("namespace", object_name);
    let name = section.required("name", "gateway-a", object_name);
    let own = section.optional("address", reachable);
    if own.is_none() && advertise.is_none() && !section.has("address") {
        section.missing("address", "\"10.0.0.1:8133\"");
    }
    let peer_address = section.optional("peerAddress", reachable);
    let interval = |node: &Node| value::duration(node, &bounds::MEMBERSHIP);
    let interval = section.optional("interval", interval);
    Some(Leases {
        kubeconfig_file,
        namespace: namespace.unwrap_or_else(|| NAMESPACE.to_owned()),
        name: name?,
        address: own.or(advertise)?,
        peer_address,
        interval: interval.unwrap_or(INTERVAL),
    })
}

/// The name of an object, which becomes part of a path.
fn object_name(node: &Node) -> Result<String, Problem> {
    let name = value::text(node)?;
    match check_node_name(&name) {
        Ok(()) => Ok(name),
        Err(problem) => {
            let what = format!("{name:?} {problem}");
            Err(Problem::new(
                what,
                "write small letters, digits, '-' and '.'",
            ))
        }
    }
}

fn reachable(node: &Node) -> Result<SocketAddr, Problem> {
    let address = value::socket_address(node)?;
    if address.port() == 0 || address.ip().is_unspecified() {
        let what = format!("{address} is no address that anybody could connect to");
        return Err(Problem::new(
            what,
            "write this gateway's own address and port",
        ));
    }
    Ok(address)
}
