//! Decides about what a gateway asks for.
//!
//! A gateway serves the API server and speaks to every kubelet, so its name and addresses are listed
//! by the operator (`approval.gateways`), and its leaves are for nodes of the inventory alone.

use super::super::object::CertificateSigningRequest;
use super::first::{self, Kind};
use super::{Decision, Left, Policy, approve, deny, may_have, names};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::x509::{
    CertificateRequest, GATEWAY_GROUP, GATEWAY_PREFIX, NODE_GROUP, NODE_PREFIX, Refusal,
};
use std::collections::{BTreeMap, BTreeSet};

/// The gateways by name, and at which addresses and names each serves.
pub type Gateways = BTreeMap<String, BTreeSet<HostAddress>>;

/// A gateway's client certificate: the first one by a bootstrapper of gateways, the next ones by
/// itself.
pub(super) fn client(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'_>,
) -> Decision {
    let spec = &object.spec;
    let (renews, bootstraps) = (
        policy.roles.are_gateways(&spec.groups),
        policy.roles.bootstraps_gateways(&spec.groups),
    );
    if let Err(decision) = may_have(renews || bootstraps, fits) {
        return decision;
    }
    let own = request.common_names() == [spec.username.as_str()];
    if !own && !bootstraps {
        return Decision::Leave(Left::ForPeople);
    }
    let name = gateway_of(request);
    if !policy.gateways.contains_key(name) {
        return Decision::Leave(Left::UnknownGateway);
    }
    if own && renews {
        return approve("the gateway renews its own client certificate".to_owned());
    }
    match first::weigh(Kind::Gateway, name, request, policy) {
        Ok(seen) => approve(format!(
            "first client certificate of gateway {name}, {seen}"
        )),
        Err(against) => against,
    }
}

/// A listener's certificate: every name must be the gateway's.
pub(super) fn serving(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'_>,
) -> Decision {
    let known = match own_addresses(object, request, fits, policy) {
        Ok(known) => known,
        Err(decision) => return decision,
    };
    for (kind, name) in names(request) {
        if known.contains(&name) {
            continue;
        }
        let gateway = gateway_of(request);
        let listed: Vec<String> = known.iter().map(ToString::to_string).collect();
        return deny(format!(
            "{kind} {name} is not among the addresses of gateway {gateway} in approval.gateways \
             ({}); add it there if it is the gateway's, else take it out of the listener's names; \
             the gateway asks again by itself",
            listed.join(", ")
        ));
    }
    let gateway = gateway_of(request);
    approve(format!(
        "every name is among the addresses of gateway {gateway}"
    ))
}

/// What the API server sees in place of a kubelet: every name must be of one and the same node, and the
/// subject that node's, or the gateway's own.
pub(super) fn leaf(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'_>,
) -> Decision {
    let as_node = request.organizations() == [NODE_GROUP];
    let known = if as_node {
        of_known_gateway(object, fits, policy)
    } else {
        own_addresses(object, request, fits, policy).map(drop)
    };
    if let Err(decision) = known {
        return decision;
    }
    let Some(inventory) = policy.inventory else {
        return Decision::Leave(Left::NoInventory);
    };
    let mut node = None;
    for (kind, name) in names(request) {
        let Some(owner) = inventory.owner_of(&name) else {
            return deny(format!(
                "{kind} {name} is no node's in the inventory; add it to its node there; the gateway \
                 asks again by itself"
            ));
        };
        match node {
            None => node = Some(owner),
            Some(node) if node == owner => {}
            Some(node) => {
                return deny(format!(
                    "{kind} {name} is node {owner}'s, other names are node {node}'s; ask for one \
                     node at a time"
                ));
            }
        }
    }
    // The signer takes none without names.
    let Some(node) = node else {
        return Decision::Leave(Left::ForPeople);
    };
    let subject = format!("{NODE_PREFIX}{node}");
    if as_node && request.common_names() != [subject.as_str()] {
        return deny(format!(
            "the common name {:?} is not that of node {node}, whose names are asked for; the \
             inventories of gateway and authority differ, so give both the same",
            request.common_names().join(", ")
        ));
    }
    approve(format!("every name is node {node}'s in the inventory"))
}

/// A gateway that is listed may ask in the name of nodes.
fn of_known_gateway(
    object: &CertificateSigningRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'_>,
) -> Result<(), Decision> {
    let spec = &object.spec;
    may_have(policy.roles.are_gateways(&spec.groups), fits)?;
    let name = spec.username.strip_prefix(GATEWAY_PREFIX);
    match name.and_then(|name| policy.gateways.get(name)) {
        Some(_) => Ok(()),
        None => Err(Decision::Leave(Left::UnknownGateway)),
    }
}

/// The addresses of the gateway that asks for itself, or what else is decided.
fn own_addresses<'a>(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'a>,
) -> Result<&'a BTreeSet<HostAddress>, Decision> {
    let spec = &object.spec;
    may_have(policy.roles.are_gateways(&spec.groups), fits)?;
    if request.common_names() != [spec.username.as_str()] {
        return Err(deny(format!(
            "the common name {:?} is not the requester {:?}; a gateway gets certificates for itself \
             only",
            request.common_names().join(", "),
            spec.username
        )));
    }
    if request.organizations() != [GATEWAY_GROUP] {
        return Err(deny(format!(
            "the organization must be {GATEWAY_GROUP:?} alone; the request has {:?}",
            request.organizations()
        )));
    }
    let known = policy.gateways.get(gateway_of(request));
    known.ok_or(Decision::Leave(Left::UnknownGateway))
}

/// The gateway that a request of a gateway's form is for.
fn gateway_of(request: &CertificateRequest) -> &str {
    let name = request.common_names().first().copied().unwrap_or_default();
    name.strip_prefix(GATEWAY_PREFIX).unwrap_or(name)
}
