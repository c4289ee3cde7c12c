//! The authority's configuration: `kind: AuthorityConfig`.

use super::authentication::read_settings;
use super::model::Admin;
use super::report::{Problem, Report};
use super::section::Section;
use super::tree::Node;
use super::{ConfigErrors, Finding, bounds, document, process, value};
use crate::authn::Settings;
use crate::authority::{
    Binding, BootstrapNodes, DnsUse, Gateways, ProbeSettings, Role, SIGNERS, Signer,
};
use crate::inventory::HostAddress;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kind of document.
pub(super) const KIND: &str = "AuthorityConfig";

const ROLES: [(&str, Role); 6] = [
    ("admin", Role::Admin),
    ("approver", Role::Approver),
    ("signer", Role::Signer),
    ("requester", Role::Requester),
    ("viewer", Role::Viewer),
    ("reviewer", Role::Reviewer),
];

const BOOTSTRAP_NODES: [(&str, BootstrapNodes); 2] = [
    ("any", BootstrapNodes::Any),
    ("inventory", BootstrapNodes::Inventory),
];

const DNS: [(&str, DnsUse); 3] = [
    ("ignore", DnsUse::Ignore),
    ("require", DnsUse::Require),
    ("allow", DnsUse::Allow),
];

/// kube-controller-manager's `--cluster-signing-duration`.
const DEFAULT_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A whole authority configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where kubelets and kubectls connect.
    pub address: SocketAddr,
    /// Serving certificate with its intermediates.
    pub tls_cert_file: PathBuf,
    /// Its key.
    pub tls_private_key_file: PathBuf,
    /// What it tells everybody, so that nodes find its CA by a pin.
    pub cluster_info: Option<ClusterInfo>,
    /// Whom it believes.
    pub authentication: Authentication,
    /// Who may do what, beside the built-in groups.
    pub roles: Vec<Binding>,
    /// The file of the store.
    pub store: PathBuf,
    /// Which signers it serves; at least one.
    pub signers: Vec<SignerSettings>,
    /// What is approved without a person.
    pub approval: ApprovalSettings,
    /// Bounds.
    pub limits: AuthorityLimits,
    /// Health and metrics.
    pub admin: Admin,
}

/// What is published as ConfigMap `cluster-info`, as kubeadm does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// The URL by which nodes reach the server.
    pub server: String,
    /// The CA of its serving certificate.
    pub ca_file: PathBuf,
}

/// Whom the authority believes; at least one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// Who issues client certificates.
    pub client_ca_file: Option<PathBuf>,
    /// Bearer tokens.
    pub tokens: Settings,
}

/// One signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerSettings {
    /// Which.
    pub signer: Signer,
    /// The CA's certificate, with the intermediates above it if it is no root.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The longest lifetime of what it signs.
    pub duration: Duration,
}

/// What is approved without a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalSettings {
    /// Which node has which address; without it, serving certificates wait for a person.
    pub inventory_file: Option<PathBuf>,
    /// For which nodes a bootstrap token is good.
    pub bootstrap_nodes: BootstrapNodes,
    /// The gateways, and at which addresses each serves.
    pub gateways: Gateways,
    /// What DNS is asked for about kubelets' serving certificates.
    pub dns: DnsUse,
    /// Whether and how nodes are probed before their serving certificates are approved.
    pub probe: Option<ProbeSettings>,
}

/// Bounds of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorityLimits {
    /// CSRs that are kept, decided or not.
    pub max_csrs: usize,
    /// Of one user.
    pub max_csrs_per_user: usize,
    /// New ones of one user in a minute.
    pub max_creates_per_minute: u32,
}

impl Default for AuthorityLimits {
    fn default() -> Self {
        Self {
            // 5,000 nodes, Kubernetes' own limit, that join within the hour that CSRs are kept.
            max_csrs: 10_000,
            // A kubelet has two at a time; all nodes that join by one bootstrap token share a user.
            max_csrs_per_user: 1_000,
            max_creates_per_minute: 300,
        }
    }
}

/// A configuration and what deserves the operator's attention in it.
#[derive(Clone, Debug)]
pub struct LoadedAuthority {
    /// The configuration.
    pub config: AuthorityConfig,
    /// Things that are allowed and probably not meant.
    pub warnings: Vec<Finding>,
}

