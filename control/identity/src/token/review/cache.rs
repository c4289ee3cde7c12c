//! Remembers answers about tokens, for a while and so many.
//!
//! The key is an HMAC, never the token. The least recently used answer goes first.

use crate::token::digest::Digest;
use crate::user::UserInfo;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Answers that are kept, as in kubelet and API server: at some 500 bytes each, 4 MiB.
pub(super) const CAPACITY: usize = 8192;

/// Whose a token is and for which audiences; `None`: nobody's.
pub(super) type Answer = Option<(UserInfo, Vec<String>)>;

#[derive(Debug)]
pub(super) struct Cache {
    capacity: usize,
    authorized_ttl: Duration,
    unauthorized_ttl: Duration,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    answers: HashMap<Digest, Slot>,
    uses: u64,
}

#[derive(Debug)]
struct Slot {
    answer: Answer,
    until: Instant,
    used: u64,
}

impl Cache {
    pub(super) fn new(
        capacity: usize,
        authorized_ttl: Duration,
        unauthorized_ttl: Duration,
    ) -> Self {
        Self {
            capacity: capacity.max(1),
            authorized_ttl,
            unauthorized_ttl,
            slots: Mutex::default(),
        }
    }

    /// Finds an answer whose time is not over.
    pub(super) fn find(&self, key: &Digest, now: Instant) -> Option<Answer> {
        let mut slots = self.lock();
        slots.uses += 1;
        let used = slots.uses;
        let slot = slots.answers.get_mut(key)?;
        if now >= slot.until {
            slots.answers.remove(key);
            return None;
        }
        slot.used = used;
        Some(slot.answer.clone())
    }

    /// Keeps an answer. A full cache is searched for the one to drop: 8,192 comparisons, less than
    /// the handshake that the answer cost.
    pub(super) fn insert(&self, key: Digest, answer: Answer, now: Instant) {
        let ttl = match answer {
            Some(_) => self.authorized_ttl,
            None => self.unauthorized_ttl,
        };
        if ttl.is_zero() {
            return;
        }
        let mut slots = self.lock();
        slots.uses += 1;
        let used = slots.uses;
        if slots.answers.len() >= self.capacity && !slots.answers.contains_key(&key) {
            let oldest = slots.answers.iter().min_by_key(|(_, slot)| slot.used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                slots.answers.remove(&oldest);
            }
        }
        let until = now + ttl;
        slots.answers.insert(
            key,
            Slot {
                answer,
                until,
                used,
            },
        );
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().answers.len()
    }

    /// A panic while the lock was held leaves a cache that is whole: every change is one call.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
