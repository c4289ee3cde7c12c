//! Who stays and who goes, without a socket.

use super::*;
use crate::metrics::Metrics;
use std::task::{Context, Waker};

const BOUNDS: Bounds = Bounds {
    all: 6,
    strangers: 4,
    strangers_per_source: 2,
    handshakes_per_second: 3,
};

fn guests() -> (Arc<Guests>, Arc<Metrics>) {
    let metrics = Metrics::new();
    let guests = Guests::new("test", BOUNDS, metrics.servers.clone());
    (guests, metrics)
}

fn from(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

fn stays(guest: &Guest) -> bool {
    let left = std::pin::pin!(guest.sent_away());
    left.poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

#[test]
fn newcomer_over_its_source_budget_costs_the_oldest_of_the_same_source() {
    let (guests, metrics) = guests();
    let other = guests.enter(from(9)).unwrap();
    let first = guests.enter(from(1)).unwrap();
    let second = guests.enter(from(1)).unwrap();
    let third = guests.enter(from(1)).unwrap();
    assert!(!stays(&first) && stays(&second) && stays(&third) && stays(&other));
    let text = metrics.render().unwrap();
    let closed = "eyesplice_server_connections_closed_total{server=\"test\",reason=\"source\"} 1";
    assert!(text.contains(closed), "{text}");
    assert!(text.contains("eyesplice_server_connections{server=\"test\"} 4"));
    drop(first);
    assert!(
        metrics
            .render()
            .unwrap()
            .contains("connections{server=\"test\"} 3")
    );
}

#[test]
fn silent_ones_go_before_those_that_have_asked_and_those_before_the_known() {
    let (guests, _metrics) = guests();
    let known = guests.enter(from(1)).unwrap();
    known.is_known();
    let asked = guests.enter(from(2)).unwrap();
    drop(asked.busy());
    assert!(!asked.is_silent());
    let silent: Vec<_> = (3..6)
        .map(|host| guests.enter(from(host)).unwrap())
        .collect();
    let newcomers: Vec<_> = (6..9)
        .map(|host| guests.enter(from(host)).unwrap())
        .collect();
    assert!(
        silent
            .iter()
            .all(|guest| guest.is_silent() || !stays(guest))
    );
    assert!(newcomers.iter().all(|guest| stays(guest)));
    assert!(stays(&known) && stays(&asked));
    // All strangers have asked: who has been idle longest goes.
    for guest in &newcomers {
        drop(guest.busy());
    }
    let _late = guests.enter(from(20)).unwrap();
    assert!(!stays(&asked) && stays(&known));
}

#[test]
fn known_ones_that_are_served_keep_their_places_and_idle_ones_only_from_each_other() {
    let (guests, _metrics) = guests();
    let (watches, idle): (Vec<_>, Vec<_>) = (0..6)
        .map(|host| {
            let guest = guests.enter(from(host)).unwrap();
            guest.is_known();
            guest
        })
        .enumerate()
        .partition(|(index, _)| *index < 5);
    let served: Vec<_> = watches.iter().map(|(_, guest)| guest.busy()).collect();
    let newcomer = guests.enter(from(30)).unwrap();
    assert!(!stays(&idle[0].1));
    newcomer.is_known();
    let last = newcomer.busy();
    assert!(guests.enter(from(31)).is_none());
    assert!(watches.iter().all(|(_, guest)| stays(guest)));
    drop((served, last));
    assert!(guests.enter(from(31)).is_some());
}

#[test]
fn place_is_free_again_however_a_connection_ends() {
    let (guests, _metrics) = guests();
    for round in 0..100_u8 {
        let guest = guests.enter(from(round)).unwrap();
        let busy = guest.busy();
        guests.make_room();
        assert!(!stays(&guest));
        drop((guest, busy));
    }
    let state = guests.state.lock();
    assert_eq!((state.seats.len(), state.seats.strangers()), (0, 0));
}

#[test]
fn handshakes_are_charged_to_their_source() {
    let now = Instant::now();
    let mut seats = Seats::default();
    let mut may = |host, at| seats.may_handshake(Source::of(from(host)), 3, at);
    assert!((0..3).all(|_| may(1, now)));
    assert!(!may(1, now));
    assert!(may(2, now));
    assert!(may(1, now + Duration::from_secs(2)));
}

#[test]
fn source_of_an_ipv6_host_is_its_network() {
    let of = |text: &str| Source::of(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
}
