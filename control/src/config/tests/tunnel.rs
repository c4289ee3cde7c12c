//! Tunnel listeners, their agents, and rules that lead through them.

use super::*;
use crate::config::InnerTls;
use eyesplice_dataplane::engine::Role;

const LISTENER: &str = "{name: agents, tunnel: {address: '10.0.0.1:8133', tlsCertFile: t.crt, \
                        tlsPrivateKeyFile: t.key, clientCAFile: agents.crt}}";
const EDGE: &str = "tunnel: {agents: [{name: edge, cidrs: [10.0.0.0/8]}]}\n";
const THROUGH: &str =
    "egress: {rules: [{name: r, cidrs: [10.0.0.0/8], action: splice, via: tunnel}]}\n";

/// A rule that asks a proxy, which has these fields.
fn proxy(fields: &str) -> String {
    let rest = "cidrs: [10.0.0.0/8], action: splice, via: proxy";
    rule(&format!("{rest}, proxy: {{{fields}}}"))
}

fn site(tunnel: &str, egress: &str) -> String {
    format!(
        "{HEAD}listeners: [{{name: uds, unix: {{path: /run/e.sock}}}}, \
         {LISTENER}]\n{tunnel}{egress}"
    )
}

#[test]
fn parse_tunnel_gives_listener_grants_and_way() {
    let Loaded { config, warnings } = parse(&site(EDGE, THROUGH)).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let engine = config.engine_config(2);
    let roles: Vec<Role> = engine
        .listeners
        .iter()
        .map(|listener| listener.role)
        .collect();
    assert_eq!(roles, [Role::Egress, Role::Tunnel]);
    assert_eq!(config.sockets(4), 5);
    assert_eq!(config.egress.rules[0].via, Via::Tunnel);
    let tunnel = config.tunnel.as_ref().unwrap();
    assert_eq!((tunnel.max_agents, tunnel.pool.clone()), (10_000, 0..=8));
    let limits = config.tunnel_limits().unwrap();
    assert_eq!(limits.max_parked, config.limits.max_streams / 4);
    assert_eq!(limits.max_parked_per_address, 1024);
    assert_eq!(limits.ping, Duration::from_secs(15));
    assert_eq!(tunnel.inner, InnerTls::Both);
    let only = EDGE.replace("]}\n", "], inner: only}\n");
    let only = parse(&site(&only, THROUGH)).unwrap().config;
    assert_eq!(only.tunnel.unwrap().inner, InnerTls::Only);
    let parked = EDGE.replace("]}\n", "], maxParked: 7, maxParkedPerAddress: 3}\n");
    let other = parse(&site(&parked, THROUGH)).unwrap().config;
    let other = other.tunnel_limits().unwrap();
    assert_eq!((other.max_parked, other.max_parked_per_address), (7, 3));
    let names: Vec<String> = config
        .files()
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let want = ["agents.crt", "gateway.yaml", "t.crt", "t.key"];
    assert_eq!(names, want.map(|name| format!("/etc/eyesplice/{name}")));
    assert!(config.secrets().contains(Path::new("/etc/eyesplice/t.key")));
    let denied = EDGE.replace("]}\n", "], denyFile: deny.yaml}\n");
    let config = parse(&site(&denied, THROUGH)).unwrap().config;
    assert!(
        config
            .files()
            .contains(Path::new("/etc/eyesplice/deny.yaml"))
    );
    assert_eq!(parse(&with("")).unwrap().config.tunnel_limits(), None);
}

