//! The authority's configuration: `kind: AuthorityConfig`.

use super::approval::{ApprovalSettings, read_approval};
use super::bounds;
use crate::{Binding, Role};
use eyesplice_identity::authn::{Settings, read_settings};
use eyesplice_identity::document;
use eyesplice_identity::document::{ConfigErrors, Finding, Node, Problem, Report, Section, value};
use eyesplice_identity::x509::{SIGNERS, Signer};
use eyesplice_process::admin::AdminSettings;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kind of document.
pub(super) const KIND: &str = "AuthorityConfig";

const ROLES: [(&str, Role); 8] = [
    ("admin", Role::Admin),
    ("approver", Role::Approver),
    ("signer", Role::Signer),
    ("requester", Role::Requester),
    ("viewer", Role::Viewer),
    ("reviewer", Role::Reviewer),
    ("node-bootstrapper", Role::Bootstrapper),
    ("gateway-bootstrapper", Role::GatewayBootstrapper),
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
    pub admin: AdminSettings,
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

/// Bounds of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorityLimits {
    /// CSRs that are kept, decided or not.
    pub max_csrs: usize,
    /// Of one user.
    pub max_csrs_per_user: usize,
    /// Of one bootstrap token, with the nodes that it brought and no inventory lists.
    pub max_csrs_per_token: usize,
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
            // Each node that it brings asks for a serving certificate, too.
            max_csrs_per_token: 2_000,
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

    /// Reads what can be read of a file.
    pub(crate) fn partly(file: &Path) -> Result<document::Partly<Self>, ConfigErrors> {
        document::parse_partly(file, KIND, |root, report| read(root, file, report))
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
    let admin = AdminSettings::read(root, report);
    let serving = signers
        .iter()
        .any(|each| each.signer == Signer::KubeletServing);
    if !approval.node_addresses.is_empty() {
        let problem = Problem::new(
            "is about the addresses of Node objects, of which there are none without a cluster",
            "list the nodes in approval.inventoryFile",
        );
        report.error("approval.nodeAddresses", root.at(), problem);
    }
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
        let unbound = matches!(
            role,
            Some(
                Role::Admin
                    | Role::Viewer
                    | Role::Reviewer
                    | Role::Bootstrapper
                    | Role::GatewayBootstrapper
            )
        );
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

fn read_limits(root: &mut Section<'_>, report: &mut Report) -> AuthorityLimits {
    let default = AuthorityLimits::default();
    let Some(mut section) = root.section("limits", report) else {
        return default;
    };
    let count = |node: &Node| value::integer::<usize>(node, &bounds::CSRS);
    let max_csrs = section.optional("maxCSRs", count, report);
    let per_user = section.optional("maxCSRsPerUser", count, report);
    let per_token = section.optional("maxCSRsPerToken", count, report);
    let rate = |node: &Node| value::integer::<u32>(node, &bounds::CSRS);
    let rate = section.optional("maxCreatesPerMinute", rate, report);
    section.finish(report);
    let max_csrs = max_csrs.unwrap_or(default.max_csrs);
    AuthorityLimits {
        max_csrs,
        max_csrs_per_user: per_user.unwrap_or(default.max_csrs_per_user.min(max_csrs)),
        // One of two tokens leaves the other its part.
        max_csrs_per_token: per_token
            .unwrap_or(default.max_csrs_per_token.min((max_csrs / 2).max(1))),
        max_creates_per_minute: rate.unwrap_or(default.max_creates_per_minute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbeSettings;
    use crate::{BootstrapNodes, DnsUse, NamePattern, OnRefusal};

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
        assert_eq!(config.approval.bootstrap_nodes, BootstrapNodes::Inventory);
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
        let text = include_str!("../../../examples/authority.yaml");
        let LoadedAuthority { config, warnings } = parse(text).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.signers.len(), 6);
        assert_eq!(config.roles.len(), 3);
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
    fn parse_who_may_join() {
        let with = |fields: &str| {
            let listed = "inventoryFile: inventory.yaml";
            parse(&GOOD.replace(listed, &format!("{listed}, {fields}")))
        };
        let any = with("bootstrapNodes: any, nodeNames: [\"w-*\"]")
            .unwrap()
            .config
            .approval;
        assert_eq!(any.bootstrap_nodes, BootstrapNodes::Any);
        assert_eq!(any.node_names, [NamePattern::new("w-*").unwrap()]);
        let set = with("window: 2h, maxPending: 5, onRefusal: leave")
            .unwrap()
            .config
            .approval;
        assert_eq!(set.window, Some(Duration::from_secs(7200)));
        assert_eq!(
            (set.max_pending, set.on_refusal),
            (Some(5), OnRefusal::Leave)
        );
        let plain = parse(GOOD).unwrap().config.approval;
        assert_eq!((plain.window, plain.max_pending), (None, None));
        assert_eq!(plain.on_refusal, OnRefusal::Deny);
        let without = parse(&GOOD.replace("approval: {inventoryFile: inventory.yaml}\n", ""));
        let without = without.unwrap().config.approval;
        assert_eq!(without.bootstrap_nodes, BootstrapNodes::Any);
        for (fields, words) in [
            ("nodeNames: [\"w-*\"]", "approval.nodeNames"),
            ("bootstrapNodes: any, nodeNames: [W]", "small letters"),
            ("nodeAddresses: [10.0.0.0/8]", "approval.nodeAddresses"),
            ("window: 1s", "approval.window"),
            ("maxPending: 0", "approval.maxPending"),
            ("onRefusal: drop", "approval.onRefusal"),
        ] {
            let told = with(fields).unwrap_err().to_string();
            assert!(told.contains(words), "{words}: {told}");
        }
        let alone = GOOD.replace("inventoryFile: inventory.yaml", "window: 2h");
        let told = parse(&alone).unwrap_err().to_string();
        assert!(told.contains("approval.inventoryFile"), "{told}");
        let limits = GOOD.to_owned() + "limits: {maxCSRs: 100}\n";
        let limits = parse(&limits).unwrap().config.limits;
        assert_eq!(
            (limits.max_csrs_per_user, limits.max_csrs_per_token),
            (100, 50)
        );
    }

    #[test]
    fn parse_roles_of_bootstrappers() {
        let roles = "roles:\n- {group: \"system:bootstrappers:rack-7\", role: node-bootstrapper}\n\
                     - {group: \"system:bootstrappers:gw\", role: gateway-bootstrapper}\n";
        let config = parse(&(GOOD.to_owned() + roles)).unwrap().config;
        let read: Vec<Role> = config.roles.iter().map(|binding| binding.role).collect();
        assert_eq!(read, [Role::Bootstrapper, Role::GatewayBootstrapper]);
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
