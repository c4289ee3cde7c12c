//! Ends, truncations and resets keep their meaning through a tunnel, in either direction.

use eyesplice_dataplane::seam::{Reason, StreamRecord};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::Kubelet;
use eyesplice_tests::matrix;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::tunnel::{Agent, assert_gateway_back, gateway};
use eyesplice_tests::variant::{Transport, Variant};

matrix! { transports:
    client_that_ends_its_side_gets_the_rest,
    target_that_ends_its_side_gets_the_rest,
    reset_of_the_target_is_a_cut_for_the_client,
    reset_of_the_client_is_a_cut_for_the_target,
    truncation_of_the_target_is_a_cut_for_the_client,
    truncation_of_the_client_is_a_cut_for_the_target,
}

/// Plays one stream; returns what the gateway and the agent recorded of it.
fn play(
    variant: Variant,
    answer: Answer,
    target: impl Fn(&mut Conn) -> Option<Ending> + Send + Sync + 'static,
    client: impl FnOnce(&Gateway, Conn),
) -> (StreamRecord, StreamRecord, Option<Ending>) {
    let gateway = gateway(variant, |setup| setup.answer = answer);
    let agent = Agent::of(&gateway);
    let script = move |conn: &mut Conn, log: &eyesplice_tests::kubelet::Log| {
        if let Some(ending) = target(conn) {
            log.ending(ending);
        }
    };
    let target = match answer {
        Answer::Splice => Kubelet::with(None, script),
        _ => Kubelet::start(variant, script),
    };
    let conn = match answer {
        Answer::Splice => gateway.api_server().tunnel(&target.target()),
        _ => gateway.api_server().open(&target.target()),
    };
    client(&gateway, conn);
    let records = (gateway.ended(), agent.ended());
    let seen = target.finish_seeing();
    agent.finish();
    assert_gateway_back(&gateway);
    (records.0, records.1, seen)
}

fn client_that_ends_its_side_gets_the_rest(variant: Variant) {
    for answer in [Answer::Splice, Answer::Opaque] {
        let target = |conn: &mut Conn| {
            let (asked, ending) = conn.read_to_end();
            assert_eq!(asked, b"question");
            conn.write_and_shut(b"answer").unwrap();
            Some(ending)
        };
        let (ours, theirs, seen) = play(variant, answer, target, |_, mut conn| {
            conn.write_and_shut(b"question").unwrap();
            assert_eq!(conn.read_to_end(), (b"answer".to_vec(), Ending::Clean));
        });
        assert_eq!(seen, Some(Ending::Clean));
        assert_eq!(ours.reason, Reason::Completed, "{ours:#?}");
        assert_eq!(theirs.reason, Reason::Completed, "{theirs:#?}");
    }
}

fn target_that_ends_its_side_gets_the_rest(variant: Variant) {
    for answer in [Answer::Splice, Answer::Opaque] {
        let target = |conn: &mut Conn| {
            conn.write_and_shut(b"hello").unwrap();
            let (said, ending) = conn.read_to_end();
            assert_eq!(said, b"goodbye");
            Some(ending)
        };
        let (ours, theirs, seen) = play(variant, answer, target, |_, mut conn| {
            assert_eq!(conn.read_to_end(), (b"hello".to_vec(), Ending::Clean));
            conn.write_and_shut(b"goodbye").unwrap();
        });
        assert_eq!(seen, Some(Ending::Clean));
        assert_eq!(ours.reason, Reason::Completed, "{ours:#?}");
        assert_eq!(theirs.reason, Reason::Completed, "{theirs:#?}");
    }
}

fn reset_of_the_target_is_a_cut_for_the_client(variant: Variant) {
    let target = |conn: &mut Conn| {
        conn.read_exact(4).unwrap();
        conn.write_all(b"last words").unwrap();
        conn.reset_when_closed();
        None
    };
    let (ours, theirs, _) = play(variant, Answer::Splice, target, |_, mut conn| {
        conn.write_all(b"ping").unwrap();
        let (said, ending) = conn.read_to_end();
        // A UNIX socket without TLS cannot show it.
        assert_eq!(ending.is_cut(), variant.transport == Transport::Tcp);
        assert_eq!(said, b"last words", "{ending:?}");
    });
    let expected = match variant.transport {
        Transport::Tcp => Reason::Reset,
        Transport::Unix => Reason::CutUnseen,
    };
    assert_eq!(ours.reason, expected, "{ours:#?}");
    assert_eq!(theirs.reason, Reason::Reset, "{theirs:#?}");
}

fn reset_of_the_client_is_a_cut_for_the_target(variant: Variant) {
    if variant.transport == Transport::Unix {
        return;
    }
    let target = |conn: &mut Conn| {
        conn.write_all(b"ready").unwrap();
        let (said, ending) = conn.read_to_end();
        assert_eq!(said, b"half a sen");
        Some(ending)
    };
    let (ours, theirs, seen) = play(variant, Answer::Splice, target, |gateway, mut conn| {
        conn.read_exact(5).unwrap();
        conn.write_all(b"half a sen").unwrap();
        gateway.until("it is delivered", |totals| totals.bytes_up == 10);
        conn.reset_when_closed();
    });
    assert_eq!(seen, Some(Ending::Reset));
    assert_eq!(ours.reason, Reason::Reset, "{ours:#?}");
    assert!(
        matches!(theirs.reason, Reason::Reset | Reason::Truncated),
        "{theirs:#?}"
    );
}

fn truncation_of_the_target_is_a_cut_for_the_client(variant: Variant) {
    let target = |conn: &mut Conn| {
        conn.read_exact(4).unwrap();
        conn.write_all(b"half a sen").unwrap();
        conn.fin().unwrap();
        conn.read_to_end();
        None
    };
    let (ours, _, _) = play(variant, Answer::Opaque, target, |_, mut conn| {
        conn.write_all(b"ping").unwrap();
        let (said, ending) = conn.read_to_end();
        assert_eq!(said, b"half a sen");
        assert!(ending.is_cut(), "{ending:?}");
    });
    assert_eq!(ours.reason, Reason::Truncated, "{ours:#?}");
}

fn truncation_of_the_client_is_a_cut_for_the_target(variant: Variant) {
    let target = |conn: &mut Conn| {
        conn.write_all(b"ready").unwrap();
        let (said, ending) = conn.read_to_end();
        assert_eq!(said, b"half a sen");
        Some(ending)
    };
    let (ours, _, seen) = play(variant, Answer::Opaque, target, |_, mut conn| {
        conn.read_exact(5).unwrap();
        conn.write_all(b"half a sen").unwrap();
        conn.fin().unwrap();
        conn.read_to_end();
    });
    assert!(seen.unwrap().is_cut(), "{seen:?}");
    assert_eq!(ours.reason, Reason::Truncated, "{ours:#?}");
}
