//! Bounds the connections of a server: who has shown nothing yet leaves first, the oldest before the
//! others, and never because of it somebody whose credentials were good.
//!
//! A newcomer always gets its turn, for it may be a health check; what it costs is paid by a connection of
//! the same source address, if that has used up its budget, or else by the one that has waited longest.

mod busy;
mod seats;
mod trouble;

pub use busy::Busy;
pub use busy::While;
pub use trouble::Trouble;

use crate::metrics::ServerMetrics;
use parking_lot::Mutex;
use seats::{Rank, Seats};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Between two log lines about the same thing.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// How many connections a server holds, and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// Of strangers: those without a good credential.
    pub strangers: usize,
    /// Of strangers of one source address.
    pub strangers_per_source: usize,
    /// TLS handshakes of one source address that may begin in a second.
    pub handshakes_per_second: u32,
}

/// The connections of one server.
#[derive(Debug)]
pub struct Guests {
    server: &'static str,
    bounds: Bounds,
    metrics: ServerMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seats: Seats,
    /// By reason: when it was said last, and how many have left since.
    said: HashMap<&'static str, (Instant, u64)>,
}

impl Guests {
    /// Nobody is there yet; `server` names it in metrics and messages.
    pub fn new(server: &'static str, bounds: Bounds, metrics: ServerMetrics) -> Arc<Self> {
        metrics.serves(server);
        Arc::new(Self {
            server,
            bounds,
            metrics,
            state: Mutex::new(State {
                seats: Seats::default(),
                said: HashMap::new(),
            }),
        })
    }

    /// Takes a connection in, and sends another away where there are too many. `None`: every place is
    /// taken by somebody who is known and served.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Guest>> {
        let source = Source::of(address);
        let bounds = self.bounds;
        let mut state = self.state.lock();
        let seats = &mut state.seats;
        let (victim, reason) = if seats.strangers_of(source) >= bounds.strangers_per_source {
            (seats.oldest_of(source), "source")
        } else if seats.strangers() >= bounds.strangers {
            (seats.first_to_go(), "strangers")
        } else if seats.len() >= bounds.all {
            (seats.first_to_go(), "full")
        } else {
            (None, "")
        };
        let full = seats.len() >= bounds.all;
        match victim {
            Some(victim) => seats.leave(victim),
            None if full => {}
            None => {
                let guest = self.seat(&mut state, source);
                return Some(guest);
            }
        }
        let guest = victim.is_some().then(|| self.seat(&mut state, source));
        self.gone(&mut state, reason);
        guest
    }

    fn seat(self: &Arc<Self>, state: &mut State, source: Source) -> Arc<Guest> {
        let leave = Arc::new(Notify::new());
        let id = state.seats.take(source, Arc::clone(&leave));
        self.metrics.entered(self.server);
        Arc::new(Guest {
            guests: Arc::clone(self),
            id,
            leave,
        })
    }

    /// Sends the first to go away: descriptors ran out.
    pub fn make_room(&self) {
        let mut state = self.state.lock();
        if let Some(victim) = state.seats.first_to_go() {
            state.seats.leave(victim);
            self.gone(&mut state, "descriptors");
        }
    }

    /// Whether one more TLS handshake of this address may begin now.
    pub fn may_handshake(&self, address: IpAddr) -> bool {
        let (source, limit) = (Source::of(address), self.bounds.handshakes_per_second);
        let mut state = self.state.lock();
        let may = state.seats.may_handshake(source, limit, Instant::now());
        if !may {
            self.gone(&mut state, "handshakes");
        }
        may
    }

    /// Counts a connection that has to go, and says so once a second at most.
    fn gone(&self, state: &mut State, reason: &'static str) {
        self.metrics.closed(self.server, reason);
        let now = Instant::now();
        let said = state.said.get(reason).copied();
        let (at, unsaid) = said.unwrap_or((now, 0));
        let closed = unsaid + 1;
        if said.is_some() && now.duration_since(at) < SAY_AGAIN {
            state.said.insert(reason, (at, closed));
            return;
        }
        state.said.insert(reason, (now, 0));
        tracing::warn!(
            server = self.server,
            reason,
            closed,
            "connections are closed because there are too many; see the metric server_connections_closed"
        );
    }

    /// How many there are.
    pub fn live(&self) -> usize {
        self.state.lock().seats.len()
    }
}

/// Whose connections are counted together: an IPv4 address, or the network that one IPv6 host can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// A connection that has its place until this is dropped, or until it is sent away.
#[derive(Debug)]
pub struct Guest {
    guests: Arc<Guests>,
    id: u64,
    leave: Arc<Notify>,
}

impl Guest {
    /// Waits until the place is needed for somebody else: close the connection.
    pub async fn sent_away(&self) {
        self.leave.notified().await;
    }

    /// Its credential is good: no stranger can take its place.
    pub fn is_known(&self) {
        self.guests.state.lock().seats.known(self.id);
    }

    /// Whether it has never sent a whole request.
    pub fn is_silent(&self) -> bool {
        self.guests.state.lock().seats.rank(self.id) == Some(Rank::Silent)
    }

    /// A whole request came; it is served until what this gives is dropped.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.guests.state.lock().seats.busy(self.id);
        Busy::new(Arc::clone(self))
    }

    fn idle(&self) {
        self.guests.state.lock().seats.idle(self.id);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.metrics.left(self.guests.server);
        let mut state = self.guests.state.lock();
        state.seats.leave(self.id);
    }
}

#[cfg(test)]
mod tests;
