//! The node inventory: which node answers at which address.
//!
//! ```yaml
//! apiVersion: eyesplice.dev/v1alpha1
//! kind: NodeInventory
//! nodes:
//! - name: worker-3
//!   addresses: [10.0.0.7, worker-3.example]
//!   added: 2026-11-30T10:00:00Z
//! ```
//!
//! `added` is the time since which the machine has this name. It may be left out, and only an authority
//! looks at it: a machine that was added after the last certificate of its name is another one.
//!
//!
//! A node's own name counts as one of its addresses: the API server dials it where a Node object
//! has a `Hostname` address only.

mod names;
pub(crate) mod node_list;

pub(crate) use names::certificate_name;
pub use names::{HostAddress, MAX_DNS_NAME, MAX_NODE_NAME, NameError, check_node_name};
pub use node_list::{NodeListError, NodeListProblem};

use eyesplice_proto::target::Host;
use node_list::{Located, Problems, Shape};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::Path;
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

const SHAPE: Shape = Shape {
    kind: "NodeInventory",
    list: "nodes",
    name: "name",
    values: "addresses",
    more: Some("added"),
};

/// Nodes by address and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    owners: HashMap<HostAddress, Arc<str>>,
    /// Since when a node is there, if the file says so.
    added: HashMap<Arc<str>, OffsetDateTime>,
    nodes: usize,
}

impl Inventory {
    /// Loads an inventory file.
    ///
    /// # Errors
    /// It cannot be read or parsed, or all that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, NodeListError> {
        Self::parse(&node_list::read(path)?, path)
    }

    /// Parses an inventory; `path` is for errors.
    ///
    /// # Errors
    /// It cannot be parsed, or all that is wrong in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, NodeListError> {
        let mut problems = Problems::default();
        let entries = node_list::parse(text, path, &SHAPE, &mut problems)?;
        let mut reader = Reader {
            owners: HashMap::new(),
            lines: HashMap::new(),
            added: HashMap::new(),
            problems,
        };
        let nodes = entries.len();
        for entry in &entries {
            let Some(name) = &entry.name else { continue };
            let field = format!("{}.name", entry.path);
            if let Err(problem) = check_node_name(&name.value) {
                let what = format!("{:?} {problem}", name.value);
                reader.problems.add(name.referenced.line(), field, what);
                continue;
            }
            let node: Arc<str> = name.value.as_str().into();
            reader.own(name, &field, &node);
            reader.add(entry.more.as_ref(), &entry.path, &node);
            for (index, address) in entry.values.iter().enumerate() {
                reader.own(
                    address,
                    &format!("{}.addresses[{index}]", entry.path),
                    &node,
                );
            }
        }
        let Reader {
            owners,
            added,
            problems,
            ..
        } = reader;
        let read = Self {
            owners,
            added,
            nodes,
        };
        problems.finish(read, path)
    }

    /// Puts an inventory together from who has what; every node's name is among it.
    pub fn from_owners(owners: HashMap<HostAddress, Arc<str>>, nodes: usize) -> Self {
        Self {
            owners,
            added: HashMap::new(),
            nodes,
        }
    }

    /// Finds the node that answers at `host`.
    pub fn node_of(&self, host: &Host) -> Option<&Arc<str>> {
        self.owners.get(&HostAddress::from(host))
    }

    /// Finds the node that has an address or name.
    pub fn owner_of(&self, address: &HostAddress) -> Option<&Arc<str>> {
        self.owners.get(address)
    }

    /// Lists the addresses of a node, its name among them, in order; none if there is no such node.
    pub fn addresses_of(&self, node: &str) -> Vec<&HostAddress> {
        let own = self.owners.iter().filter(|(_, owner)| &***owner == node);
        let mut addresses: Vec<&HostAddress> = own.map(|(address, _)| address).collect();
        addresses.sort();
        addresses
    }

    /// Says since when a machine has been this node, if the file tells.
    pub fn added(&self, node: &str) -> Option<OffsetDateTime> {
        self.added.get(node).copied()
    }

    /// Says whether there is a node of this name.
    pub fn has(&self, node: &str) -> bool {
        let own = node.parse::<HostAddress>().ok();
        own.is_some_and(|own| self.owners.get(&own).is_some_and(|owner| &**owner == node))
    }

    /// Says how many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes
    }

    /// Says whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.nodes == 0
    }
}

impl From<&Host> for HostAddress {
    fn from(host: &Host) -> Self {
        match host {
            Host::Ip(ip) => Self::Ip(ip.to_canonical()),
            Host::Name(name) => Self::Dns(name.as_str().to_owned()),
        }
    }
}

struct Reader {
    owners: HashMap<HostAddress, Arc<str>>,
    lines: HashMap<HostAddress, u64>,
    added: HashMap<Arc<str>, OffsetDateTime>,
    problems: Problems,
}

impl Reader {
    fn add(&mut self, text: Option<&Located>, path: &str, node: &Arc<str>) {
        let Some(text) = text else { return };
        let read = OffsetDateTime::parse(&text.value, &Rfc3339).ok();
        match read.and_then(|at| at.checked_to_offset(UtcOffset::UTC)) {
            Some(at) => {
                self.added.insert(Arc::clone(node), at);
            }
            None => {
                let what = format!(
                    "{:?} is no time; write it like 2026-11-30T10:00:00Z",
                    text.value
                );
                let line = text.referenced.line();
                self.problems.add(line, format!("{path}.added"), what);
            }
        }
    }

    fn own(&mut self, text: &Located, field: &str, node: &Arc<str>) {
        let line = text.referenced.line();
        let address: HostAddress = match text.value.parse() {
            Ok(address) => address,
            Err(problem) => {
                let what = format!("{:?} {problem}", text.value);
                return self.problems.add(line, field, what);
            }
        };
        match self.owners.entry(address) {
            Slot::Vacant(slot) => {
                self.lines.insert(slot.key().clone(), line);
                slot.insert(Arc::clone(node));
            }
            // A node may list its own name among its addresses, and be listed with it twice.
            Slot::Occupied(owner) if owner.get() == node && !field.ends_with(".name") => {}
            Slot::Occupied(owner) => {
                let first = self.lines.get(owner.key()).copied().unwrap_or_default();
                let what = format!(
                    "{:?} belongs to node {} (line {first}) already; remove it from one",
                    text.value,
                    owner.get()
                );
                self.problems.add(line, field, what);
            }
        }
    }
}

/// Says whether a text is an inventory; panics if an address of it is not found by its own text.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    let Ok(inventory) = Inventory::parse(text, Path::new("inventory.yaml")) else {
        return false;
    };
    for (address, node) in &inventory.owners {
        assert_eq!(address.to_string().parse().as_ref(), Ok(address));
        assert!(check_node_name(node).is_ok(), "{node:?} is no name");
        assert!(inventory.addresses_of(node).contains(&address));
    }
    assert!(
        inventory.owners.len() >= inventory.len(),
        "a node without its name"
    );
    true
}

#[cfg(test)]
mod tests;
