//! What is told of a configuration that is wrong.

use super::*;

#[test]
fn parse_many_mistakes_are_told_at_once_in_order_with_their_place() {
    let text = "\
apiVersion: eyesplice.dev/v9
kind: GatewayConfig
listeners:
- name: a b
  unix: {path: /x, mode: 0600}
egress:
  rules:
  - name: one
    cidrs: [10.0.0/8, 10.0.0.1/8]
    prots: [10250]
    action: spliec
timeouts: {dial: 5}
surprise: 1
";
    let error = parse(text).unwrap_err().to_string();
    let want = "\
configuration /etc/eyesplice/gateway.yaml has 9 errors
  apiVersion (line 1, column 13): \"eyesplice.dev/v9\" is not known to this version; write `apiVersion: eyesplice.dev/v1alpha1`
  listeners[0].name (line 4, column 9): \"a b\" is not a usable name; use at most 63 letters, digits, '-', '_', '.'
  listeners[0].unix.mode (line 5, column 26): is not a quoted file mode; write octal digits in quotes, like \"0600\"
  egress.rules[0].cidrs[0] (line 9, column 13): \"10.0.0/8\" is not a CIDR; write it like 10.0.0.0/8 or fd00::/8
  egress.rules[0].cidrs[1] (line 9, column 23): \"10.0.0.1/8\" has bits set beyond its prefix; write 10.0.0.0/8
  egress.rules[0].prots (line 10, column 5): is not a known field; did you mean `ports`?
  egress.rules[0].action (line 11, column 13): \"spliec\" is not a known value; use one of: splice, terminate, originate, deny
  timeouts.dial (line 12, column 18): 5 has no unit; write it like 10s, 1m30s, 500ms or 24h
  surprise (line 13, column 1): is not a known field; known here: apiVersion, kind, identity, authority, listeners, tunnel, apiservers, front, egress, egressCA, kubelet, limits, timeouts, tls, engine, admin, audit";
    assert_eq!(error, want);
}

