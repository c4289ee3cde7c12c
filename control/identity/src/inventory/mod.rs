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

mod error;
mod names;
pub use error::NodeListError;
pub(crate) use names::certificate_name;
pub use names::{HostAddress, MAX_DNS_NAME, MAX_NODE_NAME, NameError, check_node_name};

use crate::document::{At, Document, Node, Problem, Report, Section, value};
use eyesplice_proto::target::Host;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::Path;
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Largest file: 5,000 nodes, Kubernetes' own limit, with 20 lines of 150 bytes each.
pub(crate) const MAX_FILE: usize = 16 << 20;
/// Nodes of one file, twenty times Kubernetes' own limit.
pub(crate) const MAX_NODES: usize = 100_000;
/// Addresses of one node.
const MAX_ADDRESSES: usize = 1024;

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
        Ok(<Self as Document>::load(path)?.config)
    }

    /// Parses an inventory; `path` is for errors.
    ///
    /// # Errors
    /// It cannot be parsed, or all that is wrong in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, NodeListError> {
        Ok(<Self as Document>::parse(text, path)?.config)
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

    /// Lists the addresses of every node, names among them, in no order.
    pub fn by_node(&self) -> HashMap<&Arc<str>, Vec<&HostAddress>> {
        let mut nodes: HashMap<&Arc<str>, Vec<&HostAddress>> = HashMap::new();
        for (address, node) in &self.owners {
            nodes.entry(node).or_default().push(address);
        }
        nodes
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

impl Document for Inventory {
    const KIND: &'static str = "NodeInventory";
    const MAX_FILE: usize = MAX_FILE;

    fn read(root: &mut Section<'_>, _: &Path) -> Option<Self> {
        let mut reader = Reader::new(root.report());
        if !root.has("nodes") {
            root.missing("nodes", "[]");
        }
        for mut section in root.sections("nodes", MAX_NODES) {
            let name = section.required("name", "worker-1", node_name);
            if section.is_blank("addresses") {
                section.missing("addresses", "[10.0.0.7]");
            }
            let address = |node: &Node| Ok((address(node)?, node.at));
            let addresses = section.list("addresses", MAX_ADDRESSES, address);
            let added = section.optional("added", time);
            reader.read.nodes += 1;
            let Some(name) = name else { continue };
            let node: Arc<str> = name.as_str().into();
            reader.own_name(&section, &node);
            for (address, at) in addresses {
                reader.own(address, (&section.path_of("addresses"), at), &node);
            }
            reader.read.added.extend(added.map(|added| (node, added)));
        }
        Some(reader.read)
    }
}

struct Reader<'a> {
    read: Inventory,
    lines: HashMap<HostAddress, u64>,
    report: &'a Report,
}

impl<'a> Reader<'a> {
    fn new(report: &'a Report) -> Self {
        Self {
            read: Inventory::default(),
            lines: HashMap::new(),
            report,
        }
    }

    /// Gives a node its name, which no other may have.
    fn own_name(&mut self, section: &Section<'_>, node: &Arc<str>) {
        let (path, at) = (section.path_of("name"), section.place_of("name"));
        match node.parse() {
            Ok(name) if self.read.owners.get(&name) == Some(node) => {
                self.taken(&name, (&path, at), node);
            }
            Ok(name) => self.own(name, (&path, at), node),
            Err(problem) => section.error("name", format!("{node:?} {problem}"), FIX),
        }
    }

    fn own(&mut self, address: HostAddress, place: (&str, At), node: &Arc<str>) {
        match self.read.owners.entry(address) {
            Slot::Vacant(slot) => {
                self.lines.insert(slot.key().clone(), place.1.line);
                slot.insert(Arc::clone(node));
            }
            // A node may list its own name among its addresses, and an address twice.
            Slot::Occupied(owner) if owner.get() == node => {}
            Slot::Occupied(owner) => {
                let (address, owner) = (owner.key().clone(), Arc::clone(owner.get()));
                self.taken(&address, place, &owner);
            }
        }
    }

    fn taken(&self, address: &HostAddress, (path, at): (&str, At), owner: &str) {
        let first = self.lines.get(address).copied().unwrap_or_default();
        let text = address.to_string();
        let what = format!("{text:?} belongs to node {owner} (line {first}) already");
        let problem = Problem::new(what, "remove it from one");
        self.report.error(path, at, problem);
    }
}

const FIX: &str = "write it as Kubernetes has it";

/// A node's name.
pub(crate) fn node_name(node: &Node) -> Result<String, Problem> {
    let name = value::text(node)?;
    match check_node_name(&name) {
        Ok(()) => Ok(name),
        Err(problem) => Err(Problem::new(format!("{name:?} {problem}"), FIX)),
    }
}

fn address(node: &Node) -> Result<HostAddress, Problem> {
    let text = value::text(node)?;
    let read = text.parse::<HostAddress>();
    read.map_err(|problem| Problem::new(format!("{text:?} {problem}"), "write an IP or DNS name"))
}

fn time(node: &Node) -> Result<OffsetDateTime, Problem> {
    let text = value::text(node)?;
    let read = OffsetDateTime::parse(&text, &Rfc3339).ok();
    let read = read.and_then(|at| at.checked_to_offset(UtcOffset::UTC));
    let fix = "write it like 2026-11-30T10:00:00Z";
    read.ok_or_else(|| Problem::new(format!("{text:?} is no time"), fix))
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
