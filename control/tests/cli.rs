//! Exit statuses and outputs of the binary, as scripts see them.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

use std::path::Path;
use std::process::{Command, Output};

fn eyesplice(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eyesplice"))
        .args(arguments)
        .output()
        .unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn pki_init(dir: &Path, more: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    let mut arguments = vec!["pki", "init", dir, "--apiserver", "10.0.0.1"];
    arguments.extend(["--node", "worker-3=10.0.0.7", "--gateway", "10.0.0.1"]);
    arguments.extend(more);
    eyesplice(&arguments)
}

#[test]
fn wrong_command_line_exits_64() {
    for arguments in [
        &[][..],
        &["gatway"],
        &["gateway"],
        &["gateway", "--config"],
        &["gateway", "--config", "f", "--log-format", "xml"],
        &["gateway", "--config", "f", "--log-level", "eyesplice=loud"],
        &["check"],
        &["probe", "-o", "yaml"],
        &["pki", "init"],
        &["pki", "init", "d", "--node", "worker-3"],
        &["pki", "init", "d", "--service-ip", "300.0.0.1"],
        &[
            "pki",
            "init",
            "d",
            "--config",
            "f",
            "--apiserver",
            "10.0.0.1",
        ],
        &["pki", "renew", "d"],
        &["pki", "renew", "d", "--all", "--due"],
        &["pki", "issue", "d", "--user", "a/b"],
        &["kubeconfig", "create", "f", "admin"],
        &["kubeconfig", "create", "f", "x", "--server", "https://x"],
    ] {
        let output = eyesplice(arguments);
        assert_eq!(status(&output), 64, "{arguments:?}: {}", stderr(&output));
        assert!(
            !output.stderr.is_empty(),
            "{arguments:?} says what is wrong"
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_exit_0() {
    for arguments in [
        &["--help"][..],
        &["help", "gateway"],
        &["gateway", "--help"],
        &["check", "--help"],
        &["probe", "--help"],
        &["pki", "init", "--help"],
        &["pki", "renew", "--help"],
        &["kubeconfig", "check", "--help"],
        &["--version"],
        &["version"],
    ] {
        let output = eyesplice(arguments);
        assert_eq!(status(&output), 0, "{arguments:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
    let text = stdout(&eyesplice(&["version"]));
    assert_eq!(text, format!("eyesplice {}\n", env!("CARGO_PKG_VERSION")));
    let json = stdout(&eyesplice(&["version", "-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn pki_init_writes_once() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    let output = pki_init(&pki, &[]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("egress-ca.crt"));
    assert!(pki.join("admin.kubeconfig").exists());

    let output = pki_init(&pki, &[]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));
    assert_eq!(status(&pki_init(&pki, &["--force"])), 0);
}

#[test]
fn pki_verify_exits_1_only_if_something_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    assert_eq!(status(&pki_init(&pki, &[])), 0);
    let path = pki.to_str().unwrap();
    let verify = || eyesplice(&["pki", "verify", path]);
    let output = verify();
    assert_eq!(status(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).ends_with("are good, 0 have warnings, 0 are wrong\n"));
    std::fs::remove_file(pki.join("ca.key")).unwrap();
    let output = verify();
    assert_eq!(status(&output), 0, "a warning alone: {}", stdout(&output));
    std::fs::remove_file(pki.join("apiserver.crt")).unwrap();
    let output = verify();
    assert_eq!(status(&output), 1);
    assert!(
        stdout(&output).contains("apiserver.crt: error: "),
        "{}",
        stdout(&output)
    );
    let json = stdout(&eyesplice(&["pki", "show", path, "-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let files = json["files"].as_array().unwrap();
    let row = files
        .iter()
        .find(|row| row["file"] == "apiserver.crt")
        .unwrap();
    assert_eq!(row["flaws"][0]["severity"], "error");
    assert_eq!(row["authority"], "ca.crt");
    let table = stdout(&eyesplice(&["pki", "show", path]));
    assert!(
        table.starts_with("FILE ") && table.contains("CN=system:node:worker-3"),
        "{table}"
    );
}

#[test]
fn pki_renew_and_issue_say_what_they_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    assert_eq!(status(&pki_init(&pki, &[])), 0);
    let path = pki.to_str().unwrap();
    let output = eyesplice(&["pki", "renew", path, "--due"]);
    assert_eq!(
        stdout(&output),
        "no certificate is due; nothing was renewed\n"
    );
    let output = eyesplice(&["pki", "renew", path, "admin"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(
        stdout(&output).contains("admin.kubeconfig\n3 files written"),
        "{}",
        stdout(&output)
    );
    let output = eyesplice(&["pki", "issue", path, "--node", "worker-4=10.0.0.8"]);
    assert!(
        stdout(&output).contains("kubelet-worker-4.crt"),
        "{}",
        stderr(&output)
    );
    let output = eyesplice(&["pki", "renew", path, "ca"]);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("rotate-ca"), "{}", stderr(&output));
}

#[test]
fn kubeconfig_is_created_once_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    assert_eq!(status(&pki_init(&pki, &[])), 0);
    let file = dir.path().join("x.conf");
    let (file, pki) = (file.to_str().unwrap(), pki.to_str().unwrap());
    let create = ["kubeconfig", "create", file, "scheduler", "--pki", pki];
    let output = eyesplice(&create);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(status(&eyesplice(&create)), 1, "it is there already");
    let output = eyesplice(&["kubeconfig", "check", "--offline", file]);
    assert_eq!(status(&output), 0, "{}", stdout(&output));
    let output = eyesplice(&["kubeconfig", "create", "-", "scheduler", "--pki", pki]);
    assert_eq!(stdout(&output), std::fs::read_to_string(file).unwrap());
    let ca = dir.path().join("pki/ca.crt");
    let output = eyesplice(&["kubeconfig", "check", "--offline", ca.to_str().unwrap()]);
    assert_eq!(status(&output), 1);
}

#[test]
fn check_of_an_absent_file_exits_1() {
    for command in [
        &["check", "/nonexistent/g.yaml"][..],
        &["gateway", "--config", "/nonexistent/g.yaml"],
    ] {
        let output = eyesplice(command);
        assert_eq!(status(&output), 1, "{command:?}");
        assert!(
            stderr(&output).contains("/nonexistent/g.yaml"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn check_names_every_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\nlisteners: []\nadmn: {}\n\
                timeouts: {dial: soon}\n";
    std::fs::write(&file, text).unwrap();
    let output = eyesplice(&["check", file.to_str().unwrap()]);
    assert_eq!(status(&output), 1);
    for name in ["listeners", "admn", "timeouts.dial"] {
        assert!(
            stderr(&output).contains(name),
            "{name}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn check_of_an_agent_says_what_it_dials() {
    let dir = tempfile::tempdir().unwrap();
    let made = pki_init(dir.path(), &["--agent", "edge-1"]);
    assert_eq!(status(&made), 0, "{}", stderr(&made));
    let config = dir.path().join("agent.yaml");
    let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: AgentConfig\n\
                identity: {certFile: agent-edge-1.crt, keyFile: agent-edge-1.key}\n\
                gateways: {addresses: [\"gw.example:8133\"], caFile: egress-ca.crt}\n\
                allow: {kubelet: {address: 127.0.0.1}, cidrs: [10.0.0.0/8], ports: [443]}\n";
    std::fs::write(&config, text).unwrap();
    let output = eyesplice(&["check", config.to_str().unwrap()]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    for part in [
        "agent: eyesplice:agent:edge-1\n",
        "gateways: gw.example:8133; all of up to three are held, else two\n",
        "  the kubelet at 127.0.0.1:10250\n  10.0.0.0/8, ports 443\n  nothing else\n",
    ] {
        assert!(
            stdout(&output).contains(part),
            "{part}: {}",
            stdout(&output)
        );
    }
    std::fs::write(
        &config,
        text.replace("keyFile: agent-edge-1", "keyFile: other"),
    )
    .unwrap();
    let output = eyesplice(&["check", config.to_str().unwrap()]);
    assert_eq!(status(&output), 1);
    let place = "line 3, column 49: ";
    assert!(stderr(&output).contains(place), "{}", stderr(&output));
}

#[test]
fn tunnel_revoke_changes_the_list_that_the_gateway_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let list = path("deny.yaml");
    let made = eyesplice(&["tunnel", "revoke", "edge-1", "--deny-file", &list]);
    assert_eq!(status(&made), 0, "{}", stderr(&made));
    let config = "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\n\
                  listeners: [{name: uds, unix: {path: e.sock}}]\n\
                  tunnel: {agents: [{name: edge-1, cidrs: [10.0.0.0/8]}], denyFile: deny.yaml}\n\
                  egress: {rules: [{name: r, cidrs: [10.0.0.0/8], action: splice}]}\n";
    std::fs::write(path("gateway.yaml"), config).unwrap();
    let of = path("gateway.yaml");
    let more = [
        "tunnel",
        "revoke",
        "system:node:w1",
        "--serial",
        "0A:1b",
        "--config",
        &of,
    ];
    let output = eyesplice(&more);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with("system:node:w1, a1b in "),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&eyesplice(&more)).contains("it is there already"));
    let text = std::fs::read_to_string(&list).unwrap();
    assert_eq!(
        text,
        "apiVersion: eyesplice.dev/v1alpha1\nkind: TunnelDenyList\nnames:\n- \"edge-1\"\n\
         - \"system:node:w1\"\nserials:\n- \"a1b\"\n"
    );
    for (arguments, words) in [
        (vec!["a b", "--deny-file", &list], "is no name of an agent"),
        (
            vec!["--serial", "xyz", "--deny-file", &list],
            "is no serial number",
        ),
        (
            vec!["x", "--deny-file", &of],
            "write `kind: TunnelDenyList`",
        ),
    ] {
        let output = eyesplice(&[&["tunnel", "revoke"], arguments.as_slice()].concat());
        assert_eq!(status(&output), 1, "{arguments:?}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    let output = eyesplice(&["tunnel", "status", "--admin", "127.0.0.1:1"]);
    assert_eq!(status(&output), 1);
    assert!(
        stderr(&output).contains("does the process run"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn probe_prints_a_table_and_json() {
    let table = eyesplice(&["probe"]);
    assert!([0, 1, 69].contains(&status(&table)), "{}", stderr(&table));
    assert!(stdout(&table).contains("io_uring"), "{}", stdout(&table));
    let json = eyesplice(&["probe", "-o", "json"]);
    assert_eq!(status(&json), status(&table));
    let json: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert!(
        json["capabilities"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    );
}

#[test]
fn generate_writes_pages_and_completions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for what in ["man", "completions"] {
        let output = eyesplice(&["generate", what, path]);
        assert_eq!(status(&output), 0, "{what}: {}", stderr(&output));
    }
    assert!(dir.path().join("eyesplice-gateway.1").exists());
    assert!(dir.path().join("_eyesplice").exists());
}
