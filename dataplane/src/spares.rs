//! A worker's spare connections: verified, unused, at most one for each target and configuration.
//!
//! The store knows which there are and why one goes. `reach` makes, watches and takes them.

use crate::counters::{Counter, WorkerCounters};
use crate::leg::Leg;
use crate::limits::SPARES;
use crate::pool::Pools;
use crate::seam::PeerVerification;
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Instant, SystemTime};
use tokio::task::JoinHandle;

/// All on which the verification of a spare depends: a stream with the same is verified alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: SocketAddr,
    pub(crate) server_name: ServerName<'static>,
    pub(crate) node: Option<Arc<str>>,
    /// The configuration that decided: whom to trust, what we present.
    pub(crate) generation: u64,
}

/// A connection on which no stream has written a byte.
pub(crate) struct Spare {
    pub(crate) leg: Leg,
    /// What its verifier found; never a refusal.
    pub(crate) found: PeerVerification,
    /// When it is too old.
    pub(crate) until: Instant,
    /// When the first of the certificates ends, its peer's and ours.
    pub(crate) valid_until: SystemTime,
}

impl Spare {
    /// Whether it may be used, as far as clocks and its socket tell.
    fn is_good(&self, pools: &Rc<Pools>) -> Result<(), Gone> {
        if Instant::now() >= self.until || SystemTime::now() >= self.valid_until {
            return Err(Gone::Expired);
        }
        if self.leg.is_quiet(pools) {
            Ok(())
        } else {
            Err(Gone::Closed)
        }
    }
}

/// Why a spare was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Another configuration is in force.
    Reload,
    /// It is too old, or a certificate has ended.
    Expired,
    /// The peer ended it, or said what nobody asked for.
    Closed,
    /// Its place or its descriptor is wanted for a stream.
    Limit,
    /// The worker ends.
    Drain,
}

