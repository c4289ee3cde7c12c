//! Takes part in the election: takes the Lease, keeps it, and gives it up.

use super::Timing;
use super::leadership::Leadership;
use crate::apiserver::CallError;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// What is added to the pause of a candidate at most, as client-go's jitter factor: candidates that
/// started together do not ask together for ever.
const JITTER: f64 = 1.2;

/// Where the Lease is.
pub(in super::super) trait Leases: Send + Sync {
    /// Reads it.
    fn get(&self) -> impl Future<Output = Result<Option<Lease>, CallError>> + Send;
    /// Makes it; fails if it is there.
    fn create(&self, lease: Lease) -> impl Future<Output = Result<Lease, CallError>> + Send;
    /// Replaces it if it still has this resource version.
    fn replace(&self, lease: Lease) -> impl Future<Output = Result<Lease, CallError>> + Send;
}

/// One candidate.
pub(in super::super) struct Elector<L> {
    leases: L,
    identity: String,
    timing: Timing,
    /// The Lease as it was last seen to change, and when that was.
    observed: Option<(Lease, Instant)>,
    term: watch::Sender<Option<Instant>>,
    leadership: Leadership,
    /// Between 0 and 1, drawn again at each pause.
    draw: fn() -> f64,
}

impl<L: Leases> Elector<L> {
    /// A candidate that has done nothing yet. The identity must be of this process alone.
    pub(in super::super) fn new(
        leases: L,
        identity: String,
        timing: Timing,
        draw: fn() -> f64,
    ) -> Self {
        let (term, leadership) = Leadership::new();
        Self {
            leases,
            identity,
            timing,
            observed: None,
            term,
            leadership,
            draw,
        }
    }

    /// Whether this candidate may act.
    pub(in super::super) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Takes part for ever. Dropped between or within tries it leaves the Lease as it is.
    pub(in super::super) async fn run(&mut self) {
        let mut failing = false;
        loop {
            // A try that hangs must not outlast the term that it should renew.
            let deadline = Instant::now() + self.timing.renew;
            let tried = timeout_at(deadline, self.attempt()).await;
            match tried {
                Ok(Ok(())) if failing => {
                    failing = false;
                    tracing::info!("the Lease can be read and written again");
                }
                Ok(Ok(())) => {}
                Ok(Err(error @ CallError::Conflict { .. })) => {
                    tracing::debug!(%error, "another replica wrote the Lease first");
                }
                Ok(Err(error)) => {
                    if !failing {
                        tracing::warn!(%error, "cannot take part in the election; it tries again");
                    }
                    failing = true;
                }
                Err(_) => tracing::warn!("the Lease could not be renewed in time"),
            }
            if !self.leadership.holds() {
                self.resign();
            }
            sleep(self.pause()).await;
        }
    }

    /// Gives the Lease up, so that another replica need not wait. Only after all work has ended.
    pub(in super::super) async fn release(&mut self) {
        self.resign();
        let Some((lease, _)) = self.observed.take() else {
            return;
        };
        if holder(&lease) != Some(self.identity.as_str()) {
            return;
        }
        let now = MicroTime(Timestamp::now());
        let mut given = lease;
        given.spec = Some(LeaseSpec {
            holder_identity: Some(String::new()),
            // As client-go: who reads it need not wait.
            lease_duration_seconds: Some(1),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..given.spec.unwrap_or_default()
        });
        match self.leases.replace(given).await {
            Ok(_) => tracing::info!("gave up the Lease"),
            Err(error) => tracing::warn!(%error, "cannot give up the Lease; it ends by itself"),
        }
    }

    /// One try to take or to keep the Lease.
    async fn attempt(&mut self) -> Result<(), CallError> {
        let Some(lease) = self.leases.get().await? else {
            let sent = Instant::now();
            let spec = self.claim(None);
            let lease = self.leases.create(Lease {
                spec: Some(spec),
                ..Lease::default()
            });
            let lease = lease.await?;
            self.lead(lease, sent);
            return Ok(());
        };
        self.observe(&lease);
        if !self.may_take(&lease) {
            return Ok(());
        }
        let sent = Instant::now();
        let spec = self.claim(lease.spec.as_ref());
        // Its metadata carry the resource version that it must still have.
        let taken = self.leases.replace(Lease {
            metadata: lease.metadata,
            spec: Some(spec),
        });
        let taken = taken.await?;
        self.lead(taken, sent);
        Ok(())
    }

    /// Notes when the Lease was seen to change.
    fn observe(&mut self, lease: &Lease) {
        let changed = self
            .observed
            .as_ref()
            .is_none_or(|(known, _)| known.spec != lease.spec);
        if changed {
            self.observed = Some((lease.clone(), Instant::now()));
        }
        if holder(lease) != Some(self.identity.as_str()) {
            self.resign();
        }
    }

    /// Nobody holds it, we do, or its holder let it pass.
    fn may_take(&self, lease: &Lease) -> bool {
        match holder(lease) {
            None => true,
            Some(holder) if holder == self.identity => true,
            Some(_) => {
                let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds);
                let valid = seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.timing.lease, Duration::from_secs);
                let since = self.observed.as_ref().map(|(_, at)| *at);
                since.is_some_and(|since| Instant::now() >= since + valid)
            }
        }
    }

    /// The Lease as we want it.
    fn claim(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mut spec = before.cloned().unwrap_or_default();
        let ours = spec.holder_identity.as_deref() == Some(self.identity.as_str());
        if !ours {
            spec.acquire_time = Some(now.clone());
            let transitions = spec.lease_transitions.unwrap_or(0);
            spec.lease_transitions = Some(match before {
                Some(_) => transitions.saturating_add(1),
                None => 0,
            });
        }
        spec.holder_identity = Some(self.identity.clone());
        // The configuration takes whole seconds only.
        spec.lease_duration_seconds = i32::try_from(self.timing.lease.as_secs()).ok();
        spec.renew_time = Some(now);
        spec
    }

    /// The Lease is ours since `sent`, or a little later.
    fn lead(&mut self, lease: Lease, sent: Instant) {
        self.observed = Some((lease, Instant::now()));
        self.term.send_replace(Some(sent + self.timing.renew));
    }

    fn resign(&self) {
        self.term.send_if_modified(|term| term.take().is_some());
    }

    fn pause(&self) -> Duration {
        let factor = if self.leadership.holds() {
            1.0
        } else {
            1.0 + JITTER * (self.draw)().clamp(0.0, 1.0)
        };
        self.timing.retry.mul_f64(factor)
    }
}

/// Who holds a Lease, if anybody does.
fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}
