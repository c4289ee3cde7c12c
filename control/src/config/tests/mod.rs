mod break_glass;
mod front;
mod mistakes;
mod short_way;
mod tunnel;

use super::*;
use crate::check::check;
use eyesplice_dataplane::engine::{Bind, KtlsPolicy};
use eyesplice_identity::document::{ConfigError, ConfigErrors, FileRef, value};
use eyesplice_proto::route::Action;
use std::time::Duration;

const FILE: &str = "/etc/eyesplice/gateway.yaml";

const HEAD: &str = "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\n";
const UDS: &str = "listeners: [{name: uds, unix: {path: /run/e.sock}}]\n";
const SPLICE: &str = "egress: {rules: [{name: r, cidrs: [10.0.0.0/8], action: splice}]}\n";
const KUBELET: &str = "egress: {rules: [{name: k, cidrs: [10.0.0.0/8], action: terminate}]}\n";
const CA: &str = "egressCA: {certFile: e.crt, keyFile: e.key}\n";
const TRUST: &str = "kubelet: {caFile: a, clientCertFile: b, clientKeyFile: c, \
                     apiserverClientCAFile: d";

type Loaded = eyesplice_identity::document::Loaded<Config>;

fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    Config::parse(text, Path::new(FILE))
}

/// The errors as the user sees them, without their places.
fn errors(text: &str) -> Vec<String> {
    let Err(errors) = parse(text) else {
        return Vec::new();
    };
    let show = |error: &ConfigError| match error {
        ConfigError::Field(f) => format!("{}: {}; {}", f.path, f.what, f.fix),
        other => other.to_string(),
    };
    errors.errors.iter().map(show).collect()
}

fn warnings(text: &str) -> Vec<String> {
    parse(text)
        .unwrap()
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn with(rest: &str) -> String {
    format!("{HEAD}{UDS}{SPLICE}{rest}")
}

fn rule(fields: &str) -> String {
    format!("{HEAD}{UDS}egress:\n  rules:\n  - {{name: r, {fields}}}\n")
}

#[test]
fn check_tells_form_and_files_at_once_and_where_each_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("junk.crt", "junk");
    let text = "apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: tcp
  tcp:
    address: 127.0.0.1:0
    tlsCertFile: absent.crt
    tlsPrivateKeyFile: absent.key
    clientCAFile: junk.crt
egress:
  rules:
  - {name: k, cidrs: [10.0.0.0/8], action: terminate}
  - name: o
    cidrs: [11.1.0.0/16]
    action: originate
    upstream: {caFile: none.crt}
egressCA: {certFile: e.crt, keyFile: e.key}
kubelet:
  caFile: junk.crt
  clientCertFile: b
  clientKeyFile: b
  apiserverClientCAFile: d
  inventoryFile: nodes.yaml
limits: {maxStreams: many}
";
    write("gateway.yaml", text);
    let now = std::time::SystemTime::UNIX_EPOCH;
    let errors = check(&dir.path().join("gateway.yaml"), now).unwrap_err();
    let lines: Vec<String> = errors.to_string().lines().map(str::to_owned).collect();
    let has = |place: &str, words: &str| {
        let found = lines
            .iter()
            .any(|line| line.contains(place) && line.contains(words));
        assert!(found, "{place}, {words}: {lines:#?}");
    };
    has("limits.maxStreams (line 24, column 22)", "is a string");
    has(
        "line 7, column 18: ",
        "absent.crt (listeners[0].tcp.tlsCertFile): does not exist",
    );
    has(
        "line 9, column 19: ",
        "(listeners[0].tcp.clientCAFile): holds no CERTIFICATE block",
    );
    has(
        "line 16, column 24: ",
        "(egress.rules[1].upstream.caFile): does not exist",
    );
    has(
        "line 17, column 11: ",
        "(egressCA.certFile): does not exist",
    );
    has(
        "line 19, column 11: ",
        "(kubelet.caFile): holds no CERTIFICATE block",
    );
    has(
        "line 22, column 26: ",
        "(kubelet.apiserverClientCAFile): does not exist",
    );
    has("line 23, column 18: ", "kubelet.inventoryFile");
    // In the order of the file.
    let number = |line: &String| {
        let digits = line.split("line ").nth(1)?.split(',').next()?;
        digits.parse::<u32>().ok()
    };
    let numbers: Vec<u32> = lines.iter().filter_map(number).collect();
    assert!(numbers.is_sorted(), "{lines:#?}");
    assert!(numbers.len() >= 8, "{lines:#?}");
}

