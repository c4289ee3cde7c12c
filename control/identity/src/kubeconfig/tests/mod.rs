//! Kubeconfigs, good and bad.

mod corpus;

use super::*;
use crate::kubeconfig::Severity;
use crate::pki::kubeconfig::{CreateError, Request, create, write};
use crate::pki::testing::{Made, Recipe, authority, client, kubelet, now};
use crate::pki::{InitOptions, init};
use data_encoding::BASE64;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use time::Duration;
use zeroize::Zeroizing;

struct Site {
    dir: TempDir,
    ca: Made,
    user: Made,
}

impl Site {
    fn new() -> Self {
        let ca = authority("kubernetes").self_signed();
        let user = client("jane").signed_by(&ca);
        let dir = tempfile::tempdir().unwrap();
        Self { dir, ca, user }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn good(&self) -> Kubeconfig {
        let data = |text: String| Source::Data(Zeroizing::new(text));
        Kubeconfig {
            cluster: "c".to_owned(),
            server: "https://10.0.0.1:6443".to_owned(),
            tls_server_name: None,
            namespace: None,
            user: "jane".to_owned(),
            authority: Some(data(self.ca.certificate.pem())),
            credential: Credential::Certificate {
                certificate: data(self.user.certificate.pem()),
                key: data(self.user.key.serialize_pem()),
            },
        }
    }

    /// Checks a text; gives `severity: message` of each flaw.
    fn check(&self, text: &str) -> Vec<String> {
        let path = self.write("config", text);
        lines(&check(&path, &CheckOptions::at(now())).flaws)
    }
}

fn lines(flaws: &[Flaw]) -> Vec<String> {
    let line = |flaw: &Flaw| format!("{}: {flaw}", flaw.severity().as_str());
    flaws.iter().map(line).collect()
}

/// A document of one context with these fields of its cluster and its user.
fn document(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         contexts:\n- {{name: x, context: {{cluster: c, user: u, namespace: ''}}}}\n\
         clusters:\n- {{name: c, cluster: {{{cluster}}}}}\n\
         users:\n- {{name: u, user: {{{user}}}}}\npreferences: {{}}\n"
    )
}

#[test]
fn kubeconfig_that_was_rendered_has_no_flaw() {
    let site = Site::new();
    assert_eq!(site.check(&site.good().render()), [] as [String; 0]);
    let token = Kubeconfig {
        credential: Credential::Token(Source::Data(Zeroizing::new("abc".to_owned()))),
        namespace: Some("kube-system".to_owned()),
        tls_server_name: Some("api.example".to_owned()),
        ..site.good()
    };
    assert_eq!(site.check(&token.render()), [] as [String; 0]);
}

#[test]
fn rendered_value_cannot_leave_its_field() {
    let site = Site::new();
    let hostile = "x\"\nusers: []\n\u{85}\u{2028}# ";
    let config = Kubeconfig {
        user: hostile.to_owned(),
        cluster: hostile.to_owned(),
        ..site.good()
    };
    let value: serde_json::Value = serde_saphyr::from_str(&config.render()).unwrap();
    assert_eq!(value["users"][0]["name"], hostile);
    assert_eq!(value["clusters"][0]["name"], hostile);
    assert_eq!(value["current-context"], format!("{hostile}@{hostile}"));
}

#[test]
fn render_never_grows_its_buffer() {
    let site = Site::new();
    let mut config = site.good();
    config.user = "\u{1}".repeat(300);
    config.cluster = "\u{1}".repeat(300);
    config.namespace = Some("\u{1}".repeat(300));
    for credential in [
        config.credential.clone(),
        Credential::Token(Source::Data(Zeroizing::new("\"".repeat(5000)))),
        Credential::Token(Source::File(PathBuf::from("/x".repeat(300)))),
    ] {
        config.credential = credential;
        let text = config.render();
        assert!(
            text.len() <= config.size(),
            "{} > {}",
            text.len(),
            config.size()
        );
    }
}

