use super::*;
use eyesplice_sys::uring::{self, Fd, UringConfig};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::time::timeout;

#[test]
fn a_direction_that_may_not_watch_polls_and_is_counted_once() {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let mut reader = ours.try_clone().unwrap();
    let leg = Leg::new(Fd::from(OwnedFd::from(ours)), stream::Side::Downstream);
    let counters = WorkerCounters::default();
    let finished = uring::run(&UringConfig::default(), async {
        // The kernel registers a descriptor once.
        let _first = leg.watch().unwrap();
        let mut arrivals = Arrivals::default();
        for _ in 0..WATCHED_READS {
            arrivals.saw_read(1);
        }
        for _ in 0..3 {
            peer.write_all(b"x").unwrap();
            let waited = arrivals.wait(&counters, &leg, Next::Wait);
            timeout(Duration::from_secs(20), waited)
                .await
                .unwrap()
                .unwrap();
            reader.read_exact(&mut [0]).unwrap();
        }
        drop(leg);
    });
    assert_eq!(finished.unwrap().stray_ops, 0);
    assert_eq!(counters.watches_refused.value(), 1);
}
