//! What the process counts and shows at `/metrics`, in the text format or as OpenMetrics;
//! `docs/metrics.md` lists it.
//!
//! Names begin with `eyesplice_`; those of the process itself are the conventional `process_*`.
//! Labels are bounded: listener, mode, action, reason, side, and words from this source. Nodes, pods
//! and users are in the audit log, never here.

mod authority;
mod break_glass;
mod cluster;
mod config;
mod engine;
mod enrolment;
mod family;
mod form;
mod front;
mod generations;
mod membership;
mod output;
mod process;
mod server;
mod streams;
mod table;
mod takeover;
mod tunnels;

pub use authority::AuthorityMetrics;
pub use break_glass::{BreakGlass, BreakGlassAnswer, BreakGlassReport};
pub use cluster::ClusterMetrics;
pub use config::ConfigMetrics;
pub use engine::EngineMetrics;
pub use enrolment::EnrolmentMetrics;
pub use form::Form;
pub use front::{EventSink, FrontReport, Fronts};
pub use generations::Generations;
pub use membership::MembershipMetrics;
pub use output::OutputMetrics;
pub use server::ServerMetrics;
pub use streams::StreamMetrics;
pub use table::{Row, Table};
pub use takeover::TakeoverMetrics;
pub use tunnels::{TunnelReport, Tunnels};

use crate::BUILD;
use crate::log;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// Everything that the process counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Streams that ended.
    pub streams: StreamMetrics,
    /// Audit lines.
    pub audit: Arc<OutputMetrics>,
    /// The authority's decisions and signatures.
    pub authority: AuthorityMetrics,
    /// What the gateway asks of an authority.
    pub enrolment: EnrolmentMetrics,
    /// How it keeps up with other gateways by Leases.
    pub membership: MembershipMetrics,
    /// How it stands with the API server of a cluster.
    pub cluster: Arc<ClusterMetrics>,
    /// Connections of the admin endpoint and the authority.
    pub servers: ServerMetrics,
    /// Listening sockets that pass from one process to the next.
    pub takeovers: TakeoverMetrics,
    /// Configuration and reloads.
    pub config: ConfigMetrics,
    /// The same of an authority inside of a gateway; in an authority's own process both are one.
    pub authority_config: ConfigMetrics,
    /// The workers' live counters.
    pub engine: Arc<EngineMetrics>,
    /// Live streams by configuration generation.
    pub generations: Arc<Generations>,
    /// When each loaded certificate expires; labels `name`, `file`.
    pub certificates: Arc<Table>,
    /// What the kernel can do, 0 or 1; labels `capability`, `required`.
    pub probe: Arc<Table>,
    /// Which parts of the sandbox are on, 0 or 1; label `part`.
    pub sandbox: Arc<Table>,
    /// How bytes are moved; one row, value 1.
    pub strategy: Arc<Table>,
    /// Whether each API server is used; label `server`.
    pub api_servers: Arc<Table>,
    /// What fronts refuse and record.
    pub front: Arc<Fronts>,
    /// What answers about break-glass.
    pub break_glass: BreakGlass,
    /// How the tunnels are.
    pub tunnels: Arc<Tunnels>,
    /// Limits as configured and as in force; labels `limit`, `state`.
    pub limits: Arc<Table>,
}

impl Metrics {
    /// Registers every metric, all at zero.
    pub fn new() -> Arc<Self> {
        Self::of(false)
    }

    /// The same for the process of an authority, whose configuration has an authority's name as
    /// well, and which shows nothing of streams.
    pub fn of_authority() -> Arc<Self> {
        Self::of(true)
    }

    fn of(authority_process: bool) -> Arc<Self> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process::new()));
        let own = registry.sub_registry_with_prefix("eyesplice");
        own.register("build", "Version of this binary", build());
        // What a process does not have is counted and never shown.
        let mut unseen = Registry::default();
        let carrying = if authority_process {
            &mut unseen
        } else {
            &mut *own
        };
        let streams = StreamMetrics::register(carrying);
        let enrolment = EnrolmentMetrics::register(carrying);
        let membership = MembershipMetrics::register(carrying);
        let engine = Arc::new(EngineMetrics::default());
        carrying.register_collector(Box::new(Arc::clone(&engine)));
        let audit = Arc::new(OutputMetrics::default());
        let log = Arc::new(OutputMetrics::default());
        if let Some(output) = log::output() {
            log.attach(output);
        }
        for (part, output) in [("audit", &audit), ("log", &log)] {
            own.register_collector(Box::new(output::Shown(part, Arc::clone(output))));
        }
        let authority = AuthorityMetrics::register(own);
        let cluster = Arc::new(ClusterMetrics::register(own));
        let servers = ServerMetrics::register(own);
        let takeovers = TakeoverMetrics::register(own);
        let config = ConfigMetrics::register(own);
        let authority_config = if authority_process {
            config.register_as_authority(own)
        } else {
            ConfigMetrics::register_embedded(own)
        };
        let generations = Arc::new(Generations::default());
        own.register_collector(Box::new(Arc::clone(&generations)));
        let certificates = Table::register(
            own,
            "certificate_expiry_timestamp_seconds",
            "When a loaded certificate expires, in seconds since 1970",
        );
        let probe = Table::register(
            own,
            "probe",
            "Whether the kernel and sandbox have a capability",
        );
        let sandbox = Table::register(own, "sandbox", "Whether a part of the sandbox is on");
        let strategy = Table::register(
            own,
            "strategy_info",
            "How bytes are moved, as decided at the start",
        );
        let limits = Table::register(
            own,
            "limit",
            "Limits: as configured, and in force, where the limit of open files has room for less",
        );
        let api_servers = Table::register(
            own,
            "apiserver_up",
            "Whether requests go to an API server, or it is left alone until it is well again",
        );
        let front = Arc::new(Fronts::default());
        own.register_collector(Box::new(front::Shown(Arc::clone(&front))));
        let tunnels = Arc::new(Tunnels::default());
        own.register_collector(Box::new(Arc::clone(&tunnels)));
        Arc::new(Self {
            registry,
            streams,
            audit,
            authority,
            enrolment,
            membership,
            cluster,
            servers,
            takeovers,
            config,
            authority_config,
            engine,
            generations,
            certificates,
            probe,
            sandbox,
            strategy,
            limits,
            api_servers,
            front,
            break_glass: BreakGlass::default(),
            tunnels,
        })
    }

    /// Writes every metric that has a sample.
    ///
    /// # Errors
    /// A collector that failed; none of ours does.
    pub fn write(&self, form: Form) -> Result<String, fmt::Error> {
        form.write(&self.encode()?)
    }

    /// Writes every metric that has a sample as OpenMetrics, ended by `# EOF`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn render(&self) -> Result<String, fmt::Error> {
        self.write(Form::OpenMetrics)
    }

    /// Writes every family, with samples or without.
    fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 << 10);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn build() -> Info<[(&'static str, &'static str); 3]> {
    Info::new([
        ("version", BUILD.version),
        ("commit", BUILD.commit),
        ("architecture", BUILD.architecture),
    ])
}

#[cfg(test)]
mod tests;