#[test]
fn document_that_is_no_kubeconfig_says_where() {
    let site = Site::new();
    for (text, expected) in [
        ("", "has no current-context"),
        ("kind: Config\n", "has no current-context"),
        ("apiVersion: v1\nkind: Pod\n", "\"Pod\" is not known"),
        ("a: [\n", "not valid YAML"),
        (
            "apiVersion: v1\nkind: Config\nclusters:\n- {name: c, cluster: {sever: x}}\n",
            "clusters[0].cluster.sever (line 4, column 23): is not a known field, and nobody reads it; did you mean `server`?",
        ),
        (
            "apiVersion: v1\nkind: Config\nusers:\n- {name: u, user: {token: 1}}\n",
            "users[0].user.token (line 4",
        ),
    ] {
        let flaws = site.check(text);
        assert!(
            flaws.iter().any(|flaw| flaw.contains(expected)),
            "{expected}: {flaws:#?}"
        );
        assert!(flaws.iter().any(|flaw| flaw.starts_with("error")), "{text}");
    }
    let absent = check(&site.path("absent"), &CheckOptions::at(now()));
    assert!(lines(&absent.flaws)[0].contains("cannot read the file"));
}

#[test]
fn document_of_every_prefix_never_panics() {
    let site = Site::new();
    let text = document(
        "server: 'https://x', proxy-url: 'http://p'",
        "exec: {command: a, args: [b]}",
    );
    for end in 0..text.len() {
        site.check(&text[..end]);
    }
}

#[test]
fn references_between_entries_are_followed() {
    let site = Site::new();
    let text = |current: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {current}\n\
             contexts:\n- {{name: a, context: {{cluster: c}}}}\n\
             - {{name: b, context: {{cluster: d, user: u}}}}\n\
             clusters:\n- {{name: c, cluster: {{server: 'https://x'}}}}\n{more}users: []\n"
        )
    };
    for (current, expected) in [
        (
            "nowhere",
            "error: current-context \"nowhere\" is not among contexts",
        ),
        ("nowhere", "warning: context \"a\" names no user"),
        ("a", "error: context \"a\" names no user"),
        (
            "a",
            "warning: context \"b\" names cluster \"d\", which is not there",
        ),
        (
            "b",
            "error: context \"b\" names cluster \"d\", which is not there",
        ),
        (
            "b",
            "error: context \"b\" names user \"u\", which is not there",
        ),
    ] {
        let flaws = site.check(&text(current, ""));
        assert!(
            flaws.iter().any(|flaw| flaw.starts_with(expected)),
            "{expected}: {flaws:#?}"
        );
    }
    let flaws = site.check(&text("a", "- {name: c, cluster: {server: 'https://y'}}\n"));
    assert!(
        flaws[0].contains("clusters[1].name (line 9") && flaws[0].contains("is there twice"),
        "{flaws:#?}"
    );
    let flaws = site.check("apiVersion: v1\nkind: Config\n");
    assert!(
        flaws[0].starts_with("error: has no current-context"),
        "{flaws:#?}"
    );
}

#[test]
fn other_context_is_judged_when_it_is_asked_for() {
    let site = Site::new();
    site.write("ca.crt", &site.ca.certificate.pem());
    let text = document(
        "server: 'https://x', certificate-authority: ca.crt",
        "token: abc",
    );
    let other = "- {name: other, context: {cluster: c, user: v}}\nclusters:";
    let path = site.write("config", &text.replace("clusters:", other));
    let by = |context: Option<&str>| {
        let options = CheckOptions {
            now: now(),
            context: context.map(str::to_owned),
        };
        lines(&check(&path, &options).flaws)
    };
    let missing = "context \"other\" names user \"v\", which is not there; add it";
    let aside = format!("warning: {missing} (not of the current context)");
    assert_eq!(by(None), std::slice::from_ref(&aside));
    assert_eq!(by(Some("x")), [aside]);
    assert_eq!(by(Some("other")), [format!("error: {missing}")]);
    assert!(by(Some("z"))[0].contains("current-context \"z\" is not among"));
}

