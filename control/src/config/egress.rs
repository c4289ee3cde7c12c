//! Reads `egress`: the target rules and the networks exempt from the built-in denials.

use super::bounds;
use super::model::{Egress, Rule, RuleAction, Upstream, Via};
use super::proxy;
use super::shadow;
use eyesplice_identity::document::{Node, Problem, Section, value};
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

#[derive(Clone, Copy, Default, PartialEq)]
enum ViaWord {
    #[default]
    Direct,
    Tunnel,
    Proxy,
}

const VIAS: [(&str, ViaWord); 3] = [
    ("direct", ViaWord::Direct),
    ("tunnel", ViaWord::Tunnel),
    ("proxy", ViaWord::Proxy),
];

const PROTOCOLS: [(&str, Protocol); 2] =
    [("kubelet", Protocol::Kubelet), ("opaque", Protocol::Opaque)];

/// Reads the section, which may be absent where it is not `needed`; rules with errors are left out.
pub(super) fn read(root: &mut Section<'_>, needed: bool) -> Option<Egress> {
    if !root.has("egress") {
        if !needed {
            root.ignore("egress");
            return Some(Egress::default());
        }
        root.missing("egress", "{rules: [..]}");
    }
    let mut section = root.section("egress")?;
    let sections = section.sections("rules", bounds::RULES);
    let report = section.report();
    if section.is_blank("rules") {
        let what = "has no rule, so every target is denied";
        let fix = "add one, like `- {name: kubelets, cidrs: [10.0.0.0/8], action: terminate}`";
        section.error("rules", what, fix);
    }
    let mut rules: Vec<Rule> = Vec::new();
    for rule_section in sections {
        let (path, at) = (rule_section.path().to_owned(), rule_section.at());
        let Some(rule) = rule(rule_section) else {
            continue;
        };
        if rules.iter().any(|other| other.name == rule.name) {
            let what = format!("another rule is named {:?} already", rule.name);
            let problem = Problem::new(what, "choose another name");
            report.error(&format!("{path}.name"), at, problem);
        }
        if let Some(other) = rules.iter().find(|other| shadow::covers(other, &rule)) {
            let other = &other.name;
            let what = format!("can never match: rule {other:?} before it covers it");
            let fix = format!("move it before {other:?}, narrow that one, or delete this");
            report.error(&path, at, Problem::new(what, fix));
        }
        rules.push(rule);
    }
    let entries = bounds::RULE_ENTRIES;
    let cidr = section.list("insecureAllowTargets", entries, value::cidr);
    if !cidr.is_empty() {
        let what = "lifts the built-in denial of loopback, link-local and metadata addresses there";
        let fix = "leave it out unless this is a test cluster on one host";
        section.warn("insecureAllowTargets", what, fix);
    }
    Some(Egress {
        rules,
        insecure_allow_targets: cidr,
    })
}

