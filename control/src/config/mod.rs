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
mod listeners;
mod model;
mod peers;
mod process;
mod proxy;
mod restart;
mod serving;
mod shadow;
mod short_way;
mod tunnel;
pub(crate) mod unseen;
mod value;

pub use agent::{AgentConfig, AgentIdentity, Allow, Gateways};
pub use engine::EngineParts;
pub use eyesplice_identity::document::Document;
pub use kube_api::{
    AddressType, Admission, ApiServerTransport, ApiServers, Balance, BreakGlassRule,
    BreakGlassSettings, FrontAudit, FrontLimits, FrontSettings, FrontTransport, ShortWay,
    UserHeaders, VantageSettings,
};
pub use model::{
    AgentSpec, Audit, AuditSink, Config, Egress, EgressCa, EngineSettings, Identity, Kubelet,
    LeafSigner, Limits, Listener, OnFailure, PortRange, ProxySpec, ProxyTlsFiles, Rule, RuleAction,
    ServerNames, TcpTransport, Timeouts, TlsSettings, Transport, Tunnel, UnixTransport, Upstream,
    Verification, Via,
};
pub use peers::{Peers, PeersTls};
pub(crate) use shadow::is_below;

use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_identity::document::{Report, Section, groups};
use eyesplice_process::admin::AdminSettings;
use std::path::Path;

impl Document for Config {
    const KIND: &'static str = "GatewayConfig";

    fn read(root: &mut Section<'_>, file: &Path, report: &mut Report) -> Option<Self> {
        let identity = identity::read(root, report);
        let who = identity.as_ref();
        let authority = identity::read_authority(root, report);
        let (listeners, of_egress) = listeners::read(root, who, report);
        let tunnel = tunnel::read(root, report);
        let apiservers = apiservers::read(root, report);
        let front = front::read(root, report);
        let egress = egress::read(root, of_egress, report);
        let egress_ca = kubelet::read_egress_ca(root, report);
        let kubelet = kubelet::read_kubelet(root, who, report);
        let limits = process::read_limits(root, report);
        let timeouts = process::read_timeouts(root, report);
        let tls = TlsSettings {
            groups: groups::read(root, report),
        };
        let engine = process::read_engine(root, IoPolicy::default(), report);
        let admin = AdminSettings::read(root, report);
        let audit = process::read_audit(root, true, report);
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
            cross::check(config, root, report);
        }
        config
    }
}

#[cfg(test)]
mod tests;