#[test]
fn several_files_say_which_of_them_is_wrong() {
    let site = Site::new();
    site.write("ca.crt", &site.ca.certificate.pem());
    let good = document(
        "server: 'https://x', certificate-authority: ca.crt",
        "token: abc",
    );
    let (first, second) = (site.write("a", &good), site.write("b", &good));
    fs::set_permissions(&second, fs::Permissions::from_mode(0o644)).unwrap();
    let files = [site.path("absent"), first, second.clone()];
    let flaws = lines(&check_all(&files, &CheckOptions::at(now())).flaws);
    let name = second.display();
    for expected in [
        format!(
            "warning: {}: does not exist, and is passed over",
            files[0].display()
        ),
        format!("error: {name}: may be read by others (mode 0644); set it to 0600"),
        format!("warning: {name}: cluster \"c\" is not used: a file before has one"),
    ] {
        assert!(
            flaws.iter().any(|flaw| flaw.starts_with(&expected)),
            "{expected}: {flaws:#?}"
        );
    }
    assert_eq!(flaws.len(), 5, "{flaws:#?}");
}

#[test]
fn cluster_that_is_not_safe_says_so() {
    let site = Site::new();
    let ca = BASE64.encode(site.ca.certificate.pem().as_bytes());
    site.write("ca.crt", &site.ca.certificate.pem());
    site.write("leaf.crt", &site.user.certificate.pem());
    let old = authority("old")
        .valid(Duration::days(-9), Duration::days(-1))
        .self_signed();
    site.write("old.crt", &old.certificate.pem());
    for (cluster, expected) in [
        (
            "server: 'https://x', certificate-authority: ca.crt".to_owned(),
            "",
        ),
        (
            "server: 'http://x'".to_owned(),
            "error: cluster \"c\" is dialled without TLS",
        ),
        (
            "server: 'ftp://x'".to_owned(),
            "error: cluster \"c\": server \"ftp://x\" is no URL",
        ),
        (
            "{}".replace("{}", "tls-server-name: x"),
            "error: cluster \"c\" has no server",
        ),
        (
            "server: 'https://x'".to_owned(),
            "warning: cluster \"c\" has no CA",
        ),
        (
            "server: 'https://x', insecure-skip-tls-verify: true".to_owned(),
            "error: cluster \"c\" verifies nothing",
        ),
        (
            "server: 'https://x', certificate-authority: absent.crt".to_owned(),
            "absent.crt (clusters[0].cluster.certificate-authority): does not exist",
        ),
        (
            "server: 'https://x', certificate-authority: leaf.crt".to_owned(),
            "cannot be a trust anchor",
        ),
        (
            "server: 'https://x', certificate-authority: old.crt".to_owned(),
            "error: the certificate CN=old expired",
        ),
        (
            "server: 'https://x', certificate-authority-data: '%%'".to_owned(),
            "clusters[0].cluster.certificate-authority-data (line 7, column",
        ),
        (
            format!(
                "server: 'https://x', certificate-authority: absent, certificate-authority-data: {ca}"
            ),
            "error: clusters[0].cluster.certificate-authority and clusters[0].cluster.certificate-authority-data are both there",
        ),
        (
            "server: 'https://x', certificate-authority: ca.crt, proxy-url: 'http://u:secret@p'"
                .to_owned(),
            "warning: cluster \"c\" is reached over a proxy",
        ),
    ] {
        let flaws = site.check(&document(&cluster, "token: abc"));
        if expected.is_empty() {
            assert_eq!(flaws, [] as [String; 0]);
        } else {
            assert!(
                flaws.iter().any(|flaw| flaw.contains(expected)),
                "{cluster}: {flaws:#?}"
            );
        }
        assert!(!flaws.join("").contains("secret"), "{flaws:#?}");
    }
}

