//! Reads `front.breakGlass`: what may be done while no API server can be asked, by whom, and when
//! that is.

use super::bounds;
use super::kube_api::{Admission, BreakGlassRule, BreakGlassSettings, VantageSettings};
use super::model::{Config, ProxyTlsFiles, Transport};
use eyesplice_identity::document::{At, FileRef, Node, Problem, Section, value};
use eyesplice_proto::api::Subresource;
use std::sync::Arc;
use std::time::Duration;

/// A restart of all API servers takes less.
const FAILURES: u32 = 6;
const AFTER: Duration = Duration::from_secs(60);
/// A working day.
const REVIEWED_WITHIN: Duration = Duration::from_secs(8 * 3600);
const REFRESH: Duration = Duration::from_secs(60);
/// The kubelets' own default.
const KUBELET_CACHE: Duration = Duration::from_secs(5 * 60);
/// What is less does not outlast an outage that somebody has to come for.
const LONG_ENOUGH: Duration = Duration::from_secs(3600);
const MAX_STREAM: Duration = Duration::from_secs(3600);

const STREAMS: [(&str, Subresource); 4] = [
    ("exec", Subresource::Exec),
    ("attach", Subresource::Attach),
    ("portForward", Subresource::PortForward),
    ("logs", Subresource::Log),
];

/// Reads the section of `front`; without it there is no break-glass.
pub(super) fn read(front: &mut Section<'_>) -> Option<BreakGlassSettings> {
    let mut section = front.section("breakGlass")?;
    if !front.has("shortWay") {
        let what = "needs shortWay: what was allowed there is all that can be allowed here";
        front.error(
            "breakGlass",
            what,
            "add `shortWay: {admission: trusted}` if it is so, or remove it",
        );
    }
    let client_ca_file = section.required_file("clientCAFile", "break-glass-ca.crt");
    let vantage = read_vantage(&mut section);
    let failures = |node: &Node| value::integer::<u32>(node, &bounds::BREAK_GLASS_FAILURES);
    let failures = section.optional("failures", failures);
    let mut duration = |field, range, default| {
        let read = |node: &Node| value::duration(node, range);
        section.optional(field, read).unwrap_or(default)
    };
    let after = duration("after", &bounds::BREAK_GLASS_AFTER, AFTER);
    let reviewed_within = duration("reviewedWithin", &bounds::REVIEWED_WITHIN, REVIEWED_WITHIN);
    let refresh = duration("refresh", &bounds::REFRESH, REFRESH);
    let field = "kubeletCacheAuthorizedTTL";
    let kubelet_cache = duration(field, &bounds::KUBELET_CACHE, KUBELET_CACHE);
    let max_stream = duration("maxStream", &bounds::BREAK_GLASS_STREAM, MAX_STREAM);
    if kubelet_cache < LONG_ENOUGH {
        let what = "is short: kubelets ask API servers about us, and refuse us when they cannot \
                    and have forgotten the last answer";
        let fix = "raise authorization.webhook.cacheAuthorizedTTL of the kubelets to 8h or more, \
                   and write the same here";
        section.warn(field, what, fix);
    }
    let allow = read_rules(&mut section);
    Some(BreakGlassSettings {
        client_ca_file: client_ca_file?,
        vantage: vantage?,
        failures: failures.unwrap_or(FAILURES),
        after,
        reviewed_within,
        refresh,
        kubelet_cache,
        max_stream,
        allow,
    })
}

fn read_vantage(parent: &mut Section<'_>) -> Option<VantageSettings> {
    if !parent.has("vantage") {
        let example = "{address: \"10.9.0.4:8131\", caFile: vantage-ca.crt}";
        parent.missing("vantage", example);
    }
    let mut section = parent.section("vantage")?;
    let example = "\"10.9.0.4:8131\"";
    let address = section.required("address", example, value::socket_address);
    let ca_file = section.required_file("caFile", "vantage-ca.crt");
    let cert = section.file("certFile");
    let key = section.file("keyFile");
    for (has, lacks) in [("certFile", "keyFile"), ("keyFile", "certFile")] {
        if section.has(has) && !section.has(lacks) {
            let what = format!("is nothing without {lacks}");
            section.error(has, what, "add that");
        }
    }
    let server_name = section.optional("serverName", value::host);
    Some(VantageSettings {
        address: address?,
        tls: ProxyTlsFiles {
            ca_file: ca_file?,
            client: cert.zip(key),
            server_name,
        },
    })
}