#[test]
fn parse_each_mistake_of_tunnels_names_field_and_remedy() {
    let tunnel = |fields: &str| site(&format!("tunnel: {{{fields}}}\n"), THROUGH);
    let agents = "agents: [{name: edge, cidrs: [10.0.0.0/8]}]";
    for (text, words) in [
        (
            format!("{HEAD}{UDS}{THROUGH}"),
            "listeners: is required by rule \"r\", whose way is a tunnel; add a listener with \
             `tunnel:",
        ),
        (
            site("", THROUGH),
            "tunnel: is required by listener \"agents\", whose clients are agents; add `tunnel:",
        ),
        (
            tunnel("agents: []"),
            "tunnel: lets nobody be an agent; add `agents:",
        ),
        (
            tunnel("nodeAgents: true"),
            "tunnel: nodeAgents needs `kubelet.inventoryFile`: it says which addresses a node has",
        ),
        (
            tunnel("agents: [{name: edge, nodes: [w1]}]"),
            "tunnel: agents: \"edge\" has nodes, which needs `kubelet.inventoryFile`",
        ),
        (
            tunnel("agents: [{name: edge}]"),
            "tunnel.agents[0]: may carry nothing; add `nodes:",
        ),
        (
            tunnel("agents: [{name: 'a:b', cidrs: [10.0.0.0/8]}]"),
            "tunnel.agents[0].name: \"a:b\" is not a usable name",
        ),
        (
            tunnel("agents: [{name: a, cidrs: [10.0.0.0/8]}, {name: a, cidrs: [10.0.0.0/8]}]"),
            "tunnel.agents[1].name: another agent is named \"a\" already; list all",
        ),
        (
            tunnel("agents: [{name: a, nodes: [W_1]}]"),
            "tunnel.agents[0].nodes[0]: \"W_1\"",
        ),
        (
            tunnel(&format!("{agents}, pool: {{min: 9, max: 2}}")),
            "tunnel.pool.min: 9 is more than max (2); lower it",
        ),
        (
            tunnel(&format!("{agents}, inner: none")),
            "tunnel.inner: \"none\" is not a known value; use one of: both, only",
        ),
        (
            tunnel(&format!("{agents}, ping: 1h")),
            "tunnel.ping: 1h is out of range; use 1s to 5m",
        ),
        (
            tunnel(&format!("{agents}, advertise: '0.0.0.0:1'")),
            "tunnel.advertise: is no address that an agent could connect to",
        ),
        (
            tunnel(&format!("{agents}, maxAgents: 0")),
            "tunnel.maxAgents: 0 is out of range",
        ),
        (
            tunnel(&format!("{agents}, maxParked: 0")),
            "tunnel.maxParked: 0 is out of range",
        ),
        (
            tunnel(&format!("{agents}, maxParkedPerAddress: 0")),
            "tunnel.maxParkedPerAddress: 0 is out of range",
        ),
        (
            tunnel(&format!("{agents}, leases: {{}}")),
            "tunnel.leases.name",
        ),
        (
            tunnel(&format!("{agents}, leases: {{name: a}}")),
            "tunnel.leases.address",
        ),
        (
            tunnel(&format!(
                "{agents}, leases: {{name: a, address: '0.0.0.0:1'}}"
            )),
            "tunnel.leases.address: 0.0.0.0:1 is no address that anybody could connect to",
        ),
        (
            tunnel(&format!(
                "{agents}, leases: {{name: A/b, address: '10.0.0.1:1'}}"
            )),
            "tunnel.leases.name",
        ),
        (
            tunnel(&format!(
                "{agents}, leases: {{name: a, address: '10.0.0.1:1', interval: 2m}}"
            )),
            "tunnel.leases.interval",
        ),
        (
            tunnel(&format!(
                "{agents}, ping: 2m, leases: {{name: a, address: '10.0.0.1:1'}}"
            )),
            "tunnel.ping: is longer than a minute",
        ),
        (
            tunnel(&format!("{agents}, peers: {{}}")),
            "tunnel.peers: names no gateway; add `addresses:",
        ),
        (
            tunnel(&format!("{agents}, peers: {{addresses: ['b.example:1']}}")),
            "tunnel.peers.caFile: is required",
        ),
        (
            tunnel(&format!("{agents}, peers: {{addresses: [b.example]}}")),
            "tunnel.peers.addresses[0]: \"b.example\": authority has no port",
        ),
        (
            tunnel(&format!("{agents}, peers: {{names: [b], caFile: c}}")),
            "tunnel.peers.caFile: is nothing without `addresses`",
        ),
        (
            tunnel(&format!("{agents}, peers: {{names: [b]}}")),
            "tunnel.peers.names: \"b\" may connect to no listener with `tcp`",
        ),
        (
            rule("cidrs: [10.0.0.0/8], action: deny, via: tunnel"),
            "egress.rules[0].via: does not apply to `action: deny`; remove it",
        ),
        (
            rule("cidrs: [10.0.0.0/8], action: splice, via: agent"),
            "egress.rules[0].via: \"agent\" is not a known value; use one of: direct, tunnel, pr",
        ),
        (
            rule("cidrs: [10.0.0.0/8], action: splice, via: proxy"),
            "egress.rules[0].proxy: is required",
        ),
        (
            rule("cidrs: [10.0.0.0/8], action: splice, proxy: {name: p, unix: /p.sock}"),
            "egress.rules[0].proxy: is only for `via: proxy`; remove it, or write `via: proxy`",
        ),
        (
            proxy("name: p"),
            "egress.rules[0].proxy: has neither `unix` nor `address`",
        ),
        (
            proxy("name: p, unix: /p.sock, address: \"10.0.0.9:1\""),
            "egress.rules[0].proxy: has both `unix` and `address`; keep one",
        ),
        (
            proxy("name: p, address: \"10.0.0.9:1\""),
            "egress.rules[0].proxy.caFile: is required",
        ),
        (
            proxy("name: p, unix: /p.sock, caFile: ca.crt"),
            "egress.rules[0].proxy.caFile: does not apply to a UNIX socket, which has no TLS",
        ),
        (
            proxy("name: p, address: \"10.0.0.9:1\", caFile: ca.crt, keyFile: p.key"),
            "egress.rules[0].proxy.keyFile: is nothing without certFile; add that",
        ),
        (
            format!("{HEAD}listeners: [{{name: l, unix: {{path: /x}}, tunnel: {{}}}}]\n{SPLICE}"),
            "listeners[0]: has both `unix` and `tunnel`; keep one",
        ),
        (
            format!("{HEAD}listeners: [{{name: l}}]\n{SPLICE}"),
            "listeners[0]: has none of `unix`, `tcp`, `tunnel`, `front` and `apiserver`; add",
        ),
        (
            format!(
                "{HEAD}listeners: [{}]\n{EDGE}{THROUGH}",
                LISTENER.replace("agents.crt", "agents.crt, allowedNames: [x]")
            ),
            "listeners[0].tunnel.allowedNames: is not a known field",
        ),
        (
            format!(
                "{}admin: {{address: '10.0.0.1:8133', insecureNonLoopback: true}}\n",
                site(EDGE, THROUGH)
            ),
            "listeners[1].tunnel.address: 10.0.0.1:8133 is the admin endpoint's address",
        ),
    ] {
        let found = errors(&text);
        assert!(
            found.iter().any(|error| error.starts_with(words)),
            "{words}: {found:#?}"
        );
    }
}

