//! The whole gateway in the test's process: configuration and files, as an operator writes them,
//! through control's own loading and deciding to the engine.

use crate::api_server::{ApiServer, Entry};
use crate::gateway::{LISTENER, Running, TUNNEL};
use crate::pki::{Identity, NODE, Pki, replace};
use crate::tls;
use crate::variant::{Transport, Variant, ktls_policy};
use crate::wait::PATIENCE;
use eyesplice::admit::{Gatekeeper, Publication};
use eyesplice::config::{Config, Document};
use eyesplice::material::Material;
use eyesplice_dataplane::counters::CounterTotals;
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{Control, StreamRecord};
use eyesplice_process::resolve::SystemLookup;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Runtime;

/// What stands in the configuration beside listeners and trust.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `egress.rules`, one flow mapping each.
    pub rules: Vec<String>,
    /// `egress.insecureAllowTargets`.
    pub allowed_targets: String,
    /// `kubelet.actions.rules`, one flow mapping each.
    pub actions: Vec<String>,
    /// `kubelet.verification`.
    pub verification: &'static str,
    /// `kubelet.warm`.
    pub warm: bool,
    /// `kubelet.pinsFile`'s list: node and hash.
    pub pins: Vec<(String, String)>,
    /// `tls.curvePreferences`, a flow sequence.
    pub curve_preferences: &'static str,
    /// `tunnel`, a flow mapping; there is a listener for agents then.
    pub tunnel: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: vec!["{name: kubelets, cidrs: [127.0.0.0/8], action: terminate}".into()],
            allowed_targets: "[127.0.0.0/8]".into(),
            actions: Vec::new(),
            verification: "enforce",
            warm: false,
            pins: Vec::new(),
            curve_preferences: "[]",
            tunnel: None,
        }
    }
}

/// A running gateway with its real control.
#[derive(Debug)]
pub struct Stack {
    running: Running,
    gatekeeper: Arc<Gatekeeper>,
    variant: Variant,
    /// Outlives the engine, whose questions it answers.
    _runtime: Runtime,
}

impl Stack {
    /// Writes files and configuration, and starts.
    pub fn start(variant: Variant, pki: &Pki, settings: &Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(CONFIG);
        write(&file, variant, pki, settings);
        let (config, material) = load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let mut engine = config.engine_config(2);
        engine.user_timeout = PATIENCE;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let lookup = Arc::new(SystemLookup);
        let gatekeeper = Arc::new(Gatekeeper::with_lookup(config, material, handle, lookup));
        let control: Arc<dyn Control> = Arc::clone(&gatekeeper) as _;
        let snapshots = gatekeeper.snapshot_cell();
        let running = Running::of(engine, control, snapshots, directory, RECORDS);
        Self {
            running,
            gatekeeper,
            variant,
            _runtime: runtime,
        }
    }

    /// Writes everything again and loads it, as SIGHUP does.
    ///
    /// # Errors
    /// What is wrong with the files, in words; the last good state stays in force.
    pub fn reload(&self, pki: &Pki, settings: &Settings) -> Result<Publication, String> {
        write(&self.config_file(), self.variant, pki, settings);
        self.reload_files()
    }

    /// Loads what the files hold now.
    ///
    /// # Errors
    /// What is wrong with the files, in words; the last good state stays in force.
    pub fn reload_files(&self) -> Result<Publication, String> {
        let (config, material) = load(&self.config_file())?;
        Ok(self.gatekeeper.publish(config, material))
    }

    fn config_file(&self) -> PathBuf {
        self.running.directory().join(CONFIG)
    }

    /// A file beside the configuration.
    pub fn file(&self, name: &str) -> PathBuf {
        self.running.directory().join(name)
    }

    /// An API server of these certificates.
    pub fn api_server(&self, pki: &Pki) -> ApiServer {
        self.api_server_as(pki, &pki.api_server)
    }

    /// An API server that presents another kubelet client certificate.
    pub fn api_server_as(&self, pki: &Pki, identity: &Identity) -> ApiServer {
        let version = self.variant.tls;
        let entry = match self.running.tcp_address() {
            None => Entry::Unix(self.running.socket()),
            Some(address) => {
                let config = tls::client(Some(&pki.api_server), &pki.listeners, version);
                Entry::Tcp(address, Arc::new(config))
            }
        };
        ApiServer::new(entry, tls::client(Some(identity), &pki.egress, version))
    }

    /// Where API servers and other gateways connect over TCP.
    pub fn address(&self) -> SocketAddr {
        self.running.address_of(LISTENER)
    }

