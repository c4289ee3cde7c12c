//! The pure check, cause by cause.

use super::super::check::check;
use super::*;
use crate::pins::SpkiHash;
use crate::pki::testing::{NOW, Recipe, client, kubelet};
use crate::testing::openssl;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration as StdDuration;
use time::Duration;

fn unix(at: time::OffsetDateTime) -> UnixTime {
    UnixTime::since_unix_epoch(StdDuration::from_secs(
        at.unix_timestamp().try_into().unwrap(),
    ))
}

/// Checks as a stream would, the inventory's node included.
pub(super) fn run(
    trust: &Trust,
    mut expected: Expected,
    chain: &[CertificateDer<'_>],
) -> Result<(), Box<Failure>> {
    if expected.node.is_none() {
        expected.node = trust.node_of(&expected.host).cloned();
    }
    check(trust, &expected, &chain[0], &chain[1..], unix(NOW)).map(drop)
}

pub(super) fn label(result: Result<(), Box<Failure>>) -> &'static str {
    result.map_or_else(|failure| failure.cause.as_str(), |()| "verified")
}

fn of_recipe(recipe: Recipe) -> Result<(), Box<Failure>> {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    run(&trust, worker(), &[recipe.signed_by(&ca).der()])
}

#[test]
fn check_accepts_the_right_kubelet_by_address_and_name() {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let chain = [kubelet().signed_by(&ca).der()];
    for host in ["10.0.0.7", "worker-3.example"] {
        let expected = Expected::kubelet(host.parse().unwrap(), 10250, None);
        assert_eq!(label(run(&trust, expected, &chain)), "verified", "{host}");
    }
}

#[test]
fn check_names_each_cause() {
    let minute = Duration::minutes(1);
    let day = Duration::days(1);
    let table: Vec<(&str, Recipe)> = vec![
        ("verified", kubelet()),
        ("verified", kubelet().valid(-day, Duration::ZERO)),
        ("verified", kubelet().valid(Duration::ZERO, day)),
        ("expired", kubelet().valid(-day, -Duration::SECOND)),
        ("not_yet_valid", kubelet().valid(minute, day)),
        (
            "wrong_key_usage",
            Recipe {
                extended: vec![ExtendedKeyUsagePurpose::ClientAuth],
                ..kubelet()
            },
        ),
        (
            "wrong_key_usage",
            Recipe {
                usages: vec![KeyUsagePurpose::KeyEncipherment],
                ..kubelet()
            },
        ),
        // RFC 5280: no extension, no restriction.
        (
            "verified",
            Recipe {
                extended: Vec::new(),
                usages: Vec::new(),
                ..kubelet()
            },
        ),
        (
            "wrong_key_usage",
            Recipe {
                is_ca: IsCa::Ca(BasicConstraints::Unconstrained),
                ..kubelet()
            },
        ),
        (
            "wrong_name",
            Recipe {
                names: vec!["10.0.0.9"],
                ..kubelet()
            },
        ),
        (
            "wrong_name",
            Recipe {
                names: Vec::new(),
                ..kubelet()
            },
        ),
        (
            "wrong_name",
            Recipe {
                names: vec!["10.0.0.7.example"],
                ..kubelet()
            },
        ),
        (
            "wrong_node",
            Recipe {
                common_name: "system:node:worker-4".into(),
                ..kubelet()
            },
        ),
        (
            "wrong_node",
            Recipe {
                common_name: "worker-3".into(),
                ..kubelet()
            },
        ),
        (
            "wrong_node",
            Recipe {
                organizations: vec!["system:masters"],
                ..kubelet()
            },
        ),
        (
            "wrong_node",
            Recipe {
                organizations: Vec::new(),
                ..kubelet()
            },
        ),
    ];
    for (index, (expected, recipe)) in table.into_iter().enumerate() {
        assert_eq!(label(of_recipe(recipe)), expected, "row {index}");
    }
}

#[test]
fn check_common_name_never_covers_a_host() {
    let ca = kubelet_ca();
    let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes: []\n";
    let empty = Arc::new(Inventory::parse(text, Path::new("nodes.yaml")).unwrap());
    let trust = Trust::kubelets(KubeletTrust {
        inventory: Some(empty),
        ..trust(&ca)
    })
    .unwrap();
    let recipe = Recipe {
        common_name: "w.example".into(),
        names: vec!["x.example"],
        ..kubelet()
    };
    let expected = Expected::kubelet("w.example".parse().unwrap(), 10250, None);
    assert_eq!(
        label(run(&trust, expected, &[recipe.signed_by(&ca).der()])),
        "wrong_name"
    );
}

