//! The listener for those who speak to an API server themselves: their bytes pass untouched.

use eyesplice_dataplane::seam::{Phase, Preamble, Reason, Side, StreamMode};
use eyesplice_tests::api_server::{Request, name_of};
use eyesplice_tests::closed::Closed;
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::front::{Front, Lead, server};
use eyesplice_tests::kubelet::{self, Kubelet, echo};
use eyesplice_tests::matrix;
use eyesplice_tests::pki::pki;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::tls;
use eyesplice_tests::variant::{TCP_TLS13, Variant};
use std::sync::{Arc, Mutex};
use std::time::Duration;

matrix! { tcp:
    tls_passes_end_to_end_with_the_clients_own_certificate,
    bytes_pass_both_ways_and_each_end_is_passed_on,
}

fn tls_passes_end_to_end_with_the_clients_own_certificate(variant: Variant) {
    let presented = Arc::new(Mutex::new(None));
    let log = Arc::clone(&presented);
    let api = server(variant, move |conn, seen| {
        *log.lock().unwrap() = conn.peer_chain();
        kubelet::serve(conn, seen);
    });
    let front = Front::start(variant);
    front.control.lead(Lead::To(api.address(), None));
    let mut conn = front.node();
    let config = tls::client(Some(&pki().gateway), &pki().kubelets, variant.tls);
    conn.start_client(&Arc::new(config), name_of(&api.target()))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    }
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    assert_eq!(
        presented.lock().unwrap().as_deref(),
        Some(&*pki().gateway.chain)
    );
    let record = front.ended();
    assert_eq!(
        (record.reason, record.mode),
        (Reason::Completed, StreamMode::Splice)
    );
    assert_eq!(&*record.listener, "nodes");
    assert_eq!(record.address, Some(api.address()));
    assert_eq!(record.target.unwrap().to_string(), "apiserver:443");
    api.finish();
    front.assert_nothing_held();
}

fn bytes_pass_both_ways_and_each_end_is_passed_on(variant: Variant) {
    let api = Kubelet::with(None, echo);
    let front = Front::start(variant);
    front.control.lead(Lead::To(api.address(), None));
    let mut conn = front.node();
    let input = Rng::new(3).bytes(3 << 20);
    let seen = converse(&mut conn, &input, Pace::even());
    assert!(seen.received == input && seen.ending == Ending::Clean);
    drop(conn);
    api.finish();
    assert_eq!(front.ended().bytes.up, 3 << 20);
    front.assert_nothing_held();
}

#[test]
fn header_says_where_a_connection_comes_from() {
    let api = Kubelet::with(None, |conn, log| {
        let header = conn.read_exact(28).unwrap();
        conn.write_all(&header).unwrap();
        echo(conn, log);
    });
    let front = Front::start(TCP_TLS13);
    let lead = Lead::To(api.address(), Some(Preamble::ProxyV2));
    front.control.lead(lead);
    let socket = std::net::TcpStream::connect(front.node_address()).unwrap();
    let own = socket.local_addr().unwrap();
    let mut conn = Conn::new(socket);
    conn.write_all(b"hello").unwrap();
    let header = conn.read_exact(28).unwrap();
    assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(
        header[12..24],
        [0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]
    );
    assert_eq!(header[24..26], own.port().to_be_bytes());
    assert_eq!(header[26..28], front.node_address().port().to_be_bytes());
    assert_eq!(conn.read_exact(5).unwrap(), b"hello");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    drop(conn);
    api.finish();
    // It is no byte of the stream.
    assert_eq!(front.ended().bytes.up, 5);
    front.assert_nothing_held();
}

#[test]
fn connection_that_says_nothing_costs_no_dial() {
    let api = Kubelet::with(None, echo);
    let front = Front::with(TCP_TLS13, |setup| {
        setup.admission.head_timeout = Duration::from_millis(50);
    });
    front.control.lead(Lead::To(api.address(), None));
    let mut conn = front.node();
    conn.read_to_end();
    drop(conn);
    front.assert_ended(Reason::Timeout, Side::Downstream, Phase::Request);
    assert_eq!(front.totals().dials, 0);
    front.assert_nothing_held();
    // A balancer that looks whether the port is open.
    let front = Front::start(TCP_TLS13);
    front.control.lead(Lead::To(api.address(), None));
    drop(front.node());
    front.assert_ended(Reason::Cancelled, Side::Downstream, Phase::Request);
    assert_eq!(front.totals().dials, 0);
    front.assert_nothing_held();
    assert_eq!(api.connections(), 0);
    api.finish();
}

#[test]
fn connection_that_cannot_be_led_is_closed() {
    let front = Front::start(TCP_TLS13);
    let ask = || {
        let mut conn = front.node();
        conn.write_all(&[22, 3, 1, 0, 1]).unwrap();
        let (received, _) = conn.read_to_end();
        assert!(received.is_empty(), "{received:?}");
    };
    ask();
    let record = front.assert_ended(Reason::DialFailed, Side::Local, Phase::Verdict);
    assert_eq!(record.detail.as_deref(), Some("no API server is healthy"));
    let closed = Closed::port();
    front.control.lead(Lead::To(closed.address(), None));
    ask();
    front.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Dial);
    front.assert_nothing_held();
}

#[test]
fn connections_over_the_limit_of_their_peer_are_closed() {
    let api = Kubelet::with(None, echo);
    let front = Front::with(TCP_TLS13, |setup| {
        setup.workers = 1;
        setup.admission.max_streams_per_peer = 1;
    });
    front.control.lead(Lead::To(api.address(), None));
    let mut first = front.node();
    first.write_all(b"one").unwrap();
    assert_eq!(first.read_exact(3).unwrap(), b"one");
    let mut second = front.node();
    assert!(second.read_to_end().0.is_empty());
    drop(second);
    let record = front.assert_ended(Reason::Limit, Side::Local, Phase::Request);
    assert!(record.detail.unwrap().contains("limits.maxStreamsPerPeer"));
    first.shut().unwrap();
    assert_eq!(first.read_to_end().1, Ending::Clean);
    drop(first);
    api.finish();
    assert_eq!(front.ended().reason, Reason::Completed);
    front.assert_nothing_held();
}