impl AuthorityConfig {
    /// Reads and validates a file. Relative paths in it start at its directory.
    ///
    /// # Errors
    /// Every mistake of the file, each with field, line, column and remedy.
    pub fn load(file: &Path) -> Result<LoadedAuthority, ConfigErrors> {
        Self::parse(&document::read_file(file)?, file)
    }

    /// Validates the text of a file; `file` names it in errors and is the base of relative paths.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, file: &Path) -> Result<LoadedAuthority, ConfigErrors> {
        let (config, warnings) =
            document::parse(text, file, KIND, |root, report| read(root, file, report))?;
        Ok(LoadedAuthority { config, warnings })
    }

    /// The configuration file and every file that it names and that is read, but for the store.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::from([self.file.clone()]);
        files.extend([&self.tls_cert_file, &self.tls_private_key_file].map(Clone::clone));
        files.extend(self.cluster_info.as_ref().map(|info| info.ca_file.clone()));
        for signer in &self.signers {
            files.extend([&signer.cert_file, &signer.key_file].map(Clone::clone));
        }
        let authentication = &self.authentication;
        files.extend(authentication.client_ca_file.clone());
        files.extend(authentication.tokens.files());
        files.extend(self.approval.inventory_file.clone());
        files
    }

    /// Those of them that hold a key or a token.
    pub fn secrets(&self) -> BTreeSet<PathBuf> {
        let mut secrets = self.authentication.tokens.secrets();
        secrets.insert(self.tls_private_key_file.clone());
        secrets.extend(self.signers.iter().map(|signer| signer.key_file.clone()));
        secrets
    }

    /// Fields of `new` that a running process does not take over.
    pub fn restart_required(&self, new: &Self) -> Vec<String> {
        let fields = [
            ("listen.address", self.address != new.address),
            ("store.path", self.store != new.store),
            ("admin", self.admin != new.admin),
        ];
        let changed = fields.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(field, _)| field.to_owned()).collect()
    }
}

fn read(root: &mut Section<'_>, file: &Path, report: &mut Report) -> Option<AuthorityConfig> {
    let base = file.parent().unwrap_or(Path::new(""));
    let listen = read_listen(root, base, report);
    let cluster_info = read_cluster_info(root, base, report);
    let authentication = read_authentication(root, base, report);
    let roles = read_roles(root, report);
    let store = read_store(root, base, report);
    let signers = read_signers(root, base, report);
    let approval = read_approval(root, base, report);
    let limits = read_limits(root, report);
    let admin = process::read_admin(root, report);
    let serving = signers
        .iter()
        .any(|each| each.signer == Signer::KubeletServing);
    if serving && approval.inventory_file.is_none() {
        let problem = Problem::new(
            "is missing: every kubelet-serving CSR waits for a person",
            "add `approval: {inventoryFile: inventory.yaml}`",
        );
        report.warn("approval.inventoryFile", root.at(), problem);
    }
    let (address, tls_cert_file, tls_private_key_file) = listen?;
    Some(AuthorityConfig {
        file: file.to_owned(),
        address,
        tls_cert_file,
        tls_private_key_file,
        cluster_info,
        authentication,
        roles,
        store: store?,
        signers,
        approval,
        limits,
        admin,
    })
}

fn read_listen(
    root: &mut Section<'_>,
    base: &Path,
    report: &mut Report,
) -> Option<(SocketAddr, PathBuf, PathBuf)> {
    if !root.has("listen") {
        let example = "{address: \"0.0.0.0:6443\", tlsCertFile: .., tlsPrivateKeyFile: ..}";
        root.missing("listen", example, report);
    }
    let mut section = root.section("listen", report)?;
    let file = |node: &Node| value::path(node, base);
    let address = section.required("address", "\"0.0.0.0:6443\"", value::socket_address, report);
    let cert = section.required("tlsCertFile", "apiserver.crt", file, report);
    let key = section.required("tlsPrivateKeyFile", "apiserver.key", file, report);
    section.finish(report);
    Some((address?, cert?, key?))
}

fn read_cluster_info(
    root: &mut Section<'_>,
    base: &Path,
    report: &mut Report,
) -> Option<ClusterInfo> {
    let mut section = root.section("clusterInfo", report)?;
    let file = |node: &Node| value::path(node, base);
    let server = section.required("server", "https://10.0.0.1:6443", value::text, report);
    let ca = section.required("caFile", "ca.crt", file, report);
    section.finish(report);
    Some(ClusterInfo {
        server: server?,
        ca_file: ca?,
    })
}

