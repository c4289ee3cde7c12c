//! Kubelets and API servers with the wrong certificate, or none.

use eyesplice_dataplane::seam::{Phase, Reason, Side, StreamMode, VerificationResult};
use eyesplice_identity::verify::Mode as Verification;
use eyesplice_tests::api_server::{Request, name_of};
use eyesplice_tests::conn::Ending;
use eyesplice_tests::gateway::{Gateway, assert_end};
use eyesplice_tests::kubelet::{self, Kubelet};
use eyesplice_tests::pki::{API_SERVER, Leaf, Presented, pki};
use eyesplice_tests::variant::Variant;
use eyesplice_tests::{matrix, tls};
use std::sync::Arc;

matrix! {
    every_wrong_kubelet_certificate_is_refused_with_its_remedy,
    observed_kubelets_pass_and_are_named,
    kubelet_that_refuses_our_certificate_is_told_to_the_user,
    api_server_without_a_certificate_is_refused,
    api_server_with_a_certificate_of_another_ca_is_refused,
    api_server_that_does_not_trust_the_leaf_is_recorded,
    kubelet_that_speaks_no_tls_is_502,
    kubelet_that_hangs_up_in_the_handshake_is_502,
    pod_behind_originated_tls_is_verified,
    opaque_bytes_behind_a_terminated_pod_are_carried,
    opaque_bytes_and_end_behind_a_last_flight_are_carried,
    name_that_is_asked_for_decides_about_both_ends,
}

fn every_wrong_kubelet_certificate_is_refused_with_its_remedy(variant: Variant) {
    let gateway = Gateway::start(variant);
    for (presented, cause) in Presented::WRONG {
        let kubelet = Kubelet::presenting(variant, presented, kubelet::serve);
        let (mut conn, head) = gateway.api_server().connect(&kubelet.target());
        assert_eq!(head.status(), 502, "{presented:?}: {}", head.raw);
        let reason = head.reason();
        // The reason phrase is all that the kubectl user sees: node, address, remedy.
        assert!(
            reason.starts_with("kubelet worker-3 at 127.0.0.1:"),
            "{reason}"
        );
        assert!(reason.contains("; "), "no remedy: {reason}");
        assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
        drop(conn);
        let record =
            gateway.assert_ended(Reason::Unverified, Side::Upstream, Phase::UpstreamHandshake);
        assert_eq!(
            record.verification,
            VerificationResult::Refused { cause },
            "{presented:?}"
        );
        assert_eq!(record.status, Some(502));
        assert_eq!(record.mode, StreamMode::TerminateKubelet);
        assert_eq!(record.detail.as_deref(), Some(reason));
        assert!(
            kubelet.heads().is_empty(),
            "a request reached an unverified kubelet"
        );
        kubelet.finish();
        gateway.assert_nothing_held();
    }
    assert_eq!(
        gateway.totals().handshake_failures,
        Presented::WRONG.len() as u64
    );
}

fn observed_kubelets_pass_and_are_named(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| setup.verification = Verification::Observe);
    for (presented, cause) in Presented::WRONG {
        let kubelet = Kubelet::presenting(variant, presented, kubelet::serve);
        let mut conn = gateway.api_server().open(&kubelet.target());
        assert_eq!(
            Request::get("/healthz").ask(&mut conn).text(),
            "ok",
            "{presented:?}"
        );
        conn.shut().unwrap();
        conn.read_to_end();
        kubelet.finish();
        let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
        let VerificationResult::Observed {
            identity,
            cause: seen,
        } = record.verification
        else {
            panic!("{presented:?}: {:?}", record.verification);
        };
        assert_eq!(seen, cause);
        assert!(identity.contains("system:node:"), "{identity}");
    }
    gateway.assert_nothing_held();
}

