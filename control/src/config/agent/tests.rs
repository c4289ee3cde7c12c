use super::*;
use std::time::Duration;

const HEAD: &str = "apiVersion: eyesplice.dev/v1alpha1\nkind: AgentConfig\n";
const IDENTITY: &str = "identity: {certFile: a.crt, keyFile: a.key}\n";
const GATEWAYS: &str = "gateways: {addresses: [\"gw.example:8132\"], caFile: ca.crt}\n";
const ALLOW: &str = "allow: {cidrs: [10.244.0.0/16]}\n";

fn parse(text: &str) -> Result<AgentConfig, String> {
    let parsed = AgentConfig::parse(text, Path::new("/etc/eyesplice/agent.yaml"));
    parsed
        .map(|loaded| loaded.config)
        .map_err(|errors| errors.to_string())
}

#[test]
fn parse_minimal_configuration_fills_in_the_defaults() {
    let allow = "allow: {kubelet: {address: 127.0.0.1}}\n";
    let config = parse(&format!("{HEAD}{IDENTITY}{GATEWAYS}{allow}")).unwrap();
    assert_eq!(
        config.allow.kubelet,
        Some("127.0.0.1:10250".parse().unwrap())
    );
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.timeouts.drain, Duration::from_secs(30));
    assert_eq!(
        config.gateways.addresses,
        ["gw.example:8132".parse().unwrap()]
    );
    let names: Vec<_> = config.files().into_iter().collect();
    let want = ["a.crt", "a.key", "agent.yaml", "ca.crt"];
    assert_eq!(
        names,
        want.map(|name| Path::new("/etc/eyesplice").join(name))
    );
    let key = BTreeSet::from([PathBuf::from("/etc/eyesplice/a.key")]);
    assert_eq!(config.secrets(), key);
}

const POD: &str = "identity: {server: \"https://10.0.0.1:6443\", caFile: auth.crt, \
                   tokenFile: token, \
                   dir: own}\n";

#[test]
fn parse_configuration_of_a_daemon_set_is_filled_in_by_the_command_line() {
    let text = format!("{HEAD}{POD}{GATEWAYS}allow: {{kubelet: {{}}}}\n");
    let open = parse(&text).unwrap();
    let mut config = open.clone();
    let here = Here {
        node_name: Some("worker-3".to_owned()),
        node_ip: Some("::ffff:10.0.0.3".parse().unwrap()),
    };
    assert!(config.complete(&here).is_empty());
    assert_eq!(
        config.allow.kubelet,
        Some("10.0.0.3:10250".parse().unwrap())
    );
    let AgentIdentity::Pod(pod) = &config.identity else {
        panic!("{:?}", config.identity);
    };
    assert_eq!(pod.asker().unwrap().name, "worker-3");
    let pair = PathBuf::from("/etc/eyesplice/own/agent-client.pem");
    assert_eq!(config.secrets(), BTreeSet::from([pair.clone()]));
    assert!(config.files().contains(&pair));
    assert!(!config.files().contains(Path::new("/etc/eyesplice/token")));
    // What the file says, the command line does not change.
    let written = POD.replace("dir: own", "dir: own, node: worker-1");
    let allow = "allow: {kubelet: {address: 127.0.0.1}}\n";
    let mut config = parse(&format!("{HEAD}{written}{GATEWAYS}{allow}")).unwrap();
    assert!(config.complete(&here).is_empty());
    assert_eq!(
        config.allow.kubelet,
        Some("127.0.0.1:10250".parse().unwrap())
    );
    let mut config = open;
    let errors = config.complete(&Here::default());
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "identity.node: is left open, and there is no --node-name; start the agent with \
             --node-name, or write it",
            "allow.kubelet.address: is left open, and there is no --node-ip; start the agent \
             with --node-ip, or write it",
        ]
    );
}