#[test]
fn parse_each_mistake_names_field_and_remedy() {
    let tcp = |fields: &str| format!("{HEAD}listeners: [{{name: l, tcp: {{{fields}}}}}]\n{SPLICE}");
    let uds =
        |fields: &str| format!("{HEAD}listeners: [{{name: l, unix: {{{fields}}}}}]\n{SPLICE}");
    let long = format!("path: /{}", "x".repeat(107));
    let table: Vec<(String, &str)> = vec![
        (
            "a: [1".into(),
            "line 1, column 4: not valid YAML: unclosed bracket '['",
        ),
        ("- x".into(), ": is a list, not a mapping; write its fields"),
        (
            format!("{HEAD}{SPLICE}"),
            "listeners: has no listener; add one",
        ),
        (format!("{HEAD}{UDS}"), "egress: is required; add `egress:"),
        (
            format!("{HEAD}{UDS}egress: {{rules: []}}"),
            "egress.rules: has no rule, so every",
        ),
        (with("limits: 5"), "limits: is a number, not a mapping"),
        (
            with("limits: {maxStreams: 0}"),
            "limits.maxStreams: 0 is out of range; write a whole",
        ),
        (
            with("limits: {maxUnauthenticated: 0}"),
            "limits.maxUnauthenticated: 0 is out of range; write a whole",
        ),
        (
            with("limits: {maxHandshakesPerSecond: 10, maxHandshakesPerSecondPerAddress: 11}"),
            "limits.maxHandshakesPerSecondPerAddress: 11 is more than maxHandshakesPerSecond (10)",
        ),
        (
            with("limits: {maxStreams: many}"),
            "limits.maxStreams: is a string, not a whole number",
        ),
        (
            with("limits: {maxStreams: 1.5}"),
            "limits.maxStreams: is a number, not a whole number",
        ),
        (
            with("limits: {maxStreams: 10, maxPendingDials: 11}"),
            "limits.maxPendingDials: 11 is more than maxStreams (10)",
        ),
        (
            with("timeouts: {dial: 5x}"),
            "timeouts.dial: \"5x\" is not a duration",
        ),
        (
            with("timeouts: {halfClosed: 200h}"),
            "timeouts.halfClosed: 200h is out of range; use 0s to 168h",
        ),
        (
            with("timeouts: {dial: 2h}"),
            "timeouts.dial: 2h is out of range; use 10ms to 10m",
        ),
        (
            with("engine: {io: select}"),
            "engine.io: \"select\" is not a known value; use one of: io_uring, epoll, auto",
        ),
        (
            with("engine: {ktls: maybe}"),
            "engine.ktls: \"maybe\" is not a known value; use one",
        ),
        (
            with("engine: {crypto: openssl}"),
            "engine.crypto: \"openssl\" is not a known value; use one of: auto, ring, aws-lc",
        ),
        (
            with("tls: {curvePreferences: [X25519, P-521]}"),
            "tls.curvePreferences[1]: is \"P-521\", which is no key exchange group",
        ),
        (
            with("engine: {workers: -1}"),
            "engine.workers: -1 is out of range",
        ),
        (
            with("admin: {address: 0.0.0.0:9464}"),
            "admin.address: 0.0.0.0:9464 is no loopback",
        ),
        (
            with("admin: {address: 9464}"),
            "admin.address: is a number, not a string; quote it",
        ),
        (
            with("admin: {address: localhost:1}"),
            "admin.address: \"localhost:1\" is not an address",
        ),
        (with("audit: {path: ''}"), "audit.path: is empty"),
        (
            with("audit: {onFailure: ignore}"),
            "audit.onFailure: \"ignore\" is not a known value; use one of: block, drop",
        ),
        (
            tcp("address: 1.2.3.4"),
            "listeners[0].tcp.address: \"1.2.3.4\" is not an address",
        ),
        (
            tcp("address: '1.2.3.4:5'"),
            "listeners[0].tcp.clientCAFile: is required",
        ),
        (uds("mode: '0600'"), "listeners[0].unix.path: is required"),
        (uds(&long), "listeners[0].unix.path: is 108 bytes long"),
        (
            uds("path: /x, mode: '0999'"),
            "listeners[0].unix.mode: \"0999\" is not a file mode",
        ),
        (
            uds("path: /x, owner: nobody-here"),
            "listeners[0].unix.owner: this host has no user",
        ),
        (
            uds("path: /x, group: nobody-here"),
            "listeners[0].unix.group: this host has no group",
        ),
        (
            uds("path: /x, allowedUIDs: [root]"),
            "listeners[0].unix.allowedUIDs[0]: is a string",
        ),
        (
            uds("path: /x, allowedUIDs: 0"),
            "listeners[0].unix.allowedUIDs: is a number, not a list",
        ),
        (
            format!("{HEAD}listeners: [{{name: l}}]\n{SPLICE}"),
            "listeners[0]: has none of `unix`",
        ),
        (
            format!(
                "{HEAD}listeners: [{{name: a, unix: {{path: /x}}}}, {{name: a, unix: {{path: /y}}}}]\n{SPLICE}"
            ),
            "listeners[1].name: another listener is named \"a\" already",
        ),
        (
            format!(
                "{HEAD}listeners: [{{name: a, unix: {{path: /x}}}}, {{name: b, unix: {{path: /x}}}}]\n{SPLICE}"
            ),
            "listeners[1]: another listener is bound there already",
        ),
        (
            rule("action: splice"),
            "egress.rules[0]: has neither `cidrs` nor `dnsSuffixes`",
        ),
        (
            rule("cidrs: [10.0.0.0/8]"),
            "egress.rules[0].action: is required",
        ),
        (
            rule("cidrs: 10.0.0.0/8, action: deny"),
            "egress.rules[0].cidrs: is a string, not a list",
        ),
        (
            rule("cidrs: ['::ffff:10.0.0.0/104'], action: deny"),
            "egress.rules[0].cidrs[0]: \"::ffff:10.0.0.0/104\" is an IPv4 network",
        ),
        (
            rule("dnsSuffixes: ['*.a.b'], action: deny"),
            "egress.rules[0].dnsSuffixes[0]: \"*.a.b\" is a wildcard",
        ),
        (
            rule("dnsSuffixes: [10.0.0.1], action: deny"),
            "egress.rules[0].dnsSuffixes[0]: \"10.0.0.1\" is an address",
        ),
        (
            rule("cidrs: [10.0.0.1], ports: [0], action: deny"),
            "egress.rules[0].ports[0]: is not a port",
        ),
        (
            rule("cidrs: [10.0.0.1], ports: ['9-8'], action: deny"),
            "egress.rules[0].ports[0]: is not a port",
        ),
        (
            rule("cidrs: [10.0.0.1], action: deny, protocol: opaque"),
            "egress.rules[0].protocol: is only for",
        ),
        (
            rule("cidrs: [10.0.0.1], action: splice, upstream: {}"),
            "egress.rules[0].upstream: does not apply",
        ),
        (
            rule("cidrs: [10.0.0.1], action: originate"),
            "egress.rules[0].upstream: is required",
        ),
        (
            rule("cidrs: [10.0.0.1], action: originate, upstream: {}"),
            "egress.rules[0].upstream: names nothing to trust",
        ),
        (
            rule("cidrs: [10.0.0.1], action: originate, upstream: {spkiSHA256: [abc]}"),
            "egress.rules[0].upstream.spkiSHA256[0]: \"abc\" is not a SHA-256",
        ),
        (
            format!(
                "{}  - {{name: s, cidrs: [10.1.0.0/16], action: deny}}\n",
                rule("cidrs: [10.0.0.0/8], action: splice")
            ),
            "egress.rules[1]: can never match: rule \"r\" before it covers it; move it",
        ),
        (
            format!(
                "{}  - {{name: r, cidrs: [11.0.0.0/8], action: deny}}\n",
                rule("cidrs: [10.0.0.0/8], action: splice")
            ),
            "egress.rules[1].name: another rule is named \"r\" already",
        ),
        (
            format!("{HEAD}{UDS}{KUBELET}{CA}"),
            "kubelet: is required by rule \"k\"",
        ),
        (
            format!("{HEAD}{UDS}{KUBELET}{TRUST}}}\n"),
            "egressCA: is required by rule \"k\"",
        ),
        (
            format!("{HEAD}{UDS}{KUBELET}{CA}{TRUST}, verification: off}}\n"),
            "kubelet.verification: \"off\" is not a known value; use one of: enforce, observe",
        ),
        (
            format!("{HEAD}{UDS}{KUBELET}{CA}{TRUST}, warm: 1m}}\n"),
            "kubelet.warm: is a string, not a boolean",
        ),
        (
            format!(
                "{HEAD}{UDS}{KUBELET}{CA}{TRUST}, actions: {{rules: [{{name: x, actions: [run, runs], effect: deny}}]}}}}\n"
            ),
            "kubelet.actions.rules[0].actions[1]: \"runs\" is not a known value; use one of: exec",
        ),
        (
            format!(
                "{HEAD}{UDS}{KUBELET}{CA}{TRUST}, actions: {{rules: [{{name: x, actions: [run], effect: deny}}, {{name: y, actions: [run], effect: allow}}]}}}}\n"
            ),
            "kubelet.actions.rules[1]: can never match",
        ),
        (
            format!("{HEAD}{UDS}{KUBELET}{CA}{TRUST}, pinsFile: p}}\n"),
            "kubelet.pinsFile: has no effect alone",
        ),
        (
            with("egressCA: {certFile: a, keyFile: b, leafLifetime: 5m}"),
            "egressCA.leafLifetime: 5m is out of range",
        ),
    ];
    for (text, want) in table {
        let found = errors(&text);
        assert!(
            found.iter().any(|error| error.starts_with(want)),
            "{text}\n{want}\n{found:#?}"
        );
    }
}

