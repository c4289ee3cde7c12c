//! Reads the document `PKIConfig`, and tells every mistake at once.

use super::key::KeyAlgorithm;
use super::plan::conflicts;
use super::profile::CLUSTER_CA;
use super::spec::{
    AgentName, AgentNameError, Authorities, BREAK_GLASS_LIFETIME, BreakGlassUser,
    BreakGlassUserError, Cluster, DEFAULT_CLUSTER, DEFAULT_DOMAIN, DEFAULT_SERVICE_IP, Existing,
    Layout, Lifetimes, NodeSpec, Pair, Scope, ServerUrl, Spec, UserSpec, default_member,
};
use crate::document::{Document, FileRef, Node, Problem, Section, value};
use crate::inventory::{HostAddress, certificate_name};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration as Span;
use time::Duration;

/// Nodes of one cluster, twice what Kubernetes is tested with.
const NODES: usize = 10_000;
/// Members of etcd; more than seven make it slower, not safer.
const MEMBERS: usize = 16;
/// Users with a certificate of their own.
const USERS: usize = 10_000;
/// Addresses and names of one server.
const NAMES: usize = 64;
/// Agents of tunnels.
const AGENTS: usize = 10_000;
/// Groups of one user.
const GROUPS: usize = 64;
/// CAs that exist already: one for each in the table.
const AUTHORITIES: usize = 8;
/// One service range for each address family.
const SERVICE_RANGES: usize = 2;

/// Below, nobody could roll a CA out; above, no clock and no algorithm is to be trusted.
const AUTHORITY_LIFETIME: RangeInclusive<Span> =
    Span::from_secs(24 * 3600)..=Span::from_secs(100 * 366 * 24 * 3600);
/// Kubernetes' own floor is ten minutes.
const CERTIFICATE_LIFETIME: RangeInclusive<Span> =
    Span::from_secs(600)..=Span::from_secs(100 * 366 * 24 * 3600);

/// Paths come out absolute: they are written into a tree that may lie elsewhere.
impl Document for Spec {
    const KIND: &'static str = "PKIConfig";

    fn read(root: &mut Section<'_>, _: &Path) -> Option<Self> {
        read(root)
    }
}

fn read(root: &mut Section<'_>) -> Option<Spec> {
    let report = root.report();
    let before = report.error_count();
    let scope = root.optional("scope", |node| value::word(node, &Scope::NAMES));
    let scope = scope.unwrap_or_default();
    let names = Names::read(root);
    let cluster = read_cluster(root, &names.apiserver);
    let mut etcd = read_nodes(root, "etcd", MEMBERS);
    if etcd.is_empty() {
        etcd.push(default_member(&names.apiserver));
    }
    let nodes = read_nodes(root, "nodes", NODES);
    let users = read_users(root);
    let agents = root.list("agents", AGENTS, agent);
    let break_glass = root.list("breakGlass", USERS, break_glass_user);
    let authorities = read_authorities(root);
    if scope == Scope::Gateway
        && authorities
            .existing
            .iter()
            .all(|(name, _)| name != CLUSTER_CA)
    {
        let what = "is gateway, and authorities.existing does not name its CA, the cluster's `ca`";
        let fix = "add `ca` there, with certFile and keyFile";
        root.error("scope", what, fix);
    }
    let keys = read_keys(root);
    let lifetimes = read_lifetimes(root);
    let Names {
        apiserver,
        controllers,
        gateway,
    } = names;
    let spec = Spec {
        scope,
        cluster,
        apiserver,
        controllers,
        gateway,
        etcd,
        nodes,
        users,
        agents,
        break_glass,
        authorities,
        keys,
        lifetimes,
    };
    for conflict in conflicts(&spec) {
        root.error("", conflict.to_string(), "give each its own");
    }
    (report.error_count() == before).then_some(spec)
}

#[derive(Default)]
struct Names {
    apiserver: Vec<HostAddress>,
    controllers: Vec<HostAddress>,
    gateway: Vec<HostAddress>,
}

impl Names {
    fn read(root: &mut Section<'_>) -> Self {
        let Some(mut section) = root.section("names") else {
            return Self::default();
        };
        Self {
            apiserver: section.list("apiserver", NAMES, covered),
            controllers: section.list("controllers", NAMES, covered),
            gateway: section.list("gateway", NAMES, covered),
        }
    }
}

fn read_cluster(root: &mut Section<'_>, names: &[HostAddress]) -> Cluster {
    let mut cluster = Cluster {
        name: DEFAULT_CLUSTER.to_owned(),
        domain: DEFAULT_DOMAIN.to_owned(),
        server: ServerUrl::first_of(names),
        service_ips: vec![DEFAULT_SERVICE_IP],
    };
    let Some(mut section) = root.section("cluster") else {
        return cluster;
    };
    if let Some(name) = section.optional("name", value::name) {
        cluster.name = name;
    }
    if let Some(domain) = section.optional("domain", value::dns_suffix) {
        cluster.domain = domain;
    }
    let server = |node: &Node| {
        let text = value::text(node)?;
        text.parse::<ServerUrl>().map_err(|_| {
            let fix = "write https://HOST[:PORT]";
            Problem::new(format!("{text:?} is no URL of an API server"), fix)
        })
    };
    if let Some(server) = section.optional("server", server) {
        cluster.server = server;
    }
    if section.has("serviceIPs") {
        cluster.service_ips = section.list("serviceIPs", SERVICE_RANGES, ip);
    }
    cluster
}

