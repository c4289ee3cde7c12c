//! The gateway's configuration file: YAML in, a validated [`Config`] out, or every mistake at once.
//!
//! A file is read in two layers. `tree` and `section` know YAML, places and unknown fields; the
//! section readers know what each field means and fill in defaults. [`Config`] is the result:
//! typed, complete, and read by nobody else again. `docs/config.md` is the reference for operators.

mod actions;
mod agent;
mod apiservers;
mod bounds;
mod break_glass;
mod cross;
mod egress;
mod engine;
mod files;
mod front;
mod front_audit;
mod identity;
mod kube_api;
mod kubelet;
mod leases;
mod listeners;
mod model;
mod peers;
mod process;
mod proxy;
mod reach;
mod restart;
mod serving;
mod shadow;
mod short_way;
mod tunnel;
pub(crate) mod unseen;
mod value;

pub use agent::{
    AgentConfig, AgentIdentity, Allow, Gateways, Here, PodIdentity, ProxyOut, ProxyScheme,
};
pub use engine::EngineParts;
pub use eyesplice_identity::document::Document;
pub use kube_api::{
    AddressType, Admission, ApiServerTransport, ApiServers, Balance, BreakGlassRule,
    BreakGlassSettings, FrontAudit, FrontLimits, FrontSettings, FrontTransport, ShortWay,
    UserHeaders, VantageSettings,
};
pub use leases::Leases;
pub use model::{
    AgentSpec, Audit, AuditSink, Config, Egress, EgressCa, EngineSettings, Identity, InnerTls,
    Kubelet, LeafSigner, Limits, Listener, OnFailure, PortRange, ProxySpec, ProxyTlsFiles, Rule,
    RuleAction, ServerNames, TcpTransport, Timeouts, TlsSettings, Transport, Tunnel, UnixTransport,
    Upstream, Verification, Via,
};
pub use peers::{Peers, PeersTls};
pub(crate) use shadow::is_below;

use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_identity::document::{Section, groups};
use eyesplice_process::admin::AdminSettings;
use std::path::Path;

impl Document for Config {
    const KIND: &'static str = "GatewayConfig";

    fn read(root: &mut Section<'_>, file: &Path) -> Option<Self> {
        let identity = identity::read(root);
        let who = identity.as_ref();
        let authority = identity::read_authority(root);
        let (listeners, of_egress) = listeners::read(root, who);
        let tunnel = tunnel::read(root);
        let apiservers = apiservers::read(root);
        let front = front::read(root);
        let egress = egress::read(root, of_egress);
        let egress_ca = kubelet::read_egress_ca(root);
        let kubelet = kubelet::read_kubelet(root, who);
        let limits = process::read_limits(root);
        let timeouts = process::read_timeouts(root);
        let tls = TlsSettings {
            groups: groups::read(root),
        };
        let engine = process::read_engine(root, IoPolicy::default());
        let admin = AdminSettings::read(root);
        let audit = process::read_audit(root, true);
        let config = egress.map(|egress| Self {
            file: file.to_owned(),
            identity,
            authority,
            listeners,
            tunnel,
            apiservers,
            front,
            egress,
            egress_ca,
            kubelet,
            limits,
            timeouts,
            tls,
            engine,
            admin,
            audit,
        });
        if let Some(config) = &config {
            cross::check(config, root);
        }
        config
    }
}

#[cfg(test)]
mod tests;
