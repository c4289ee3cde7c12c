use super::super::testing::{Names, ask, control, site};
use super::*;
use crate::config::Here;

const GATEWAYS: &str = "addresses: [\"10.0.0.1:1\"]";
const ALLOW: &str = "kubelet: {address: 127.0.0.1}, cidrs: [10.0.0.0/8, 169.254.0.0/16], \
dnsSuffixes: [lab.example]";

async fn dialled(control: &AgentControl, target: &str) -> Result<(String, Vec<String>), String> {
    match ask(control, target).await {
        Verdict::Refuse(refusal) => Err(format!("{} {}", refusal.status, refusal.words)),
        Verdict::Connect(connect) => {
            assert!(matches!(connect.mode, Mode::Splice));
            let Way::Dial(addresses) = &connect.way else {
                panic!("an agent dials: {connect:?}")
            };
            let addresses = addresses.iter().map(ToString::to_string).collect();
            Ok((connect.rule.to_string(), addresses))
        }
    }
}

#[tokio::test]
async fn admit_dials_what_is_allowed_and_says_why_not() {
    let dir = site(GATEWAYS, ALLOW);
    let names = Names::default();
    names.set("db.lab.example", &["192.168.0.1", "10.3.0.1", "127.0.0.1"]);
    names.set("evil.lab.example", &["169.254.169.254", "127.0.0.1"]);
    let control = control(dir.path(), &names);
    let yes = |rule: &str, address: &str| Ok((rule.to_owned(), vec![address.to_owned()]));
    for (target, want) in [
        ("127.0.0.1:10250", yes("kubelet", "127.0.0.1:10250")),
        ("10.9.9.9:5432", yes("cidrs", "10.9.9.9:5432")),
        // Each address of a name is judged; what is left is dialled.
        ("db.lab.example:80", yes("cidrs", "10.3.0.1:80")),
    ] {
        assert_eq!(dialled(&control, target).await, want, "{target}");
    }
    for (target, words) in [
        (
            "127.0.0.1:22",
            "403 127.0.0.1:22 is not dialled: 127.0.0.1 is a loopback address",
        ),
        ("169.254.169.254:80", "is a cloud metadata address"),
        ("192.168.0.1:80", "is in none of the agent's allow.cidrs"),
        (
            "evil.lab.example:80",
            "evil.lab.example:80 is not dialled: 169.254.169.254 is a cloud metadata",
        ),
        (
            "db.other.example:80",
            "is below none of the agent's allow.dnsSuffixes",
        ),
        ("gone.lab.example:80", "503 cannot resolve gone.lab.example"),
    ] {
        let refusal = dialled(&control, target).await.unwrap_err();
        assert!(refusal.contains(words), "{target}: {refusal}");
    }
}

#[test]
fn load_certificate_that_no_gateway_takes_is_warned_of() {
    let dir = site(GATEWAYS, ALLOW);
    let load = || {
        let file = dir.path().join("agent.yaml");
        let files = super::super::files::Files::new(file, Here::default());
        files.load(&[]).result.unwrap()
    };
    let warnings = load().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("CN=eyesplice is neither an agent's nor a node's"),
        "{warnings:?}"
    );
    let text = std::fs::read_to_string(dir.path().join("agent.yaml")).unwrap();
    let text = text.replace("eyesplice-kubelet-client", "kubelet-client-worker-1");
    std::fs::write(dir.path().join("agent.yaml"), text).unwrap();
    assert_eq!(load().warnings, Vec::<String>::new());
}

#[test]
fn load_login_of_a_proxy_is_one_line_and_never_repeated() {
    let gateways = format!(
        "{GATEWAYS}, proxy: {{url: \"http://proxy.example:3128\", credentialsFile: login}}"
    );
    let dir = site(&gateways, ALLOW);
    let errors = || {
        let file = dir.path().join("agent.yaml");
        let files = super::super::files::Files::new(file, Here::default());
        match files.load(&[]).result {
            Ok(valid) => {
                let proxy = valid.state.material.proxy().unwrap();
                assert!(!format!("{proxy:?}").contains("hidden"));
                String::new()
            }
            Err(errors) => format!("{errors:?}"),
        }
    };
    assert!(
        errors().contains("gateways.proxy.credentialsFile"),
        "{}",
        errors()
    );
    for (text, words) in [
        ("edge:hidden\n", ""),
        ("hidden", "has no `user:password`"),
        ("edge:hidden\nother:hidden\n", "in one line"),
        (
            &format!("edge:{}", "hidden".repeat(100)),
            "has a password of",
        ),
    ] {
        std::fs::write(dir.path().join("login"), text).unwrap();
        let errors = errors();
        assert!(
            errors.contains(words) && !errors.contains("hidden"),
            "{errors}"
        );
        assert_eq!(errors.is_empty(), words.is_empty(), "{errors}");
    }
}
