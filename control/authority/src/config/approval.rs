//! What an authority approves without a person: `approval` of an `AuthorityConfig`.

use super::bounds;
use super::probe::ProbeSettings;
use crate::{BootstrapNodes, DnsUse, Gateways, NamePattern, OnRefusal};
use eyesplice_identity::access::PodTokens;
use eyesplice_identity::document::{FileRef, Node, Problem, Section, value};
use eyesplice_identity::inventory::{HostAddress, check_node_name};
use ipnet::IpNet;
use std::time::Duration;

const BOOTSTRAP_NODES: [(&str, BootstrapNodes); 2] = [
    ("any", BootstrapNodes::Any),
    ("inventory", BootstrapNodes::Inventory),
];

const ON_REFUSAL: [(&str, OnRefusal); 2] = [("deny", OnRefusal::Deny), ("leave", OnRefusal::Leave)];

const DNS: [(&str, DnsUse); 3] = [
    ("ignore", DnsUse::Ignore),
    ("require", DnsUse::Require),
    ("allow", DnsUse::Allow),
];

/// What is approved without a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalSettings {
    /// Which node has which address; without it, serving certificates wait for a person.
    pub inventory_file: Option<FileRef>,
    /// For which nodes a bootstrap token is good; those of the inventory if there is one.
    pub bootstrap_nodes: BootstrapNodes,
    /// Which names nodes may have, where no inventory lists them.
    pub node_names: Vec<NamePattern>,
    /// Within which networks the addresses of Node objects count.
    pub node_addresses: Vec<IpNet>,
    /// For how long after it was added to the inventory a node may ask for its first certificate.
    pub window: Option<Duration>,
    /// How many more first certificates one requester may wait for than there are nodes.
    pub max_pending: Option<usize>,
    /// What becomes of a CSR that something is against.
    pub on_refusal: OnRefusal,
    /// The gateways, and at which addresses each serves.
    pub gateways: Gateways,
    /// The agents that are pods; without it, people decide about agents.
    pub agents: Option<AgentSettings>,
    /// What DNS is asked for about kubelets' serving certificates.
    pub dns: DnsUse,
    /// Whether and how nodes are probed before their serving certificates are approved.
    pub probe: Option<ProbeSettings>,
}

/// The agents that are pods, each for its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    /// Whose tokens are taken.
    pub tokens: PodTokens,
    /// Which of them are revoked.
    pub deny_file: Option<FileRef>,
}

/// Reads the section.
pub(super) fn read_approval(root: &mut Section<'_>) -> ApprovalSettings {
    let Some(mut section) = root.section("approval") else {
        return ApprovalSettings::default();
    };
    let inventory_file = section.file("inventoryFile");
    let nodes = |node: &Node| value::word(node, &BOOTSTRAP_NODES);
    let bootstrap_nodes = section.optional("bootstrapNodes", nodes);
    if bootstrap_nodes == Some(BootstrapNodes::Inventory) && !section.has("inventoryFile") {
        section.missing("inventoryFile", "inventory.yaml");
    }
    let bootstrap_nodes = bootstrap_nodes.unwrap_or(if section.has("inventoryFile") {
        BootstrapNodes::Inventory
    } else {
        BootstrapNodes::Any
    });
    let node_names = section.list("nodeNames", bounds::RULE_ENTRIES, pattern);
    let node_addresses = section.list("nodeAddresses", bounds::RULE_ENTRIES, value::cidr);
    let names = bootstrap_nodes == BootstrapNodes::Inventory && !node_names.is_empty();
    let addresses = section.has("inventoryFile") && !node_addresses.is_empty();
    for (field, given) in [("nodeNames", names), ("nodeAddresses", addresses)] {
        if given {
            let what =
                "does not go with an inventory file, which lists every node with its addresses";
            section.error(field, what, "leave it out, or `inventoryFile`");
        }
    }
    let window = |node: &Node| value::duration(node, &bounds::JOIN_WINDOW);
    let window = section.optional("window", window);
    if window.is_some() && !section.has("inventoryFile") {
        section.missing("inventoryFile", "inventory.yaml");
    }
    let most = |node: &Node| value::integer::<usize>(node, &bounds::CSRS);
    let max_pending = section.optional("maxPending", most);
    let refusal = |node: &Node| value::word(node, &ON_REFUSAL);
    let on_refusal = section.optional("onRefusal", refusal);
    let gateways = read_gateways(&mut section);
    let agents = read_agents(&mut section);
    let dns = read_dns(&mut section);
    let probe = read_probe(&mut section);
    ApprovalSettings {
        inventory_file,
        bootstrap_nodes,
        node_names,
        node_addresses,
        window,
        max_pending,
        on_refusal: on_refusal.unwrap_or_default(),
        gateways,
        agents,
        dns,
        probe,
    }
}

