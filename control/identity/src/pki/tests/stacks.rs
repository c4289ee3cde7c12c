//! Names and addresses that clusters of both families, or with wildcards, have.

use super::*;

fn names(dir: &Path, file: &str) -> Vec<String> {
    let der = der(dir, file);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    names_of(&certificate)
}

#[test]
fn both_families_stand_in_every_certificate_that_has_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let cidr = |text: &str| text.parse::<ServiceCidr>().unwrap().0;
    let options = InitOptions {
        apiserver: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
        server: None,
        service_ips: vec![cidr("10.96.0.0/16"), cidr("fd00:96::/112")],
        gateway: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
        ..options()
    };
    make_of(dir.path(), options, false).unwrap();
    let has = |file: &str, wanted: &[&str]| {
        let names = names(dir.path(), file);
        for name in wanted {
            assert!(
                names.iter().any(|own| own == name),
                "{file}: {name}: {names:?}"
            );
        }
    };
    let service = ["10.96.0.1", "fd00:96::1", "10.0.0.1", "fd00::1"];
    has("apiserver.crt", &service);
    has("egress-server.crt", &["10.0.0.1", "fd00::1"]);
    has("kubelet-worker-1.crt", &["10.0.0.7", "fd00::7"]);
    has(
        "etcd/server.crt",
        &["10.0.0.1", "fd00::1", "127.0.0.1", "::1"],
    );
    assert_eq!(flaws(dir.path()), [] as [&str; 0]);
    let inventory = read(dir.path(), "inventory.yaml");
    assert!(inventory.contains("fd00::7"), "{inventory}");
}

#[test]
fn service_addresses_are_one_for_each_family() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let of = |ips: &[&str]| InitOptions {
        service_ips: ips.iter().map(|text| ip(text)).collect(),
        ..options()
    };
    let dir = tempfile::tempdir().unwrap();
    let error = make_of(dir.path(), of(&["10.96.0.1", "10.97.0.1"]), false).unwrap_err();
    assert!(error.to_string().contains("of one family"), "{error}");
    let sections = "cluster: {serviceIPs: ['fd00::1', 'fd01::1']}\n";
    let error = make_from(dir.path(), sections).unwrap_err();
    assert!(error.to_string().contains("of one family"), "{error}");
    for (text, first) in [
        ("10.96.0.0/12", Some("10.96.0.1")),
        ("fd00:96::/112", Some("fd00:96::1")),
        ("10.96.0.1/12", None),
        ("10.96.0.0/32", None),
        ("10.96.0.1", None),
        ("services", None),
    ] {
        let read = text.parse::<ServiceCidr>().ok().map(|ServiceCidr(ip)| ip);
        assert_eq!(read, first.map(ip), "{text}");
    }
}

#[test]
fn wildcard_is_a_name_of_servers_and_of_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let wildcard = "*.api.example".to_owned();
    let options = InitOptions {
        apiserver: vec![wildcard.clone(), "10.0.0.1".to_owned()],
        server: None,
        gateway: vec![wildcard.clone()],
        ..options()
    };
    make_of(dir.path(), options.clone(), false).unwrap();
    for file in ["apiserver.crt", "egress-server.crt"] {
        assert!(names(dir.path(), file).contains(&wildcard), "{file}");
    }
    let member = names(dir.path(), "etcd/server.crt");
    assert!(!member.contains(&wildcard), "{member:?}");
    assert!(read(dir.path(), "admin.kubeconfig").contains("https://10.0.0.1:6443"));
    assert_eq!(flaws(dir.path()), [] as [&str; 0]);
    tree(dir.path())
        .renew(
            &Selection::Names(vec!["apiserver".to_owned()]),
            RenewedKey::New,
        )
        .unwrap();
    assert_eq!(flaws(dir.path()), [] as [&str; 0], "renewed");
    for bad in [
        "*",
        "*.",
        "*.example",
        "*.10.0.0.1",
        "a.*.example",
        "*a.example",
        "*.*.example",
    ] {
        let options = InitOptions {
            apiserver: vec![bad.to_owned()],
            ..options.clone()
        };
        let error = make_of(dir.path(), options, true).unwrap_err();
        assert!(matches!(error, PkiError::Options(_)), "{bad}: {error}");
    }
    let sections = "nodes: [{name: w, addresses: ['*.nodes.example']}]\n";
    make_from(dir.path(), sections).unwrap_err();
}