fn read_nodes(root: &mut Section<'_>, field: &'static str, bound: usize) -> Vec<NodeSpec> {
    let mut nodes = Vec::new();
    for mut section in root.sections(field, bound) {
        let report = section.report();
        let before = report.error_count();
        let name = section.required("name", "worker-1", value::text);
        let addresses = section.list("addresses", NAMES, host);
        if section.is_blank("addresses") {
            section.missing("addresses", "[10.0.0.11]");
        }
        if let (Some(name), true) = (name, report.error_count() == before) {
            match NodeSpec::new(&name, addresses) {
                Ok(node) => nodes.push(node),
                Err(error) => {
                    section.error("name", error.to_string(), "give the node's name");
                }
            }
        }
    }
    nodes
}

fn read_users(root: &mut Section<'_>) -> Vec<UserSpec> {
    let mut users = Vec::new();
    for mut section in root.sections("users", USERS) {
        let name = section.required("name", "jane", value::text);
        let groups = section.list("groups", GROUPS, value::text);
        match name.map(|name| UserSpec::new(&name, groups)) {
            None => {}
            Some(Ok(user)) => {
                if user.groups.iter().any(|group| group == "system:masters") {
                    let what = "is in system:masters, which no policy can bind or revoke";
                    section.warn("", what, "bind a group of its own to cluster-admin");
                }
                users.push(user);
            }
            Some(Err(error)) => section.error("", error.to_string(), "choose another"),
        }
    }
    users
}

fn agent(node: &Node) -> Result<AgentName, Problem> {
    let text = value::text(node)?;
    text.parse()
        .map_err(|error: AgentNameError| Problem::new(error.to_string(), "choose another"))
}

fn break_glass_user(node: &Node) -> Result<BreakGlassUser, Problem> {
    let text = value::text(node)?;
    text.parse()
        .map_err(|error: BreakGlassUserError| Problem::new(error.to_string(), "choose another"))
}

fn read_authorities(root: &mut Section<'_>) -> Authorities {
    let Some(mut section) = root.section("authorities") else {
        return Authorities::default();
    };
    let layout = |node: &Node| value::word(node, &Layout::NAMES);
    let layout = section.optional("layout", layout).unwrap_or_default();
    if layout == Layout::Single {
        let what = "lets every client certificate pass wherever one of its CA is trusted";
        let fix = "use separate unless something forces one CA on you";
        section.warn("layout", what, fix);
    }
    let parent = section.section("parent").and_then(read_pair);
    let mut existing = Vec::new();
    for mut each in section.sections("existing", AUTHORITIES) {
        let name = each.required("name", "ca", value::text);
        if let (Some(name), Some(files)) = (name, read_existing(each)) {
            existing.push((name, files));
        }
    }
    Authorities {
        layout,
        parent,
        existing,
    }
}

/// Without `keyFile`, the key is elsewhere.
fn read_existing(mut section: Section<'_>) -> Option<Existing> {
    if section.has("keyFile") {
        return read_pair(section).map(Existing::Signs);
    }
    section.ignore("keyFile");
    let certificate = section.required_file("certFile", "ca.crt");
    certificate.map(|file| Existing::External(absolute(file)))
}

fn read_pair(mut section: Section<'_>) -> Option<Pair> {
    let certificate = section.required_file("certFile", "ca.crt");
    let key = section.required_file("keyFile", "ca.key");
    Some(Pair {
        certificate: absolute(certificate?),
        key: absolute(key?),
    })
}

/// Fails only where there is no current directory; such a path cannot be opened either.
fn absolute(file: FileRef) -> PathBuf {
    std::path::absolute(&file.path).unwrap_or(file.path)
}

fn read_keys(root: &mut Section<'_>) -> KeyAlgorithm {
    let Some(mut section) = root.section("keys") else {
        return KeyAlgorithm::default();
    };
    let algorithm = |node: &Node| value::word(node, &KeyAlgorithm::NAMES);
    let algorithm = section.optional("algorithm", algorithm);
    algorithm.unwrap_or_default()
}

fn read_lifetimes(root: &mut Section<'_>) -> Lifetimes {
    let mut lifetimes = Lifetimes::default();
    let Some(mut section) = root.section("lifetimes") else {
        return lifetimes;
    };
    let mut read = |field, range: &RangeInclusive<Span>, target: &mut Duration| {
        let span = section.optional(field, |node| value::duration(node, range));
        if let Some(span) = span.and_then(|span| Duration::try_from(span).ok()) {
            *target = span;
        }
    };
    let Lifetimes {
        authorities,
        certificates,
        break_glass,
    } = &mut lifetimes;
    read("authorities", &AUTHORITY_LIFETIME, authorities);
    read("certificates", &CERTIFICATE_LIFETIME, certificates);
    let [shortest, longest] = [*BREAK_GLASS_LIFETIME.start(), *BREAK_GLASS_LIFETIME.end()];
    let short = shortest.unsigned_abs()..=longest.unsigned_abs();
    read("breakGlass", &short, break_glass);
    lifetimes
}

fn host(node: &Node) -> Result<HostAddress, Problem> {
    let text = value::text(node)?;
    text.parse().map_err(|problem| {
        let fix = "write an IP address or a DNS name";
        Problem::new(format!("{text:?} {problem}"), fix)
    })
}

/// What a server's certificate may cover besides: a wildcard, too.
fn covered(node: &Node) -> Result<HostAddress, Problem> {
    let text = value::text(node)?;
    certificate_name(&text).map_err(|problem| {
        let fix = "write an IP address, a DNS name or a wildcard like *.example.com";
        Problem::new(format!("{text:?} {problem}"), fix)
    })
}

fn ip(node: &Node) -> Result<IpAddr, Problem> {
    match host(node)? {
        HostAddress::Ip(ip) => Ok(ip),
        HostAddress::Dns(name) => {
            let fix = "write the first address of the service range";
            Err(Problem::new(format!("{name:?} is no IP address"), fix))
        }
    }
}
