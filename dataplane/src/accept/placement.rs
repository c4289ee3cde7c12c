//! Spreads accepted connections over the workers: each goes to the one that carries the fewest.
//!
//! Who accepts first is chance, and mostly the same worker: the one that is awake. The kernel's own
//! spreading over SO_REUSEPORT sockets goes by a hash of the addresses, which says nothing of
//! streams that last for days.

use crate::agents::Carried;
use crate::config::Listener;
use crate::leg::Parts;
use crate::limits::ARRIVALS;
use eyesplice_sys::socket::Address;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::mpsc;

/// How many streams each worker carries, and the way to hand it another. Shared by all workers.
pub(crate) struct Placement {
    seats: Vec<Seat>,
}

struct Seat {
    /// Streams that it carries, and connections on their way to it.
    streams: AtomicUsize,
    arrivals: mpsc::Sender<Arrival>,
}

/// A connection that was accepted and is on no worker yet.
pub(crate) struct Connection {
    pub(crate) listener: Listener,
    pub(crate) leg: Parts,
    pub(crate) peer: Address,
    pub(crate) since: Instant,
    /// Counts it for the gateway that it came from, at an agent.
    pub(crate) carried: Option<Carried>,
}

/// A connection on its way to the worker that will carry it: at once over UNIX, over TCP when its
/// ClientHello is there and it may shake hands.
pub(crate) struct Arrival {
    pub(crate) connection: Connection,
    pub(crate) place: Place,
}

/// One stream in its worker's count; taken off when dropped.
pub(crate) struct Place {
    placement: Arc<Placement>,
    worker: usize,
}

impl Placement {
    /// For so many workers, with what each of them receives.
    pub(crate) fn new(workers: usize) -> (Arc<Self>, Vec<mpsc::Receiver<Arrival>>) {
        let (seats, receivers) = (0..workers)
            .map(|_| {
                let (arrivals, receiver) = mpsc::channel(ARRIVALS);
                let streams = AtomicUsize::new(0);
                (Seat { streams, arrivals }, receiver)
            })
            .unzip();
        (Arc::new(Self { seats }), receivers)
    }

    /// Sends a connection that worker `own` has accepted to the worker with the fewest streams;
    /// returns it if that is `own`, or if the other takes no more.
    pub(crate) fn place(self: &Arc<Self>, own: usize, connection: Connection) -> Option<Arrival> {
        let worker = self.least(own);
        let arrival = Arrival {
            connection,
            place: self.enter(worker),
        };
        if worker == own {
            return Some(arrival);
        }
        match self.seats.get(worker)?.arrivals.try_send(arrival) {
            Ok(()) => None,
            Err(
                mpsc::error::TrySendError::Full(arrival)
                | mpsc::error::TrySendError::Closed(arrival),
            ) => Some(Arrival {
                place: self.enter(own),
                ..arrival
            }),
        }
    }

    /// The worker with the fewest streams: `own`, unless another has fewer.
    fn least(&self, own: usize) -> usize {
        let count = |worker: &usize| {
            self.seats
                .get(*worker)
                .map_or(usize::MAX, |seat| seat.streams.load(Ordering::Relaxed))
        };
        // The first of equals is taken.
        std::iter::once(own)
            .chain(0..self.seats.len())
            .min_by_key(count)
            .unwrap_or(own)
    }

    fn enter(self: &Arc<Self>, worker: usize) -> Place {
        if let Some(seat) = self.seats.get(worker) {
            seat.streams.fetch_add(1, Ordering::Relaxed);
        }
        Place {
            placement: Arc::clone(self),
            worker,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(seat) = self.placement.seats.get(self.worker) {
            seat.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use eyesplice_proto::stream::Side;
    use std::os::unix::net::UnixStream;

    fn connection() -> Connection {
        Connection {
            listener: Listener {
                name: "l".into(),
                role: Role::Egress,
            },
            leg: Parts::new(UnixStream::pair().unwrap().0.into(), Side::Downstream),
            peer: Address::Unix,
            since: Instant::now(),
            carried: None,
        }
    }

    fn counts(placement: &Placement) -> Vec<usize> {
        let seats = placement.seats.iter();
        seats.map(|s| s.streams.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn connections_go_to_who_carries_the_fewest_and_stay_where_all_are_equal() {
        let (placement, mut receivers) = Placement::new(3);
        let kept = placement.place(1, connection()).unwrap();
        assert_eq!(counts(&placement), [0, 1, 0]);
        for _ in 0..5 {
            // In its own turn it keeps one.
            if let Some(own) = placement.place(1, connection()) {
                std::mem::forget(own);
            }
        }
        assert_eq!(counts(&placement), [2, 2, 2]);
        let arrived = receivers[0].try_recv().unwrap();
        drop((kept, arrived));
        assert_eq!(counts(&placement), [1, 1, 2]);
    }

    #[test]
    fn worker_that_takes_no_more_leaves_the_connection_to_who_accepted_it() {
        let (placement, mut receivers) = Placement::new(2);
        receivers[1].close();
        for n in 1..=3 {
            let kept = placement.place(0, connection());
            std::mem::forget(kept.unwrap());
            assert_eq!(counts(&placement), [n, 0]);
        }
    }

    #[test]
    fn queue_of_a_worker_is_bounded() {
        let (placement, mut receivers) = Placement::new(2);
        let kept: Vec<_> = (0..3 * ARRIVALS)
            .filter_map(|_| placement.place(0, connection()))
            .collect();
        assert_eq!(kept.len(), 2 * ARRIVALS);
        drop(kept);
        while receivers[1].try_recv().is_ok() {}
        assert_eq!(counts(&placement), [0, 0]);
    }
}