#[test]
fn warnings_tell_of_grants_and_sections_that_nothing_uses() {
    let of = |tunnel: &str, egress: &str| warnings(&site(tunnel, egress));
    let unused = "tunnel: {agents: [{name: edge, cidrs: [10.1.0.0/16, 192.168.0.0/16], \
                  dnsSuffixes: [lab.example]}]}\n";
    let found = of(unused, THROUGH);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("tunnel.agents[0]")
            && found[0].contains("is granted 192.168.0.0/16, lab.example, and no rule"),
        "{found:?}"
    );
    let named = "egress: {rules: [{name: n, dnsSuffixes: [db.lab.example], action: originate, \
                 via: tunnel, upstream: {caFile: c}}]}\n";
    let names = "tunnel: {agents: [{name: edge, dnsSuffixes: [lab.example]}]}\n";
    assert_eq!(of(names, named), Vec::<String>::new());
    let found = of(EDGE, SPLICE);
    assert!(found[0].contains("no rule has `via: tunnel`"), "{found:?}");
    let found = warnings(&format!("{HEAD}{UDS}{EDGE}{SPLICE}"));
    assert!(found[0].contains("no listener is a `tunnel`"), "{found:?}");
}

#[test]
fn warnings_tell_of_a_listener_that_takes_agents_for_api_servers() {
    let tcp = |fields: &str| {
        format!(
            "{HEAD}listeners: [{{name: mtls, tcp: {{address: '10.0.0.1:8131', tlsCertFile: t.crt, \
             tlsPrivateKeyFile: t.key, {fields}}}}}, {LISTENER}]\n{EDGE}{THROUGH}"
        )
    };
    let found = warnings(&tcp("clientCAFile: agents.crt"));
    assert!(
        found.len() == 1
            && found[0].starts_with("listeners[0].tcp.clientCAFile: is the CA of agents"),
        "{found:?}"
    );
    for good in [
        "clientCAFile: other.crt",
        "clientCAFile: agents.crt, allowedNames: [api]",
    ] {
        assert_eq!(warnings(&tcp(good)), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn restart_required_tells_of_a_listener_that_becomes_a_tunnel_and_of_its_address() {
    let load = |text: &str| parse(text).unwrap().config;
    let old = load(&site(EDGE, THROUGH));
    let grants = EDGE.replace("edge", "other");
    assert_eq!(
        old.restart_required(&load(&site(&grants, THROUGH))),
        Vec::<String>::new()
    );
    let moved = load(&site(EDGE, THROUGH).replace(":8133", ":8134"));
    assert_eq!(
        old.restart_required(&moved),
        ["listeners[1].tunnel.address"]
    );
    let tcp = load(&site("", SPLICE).replace("tunnel: {address", "tcp: {address"));
    assert_eq!(old.restart_required(&tcp), ["listeners[1].tcp"]);
    assert_eq!(tcp.restart_required(&old), ["listeners[1].tunnel"]);
}

#[test]
fn parse_other_gateways_gives_their_addresses_files_and_port() {
    let text = site(EDGE, THROUGH)
        .replace(
            "listeners: [",
            "listeners: [{name: api, tcp: {address: '10.0.0.1:8131', tlsCertFile: a.crt, \
             tlsPrivateKeyFile: a.key, clientCAFile: api.crt, allowedNames: [api, b]}}, ",
        )
        .replace(
            "]}\negress",
            "], peers: {addresses: ['b.example:8131'], caFile: p.crt, certFile: own.crt, keyFile: \
             own.key, names: [b]}}\negress",
        );
    let Loaded { config, warnings } = parse(&text).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let peers = config.peers().unwrap();
    assert_eq!(peers.addresses[0].to_string(), "b.example:8131");
    assert_eq!(&*peers.names, ["b".to_owned()]);
    assert_eq!(config.peers_tunnel_port(), 8133);
    for file in ["p.crt", "own.crt", "own.key"] {
        let path = Path::new("/etc/eyesplice").join(file);
        assert!(config.files().contains(&path), "{file}");
    }
    assert!(
        config
            .secrets()
            .contains(Path::new("/etc/eyesplice/own.key"))
    );
    let other = text.replace("names: [b]}", "names: [b], tunnelPort: 9}");
    assert_eq!(parse(&other).unwrap().config.peers_tunnel_port(), 9);
}