    /// Where agents connect.
    pub fn tunnel_address(&self) -> SocketAddr {
        self.running.address_of(TUNNEL)
    }

    /// The running engine.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// The counters.
    pub fn totals(&self) -> CounterTotals {
        self.running.totals()
    }

    /// The next record of an ended stream or exchange.
    pub fn ended(&self) -> StreamRecord {
        self.running.ended()
    }

    /// Waits until every gauge is where it was before the first stream.
    pub fn assert_nothing_held(&self) {
        self.running.assert_nothing_held();
    }
}

const CONFIG: &str = "gateway.yaml";

/// Records that may wait.
const RECORDS: usize = 1024;

fn load(file: &std::path::Path) -> Result<(Config, Material), String> {
    let loaded = Config::load(file).map_err(|errors| errors.to_string())?;
    let material =
        Material::load(&loaded.config, SystemTime::now()).map_err(|errors| errors.to_string())?;
    Ok((loaded.config, material))
}

fn write(file: &std::path::Path, variant: Variant, pki: &Pki, settings: &Settings) {
    let at = |name: &str| file.with_file_name(name);
    pki.kubelets.write(&at("kubelet-ca.crt"), None);
    pki.clients.write(&at("client-ca.crt"), None);
    pki.egress
        .write(&at("egress-ca.crt"), Some(&at("egress-ca.key")));
    pki.gateway.write(&at("client.crt"), &at("client.key"));
    pki.listener.write(&at("listener.crt"), &at("listener.key"));
    pki.listeners.write(&at("listener-ca.crt"), None);
    let inventory = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- name: {NODE}\n  \
         addresses: [127.0.0.1]\n"
    );
    replace(&at("inventory.yaml"), &inventory);
    let mut pins = "apiVersion: eyesplice.dev/v1alpha1\nkind: KubeletPins\npins:\n".to_owned();
    for (node, hash) in &settings.pins {
        write!(pins, "- node: {node}\n  spkiSHA256: [\"{hash}\"]\n").unwrap();
    }
    if settings.pins.is_empty() {
        pins = pins.replace("pins:\n", "pins: []\n");
    }
    replace(&at("pins.yaml"), &pins);
    replace(file, &config(variant, settings));
}

fn config(variant: Variant, settings: &Settings) -> String {
    let listener = match variant.transport {
        Transport::Unix => "unix: {path: egress.sock, mode: '0600'}",
        Transport::Tcp => {
            "tcp: {address: '127.0.0.1:0', tlsCertFile: listener.crt, \
             tlsPrivateKeyFile: listener.key, clientCAFile: client-ca.crt}"
        }
    };
    let ktls = match ktls_policy() {
        KtlsPolicy::Off => "'off'",
        KtlsPolicy::Auto => "auto",
        KtlsPolicy::Require => "require",
    };
    let Settings {
        rules,
        allowed_targets,
        actions,
        verification,
        warm,
        pins,
        curve_preferences,
        tunnel,
    } = settings;
    let (agents, tunnel) = tunnel.as_ref().map_or_else(Default::default, |tunnel| {
        let listener = format!(
            "- name: {TUNNEL}\n  tunnel: {{address: '127.0.0.1:0', tlsCertFile: listener.crt, \
             tlsPrivateKeyFile: listener.key, clientCAFile: client-ca.crt}}\n"
        );
        (listener, format!("tunnel: {tunnel}\n"))
    });
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    let mut text = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\n\
         listeners:\n- name: {LISTENER}\n  {listener}\n{agents}{tunnel}\
         egress:\n  insecureAllowTargets: {allowed_targets}\n  rules:\n{rules}\
         egressCA: {{certFile: egress-ca.crt, keyFile: egress-ca.key}}\n\
         timeouts: {{handshake: 1m, requestHead: 1m, dial: 1m, verdict: 1m}}\n\
         limits: {{maxHandshakesPerSecond: 1000000}}\n\
         tls: {{curvePreferences: {curve_preferences}}}\n\
         engine: {{workers: 2, ktls: {ktls}}}\n\
         kubelet:\n  caFile: kubelet-ca.crt\n  clientCertFile: client.crt\n  \
         clientKeyFile: client.key\n  apiserverClientCAFile: client-ca.crt\n  \
         verification: {verification}\n  inventoryFile: inventory.yaml\n  \
         warm: {warm}\n"
    );
    if !pins.is_empty() {
        text.push_str("  pinsFile: pins.yaml\n");
    }
    if !actions.is_empty() {
        text.push_str("  actions:\n    rules:\n");
        text.extend(actions.iter().map(|rule| format!("    - {rule}\n")));
    }
    text
}