/// The task that makes a spare and then watches it; stopped when dropped.
struct Keeper(JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Entry {
    /// None while it is being made.
    spare: Option<Box<Spare>>,
    /// The lowest is the oldest.
    number: u64,
    _keeper: Keeper,
}

/// The spares of one worker, and those that are being made.
pub(crate) struct Spares {
    counters: Arc<WorkerCounters>,
    pools: Rc<Pools>,
    entries: RefCell<HashMap<Key, Entry>>,
    begun: Cell<u64>,
    closed: Cell<bool>,
}

impl Spares {
    pub(crate) fn new(pools: Rc<Pools>, counters: Arc<WorkerCounters>) -> Self {
        Self {
            counters,
            pools,
            entries: RefCell::default(),
            begun: Cell::new(0),
            closed: Cell::new(false),
        }
    }

    /// How many there are, with those that are being made.
    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether one more may be begun for this target.
    pub(crate) fn wants(&self, key: &Key) -> bool {
        let entries = self.entries.borrow();
        !self.closed.get() && entries.len() < SPARES && !entries.contains_key(key)
    }

    /// Notes that a task makes a spare from now on.
    pub(crate) fn begin(&self, key: Key, keeper: JoinHandle<()>) {
        let number = self.begun.get();
        self.begun.set(number + 1);
        let entry = Entry {
            spare: None,
            number,
            _keeper: Keeper(keeper),
        };
        self.entries.borrow_mut().insert(key, entry);
    }

    /// Keeps a spare that was made.
    pub(crate) fn made(&self, key: &Key, spare: Spare) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key) {
            entry.spare = Some(Box::new(spare));
            self.counters.spares_made.inc();
            self.counters.spares.inc();
        }
    }

    /// Gives the spare of a target, if it has a good one. It is the taker's alone from then on.
    pub(crate) fn take(&self, key: &Key) -> Option<Box<Spare>> {
        let mut entries = self.entries.borrow_mut();
        // One that is being made stays.
        let spare = entries.get(key)?.spare.as_ref()?;
        let good = spare.is_good(&self.pools);
        let entry = entries.remove(key)?;
        drop(entries);
        if let Err(why) = good {
            self.drop_entry(entry, why);
            return None;
        }
        self.counters.spares.dec();
        self.counters.spares_used.inc();
        entry.spare
    }

    /// Looks at the socket of a spare that has become readable, and says whether it is good still.
    pub(crate) fn is_good(&self, key: &Key) -> bool {
        let entries = self.entries.borrow();
        let spare = entries.get(key).and_then(|entry| entry.spare.as_ref());
        spare.is_some_and(|spare| spare.leg.is_quiet(&self.pools))
    }

    /// Throws away the spare of a target, or forgets that one was to be made.
    pub(crate) fn end(&self, key: &Key, why: Gone) {
        let entry = self.entries.borrow_mut().remove(key);
        if let Some(entry) = entry {
            self.drop_entry(entry, why);
        }
    }

    /// Throws away what an older configuration has verified.
    pub(crate) fn reloaded(&self, generation: u64) {
        self.drop_all(Gone::Reload, |key| key.generation < generation);
    }

    /// Throws away the oldest ones until so many are left.
    pub(crate) fn shrink(&self, most: usize) {
        while self.len() > most {
            let oldest = {
                let entries = self.entries.borrow();
                let oldest = entries.iter().min_by_key(|(_, entry)| entry.number);
                oldest.map(|(key, _)| key.clone())
            };
            if let Some(key) = oldest {
                self.end(&key, Gone::Limit);
            }
        }
    }

    /// Throws away all, and keeps none from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.drop_all(Gone::Drain, |_| true);
    }

    fn drop_all(&self, why: Gone, which: impl Fn(&Key) -> bool) {
        let mut entries = self.entries.borrow_mut();
        let chosen: Vec<_> = entries.extract_if(|key, _| which(key)).collect();
        drop(entries);
        for (_, entry) in chosen {
            self.drop_entry(entry, why);
        }
    }

    fn drop_entry(&self, entry: Entry, why: Gone) {
        let Some(spare) = &entry.spare else { return };
        self.counters.spares.dec();
        self.counter(why).inc();
        // Its close_notify goes out at once or never: nothing was sent on it before. Without it a
        // kubelet would take the end for an attack.
        let farewell = pin!(spare.leg.shut_write(&self.pools));
        let _ = farewell.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn counter(&self, why: Gone) -> &Counter {
        match why {
            Gone::Reload => &self.counters.spares_dropped_reload,
            Gone::Expired => &self.counters.spares_dropped_expired,
            Gone::Closed => &self.counters.spares_dropped_closed,
            Gone::Limit => &self.counters.spares_dropped_limit,
            Gone::Drain => &self.counters.spares_dropped_drain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_proto::stream::Side;
    use eyesplice_sys::uring::{self, Fd, UringConfig};
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// A store whose tasks do nothing.
    fn with_spares(look: impl FnOnce(&Spares)) {
        let finished = uring::run(&UringConfig::default(), async {
            let counters = Arc::<WorkerCounters>::default();
            let spares = Spares::new(Pools::new(0, Arc::clone(&counters)), counters);
            look(&spares);
            let counters = &spares.counters;
            assert_eq!(counters.spares.value(), spares.len() as u64);
        });
        assert_eq!(finished.unwrap().stray_ops, 0);
    }

    fn key(port: u16) -> Key {
        Key {
            address: ([127, 0, 0, 1], port).into(),
            server_name: "worker-3".try_into().unwrap(),
            node: None,
            generation: 1,
        }
    }

    /// Keeps a spare to this port for so long, and gives its peer.
    fn keep(spares: &Spares, port: u16, lifetime: Duration) -> UnixStream {
        let (ours, peer) = UnixStream::pair().unwrap();
        let key = key(port);
        assert!(spares.wants(&key));
        spares.begin(key.clone(), uring::spawn(std::future::pending()));
        assert!(spares.take(&key).is_none(), "it is being made");
        assert!(!spares.wants(&key));
        let identity = "CN=worker-3".into();
        let spare = Spare {
            leg: Leg::new(Fd::from(OwnedFd::from(ours)), Side::Upstream),
            found: PeerVerification::Verified { identity },
            until: Instant::now() + lifetime,
            valid_until: SystemTime::now() + lifetime,
        };
        spares.made(&key, spare);
        peer
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn quiet_spare_is_taken_once_and_by_its_own_target_only() {
        with_spares(|spares| {
            let _peer = keep(spares, 1, LONG);
            let mut other = key(1);
            other.generation = 2;
            for wrong in [key(2), other] {
                assert!(spares.take(&wrong).is_none());
            }
            assert!(spares.take(&key(1)).is_some());
            assert!(spares.take(&key(1)).is_none());
            assert_eq!(spares.counters.spares_used.value(), 1);
        });
    }

    #[test]
    fn spare_whose_peer_spoke_or_left_is_not_taken() {
        with_spares(|spares| {
            let mut speaks = keep(spares, 1, LONG);
            speaks.write_all(b"x").unwrap();
            let mut both = keep(spares, 2, LONG);
            both.write_all(b"x").unwrap();
            drop(both);
            drop(keep(spares, 3, LONG));
            for port in 1..=3 {
                assert!(spares.take(&key(port)).is_none(), "{port}");
            }
            assert_eq!(spares.counters.spares_dropped_closed.value(), 3);
        });
    }

    #[test]
    fn spare_whose_time_is_over_is_not_taken() {
        with_spares(|spares| {
            let _peer = keep(spares, 1, Duration::ZERO);
            assert!(spares.take(&key(1)).is_none());
            assert_eq!(spares.counters.spares_dropped_expired.value(), 1);
        });
    }

    #[test]
    fn oldest_spares_go_first() {
        with_spares(|spares| {
            let _peers: Vec<_> = (1..=3).map(|port| keep(spares, port, LONG)).collect();
            spares.shrink(1);
            assert!(!spares.wants(&key(3)));
            assert_eq!(spares.counters.spares_dropped_limit.value(), 2);
        });
    }

    #[test]
    fn store_that_is_closed_keeps_none() {
        with_spares(|spares| {
            let _peer = keep(spares, 1, LONG);
            spares.close();
            assert!(!spares.wants(&key(1)));
            assert_eq!(spares.counters.spares_dropped_drain.value(), 1);
        });
    }
}
