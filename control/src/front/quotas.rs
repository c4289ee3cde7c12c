//! How many streams of pods are live: of each user, pod and node, over all listeners and reloads.

use crate::config::FrontLimits;
use eyesplice_process::metrics::FrontReport;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The streams that are live.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// Bounded by the streams that there may be at all.
    live: Mutex<HashMap<Key, usize>>,
    /// Streams that were refused, by user, pod and node.
    refused: [AtomicU64; 3],
}

/// What streams are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(Arc<str>),
    Pod(Arc<str>, Arc<str>),
    Node(Arc<str>),
}

/// Whose stream it is, and where it leads, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream<'a> {
    pub(super) user: Option<&'a Arc<str>>,
    pub(super) pod: Option<(&'a Arc<str>, &'a Arc<str>)>,
    pub(super) node: Option<&'a Arc<str>>,
}

/// A limit of `front.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    User,
    Pod,
    Node,
}

/// Why a stream may not begin.
#[derive(Debug, thiserror::Error)]
#[error(
    "{whose} has {max} streams, as many as front.limits.{} allows; end some, or raise it",
    .limit.field()
)]
pub(super) struct Full {
    pub(super) limit: Limit,
    whose: String,
    max: usize,
}

/// The places of one stream, which are free when this is dropped.
#[derive(Debug)]
pub(super) struct Seats {
    quotas: Arc<Quotas>,
    keys: Vec<Key>,
}

impl Quotas {
    /// Counts a stream.
    pub(super) fn take(
        self: &Arc<Self>,
        limits: &FrontLimits,
        stream: Stream<'_>,
    ) -> Result<Seats, Full> {
        let user = stream.user.map(|user| Key::User(Arc::clone(user)));
        let pod = stream
            .pod
            .map(|(namespace, pod)| Key::Pod(Arc::clone(namespace), Arc::clone(pod)));
        let node = stream.node.map(|node| Key::Node(Arc::clone(node)));
        let wanted = [
            (Limit::User, user, limits.of_user),
            (Limit::Pod, pod, limits.of_pod),
            (Limit::Node, node, limits.of_node),
        ];
        let mut live = self.lock();
        for (limit, key, max) in &wanted {
            let (Some(key), Some(max)) = (key, *max) else {
                continue;
            };
            let counted = live.get(key).copied().unwrap_or_default();
            if counted >= max {
                self.refused(*limit).fetch_add(1, Relaxed);
                return Err(Full {
                    limit: *limit,
                    whose: key.shown(),
                    max,
                });
            }
        }
        let keys: Vec<Key> = wanted.into_iter().filter_map(|(_, key, _)| key).collect();
        for key in &keys {
            *live.entry(key.clone()).or_default() += 1;
        }
        drop(live);
        Ok(Seats {
            quotas: Arc::clone(self),
            keys,
        })
    }

    /// How many were refused, by limit.
    pub(crate) fn report(&self) -> FrontReport {
        let limited = Limit::ALL.map(|limit| (limit.label(), self.refused(limit).load(Relaxed)));
        FrontReport {
            limited: limited.to_vec(),
            ..FrontReport::default()
        }
    }

    fn refused(&self, limit: Limit) -> &AtomicU64 {
        let [user, pod, node] = &self.refused;
        match limit {
            Limit::User => user,
            Limit::Pod => pod,
            Limit::Node => node,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        // Nothing panics with the lock; what is there would be whole all the same.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        let mut live = self.quotas.lock();
        for key in &self.keys {
            if let Some(count) = live.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    live.remove(key);
                }
            }
        }
    }
}

impl Key {
    fn shown(&self) -> String {
        match self {
            Self::User(user) => format!("user {user:?}"),
            Self::Pod(namespace, pod) => format!("pod {namespace}/{pod}"),
            Self::Node(node) => format!("node {node}"),
        }
    }
}

impl Limit {
    const ALL: [Self; 3] = [Self::User, Self::Pod, Self::Node];

    fn field(self) -> &'static str {
        match self {
            Self::User => "maxStreamsPerUser",
            Self::Pod => "maxStreamsPerPod",
            Self::Node => "maxStreamsPerNode",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pod => "pod",
            Self::Node => "node",
        }
    }

    /// Status and reason of the refusal. A user can end streams of its own; those of others are
    /// nothing that it could help.
    pub(super) fn answer(self) -> (u16, &'static str) {
        match self {
            Self::User => (429, "TooManyRequests"),
            Self::Pod | Self::Node => (503, "ServiceUnavailable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn each_limit_holds_by_itself_until_a_stream_ends() {
        let (jane, joe, shop, web, node) = (
            name("jane"),
            name("joe"),
            name("shop"),
            name("web-0"),
            name("worker-3"),
        );
        let all = Stream {
            user: Some(&jane),
            pod: Some((&shop, &web)),
            node: Some(&node),
        };
        let of = |of_user, of_pod, of_node| FrontLimits {
            of_user,
            of_pod,
            of_node,
        };
        for (limits, other, limit, words) in [
            (
                of(Some(1), None, None),
                Stream {
                    user: Some(&joe),
                    ..all
                },
                Limit::User,
                "user \"jane\" has 1 streams, as many as front.limits.maxStreamsPerUser allows",
            ),
            (
                of(None, Some(1), None),
                Stream {
                    pod: Some((&shop, &joe)),
                    ..all
                },
                Limit::Pod,
                "pod shop/web-0 has 1 streams, as many as front.limits.maxStreamsPerPod allows",
            ),
            (
                of(None, None, Some(1)),
                Stream { node: None, ..all },
                Limit::Node,
                "node worker-3 has 1 streams, as many as front.limits.maxStreamsPerNode allows",
            ),
        ] {
            let quotas = Arc::new(Quotas::default());
            let first = quotas.take(&limits, all).unwrap();
            let full = quotas.take(&limits, all).unwrap_err();
            assert_eq!(full.limit, limit);
            assert!(full.to_string().starts_with(words), "{full}");
            drop(quotas.take(&limits, other).unwrap());
            let refused = quotas.report().limited;
            assert!(refused.contains(&(limit.label(), 1)), "{refused:?}");
            drop(first);
            drop(quotas.take(&limits, all).unwrap());
            assert!(quotas.lock().is_empty());
        }
    }

    #[test]
    fn refused_stream_takes_no_place() {
        let (jane, shop, web) = (name("jane"), name("shop"), name("web-0"));
        let quotas = Arc::new(Quotas::default());
        let limits = FrontLimits {
            of_pod: Some(1),
            ..FrontLimits::default()
        };
        let stream = Stream {
            user: Some(&jane),
            pod: Some((&shop, &web)),
            ..Stream::default()
        };
        let first = quotas.take(&limits, stream).unwrap();
        assert!(quotas.take(&limits, stream).is_err());
        assert_eq!(quotas.lock().get(&Key::User(jane)), Some(&1));
        drop(first);
        assert!(quotas.lock().is_empty());
    }
}
