use super::*;
use crate::config::{PortRange, Via};
use proptest::prelude::*;

fn rule(name: &str, cidrs: &[&str], names: &[&str], ports: &[u16], action: RuleAction) -> Rule {
    Rule {
        name: name.into(),
        cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        dns_suffixes: names.iter().map(|name| (*name).to_owned()).collect(),
        ports: ports
            .iter()
            .map(|&port| PortRange {
                first: port,
                last: port,
            })
            .collect(),
        action,
        via: Via::Direct,
    }
}

fn policy(rules: Vec<Rule>, exempt: &[&str], own: &[&str]) -> Policy {
    let insecure_allow_targets = exempt.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let own = own.iter().map(|address| address.parse().unwrap()).collect();
    Policy::compile(
        &Egress {
            rules,
            insecure_allow_targets,
        },
        own,
    )
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses
        .iter()
        .map(|address| address.parse().unwrap())
        .collect()
}

fn everything() -> Rule {
    rule("all", &["0.0.0.0/0", "::/0"], &[], &[], RuleAction::Splice)
}

const NOT_LOCAL: &dyn Fn(IpAddr) -> bool = &|_| false;

fn chosen(policy: &Policy, asked: &str, addresses: &[&str]) -> Result<String, Cause> {
    let asked = asked.parse().unwrap();
    match policy.select(&asked, &ips(addresses), NOT_LOCAL) {
        Ok(selection) => Ok(selection.rule.name.to_string()),
        Err(denied) => Err(denied.expect("an address").cause),
    }
}

fn typical() -> Policy {
    policy(
        vec![
            rule("no-db", &["10.9.0.0/16"], &[], &[], RuleAction::Deny),
            rule(
                "kubelets",
                &["10.0.0.0/8"],
                &[],
                &[10250],
                RuleAction::TerminateKubelet,
            ),
            rule(
                "named",
                &["192.168.0.0/16"],
                &["svc.example"],
                &[443],
                RuleAction::Splice,
            ),
            rule("zone", &[], &["pods.example"], &[], RuleAction::Splice),
            rule(
                "v6",
                &["64:ff9b::/96", "fd00::/8"],
                &[],
                &[80],
                RuleAction::Splice,
            ),
        ],
        &[],
        &[],
    )
}

#[test]
fn select_first_matching_rule_decides() {
    let policy = typical();
    let no_rule = || Err(Cause::NoRule);
    let denied = || Err(Cause::Rule("no-db".into()));
    let table = [
        ("10.1.2.3:10250", "10.1.2.3", Ok("kubelets".to_owned())),
        ("10.1.2.3:10251", "10.1.2.3", no_rule()),
        ("10.9.2.3:10250", "10.9.2.3", denied()),
        ("node.anywhere:10250", "10.1.2.3", Ok("kubelets".to_owned())),
        ("a.svc.example:443", "192.168.1.1", Ok("named".to_owned())),
        ("svc.example:443", "192.168.1.1", Ok("named".to_owned())),
        ("xsvc.example:443", "192.168.1.1", no_rule()),
        ("192.168.1.1:443", "192.168.1.1", no_rule()),
        ("a.svc.example:443", "8.8.8.8", no_rule()),
        ("a.pods.example:1", "8.8.8.8", Ok("zone".to_owned())),
        ("[fd00::1]:80", "fd00::1", Ok("v6".to_owned())),
        (
            "[64:ff9b::a01:203]:80",
            "64:ff9b::a01:203",
            Ok("v6".to_owned()),
        ),
        // A deny rule for IPv4 holds behind a translator, too.
        ("[64:ff9b::a09:203]:80", "64:ff9b::a09:203", denied()),
        ("a.b:10250", "::ffff:10.1.2.3", Ok("kubelets".to_owned())),
        ("a.b:10250", "::ffff:10.9.2.3", denied()),
    ];
    for (asked, address, want) in table {
        assert_eq!(
            chosen(&policy, asked, &[address]),
            want,
            "{asked} at {address}"
        );
    }
}

