//! Reads `front.audit`: where audit events of streams go that API servers do not see.

use super::kube_api::FrontAudit;
use super::model::AuditSink;
use eyesplice_identity::document::{Node, Report, Section, value};

/// Reads the section of `front`; without it nothing is recorded in that format.
pub(super) fn read(front: &mut Section<'_>, report: &mut Report) -> Option<FrontAudit> {
    let mut section = front.section("audit", report)?;
    if !front.has("shortWay") {
        let what = "has no effect without shortWay: API servers record what goes through them";
        front.error("audit", what, "add `shortWay: {}`, or remove it", report);
    }
    if !section.has("policyFile") {
        let what = "is required: it says what is recorded, and at which level";
        let fix = "name the API servers' own --audit-policy-file, or a copy";
        section.error("policyFile", what, fix, report);
    }
    let policy_file = section.file("policyFile", report);
    let base = section.base();
    let sink = |node: &Node| match value::text(node)?.as_str() {
        "-" => Ok(AuditSink::Stdout),
        _ => value::path(node, base).map(AuditSink::File),
    };
    let sink = section.optional("path", sink, report);
    let webhook = section.file("webhookKubeconfigFile", report);
    if !section.has("path") && !section.has("webhookKubeconfigFile") {
        let what = "leads nowhere";
        let fix = "add path, webhookKubeconfigFile, or both";
        section.error("", what, fix, report);
    }
    section.finish(report);
    Some(FrontAudit {
        policy_file: policy_file?,
        sink,
        webhook,
    })
}