fn rule(mut section: Section<'_>) -> Option<Rule> {
    let report = section.report();
    let errors = report.error_count();
    let name = section.required("name", "kubelets", value::name);
    let entries = bounds::RULE_ENTRIES;
    let cidrs = section.list("cidrs", entries, value::cidr);
    let suffixes = section.list("dnsSuffixes", entries, value::dns_suffix);
    let ports = section.list("ports", entries, super::value::ports);
    if section.is_blank("cidrs") && section.is_blank("dnsSuffixes") {
        let what = "has neither `cidrs` nor `dnsSuffixes`, so it would match every target";
        let fix = "if you mean that, write `cidrs: [\"0.0.0.0/0\", \"::/0\"]`";
        section.error("", what, fix);
    }
    let word = |node: &Node| value::word(node, &ACTIONS);
    let word = section.required("action", "splice", word);
    let action = word.and_then(|word| action(&mut section, word));
    let via = section.optional("via", |node| value::word(node, &VIAS));
    if via.is_some() && matches!(word, Some(ActionWord::Deny)) {
        section.error("via", "does not apply to `action: deny`", "remove it");
    }
    let way = via.unwrap_or_default();
    let proxy = proxy::read(&mut section, way == ViaWord::Proxy);
    let direct = way == ViaWord::Direct;
    let spliced = matches!(action, Some(RuleAction::Splice)) && direct;
    if spliced && cidrs.is_empty() && !suffixes.is_empty() {
        let what = "the owner of these names' DNS zone chooses the addresses that are reached";
        let fix = "add `cidrs` for the addresses that they may resolve to";
        section.warn("dnsSuffixes", what, fix);
    }
    // A list whose only entry is bad must not read as "any" in the checks between rules, nor one
    // whose name is.
    drop(section);
    if report.error_count() > errors {
        return None;
    }
    Some(Rule {
        name: Arc::from(name?),
        cidrs,
        dns_suffixes: suffixes,
        ports,
        action: action?,
        via: match way {
            ViaWord::Direct => Via::Direct,
            ViaWord::Tunnel => Via::Tunnel,
            ViaWord::Proxy => Via::Proxy(proxy?),
        },
    })
}

/// Reads what belongs to a rule's action, and refuses what does not.
fn action(section: &mut Section<'_>, word: ActionWord) -> Option<RuleAction> {
    let protocol = section.optional("protocol", |node| value::word(node, &PROTOCOLS));
    if protocol.is_some() && !matches!(word, ActionWord::Terminate) {
        section.error("protocol", "is only for `action: terminate`", "remove it");
    }
    let opaque = matches!(protocol, Some(Protocol::Opaque));
    match word {
        ActionWord::Terminate if opaque => upstream(section, true).map(RuleAction::TerminateOpaque),
        ActionWord::Originate => upstream(section, false).map(RuleAction::Originate),
        ActionWord::Terminate | ActionWord::Splice | ActionWord::Deny => {
            section.ignore("upstream");
            if section.has("upstream") {
                let fix = match word {
                    ActionWord::Terminate => {
                        "remove it: kubelets are validated by the `kubelet` section"
                    }
                    _ => "remove it, or use `terminate` with `protocol: opaque`, or `originate`",
                };
                section.error("upstream", "does not apply to this action", fix);
            }
            match word {
                ActionWord::Terminate => Some(RuleAction::TerminateKubelet),
                ActionWord::Splice => Some(RuleAction::Splice),
                _ => Some(RuleAction::Deny),
            }
        }
    }
}

fn upstream(section: &mut Section<'_>, opaque: bool) -> Option<Upstream> {
    let mut section = section.required_section("upstream", "{caFile: ca.crt}")?;
    let entries = bounds::RULE_ENTRIES;
    let ca_file = section.file("caFile");
    let names = section.list("names", entries, value::host);
    let pins = section.list("spkiSHA256", entries, value::spki_hash);
    let server_name = section.optional("serverName", value::host);
    let server_names = section.list("serverNames", entries, super::value::server_names);
    if !opaque && section.has("serverNames") {
        let what = "needs a ClientHello, which only `terminate` with `protocol: opaque` reads";
        section.error(
            "serverNames",
            what,
            "remove it; `serverName` names the target",
        );
    }
    if !section.has("caFile") && section.is_blank("spkiSHA256") {
        let fix = "add `caFile: ca.crt`, or `spkiSHA256: [..]` for a self-signed target";
        section.error("", "names nothing to trust", fix);
    }
    if ca_file.is_none() && !names.is_empty() && !section.has("caFile") {
        let what = "has no effect without `caFile`: a pinned key is enough by itself";
        section.warn("names", what, "add `caFile`, or remove the names");
    }
    Some(Upstream {
        ca_file,
        names: Arc::from(names),
        spki_sha256: Arc::from(pins),
        server_name,
        server_names: Arc::from(server_names),
    })
}
