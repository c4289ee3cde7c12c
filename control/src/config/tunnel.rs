//! Reads `tunnel`: who may be an agent on the tunnel listeners, and what it may carry.

use super::bounds;
use super::leases::{self, Leases};
use super::model::{
    AgentSpec, Config, InnerTls, Kubelet, Rule, RuleAction, Transport, Tunnel, Verification, Via,
};
use super::peers;
use super::shadow::is_below;
use eyesplice_identity::document::{At, Node, Problem, Report, Section, value};
use eyesplice_identity::inventory::check_node_name;
use ipnet::IpNet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// As many agents as Kubernetes is tested with nodes, and again as many.
const MAX_AGENTS: usize = 10_000;

/// Without streams no connection waits; with many, a burst of eight finds one each.
const POOL: RangeInclusive<usize> = 0..=8;

/// As many as 128 agents of one site with eight each.
const PARKED_PER_ADDRESS: usize = 1024;

/// Below the five minutes after which common NATs forget a connection.
const PING: Duration = Duration::from_secs(15);

/// Reads the section; agents with errors are left out.
pub(super) fn read(root: &mut Section<'_>) -> Option<Tunnel> {
    let mut section = root.section("tunnel")?;
    let mut agents: Vec<AgentSpec> = Vec::new();
    for agent_section in section.sections("agents", bounds::AGENTS) {
        let (path, at) = (agent_section.path().to_owned(), agent_section.at());
        let Some(agent) = agent(agent_section) else {
            continue;
        };
        if agents.iter().any(|other| other.name == agent.name) {
            let what = format!("another agent is named {:?} already", agent.name);
            let problem = Problem::new(what, "list all that it may carry in one");
            let report = section.report();
            report.error(&format!("{path}.name"), at, problem);
        }
        agents.push(agent);
    }
    let advertise = section.optional("advertise", value::socket_address);
    if advertise.is_some_and(|address| address.port() == 0 || address.ip().is_unspecified()) {
        let what = "is no address that an agent could connect to";
        let fix = "write this gateway's own address and port";
        section.error("advertise", what, fix);
    }
    let max_agents = |node: &Node| value::integer::<usize>(node, &bounds::MAX_AGENTS);
    let parked = |node: &Node| value::integer::<usize>(node, &bounds::PARKED);
    let per_address = section.optional("maxParkedPerAddress", parked);
    let ping = |node: &Node| value::duration(node, &bounds::PING);
    let inner = |node: &Node| value::word(node, &InnerTls::WORDS);
    let leases = leases::read(&mut section, advertise);
    Some(Tunnel {
        agents,
        node_agents: section
            .optional("nodeAgents", value::boolean)
            .unwrap_or_default(),
        advertise,
        deny_file: section.file("denyFile"),
        max_agents: section
            .optional("maxAgents", max_agents)
            .unwrap_or(MAX_AGENTS),
        pool: read_pool(&mut section),
        max_parked: section.optional("maxParked", parked),
        max_parked_per_address: per_address.unwrap_or(PARKED_PER_ADDRESS),
        ping: section.optional("ping", ping).unwrap_or(PING),
        inner: section.optional("inner", inner).unwrap_or_default(),
        peers: peers::read(&mut section, leases.is_some()),
        leases,
    })
}

fn read_pool(parent: &mut Section<'_>) -> RangeInclusive<usize> {
    let Some(mut section) = parent.section("pool") else {
        return POOL;
    };
    let count = |node: &Node| value::integer::<usize>(node, &bounds::POOL);
    let min = section.optional("min", count).unwrap_or(*POOL.start());
    let max = section
        .optional("max", count)
        .unwrap_or((*POOL.end()).max(min));
    if min > max {
        let what = format!("{min} is more than max ({max})");
        section.error("min", what, "lower it, or raise max");
    }
    min..=max.max(min)
}