fn kubelet_that_refuses_our_certificate_is_told_to_the_user(variant: Variant) {
    let gateway = Gateway::start(variant);
    let pki = pki();
    let config = tls::server(&Presented::Good.identity(pki), &pki.strangers, variant.tls);
    let kubelet = Kubelet::with(Some(config), kubelet::serve);
    let (mut conn, head) = gateway.api_server().connect(&kubelet.target());
    let record = if head.status() == 200 {
        // TLS 1.3: our side of the handshake is over before the kubelet judges. The first request is
        // answered with what became of it.
        let config = tls::client(Some(&pki.api_server), &pki.egress, variant.tls);
        conn.start_client(&Arc::new(config), name_of(&kubelet.target()))
            .unwrap();
        let reply = Request::exec_spdy().ask(&mut conn);
        assert_eq!(reply.head.status(), 502);
        assert!(reply.text().to_lowercase().contains("alert"), "{reply:?}");
        drop(conn);
        gateway.assert_ended(Reason::Protocol, Side::Upstream, Phase::Exchange)
    } else {
        assert!(head.reason().to_lowercase().contains("alert"), "{head:?}");
        drop(conn);
        gateway.assert_ended(
            Reason::HandshakeFailed,
            Side::Upstream,
            Phase::UpstreamHandshake,
        )
    };
    assert_eq!(record.status, Some(502));
    assert!(kubelet.heads().is_empty());
    assert_eq!(kubelet.refused().len(), 1);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn api_server_without_a_certificate_is_refused(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let target = kubelet.target();
    let mut conn = gateway.api_server().tunnel(&target);
    let config = tls::client(None, &pki().egress, variant.tls);
    // In TLS 1.3 the client learns of it only by its first read.
    if conn
        .start_client(&Arc::new(config), name_of(&target))
        .is_ok()
    {
        assert_eq!(conn.read_to_end().1, Ending::Broken, "no alert");
    }
    assert!(conn.trouble().is_some(), "no alert says why");
    drop(conn);
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    let record = gateway.assert_ended(
        Reason::Unverified,
        Side::Downstream,
        Phase::DownstreamHandshake,
    );
    assert_eq!(record.client, None);
    gateway.assert_nothing_held();
}

fn api_server_with_a_certificate_of_another_ca_is_refused(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let target = kubelet.target();
    let pki = pki();
    let impostor = pki.strangers.issue(&Leaf::client(API_SERVER));
    let mut conn = gateway.api_server().tunnel(&target);
    let config = tls::client(Some(&impostor), &pki.egress, variant.tls);
    if conn
        .start_client(&Arc::new(config), name_of(&target))
        .is_ok()
    {
        assert_eq!(conn.read_to_end().1, Ending::Broken, "no alert");
    }
    assert!(conn.trouble().is_some(), "no alert says why");
    drop(conn);
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    gateway.assert_ended(
        Reason::Unverified,
        Side::Downstream,
        Phase::DownstreamHandshake,
    );
    gateway.assert_nothing_held();
}

fn api_server_that_does_not_trust_the_leaf_is_recorded(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let target = kubelet.target();
    let pki = pki();
    let mut conn = gateway.api_server().tunnel(&target);
    let config = tls::client(Some(&pki.api_server), &pki.strangers, variant.tls);
    conn.start_client(&Arc::new(config), name_of(&target))
        .unwrap_err();
    drop(conn);
    kubelet.finish();
    let record = gateway.assert_ended(
        Reason::HandshakeFailed,
        Side::Downstream,
        Phase::DownstreamHandshake,
    );
    let detail = record.detail.unwrap();
    assert!(detail.to_lowercase().contains("alert"), "{detail}");
    gateway.assert_nothing_held();
}

fn kubelet_that_speaks_no_tls_is_502(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::with(None, |conn, _| {
        conn.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        conn.read_to_end();
    });
    let head = gateway.api_server().refused(&kubelet.target());
    assert_eq!(head.status(), 502);
    assert!(
        head.reason().contains("TLS with node worker-3"),
        "{}",
        head.raw
    );
    gateway.assert_ended(
        Reason::HandshakeFailed,
        Side::Upstream,
        Phase::UpstreamHandshake,
    );
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn kubelet_that_hangs_up_in_the_handshake_is_502(variant: Variant) {
    let gateway = Gateway::start(variant);
    for reset in [false, true] {
        let kubelet = Kubelet::with(None, move |conn, _| {
            conn.read_exact(5).unwrap();
            if reset {
                conn.reset_when_closed();
            } else {
                conn.fin().unwrap();
                conn.read_to_end();
            }
        });
        let head = gateway.api_server().refused(&kubelet.target());
        assert_eq!(head.status(), 502);
        kubelet.finish();
        let record = gateway.ended();
        let reason = if reset {
            Reason::Reset
        } else {
            Reason::Truncated
        };
        assert_end(&record, reason, Side::Upstream, Phase::UpstreamHandshake);
    }
    gateway.assert_nothing_held();
}

fn pod_behind_originated_tls_is_verified(variant: Variant) {
    use eyesplice_tests::scripted::Answer;
    let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Originate);
    let kubelet = Kubelet::start(variant, kubelet::echo);
    let mut conn = gateway.api_server().tunnel(&kubelet.target());
    conn.write_all(b"plain text downstream").unwrap();
    assert_eq!(conn.read_exact(21).unwrap(), b"plain text downstream");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    assert_eq!(record.mode, StreamMode::Originate);
    assert!(
        matches!(record.verification, VerificationResult::Verified(_)),
        "{record:?}"
    );

    let wrong = Kubelet::presenting(variant, Presented::SelfSigned, kubelet::echo);
    assert_eq!(gateway.api_server().refused(&wrong.target()).status(), 502);
    wrong.finish();
    assert_eq!(gateway.ended().reason, Reason::Unverified);
    gateway.assert_nothing_held();
}

fn opaque_bytes_behind_a_terminated_pod_are_carried(variant: Variant) {
    use eyesplice_tests::scripted::Answer;
    let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Opaque);
    let kubelet = Kubelet::start(variant, kubelet::echo);
    let mut conn = gateway.api_server().open(&kubelet.target());
    // Nothing that HTTP knows.
    let input = eyesplice_tests::rng::Rng::new(9).bytes(500_000);
    let seen =
        eyesplice_tests::duplex::converse(&mut conn, &input, eyesplice_tests::duplex::Pace::even());
    assert!(
        seen.received == input && seen.ending == Ending::Clean,
        "{:?}",
        seen.ending
    );
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    assert_eq!(
        (record.mode, record.exchange),
        (StreamMode::TerminateOpaque, 0)
    );
    gateway.assert_nothing_held();
}