#[test]
fn parse_each_mistake_names_field_and_remedy() {
    let with = |rest: &str| format!("{HEAD}{IDENTITY}{GATEWAYS}{rest}");
    let through = |proxy: &str| {
        let gateways =
            format!("gateways: {{addresses: [\"a:1\"], caFile: c, proxy: {{{proxy}}}}}\n");
        format!("{HEAD}{IDENTITY}{ALLOW}{gateways}")
    };
    for (text, words) in [
        (
            HEAD.to_owned(),
            "identity (line 1, column 1): is required; add `identity: {certFile",
        ),
        (
            HEAD.to_owned(),
            "gateways (line 1, column 1): is required; add `gateways: {addresses",
        ),
        (
            HEAD.to_owned(),
            "allow (line 1, column 1): is required; add `allow: {kubelet",
        ),
        (
            with("allow: {}\n"),
            "allow (line 5, column 8): lets the agent dial nothing; add `kubelet",
        ),
        (
            with("allow: {dnsSuffixes: [a.b], kubelet: {address: 10.0.0.1}}\n"),
            "allow.dnsSuffixes",
        ),
        (
            with("allow: {kubelet: {address: 0.0.0.0}}\n"),
            "is no IP address of a kubelet",
        ),
        (
            format!("{HEAD}{GATEWAYS}{ALLOW}identity: {{server: \"http://a\", certFile: a}}\n"),
            "identity.certFile",
        ),
        (
            format!("{HEAD}{GATEWAYS}{ALLOW}identity: {{server: \"http://a\", node: A}}\n"),
            "identity.node",
        ),
        (
            format!("{HEAD}{GATEWAYS}{ALLOW}identity: {{server: \"http://a\"}}\n"),
            "identity.tokenFile (line 5, column 11): is required; add `tokenFile: /var/run",
        ),
        (
            with("allow: {kubelet: {address: 10.0.0.1, port: 0}}\n"),
            "allow.kubelet.port",
        ),
        (
            with(&format!("{ALLOW}listeners: []\n")),
            "listeners (line 6, column 1): is not a known field",
        ),
        (
            format!("{HEAD}{IDENTITY}{ALLOW}gateways: {{addresses: [gw], caFile: c}}\n"),
            "gateways.addresses[0] (line 5, column 24): \"gw\": authority has no port; write \
             a name",
        ),
        (
            format!(
                "{HEAD}{IDENTITY}{ALLOW}gateways: {{addresses: [\"a:1\", \"a:1\"], caFile: \
                 c}}\n"
            ),
            "a:1 stands there twice",
        ),
        (
            format!(
                "{HEAD}{IDENTITY}{ALLOW}gateways: {{addresses: [\"a:1\"], caFile: c, hold: \
                 0}}\n"
            ),
            "gateways.hold",
        ),
        (
            through("url: \"ftp://a:1\""),
            "is no URL of a http, https or socks5 proxy; write it like http://proxy.example:3128",
        ),
        (
            through("url: \"socks5h://a:1\""),
            "write socks5://: names are",
        ),
        (through("url: \"http://a\""), "authority has no port"),
        (
            through("url: \"http://edge:hidden@a:1\""),
            "gateways.proxy.url (line 5, column 56): has a user or a password; write",
        ),
        (
            through("url: \"https://a:1\""),
            "gateways.proxy.caFile (line 5, column 50): is required",
        ),
        (
            through("url: \"socks5://a:1\", caFile: c"),
            "): is for an https proxy alone: nobody presents a certificate here; remove it",
        ),
    ] {
        let errors = parse(&text).unwrap_err();
        assert!(errors.contains(words), "{words}: {errors}");
        assert!(!errors.contains("hidden"), "{errors}");
    }
}

#[test]
fn parse_every_prefix_of_the_examples_is_an_answer() {
    let whole = include_str!("../../../examples/agent.yaml");
    let pod = include_str!("../../../examples/agent-pod.yaml");
    for text in [whole, pod] {
        assert!(parse(text).is_ok(), "{:?}", parse(text));
        for end in 0..text.len() {
            let _ = parse(&text[..end]);
        }
    }
}

#[test]
fn parse_proxy_is_named_by_its_url_and_its_login_is_a_secret() {
    let of = |proxy: &str| {
        let gateways =
            format!("gateways: {{addresses: [\"a:1\"], caFile: c, proxy: {{{proxy}}}}}\n");
        parse(&format!("{HEAD}{IDENTITY}{ALLOW}{gateways}")).unwrap()
    };
    for (url, scheme) in [
        ("http://proxy.example:3128", ProxyScheme::Http),
        ("socks5://[fd00::9]:1080", ProxyScheme::Socks5),
    ] {
        let config = of(&format!("url: \"{url}/\", credentialsFile: login"));
        let proxy = config.gateways.proxy.as_ref().unwrap();
        assert_eq!((proxy.to_string().as_str(), proxy.scheme), (url, scheme));
        let login = Path::new("/etc/eyesplice/login");
        assert!(config.files().contains(login) && config.secrets().contains(login));
    }
    let config = of("url: \"https://10.0.0.9:443\", caFile: proxy-ca.crt");
    assert!(
        config
            .files()
            .contains(Path::new("/etc/eyesplice/proxy-ca.crt"))
    );
    assert_eq!(config.secrets().len(), 1);
}
