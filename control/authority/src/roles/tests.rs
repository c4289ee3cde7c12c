//! The table of roles, row by row.

use super::*;
use eyesplice_identity::x509::testing::kubelet_client;

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        username: name.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..UserInfo::default()
    }
}

fn request(node: &str) -> CertificateRequest {
    CertificateRequest::read(&kubelet_client(node).pem()).unwrap()
}

fn table() -> Roles {
    let row = |group: &str, role, signers: &[&str]| Binding {
        group: group.to_owned(),
        role,
        signers: signers.iter().map(|signer| (*signer).to_owned()).collect(),
    };
    Roles::new(&[
        row("approvers", Role::Approver, &["kubernetes.io/*"]),
        row("signers", Role::Signer, &["example.com/one"]),
        row(
            "users",
            Role::Requester,
            &["kubernetes.io/kube-apiserver-client"],
        ),
        row("viewers", Role::Viewer, &[]),
    ])
}

#[test]
fn pattern_that_ends_within_a_domain_covers_nothing() {
    let row = |pattern: &str| Binding {
        group: "approvers".to_owned(),
        role: Role::Approver,
        signers: vec![pattern.to_owned()],
    };
    assert!(row("example.com/*").covers("example.com/one"));
    for signer in ["example.com/one", "example.community/one"] {
        assert!(!row("example.com*").covers(signer), "{signer}");
    }
}

#[test]
fn create_is_allowed_to_those_whose_signer_it_is() {
    let (client, serving) = (Signer::KubeletClient.name(), Signer::KubeletServing.name());
    let boot = user("system:bootstrap:abcdef", &[NODE_BOOTSTRAPPERS]);
    let node = user("system:node:w", &["system:nodes"]);
    let admin = user("admin", &["system:masters"]);
    // What every token is, and what one of gateways is.
    let plain = user("system:bootstrap:abcdef", &["system:bootstrappers"]);
    let of_gateways = user(
        "system:bootstrap:abcdef",
        &["system:bootstrappers", GATEWAY_BOOTSTRAPPERS],
    );
    for (who, signer, of, allowed) in [
        (&boot, client, "w", true),
        (&boot, client, "v", true),
        (&plain, client, "w", false),
        (&of_gateways, client, "w", false),
        (&boot, serving, "w", false),
        (&boot, "kubernetes.io/kube-apiserver-client", "w", false),
        (&boot, "example.com/one", "w", false),
        (&node, client, "w", true),
        (&node, serving, "w", true),
        (&node, client, "v", false),
        (&node, serving, "v", false),
        (&node, "kubernetes.io/kube-apiserver-client", "w", false),
        (&user("w", &["system:nodes"]), client, "w", false),
        (&user("system:node:", &["system:nodes"]), client, "w", false),
        (&admin, serving, "w", true),
        (&admin, "example.com/any", "w", true),
        (
            &user("jane", &["users"]),
            "kubernetes.io/kube-apiserver-client",
            "w",
            true,
        ),
        (&user("jane", &["users"]), client, "w", false),
        (&user("jane", &["viewers", "approvers"]), client, "w", false),
        (&user("jane", &["system:authenticated"]), client, "w", false),
    ] {
        let got = table().may_create(who, signer, &request(of));
        assert_eq!(
            got.is_ok(),
            allowed,
            "{} {signer} {of}: {got:?}",
            who.username
        );
    }
}

#[test]
fn create_for_masters_is_refused_even_to_masters() {
    use eyesplice_identity::x509::testing::Ask;
    let ask = Ask {
        subject: vec![(rcgen::DnType::OrganizationName, "system:masters".to_owned())],
        ..kubelet_client("w")
    };
    let request = CertificateRequest::read(&ask.pem()).unwrap();
    let admin = user("admin", &["system:masters"]);
    let refused = table().may_create(&admin, Signer::ApiServerClient.name(), &request);
    assert!(
        refused
            .unwrap_err()
            .contains("system:masters group is not allowed")
    );
}

#[test]
fn approve_and_sign_are_by_signer() {
    let (one, any) = ("kubernetes.io/kubelet-serving", "example.com/one");
    let approver = user("a", &["approvers"]);
    let signer = user("s", &["signers"]);
    let admin = user("root", &["kubeadm:cluster-admins"]);
    let roles = table();
    assert!(roles.may_approve(&approver, one).is_ok());
    assert!(roles.may_approve(&approver, any).is_err());
    assert!(roles.may_approve(&approver, "kubernetes.iox/a").is_err());
    assert!(roles.may_approve(&signer, any).is_err());
    assert!(roles.may_sign(&signer, any).is_ok());
    assert!(roles.may_sign(&signer, one).is_err());
    assert!(roles.may_sign(&approver, one).is_err());
    assert!(roles.may_approve(&admin, any).is_ok() && roles.may_sign(&admin, any).is_ok());
    let node = user("system:node:w", &["system:nodes"]);
    assert!(roles.may_approve(&node, one).is_err());
}