#[test]
fn user_that_cannot_or_must_not_be_used_says_so() {
    let site = Site::new();
    let write = |name: &str, made: &Made| {
        site.write(&format!("{name}.crt"), &made.certificate.pem());
        site.write(&format!("{name}.key"), &made.key.serialize_pem());
    };
    write("jane", &site.user);
    write("other", &client("other").signed_by(&site.ca));
    write("server", &kubelet().signed_by(&site.ca));
    let late = client("jane").valid(Duration::days(-9), Duration::days(-1));
    write("late", &late.signed_by(&site.ca));
    let soon = client("jane").valid(Duration::days(-9), Duration::days(1));
    write("soon", &soon.signed_by(&site.ca));
    site.write("token", "abc\n");
    site.write("empty", "\n");
    site.write("ca.crt", &site.ca.certificate.pem());
    for (user, expected) in [
        ("client-certificate: jane.crt, client-key: jane.key", ""),
        ("tokenFile: token", ""),
        (
            "client-certificate: jane.crt",
            "error: user \"u\" lacks client-key",
        ),
        (
            "client-key: jane.key",
            "error: user \"u\" lacks client-certificate",
        ),
        (
            "client-certificate: jane.crt, client-key: other.key",
            "does not belong to the certificate",
        ),
        (
            "client-certificate: server.crt, client-key: server.key",
            "has no extended key usage clientAuth",
        ),
        (
            "client-certificate: late.crt, client-key: late.key",
            "error: the certificate CN=jane expired",
        ),
        (
            "client-certificate: soon.crt, client-key: soon.key",
            "warning: the certificate CN=jane expires",
        ),
        (
            "client-certificate: no.crt, client-key: jane.key",
            "no.crt (users[0].user.client-certificate): does not exist",
        ),
        (
            "client-certificate: jane.key, client-key: jane.key",
            "holds no CERTIFICATE block",
        ),
        (
            "client-key-data: '!', client-certificate: jane.crt",
            "users[0].user.client-key-data (line 9, column",
        ),
        ("tokenFile: absent", "error: cannot read the token file"),
        (
            "tokenFile: empty",
            "error: user \"u\": the token has characters",
        ),
        (
            "token: 'a b'",
            "error: user \"u\": the token has characters",
        ),
        (
            "token: a, tokenFile: token",
            "warning: user \"u\" has token and tokenFile",
        ),
        ("{}", "error: user \"u\" shows no credential"),
        (
            "username: a, password: secret",
            "error: user \"u\" has a password",
        ),
        (
            "auth-provider: {name: gcp}",
            "error: user \"u\": auth-provider: Kubernetes 1.26 removed gcp",
        ),
        (
            "token: a, as: root",
            "warning: user \"u\" acts as somebody else",
        ),
        (
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}",
            "warning: user \"u\" runs \"aws\"",
        ),
        (
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}",
            "error: user \"u\": exec.interactiveMode is missing",
        ),
        (
            "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: aws}",
            "error: user \"u\": exec.apiVersion is missing, unknown",
        ),
        (
            "exec: {apiVersion: client.authentication.k8s.io/v1beta1}",
            "error: user \"u\": exec.command",
        ),
    ] {
        let user = if user == "{}" { "" } else { user };
        let flaws = site.check(&document(
            "server: 'https://x', certificate-authority: ca.crt",
            user,
        ));
        if expected.is_empty() {
            assert_eq!(flaws, [] as [String; 0], "{user}");
        } else {
            assert!(
                flaws.iter().any(|flaw| flaw.contains(expected)),
                "{user}: {flaws:#?}"
            );
        }
        assert!(!flaws.join("").contains("secret"), "{flaws:#?}");
    }
}

