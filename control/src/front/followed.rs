//! What is kept for a stream while it lives: its places under `front.limits`, and its audit events.

use super::quotas::Seats;
use crate::events::Trail;
use eyesplice_dataplane::seam::Follower;
use std::sync::{Mutex, PoisonError};

/// One stream.
#[derive(Debug)]
pub(super) struct Followed {
    seats: Mutex<Option<Seats>>,
    /// It passes the API servers, and the policy wants it recorded.
    trail: Option<Trail>,
}

impl Followed {
    pub(super) fn new(seats: Seats, trail: Option<Trail>) -> Self {
        Self {
            seats: Mutex::new(Some(seats)),
            trail,
        }
    }
}

impl Follower for Followed {
    fn answered(&self, status: u16) {
        if let Some(trail) = &self.trail {
            trail.answered(status);
        }
    }

    fn judged_again(&self) {
        // It will take others.
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        drop(seats.take());
    }

    fn superseded(&self) {
        if let Some(trail) = &self.trail {
            trail.handed_on();
        }
    }
}
