//! Resolves the name of a target, once: what is checked is what is dialled (docs/wire.md, "Names
//! that resolve twice").

use crate::sandbox;
use eyesplice_proto::target::{Host, Target};
use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Addresses of one name that are considered: what a dial can try within its deadline.
pub const MAX_ADDRESSES: usize = 8;
/// Lookups at a time. Each holds a thread of the runtime's blocking pool (512) until the C library
/// answers, also after its stream gave up.
pub const MAX_LOOKUPS: usize = 64;

/// The addresses of a name, in the order that the system prefers.
pub type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Where names come from; the system's resolver outside of tests.
pub trait Lookup: Send + Sync + 'static {
    /// Looks a name up. Runs on control's runtime.
    fn lookup(&self, name: &str) -> LookupFuture;
}

/// getaddrinfo(3): the hosts file, search domains and order of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> LookupFuture {
        // A final dot would keep search domains out, but the API server's own resolver uses them.
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(explained)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The C library does not say that it could not read one of its files.
fn explained(error: io::Error) -> io::Error {
    match sandbox::replaced_resolver_file() {
        None => error,
        Some(file) => io::Error::other(format!(
            "{file} was replaced since the start, and the sandbox of a process of root covers the \
             file that was there; restart it, or run it as another user: {error}"
        )),
    }
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver says so.
    #[error("cannot resolve {name}; check DNS on the gateway's host or the node's addresses")]
    Failed {
        /// The name.
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// It has none.
    #[error("{name} has no address; check its DNS record or the node's addresses")]
    Empty {
        /// The name.
        name: String,
    },
    /// No answer in time.
    #[error(
        "{name} was not resolved within {after:?}; check the name servers of the gateway's host"
    )]
    Timeout {
        /// The name.
        name: String,
        /// The deadline.
        after: Duration,
    },
}

/// Resolves names with bounds on number, time and answers.
#[derive(derive_more::Debug)]
#[debug("Resolver({} free)", permits.available_permits())]
pub struct Resolver {
    lookup: Arc<dyn Lookup>,
    permits: Arc<Semaphore>,
}

impl Resolver {
    /// Resolves with the given source of names.
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self {
            lookup,
            permits: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }

    /// Gives the addresses of a target, at most [`MAX_ADDRESSES`], families alternating from the
    /// preferred one (RFC 8305 section 4). An address is its own answer.
    ///
    /// Waits for a free lookup and for the answer within `deadline` together. A lookup that is
    /// given up runs on, and keeps its permit, until the resolver returns.
    ///
    /// # Errors
    /// [`ResolveError`], with the remedy.
    pub async fn resolve(
        &self,
        target: &Target,
        deadline: Duration,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let name = match &target.host {
            Host::Ip(address) => return Ok(vec![*address]),
            Host::Name(name) => name.as_str(),
        };
        Ok(interleave(self.all(name, deadline).await?))
    }

    /// Gives every address of a name, each once, as the resolver orders them: for who has to judge
    /// them all. Bounded as [`resolve`](Self::resolve).
    ///
    /// # Errors
    /// [`ResolveError`], with the remedy.
    pub async fn all(&self, name: &str, deadline: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        let permits = Arc::clone(&self.permits);
        let lookup = Arc::clone(&self.lookup);
        let owned = name.to_owned();
        let task = async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            // A task of its own: dropping the caller must not free the permit early.
            let found = tokio::spawn(async move {
                let found = lookup.lookup(&owned).await;
                drop(permit);
                found
            });
            found.await.map_err(io::Error::other)?
        };
        let name = name.to_owned();
        match tokio::time::timeout(deadline, task).await {
            Err(_) => Err(ResolveError::Timeout {
                name,
                after: deadline,
            }),
            Ok(Err(source)) => Err(ResolveError::Failed { name, source }),
            Ok(Ok(found)) if found.is_empty() => Err(ResolveError::Empty { name }),
            Ok(Ok(found)) => Ok(unique(found)),
        }
    }
}

