//! What is remembered of streams that took the short way, for when no API server can be asked: who
//! could have what, and where it was.
//!
//! Only what held as a whole is remembered: identity, review, admission and place of one stream. It
//! lives in the process, and no longer than it is asked for.

use super::place::Place;
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::api::{PodStream, Subresource};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Reviews that are remembered, by user, pod, stream and verb: at some 500 bytes each, 4 MiB. The
/// oldest goes first.
pub(crate) const REVIEWS: usize = 8192;
/// The longest user with its review that is remembered, in bytes.
const LONGEST: usize = 16 << 10;
/// Pods whose place is remembered: some KiB each, where names are short; `Place` has the bound of
/// one.
pub(crate) const PLACES: usize = 2048;

/// What is remembered; it outlives every configuration.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Inner>);

/// A pod: its namespace and its name.
pub(crate) type PodName = (Box<str>, Box<str>);

#[derive(Debug, Default)]
struct Inner {
    reviews: HashMap<Key, Review>,
    places: HashMap<PodName, (Place, SystemTime)>,
}

/// What a review was about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) user: Box<str>,
    pub(crate) stream: PodStream,
    pub(crate) verb: &'static str,
}

/// A review that allowed something plainly.
#[derive(Clone, Debug)]
pub(crate) struct Review {
    /// The user as it was reviewed, with its groups.
    pub(crate) user: Arc<UserInfo>,
    /// The authorizer's own words.
    pub(crate) reason: Arc<str>,
    /// The user may get the pod itself as well, as kubectl does before each stream.
    pub(crate) reads: bool,
    /// When the user's stream was.
    pub(crate) at: SystemTime,
}

impl Review {
    /// What it takes, in bytes, but for what the allocator adds.
    fn size(&self) -> usize {
        let UserInfo {
            username,
            uid,
            groups,
            extra,
        } = &*self.user;
        let of = |texts: &[String]| texts.iter().map(|text| text.len() + 24).sum::<usize>();
        let extra = extra.iter().map(|(key, values)| key.len() + of(values));
        username.len() + uid.len() + of(groups) + extra.sum::<usize>() + self.reason.len()
    }
}

impl Memory {
    /// Remembers a stream that took the short way, unless its user is too long.
    pub(crate) fn saw(
        &self,
        review: &Review,
        (stream, verbs): (&PodStream, &[&'static str]),
        place: &Place,
    ) {
        if review.size() > LONGEST {
            return;
        }
        let mut inner = self.lock();
        for verb in verbs {
            let key = Key {
                user: review.user.username.as_str().into(),
                stream: stream.clone(),
                verb,
            };
            make_room(&mut inner.reviews, &key, REVIEWS, |review| review.at);
            inner.reviews.insert(key, review.clone());
        }
        let pod = (stream.namespace.clone(), stream.pod.clone());
        match place.to_keep() {
            Some(place) => {
                make_room(&mut inner.places, &pod, PLACES, |(_, at)| *at);
                inner.places.insert(pod, (place, review.at));
            }
            // What is known of an earlier one is wrong by now.
            None => drop(inner.places.remove(&pod)),
        }
    }

    /// The oldest review of a user that a stream needs; `None`: one is not there, or too old.
    pub(crate) fn review(
        &self,
        user: &str,
        (stream, verbs): (&PodStream, &[&'static str]),
        (now, within): (SystemTime, Duration),
    ) -> Option<Review> {
        let inner = self.lock();
        let mut oldest: Option<Review> = None;
        for verb in verbs {
            let key = Key {
                user: user.into(),
                stream: stream.clone(),
                verb,
            };
            let review = inner.reviews.get(&key)?;
            if !is_recent(review.at, now, within) {
                return None;
            }
            if oldest.as_ref().is_none_or(|oldest| review.at < oldest.at) {
                oldest = Some(review.clone());
            }
        }
        oldest
    }

    /// Where a pod was seen last, and when; `None`: nowhere lately.
    pub(crate) fn place(
        &self,
        stream: &PodStream,
        (now, within): (SystemTime, Duration),
    ) -> Option<(Place, SystemTime)> {
        let inner = self.lock();
        let pod = (stream.namespace.clone(), stream.pod.clone());
        let found = inner.places.get(&pod);
        found.filter(|(_, at)| is_recent(*at, now, within)).cloned()
    }

    /// Notes whether the user of a review may get the pod itself, if that is still remembered.
    pub(super) fn reads(&self, key: &Key, reads: bool) {
        if let Some(review) = self.lock().reviews.get_mut(key) {
            review.reads = reads;
        }
    }

    /// Forgets what a user could have of a pod by any verb: an API server said no.
    pub(crate) fn forget_user(&self, user: &str, stream: &PodStream) {
        let same = |key: &Key| &*key.user == user && key.stream == *stream;
        self.lock().reviews.retain(|key, _| !same(key));
    }

    /// Forgets what everybody could have of a kind: it is admitted by now.
    pub(crate) fn forget_kind(&self, subresource: Subresource) {
        let same = |key: &Key| key.stream.subresource == subresource;
        self.lock().reviews.retain(|key, _| !same(key));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// Forgets where a pod was: it is there no more.
    pub(crate) fn forget_place(&self, namespace: &str, pod: &str) {
        self.lock().places.remove(&(namespace.into(), pod.into()));
    }

    /// Notes where a pod is, if it is still asked for.
    pub(super) fn moved(&self, (namespace, pod): (&str, &str), place: &Place, now: SystemTime) {
        let (mut inner, pod) = (self.lock(), (namespace.into(), pod.into()));
        match (inner.places.get_mut(&pod), place.to_keep()) {
            (Some(seen), Some(place)) => *seen = (place, now),
            // What is known of it is wrong by now.
            (Some(_), None) => drop(inner.places.remove(&pod)),
            (None, _) => {}
        }
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&self, now: SystemTime, within: Duration) {
        let mut inner = self.lock();
        inner.reviews.retain(|_, it| is_recent(it.at, now, within));
        inner
            .places
            .retain(|_, (_, at)| is_recent(*at, now, within));
    }

    /// All reviews.
    pub(crate) fn reviews(&self) -> Vec<(Key, Review)> {
        let inner = self.lock();
        let all = inner.reviews.iter();
        all.map(|(key, it)| (key.clone(), it.clone())).collect()
    }

    /// All pods with their places.
    pub(crate) fn places(&self) -> Vec<(PodName, Place)> {
        let inner = self.lock();
        let all = inner.places.iter();
        all.map(|(pod, (place, _))| (pod.clone(), place.clone()))
            .collect()
    }

    /// How many reviews and places there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.reviews.len(), inner.places.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics with the lock; what is there would be whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time that has not come is that of a clock that was set back, and says nothing.
fn is_recent(at: SystemTime, now: SystemTime, within: Duration) -> bool {
    now.duration_since(at).is_ok_and(|age| age <= within)
}

fn make_room<K: Clone + Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    key: &K,
    capacity: usize,
    at: impl Fn(&V) -> SystemTime,
) {
    if map.len() >= capacity && !map.contains_key(key) {
        let oldest = map.iter().min_by_key(|(_, value)| at(value));
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            map.remove(&oldest);
        }
    }
}