fn read_rules(parent: &mut Section<'_>) -> Vec<BreakGlassRule> {
    if parent.is_blank("allow") {
        let example = "[{name: sre, groups: [sre], streams: [exec, logs], namespaces: [shop]}]";
        parent.missing("allow", example);
    }
    let mut rules: Vec<BreakGlassRule> = Vec::new();
    for section in parent.sections("allow", bounds::RULES) {
        let (path, at) = (section.path().to_owned(), section.at());
        let Some(rule) = read_rule(section) else {
            continue;
        };
        if rules.iter().any(|other| other.name == rule.name) {
            let what = format!("the name {:?} is taken already", rule.name);
            let problem = Problem::new(what, "choose another name");
            parent.report().error(&format!("{path}.name"), at, problem);
        }
        rules.push(rule);
    }
    rules
}

fn read_rule(mut section: Section<'_>) -> Option<BreakGlassRule> {
    let report = section.report();
    let before = report.error_count();
    let name = section.required("name", "sre", value::name);
    for (field, example) in [
        ("groups", "[sre]"),
        ("streams", "[exec, logs]"),
        ("namespaces", "[shop]"),
    ] {
        if section.is_blank(field) {
            section.missing(field, example);
        }
    }
    let groups = section.list("groups", bounds::RULE_ENTRIES, value::text);
    let stream = |node: &Node| value::word(node, &STREAMS);
    let streams = section.list("streams", STREAMS.len(), stream);
    let namespaces = section.list("namespaces", bounds::RULE_ENTRIES, plain);
    let pods = section.list("pods", bounds::RULE_ENTRIES, plain);
    let labels = section.section("podLabels");
    let labels = labels.map(|labels| labels.each(value::text));
    (report.error_count() == before).then_some(())?;
    Some(BreakGlassRule {
        name: Arc::from(name?),
        groups,
        streams,
        namespaces,
        pods,
        pod_labels: labels.unwrap_or_default().into_iter().collect(),
    })
}

/// A name, and no pattern: what is open in an outage is written out.
fn plain(node: &Node) -> Result<String, Problem> {
    let text = value::text(node)?;
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    match !text.is_empty() && text.bytes().all(fits) {
        true => Ok(text),
        false => Err(Problem::new(
            format!("{text:?} is no name"),
            "write each name out: there are no patterns here",
        )),
    }
}

/// Checks what other sections say.
pub(super) fn check(config: &Config, root: &Section<'_>) {
    let Some(glass) = &config.front.break_glass else {
        return;
    };
    let (at, report) = (root.place_of("front"), root.report());
    let error = |field: &str, what: String, fix: &str| {
        let field = format!("front.breakGlass{field}");
        report.error(&field, at, Problem::new(what, fix));
    };
    let short_way = config.front.short_way.as_ref();
    let upgrades = |rule: &BreakGlassRule| rule.streams.iter().any(|it| it.upgrades());
    if short_way.is_some_and(|short_way| short_way.admission == Admission::Pass)
        && glass.allow.iter().any(upgrades)
    {
        let what = "has exec, attach or portForward, which no rule can allow while \
                    front.shortWay.admission is pass: they never take the short way";
        let fix = "set front.shortWay.admission to trusted, if it is so, or leave only logs";
        report.warn("front.breakGlass.allow", at, Problem::new(what, fix));
    }
    if short_way.is_some_and(|short_way| short_way.kubelet_token_file.is_some()) {
        let what = "needs the certificate of `kubelet`: kubelets ask API servers about a token \
                    every two minutes";
        let fix = "remove front.shortWay.kubeletTokenFile";
        error("", what.to_owned(), fix);
    }
    let mut trusted = config.listeners.iter().filter_map(|listener| {
        let file = listener.transport.client_ca_file()?;
        Some((
            format!("clientCAFile of listener {:?}", listener.name),
            file,
        ))
    });
    let own = |(_, file): &(String, &FileRef)| file.path == glass.client_ca_file.path;
    if let Some((whose, _)) = trusted.find(own) {
        let what = format!("is the {whose} as well, whose users could break glass");
        let fix = "make a CA of its own; `eyesplice pki issue DIR --break-glass NAME` does";
        error(".clientCAFile", what, fix);
    }
    let address = glass.vantage.address;
    let here = |transport: &Transport| transport.address() == Some(address);
    if let Some(listener) = config.listeners.iter().find(|it| here(&it.transport)) {
        let what = format!("{address} is listener {:?} of this gateway", listener.name);
        let fix = "name a proxy elsewhere: who cuts this gateway off must not cut off both paths";
        error(".vantage.address", what, fix);
    }
    let servers = config
        .apiservers
        .iter()
        .flat_map(|servers| &servers.servers);
    let is_server = |text: String| text == address.to_string();
    if servers.map(ToString::to_string).any(is_server) {
        let what = format!("{address} is an API server");
        let fix = "name a proxy from which API servers can be reached";
        error(".vantage.address", what, fix);
    }
    let no_front = |transport: &Transport| matches!(transport, Transport::Front(_));
    if !config.listeners.iter().any(|it| no_front(&it.transport)) {
        let problem = Problem::new("is not used: no listener is a `front`", "add one");
        report.warn("front.breakGlass", At::default(), problem);
    }
}
