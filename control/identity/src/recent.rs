//! A bounded map that several threads share: the least recently used entry goes first.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;

/// Entries by key, each as long as it is good and others are used less.
#[derive(Debug)]
pub struct Recent<K, V> {
    capacity: usize,
    slots: Mutex<Slots<K, V>>,
}

#[derive(Debug)]
struct Slots<K, V> {
    /// Each with the number of its last use.
    entries: HashMap<K, (V, u64)>,
    uses: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// Keeps at most `capacity` entries, and at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            slots: Mutex::new(Slots {
                entries: HashMap::new(),
                uses: 0,
            }),
        }
    }

    /// Finds an entry; one that is not good any more is dropped.
    pub fn find(&self, key: &K, is_good: impl FnOnce(&V) -> bool) -> Option<V> {
        self.slots.lock().find(key, is_good)
    }

    /// Keeps an entry. A full map is searched for the one to drop: some thousand comparisons, less
    /// than the handshake or signature that each entry cost.
    pub fn insert(&self, key: K, value: V) {
        self.slots.lock().insert(self.capacity, key, value);
    }

    /// Finds an entry that is good, or makes another one and keeps it: never two at a time. `make`
    /// runs under the lock.
    pub fn find_or_insert(
        &self,
        key: K,
        is_good: impl FnOnce(&V) -> bool,
        make: impl FnOnce() -> V,
    ) -> V {
        let mut slots = self.slots.lock();
        if let Some(found) = slots.find(&key, is_good) {
            return found;
        }
        let value = make();
        slots.insert(self.capacity, key, value.clone());
        value
    }

    /// How many there are.
    pub fn held(&self) -> usize {
        self.slots.lock().entries.len()
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Slots<K, V> {
    fn find(&mut self, key: &K, is_good: impl FnOnce(&V) -> bool) -> Option<V> {
        self.uses += 1;
        let (value, used) = self.entries.get_mut(key)?;
        if !is_good(value) {
            self.entries.remove(key);
            return None;
        }
        *used = self.uses;
        Some(value.clone())
    }

    fn insert(&mut self, capacity: usize, key: K, value: V) {
        self.uses += 1;
        if self.entries.len() >= capacity && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key, (value, self.uses));
    }
}
