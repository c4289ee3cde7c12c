//! Reads `front.audit`: where audit events of streams go that API servers do not see.

use super::kube_api::FrontAudit;
use super::process::read_sink;
use eyesplice_identity::document::Section;

/// Reads the section of `front`; without it nothing is recorded in that format.
pub(super) fn read(front: &mut Section<'_>) -> Option<FrontAudit> {
    let mut section = front.section("audit")?;
    if !front.has("shortWay") {
        let what = "has no effect without shortWay: API servers record what goes through them";
        front.error("audit", what, "add `shortWay: {}`, or remove it");
    }
    if !section.has("policyFile") {
        let what = "is required: it says what is recorded, and at which level";
        let fix = "name the API servers' own --audit-policy-file, or a copy";
        section.error("policyFile", what, fix);
    }
    let policy_file = section.file("policyFile");
    let sink = read_sink(&mut section);
    let webhook = section.file("webhookKubeconfigFile");
    if !section.has("path") && !section.has("webhookKubeconfigFile") {
        let what = "leads nowhere";
        let fix = "add path, webhookKubeconfigFile, or both";
        section.error("", what, fix);
    }
    Some(FrontAudit {
        policy_file: policy_file?,
        sink,
        webhook,
    })
}
