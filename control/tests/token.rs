//! `eyesplice token`, as people and scripts use it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ISSUER: &str = "https://kubernetes.default.svc";

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs in the directory, with `input`.
    fn run_with(&self, input: &str, arguments: &[&str]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_eyesplice"))
            .arg("token")
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may be gone.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it prints.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run_with("", arguments);
        assert_eq!(status(&output), 0, "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn refused(&self, input: &str, arguments: &[&str]) -> String {
        let output = self.run_with(input, arguments);
        assert_eq!(status(&output), 1, "{arguments:?}");
        stderr(&output)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments)).unwrap()
    }
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

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// Makes `sa.key` and `sa.pub`, as a cluster has them.
fn service_account_keys(dir: &Dir) {
    let pki = dir.path("pki");
    let made = Command::new(env!("CARGO_BIN_EXE_eyesplice"))
        .args([
            "pki",
            "init",
            pki.to_str().unwrap(),
            "--apiserver",
            "10.0.0.1",
        ])
        .output()
        .unwrap();
    assert_eq!(status(&made), 0, "{}", stderr(&made));
    for name in ["sa.key", "sa.pub"] {
        std::fs::copy(pki.join(name), dir.path(name)).unwrap();
    }
}

#[test]
fn wrong_command_line_exits_64() {
    let dir = Dir::new();
    for arguments in [
        &[][..],
        &["bootstrap"],
        &["bootstrap", "describe"],
        &["bootstrap", "describe", "ABC"],
        &["bootstrap", "delete"],
        &["bootstrap", "delete", "abcdef", "--expired"],
        &["bootstrap", "create", "--ttl", "1 day"],
        &["bootstrap", "create", "--usages", "everything"],
        &["static", "generate"],
        &["serviceaccount", "mint", "web"],
        &["serviceaccount", "verify", "--issuer", "x"],
        &["serviceaccount", "verify", "--key-file", "x"],
        &[
            "serviceaccount",
            "rotate-key",
            "begin",
            "--key",
            "a",
            "--public-keys",
            "b",
        ],
        &["review"],
    ] {
        let output = dir.run_with("", arguments);
        assert_eq!(status(&output), 64, "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn bootstrap_token_is_created_shown_expired_and_deleted() {
    let dir = Dir::new();
    let store = ["--dir", "tokens"];
    let run = |arguments: &[&str]| dir.done(&[&["bootstrap"], arguments, &store].concat());
    let token = run(&["create", "--ttl", "2h", "--description", "rack 7"]);
    let (id, secret) = token.trim().split_once('.').unwrap();
    assert_eq!((id.len(), secret.len()), (6, 16));
    let listed = run(&["list"]);
    assert!(
        listed.contains(id) && listed.contains("rack 7") && listed.contains("1h59m"),
        "{listed}"
    );
    assert!(!listed.contains(secret), "{listed}");
    let described = run(&["describe", id]);
    assert!(
        described.contains(&format!("kube-system/bootstrap-token-{id}")),
        "{described}"
    );
    assert!(!described.contains(secret), "{described}");
    let shown = run(&["describe", id, "--show-secret", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["token"], token.trim());
    assert_eq!(
        shown["usages"],
        serde_json::json!(["signing", "authentication"])
    );
    let groups = serde_json::json!(["system:bootstrappers:kubeadm:default-node-token"]);
    assert_eq!(shown["groups"], groups);

    let bound = run(&["create", "--node", "worker-7,worker-8", "--gateway", "gw-1"]);
    let of_names = run(&["describe", &bound[..6], "-o", "json"]);
    let of_names: Value = serde_json::from_str(&of_names).unwrap();
    assert_eq!(
        of_names["nodes"],
        serde_json::json!(["worker-7", "worker-8"])
    );
    assert_eq!(of_names["gateways"], serde_json::json!(["gw-1"]));
    run(&["delete", &bound[..6]]);
    let error = dir.refused(
        "",
        &["bootstrap", "create", "--node", "W 7", "--dir", "tokens"],
    );
    assert!(error.contains("which is no name"), "{error}");

    run(&["expire", id]);
    assert!(run(&["list"]).contains("expired"));
    assert_eq!(
        run(&["delete", "--expired"]),
        format!("bootstrap token {id} deleted\n")
    );
    let error = dir.refused("", &["bootstrap", "delete", id, "--dir", "tokens"]);
    assert!(
        error.contains(&format!("there is no bootstrap token {id}")),
        "{error}"
    );

    let given = "abcdef.0123456789abcdef\n";
    let create = ["bootstrap", "create", "-", "--dir", "tokens", "--ttl", "0"];
    let output = dir.run_with(given, &create);
    assert_eq!(stdout(&output), given);
    assert!(run(&["list"]).contains("forever"));
    let error = dir.refused(given, &create);
    assert!(error.contains("abcdef exists already"), "{error}");
    let error = dir.refused("hunter2", &create);
    assert!(
        error.contains("is no bootstrap token") && !error.contains("hunter2"),
        "{error}"
    );
    let error = dir.refused(
        "",
        &[
            "bootstrap",
            "create",
            "--dir",
            "tokens",
            "--groups",
            "system:masters",
        ],
    );
    assert!(error.contains("system:masters"), "{error}");
}

#[test]
fn static_token_is_generated_appended_and_checked() {
    let dir = Dir::new();
    let line = dir.done(&[
        "static", "generate", "--user", "jane", "--groups", "dev,ops",
    ]);
    let (token, rest) = line.trim().split_once(',').unwrap();
    assert_eq!((token.len(), rest), (32, "jane,,\"dev,ops\""));
    let append = [
        "static",
        "generate",
        "--user",
        "ci",
        "--uid",
        "7",
        "--file",
        "tokens.csv",
    ];
    let token = dir.done(&append);
    assert_eq!(token.trim().len(), 32);
    dir.done(&append);
    assert!(
        dir.done(&["static", "check", "tokens.csv"])
            .contains("valid: 2 tokens")
    );
    let text = std::fs::read_to_string(dir.path("tokens.csv")).unwrap();
    write(&dir.path("tokens.csv"), &format!("{text}short,x,1\n"));
    let checked = dir.json(&["static", "check", "tokens.csv", "-o", "json"]);
    assert_eq!(checked["tokens"], 3);
    let warning = checked["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("line 3, column 1: the token has 5 characters"),
        "{warning}"
    );
    write(
        &dir.path("tokens.csv"),
        &format!("{text}a,b\nsecret,\"x\"y,1\n"),
    );
    let error = dir.refused("", &["static", "check", "tokens.csv"]);
    assert!(
        error.contains("line 4, column 11: text behind a closing quote"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    let error = dir.refused("", &append);
    assert!(error.contains("nothing was appended"), "{error}");
}

#[test]
fn serviceaccount_token_is_minted_and_verified_by_key_and_by_jwks() {
    let dir = Dir::new();
    service_account_keys(&dir);
    let mint = [
        "serviceaccount",
        "mint",
        "web",
        "-n",
        "prod",
        "--uid",
        "u-web",
        "--key",
        "sa.key",
        "--issuer",
        ISSUER,
        "--duration",
        "10m",
    ];
    let bound = [
        "--bound-object-kind",
        "Pod",
        "--bound-object-name",
        "web-0",
        "--bound-object-uid",
        "u-0",
    ];
    let token = dir.done(&[&mint[..], &bound].concat());
    write(&dir.path("token"), &token);
    write(
        &dir.path("jwks.json"),
        &dir.done(&["sa", "jwks", "--key-file", "sa.pub"]),
    );
    for keys in [
        ["--key-file", "sa.pub"],
        ["--key-file", "sa.key"],
        ["--jwks", "jwks.json"],
    ] {
        let verify = [
            &["sa", "verify", "token", "--issuer", ISSUER, "-o", "json"],
            &keys[..],
        ];
        let verified = dir.json(&verify.concat());
        assert_eq!(
            verified["user"]["username"],
            "system:serviceaccount:prod:web"
        );
        assert_eq!(verified["claims"]["kubernetes.io"]["pod"]["name"], "web-0");
    }
    let output = dir.run_with(
        &token,
        &["sa", "verify", "--key-file", "sa.pub", "--issuer", ISSUER],
    );
    assert!(
        stdout(&output).contains("Pod:        web-0 (u-0)"),
        "{}",
        stdout(&output)
    );
    let verify = ["sa", "verify", "token", "--key-file", "sa.pub", "--issuer"];
    let error = dir.refused(
        "",
        &[&verify[..], &[ISSUER, "--audience", "vault"]].concat(),
    );
    assert!(
        error.contains("eyesplice: audience: the token is for https://"),
        "{error}"
    );
    let error = dir.refused("", &[&verify[..], &["https://other.example"]].concat());
    assert!(
        error.contains("eyesplice: token: the token is issued by"),
        "{error}"
    );
    let discovery = dir.json(&["sa", "jwks", "--key-file", "sa.pub", "--issuer", ISSUER]);
    assert_eq!(discovery["jwks_uri"], format!("{ISSUER}/openid/v1/jwks"));
    let error = dir.refused("", &[&mint[..11], &["--duration", "1m"]].concat());
    assert!(
        error.contains("lifetime of 60 s is out of range"),
        "{error}"
    );
}

#[test]
fn serviceaccount_key_is_rotated_without_a_refused_token() {
    let dir = Dir::new();
    service_account_keys(&dir);
    let mint = || {
        let account = [
            "sa", "mint", "web", "--uid", "u", "--key", "sa.key", "--issuer", ISSUER,
        ];
        dir.done(&account)
    };
    let verify = |token: &str| {
        let verify = ["sa", "verify", "--key-file", "sa.pub", "--issuer", ISSUER];
        status(&dir.run_with(token, &verify))
    };
    let stage = |stage: &str, more: &[&str]| {
        let files = ["--key", "sa.key", "--public-keys", "sa.pub", "-o", "json"];
        dir.json(&[&["sa", "rotate-key", stage], &files[..], more].concat())
    };
    let before = mint();
    assert_eq!(stage("status", &[])["stage"], "idle");
    let trusted = stage("trust", &["--algorithm", "es384"]);
    assert_eq!((&trusted["stage"], verify(&before)), (&"trusted".into(), 0));
    assert_eq!(verify(&mint()), 0);
    let switched = stage("switch", &[]);
    assert_eq!(switched["signing"], trusted["next"]);
    let after = mint();
    assert_eq!((verify(&before), verify(&after)), (0, 0));
    let drop = [
        "sa",
        "rotate-key",
        "drop",
        "--key",
        "sa.key",
        "--public-keys",
        "sa.pub",
    ];
    let error = dir.refused("", &drop);
    assert!(
        error.contains("tokens of the key ") && error.contains(" may live until "),
        "{error}"
    );
    assert_eq!(stage("drop", &["--token-lifetime", "0s"])["stage"], "idle");
    assert_eq!((verify(&before), verify(&after)), (1, 0));
}

#[test]
fn review_names_the_user_or_what_failed() {
    let dir = Dir::new();
    service_account_keys(&dir);
    let bootstrap = dir.done(&["bootstrap", "create", "--dir", "tokens"]);
    let entry = [
        "static",
        "generate",
        "--user",
        "jane",
        "--file",
        "tokens.csv",
    ];
    let fixed = dir.done(&entry);
    let account = dir.done(&[
        "sa", "mint", "web", "--uid", "u", "--key", "sa.key", "--issuer", ISSUER,
    ]);
    let config = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: AuthenticationConfig\nbootstrapTokenDir: tokens\n\
         tokenAuthFile: tokens.csv\nserviceAccounts: {{issuers: [{ISSUER}], keyFiles: [sa.pub]}}\n"
    );
    write(&dir.path("authn.yaml"), &config);
    let review = ["review", "--config", "authn.yaml"];
    for (token, name) in [
        (&bootstrap, "system:bootstrap:"),
        (&fixed, "jane"),
        (&account, "system:serviceaccount:default:web"),
    ] {
        let output = dir.run_with(token, &review);
        let text = stdout(&output);
        assert!(
            text.contains(name) && text.contains("system:authenticated"),
            "{text}"
        );
    }
    let error = dir.refused("nobody", &review);
    assert!(
        error.contains("token: bearer token refused: no configured source"),
        "{error}"
    );
    let id = bootstrap.split('.').next().unwrap();
    dir.done(&["bootstrap", "expire", id, "--dir", "tokens"]);
    let error = dir.refused(&bootstrap, &review);
    assert!(error.contains("expiry: bootstrap token refused"), "{error}");
    write(
        &dir.path("authn.yaml"),
        &config.replace("keyFiles", "keyfile"),
    );
    let error = dir.refused("x", &review);
    assert!(error.contains("did you mean `keyFiles`?"), "{error}");
}