fn agent(mut section: Section<'_>) -> Option<AgentSpec> {
    let report = section.report();
    let errors = report.error_count();
    let name = section.required("name", "edge-1", value::name);
    let entries = bounds::RULE_ENTRIES;
    let nodes = section.list("nodes", entries, node);
    let cidrs = section.list("cidrs", entries, value::cidr);
    let suffixes = section.list("dnsSuffixes", entries, value::dns_suffix);
    if ["nodes", "cidrs", "dnsSuffixes"]
        .iter()
        .all(|field| section.is_blank(field))
    {
        let what = "may carry nothing";
        let fix =
            "add `nodes: [worker-1]`, `cidrs: [10.244.0.0/16]` or `dnsSuffixes: [lab.example]`";
        section.error("", what, fix);
    }
    // What nobody asks for counts, too.
    drop(section);
    (report.error_count() == errors).then_some(())?;
    Some(AgentSpec {
        name: Arc::from(name?),
        nodes,
        cidrs,
        dns_suffixes: suffixes,
    })
}

fn node(node: &Node) -> Result<Arc<str>, Problem> {
    let name = value::text(node)?;
    match check_node_name(&name) {
        Ok(()) => Ok(Arc::from(name)),
        Err(problem) => {
            let what = format!("{name:?} {problem}");
            Err(Problem::new(
                what,
                "write a node's name, as `kubectl get nodes` shows it",
            ))
        }
    }
}

/// Checks what listeners, agents and rules say of each other.
pub(super) fn check(config: &Config, root: &Section<'_>) {
    let report = root.report();
    let listener = config
        .listeners
        .iter()
        .find(|listener| matches!(listener.transport, Transport::Tunnel(_)));
    let ways = config.egress.rules.iter().filter(|rule| uses(rule));
    let ways: Vec<&Rule> = ways.collect();
    if let (Some(rule), None) = (ways.first(), listener) {
        let what = format!("is required by rule {:?}, whose way is a tunnel", rule.name);
        let fix = "add a listener with `tunnel: {address: .., tlsCertFile: .., tlsPrivateKeyFile: \
                   .., clientCAFile: ..}`";
        report.error("listeners", At::default(), Problem::new(what, fix));
    }
    check_authorities(config, report);
    peers::check(config, report);
    let absent = At::default();
    match (&config.tunnel, listener) {
        (None, Some(listener)) if !root.has("tunnel") => {
            let what = format!(
                "is required by listener {:?}, whose clients are agents",
                listener.name
            );
            let fix = "add `tunnel: {agents: [{name: edge-1, cidrs: [..]}]}`";
            report.error("tunnel", absent, Problem::new(what, fix));
        }
        (Some(tunnel), _) => {
            let at = root.place_of("tunnel");
            if tunnel.agents.is_empty() && !tunnel.node_agents {
                let what = "lets nobody be an agent";
                let fix = "add `agents: [{name: edge-1, cidrs: [..]}]`, or `nodeAgents: true`";
                report.error("tunnel", at, Problem::new(what, fix));
            }
            if listener.is_none() && ways.is_empty() {
                let what = "is not used: no listener is a `tunnel`";
                report.warn(
                    "tunnel",
                    at,
                    Problem::new(what, "add one, or remove the section"),
                );
            }
            if tunnel.leases.is_some() {
                check_leases(tunnel, listener.is_some(), (at, report));
            }
            let observed = |kubelet: &Kubelet| kubelet.verification == Verification::Observe;
            if tunnel.inner == InnerTls::Only && config.kubelet.as_ref().is_some_and(observed) {
                let what = "has no effect while `kubelet.verification` is `observe`: what is \
                            inside is not validated";
                let fix = "set that to enforce, or remove this";
                report.warn("tunnel.inner", at, Problem::new(what, fix));
            }
            check_grants(config, tunnel, &ways, (at, report));
        }
        (None, _) => {}
    }
}

/// Checks that a gateway with a Lease takes agents, and that these hear of the others in time.
fn check_leases(tunnel: &Tunnel, listens: bool, (at, report): (At, &Report)) {
    if !listens {
        let what = "is for a gateway that agents connect to, and no listener is a `tunnel`";
        report.error(
            "tunnel.leases",
            at,
            Problem::new(what, "add one, or remove the section"),
        );
    }
    if tunnel.ping > bounds::TOLD_WITHIN {
        let what = "is longer than a minute, and agents hear of other gateways with each ping";
        let fix = "lower it to 60s, or remove `tunnel.leases`";
        report.error("tunnel.ping", at, Problem::new(what, fix));
    }
}

