use super::*;
use crate::config::{ApiServerTransport, Balance, UserHeaders};
use eyesplice_identity::token::review::ReviewCredential;

const FRONT: &str = "listeners: [{name: kubectl, front: {address: '0.0.0.0:6444', \
                     tlsCertFile: f.crt, tlsPrivateKeyFile: f.key}}]\n";
const SERVERS: &str = "apiservers: {servers: ['https://10.0.0.1:6443'], caFile: ca.crt}\n";

fn users(rest: &str) -> String {
    let front = FRONT.replace("f.key}", "f.key, clientCAFile: users.crt}");
    format!("{HEAD}{front}{SERVERS}{rest}")
}

#[test]
fn parse_front_alone_needs_no_egress_and_fills_in_the_defaults() {
    let Loaded { config, warnings } = parse(&format!("{HEAD}{FRONT}{SERVERS}")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(config.egress.rules.is_empty());
    let servers = config.apiservers.as_ref().unwrap();
    assert_eq!(servers.servers[0].to_string(), "10.0.0.1:6443");
    assert_eq!(servers.health_interval, Duration::from_secs(5));
    assert_eq!(servers.health_failures, 3);
    assert_eq!(servers.balance, Balance::LeastStreams);
    assert_eq!(servers.credential, None);
    assert_eq!(config.front.headers, UserHeaders::default());
    let Transport::Front(front) = &config.listeners[0].transport else {
        panic!("a front")
    };
    assert_eq!(front.client_ca_file, None);
    assert_eq!(config.sockets(3), 3);
}

#[test]
fn parse_egress_stays_required_where_a_listener_needs_it() {
    let both = format!("{HEAD}{SERVERS}listeners:\n- {{name: uds, unix: {{path: /x}}}}\n");
    assert!(errors(&both)[0].starts_with("egress: is required"));
}

#[test]
fn parse_full_front_reads_every_field() {
    let text = users(
        "front:\n  frontProxyClientCertFile: p.crt\n  frontProxyClientKeyFile: p.key\n  \
         usernameHeaders: [X-User, X-Remote-User]\n  extraHeaderPrefixes: [X-More-]\n",
    )
    .replace(
        "caFile: ca.crt}",
        "caFile: ca.crt, serverName: kubernetes, tokenFile: own, healthInterval: 1s, \
         healthFailures: 1, balance: roundRobin}",
    )
    .replace(
        "listeners: [",
        "listeners: [{name: nodes, apiserver: {address: '0.0.0.0:6445', proxyProtocol: true}}, ",
    );
    let Loaded { config, warnings } = parse(&text).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let nodes = Transport::ApiServer(ApiServerTransport {
        address: "0.0.0.0:6445".parse().unwrap(),
        proxy_protocol: true,
    });
    assert_eq!(config.listeners[0].transport, nodes);
    let servers = config.apiservers.as_ref().unwrap();
    assert_eq!(servers.server_name, Some("kubernetes".parse().unwrap()));
    assert_eq!(servers.balance, Balance::RoundRobin);
    let token = FileRef::new("apiservers.tokenFile", "/etc/eyesplice/own");
    assert_eq!(servers.credential, Some(ReviewCredential::Token(token)));
    assert_eq!(config.front.headers.username, ["X-User", "X-Remote-User"]);
    assert_eq!(config.front.headers.group, ["X-Remote-Group"]);
    assert_eq!(config.front.headers.extra_prefix, ["X-More-"]);
    let names = |files: std::collections::BTreeSet<std::path::PathBuf>| -> Vec<String> {
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().display().to_string();
        files.iter().map(name).collect()
    };
    let files = [
        "ca.crt",
        "f.crt",
        "f.key",
        "gateway.yaml",
        "p.crt",
        "p.key",
        "users.crt",
    ];
    assert_eq!(names(config.files()), files);
    assert_eq!(names(config.secrets()), ["f.key", "own", "p.key"]);
}

#[test]
fn parse_each_mistake_of_a_front_names_field_and_remedy() {
    let with_servers =
        |fields: &str| format!("{HEAD}{FRONT}apiservers: {{caFile: ca.crt, {fields}}}\n");
    let table: Vec<(String, &str)> = vec![
        (
            format!("{HEAD}{FRONT}"),
            "apiservers: is required by listener \"kubectl\", which leads to API servers; add",
        ),
        (
            with_servers("servers: []"),
            "apiservers.servers: is required; add `servers: [\"https://10.0.0.1:6443\"]`",
        ),
        (
            with_servers("servers: ['http://10.0.0.1']"),
            "apiservers.servers[0]: \"http://10.0.0.1\" is not an https URL; write it like",
        ),
        (
            with_servers("servers: ['https://a', 'https://b', 'https://a:443']"),
            "apiservers.servers: names a:443 twice; list each API server once",
        ),
        (
            with_servers("servers: ['https://a'], clientCertFile: c"),
            "apiservers: has not exactly one credential; set either",
        ),
        (
            with_servers(
                "servers: ['https://a'], tokenFile: t, clientCertFile: c, clientKeyFile: k",
            ),
            "apiservers: has not exactly one credential; set either",
        ),
        (
            with_servers("servers: ['https://a'], healthInterval: 1ms"),
            "apiservers.healthInterval: 1ms is out of range; use 100ms to 5m",
        ),
        (
            with_servers("servers: ['https://a'], healthFailures: 0"),
            "apiservers.healthFailures: 0 is out of range",
        ),
        (
            with_servers("servers: ['https://a'], balance: random"),
            "apiservers.balance: \"random\" is not a known value; use one of: roundRobin, least",
        ),
        (
            with_servers("servers: ['https://127.0.0.1:6444']"),
            "apiservers.servers: 127.0.0.1:6444 is listener \"kubectl\" of this gateway; name the",
        ),
        (
            users(""),
            "listeners[0].front.clientCAFile: lets users come with certificates, and nothing would",
        ),
        (
            users("front: {frontProxyClientCertFile: p}"),
            "front.frontProxyClientCertFile: is nothing without frontProxyClientKeyFile; add that",
        ),
        (
            format!("{HEAD}{FRONT}{SERVERS}front: {{groupHeaders: ['a b']}}"),
            "front.groupHeaders[0]: \"a b\" is no name of a header; write it as",
        ),
        (
            format!(
                "{HEAD}{SERVERS}listeners: [{{name: a, apiserver: {{address: '127.0.0.1:1'}}, \
                 front: {{address: '127.0.0.1:2', tlsCertFile: a, tlsPrivateKeyFile: b}}}}]\n"
            ),
            "listeners[0]: has both `front` and `apiserver`; keep one",
        ),
        (
            format!(
                "{HEAD}{SERVERS}admin: {{address: '127.0.0.1:1'}}\nlisteners: [{{name: a, \
                 apiserver: {{address: '127.0.0.1:1'}}}}]\n"
            ),
            "listeners[0].apiserver.address: 127.0.0.1:1 is the admin endpoint's address",
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
fn parse_front_that_nothing_uses_is_warned_of() {
    let proxy = "front: {frontProxyClientCertFile: p, frontProxyClientKeyFile: k}\n";
    for (text, want) in [
        (with(SERVERS), "apiservers (line 5, column 13): is not used"),
        (with(proxy), "front (line 5, column 8): is not used"),
        (
            format!("{HEAD}{FRONT}{SERVERS}{proxy}"),
            "front.frontProxyClientCertFile (line 5, column 8): is not used: no `front` listener",
        ),
    ] {
        let warnings = warnings(&text);
        assert!(
            warnings.iter().any(|warning| warning.starts_with(want)),
            "{want}\n{warnings:#?}"
        );
    }
}

#[test]
fn restart_is_required_for_addresses_alone() {
    let load = |text: &str| parse(text).unwrap().config;
    let text = format!("{HEAD}{FRONT}{SERVERS}").replace(
        "listeners: [",
        "listeners: [{name: nodes, apiserver: {address: '0.0.0.0:6445'}}, ",
    );
    let old = load(&text);
    let tuned = text
        .replace("6445'", "6445', proxyProtocol: true")
        .replace("caFile: ca.crt", "caFile: other.crt, healthInterval: 1s");
    assert_eq!(old.restart_required(&load(&tuned)), Vec::<String>::new());
    let moved = text.replace("6444", "7444").replace("6445", "7445");
    let want = [
        "listeners[0].apiserver.address",
        "listeners[1].front.address",
    ];
    assert_eq!(old.restart_required(&load(&moved)), want);
}
