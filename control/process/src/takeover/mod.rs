//! A new process takes the listening sockets of the one before it, so that nobody is refused
//! meanwhile.
//!
//! Either both run: the new one is started beside the old one (`--takeover`), gets its sockets,
//! becomes ready, and only then does the old one accept no more and drain; what goes wrong before
//! changes nothing for the old one. Or the service manager ends the old one first (a restart, a
//! crash), and kept its sockets meanwhile. No stream moves: each ends in the process that accepted
//! it.

mod channel;
mod error;
mod meeting;
mod message;
mod offer;
mod predecessor;
mod upgrade;

pub use error::TakeoverError;
pub use meeting::Meeting;
pub use offer::{Offer, Reported, Successor};
pub use upgrade::{Upgraded, tell, upgrade};

use crate::metrics::TakeoverMetrics;
use crate::systemd;
use eyesplice_sys::socket::{Inherited, Place, Wanted};
use predecessor::Predecessor;
use std::io;
use std::os::fd::OwnedFd;
use tokio::task::spawn_blocking;

/// What a process has of the one before it, until it accepts connections.
#[derive(Debug)]
pub struct Succession {
    meeting: Option<Meeting>,
    predecessor: Option<Predecessor>,
    inherited: Inherited,
    unwanted: Vec<Place>,
}

impl Succession {
    /// Takes what the service manager kept; or, to take over from a process that runs, its sockets.
    ///
    /// # Errors
    /// Nobody runs, or does not hand over.
    pub async fn begin(
        meeting: Option<Meeting>,
        passed: Vec<(String, OwnedFd)>,
        takes_over: bool,
    ) -> Result<Self, TakeoverError> {
        let mut succession = Self {
            meeting,
            predecessor: None,
            inherited: Inherited::default(),
            unwanted: Vec::new(),
        };
        let (sockets, from) = if takes_over {
            let meeting = succession
                .meeting
                .as_ref()
                .ok_or(TakeoverError::NoMeeting)?;
            let (predecessor, sockets) = Predecessor::ask(meeting).await?;
            let from = format!("process {}", predecessor.pid());
            succession.predecessor = Some(predecessor);
            (sockets, from)
        } else {
            (passed, "the service manager".to_owned())
        };
        let count = sockets.len();
        for (name, fd) in sockets {
            if let Err(why) = succession.inherited.add(&name, fd) {
                tracing::warn!(name, from, why, "inherited socket is closed");
            }
        }
        if count > 0 {
            tracing::info!(sockets = count, from, "listening sockets are inherited");
        }
        Ok(succession)
    }

    /// Whether another process serves until this one is ready.
    pub fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Whether somebody may have this process's sockets after it.
    pub fn passes_on(&self) -> bool {
        self.meeting.is_some() || systemd::is_there()
    }

    /// The sockets that nobody has taken yet.
    pub fn inherited(&mut self) -> &mut Inherited {
        &mut self.inherited
    }

    /// Closes the sockets that this process does not want.
    pub fn keep_only(&mut self, mut wanted: Wanted) {
        let meeting = self.meeting.iter().map(|meeting| meeting.path().to_owned());
        wanted.paths.extend(meeting);
        for place in self.inherited.keep_only(&wanted) {
            tracing::warn!(
                socket = %place,
                "inherited socket is closed: no listener of the configuration is there"
            );
            self.unwanted.push(place);
        }
        if self.predecessor.is_none() {
            // At once: the service manager's own descriptors keep the address.
            self.forget();
        }
    }

    /// This process accepts connections on `sockets`: the one before it is relieved, and whoever
    /// comes next can have them.
    ///
    /// # Errors
    /// The process before refuses; it goes on.
    pub async fn complete(
        mut self,
        sockets: Vec<(Place, OwnedFd)>,
        metrics: &TakeoverMetrics,
    ) -> Result<Offer, TakeoverError> {
        if self.meeting.is_some() {
            metrics.serves();
        }
        let taken = match &self.meeting {
            None => Ok(None),
            Some(meeting) => {
                let owner = Default::default();
                match self.inherited.take_unix(meeting.path(), 0o600, owner) {
                    Ok(Some(taken)) => Ok(Some(taken)),
                    // One that cannot be kept is made again.
                    Ok(None) | Err(_) => meeting.listen().map(Some),
                }
            }
        };
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.relieve().await?;
            metrics.completed();
        }
        self.forget();
        // Without it the next one cannot take over; this one serves as well.
        let listener = taken.unwrap_or_else(|error| {
            let error = eyesplice_proto::causes::chain(&error);
            tracing::warn!(error, "no process can take over from this one");
            None
        });
        let stored = self.store(&sockets).await;
        Ok(Offer::new(self.meeting, listener, sockets, stored))
    }

    /// Has the service manager keep the sockets; whether it was asked to for all of them.
    async fn store(&self, sockets: &[(Place, OwnedFd)]) -> bool {
        let named: io::Result<Vec<_>> = sockets
            .iter()
            .map(|(place, fd)| Ok((place.name(), fd.try_clone()?)))
            .collect();
        let stored = named.map(|named| spawn_blocking(move || systemd::store(named)));
        match stored {
            Ok(stored) => stored.await.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "the service manager does not keep the sockets");
                false
            }
        }
    }

    fn forget(&mut self) {
        for place in self.unwanted.drain(..) {
            if let Some(name) = place.name() {
                systemd::forget(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