#[test]
fn check_tells_self_signed_from_unknown_issuer() {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let stranger = authority("another-ca").self_signed();
    let own = authority("worker-3-ca@1763798400").self_signed();
    let throw_away = Recipe {
        common_name: "worker-3@1763798400".into(),
        ..kubelet()
    };
    let throw_away = throw_away.signed_by(&own);
    let openssl = Recipe {
        is_ca: IsCa::Ca(BasicConstraints::Unconstrained),
        ..kubelet()
    };
    let openssl = openssl.self_signed();
    for (expected, chain) in [
        ("self_signed", vec![kubelet().self_signed().der()]),
        // `openssl req -x509` makes CAs.
        ("self_signed", vec![openssl.der()]),
        // The kubelet sends its throw-away CA along.
        ("self_signed", vec![throw_away.der(), own.der()]),
        ("self_signed", vec![throw_away.der()]),
        ("unknown_issuer", vec![kubelet().signed_by(&stranger).der()]),
        (
            "unknown_issuer",
            vec![kubelet().signed_by(&stranger).der(), stranger.der()],
        ),
        // A stranger's certificate with a wrong usage is a stranger's all the same.
        (
            "unknown_issuer",
            vec![client("x").signed_by(&stranger).der()],
        ),
        ("self_signed", vec![client("x").self_signed().der()]),
    ] {
        assert_eq!(label(run(&trust, worker(), &chain)), expected);
    }
}

#[test]
fn check_same_issuer_name_with_another_key_is_bad_signature() {
    let (ca, replaced) = (kubelet_ca(), kubelet_ca());
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let failure = run(&trust, worker(), &[kubelet().signed_by(&replaced).der()]).unwrap_err();
    assert_eq!(failure.cause, Cause::IssuerSignature);
    assert_eq!(failure.cause.as_str(), "bad_signature");
}

#[test]
fn check_builds_the_chain_over_intermediates() {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let middle = authority("middle").signed_by(&ca);
    let leaf = kubelet().signed_by(&middle);
    assert_eq!(
        label(run(&trust, worker(), &[leaf.der(), middle.der()])),
        "verified"
    );
    assert_eq!(
        label(run(&trust, worker(), &[leaf.der()])),
        "unknown_issuer"
    );
    let day = Duration::days(1);
    let late = authority("late").valid(-day * 2, -day).signed_by(&ca);
    let leaf = kubelet().signed_by(&late);
    let failure = run(&trust, worker(), &[leaf.der(), late.der()]).unwrap_err();
    assert_eq!(failure.cause, Cause::IssuerExpired);
    // A leaf cannot sign.
    let under_leaf = kubelet().signed_by(&leaf);
    let chain = [under_leaf.der(), leaf.der(), ca.der()];
    assert_ne!(label(run(&trust, worker(), &chain)), "verified");
}

#[test]
fn check_every_prefix_of_a_certificate_is_malformed() {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let good = kubelet().signed_by(&ca).der();
    for end in 0..good.len() {
        let cut = CertificateDer::from(&good[..end]);
        assert_eq!(label(run(&trust, worker(), &[cut])), "malformed", "{end}");
    }
    let mut long = good.to_vec();
    long.push(0);
    assert_eq!(label(run(&trust, worker(), &[long.into()])), "malformed");
}

#[test]
fn check_no_flipped_byte_is_verified() {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let good = kubelet().signed_by(&ca).der();
    for position in 0..good.len() {
        let mut bad = good.to_vec();
        bad[position] ^= 1;
        let result = run(&trust, worker(), &[bad.into()]);
        assert_ne!(label(result), "verified", "byte {position}");
    }
}

/// The library that builds chains says only that something does not fit.
#[test]
fn weak_keys_and_signatures_are_told_as_such_even_of_pinned_kubelets() {
    if !openssl::present("weak certificates of peers") {
        return;
    }
    let der = |pem: &[u8]| CertificateDer::from_pem_slice(pem).unwrap();
    let strong = openssl::key("RSA", &["rsa_keygen_bits:2048"]);
    let weak = openssl::key("RSA", &["rsa_keygen_bits:1024"]);
    let root = openssl::self_signed(&strong, "/CN=root", &[]);
    let mut roots = RootCertStore::empty();
    roots.add(der(&root)).unwrap();
    let targets = |pins: Vec<SpkiHash>| {
        let roots = pins.is_empty().then(|| Arc::new(roots.clone()));
        let pins = pins.into();
        Trust::targets(TargetTrust { roots, pins }).unwrap()
    };
    let expected = || Expected::target("10.0.0.7".parse().unwrap(), 443, Arc::new([]), None);
    let made = |key: &[u8], options: &[&str]| {
        let request = openssl::request(key, "/CN=pod", &[]);
        der(&openssl::signed(&request, (&root, &strong), options))
    };
    let rooted = targets(Vec::new());
    let pinned = targets(vec![SpkiHash::of(&openssl::spki(&weak))]);
    for (trust, chain, words) in [
        (&rooted, made(&weak, &[]), "has an RSA key of 1024 bits"),
        (
            &rooted,
            made(&strong, &["-sha1"]),
            "is signed by SHA-1 with RSA",
        ),
        (&pinned, made(&weak, &[]), "has an RSA key of 1024 bits"),
    ] {
        let at = unix(time::OffsetDateTime::now_utc());
        let failure = check(trust, &expected(), &chain, &[], at).unwrap_err();
        assert_eq!(failure.cause.as_str(), "weak_key");
        assert!(failure.to_string().contains(words), "{failure}");
    }
}