#[test]
fn parse_what_is_probably_not_meant_is_a_warning() {
    let table = [
        (
            format!("{HEAD}listeners: [{{name: l, unix: {{path: /x, mode: '0666'}}}}]\n{SPLICE}"),
            "listeners[0].unix.mode (line 3, column 46): 0666 lets every process",
        ),
        (
            rule("dnsSuffixes: [a.b], action: splice"),
            "egress.rules[0].dnsSuffixes (line 6, column 28): the owner of these",
        ),
        (
            format!("{HEAD}{UDS}{KUBELET}{CA}{TRUST}, verification: observe}}\n"),
            "kubelet.verification (line 6, column 99): lets kubelets pass",
        ),
        (
            format!("{HEAD}{UDS}{KUBELET}{CA}{TRUST}, apiserverClientNames: []}}\n"),
            "kubelet.apiserverClientNames (line 6, column 107): is empty",
        ),
        (
            format!("{HEAD}{UDS}{SPLICE}{TRUST}}}\n"),
            "kubelet: is not used",
        ),
        (
            with("engine: {ktls: require}"),
            "engine.ktls: has no effect",
        ),
        (
            with("admin: {address: 0.0.0.0:1, insecureNonLoopback: true}"),
            "admin.address (line 5, column 18): 0.0.0.0:1 is no loopback",
        ),
    ];
    for (text, want) in table {
        let found = warnings(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert!(found[0].starts_with(want), "{want}\n{}", found[0]);
    }
}

#[test]
fn load_missing_file_names_it() {
    let error = Config::load(Path::new("/nowhere/gateway.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nowhere/gateway.yaml has 1 error"),
        "{error}"
    );
    assert!(error.contains("cannot read the file"), "{error}");
}
