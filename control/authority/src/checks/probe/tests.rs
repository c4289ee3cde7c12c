//! Probes of fake kubelets.

use super::super::testing::{Kubelet, Manner, Reserved};
use super::*;
use eyesplice_identity::pki::testing::{Made, Recipe, authority, kubelet};
use time::macros::datetime;

/// Long enough for a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(20);

async fn meet(manner: Manner, ca: &Made) -> Answer {
    let kubelet = Kubelet::start(manner);
    probe(kubelet.address, DEADLINE, Some(&ca.der()), UnixTime::now()).await
}

#[tokio::test]
async fn certificate_of_our_ca_tells_its_node() {
    let ca = authority("ca").self_signed();
    let made = kubelet().signed_by(&ca);
    let answer = meet(Manner::presents(&made), &ca).await;
    assert_eq!(answer, Answer::Node("worker-3".to_owned()));
}

#[tokio::test]
async fn certificate_of_our_ca_that_expired_is_still_its_nodes() {
    let ca = authority("ca").self_signed();
    let expired = Recipe {
        not_after: datetime!(2001-01-01 00:00 UTC),
        ..kubelet()
    };
    let answer = meet(Manner::presents(&expired.signed_by(&ca)), &ca).await;
    assert_eq!(answer, Answer::Node("worker-3".to_owned()));
}

#[tokio::test]
async fn certificates_that_prove_no_node_are_strangers() {
    let (ca, other) = (authority("ca").self_signed(), authority("ca").self_signed());
    let no_node = Recipe {
        organizations: vec!["dev"],
        ..kubelet()
    };
    for made in [
        kubelet().signed_by(&other),
        kubelet().self_signed(),
        no_node.signed_by(&ca),
    ] {
        let answer = meet(Manner::presents(&made), &ca).await;
        assert!(matches!(&answer, Answer::Stranger(_)), "{answer:?}");
    }
    let made = kubelet().signed_by(&ca);
    let fake = Kubelet::start(Manner::presents(&made));
    let answer = probe(fake.address, DEADLINE, None, UnixTime::now()).await;
    assert!(matches!(answer, Answer::Stranger(_)), "{answer:?}");
}

#[tokio::test]
async fn kubelet_without_certificate_is_known_by_its_alert() {
    let ca = authority("ca").self_signed();
    assert_eq!(meet(Manner::Bare, &ca).await, Answer::Bare);
}

#[tokio::test]
async fn whoever_does_not_speak_tls_is_nobody() {
    let ca = authority("ca").self_signed();
    let plain = meet(Manner::Plain, &ca).await;
    let Answer::Nobody(why) = plain else {
        panic!("{plain:?}")
    };
    assert!(why.contains("no TLS"), "{why}");
    let reserved = Reserved::new();
    let refused = probe(reserved.address(), DEADLINE, None, UnixTime::now()).await;
    let Answer::Nobody(why) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let silent = Kubelet::start(Manner::Silent);
    let short = Duration::from_millis(50);
    let answer = probe(silent.address, short, None, UnixTime::now()).await;
    assert_eq!(answer, Answer::Nobody("no answer within 50ms".to_owned()));
}