fn read_authentication(root: &mut Section<'_>, base: &Path, report: &mut Report) -> Authentication {
    let at = root.at();
    let mut read = Authentication::default();
    let mut clean = true;
    if let Some(mut section) = root.section("authentication", report) {
        let before = report.error_count();
        let file = |node: &Node| value::path(node, base);
        read.client_ca_file = section.optional("clientCAFile", file, report);
        read.tokens = read_settings(&mut section, base, report);
        section.finish(report);
        clean = report.error_count() == before;
    }
    if clean && read == Authentication::default() {
        let problem = Problem::new(
            "names nobody whom to believe: every request would be refused",
            "add `authentication: {clientCAFile: ca.crt, bootstrapTokenDir: tokens}`",
        );
        report.error("authentication", at, problem);
    }
    read
}

fn read_roles(root: &mut Section<'_>, report: &mut Report) -> Vec<Binding> {
    let mut roles = Vec::new();
    for mut section in root.sections("roles", bounds::RULES, report) {
        let group = section.required("group", "\"platform:approvers\"", value::text, report);
        let role = |node: &Node| value::word(node, &ROLES);
        let role = section.required("role", "approver", role, report);
        let signers = section.list("signers", bounds::RULE_ENTRIES, value::text, report);
        let unbound = matches!(role, Some(Role::Admin | Role::Viewer | Role::Reviewer));
        if unbound && section.has("signers") {
            let problem = Problem::new(
                "has no effect: this role is for all signers",
                "leave it out, or use the role approver, signer or requester",
            );
            let at = section.place_of("signers");
            report.error(&section.path_of("signers"), at, problem);
        }
        if role.is_some() && !unbound && section.is_blank("signers") {
            section.missing("signers", "[kubernetes.io/kubelet-serving]", report);
        }
        section.finish(report);
        if let (Some(group), Some(role)) = (group, role) {
            roles.push(Binding {
                group,
                role,
                signers,
            });
        }
    }
    roles
}

fn read_store(root: &mut Section<'_>, base: &Path, report: &mut Report) -> Option<PathBuf> {
    if !root.has("store") {
        root.missing("store", "{path: /var/lib/eyesplice/authority.redb}", report);
    }
    let mut section = root.section("store", report)?;
    let file = |node: &Node| value::path(node, base);
    let path = section.required("path", "/var/lib/eyesplice/authority.redb", file, report);
    section.finish(report);
    path
}

pub(super) fn read_signers(
    root: &mut Section<'_>,
    base: &Path,
    report: &mut Report,
) -> Vec<SignerSettings> {
    if root.is_blank("signers") {
        let example = "[{signerName: kubernetes.io/kubelet-serving, certFile: .., keyFile: ..}]";
        root.missing("signers", example, report);
    }
    let mut signers: Vec<SignerSettings> = Vec::new();
    for mut section in root.sections("signers", SIGNERS.len(), report) {
        let known = SIGNERS.map(|signer| (signer.name(), signer));
        let signer = |node: &Node| value::word(node, &known);
        let example = Signer::KubeletServing.name();
        let signer = section.required("signerName", example, signer, report);
        let file = |node: &Node| value::path(node, base);
        let cert = section.required("certFile", "ca.crt", file, report);
        let key = section.required("keyFile", "ca.key", file, report);
        let duration = |node: &Node| value::duration(node, &bounds::SIGNING);
        let duration = section.optional("duration", duration, report);
        if let Some(signer) = signer
            && signers.iter().any(|other| other.signer == signer)
        {
            let problem = Problem::new(
                format!("{signer} is configured twice"),
                "remove one of them",
            );
            let at = section.place_of("signerName");
            report.error(&section.path_of("signerName"), at, problem);
        }
        section.finish(report);
        if let (Some(signer), Some(cert_file), Some(key_file)) = (signer, cert, key) {
            signers.push(SignerSettings {
                signer,
                cert_file,
                key_file,
                duration: duration.unwrap_or(DEFAULT_DURATION),
            });
        }
    }
    signers
}

