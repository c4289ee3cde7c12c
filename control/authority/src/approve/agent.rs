//! Decides about what an agent asks for that is a pod: a certificate for the node of the pod, and
//! for nothing else.

use super::super::object::Spec;
use eyesplice_identity::denylist::DenyList;
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::x509::{CertificateRequest, NODE_AGENT_PREFIX};
use std::collections::BTreeMap;
use std::path::Path;

/// The key of the node in the extra of an agent's user.
const NODE: &str = "eyesplice.dev/agent-node";
/// The key of its pod, for people.
const POD: &str = "eyesplice.dev/agent-pod";

/// What a user's extra says of it.
type Extra = BTreeMap<String, Vec<String>>;

/// Which agents are refused, and which file says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agents<'a> {
    pub(crate) denied: Option<(&'a Path, &'a DenyList)>,
}

/// What is to become of an agent's CSR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is approved, for this reason.
    Good(String),
    /// It is denied, for this reason.
    Against(String),
    /// The inventory does not know the node.
    UnknownNode,
}

/// Judges the request of a pod for an agent's client certificate, the first as all others: each
/// time it is the token of its pod that proves the node.
pub(super) fn judge(
    agents: Agents<'_>,
    (node, pod): (&str, &str),
    spec: &Spec,
    request: &CertificateRequest,
    inventory: Option<&Inventory>,
) -> Judged {
    let own = format!("{NODE_AGENT_PREFIX}{node}");
    if request.common_names() != [own.as_str()] || spec.username != own {
        return Judged::Against(format!(
            "the common name {:?} is not {own:?}; pod {pod} runs on node {node}, and gets a \
             certificate for the agent of that node only",
            request.common_names().join(", ")
        ));
    }
    if let Some((file, list)) = agents.denied
        && list.has_agent_of(node)
    {
        return Judged::Against(format!(
            "the agent of node {node} is revoked: it is among the names of {}; remove it there to \
             let it in again",
            file.display()
        ));
    }
    if inventory.is_some_and(|inventory| !inventory.has(node)) {
        return Judged::UnknownNode;
    }
    Judged::Good(format!("pod {pod} of the agents runs on node {node}"))
}

/// The node and the pod of an agent, as the extra of its user has them.
pub(crate) fn proven(extra: &Extra) -> Option<(&str, &str)> {
    let one = |key| match extra.get(key).map(Vec::as_slice) {
        Some([value]) => Some(value.as_str()),
        _ => None,
    };
    Some((one(NODE)?, one(POD)?))
}

/// The extra of an agent's user whose pod was reviewed.
pub(crate) fn reviewed(node: &str, pod: &str) -> Extra {
    Extra::from([
        (NODE.to_owned(), vec![node.to_owned()]),
        (POD.to_owned(), vec![pod.to_owned()]),
    ])
}

/// Whether a key of an extra is one that only the review of a pod may write.
pub(crate) fn is_of_review(key: &str) -> bool {
    [NODE, POD].contains(&key)
}
