//! Which CSRs are worked on in one turn: of a flood of one requester, no more than others leave room for.

use super::object::ApiCsr;
use eyesplice_identity::token::bootstrap::USER_PREFIX;
use std::collections::HashMap;
use std::sync::Arc;

/// CSRs of one turn. What comes meanwhile waits for its end, so it ends soon.
pub(super) const TURN: usize = 64;

/// Picks those of one turn: who renews before who has a bootstrap token, and one of each requester
/// after the other, the oldest first.
pub(super) fn pick(mut due: Vec<Arc<ApiCsr>>) -> Vec<Arc<ApiCsr>> {
    let age = |object: &Arc<ApiCsr>| object.metadata.creation_timestamp.as_ref().map(|at| at.0);
    due.sort_by_key(age);
    let mut rounds: HashMap<String, usize> = HashMap::new();
    let mut order: Vec<(bool, usize, Arc<ApiCsr>)> = due
        .into_iter()
        .map(|object| {
            let user = object.spec.username.clone().unwrap_or_default();
            let by_token = user.starts_with(USER_PREFIX);
            let round = rounds.entry(user).or_default();
            *round += 1;
            (by_token, *round, object)
        })
        .collect();
    order.sort_by_key(|(by_token, round, _)| (*by_token, *round));
    order.truncate(TURN);
    order.into_iter().map(|(_, _, object)| object).collect()
}

/// Counts the first client certificates of nodes that each requester waits for.
pub(super) fn waiting<'a>(open: impl Iterator<Item = &'a Arc<ApiCsr>>) -> HashMap<&'a str, usize> {
    let mut waiting = HashMap::new();
    for object in open {
        if let Some(user) = object.spec.username.as_deref()
            && is_first_of_node(object)
        {
            *waiting.entry(user).or_default() += 1;
        }
    }
    waiting
}

/// A node's client certificate is asked for, and not by a node.
pub(super) fn is_first_of_node(object: &ApiCsr) -> bool {
    use eyesplice_identity::x509::{NODE_PREFIX, Signer};
    let user = object.spec.username.as_deref().unwrap_or_default();
    object.spec.signer_name == Signer::KubeletClient.name() && !user.starts_with(NODE_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn csr(name: &str, user: &str, second: u32) -> Arc<ApiCsr> {
        let value = json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-11-30T10:00:{second:02}Z")},
            "spec": {"request": "", "username": user,
                "signerName": "kubernetes.io/kube-apiserver-client-kubelet"},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn names(picked: &[Arc<ApiCsr>]) -> Vec<&str> {
        let name = |object: &Arc<ApiCsr>| object.metadata.name.clone().unwrap();
        let names: Vec<String> = picked.iter().map(name).collect();
        names
            .into_iter()
            .map(|n| &*Box::leak(n.into_boxed_str()))
            .collect()
    }

    #[test]
    fn flood_of_one_requester_leaves_room_for_each_other() {
        let flood = (0..100).map(|n| csr(&format!("f{n}"), "system:bootstrap:aaaaaa", n / 10));
        let others = [
            csr("other", "system:bootstrap:bbbbbb", 50),
            csr("renews", "system:node:w", 55),
        ];
        let picked = pick(flood.chain(others).collect());
        assert_eq!(picked.len(), TURN);
        assert_eq!(names(&picked)[0], "renews");
        assert!(names(&picked)[..3].contains(&"other"));
    }

    #[test]
    fn waiting_counts_first_certificates_by_requester() {
        let all = [
            csr("a", "system:bootstrap:aaaaaa", 0),
            csr("b", "system:bootstrap:aaaaaa", 0),
            csr("c", "system:node:w", 0),
        ];
        let waiting = waiting(all.iter());
        assert_eq!(waiting, HashMap::from([("system:bootstrap:aaaaaa", 2)]));
    }
}
