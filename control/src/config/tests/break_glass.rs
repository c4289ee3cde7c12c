use super::*;
use crate::config::{BreakGlassRule, BreakGlassSettings, ProxyTlsFiles, VantageSettings};
use eyesplice_proto::api::Subresource;
use std::collections::BTreeMap;

const AROUND: &str = "listeners: [{name: kubectl, front: {address: '10.0.0.9:6444', \
                      tlsCertFile: f.crt, tlsPrivateKeyFile: f.key, clientCAFile: users.crt}}]\n\
                      apiservers: {servers: ['https://10.0.0.1:6443'], caFile: ca.crt, \
                      tokenFile: own}\n\
                      kubelet: {caFile: k, clientCertFile: c, clientKeyFile: d, \
                      apiserverClientCAFile: a}\n\
                      egress: {rules: [{name: kubelets, cidrs: [10.0.0.0/8], action: splice}]}\n";

const RULE: &str = "{name: sre, groups: [sre], streams: [exec, logs], namespaces: [shop]}";

fn with(short_way: &str, fields: &str) -> String {
    format!(
        "{HEAD}{AROUND}front: {{frontProxyClientCertFile: p.crt, frontProxyClientKeyFile: p.key, \
         {short_way}breakGlass: {{{fields}}}}}\n"
    )
}

fn front(fields: &str) -> String {
    with("shortWay: {admission: trusted}, ", fields)
}

const SMALL: &str = "clientCAFile: glass.crt, vantage: {address: '10.9.0.4:8131', caFile: v.crt}, \
                     kubeletCacheAuthorizedTTL: 8h";

fn small() -> String {
    format!("{SMALL}, allow: [{RULE}]")
}

fn file(field: &str, name: &str) -> FileRef {
    let field = format!("front.breakGlass.{field}");
    FileRef::new(field, format!("/etc/eyesplice/{name}"))
}

#[test]
fn parse_break_glass_waits_and_forgets_by_default_and_is_off_without_its_section() {
    let Loaded { config, warnings } = parse(&front(&small())).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let one = |text: &str| vec![text.to_owned()];
    let expected = BreakGlassSettings {
        client_ca_file: file("clientCAFile", "glass.crt"),
        vantage: VantageSettings {
            address: "10.9.0.4:8131".parse().unwrap(),
            tls: ProxyTlsFiles {
                ca_file: file("vantage.caFile", "v.crt"),
                client: None,
                server_name: None,
            },
        },
        failures: 6,
        after: Duration::from_secs(60),
        reviewed_within: Duration::from_secs(8 * 3600),
        refresh: Duration::from_secs(60),
        kubelet_cache: Duration::from_secs(8 * 3600),
        max_stream: Duration::from_secs(3600),
        allow: vec![BreakGlassRule {
            name: "sre".into(),
            groups: one("sre"),
            streams: vec![Subresource::Exec, Subresource::Log],
            namespaces: one("shop"),
            pods: Vec::new(),
            pod_labels: BTreeMap::new(),
        }],
    };
    assert_eq!(config.front.break_glass, Some(expected));
    let files = config.files();
    for name in ["glass.crt", "v.crt"] {
        let path = format!("/etc/eyesplice/{name}");
        assert!(files.contains(Path::new(&path)), "{name} is watched");
    }
    // By the default nothing but logs takes the short way.
    let warned = parse(&with("shortWay: {}, ", &small())).unwrap().warnings;
    assert!(
        warned.len() == 1 && warned[0].path == "front.breakGlass.allow",
        "{warned:?}"
    );
    let none = parse(&format!("{HEAD}{AROUND}").replace(", clientCAFile: users.crt", ""));
    assert_eq!(none.unwrap().config.front.break_glass, None);
}