#[test]
fn check_tells_the_mistakes_of_the_authority_beside_those_of_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let authority = "apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: '127.0.0.1:0', tlsCertFile: s.crt, tlsPrivateKeyFile: s.key}
store: {path: a.redb}
authentication: {clientCAFile: c.crt}
signers:
- {signerName: kubernetes.io/kubelet-serving, certFile: x.crt, keyFile: x.key}
";
    std::fs::write(dir.path().join("a.yaml"), authority).unwrap();
    let gateway = with("authority: {configFile: a.yaml}\nlimits: {maxStreams: many}\n");
    std::fs::write(dir.path().join("gateway.yaml"), gateway).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH;
    let text = check(&dir.path().join("gateway.yaml"), now)
        .unwrap_err()
        .to_string();
    for words in [
        "gateway.yaml has 1 error",
        "limits.maxStreams (line 6",
        "line 3, column 47: ",
        "s.crt (listen.tlsCertFile): does not exist",
        "line 7, column 3: ",
        "signers[kubernetes.io/kubelet-serving]",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn parse_minimal_configuration_fills_in_the_defaults() {
    let Loaded { config, warnings } = parse(&with("")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.admin.address, "127.0.0.1:9464".parse().unwrap());
    assert_eq!(config.audit.sink, AuditSink::Stdout);
    assert_eq!(config.audit.on_failure, OnFailure::Drop);
    assert_eq!(config.engine.ktls, KtlsPolicy::Off);
    let engine = config.engine_config(3);
    assert_eq!(engine.workers, 3);
    let Bind::Unix { mode, uid, .. } = engine.listeners[0].bind else {
        panic!("a socket")
    };
    assert_eq!((mode, uid), (0o600, None));
}

/// Builds a document around one field.
type Text = fn(&str) -> String;

#[test]
fn parse_examples_are_valid_and_the_full_one_has_every_field() {
    for (name, text) in [
        (
            "gateway.yaml",
            include_str!("../../../examples/gateway.yaml"),
        ),
        (
            "gateway-full.yaml",
            include_str!("../../../examples/gateway-full.yaml"),
        ),
        (
            "gateway-tunnel.yaml",
            include_str!("../../../examples/gateway-tunnel.yaml"),
        ),
        (
            "gateway-front.yaml",
            include_str!("../../../examples/gateway-front.yaml"),
        ),
    ] {
        let loaded = parse(text).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    }
    // The list of known fields comes from the reader itself: a misspelt field names its neighbours.
    let full = include_str!("../../../examples/gateway-full.yaml");
    let reference = include_str!("../../../../docs/config.md");
    let sections: [(&str, Text); 33] = [
        ("", |f| with(f)),
        ("unix", |f| {
            format!("{HEAD}listeners: [{{name: l, unix: {{path: /x, {f}}}}}]\n{SPLICE}")
        }),
        ("tcp", |f| {
            format!("{HEAD}listeners: [{{name: l, tcp: {{{f}}}}}]\n{SPLICE}")
        }),
        ("tunnel listener", |f| {
            format!("{HEAD}listeners: [{{name: l, tunnel: {{{f}}}}}]\n{SPLICE}")
        }),
        ("front listener", |f| {
            format!("{HEAD}listeners: [{{name: l, front: {{{f}}}}}]\n{SPLICE}")
        }),
        ("apiserver listener", |f| {
            format!("{HEAD}listeners: [{{name: l, apiserver: {{{f}}}}}]\n{SPLICE}")
        }),
        ("apiservers", |f| with(&format!("apiservers: {{{f}}}"))),
        ("front", |f| with(&format!("front: {{{f}}}"))),
        ("shortWay", |f| {
            with(&format!("front: {{shortWay: {{{f}}}}}"))
        }),
        ("front.audit", |f| {
            with(&format!("front: {{audit: {{{f}}}}}"))
        }),
        ("front.limits", |f| {
            with(&format!("front: {{limits: {{{f}}}}}"))
        }),
        ("front.breakGlass", |f| {
            with(&format!("front: {{breakGlass: {{{f}}}}}"))
        }),
        ("front.breakGlass.vantage", |f| {
            with(&format!("front: {{breakGlass: {{vantage: {{{f}}}}}}}"))
        }),
        ("front.breakGlass.allow", |f| {
            with(&format!("front: {{breakGlass: {{allow: [{{{f}}}]}}}}"))
        }),
        ("tunnel", |f| with(&format!("tunnel: {{{f}}}"))),
        ("agents", |f| {
            with(&format!("tunnel: {{agents: [{{{f}}}]}}"))
        }),
        ("pool", |f| with(&format!("tunnel: {{pool: {{{f}}}}}"))),
        ("peers", |f| with(&format!("tunnel: {{peers: {{{f}}}}}"))),
        ("egress", |f| format!("{HEAD}{UDS}egress: {{{f}}}\n")),
        ("rule", |f| rule(&format!("action: terminate, {f}"))),
        ("upstream", |f| {
            rule(&format!(
                "cidrs: [10.0.0.0/8], action: originate, upstream: {{{f}}}"
            ))
        }),
        ("identity", |f| with(&format!("identity: {{{f}}}"))),
        ("authority", |f| with(&format!("authority: {{{f}}}"))),
        ("tlsFromAuthority", |f| {
            format!("{HEAD}listeners: [{{name: l, tcp: {{tlsFromAuthority: {{{f}}}}}}}]\n{SPLICE}")
        }),
        ("egressCA", |f| with(&format!("egressCA: {{{f}}}"))),
        ("egressCA", |f| {
            with(&format!("egressCA: {{fromAuthority: true, {f}}}"))
        }),
        ("kubelet", |f| with(&format!("kubelet: {{{f}}}"))),
        ("actions", |f| {
            with(&format!("kubelet: {{actions: {{{f}}}}}"))
        }),
        ("limits", |f| with(&format!("limits: {{{f}}}"))),
        ("timeouts", |f| with(&format!("timeouts: {{{f}}}"))),
        ("engine", |f| with(&format!("engine: {{{f}}}"))),
        ("admin", |f| with(&format!("admin: {{{f}}}"))),
        ("audit", |f| with(&format!("audit: {{{f}}}"))),
    ];
    for (section, text) in sections {
        let message = errors(&text("qqqqqqqqqqqqqqqq: 1"));
        let known = message
            .iter()
            .find_map(|m| m.split("; known here: ").nth(1));
        let known = known.unwrap_or_else(|| panic!("{section}: {message:?}"));
        for field in known.split(", ") {
            let needle = format!("{field}:");
            assert!(
                full.contains(&needle),
                "examples/gateway-full.yaml lacks {section}.{field}"
            );
            let needle = format!("`{field}`");
            assert!(
                reference.contains(&needle),
                "docs/config.md lacks {section}.{field}"
            );
        }
    }
}

#[test]
fn parse_relative_paths_start_at_the_file() {
    let Loaded { config, .. } = parse(&format!(
        "{HEAD}{UDS}{KUBELET}{CA}{TRUST}, inventoryFile: i, pinsFile: p/q}}\n"
    ))
    .unwrap();
    let kubelet = config.kubelet.as_ref().unwrap();
    assert_eq!(
        kubelet.ca_file,
        FileRef::new("kubelet.caFile", "/etc/eyesplice/a")
    );
    let pins = FileRef::new("kubelet.pinsFile", "/etc/eyesplice/p/q");
    assert_eq!(kubelet.pins_file, Some(pins));
    let files: Vec<String> = config
        .files()
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    let want = [
        "a",
        "b",
        "c",
        "d",
        "e.crt",
        "e.key",
        "gateway.yaml",
        "i",
        "p/q",
    ];
    assert_eq!(files, want.map(|name| format!("/etc/eyesplice/{name}")));
}

#[test]
fn parse_actions_first_rule_decides_and_default_takes_the_rest() {
    let text = format!(
        "{HEAD}{UDS}{KUBELET}{CA}{TRUST}, actions: {{default: deny, rules: [\
         {{name: logs-only, actions: [logs, metrics], effect: allow}}, \
         {{name: no-exec, actions: [exec, logs], effect: deny}}]}}}}\n"
    );
    let config = parse(&text).unwrap().config;
    let actions = config.kubelet.unwrap().actions;
    let denied = |action| actions.denies(action).map(ToString::to_string);
    assert_eq!(denied(Action::Logs), None);
    assert_eq!(denied(Action::Metrics), None);
    assert_eq!(denied(Action::Exec).as_deref(), Some("no-exec"));
    assert_eq!(denied(Action::PortForward).as_deref(), Some("default"));
}

#[test]
fn parse_actions_shell_is_every_way_to_a_process() {
    let text = format!(
        "{HEAD}{UDS}{KUBELET}{CA}{TRUST}, actions: {{rules: [\
         {{name: no-shell, actions: [shell, checkpoint], effect: deny}}]}}}}\n"
    );
    let loaded = parse(&text).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let actions = loaded.config.kubelet.unwrap().actions;
    let denied: Vec<_> = Action::ALL
        .iter()
        .filter(|action| actions.denies(**action).is_some())
        .collect();
    let want = [
        Action::Exec,
        Action::Attach,
        Action::Run,
        Action::Checkpoint,
    ];
    assert_eq!(denied, want.iter().collect::<Vec<_>>());
}

#[test]
fn warnings_tell_of_a_shell_that_is_left_open() {
    let of = |actions: &str| {
        warnings(&format!(
            "{HEAD}{UDS}{KUBELET}{CA}{TRUST}, actions: {{{actions}}}}}\n"
        ))
    };
    let rule =
        |actions: &str| format!("rules: [{{name: no-exec, actions: [{actions}], effect: deny}}]");
    for (actions, open) in [
        ("exec", "attach and run"),
        ("exec, attach", "run"),
        ("exec, run, portForward", "attach"),
    ] {
        let found = of(&rule(actions));
        let words = format!("denies exec and allows {open}, ");
        assert!(
            found.len() == 1
                && found[0].starts_with("kubelet.actions (")
                && found[0].contains(&words),
            "{actions}: {found:?}"
        );
    }
    let let_in = "default: deny, rules: [{name: a, actions: [run, logs], effect: allow}]";
    assert!(of(let_in)[0].contains("allows run,"));
    for whole in [
        rule("shell"),
        rule("exec, attach, run"),
        rule("run"),
        "default: deny".to_owned(),
    ] {
        assert_eq!(of(&whole), Vec::<String>::new(), "{whole}");
    }
}

#[test]
fn parse_duration_reads_what_go_reads() {
    let seconds = |s: f64| Some(Duration::from_secs_f64(s));
    for (text, want) in [
        ("10s", seconds(10.0)),
        ("1m30s", seconds(90.0)),
        ("500ms", seconds(0.5)),
        ("1.5h", seconds(5400.0)),
        (".5s", seconds(0.5)),
        ("1h0m0s", seconds(3600.0)),
        ("0", Some(Duration::ZERO)),
        ("0s", Some(Duration::ZERO)),
        ("3us", Some(Duration::from_micros(3))),
        ("3µs", Some(Duration::from_micros(3))),
        ("", None),
        ("s", None),
        ("5", None),
        ("5 s", None),
        ("-5s", None),
        ("5d", None),
        (".s", None),
        ("99999999999999999999s", None),
        ("9999999999h", None),
        ("1.0000000001s", None),
    ] {
        assert_eq!(value::parse_duration(text), want, "{text:?}");
    }
}

#[test]
fn limits_unset_bounds_follow_max_streams() {
    let config = parse(&with("limits: {maxStreams: 100}")).unwrap().config;
    assert_eq!(config.limits.max_streams_per_peer, 100);
    assert_eq!(config.limits.max_pending_dials, 100);
    let config = parse(&with("limits: {maxStreams: 50000}")).unwrap().config;
    assert_eq!(config.limits.max_streams_per_peer, 50_000);
    assert_eq!(config.limits.max_pending_dials, 2000);
}

#[test]
fn half_closed_is_a_minute_unless_it_is_set_and_zero_is_for_ever() {
    for (text, limit) in [
        ("", Some(Duration::from_secs(60))),
        ("timeouts: {dial: 1s}", Some(Duration::from_secs(60))),
        ("timeouts: {halfClosed: 5m}", Some(Duration::from_secs(300))),
        ("timeouts: {halfClosed: 0s}", None),
    ] {
        let config = parse(&with(text)).unwrap().config;
        assert_eq!(config.stream_limits().half_closed_timeout, limit, "{text}");
    }
}

#[test]
fn handshakes_of_one_address_follow_those_of_all() {
    let of_one = |text: &str| {
        let limits = parse(&with(text)).unwrap().config.limits;
        limits.max_handshakes_per_second_per_address
    };
    assert_eq!(of_one(""), 100);
    assert_eq!(of_one("limits: {maxHandshakesPerSecond: 10}"), 10);
    let both = "limits: {maxHandshakesPerSecond: 10, maxHandshakesPerSecondPerAddress: 3}";
    assert_eq!(of_one(both), 3);
}

#[test]
fn restart_required_names_what_a_reload_cannot_do() {
    let load = |text: String| parse(&text).unwrap().config;
    let old = load(with(""));
    assert_eq!(old.restart_required(&old), Vec::<String>::new());
    let new = load(with(
        "limits: {maxStreams: 5, maxPipesPerWorker: 1}\ntimeouts: {dial: 1s, tcpKeepalive: 1s}\n\
         engine: {workers: 2}\nadmin: {address: '127.0.0.1:1'}\naudit: {path: /a, onFailure: block}",
    ));
    let want = [
        "limits.maxPipesPerWorker",
        "timeouts.tcpKeepalive",
        "engine.workers",
        "admin.address",
        "audit.path",
        "audit.onFailure",
    ];
    assert_eq!(old.restart_required(&new), want);
    let moved = load(format!(
        "{HEAD}listeners: [{{name: uds, unix: {{path: /y, allowedUIDs: [1]}}}}, \
         {{name: two, unix: {{path: /z}}}}]\n{SPLICE}"
    ));
    let want = ["listeners[0].unix.path", "listeners[1] (two: new)"];
    assert_eq!(old.restart_required(&moved), want);
    assert_eq!(moved.restart_required(&old)[1], "listeners (two: removed)");
}

#[test]
fn parse_every_prefix_of_the_full_example_is_an_answer() {
    let text = include_str!("../../../examples/gateway-full.yaml");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        if let Err(errors) = parse(&text[..end]) {
            assert!(!errors.errors.is_empty());
        }
    }
}
