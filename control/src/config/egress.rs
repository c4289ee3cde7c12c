//! Reads `egress`: the target rules and the networks exempt from the built-in denials.

use super::bounds;
use super::model::{Egress, Rule, RuleAction, Upstream};
use super::shadow;
use eyesplice_identity::document::{Node, Problem, Report, Section, value};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Copy)]
enum ActionWord {
    Splice,
    Terminate,
    Originate,
    Deny,
}

const ACTIONS: [(&str, ActionWord); 4] = [
    ("splice", ActionWord::Splice),
    ("terminate", ActionWord::Terminate),
    ("originate", ActionWord::Originate),
    ("deny", ActionWord::Deny),
];

#[derive(Clone, Copy)]
enum Protocol {
    Kubelet,
    Opaque,
}

const PROTOCOLS: [(&str, Protocol); 2] =
    [("kubelet", Protocol::Kubelet), ("opaque", Protocol::Opaque)];

/// Reads the section; rules with errors are left out.
pub(super) fn read(root: &mut Section<'_>, base: &Path, report: &mut Report) -> Option<Egress> {
    if !root.has("egress") {
        root.missing("egress", "{rules: [..]}", report);
    }
    let mut section = root.section("egress", report)?;
    let sections = section.sections("rules", bounds::RULES, report);
    if section.is_blank("rules") {
        let problem = Problem::new(
            "has no rule, so every target is denied",
            "add one, like `- {name: kubelets, cidrs: [10.0.0.0/8], action: terminate}`",
        );
        report.error(
            &section.path_of("rules"),
            section.place_of("rules"),
            problem,
        );
    }
    let mut rules: Vec<Rule> = Vec::new();
    for rule_section in sections {
        let (path, at) = (rule_section.path().to_owned(), rule_section.at());
        let Some(rule) = rule(rule_section, base, report) else {
            continue;
        };
        if rules.iter().any(|other| other.name == rule.name) {
            let what = format!("another rule is named {:?} already", rule.name);
            report.error(
                &format!("{path}.name"),
                at,
                Problem::new(what, "choose another name"),
            );
        }
        if let Some(other) = rules.iter().find(|other| shadow::covers(other, &rule)) {
            let what = format!(
                "can never match: rule {:?} before it takes all of it",
                other.name
            );
            let fix = format!(
                "move it before {:?}, narrow that one, or delete this",
                other.name
            );
            report.error(&path, at, Problem::new(what, fix));
        }
        rules.push(rule);
    }
    let cidr = section.list(
        "insecureAllowTargets",
        bounds::RULE_ENTRIES,
        value::cidr,
        report,
    );
    if !cidr.is_empty() {
        let problem = Problem::new(
            "lifts the built-in denial of loopback, link-local and metadata addresses there",
            "leave it out unless this is a test cluster on one host",
        );
        let path = section.path_of("insecureAllowTargets");
        report.warn(&path, section.place_of("insecureAllowTargets"), problem);
    }
    section.finish(report);
    Some(Egress {
        rules,
        insecure_allow_targets: cidr,
    })
}

fn rule(mut section: Section<'_>, base: &Path, report: &mut Report) -> Option<Rule> {
    let errors = report.error_count();
    let name = section.required("name", "kubelets", value::name, report);
    let cidrs = section.list("cidrs", bounds::RULE_ENTRIES, value::cidr, report);
    let suffixes = section.list(
        "dnsSuffixes",
        bounds::RULE_ENTRIES,
        value::dns_suffix,
        report,
    );
    let ports = section.list("ports", bounds::RULE_ENTRIES, super::value::ports, report);
    if section.is_blank("cidrs") && section.is_blank("dnsSuffixes") {
        let problem = Problem::new(
            "says neither `cidrs` nor `dnsSuffixes`, so it would match every target",
            "if you mean that, write `cidrs: [\"0.0.0.0/0\", \"::/0\"]`",
        );
        report.error(section.path(), section.at(), problem);
    }
    let word = |node: &Node| value::word(node, &ACTIONS);
    let word = section.required("action", "splice", word, report);
    let action = word.and_then(|word| action(&mut section, word, base, report));
    if matches!(action, Some(RuleAction::Splice)) && cidrs.is_empty() && !suffixes.is_empty() {
        let problem = Problem::new(
            "whoever controls these names' zone chooses the addresses that are reached",
            "add `cidrs` for the addresses that they may resolve to",
        );
        report.warn(
            &section.path_of("dnsSuffixes"),
            section.place_of("dnsSuffixes"),
            problem,
        );
    }
    section.finish(report);
    // A list whose only entry is bad must not read as "any" in the checks between rules.
    if report.error_count() > errors {
        return None;
    }
    let name = Arc::from(name?);
    Some(Rule {
        name,
        cidrs,
        dns_suffixes: suffixes,
        ports,
        action: action?,
    })
}

