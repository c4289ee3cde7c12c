//! Checks what no section can see alone.

use super::apiservers;
use super::break_glass;
use super::model::{Config, LeafSigner, RuleAction};
use super::short_way;
use super::tunnel;
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_identity::document::{At, Problem, Report, Section};

/// Checks relations between sections. Parts with errors are missing from `config`; whether they
/// are in the file at all, `root` knows.
pub(super) fn check(config: &Config, root: &Section<'_>) {
    check_identities(config, root);
    check_ports(config, root.report());
    check_ktls(config, root.report());
    tunnel::check(config, root);
    apiservers::check(config, root);
    short_way::check(config, root);
    break_glass::check(config, root);
}

fn check_identities(config: &Config, root: &Section<'_>) {
    let report = root.report();
    let rule = |wanted: fn(&RuleAction) -> bool| {
        config
            .egress
            .rules
            .iter()
            .find(|rule| wanted(&rule.action))
            .map(|rule| &rule.name)
    };
    let kubelet = rule(|action| matches!(action, RuleAction::TerminateKubelet));
    let opaque = rule(|action| matches!(action, RuleAction::TerminateOpaque(_)));
    match (kubelet, root.has("kubelet")) {
        (Some(name), false) => {
            let what = format!("is required by rule {name:?}, which terminates kubelets");
            let fix = "add `kubelet: {caFile: .., clientCertFile: .., clientKeyFile: .., \
                       apiserverClientCAFile: ..}`";
            report.error("kubelet", At::default(), Problem::new(what, fix));
        }
        (None, true) if config.front.short_way.is_none() => {
            let what = "is not used: no rule has `action: terminate` with `protocol: kubelet`";
            let fix = "add such a rule for the kubelets' addresses and port 10250";
            report.warn("kubelet", At::default(), Problem::new(what, fix));
        }
        (Some(_), true) | (None, _) => {}
    }
    let asked = config.egress_ca.as_ref().map(|ca| &ca.signer);
    if let (Some(name), Some(LeafSigner::Authority { .. })) = (opaque, asked) {
        let what = format!(
            "signs for nodes of the inventory only; rule {name:?} terminates TLS of pods and services"
        );
        let fix = "use certFile and keyFile for them, or splice them";
        report.warn(
            "egressCA.fromAuthority",
            At::default(),
            Problem::new(what, fix),
        );
    }
    if let (Some(name), false) = (kubelet.or(opaque), root.has("egressCA")) {
        let what = format!("is required by rule {name:?}, which terminates TLS");
        let fix = "add `egressCA: {certFile: .., keyFile: ..}`; `eyesplice pki init` makes one";
        report.error("egressCA", At::default(), Problem::new(what, fix));
    }
}

fn check_ports(config: &Config, report: &Report) {
    let admin = config.admin.address;
    for (index, listener) in config.listeners.iter().enumerate() {
        if admin.port() != 0 && listener.transport.address() == Some(admin) {
            let what = format!("{admin} is the admin endpoint's address");
            let path = format!("listeners[{index}].{}.address", listener.transport.as_str());
            report.error(
                &path,
                At::default(),
                Problem::new(what, "choose another port"),
            );
        }
    }
}

fn check_ktls(config: &Config, report: &Report) {
    let tls = config
        .listeners
        .iter()
        .any(|listener| listener.transport.presented().is_some())
        || config
            .egress
            .rules
            .iter()
            .any(|rule| !matches!(rule.action, RuleAction::Deny | RuleAction::Splice));
    if config.engine.ktls == KtlsPolicy::Require && !tls {
        let what = "has no effect: nothing here speaks TLS";
        report.warn(
            "engine.ktls",
            At::default(),
            Problem::new(what, "leave it off"),
        );
    }
}
