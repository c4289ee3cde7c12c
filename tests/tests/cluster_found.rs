//! What `scripts/e2e` found on a real cluster, made small: each test is a fault that was there once.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::api_server::exec;
use eyesplice_tests::conn::{Conn, Ending, Got};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::kubelet::{Kubelet, grant};
use eyesplice_tests::matrix;
use eyesplice_tests::variant::Variant;
use eyesplice_tests::wait::PATIENCE;
use std::time::Instant;

matrix! {
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
