//! Reads the document `PKIConfig`, and tells every mistake at once.

use super::key::KeyAlgorithm;
use super::plan::conflicts;
use super::spec::{
    Authorities, Cluster, DEFAULT_CLUSTER, DEFAULT_DOMAIN, DEFAULT_SERVICE_IP, Existing, Layout,
    Lifetimes, NodeSpec, Pair, ServerUrl, Spec, UserSpec, default_member,
};
use crate::document;
use crate::document::{ConfigErrors, Finding, Node, Problem, Report, Section, value};
use crate::inventory::{HostAddress, certificate_name};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration as Span;
use time::Duration;

/// The kind of document.
pub(crate) const KIND: &str = "PKIConfig";

/// Nodes of one cluster, twice what Kubernetes is tested with.
const NODES: usize = 10_000;
/// Members of etcd; more than seven make it slower, not safer.
const MEMBERS: usize = 16;
/// Users with a certificate of their own.
const USERS: usize = 10_000;
/// Addresses and names of one server.
const NAMES: usize = 64;
/// Groups of one user.
const GROUPS: usize = 64;
/// CAs that exist already: one for each in the table.
const AUTHORITIES: usize = 6;
/// One service range for each address family.
const SERVICE_RANGES: usize = 2;

/// Below, nobody could roll a CA out; above, no clock and no algorithm is to be trusted.
const AUTHORITY_LIFETIME: RangeInclusive<Span> =
    Span::from_secs(24 * 3600)..=Span::from_secs(100 * 366 * 24 * 3600);
/// Kubernetes' own floor is ten minutes.
const CERTIFICATE_LIFETIME: RangeInclusive<Span> =
    Span::from_secs(600)..=Span::from_secs(100 * 366 * 24 * 3600);

/// Reads a file. Relative paths in it start at its directory, and come out absolute: they are
/// written into a tree that may lie elsewhere.
pub(super) fn load(file: &Path) -> Result<(Spec, Vec<Finding>), ConfigErrors> {
    parse(&document::read_file(file)?, file)
}

/// Validates the text of a file.
pub(super) fn parse(text: &str, file: &Path) -> Result<(Spec, Vec<Finding>), ConfigErrors> {
    let base = file.parent().unwrap_or(Path::new(""));
    // Fails only where there is no current directory; such paths cannot be opened either.
    let base = std::path::absolute(base.join(".")).unwrap_or_else(|_| base.to_owned());
    document::parse(text, file, KIND, |root, report| read(root, &base, report))
}

fn read(root: &mut Section<'_>, base: &Path, report: &mut Report) -> Option<Spec> {
    let before = report.error_count();
    let names = Names::read(root, report);
    let cluster = read_cluster(root, &names.apiserver, report);
    let mut etcd = read_nodes(root, "etcd", MEMBERS, report);
    if etcd.is_empty() {
        etcd.push(default_member(&names.apiserver));
    }
    let nodes = read_nodes(root, "nodes", NODES, report);
    let users = read_users(root, report);
    let authorities = read_authorities(root, base, report);
    let keys = read_keys(root, report);
    let lifetimes = read_lifetimes(root, report);
    let Names {
        apiserver,
        controllers,
        gateway,
    } = names;
    let spec = Spec {
        cluster,
        apiserver,
        controllers,
        gateway,
        etcd,
        nodes,
        users,
        authorities,
        keys,
        lifetimes,
    };
    for conflict in conflicts(&spec) {
        let problem = Problem::new(conflict.to_string(), "give each its own");
        report.error(root.path(), root.at(), problem);
    }
    (report.error_count() == before).then_some(spec)
}

struct Names {
    apiserver: Vec<HostAddress>,
    controllers: Vec<HostAddress>,
    gateway: Vec<HostAddress>,
}

impl Names {
    fn read(root: &mut Section<'_>, report: &mut Report) -> Self {
        let Some(mut section) = root.section("names", report) else {
            return Self {
                apiserver: Vec::new(),
                controllers: Vec::new(),
                gateway: Vec::new(),
            };
        };
        let names = Self {
            apiserver: section.list("apiserver", NAMES, covered, report),
            controllers: section.list("controllers", NAMES, covered, report),
            gateway: section.list("gateway", NAMES, covered, report),
        };
        section.finish(report);
        names
    }
}

fn read_cluster(root: &mut Section<'_>, names: &[HostAddress], report: &mut Report) -> Cluster {
    let mut cluster = Cluster {
        name: DEFAULT_CLUSTER.to_owned(),
        domain: DEFAULT_DOMAIN.to_owned(),
        server: ServerUrl::first_of(names),
        service_ips: vec![DEFAULT_SERVICE_IP],
    };
    let Some(mut section) = root.section("cluster", report) else {
        return cluster;
    };
    if let Some(name) = section.optional("name", value::name, report) {
        cluster.name = name;
    }
    if let Some(domain) = section.optional("domain", value::dns_suffix, report) {
        cluster.domain = domain;
    }
    let server = |node: &Node| {
        let text = value::text(node)?;
        text.parse::<ServerUrl>().map_err(|_| {
            let fix = "write https://HOST[:PORT]";
            Problem::new(format!("{text:?} is no URL of an API server"), fix)
        })
    };
    if let Some(server) = section.optional("server", server, report) {
        cluster.server = server;
    }
    if section.has("serviceIPs") {
        cluster.service_ips = section.list("serviceIPs", SERVICE_RANGES, ip, report);
    }
    section.finish(report);
    cluster
}

