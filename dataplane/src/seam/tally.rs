//! Counts the connections to each of several servers, for as long as they live, so that control can
//! choose among them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections to one server.
#[derive(Debug, Default)]
pub struct Tally(AtomicUsize);

impl Tally {
    /// How many there are.
    pub fn live(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The tallies of the servers that may be dialled, by address.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Vec<(SocketAddr, Arc<Tally>)>);

impl Tallies {
    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(address, _)| *address)
    }

    /// Counts a connection to an address, if its server is counted.
    pub fn count(&self, address: SocketAddr) -> Option<Counted> {
        let (_, tally) = self.0.iter().find(|(known, _)| *known == address)?;
        tally.0.fetch_add(1, Ordering::Relaxed);
        Some(Counted(Arc::clone(tally)))
    }
}

impl FromIterator<(SocketAddr, Arc<Tally>)> for Tallies {
    fn from_iter<T: IntoIterator<Item = (SocketAddr, Arc<Tally>)>>(tallies: T) -> Self {
        Self(tallies.into_iter().collect())
    }
}

/// A connection that counts until it is dropped.
#[derive(Debug)]
pub struct Counted(Arc<Tally>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_counts_at_its_server_until_it_is_dropped() {
        let (one, two): (Arc<Tally>, Arc<Tally>) = Default::default();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let tallies: Tallies = [(at(1), Arc::clone(&one)), (at(2), Arc::clone(&two))]
            .into_iter()
            .collect();
        let first = tallies.count(at(2)).unwrap();
        let second = tallies.clone().count(at(2)).unwrap();
        assert_eq!((one.live(), two.live()), (0, 2));
        drop(first);
        assert_eq!((one.live(), two.live()), (0, 1));
        drop(second);
        assert_eq!(two.live(), 0);
        assert!(tallies.count(at(3)).is_none());
        assert!(tallies.addresses().eq([at(1), at(2)]));
    }
}