/// Finds listeners of API servers that would take an agent for one.
fn check_authorities(config: &Config, report: &Report) {
    let tunnels = config
        .listeners
        .iter()
        .filter_map(|listener| match &listener.transport {
            Transport::Tunnel(tcp) => Some(&tcp.client_ca_file.path),
            _ => None,
        });
    let tunnels: Vec<_> = tunnels.collect();
    for (index, listener) in config.listeners.iter().enumerate() {
        let Transport::Tcp(tcp) = &listener.transport else {
            continue;
        };
        if tcp.allowed_names.is_empty() && tunnels.contains(&&tcp.client_ca_file.path) {
            let what = "is the CA of agents as well, so that each of them may ask for targets here";
            let fix = "list the API server in allowedNames, or give agents a CA of their own";
            let path = format!("listeners[{index}].tcp.clientCAFile");
            report.warn(&path, At::default(), Problem::new(what, fix));
        }
    }
}

impl Config {
    /// How this gateway is one of those that Leases list, if it is.
    pub fn leases(&self) -> Option<&Leases> {
        self.tunnel.as_ref()?.leases.as_ref()
    }
}

fn uses(rule: &Rule) -> bool {
    rule.via == Via::Tunnel && !matches!(rule.action, RuleAction::Deny)
}

/// Finds grants that lead nowhere.
fn check_grants(config: &Config, tunnel: &Tunnel, ways: &[&Rule], (at, report): (At, &Report)) {
    let inventory = config
        .kubelet
        .as_ref()
        .and_then(|kubelet| kubelet.inventory_file.as_ref());
    let nodes = tunnel.agents.iter().find(|agent| !agent.nodes.is_empty());
    let nodes = nodes.map(|agent| format!("agents: {:?} has nodes, which", agent.name));
    let by_node = tunnel
        .node_agents
        .then(|| "nodeAgents".to_owned())
        .or(nodes);
    if let (Some(subject), None) = (by_node, inventory) {
        let what =
            format!("{subject} needs `kubelet.inventoryFile`: it says which addresses a node has");
        let fix = "add the inventory, or grant `cidrs`";
        report.error("tunnel", at, Problem::new(what, fix));
    }
    if ways.is_empty() {
        let what = "is not used: no rule has `via: tunnel`";
        let fix = "add it to the rules of targets behind agents";
        report.warn("tunnel", at, Problem::new(what, fix));
        return;
    }
    for (index, agent) in tunnel.agents.iter().enumerate() {
        let idle_networks = agent
            .cidrs
            .iter()
            .filter(|net| !ways.iter().any(|rule| meets(rule, net)));
        let idle_suffixes = agent
            .dns_suffixes
            .iter()
            .filter(|suffix| !ways.iter().any(|rule| resolves(rule, suffix)));
        let idle: Vec<String> = idle_networks
            .map(ToString::to_string)
            .chain(idle_suffixes.cloned())
            .collect();
        if !idle.is_empty() {
            let what = format!(
                "is granted {}, and no rule with `via: tunnel` uses it",
                idle.join(", ")
            );
            let fix = "add such a rule, or remove the grant";
            report.warn(
                &format!("tunnel.agents[{index}]"),
                at,
                Problem::new(what, fix),
            );
        }
    }
}

/// Whether a rule may lead into a network.
fn meets(rule: &Rule, net: &IpNet) -> bool {
    rule.cidrs.is_empty()
        || rule
            .cidrs
            .iter()
            .any(|have| have.contains(net) || net.contains(have))
}

/// Whether a rule may have an agent resolve a name below a suffix.
fn resolves(rule: &Rule, suffix: &str) -> bool {
    rule.cidrs.is_empty()
        && rule
            .dns_suffixes
            .iter()
            .any(|have| is_below(have, suffix) || is_below(suffix, have))
}