fn read_nodes(
    root: &mut Section<'_>,
    field: &'static str,
    bound: usize,
    report: &mut Report,
) -> Vec<NodeSpec> {
    let mut nodes = Vec::new();
    for mut section in root.sections(field, bound, report) {
        let before = report.error_count();
        let name = section.required("name", "worker-1", value::text, report);
        let addresses = section.list("addresses", NAMES, host, report);
        if section.is_blank("addresses") {
            section.missing("addresses", "[10.0.0.11]", report);
        }
        if let (Some(name), true) = (name, report.error_count() == before) {
            match NodeSpec::new(&name, addresses) {
                Ok(node) => nodes.push(node),
                Err(error) => {
                    let problem = Problem::new(error.to_string(), "give the node's name");
                    report.error(&section.path_of("name"), section.place_of("name"), problem);
                }
            }
        }
        section.finish(report);
    }
    nodes
}

fn read_users(root: &mut Section<'_>, report: &mut Report) -> Vec<UserSpec> {
    let mut users = Vec::new();
    for mut section in root.sections("users", USERS, report) {
        let name = section.required("name", "jane", value::text, report);
        let groups = section.list("groups", GROUPS, value::text, report);
        match name.map(|name| UserSpec::new(&name, groups)) {
            None => {}
            Some(Ok(user)) => {
                if user.groups.iter().any(|group| group == "system:masters") {
                    let what = "is in system:masters, which no policy can bind or revoke";
                    let problem = Problem::new(what, "bind a group of its own to cluster-admin");
                    report.warn(section.path(), section.at(), problem);
                }
                users.push(user);
            }
            Some(Err(error)) => {
                let problem = Problem::new(error.to_string(), "choose another");
                report.error(section.path(), section.at(), problem);
            }
        }
        section.finish(report);
    }
    users
}

fn read_authorities(root: &mut Section<'_>, base: &Path, report: &mut Report) -> Authorities {
    let Some(mut section) = root.section("authorities", report) else {
        return Authorities::default();
    };
    let layout = |node: &Node| value::word(node, &Layout::NAMES);
    let layout = section
        .optional("layout", layout, report)
        .unwrap_or_default();
    if layout == Layout::Single {
        let what = "lets every client certificate pass wherever one of its CA is trusted";
        let fix = "use separate unless something forces one CA on you";
        let problem = Problem::new(what, fix);
        report.warn(
            &section.path_of("layout"),
            section.place_of("layout"),
            problem,
        );
    }
    let parent = section
        .section("parent", report)
        .and_then(|parent| read_pair(parent, base, report));
    let mut existing = Vec::new();
    for mut each in section.sections("existing", AUTHORITIES, report) {
        let name = each.required("name", "ca", value::text, report);
        if let (Some(name), Some(files)) = (name, read_existing(each, base, report)) {
            existing.push((name, files));
        }
    }
    section.finish(report);
    Authorities {
        layout,
        parent,
        existing,
    }
}

/// Without `keyFile`, the key is elsewhere.
fn read_existing(mut section: Section<'_>, base: &Path, report: &mut Report) -> Option<Existing> {
    if section.has("keyFile") {
        return read_pair(section, base, report).map(Existing::Signs);
    }
    section.ignore("keyFile");
    let file = |node: &Node| value::path(node, base);
    let certificate = section.required("certFile", "ca.crt", file, report);
    section.finish(report);
    certificate.map(Existing::External)
}

fn read_pair(mut section: Section<'_>, base: &Path, report: &mut Report) -> Option<Pair> {
    let file = |node: &Node| value::path(node, base);
    let certificate = section.required("certFile", "ca.crt", file, report);
    let key = section.required("keyFile", "ca.key", file, report);
    section.finish(report);
    Some(Pair {
        certificate: certificate?,
        key: key?,
    })
}

fn read_keys(root: &mut Section<'_>, report: &mut Report) -> KeyAlgorithm {
    let Some(mut section) = root.section("keys", report) else {
        return KeyAlgorithm::default();
    };
    let algorithm = |node: &Node| value::word(node, &KeyAlgorithm::NAMES);
    let algorithm = section.optional("algorithm", algorithm, report);
    section.finish(report);
    algorithm.unwrap_or_default()
}

fn read_lifetimes(root: &mut Section<'_>, report: &mut Report) -> Lifetimes {
    let mut lifetimes = Lifetimes::default();
    let Some(mut section) = root.section("lifetimes", report) else {
        return lifetimes;
    };
    let mut read = |field, range: &RangeInclusive<Span>, target: &mut Duration| {
        let span = section.optional(field, |node| value::duration(node, range), report);
        if let Some(span) = span.and_then(|span| Duration::try_from(span).ok()) {
            *target = span;
        }
    };
    read(
        "authorities",
        &AUTHORITY_LIFETIME,
        &mut lifetimes.authorities,
    );
    read(
        "certificates",
        &CERTIFICATE_LIFETIME,
        &mut lifetimes.certificates,
    );
    section.finish(report);
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
