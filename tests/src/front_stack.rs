//! A gateway for clients of the Kubernetes API, with its real control, in the test's process.

use crate::cluster::{Client, Cluster};
use crate::gateway::Running;
use crate::pki::{Identity, Leaf, pki, replace};
use crate::variant::ktls_policy;
use crate::wait::PATIENCE;
use crate::world::OURSELVES;
use eyesplice::admit::{Gatekeeper, Publication};
use eyesplice::config::{Config, Document};
use eyesplice::material::Material;
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{Control, StreamRecord};
use eyesplice_process::metrics::{BreakGlassAnswer, BreakGlassReport, Metrics};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Runtime;

/// What stands in the configuration beside files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `apiservers.servers`.
    pub servers: Vec<String>,
    /// Other fields of `apiservers`, a comma in front of each.
    pub apiservers: &'static str,
    /// Users may have certificates.
    pub certificates: bool,
    /// Other fields of the listener for nodes, a comma in front of each.
    pub nodes: &'static str,
    /// Fields of `front` for the short way; then there is all that it needs.
    pub short_way: Option<&'static str>,
    /// Other files beside the configuration: names and texts.
    pub files: Vec<(&'static str, String)>,
}

impl Settings {
    /// Of these servers, and users with certificates.
    pub fn of(servers: &[&crate::cluster::Server]) -> Self {
        Self {
            servers: servers.iter().map(|server| server.url()).collect(),
            apiservers: ", balance: roundRobin",
            certificates: true,
            nodes: "",
            short_way: None,
            files: Vec::new(),
        }
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Front {
    running: Running,
    gatekeeper: Arc<Gatekeeper>,
    metrics: Arc<Metrics>,
    /// Outlives the engine, whose questions it answers.
    runtime: Runtime,
}

/// The listener for clients.
pub const KUBECTL: &str = "kubectl";

/// The listener for kubelets and pods.
pub const NODES: &str = "nodes";

const CONFIG: &str = "gateway.yaml";

/// Kubelets on loopback, validated.
const KUBELETS: &str = "\
kubelet: {caFile: kubelets.crt, clientCertFile: kubelet.crt, clientKeyFile: kubelet.key, \
apiserverClientCAFile: clients.crt}
egress: {rules: [{name: kubelets, cidrs: [127.0.0.0/8], action: splice}], \
insecureAllowTargets: [127.0.0.0/8]}
";

/// Records that may wait.
const RECORDS: usize = 1024;

impl Front {
    /// Writes files and configuration, and starts.
    pub fn start(cluster: &Cluster, settings: &Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(CONFIG);
        write(&file, cluster, settings);
        let (config, material) = load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let mut engine = config.engine_config(2);
        engine.user_timeout = PATIENCE;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let gatekeeper = Gatekeeper::new(config, material, runtime.handle().clone());
        let gatekeeper = Arc::new(gatekeeper);
        runtime.spawn(Arc::clone(&gatekeeper).send_events());
        let control: Arc<dyn Control> = Arc::clone(&gatekeeper) as _;
        let snapshots = gatekeeper.snapshot_cell();
        Self {
            running: Running::of(engine, control, snapshots, directory, RECORDS),
            gatekeeper,
            metrics: Metrics::new(),
            runtime,
        }
    }

    /// Begins to look at API servers.
    pub fn watch(&self) {
        let shown = Arc::clone(&self.metrics.api_servers);
        let watch = Arc::clone(&self.gatekeeper).watch_api_servers(shown);
        self.runtime.spawn(watch);
    }

    /// Begins to look from the second place, and to keep up what break-glass needs.
    pub fn keep_break_glass(&self) {
        let gatekeeper = || Arc::clone(&self.gatekeeper);
        self.runtime.spawn(gatekeeper().watch_from_vantage());
        self.runtime.spawn(gatekeeper().keep_break_glass());
    }

    /// What the admin endpoint says of break-glass, or answers to a drill's question.
    pub fn break_glass(&self, drill: Option<&str>) -> Value {
        match self.gatekeeper.break_glass(drill) {
            BreakGlassAnswer::Known(json) => serde_json::from_str(&json).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// What metrics show of break-glass.
    pub fn break_glass_metrics(&self) -> BreakGlassReport {
        self.gatekeeper.front_report().break_glass.unwrap()
    }

    /// Whether the metrics say of a server that it is used; none: they do not name it.
    pub fn shows_up(&self, server: SocketAddr) -> Option<bool> {
        let text = self.metrics.render().unwrap();
        let start = format!("eyesplice_apiserver_up{{server=\"{server}\"}} ");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&*start));
        lines.next().map(|value| value == "1")
    }

    /// Writes everything again and loads it, as SIGHUP does.
    ///
    /// # Errors
    /// What is wrong with the files, in words; the last good state stays in force.
    pub fn reload(&self, cluster: &Cluster, settings: &Settings) -> Result<Publication, String> {
        let file = self.file(CONFIG);
        write(&file, cluster, settings);
        let (config, material) = load(&file)?;
        Ok(self.gatekeeper.publish(config, material))
    }

    /// A file beside the configuration.
    pub fn file(&self, name: &str) -> PathBuf {
        self.running.directory().join(name)
    }

    /// Where a listener is.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.running.address_of(listener)
    }

    /// A client, with a certificate or without one.
    pub fn client(&self, cluster: &Cluster, identity: Option<&Identity>) -> Client {
        Client::connect(cluster, self.address(KUBECTL), identity)
    }

    /// The running engine.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The next record of an ended stream or request.
    pub fn ended(&self) -> StreamRecord {
        self.running.ended()
    }
}

fn load(file: &Path) -> Result<(Config, Material), String> {
    let loaded = Config::load(file).map_err(|errors| errors.to_string())?;
    let material =
        Material::load(&loaded.config, SystemTime::now()).map_err(|errors| errors.to_string())?;
    Ok((loaded.config, material))
}

fn write(file: &Path, cluster: &Cluster, settings: &Settings) {
    let at = |name: &str| file.with_file_name(name);
    cluster.users.write(&at("users.crt"), None);
    cluster.servers.write(&at("servers.crt"), None);
    cluster.front.write(&at("front.crt"), &at("front.key"));
    cluster.proxy.write(&at("proxy.crt"), &at("proxy.key"));
    for (name, text) in &settings.files {
        replace(&at(name), text);
    }
    if settings.short_way.is_some() {
        let own = cluster.users.issue(&Leaf::client(OURSELVES));
        own.write(&at("own.crt"), &at("own.key"));
        pki().kubelets.write(&at("kubelets.crt"), None);
        pki().clients.write(&at("clients.crt"), None);
        pki().gateway.write(&at("kubelet.crt"), &at("kubelet.key"));
    }
    replace(file, &config(settings));
}

fn config(settings: &Settings) -> String {
    let ktls = match ktls_policy() {
        KtlsPolicy::Off => "'off'",
        KtlsPolicy::Auto => "auto",
        KtlsPolicy::Require => "require",
    };
    let Settings {
        servers,
        apiservers,
        certificates,
        nodes,
        short_way,
        ..
    } = settings;
    let (users, mut front) = match certificates {
        true => (
            ", clientCAFile: users.crt",
            vec![
                "frontProxyClientCertFile: proxy.crt",
                "frontProxyClientKeyFile: proxy.key",
            ],
        ),
        false => ("", Vec::new()),
    };
    front.extend(short_way);
    let front = match front.is_empty() {
        true => String::new(),
        false => format!("front: {{{}}}\n", front.join(", ")),
    };
    let (own, kubelets) = match short_way {
        None => ("", ""),
        Some(_) => (
            ", clientCertFile: own.crt, clientKeyFile: own.key",
            KUBELETS,
        ),
    };
    format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\nlisteners:\n\
         - name: {KUBECTL}\n  front: {{address: '127.0.0.1:0', tlsCertFile: front.crt, \
         tlsPrivateKeyFile: front.key{users}}}\n\
         - name: {NODES}\n  apiserver: {{address: '127.0.0.1:0'{nodes}}}\n\
         apiservers: {{servers: {servers:?}, caFile: servers.crt{own}{apiservers}}}\n\
         {front}{kubelets}\
         timeouts: {{handshake: 1m, requestHead: 1m, dial: 1m, verdict: 1m}}\n\
         limits: {{maxHandshakesPerSecond: 1000000}}\n\
         engine: {{workers: 2, ktls: {ktls}}}\n"
    )
}
