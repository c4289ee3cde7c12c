//! Keeps what is needed of every object of one kind, by a list and a watch.
//!
//! After a watch that ended the next one goes on where it was; after 410, or a version that the API
//! server forgot, everything is listed again. Failures back off up to half a minute.

use super::object::ApiCsr;
use crate::apiserver::{Act, CallError};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_process::metrics::ClusterMetrics;
use futures_util::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::watch;

/// What is known of one kind of object, by name.
#[derive(Debug)]
pub(super) struct Watched<V> {
    /// The resource in metrics and messages.
    resource: &'static str,
    objects: Mutex<HashMap<String, V>>,
    state: watch::Sender<State>,
}

/// What an authority in a cluster sees.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) csrs: Arc<Watched<Arc<ApiCsr>>>,
    /// The addresses of each; seen only if an inventory is made of them.
    pub(super) nodes: Arc<Watched<Vec<HostAddress>>>,
}

/// How a watch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Counts changes.
    pub(super) changes: u64,
    /// Everything was listed once.
    pub(super) listed: bool,
    /// The last list or watch did not fail.
    pub(super) healthy: bool,
}

impl<V: Clone + PartialEq> Watched<V> {
    pub(super) fn new(resource: &'static str) -> Arc<Self> {
        Arc::new(Self {
            resource,
            objects: Mutex::default(),
            state: watch::Sender::new(State::default()),
        })
    }

    /// Tells of every change, and of health.
    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// All objects, in no order.
    pub(super) fn all(&self) -> Vec<V> {
        self.objects.lock().values().cloned().collect()
    }

    /// All names with what is kept of each.
    pub(super) fn named(&self) -> Vec<(String, V)> {
        let objects = self.objects.lock();
        let named = objects.iter().map(|(n, v)| (n.clone(), v.clone()));
        named.collect()
    }

    /// Lists and watches until the task is dropped; `keep` cuts an object down to what is needed.
    pub(super) async fn run<K>(
        self: Arc<Self>,
        api: Api<K>,
        keep: fn(K) -> V,
        metrics: Arc<ClusterMetrics>,
    ) where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        V: Send,
    {
        metrics.watch(self.resource, false);
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let mut events = pin!(events);
        let mut listing = HashMap::new();
        while let Some(event) = events.next().await {
            let named = |object: &K| object.meta().name.clone().unwrap_or_default();
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => {
                    listing.insert(named(&object), keep(object));
                    continue;
                }
                Ok(Event::InitDone) => {
                    let listing = std::mem::take(&mut listing);
                    let before = std::mem::replace(&mut *self.objects.lock(), listing);
                    let same = before == *self.objects.lock();
                    self.seen(!same, true);
                }
                Ok(Event::Apply(object)) => {
                    let (name, object) = (named(&object), keep(object));
                    let before = self.objects.lock().insert(name, object.clone());
                    self.seen(before.as_ref() != Some(&object), false);
                }
                Ok(Event::Delete(object)) => {
                    let before = self.objects.lock().remove(&named(&object));
                    self.seen(before.is_some(), false);
                }
                Err(error) => {
                    self.failed(&error, &metrics);
                    continue;
                }
            }
            if self.state().listed {
                metrics.watch(self.resource, true);
            }
        }
    }

    /// The API server answered, perhaps with something new.
    fn seen(&self, changed: bool, listed: bool) {
        self.state.send_if_modified(|state| {
            let before = *state;
            state.changes += u64::from(changed);
            state.listed |= listed;
            state.healthy = true;
            *state != before
        });
    }

    fn failed(&self, error: &watcher::Error, metrics: &ClusterMetrics) {
        metrics.watch(self.resource, false);
        let was = self.state().healthy;
        self.state
            .send_if_modified(|state| std::mem::replace(&mut state.healthy, false));
        let error = self.word(error);
        metrics.failed("watch", self.resource, error.as_str());
        if was || error.needs_a_person() {
            tracing::warn!(%error, "watch failed; it is tried again");
        } else {
            tracing::debug!(%error, "watch failed; it is tried again");
        }
    }

    fn word(&self, error: &watcher::Error) -> CallError {
        use watcher::Error;
        let (verb, cause) = match error {
            Error::InitialListFailed(cause) => ("list", cause),
            Error::WatchStartFailed(cause) | Error::WatchFailed(cause) => ("watch", cause),
            Error::WatchError(status) => {
                let message = status.message.clone();
                let act = Act("watch", self.resource);
                return CallError::answered(act, status.code, message);
            }
            Error::NoResourceVersion => {
                let message = "the list has no resource version".to_owned();
                return CallError::Transport(Act("list", self.resource), message);
            }
        };
        CallError::of(Act(verb, self.resource), cause)
    }
}