fn unique(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    let mut found: Vec<IpAddr> = found.iter().map(IpAddr::to_canonical).collect();
    found.retain(|address| seen.insert(*address));
    found
}

/// Alternates the families from that of the first address, and cuts the rest.
fn interleave(unique: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = unique.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = unique
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let longest = first.len().max(second.len());
    let pairs = (0..longest).flat_map(|i| [first.get(i), second.get(i)]);
    pairs.flatten().copied().take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::Notify;

    struct Fixed(Vec<&'static str>);

    impl Lookup for Fixed {
        fn lookup(&self, _: &str) -> LookupFuture {
            let found: Vec<IpAddr> = self.0.iter().map(|a| a.parse().unwrap()).collect();
            Box::pin(async move { Ok(found) })
        }
    }

    /// Answers nothing until it is released; counts who waits.
    #[derive(Default)]
    struct Stuck {
        release: Arc<Notify>,
        begun: Mutex<usize>,
    }

    impl Lookup for Stuck {
        fn lookup(&self, _: &str) -> LookupFuture {
            *self.begun.lock().unwrap() += 1;
            let release = Arc::clone(&self.release);
            Box::pin(async move {
                release.notified().await;
                Ok(vec!["10.0.0.1".parse().unwrap()])
            })
        }
    }

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn text(addresses: &[IpAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn resolve_mixed_families_alternate_from_the_first() {
        let names = Fixed(vec![
            "fd00::1",
            "fd00::2",
            "fd00::1",
            "10.0.0.1",
            "::ffff:10.0.0.1",
        ]);
        let resolver = Resolver::new(Arc::new(names));
        let found = resolver
            .resolve(&target("a.b:1"), Duration::from_secs(9))
            .await
            .unwrap();
        assert_eq!(text(&found), ["fd00::1", "10.0.0.1", "fd00::2"]);
    }

    #[tokio::test]
    async fn resolve_many_addresses_are_cut() {
        let many = (0..20).map(|i| &*format!("10.0.0.{i}").leak()).collect();
        let resolver = Resolver::new(Arc::new(Fixed(many)));
        let found = resolver
            .resolve(&target("a.b:1"), Duration::from_secs(9))
            .await
            .unwrap();
        assert_eq!(found.len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn resolve_address_asks_nobody() {
        let resolver = Resolver::new(Arc::new(Fixed(vec![])));
        let found = resolver
            .resolve(&target("[fd00::5]:1"), Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(text(&found), ["fd00::5"]);
    }

    #[tokio::test]
    async fn resolve_empty_answer_is_an_error() {
        let resolver = Resolver::new(Arc::new(Fixed(vec![])));
        let error = resolver
            .resolve(&target("a.b:1"), Duration::from_secs(9))
            .await
            .unwrap_err();
        assert!(matches!(error, ResolveError::Empty { .. }), "{error}");
    }

    #[tokio::test]
    async fn resolve_stuck_lookups_are_bounded_and_keep_their_permit() {
        let stuck = Arc::new(Stuck::default());
        let resolver = Resolver::new(Arc::clone(&stuck) as Arc<dyn Lookup>);
        let asked = target("a.b:1");
        for _ in 0..MAX_LOOKUPS + 5 {
            let error = resolver.resolve(&asked, Duration::ZERO).await.unwrap_err();
            assert!(matches!(error, ResolveError::Timeout { .. }), "{error}");
        }
        while *stuck.begun.lock().unwrap() < MAX_LOOKUPS {
            tokio::task::yield_now().await;
        }
        assert_eq!(resolver.permits.available_permits(), 0);
        stuck.release.notify_waiters();
        let all = u32::try_from(MAX_LOOKUPS).unwrap();
        drop(resolver.permits.acquire_many(all).await.unwrap());
        assert_eq!(*stuck.begun.lock().unwrap(), MAX_LOOKUPS);
    }
}