#[test]
fn token_that_expired_says_so() {
    let site = Site::new();
    let key = crate::token::jwt::testing::keys()
        .into_iter()
        .next()
        .unwrap();
    let cluster = "server: 'https://x', certificate-authority: ca.crt";
    site.write("ca.crt", &site.ca.certificate.pem());
    let end = crate::pki::testing::NOW.unix_timestamp();
    for (exp, expired) in [(end - 1, true), (end, true), (end + 1, false)] {
        let token = key.sign(&serde_json::json!({"exp": exp})).unwrap();
        let file = site.write("token", &format!("{}\n", *token));
        let inline = format!("token: {}", *token);
        for user in [inline, format!("tokenFile: {}", file.display())] {
            let flaws = site.check(&document(cluster, &user));
            let told = flaws
                .iter()
                .any(|flaw| flaw.starts_with("error: user \"u\": the token expired"));
            assert_eq!(told, expired, "{exp}: {flaws:#?}");
        }
    }
    let without = key.sign(&serde_json::json!({"sub": "x"})).unwrap();
    assert_eq!(
        site.check(&document(cluster, &format!("token: {}", *without))),
        [] as [String; 0]
    );
}

#[test]
fn file_that_others_may_read_says_so() {
    let site = Site::new();
    let path = site.write("config", &site.good().render());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let checked = check(&path, &CheckOptions::at(now()));
    assert_eq!(
        lines(&checked.flaws),
        ["error: may be read by others (mode 0640); set it to 0600"]
    );
    assert_eq!(checked.certificate.unwrap().subject.to_string(), "CN=jane");
}

#[test]
fn server_is_judged_by_the_embedded_ca() {
    let site = Site::new();
    let server = kubelet().signed_by(&site.ca);
    let other = authority("kubernetes").self_signed();
    assert!(judge_server(&[site.ca.der()], &[server.der()], now()).is_none());
    let flaw = judge_server(&[other.der()], &[server.der()], now()).unwrap();
    assert_eq!(flaw.severity(), Severity::Error);
    assert!(
        flaw.to_string()
            .contains("its CA did not sign the API server's certificate"),
        "{flaw}"
    );
}

fn tree(dir: &Path) -> PathBuf {
    let pki = dir.join("pki");
    let options = InitOptions {
        apiserver: Vec::new(),
        server: None,
        service_ips: vec![crate::pki::DEFAULT_SERVICE_IP],
        service_cidrs: Vec::new(),
        nodes: vec!["worker-1=10.0.0.7".parse().unwrap()],
        gateway: Vec::new(),
        agents: Vec::new(),
    };
    init(&pki, &crate::pki::Source::Options(Box::new(options)), false).unwrap();
    pki
}

fn request(name: &str, pki: Option<PathBuf>) -> Request {
    Request {
        name: name.to_owned(),
        pki,
        server: None,
        tls_server_name: None,
        ca_file: None,
        client_cert_file: None,
        client_key_file: None,
        token_file: None,
        cluster: "kubernetes".to_owned(),
        namespace: None,
        references: false,
    }
}

#[test]
fn create_from_a_tree_is_good_for_every_client() {
    let site = Site::new();
    let pki = tree(site.dir.path());
    let token = site.write("token", "abcdef.0123456789abcdef\n");
    for name in [
        "admin",
        "super-admin",
        "controller-manager",
        "scheduler",
        "kube-proxy",
        "kubelet-client-worker-1",
        "apiserver-kubelet-client",
    ] {
        for references in [false, true] {
            let request = Request {
                references,
                ..request(name, Some(pki.clone()))
            };
            let text = create(&request).unwrap().render();
            let path = site.write("made", &text);
            let options = CheckOptions::at(std::time::SystemTime::now());
            assert_eq!(
                lines(&check(&path, &options).flaws),
                [] as [String; 0],
                "{name}"
            );
            assert_eq!(text.contains("-data: "), !references, "{name}");
        }
    }
    let bootstrap = Request {
        token_file: Some(token.clone()),
        ..request("bootstrap", Some(pki.clone()))
    };
    let text = create(&bootstrap).unwrap().render();
    assert!(
        text.contains("token: \"abcdef.0123456789abcdef\"\n"),
        "{}",
        *text
    );
    let reference = Request {
        references: true,
        ..bootstrap
    };
    let text = create(&reference).unwrap().render();
    assert!(
        text.contains("tokenFile: ") && !text.contains("0123456789"),
        "{}",
        *text
    );
}

