//! Whom a bootstrap token is for: nodes and gateways by name.
//!
//! A Secret keeps them under keys of our own beside Kubernetes' keys. An API server's authenticator, the
//! token cleaner, the signer of cluster-info and kubeadm read the keys that they know and no other, so
//! what they do with the token is not changed by these.

use super::record::RecordProblem;
use crate::certificate::printable;
use crate::inventory::check_node_name;
use std::collections::BTreeMap;

/// Names of one token: a rack of nodes, several times.
const MAX_NAMES: usize = 100;

/// The key of a Secret for names of nodes, with commas between.
pub(super) const NODES: &str = "eyesplice-nodes";
/// The same for gateways.
pub(super) const GATEWAYS: &str = "eyesplice-gateways";

/// Keys of the same in what a user is known by (`UserInfo.extra`).
const EXTRA_NODES: &str = "eyesplice.dev/bootstrap-nodes";
const EXTRA_GATEWAYS: &str = "eyesplice.dev/bootstrap-gateways";

/// Whom a token is for; without any name, for everybody that its groups are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Nodes.
    pub nodes: Vec<String>,
    /// Gateways.
    pub gateways: Vec<String>,
}

impl Bound {
    /// Says whether it names nobody, so that the token is not bound.
    pub fn is_free(&self) -> bool {
        self.nodes.is_empty() && self.gateways.is_empty()
    }

    /// Reads the two values of a Secret.
    pub(super) fn read(nodes: &str, gateways: &str) -> Result<Self, RecordProblem> {
        let list = |text: &str| -> Vec<String> {
            let names = text.split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let bound = Self {
            nodes: list(nodes),
            gateways: list(gateways),
        };
        bound.check()?;
        Ok(bound)
    }

    /// Says what is wrong with the names. A token that is bound to what nobody is called would be bound
    /// to nobody by a slip, so it is refused as a whole.
    pub(super) fn check(&self) -> Result<(), RecordProblem> {
        for (key, names) in [(NODES, &self.nodes), (GATEWAYS, &self.gateways)] {
            if names.len() > MAX_NAMES {
                return Err(RecordProblem::Names(key, MAX_NAMES));
            }
            if let Some(wrong) = names.iter().find(|name| check_node_name(name).is_err()) {
                return Err(RecordProblem::BoundName(key, printable(wrong, 64)));
            }
        }
        Ok(())
    }

    /// As a user carries it.
    pub fn extra(&self) -> BTreeMap<String, Vec<String>> {
        let entries = [(EXTRA_NODES, &self.nodes), (EXTRA_GATEWAYS, &self.gateways)];
        let named = entries.into_iter().filter(|(_, names)| !names.is_empty());
        named
            .map(|(key, names)| (key.to_owned(), names.clone()))
            .collect()
    }

    /// What a user carries.
    pub fn of_extra(extra: &BTreeMap<String, Vec<String>>) -> Self {
        let names = |key: &str| extra.get(key).cloned().unwrap_or_default();
        Self {
            nodes: names(EXTRA_NODES),
            gateways: names(EXTRA_GATEWAYS),
        }
    }
}