#[test]
fn parse_full_break_glass_reads_every_field() {
    let fields = "clientCAFile: glass.crt, vantage: {address: '10.9.0.4:8131', caFile: v.crt, \
                  certFile: o.crt, keyFile: o.key, serverName: v.example}, failures: 2, after: 5s, \
                  reviewedWithin: 1h, refresh: 10s, kubeletCacheAuthorizedTTL: 24h, maxStream: 5m, \
                  allow: [{name: a, groups: [g], streams: [attach, portForward], \
                  namespaces: [n], pods: [web-0], podLabels: {app: web, 'x/y': z}}]";
    let config = parse(&front(fields)).unwrap().config;
    let glass = config.front.break_glass.as_ref().unwrap();
    assert_eq!((glass.failures, glass.after.as_secs()), (2, 5));
    let times = [
        glass.reviewed_within,
        glass.refresh,
        glass.kubelet_cache,
        glass.max_stream,
    ];
    assert_eq!(times.map(|time| time.as_secs()), [3600, 10, 86_400, 300]);
    let tls = &glass.vantage.tls;
    assert!(tls.client.is_some() && tls.server_name.is_some());
    let labels: Vec<(&str, &str)> = glass.allow[0]
        .pod_labels
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(labels, [("app", "web"), ("x/y", "z")]);
    assert!(config.secrets().contains(Path::new("/etc/eyesplice/o.key")));
    assert!(config.files().contains(Path::new("/etc/eyesplice/o.crt")));
}

#[test]
fn parse_each_mistake_of_break_glass_names_field_and_remedy() {
    let good = small();
    let table = [
        (
            with("", &good),
            "front.breakGlass: needs shortWay: what was allowed there",
        ),
        (
            with("shortWay: {kubeletTokenFile: t}, ", &good),
            "front.breakGlass: needs the certificate of `kubelet`: kubelets ask API servers",
        ),
        (
            front(SMALL),
            "front.breakGlass.allow: is required; add `allow: [{name: sre,",
        ),
        (
            front(&good.replace("clientCAFile: glass.crt, ", "")),
            "front.breakGlass.clientCAFile: is required",
        ),
        (
            front(&good.replace("glass.crt", "users.crt")),
            "front.breakGlass.clientCAFile: is the clientCAFile of listener \"kubectl\" as well",
        ),
        (
            front(&good.replace("10.9.0.4:8131", "10.0.0.9:6444")),
            "front.breakGlass.vantage.address: 10.0.0.9:6444 is listener \"kubectl\" of this",
        ),
        (
            front(&good.replace("10.9.0.4:8131", "10.0.0.1:6443")),
            "front.breakGlass.vantage.address: 10.0.0.1:6443 is an API server",
        ),
        (
            front(&good.replace(", caFile: v.crt", "")),
            "front.breakGlass.vantage.caFile: is required",
        ),
        (
            front(&good.replace("caFile: v.crt", "caFile: v.crt, keyFile: o")),
            "front.breakGlass.vantage.keyFile: is nothing without certFile; add that",
        ),
        (
            front(&format!("{good}, failures: 1")),
            "front.breakGlass.failures: ",
        ),
        (
            front(&format!("{good}, reviewedWithin: 200h")),
            "front.breakGlass.reviewedWithin: ",
        ),
        (
            front(&good.replace("namespaces: [shop]", "namespaces: ['*']")),
            "front.breakGlass.allow[0].namespaces[0]: \"*\" is no name; write each name out",
        ),
        (
            front(&good.replace("groups: [sre], ", "")),
            "front.breakGlass.allow[0].groups: is required; add `groups: [sre]`",
        ),
        (
            front(&good.replace("[exec, logs]", "[exec, run]")),
            "front.breakGlass.allow[0].streams[1]: \"run\" is not a known value",
        ),
        (
            front(&format!("{SMALL}, allow: [{RULE}, {RULE}]")),
            "front.breakGlass.allow[1].name: the name \"sre\" is taken already",
        ),
    ];
    for (text, want) in table {
        let errors = errors(&text);
        assert!(
            errors.iter().any(|error| error.starts_with(want)),
            "{want}\n{errors:#?}"
        );
    }
}

#[test]
fn parse_break_glass_of_kubelets_that_forget_soon_is_warned_of() {
    let text = front(&small().replace("TTL: 8h", "TTL: 5m"));
    let (field, want) = (
        "front.breakGlass.kubeletCacheAuthorizedTTL (",
        ": is short: kubelets ask API servers",
    );
    let warnings = warnings(&text);
    let warned = |it: &String| it.starts_with(field) && it.contains(want);
    assert!(warnings.iter().any(warned), "{warnings:?}");
}