#[test]
fn create_refuses_what_would_not_work() {
    let site = Site::new();
    let pki = tree(site.dir.path());
    let empty = site.write("empty", " \n");
    let two = site.write("two", "a\nb\n");
    let with = |change: fn(&mut Request, &Path)| {
        let mut request = request("admin", Some(pki.clone()));
        change(&mut request, site.dir.path());
        create(&request).map(drop).unwrap_err().to_string()
    };
    drop((empty, two));
    for (change, expected) in [
        (
            (|request, _| request.name = "nobody".to_owned()) as fn(&mut Request, &Path),
            "the tree has no certificate nobody",
        ),
        (
            |request, _| request.name = "apiserver".to_owned(),
            "apiserver of the tree is no client's",
        ),
        (|request, _| request.pki = None, "--server \"\" is no URL"),
        (
            |request, _| request.server = Some("http://x".to_owned()),
            "--server \"http://x\" is no URL",
        ),
        (
            |request, dir| request.token_file = Some(dir.join("empty")),
            "holds no token",
        ),
        (
            |request, dir| request.token_file = Some(dir.join("two")),
            "holds no token",
        ),
        (
            |request, dir| request.token_file = Some(dir.join("absent")),
            "cannot read ",
        ),
        (
            |request, dir| request.ca_file = Some(dir.join("pki/admin.crt")),
            "cannot be a trust anchor",
        ),
        (
            |request, dir| {
                request.client_cert_file = Some(dir.join("pki/admin.crt"));
                request.client_key_file = Some(dir.join("pki/scheduler.key"));
            },
            "does not belong to the certificate",
        ),
        (
            |request, _| {
                request.pki = None;
                request.server = Some("https://x".to_owned());
            },
            "nothing says who admin is",
        ),
    ] {
        let error = with(change);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn connect_verifies_what_the_server_shows() {
    use eyesplice_proto::tls::provider;
    use rustls::{ServerConfig, ServerConnection};
    use std::net::TcpListener;
    use std::sync::Arc;

    let site = Site::new();
    let served = Recipe {
        names: vec!["127.0.0.1"],
        ..kubelet()
    };
    let served = served.signed_by(&site.ca);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = ServerConfig::builder_with_provider(provider::shared())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![served.der()], served.private_key())
        .unwrap();
    let config = Arc::new(config);
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            let (mut socket, _) = listener.accept().unwrap();
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            while session.is_handshaking() && session.complete_io(&mut socket).is_ok() {}
        }
    });
    let ask = |ca: &Made, change: &str| {
        site.write("ca.crt", &ca.certificate.pem());
        let cluster = format!("server: 'https://{address}', certificate-authority: ca.crt{change}");
        let path = site.write("config", &document(&cluster, "token: abc"));
        let checked = check(&path, &CheckOptions::at(now()));
        connect(&checked.target.unwrap()).map_err(|flaw| flaw.to_string())
    };
    assert_eq!(ask(&site.ca, ""), Ok(()));
    let other = authority("kubernetes").self_signed();
    let error = ask(&other, "").unwrap_err();
    assert!(
        error.contains("the CA of this kubeconfig did not sign what 127.0.0.1:"),
        "{error}"
    );
    let error = ask(&site.ca, ", tls-server-name: api.example").unwrap_err();
    assert!(error.contains("does not cover that name"), "{error}");
    server.join().unwrap();
    let error = ask(&site.ca, "").unwrap_err();
    assert!(error.contains("cannot ask 127.0.0.1:"), "{error}");
}

#[test]
fn written_kubeconfig_is_its_owners_and_never_replaced_by_accident() {
    let site = Site::new();
    let path = site.path("x.conf");
    write(&path, "a", false).unwrap();
    let error = write(&path, "b", false).unwrap_err().to_string();
    assert!(
        error.contains("x.conf exists already") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "a");
    write(&path, "b", true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "b");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let error = write(&site.path("no/x"), "a", false).unwrap_err();
    assert!(matches!(error, CreateError::File(_)), "{error}");
    assert_eq!(
        fs::read_dir(site.dir.path()).unwrap().count(),
        1,
        "something is left over"
    );
}
