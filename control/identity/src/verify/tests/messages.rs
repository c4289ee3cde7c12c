//! What a kubectl user reads.

use super::super::check::check;
use super::*;
use crate::pki::testing::{NOW, Recipe, kubelet};
use proptest::prelude::{any, proptest};
use rustls::pki_types::UnixTime;
use std::time::Duration as StdDuration;
use time::Duration;

fn message(recipe: Recipe, sign: impl FnOnce(Recipe, &Made) -> Made) -> String {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let mut expected = worker();
    expected.node = trust.node_of(&expected.host).cloned();
    let leaf = sign(recipe, &ca).der();
    let now = StdDuration::from_secs(NOW.unix_timestamp().try_into().unwrap());
    let now = UnixTime::since_unix_epoch(now);
    let message = check(&trust, &expected, &leaf, &[], now)
        .unwrap_err()
        .to_string();
    assert_fit(&message);
    message
}

fn assert_fit(message: &str) {
    assert!(
        message.len() <= MAX_MESSAGE,
        "{} bytes: {message}",
        message.len()
    );
    assert!(
        message.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{message}"
    );
}

fn assert_parts(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part} is missing: {message}");
    }
}

#[test]
fn message_of_a_self_signed_kubelet_names_the_remedy_and_the_pin() {
    let day = Duration::days(1);
    let recipe = Recipe {
        common_name: "worker-3@1763798400".into(),
        ..kubelet()
    };
    let message = message(recipe.valid(-day, day), |recipe, _| recipe.self_signed());
    assert_parts(
        &message,
        &[
            "kubelet worker-3 at 10.0.0.7:10250 presented a self-signed certificate ",
            "(CN=worker-3@1763798400,O=system:nodes, serial ",
            "valid 2026-11-21T08:00:00Z to 2026-11-23T08:00:00Z)",
            "; set serverTLSBootstrap: true and approve its CSR, or pin ",
        ],
    );
    assert!(message.ends_with('='), "no pin at the end: {message}");
}

#[test]
fn message_of_each_cause_names_what_was_expected_and_presented() {
    let day = Duration::days(1);
    let signed = |recipe: Recipe, ca: &Made| recipe.signed_by(ca);
    assert_parts(
        &message(
            Recipe {
                names: vec!["10.0.0.9", "b.example"],
                ..kubelet()
            },
            signed,
        ),
        &[
            "presented a certificate for 10.0.0.9, b.example, not 10.0.0.7",
            "; issue it one with",
        ],
    );
    assert_parts(
        &message(
            Recipe {
                names: vec![],
                ..kubelet()
            },
            signed,
        ),
        &["presented a certificate for no name at all, not 10.0.0.7"],
    );
    assert_parts(
        &message(
            Recipe {
                names: vec!["a", "b", "c", "d", "e"],
                ..kubelet()
            },
            signed,
        ),
        &["for a, b, c and 2 more, not 10.0.0.7"],
    );
    assert_parts(
        &message(
            Recipe {
                common_name: "system:node:worker-4".into(),
                ..kubelet()
            },
            signed,
        ),
        &[
            "presented the certificate of another identity (CN=system:node:worker-4,",
            "expected CN=system:node:worker-3,O=system:nodes: correct the inventory",
        ],
    );
    assert_parts(
        &message(kubelet().valid(-day * 2, -day), signed),
        &[
            "presented a certificate that expired 2026-11-21T08:00:00Z",
            "; set serverTLSBootstrap",
        ],
    );
    assert_parts(
        &message(kubelet().valid(day, day * 2), signed),
        &[
            "is not valid before 2026-11-23T08:00:00Z",
            "; check the clocks",
        ],
    );
    let by_stranger =
        |recipe: Recipe, _: &Made| recipe.signed_by(&authority("another-ca").self_signed());
    assert_parts(
        &message(kubelet(), by_stranger),
        &[
            "of an unknown issuer, CN=another-ca (CN=",
            "; add that CA to kubelet.caFile",
        ],
    );
    assert_parts(
        &message(kubelet(), |recipe, _| recipe.signed_by(&kubelet_ca())),
        &[
            "that the trusted CN=kubelet-serving-ca did not sign",
            "; that CA was replaced",
        ],
    );
}

#[test]
fn message_of_hostile_names_stays_one_bounded_line_with_its_remedy() {
    for name in [
        "\r\nX-Evil: 1".to_owned(),
        "\u{202e}\u{1f4a3}\0".repeat(100),
        "a".repeat(5000),
    ] {
        let recipe = Recipe {
            common_name: name,
            ..kubelet()
        };
        let message = message(recipe, |recipe, _| recipe.self_signed());
        assert_parts(
            &message,
            &[
                "kubelet worker-3 at 10.0.0.7:10250",
                "; set serverTLSBootstrap",
            ],
        );
    }
}

#[test]
fn message_of_the_longest_peer_keeps_its_remedy() {
    let ca = kubelet_ca();
    let trust = Trust::kubelets(trust(&ca)).unwrap();
    let long = format!("{}.example", vec!["a".repeat(60); 4].join("."));
    let node = Some(Arc::from("n".repeat(200)));
    let expected = Expected::kubelet(long.parse().unwrap(), 65535, node);
    let now = StdDuration::from_secs(NOW.unix_timestamp().try_into().unwrap());
    let leaf = Recipe {
        common_name: "c".repeat(300),
        ..kubelet()
    }
    .self_signed()
    .der();
    let message = check(
        &trust,
        &expected,
        &leaf,
        &[],
        UnixTime::since_unix_epoch(now),
    );
    let message = message.unwrap_err().to_string();
    assert_fit(&message);
    assert_parts(
        &message,
        &["presented a self-signed", "; set serverTLSBootstrap: true"],
    );
}

proptest! {
    #[test]
    fn message_of_any_subject_fits(name in any::<String>()) {
        let recipe = Recipe { common_name: name, ..kubelet() };
        message(recipe, |recipe, _| recipe.self_signed());
    }
}

#[test]
fn message_of_an_api_server_names_its_field_and_no_address_where_it_is_one_of_several() {
    let trust = Trust::api_servers(kubelet_ca().roots()).unwrap();
    let names = Arc::new(["10.0.0.7".parse().unwrap(), "10.0.0.8".parse().unwrap()]);
    let stranger = authority("other-ca").self_signed();
    let leaf = kubelet().signed_by(&stranger).der();
    let now = StdDuration::from_secs(NOW.unix_timestamp().try_into().unwrap());
    let now = UnixTime::since_unix_epoch(now);
    for (one_of_several, peer) in [
        (false, "API server at 10.0.0.7:6443 presented"),
        (true, "one API server of several presented"),
    ] {
        let host = "10.0.0.7".parse().unwrap();
        let expected = Expected {
            one_of_several,
            ..Expected::target(host, 6443, Arc::clone(&names) as Arc<[_]>, None)
        };
        let failure = check(&trust, &expected, &leaf, &[], now).unwrap_err();
        assert_parts(
            &failure.to_string(),
            &[peer, "add that CA to apiservers.caFile"],
        );
    }
    assert!(Trust::api_servers(Arc::new(rustls::RootCertStore::empty())).is_err());
}