fn opaque_bytes_and_end_behind_a_last_flight_are_carried(variant: Variant) {
    use eyesplice_tests::scripted::Answer;
    let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Opaque);
    let kubelet = Kubelet::start(variant, kubelet::echo);
    let target = kubelet.target();
    for _ in 0..20 {
        let mut conn = gateway.api_server().tunnel(&target);
        let config = tls::client(None, &pki().egress, variant.tls);
        // Finished, payload, close_notify and FIN, as `openssl s_client` sends its input.
        conn.start_client_and_say(&Arc::new(config), name_of(&target), b"all at once")
            .unwrap();
        assert_eq!(conn.read_to_end(), (b"all at once".to_vec(), Ending::Clean));
        gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    }
    kubelet.finish();
    gateway.assert_nothing_held();
}

/// Behind the 200 an alert is all that can tell.
fn name_that_is_asked_for_decides_about_both_ends(variant: Variant) {
    use eyesplice_tests::pki::NODE;
    use eyesplice_tests::scripted::{Answer, OTHER_NAME};
    let gateway = Gateway::with(variant, |setup| setup.answer = Answer::Named);
    let kubelet = Kubelet::start(variant, kubelet::echo);
    let target = kubelet.target();
    let config = Arc::new(tls::client(None, &pki().egress, variant.tls));
    for name in [name_of(&target), name_of(NODE)] {
        let mut conn = gateway.api_server().tunnel(&target);
        conn.start_client_and_say(&config, name, b"all at once")
            .unwrap();
        assert_eq!(conn.read_to_end(), (b"all at once".to_vec(), Ending::Clean));
        let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
        assert_eq!(record.mode, StreamMode::TerminateOpaque);
        let verified = matches!(record.verification, VerificationResult::Verified(_));
        assert!(verified, "{record:?}");
    }
    for (name, alert, reason, phase) in [
        (
            OTHER_NAME,
            "HandshakeFailure",
            Reason::Unverified,
            Phase::UpstreamHandshake,
        ),
        (
            "stranger.svc",
            "UnrecognisedName",
            Reason::Denied,
            Phase::Verdict,
        ),
    ] {
        let mut conn = gateway.api_server().tunnel(&target);
        let refused = conn.start_client(&config, name_of(name)).unwrap_err();
        assert!(
            format!("{refused:?}").contains(alert),
            "{name}: {refused:?}"
        );
        let record = gateway.ended();
        assert_eq!((record.reason, record.phase), (reason, phase), "{record:?}");
    }
    // What comes instead of a ClientHello.
    let mut conn = gateway.api_server().tunnel(&target);
    conn.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let (told, _) = conn.read_to_end();
    assert!(matches!(told[..], [21, 3, 3, 0, 2, 2, _]), "{told:?}");
    assert_eq!(gateway.ended().reason, Reason::HandshakeFailed);
    kubelet.finish();
    gateway.assert_nothing_held();
}
