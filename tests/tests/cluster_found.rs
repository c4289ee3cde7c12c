//! What `scripts/e2e` found on a real cluster, made small: each test is a fault that was there once.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{Reason, Side};
use eyesplice_tests::api_server::exec;
use eyesplice_tests::conn::{Conn, Ending, Got};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::{Kubelet, grant};
use eyesplice_tests::matrix;
use eyesplice_tests::variant::{Transport, Variant};
use eyesplice_tests::wait::PATIENCE;
use std::time::Instant;

matrix! {
    slow_reader_gets_all_that_came_before_a_cut_and_sees_the_cut,
    both_sides_that_end_and_leave_at_once_have_completed,
}

/// What the kubelet says last: the gateway takes it from the socket together with the end after it.
const LAST_WORDS: &[u8] = &[b'.'; 100 * 1024];

/// The gateway passes an end on right after the last bytes; whether the client is gone by then is
/// chance.
const TRIES: usize = 300;

/// The API server closes as soon as it has all of an exec, the kubelet closes at the same moment. A
/// write that meets a closed socket is no cut when what is still to be read there ends as it should.
fn both_sides_that_end_and_leave_at_once_have_completed(variant: Variant) {
    let mut gateway = Gateway::start(variant);
    for number in 0..TRIES {
        let kubelet = Kubelet::start(variant, |conn, log| {
            grant(conn, log);
            conn.write_all(LAST_WORDS).unwrap();
            conn.shut().unwrap();
            log.ending(conn.read_to_end().1);
        });
        let conn = exec(&gateway.api_server(), &kubelet.target());
        leave_as_soon_as_all_is_here(conn);
        let record = gateway.ended();
        assert_eq!(record.reason, Reason::Completed, "{number}: {record:#?}");
        assert_eq!(kubelet.ending(), Ending::Clean);
    }
    gateway.running().records.take();
    gateway.assert_nothing_held();
}

/// Ends and closes right after the last byte, with all prepared before it comes.
fn leave_as_soon_as_all_is_here(mut conn: Conn) {
    conn.begin_shut();
    let mut buffer = vec![0; LAST_WORDS.len()];
    let mut left = LAST_WORDS.len();
    let deadline = Instant::now() + PATIENCE;
    while left > 0 {
        match conn.try_read(&mut buffer) {
            Got::Data(n) => left -= n,
            Got::Blocked => conn.wait(true, false, deadline).unwrap(),
            Got::End(ending) => panic!("{ending:?} before the last {left} bytes"),
        }
    }
    conn.flush().unwrap();
}

/// What is on its way when the kubelet ends: more than the API server's TCP socket takes unread, and
/// less than a UNIX socket does.
fn output(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => 1 << 20,
        Transport::Unix => 64 << 10,
    }
}

/// Go's TLS closes without an alert while another of its threads writes: one exec in a hundred ends so.
/// What the kubelet had sent before is whole all the same, and must not be lost with a reset.
fn slow_reader_gets_all_that_came_before_a_cut_and_sees_the_cut(variant: Variant) {
    let size = output(variant.transport);
    let mut gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, move |conn, log| {
        grant(conn, log);
        conn.write_all(&vec![b'.'; size]).unwrap();
        conn.fin().unwrap();
        log.ending(conn.read_to_end().1);
    });
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    // The reader begins when the kubelet has been told that it is over.
    assert!(kubelet.ending().is_cut());
    let (seen, ending) = conn.read_to_end();
    assert_eq!((seen.len(), ending), (size, Ending::Truncated));
    drop(conn);
    kubelet.finish();
    let record = gateway.ended();
    assert_eq!(
        (record.reason, record.side),
        (Reason::Truncated, Side::Upstream)
    );
    gateway.running().records.take();
    gateway.assert_nothing_held();
}
