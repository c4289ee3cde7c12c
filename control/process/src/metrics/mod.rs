//! What the process counts and shows at `/metrics`, in the OpenMetrics text format.
//!
//! Names begin with `eyesplice_`; those of the process itself are the conventional `process_*`.
//! Labels are bounded: listener, mode, action, reason, side, and words from this source. Nodes, pods
//! and users are in the audit log, never here.

mod authority;
mod certificates;
mod cluster;
mod config;
mod engine;
mod enrolment;
mod generations;
mod output;
mod process;
mod server;
mod streams;
mod table;

pub use authority::AuthorityMetrics;
pub use certificates::certificate_rows;
pub use certificates::seconds;
pub use cluster::ClusterMetrics;
pub use config::ConfigMetrics;
pub use engine::EngineMetrics;
pub use enrolment::EnrolmentMetrics;
pub use generations::Generations;
pub use output::OutputMetrics;
pub use server::ServerMetrics;
pub use streams::StreamMetrics;
pub use table::{Row, Table};

use crate::BUILD;
use crate::log;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    /// How it stands with the API server of a cluster.
    pub cluster: Arc<ClusterMetrics>,
    /// Connections of the admin endpoint and the authority.
    pub servers: ServerMetrics,
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
    /// How bytes are moved; one row, value 1.
    pub strategy: Arc<Table>,
    /// Limits as configured and as in force; labels `limit`, `state`.
    pub limits: Arc<Table>,
}

impl Metrics {
    /// Registers every metric, all at zero.
    pub fn new() -> Arc<Self> {
        Self::of(false)
    }

    /// The same for the process of an authority, whose configuration has an authority's name as well.
    pub fn of_authority() -> Arc<Self> {
        Self::of(true)
    }

    fn of(authority_process: bool) -> Arc<Self> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process::new()));
        let own = registry.sub_registry_with_prefix("eyesplice");
        own.register("build", "Version of this binary", build());
        let streams = StreamMetrics::register(own);
        let audit = Arc::new(OutputMetrics::default());
        let log = Arc::new(OutputMetrics::default());
        if let Some(output) = log::output() {
            log.attach(output);
        }
        for (part, output) in [("audit", &audit), ("log", &log)] {
            own.register_collector(Box::new(output::Shown(part, Arc::clone(output))));
        }
        let authority = AuthorityMetrics::register(own);
        let enrolment = EnrolmentMetrics::register(own);
        let cluster = Arc::new(ClusterMetrics::default());
        cluster.register(own);
        let servers = ServerMetrics::register(own);
        let config = ConfigMetrics::register(own);
        let authority_config = if authority_process {
            config.register_as_authority(own)
        } else {
            ConfigMetrics::register_embedded(own)
        };
        let engine = Arc::new(EngineMetrics::default());
        own.register_collector(Box::new(Arc::clone(&engine)));
        let generations = Arc::new(Generations::default());
        own.register_collector(Box::new(Arc::clone(&generations)));
        let mut table = |name, help| {
            let table = Arc::new(Table::new(name, help));
            own.register_collector(Box::new(Arc::clone(&table)));
            table
        };
        let certificates = table(
            "certificate_expiry_timestamp_seconds",
            "When a loaded certificate expires, in seconds since 1970",
        );
        let probe = table("probe", "Whether the kernel and sandbox have a capability");
        let strategy = table(
            "strategy_info",
            "How bytes are moved, as decided at the start",
        );
        let limits = table(
            "limit",
            "Limits: as configured, and in force, where the limit of open files has room for less",
        );
        Arc::new(Self {
            registry,
            streams,
            audit,
            authority,
            enrolment,
            cluster,
            servers,
            config,
            authority_config,
            engine,
            generations,
            certificates,
            probe,
            strategy,
            limits,
        })
    }

    /// Writes every metric, ended by `# EOF`.
    ///
    /// # Errors
    /// A collector that failed; none of ours does.
    pub fn render(&self) -> Result<String, fmt::Error> {
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