#[test]
fn sight_is_own_for_those_who_only_ask() {
    for (groups, expected) in [
        (&[NODE_BOOTSTRAPPERS][..], Sight::Own),
        (&["system:nodes"], Sight::Own),
        (&["users"], Sight::Own),
        (&["users", "viewers"], Sight::All),
        (&["approvers"], Sight::All),
        (&["system:authenticated"], Sight::Nothing),
        (&[], Sight::Nothing),
    ] {
        assert_eq!(table().sight(&user("x", groups)), expected, "{groups:?}");
    }
}

#[test]
fn gateways_ask_for_their_own_and_their_bootstrappers_for_clients() {
    use eyesplice_identity::x509::testing::gateway;
    let roles = table();
    let own = CertificateRequest::read(&gateway("gw", Vec::new()).pem()).unwrap();
    let gateway = user("eyesplice:gateway:gw", &["eyesplice:gateways"]);
    let other = user("eyesplice:gateway:other", &["eyesplice:gateways"]);
    let nameless = user("eyesplice:gateway:", &["eyesplice:gateways"]);
    let boot = user(
        "system:bootstrap:abcdef",
        &["system:bootstrappers:eyesplice:gateways"],
    );
    let node_boot = user("system:bootstrap:abcdef", &[NODE_BOOTSTRAPPERS]);
    for signer in OF_GATEWAYS {
        let may = |who: &UserInfo| roles.may_create(who, signer.name(), &own).is_ok();
        assert!(may(&gateway), "{signer}");
        assert!(
            !may(&other) && !may(&nameless) && !may(&node_boot),
            "{signer}"
        );
        assert_eq!(may(&boot), signer == Signer::GatewayClient, "{signer}");
    }
    for signer in OF_NODES {
        let refused = roles.may_create(&gateway, signer.name(), &own).unwrap_err();
        assert!(
            refused.contains("may ask eyesplice.dev/gateway-client and"),
            "{refused}"
        );
    }
    assert_eq!(roles.sight(&gateway), Sight::Own);
    assert_eq!(roles.sight(&boot), Sight::Own);
    assert!(roles.may_review(&gateway).is_err());
}

#[test]
fn token_without_a_kind_is_told_how_to_get_one() {
    let plain = user("system:bootstrap:abcdef", &["system:bootstrappers"]);
    let request = CertificateRequest::read(&kubelet_client("w").pem()).unwrap();
    let client = Signer::KubeletClient.name();
    let refused = table().may_create(&plain, client, &request).unwrap_err();
    for words in [
        NODE_BOOTSTRAPPERS,
        GATEWAY_BOOTSTRAPPERS,
        "node-bootstrapper",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
    assert_eq!(table().sight(&plain), Sight::Nothing);
    let more = [Binding {
        group: "system:bootstrappers".to_owned(),
        role: Role::Bootstrapper,
        signers: Vec::new(),
    }];
    assert!(
        Roles::new(&more)
            .may_create(&plain, client, &request)
            .is_ok()
    );
}

#[test]
fn token_that_is_bound_is_for_those_names_alone() {
    let bound = |nodes: &[&str], gateways: &[&str]| {
        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let bound = Bound {
            nodes: text(nodes),
            gateways: text(gateways),
        };
        UserInfo {
            extra: bound.extra(),
            ..user(
                "system:bootstrap:abcdef",
                &[NODE_BOOTSTRAPPERS, GATEWAY_BOOTSTRAPPERS],
            )
        }
    };
    let node = CertificateRequest::read(&kubelet_client("w").pem()).unwrap();
    let gateway = eyesplice_identity::x509::testing::gateway("gw", Vec::new()).pem();
    let gateway = CertificateRequest::read(&gateway).unwrap();
    for (who, of_node, of_gateway) in [
        (bound(&[], &[]), true, true),
        (bound(&["w"], &[]), true, false),
        (bound(&["v", "w"], &["gw"]), true, true),
        (bound(&["v"], &["w"]), false, false),
        (bound(&[], &["gw"]), false, true),
    ] {
        let may = |signer: Signer, request| table().may_create(&who, signer.name(), request);
        let (one, other) = (
            may(Signer::KubeletClient, &node),
            may(Signer::GatewayClient, &gateway),
        );
        assert_eq!(
            (one.is_ok(), other.is_ok()),
            (of_node, of_gateway),
            "{:?}",
            who.extra
        );
        for refused in [one, other].into_iter().filter_map(Result::err) {
            assert!(refused.contains("is bound to nodes"), "{refused}");
        }
    }
}
