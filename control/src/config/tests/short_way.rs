use super::*;
use crate::config::{AddressType, Admission, FrontAudit, FrontLimits, ShortWay};

const LISTENERS: &str = "listeners: [{name: kubectl, front: {address: '0.0.0.0:6444', \
                         tlsCertFile: f.crt, tlsPrivateKeyFile: f.key}}]\n";
const SERVERS: &str =
    "apiservers: {servers: ['https://10.0.0.1:6443'], caFile: ca.crt, tokenFile: own}\n";
const KUBELETS: &str = "kubelet: {caFile: k, clientCertFile: c, clientKeyFile: d, \
                        apiserverClientCAFile: a}\n";
const RULES: &str = "egress: {rules: [{name: kubelets, cidrs: [10.0.0.0/8], action: splice}]}\n";

fn front(fields: &str) -> String {
    format!("{HEAD}{LISTENERS}{SERVERS}{KUBELETS}{RULES}front: {{{fields}}}\n")
}

fn read(fields: &str) -> ShortWay {
    let Loaded { config, warnings } = parse(&front(fields)).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    config.front.short_way.unwrap()
}

#[test]
fn parse_short_way_trusts_no_plugin_and_dials_as_kubeadm_does_by_default() {
    let expected = ShortWay {
        admission: Admission::Pass,
        address_types: vec![
            AddressType::InternalIp,
            AddressType::ExternalIp,
            AddressType::Hostname,
        ],
        kubelet_token_file: None,
        end_with_credential: false,
    };
    assert_eq!(read("shortWay: {}"), expected);
    let Loaded { config, .. } = parse(&format!("{HEAD}{LISTENERS}{SERVERS}")).unwrap();
    assert_eq!(config.front.short_way, None);
}

#[test]
fn parse_full_short_way_reads_every_field() {
    let fields = "shortWay: {admission: trusted, addressTypes: [Hostname, InternalDNS, \
                  ExternalDNS], kubeletTokenFile: t}, endWithCredential: true";
    let expected = ShortWay {
        admission: Admission::Trusted,
        address_types: vec![
            AddressType::Hostname,
            AddressType::InternalDns,
            AddressType::ExternalDns,
        ],
        kubelet_token_file: Some(FileRef::new(
            "front.shortWay.kubeletTokenFile",
            "/etc/eyesplice/t",
        )),
        end_with_credential: true,
    };
    assert_eq!(read(fields), expected);
    let config = parse(&front(fields)).unwrap().config;
    assert!(config.secrets().contains(Path::new("/etc/eyesplice/t")));
}

#[test]
fn parse_each_mistake_of_the_short_way_names_field_and_remedy() {
    let table = [
        (
            front("shortWay: false"),
            "front.shortWay: is a boolean, not a mapping",
        ),
        (
            front("shortWay: {admission: maybe}"),
            "front.shortWay.admission: \"maybe\" is not a known value; use one of: pass, trusted",
        ),
        (
            front("shortWay: {addressTypes: [internalip]}"),
            "front.shortWay.addressTypes[0]: \"internalip\" is not a known value; use one of:",
        ),
        (
            front("endWithCredential: true"),
            "front.endWithCredential: has no effect without shortWay: API servers end streams by \
             their own rules; add `shortWay: {}`, or remove it",
        ),
        (
            front("shortWay: {}").replace(", tokenFile: own", ""),
            "front.shortWay: needs a credential with which API servers are asked about users and \
             pods; add apiservers.clientCertFile",
        ),
        (
            front("shortWay: {}").replace(KUBELETS, ""),
            "front.shortWay: needs `kubelet`, which says whom to trust as kubelet",
        ),
        (
            front("shortWay: {}").replace(RULES, ""),
            "front.shortWay: needs `egress`: no rule allows the kubelets' addresses; add `egress:",
        ),
    ];
    for (text, want) in table {
        let errors = errors(&text);
        assert!(
            errors.iter().any(|error| error.starts_with(want)),
            "{want}\n{errors:#?}"
        );
    }
}

#[test]
fn parse_short_way_to_kubelets_that_are_not_validated_is_warned_of() {
    let text = front("shortWay: {}").replace("caFile: k,", "caFile: k, verification: observe,");
    let warnings = warnings(&text);
    let want = "front.shortWay: is not taken by any stream: kubelet.verification is observe";
    assert!(
        warnings.iter().any(|it| it.starts_with(want)),
        "{warnings:#?}"
    );
}

#[test]
fn parse_front_audit_and_limits_read_every_field() {
    let fields = "shortWay: {}, audit: {policyFile: p, path: e.log, webhookKubeconfigFile: w}, \
                  limits: {maxStreamsPerUser: 1, maxStreamsPerPod: 2, maxStreamsPerNode: 3}";
    let config = parse(&front(fields)).unwrap().config;
    let file = |field: &str, name: &str| {
        FileRef::new(
            format!("front.audit.{field}"),
            format!("/etc/eyesplice/{name}"),
        )
    };
    assert_eq!(
        config.front.audit,
        Some(FrontAudit {
            policy_file: file("policyFile", "p"),
            sink: Some(AuditSink::File("/etc/eyesplice/e.log".into())),
            webhook: Some(file("webhookKubeconfigFile", "w")),
        })
    );
    let limits = FrontLimits {
        of_user: Some(1),
        of_pod: Some(2),
        of_node: Some(3),
    };
    assert_eq!(config.front.limits, limits);
    for name in ["p", "w"] {
        assert!(
            config
                .files()
                .contains(&Path::new("/etc/eyesplice").join(name))
        );
    }
    assert!(config.secrets().contains(Path::new("/etc/eyesplice/w")));
    let none = parse(&front("shortWay: {}")).unwrap().config.front;
    assert_eq!((none.audit, none.limits), (None, FrontLimits::default()));
}

#[test]
fn parse_front_audit_that_records_nothing_is_an_error() {
    for (fields, want) in [
        (
            "audit: {policyFile: p, path: '-'}",
            "front.audit: has no effect without shortWay: API servers record what goes through",
        ),
        (
            "shortWay: {}, audit: {path: '-'}",
            "front.audit.policyFile: is required: it says what is recorded",
        ),
        (
            "shortWay: {}, audit: {policyFile: p}",
            "front.audit: leads nowhere; add path, webhookKubeconfigFile, or both",
        ),
        (
            "limits: {maxStreamsPerPod: 0}",
            "front.limits.maxStreamsPerPod: 0 is out of range",
        ),
    ] {
        let errors = errors(&front(fields));
        assert!(
            errors.iter().any(|error| error.starts_with(want)),
            "{want}\n{errors:#?}"
        );
    }
}