pub(super) fn read_approval(
    root: &mut Section<'_>,
    base: &Path,
    report: &mut Report,
) -> ApprovalSettings {
    let Some(mut section) = root.section("approval", report) else {
        return ApprovalSettings::default();
    };
    let file = |node: &Node| value::path(node, base);
    let inventory_file = section.optional("inventoryFile", file, report);
    let nodes = |node: &Node| value::word(node, &BOOTSTRAP_NODES);
    let bootstrap_nodes = section
        .optional("bootstrapNodes", nodes, report)
        .unwrap_or_default();
    if bootstrap_nodes == BootstrapNodes::Inventory && !section.has("inventoryFile") {
        section.missing("inventoryFile", "inventory.yaml", report);
    }
    let gateways = read_gateways(&mut section, report);
    let dns = read_dns(&mut section, report);
    let probe = read_probe(&mut section, report);
    section.finish(report);
    ApprovalSettings {
        inventory_file,
        bootstrap_nodes,
        gateways,
        dns,
        probe,
    }
}

fn read_dns(section: &mut Section<'_>, report: &mut Report) -> DnsUse {
    let word = |node: &Node| value::word(node, &DNS);
    let dns = section.optional("dns", word, report).unwrap_or_default();
    if dns == DnsUse::Allow {
        // What a node says of itself is no inventory: it could claim whatever a name resolves to.
        if !section.has("inventoryFile") {
            section.missing("inventoryFile", "inventory.yaml", report);
        }
        let problem = Problem::new(
            "lets names in that the inventory does not list: whoever can forge an answer of DNS can \
             have a node's certificate name anything",
            "list the names in the inventory and use `dns: require`, or have the names resolved over a \
             network that you trust",
        );
        let at = section.place_of("dns");
        report.warn(&section.path_of("dns"), at, problem);
    }
    dns
}

fn read_probe(section: &mut Section<'_>, report: &mut Report) -> Option<ProbeSettings> {
    let mut probe = section.section("probe", report)?;
    let default = ProbeSettings::default();
    let port = |node: &Node| value::integer::<u16>(node, &bounds::PORT);
    let port = probe.optional("port", port, report);
    let wait = |node: &Node| value::duration(node, &bounds::PROBE);
    let timeout = probe.optional("timeout", wait, report);
    probe.finish(report);
    Some(ProbeSettings {
        port: port.unwrap_or(default.port),
        timeout: timeout.unwrap_or(default.timeout),
    })
}

fn read_gateways(section: &mut Section<'_>, report: &mut Report) -> Gateways {
    let mut gateways = Gateways::new();
    for mut gateway in section.sections("gateways", bounds::RULES, report) {
        let name = gateway.required("name", "gateway-1", value::name, report);
        let address = |node: &Node| value::host(node).map(|host| HostAddress::from(&host));
        let addresses = gateway.list("addresses", bounds::LISTENER_ENTRIES, address, report);
        if let Some(name) = name {
            let (path, at) = (gateway.path_of("name"), gateway.place_of("name"));
            let twice = format!("{name:?} is listed twice");
            if gateways
                .insert(name, addresses.into_iter().collect())
                .is_some()
            {
                report.error(&path, at, Problem::new(twice, "merge the two"));
            }
        }
        gateway.finish(report);
    }
    gateways
}