#[test]
fn select_addresses_of_one_name_keep_to_one_rule() {
    let policy = typical();
    let asked = "a.b:10250".parse().unwrap();
    let addresses = ips(&[
        "169.254.169.254",
        "10.9.0.1",
        "10.1.0.1",
        "8.8.8.8",
        "10.1.0.2",
    ]);
    let selection = policy.select(&asked, &addresses, NOT_LOCAL).unwrap();
    assert_eq!((selection.index, &*selection.rule.name), (1, "kubelets"));
    assert_eq!(selection.addresses, ips(&["10.1.0.1", "10.1.0.2"]));
    let causes: Vec<String> = selection
        .dropped
        .iter()
        .map(|d| d.cause.to_string())
        .collect();
    assert_eq!(
        causes,
        [
            "it is a cloud metadata address",
            "denied by rule no-db",
            "no rule allows it"
        ]
    );

    let asked = "a.pods.example:10250".parse().unwrap();
    let selection = policy
        .select(&asked, &ips(&["8.8.8.8", "10.1.0.1"]), NOT_LOCAL)
        .unwrap();
    assert_eq!(
        (&*selection.rule.name, selection.addresses.len()),
        ("zone", 1)
    );
    assert_eq!(
        selection.dropped[0].cause,
        Cause::OtherRule("kubelets".into())
    );
}

#[test]
fn select_own_listeners_are_never_reached() {
    let own = ["10.0.0.1:8131", "0.0.0.0:8132", "127.0.0.1:9464"];
    let policy = policy(vec![everything()], &["127.0.0.0/8"], &own);
    let local = |address: IpAddr| address == ips(&["10.0.0.1"])[0];
    let own = Some(Cause::Builtin(BuiltinDenial::OwnListener));
    let table = [
        ("10.0.0.1:8131", own.clone()),
        ("10.0.0.2:8131", None),
        ("10.0.0.1:8132", own.clone()),
        ("10.0.0.2:8132", None),
        ("127.0.0.1:9464", own.clone()),
        ("127.0.0.1:10250", None),
        ("[::ffff:10.0.0.1]:8131", own),
    ];
    for (asked, want) in table {
        let asked: Target = asked.parse().unwrap();
        let Host::Ip(address) = asked.host else {
            panic!("an address")
        };
        let cause = policy
            .select(&asked, &[address], &local)
            .err()
            .flatten()
            .map(|d| d.cause);
        assert_eq!(cause, want, "{asked:?}");
    }
}

#[test]
fn may_allow_hopeless_names_are_known_before_the_lookup() {
    let policy = typical();
    let table = [
        ("a.b:10250", true),
        ("a.b:22", false),
        ("a.svc.example:443", true),
        ("a.pods.example:22", true),
        ("10.0.0.1:443", false),
    ];
    for (asked, want) in table {
        assert_eq!(policy.may_allow(&asked.parse().unwrap()), want, "{asked}");
    }
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(bits.into()));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()));
    let special = prop::sample::select(vec![
        "127.0.0.1",
        "169.254.169.254",
        "169.254.3.4",
        "224.0.0.9",
        "0.0.0.0",
        "255.255.255.255",
        "100.100.100.200",
        "10.0.0.1",
    ]);
    let prefix = prop::sample::select(vec!["::", "::ffff:", "64:ff9b::", "fd00::5efe:"]);
    let embedded = (prefix, special.clone()).prop_map(|(p, s)| format!("{p}{s}").parse().unwrap());
    prop_oneof![v4, v6, special.prop_map(|s| s.parse().unwrap()), embedded]
}

proptest! {
    #[test]
    fn select_never_keeps_a_builtin_denied_address(
        addresses in prop::collection::vec(any_ip(), 0..9),
        exempt in prop::sample::subsequence(
            vec!["127.0.0.0/8", "169.254.0.0/16", "::/0", "10.0.0.0/8"], 0..4),
        port in 1_u16..,
    ) {
        let policy = policy(vec![everything()], &exempt, &[]);
        let asked = format!("a.b:{port}").parse().unwrap();
        let exempt: Vec<IpNet> = exempt.iter().map(|cidr| cidr.parse().unwrap()).collect();
        if let Ok(selection) = policy.select(&asked, &addresses, NOT_LOCAL) {
            prop_assert!(!selection.addresses.is_empty());
            for address in selection.addresses {
                let lifted = exempt.iter().any(|net| net.contains(&address));
                let denial = builtin_denial(address, &[]);
                prop_assert!(
                    denial.is_none_or(|denial| lifted && denial.can_be_exempted()),
                    "{address}: {denial:?}"
                );
            }
        } else {
            prop_assert!(addresses.iter().all(|a| builtin_denial(*a, &exempt).is_some()));
        }
    }
}