/// Reads what belongs to a rule's action, and refuses what does not.
fn action(
    section: &mut Section<'_>,
    word: ActionWord,
    base: &Path,
    report: &mut Report,
) -> Option<RuleAction> {
    let protocol = section.optional("protocol", |node| value::word(node, &PROTOCOLS), report);
    if protocol.is_some() && !matches!(word, ActionWord::Terminate) {
        let problem = Problem::new("is only for `action: terminate`", "remove it");
        report.error(
            &section.path_of("protocol"),
            section.place_of("protocol"),
            problem,
        );
    }
    let opaque = matches!(protocol, Some(Protocol::Opaque));
    match word {
        ActionWord::Terminate if opaque => {
            upstream(section, base, true, report).map(RuleAction::TerminateOpaque)
        }
        ActionWord::Originate => upstream(section, base, false, report).map(RuleAction::Originate),
        ActionWord::Terminate | ActionWord::Splice | ActionWord::Deny => {
            if section.section("upstream", report).is_some() {
                let fix = match word {
                    ActionWord::Terminate => {
                        "remove it: kubelets are verified by the `kubelet` section"
                    }
                    _ => "remove it, or use `terminate` with `protocol: opaque`, or `originate`",
                };
                let problem = Problem::new("does not apply to this action", fix);
                report.error(
                    &section.path_of("upstream"),
                    section.place_of("upstream"),
                    problem,
                );
            }
            match word {
                ActionWord::Terminate => Some(RuleAction::TerminateKubelet),
                ActionWord::Splice => Some(RuleAction::Splice),
                _ => Some(RuleAction::Deny),
            }
        }
    }
}

fn upstream(
    section: &mut Section<'_>,
    base: &Path,
    opaque: bool,
    report: &mut Report,
) -> Option<Upstream> {
    if !section.has("upstream") {
        section.missing("upstream", "{caFile: ca.crt}", report);
        return None;
    }
    let mut section = section.section("upstream", report)?;
    let ca_file = section.optional("caFile", |node| value::path(node, base), report);
    let names = section.list("names", bounds::RULE_ENTRIES, value::host, report);
    let pins = section.list("spkiSHA256", bounds::RULE_ENTRIES, value::spki_hash, report);
    let server_name = section.optional("serverName", value::host, report);
    let entries = bounds::RULE_ENTRIES;
    let server_names = section.list("serverNames", entries, super::value::server_names, report);
    if !opaque && section.has("serverNames") {
        let problem = Problem::new(
            "needs a ClientHello, which only `terminate` with `protocol: opaque` reads",
            "remove it; `serverName` names the target",
        );
        let at = section.place_of("serverNames");
        report.error(&section.path_of("serverNames"), at, problem);
    }
    if !section.has("caFile") && section.is_blank("spkiSHA256") {
        let problem = Problem::new(
            "names nobody to trust",
            "add `caFile: ca.crt`, or `spkiSHA256: [..]` for a self-signed target",
        );
        report.error(section.path(), section.at(), problem);
    }
    if ca_file.is_none() && !names.is_empty() && !section.has("caFile") {
        let problem = Problem::new(
            "has no effect without `caFile`: a pinned key stands for itself",
            "add `caFile`, or remove the names",
        );
        report.warn(
            &section.path_of("names"),
            section.place_of("names"),
            problem,
        );
    }
    section.finish(report);
    Some(Upstream {
        ca_file,
        names: Arc::from(names),
        spki_sha256: Arc::from(pins),
        server_name,
        server_names: Arc::from(server_names),
    })
}
