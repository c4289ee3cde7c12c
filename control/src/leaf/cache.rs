//! A bounded cache of leaves: the least recently used one goes first.

use super::ClientAuth;
use eyesplice_dataplane::seam::DownstreamTls;
use eyesplice_proto::target::Host;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Whom the leaf is for, the node that it names, and who may connect.
pub(super) type Key = (Host, Option<Arc<str>>, ClientAuth);

/// One issued leaf, ready to serve.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) tls: DownstreamTls,
    pub(super) not_before: SystemTime,
    pub(super) renew_at: SystemTime,
}

impl Leaf {
    /// A clock that was set back may make a leaf one of the future.
    fn is_fresh(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.renew_at
    }
}

pub(super) struct Cache {
    capacity: usize,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    leaves: HashMap<Key, Slot>,
    uses: u64,
}

struct Slot {
    leaf: Leaf,
    used: u64,
}

impl Cache {
    /// Keeps at most `capacity` leaves, and at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            slots: Mutex::default(),
        }
    }

    /// Finds a leaf that need not be renewed.
    pub(super) fn find(&self, key: &Key, now: SystemTime) -> Option<DownstreamTls> {
        let mut slots = self.lock();
        slots.uses += 1;
        let used = slots.uses;
        let slot = slots.leaves.get_mut(key)?;
        if !slot.leaf.is_fresh(now) {
            return None;
        }
        slot.used = used;
        Some(slot.leaf.tls.clone())
    }

    /// Keeps a leaf. A full cache is searched for the one to drop: 4,096 comparisons, less than the
    /// signature that the new leaf cost.
    pub(super) fn insert(&self, key: Key, leaf: Leaf) {
        let mut slots = self.lock();
        slots.uses += 1;
        let used = slots.uses;
        if slots.leaves.len() >= self.capacity && !slots.leaves.contains_key(&key) {
            let oldest = slots.leaves.iter().min_by_key(|(_, slot)| slot.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                slots.leaves.remove(&oldest);
            }
        }
        slots.leaves.insert(key, Slot { leaf, used });
    }

    pub(super) fn len(&self) -> usize {
        self.lock().leaves.len()
    }

    /// A panic while the lock was held leaves a cache that is whole: every change is one call.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