fn read_limits(root: &mut Section<'_>, report: &mut Report) -> AuthorityLimits {
    let default = AuthorityLimits::default();
    let Some(mut section) = root.section("limits", report) else {
        return default;
    };
    let count = |node: &Node| value::integer::<usize>(node, &bounds::CSRS);
    let max_csrs = section.optional("maxCSRs", count, report);
    let per_user = section.optional("maxCSRsPerUser", count, report);
    let rate = |node: &Node| value::integer::<u32>(node, &bounds::CSRS);
    let rate = section.optional("maxCreatesPerMinute", rate, report);
    section.finish(report);
    let max_csrs = max_csrs.unwrap_or(default.max_csrs);
    AuthorityLimits {
        max_csrs,
        max_csrs_per_user: per_user.unwrap_or(default.max_csrs_per_user.min(max_csrs)),
        max_creates_per_minute: rate.unwrap_or(default.max_creates_per_minute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: \"127.0.0.1:0\", tlsCertFile: s.crt, tlsPrivateKeyFile: s.key}
authentication: {clientCAFile: ca.crt}
store: {path: a.redb}
signers:
- {signerName: kubernetes.io/kubelet-serving, certFile: k.crt, keyFile: k.key, duration: 24h}
approval: {inventoryFile: inventory.yaml}
";

    fn parse(text: &str) -> Result<LoadedAuthority, ConfigErrors> {
        AuthorityConfig::parse(text, Path::new("/etc/e/authority.yaml"))
    }

    #[test]
    fn parse_smallest_configuration_fills_in_the_defaults() {
        let LoadedAuthority { config, warnings } = parse(GOOD).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.limits, AuthorityLimits::default());
        assert_eq!(config.store, Path::new("/etc/e/a.redb"));
        assert_eq!(config.signers[0].duration, Duration::from_secs(86_400));
        assert_eq!(config.approval.bootstrap_nodes, BootstrapNodes::Any);
        let files = config.files();
        for file in [
            "authority.yaml",
            "s.crt",
            "s.key",
            "ca.crt",
            "k.crt",
            "k.key",
            "inventory.yaml",
        ] {
            assert!(files.contains(&Path::new("/etc/e").join(file)), "{file}");
        }
        assert_eq!(files.len(), 7);
    }

    #[test]
    fn parse_example_is_valid() {
        let text = include_str!("../../examples/authority.yaml");
        let LoadedAuthority { config, warnings } = parse(text).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.signers.len(), 6);
        assert_eq!(config.roles.len(), 2);
        let tokens = &config.authentication.tokens;
        assert!(tokens.bootstrap_token_dir.is_some() && tokens.service_accounts.is_some());
    }

    #[test]
    fn parse_names_every_mistake_at_once() {
        let text = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: here}
roles:
- {group: a, role: king}
- {group: b, role: approver}
- {group: c, role: viewer, signers: [x]}
signers:
- {signerName: example.com/mine, certFile: a, keyFile: b}
approval: {bootstrapNodes: inventory}
limits: {maxCSRs: 0}
colour: red
";
        let errors = parse(text).unwrap_err().to_string();
        for expected in [
            "listen.address (line 3",
            "listen.tlsCertFile (line 3",
            "roles[0].role (line 5, column 20): \"king\" is not a known value",
            "roles[1].signers (line 6",
            "roles[2].signers (line 7",
            "signers[0].signerName (line 9",
            "approval.inventoryFile (line 10",
            "limits.maxCSRs (line 11",
            "colour (line 12",
            "authentication (line 1",
            "store (line 1",
        ] {
            assert!(errors.contains(expected), "{expected}: {errors}");
        }
    }

    #[test]
    fn parse_serving_signer_without_inventory_warns() {
        let text = GOOD.replace("approval: {inventoryFile: inventory.yaml}\n", "");
        let warnings = parse(&text).unwrap().warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].to_string().contains("waits for a person"));
    }

    #[test]
    fn parse_checks_of_serving_certificates() {
        let with = |checks: &str| {
            let listed = "inventoryFile: inventory.yaml";
            parse(&GOOD.replace(listed, &format!("{listed}, {checks}")))
        };
        let plain = parse(GOOD).unwrap().config.approval;
        assert_eq!((plain.dns, plain.probe), (DnsUse::Ignore, None));
        let LoadedAuthority { config, warnings } = with("dns: require, probe: {}").unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.approval.dns, DnsUse::Require);
        assert_eq!(config.approval.probe, Some(ProbeSettings::default()));
        let set = with("probe: {port: 10251, timeout: 500ms}").unwrap().config;
        let probe = set.approval.probe.unwrap();
        assert_eq!((probe.port, probe.timeout.as_millis()), (10_251, 500));
        let warnings = with("dns: allow").unwrap().warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].to_string().contains("forge an answer of DNS"));
        for wrong in ["dns: true", "probe: {port: 0}", "probe: {timeout: 1h}"] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        let alone = GOOD.replace("inventoryFile: inventory.yaml", "dns: allow");
        let errors = parse(&alone).unwrap_err().to_string();
        assert!(errors.contains("approval.inventoryFile"), "{errors}");
    }

    #[test]
    fn restart_required_names_what_a_running_process_keeps() {
        let old = parse(GOOD).unwrap().config;
        let new = parse(&GOOD.replace("a.redb", "b.redb").replace("24h", "1h"))
            .unwrap()
            .config;
        assert_eq!(old.restart_required(&new), ["store.path"]);
    }
}
