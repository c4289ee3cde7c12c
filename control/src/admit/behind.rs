//! Says how a target behind agents is found, and what becomes of a name that has no address here.

use super::{State, refusal};
use crate::config::{InnerTls, Verification, Via};
use eyesplice_dataplane::seam::{Inside, Mode, Refusal, Route, Through};
use eyesplice_identity::inventory::{HostAddress, Inventory};
use eyesplice_process::resolve::ResolveError;
use eyesplice_proto::target::{Host, Target};
use std::net::IpAddr;
use std::sync::Arc;

/// What becomes of a name that has no address here.
pub(super) enum Unresolved {
    /// The inventory knows the node, and a rule leads to its agent: these are its addresses.
    Node(Vec<IpAddr>),
    /// An agent resolves it, by the rule with this index.
    Name(usize),
}

/// Decides on a name that the resolver does not know. One that was not answered in time is no such
/// name.
pub(super) fn unresolved(
    state: &State,
    inventory: Option<&Inventory>,
    asked: &Target,
    error: &ResolveError,
) -> Result<Unresolved, Refusal> {
    let unknown = || refusal::unresolved(error);
    if matches!(error, ResolveError::Timeout { .. }) {
        return Err(unknown());
    }
    let node = inventory.and_then(|inventory| Some((inventory, inventory.node_of(&asked.host)?)));
    if let Some((inventory, node)) = node {
        let ip = |address: &&HostAddress| match address {
            HostAddress::Ip(ip) => Some(*ip),
            HostAddress::Dns(_) => None,
        };
        let addresses: Vec<IpAddr> = inventory.addresses_of(node).iter().filter_map(ip).collect();
        // A gateway dials no address that nobody's resolver gave it.
        let selected = state.policy.select(asked, &addresses, &|_| false);
        return match selected {
            Ok(selection) if selection.rule.via == Via::Tunnel => Ok(Unresolved::Node(addresses)),
            _ => Err(unknown()),
        };
    }
    match state.policy.select_name(asked) {
        Ok((index, _)) => Ok(Unresolved::Name(index)),
        Err(Some(rule)) => Err(refusal::denied_name(asked, &rule)),
        Err(None) => Err(unknown()),
    }
}

/// How agents are found for a target whose addresses passed the policy. One of them is dialled: the
/// first that some agent may carry. The agent gets it as an address, so that what was checked is
/// what is dialled.
pub(super) fn through(
    state: &State,
    node: Option<&Arc<str>>,
    addresses: &[IpAddr],
    (port, hop): (u16, bool),
) -> Through {
    let grants = state.material.grants.as_deref();
    let may =
        |address: &&IpAddr| grants.is_some_and(|grants| grants.covers(&Route::Address(**address)));
    let first = addresses.iter().find(may).or(addresses.first());
    // Never empty, by the policy's contract; nobody answers at an unspecified address.
    let address = first.copied().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let node = node.map(|node| Route::Node(Arc::clone(node)));
    let routes = node.into_iter().chain([Route::Address(address)]).collect();
    let host = Host::Ip(address);
    by_routes(state, routes, Target { host, port }, hop)
}

/// Whether TLS with the agent may end before a stream: what is inside is a kubelet's, which is
/// validated here. A failure that is only observed is no validation.
pub(super) fn inner_only(state: &State, mode: &Mode) -> bool {
    let tunnel = state.config.tunnel.as_ref();
    let kubelet = state.config.kubelet.as_ref();
    let inside = match mode {
        Mode::Terminate(ends) => Some(&ends.inside),
        Mode::TerminateVerified(ends) => Some(&ends.inside),
        Mode::Splice | Mode::Originate(_) | Mode::TerminateNamed(_) => None,
    };
    matches!(inside, Some(Inside::Kubelet(_)))
        && tunnel.is_some_and(|tunnel| tunnel.inner == InnerTls::Only)
        && kubelet.is_some_and(|kubelet| kubelet.verification == Verification::Enforce)
}

/// The way by these routes. What was passed on to this gateway is not passed on again.
pub(super) fn by_routes(state: &State, routes: Vec<Route>, target: Target, hop: bool) -> Through {
    let elsewhere = match hop {
        true => Vec::new(),
        false => {
            let State {
                config, material, ..
            } = state;
            let neighbours = &state.neighbours;
            neighbours.in_order((config, material), &routes, &target)
        }
    };
    Through {
        routes,
        target,
        elsewhere,
        inner_only: false,
    }
}