fn pattern(node: &Node) -> Result<NamePattern, Problem> {
    let text = value::text(node)?;
    NamePattern::new(&text)
        .map_err(|what| Problem::new(format!("{text:?} {what}"), "write it like \"worker-*\""))
}

fn read_dns(section: &mut Section<'_>) -> DnsUse {
    let word = |node: &Node| value::word(node, &DNS);
    let dns = section.optional("dns", word).unwrap_or_default();
    if dns == DnsUse::Allow {
        // What a node says of itself is no inventory: it could claim whatever a name resolves to.
        if !section.has("inventoryFile") {
            section.missing("inventoryFile", "inventory.yaml");
        }
        let what = "lets names in that the inventory does not list: whoever can forge an answer of \
                    DNS can have a node's certificate name anything";
        let fix = "list the names in the inventory and use `dns: require`, or have the names \
                   resolved over a network that you trust";
        section.warn("dns", what, fix);
    }
    dns
}

fn read_probe(section: &mut Section<'_>) -> Option<ProbeSettings> {
    let mut probe = section.section("probe")?;
    let default = ProbeSettings::default();
    let port = |node: &Node| value::integer::<u16>(node, &bounds::PORT);
    let wait = |node: &Node| value::duration(node, &bounds::PROBE);
    Some(ProbeSettings {
        port: probe.optional("port", port).unwrap_or(default.port),
        timeout: probe.optional("timeout", wait).unwrap_or(default.timeout),
    })
}

fn read_agents(section: &mut Section<'_>) -> Option<AgentSettings> {
    let mut agents = section.section("agents")?;
    let namespace = agents.required("namespace", "eyesplice", object_name);
    let account = agents.required("serviceAccount", "eyesplice-agent", object_name);
    let audience = agents.required("audience", "eyesplice.dev/agent", value::text);
    let deny_file = agents.file("denyFile");
    Some(AgentSettings {
        tokens: PodTokens {
            namespace: namespace?,
            service_account: account?,
            audience: audience?,
        },
        deny_file,
    })
}

/// The name of an object, which becomes part of a path.
fn object_name(node: &Node) -> Result<String, Problem> {
    let name = value::text(node)?;
    match check_node_name(&name) {
        Ok(()) => Ok(name),
        Err(problem) => {
            let what = format!("{name:?} {problem}");
            Err(Problem::new(what, "write it as `kubectl get` shows it"))
        }
    }
}

fn read_gateways(section: &mut Section<'_>) -> Gateways {
    let mut gateways = Gateways::new();
    for mut gateway in section.sections("gateways", bounds::RULES) {
        let name = gateway.required("name", "gateway-1", value::name);
        let address = |node: &Node| value::host(node).map(|host| HostAddress::from(&host));
        let addresses = gateway.list("addresses", bounds::LISTENER_ENTRIES, address);
        if let Some(name) = name {
            let twice = format!("{name:?} is listed twice");
            let addresses = addresses.into_iter().collect();
            if gateways.insert(name, addresses).is_some() {
                gateway.error("name", twice, "merge the two");
            }
        }
    }
    gateways
}
