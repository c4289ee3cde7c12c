//! What came of a dial of every node.

use eyesplice_identity::inventory::HostAddress;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What came of a dial of every node.
#[derive(Debug)]
pub struct DialReport {
    /// By name.
    pub nodes: Vec<NodeReport>,
}

/// One node.
#[derive(Debug)]
pub struct NodeReport {
    /// Its name.
    pub name: Arc<str>,
    /// In order.
    pub addresses: Vec<AddressReport>,
}

/// One address of a node.
#[derive(Debug)]
pub struct AddressReport {
    /// Where it was dialled.
    pub address: HostAddress,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of one dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its certificate is valid.
    Verified {
        /// Its subject.
        identity: String,
    },
    /// `enforce` refuses it.
    Refused {
        /// The label in metrics and audit.
        cause: &'static str,
        /// What the kubectl user would read.
        message: String,
    },
    /// It has no address, or it does not answer by TLS.
    Unreached {
        /// Why, and what to do.
        message: String,
    },
    /// The gateway's own rules refuse it.
    Denied {
        /// What the kubectl user would read.
        message: String,
    },
    /// The gateway would reach it in another way, or validate nothing.
    NotDialled {
        /// Why.
        message: String,
    },
}

/// Whether a node would pass under `enforce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// At every address that was dialled.
    Passes,
    /// Nothing could be tried.
    NotDialled,
    /// At one address at least it would not.
    Fails,
}

impl Outcome {
    /// One word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Verified { .. } => "verified",
            Self::Refused { .. } => "refused",
            Self::Unreached { .. } => "unreached",
            Self::Denied { .. } => "denied",
            Self::NotDialled { .. } => "not-dialled",
        }
    }

    /// What is to be said about it, but of a good one.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Verified { .. } => None,
            Self::Refused { message, .. }
            | Self::Unreached { message }
            | Self::Denied { message }
            | Self::NotDialled { message } => Some(message),
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Verified { .. } => Verdict::Passes,
            Self::NotDialled { .. } => Verdict::NotDialled,
            Self::Refused { .. } | Self::Unreached { .. } | Self::Denied { .. } => Verdict::Fails,
        }
    }
}

impl Verdict {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::NotDialled => "not-dialled",
            Self::Fails => "fails",
        }
    }
}

impl NodeReport {
    /// Whether it would pass: as the worst of its addresses, for an API server may dial any.
    pub fn verdict(&self) -> Verdict {
        let all = self.addresses.iter().map(|each| each.outcome.verdict());
        all.max().unwrap_or(Verdict::NotDialled)
    }
}

impl DialReport {
    pub(super) fn new(nodes: BTreeMap<Arc<str>, Vec<AddressReport>>) -> Self {
        let nodes = nodes.into_iter().map(|(name, mut addresses)| {
            addresses.sort_by(|one, other| one.address.cmp(&other.address));
            NodeReport { name, addresses }
        });
        Self {
            nodes: nodes.collect(),
        }
    }

    /// How many nodes have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let all = self.nodes.iter();
        all.filter(|node| node.verdict() == verdict).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_is_that_of_the_worst_address() {
        let good = || Outcome::Verified {
            identity: "CN=a".into(),
        };
        let other = || Outcome::NotDialled {
            message: "agent".into(),
        };
        let bad = || Outcome::Unreached {
            message: "silent".into(),
        };
        for (outcomes, verdict) in [
            (vec![], Verdict::NotDialled),
            (vec![good()], Verdict::Passes),
            (vec![good(), other()], Verdict::NotDialled),
            (vec![good(), bad(), other()], Verdict::Fails),
        ] {
            let addresses = outcomes.into_iter().enumerate();
            let addresses = addresses.map(|(index, outcome)| AddressReport {
                address: format!("10.0.0.{}", index + 1).parse().unwrap(),
                outcome,
            });
            let node = NodeReport {
                name: "a".into(),
                addresses: addresses.collect(),
            };
            assert_eq!(node.verdict(), verdict);
        }
    }
}
