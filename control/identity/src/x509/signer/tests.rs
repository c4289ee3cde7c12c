//! Each signer's rules as a table of requests.

use super::super::request::Attribute;
use super::*;

const CN: &str = "2.5.4.3";
const O: &str = "2.5.4.10";

fn request(common_names: &[&str], organizations: &[&str]) -> CertificateRequest {
    let attribute = |oid: &str, value: &&str| Attribute {
        oid: oid.to_owned(),
        value: (*value).to_owned(),
    };
    let subject = organizations.iter().map(|value| attribute(O, value));
    let subject = subject.chain(common_names.iter().map(|value| attribute(CN, value)));
    CertificateRequest {
        subject: subject.collect(),
        dns: Vec::new(),
        ips: Vec::new(),
        emails: Vec::new(),
        uris: Vec::new(),
        other_names: 0,
        spki: Vec::new(),
    }
}

fn kubelet() -> CertificateRequest {
    request(&["system:node:w"], &["system:nodes"])
}

fn serving(dns: &[&str], ips: &[&str]) -> CertificateRequest {
    CertificateRequest {
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..kubelet()
    }
}

fn usages(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

const CLIENT: &[&str] = &["client auth", "digital signature"];
const SERVER: &[&str] = &["server auth", "digital signature"];

#[test]
fn names_are_found_again() {
    for signer in SIGNERS {
        assert_eq!(Signer::by_name(signer.name()), Some(signer));
    }
    assert_eq!(Signer::by_name("kubernetes.io/legacy-unknown"), None);
}

#[test]
fn usages_must_be_the_signers_own() {
    let with_encipherment = [SERVER, &["key encipherment"]].concat();
    let client_with_encipherment = [CLIENT, &["key encipherment"]].concat();
    for (signer, texts, good) in [
        (Signer::ApiServerClient, &["client auth"][..], true),
        (Signer::ApiServerClient, &client_with_encipherment, true),
        (Signer::ApiServerClient, &["digital signature"], false),
        (
            Signer::ApiServerClient,
            &["client auth", "server auth"],
            false,
        ),
        (Signer::ApiServerClient, &["client auth", "any"], false),
        (Signer::KubeletClient, CLIENT, true),
        (Signer::KubeletClient, &client_with_encipherment, true),
        (Signer::KubeletClient, &["client auth"], false),
        (
            Signer::KubeletClient,
            &["client auth", "digital signature", "cert sign"],
            false,
        ),
        (Signer::KubeletServing, SERVER, true),
        (Signer::KubeletServing, &with_encipherment, true),
        (Signer::KubeletServing, CLIENT, false),
        (
            Signer::KubeletServing,
            &["server auth", "client auth", "digital signature"],
            false,
        ),
        (Signer::KubeletServing, &[], false),
    ] {
        assert_eq!(
            signer.usages(&usages(texts)).is_ok(),
            good,
            "{signer} {texts:?}"
        );
    }
}

#[test]
fn kubelet_client_takes_a_node_without_names() {
    let check = |request: &CertificateRequest| {
        let checked = Signer::KubeletClient.check(request, &usages(CLIENT));
        checked.map(drop).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(check(&kubelet()), Ok(()));
    for (bad, expected) in [
        (
            request(&["system:node:"], &["system:nodes"]),
            "does not begin with \"system:node:\"",
        ),
        (request(&["w"], &["system:nodes"]), "does not begin with"),
        (request(&[], &["system:nodes"]), "has 0 common names"),
        (
            request(&["system:node:w", "system:node:v"], &["system:nodes"]),
            "has 2 common names",
        ),
        (
            request(&["system:node:w"], &[]),
            "must be \"system:nodes\" alone",
        ),
        (
            request(&["system:node:w"], &["system:nodes", "system:masters"]),
            "alone",
        ),
        (
            request(&["system:node:w"], &["system:nodes", "system:nodes"]),
            "alone",
        ),
        (
            serving(&["w.example"], &[]),
            "must have no alternative names; it has w.example",
        ),
        (serving(&[], &["10.0.0.7"]), "it has 10.0.0.7"),
        (
            CertificateRequest {
                other_names: 1,
                ..kubelet()
            },
            "of this kind",
        ),
        (
            CertificateRequest {
                uris: vec!["spiffe://x".to_owned()],
                ..kubelet()
            },
            "spiffe://x",
        ),
    ] {
        let error = check(&bad).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn kubelet_serving_takes_hosts_only() {
    let check = |request: &CertificateRequest| {
        let checked = Signer::KubeletServing.check(request, &usages(SERVER));
        checked.map(drop).map_err(|refusal| refusal.to_string())
    };
    for good in [
        serving(&["w"], &[]),
        serving(&[], &["10.0.0.7"]),
        serving(&["w.example", "*.w.example"], &["fd00::7"]),
    ] {
        assert_eq!(check(&good), Ok(()), "{good:?}");
    }
    for (bad, expected) in [
        (serving(&[], &[]), "needs a DNS name or IP address"),
        (serving(&["10.0.0.7"], &[]), "\"10.0.0.7\" is an IP address"),
        (serving(&["fd00::7"], &[]), "\"fd00::7\" is an IP address"),
        (serving(&["*.10.0.0.7"], &[]), "is an IP address"),
        (serving(&["a_b"], &[]), "is no host name"),
        (serving(&["*"], &[]), "is no host name"),
        (serving(&["a.*.example"], &[]), "is no host name"),
        (serving(&["a..example"], &[]), "is no host name"),
        (serving(&["w.example."], &[]), "is no host name"),
        (
            CertificateRequest {
                emails: vec!["a@b".to_owned()],
                ..serving(&["w"], &[])
            },
            "e-mail a@b",
        ),
        (
            CertificateRequest {
                uris: vec!["http://w".to_owned()],
                ..serving(&["w"], &[])
            },
            "URI http://w",
        ),
    ] {
        let error = check(&bad).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn apiserver_client_takes_any_user_but_masters() {
    let check = |request: &CertificateRequest| {
        Signer::ApiServerClient
            .check(request, &usages(CLIENT))
            .map(drop)
    };
    assert_eq!(check(&request(&["jane"], &["dev", "ops"])), Ok(()));
    assert_eq!(
        check(&request(&["jane"], &["dev", "system:masters"])),
        Err(Refusal::Masters)
    );
    assert_eq!(check(&request(&[""], &[])), Err(Refusal::CommonNames(1)));
    assert_eq!(
        check(&request(&["a", "b"], &[])),
        Err(Refusal::CommonNames(2))
    );
}

#[test]
fn own_signers_have_rules_of_their_own() {
    let agent = request(&["eyesplice:agent:w"], &["eyesplice:agents"]);
    assert!(Signer::AgentClient.check(&agent, &usages(CLIENT)).is_ok());
    assert!(
        Signer::AgentClient
            .check(&kubelet(), &usages(CLIENT))
            .is_err()
    );
    assert!(
        Signer::Serving
            .check(&serving(&["egress"], &[]), &usages(SERVER))
            .is_ok()
    );
    assert!(
        Signer::Serving
            .check(&serving(&[], &[]), &usages(SERVER))
            .is_err()
    );
}
