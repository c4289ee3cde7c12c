//! Whether this replica may act now.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Whether this replica may act now; it may until an instant that renewals move on.
#[derive(Clone, Debug)]
pub(in super::super) struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Nobody leads yet.
    pub(super) fn new() -> (watch::Sender<Option<Instant>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// Says whether this replica may act at this very moment.
    pub(in super::super) fn holds(&self) -> bool {
        self.until().is_some()
    }

    fn until(&self) -> Option<Instant> {
        (*self.0.borrow()).filter(|until| Instant::now() < *until)
    }

    /// Waits until this replica may act. Never returns once the election is over.
    pub(in super::super) async fn gained(&mut self) {
        while !self.holds() {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this replica may act no more.
    pub(in super::super) async fn lost(&mut self) {
        while let Some(until) = self.until() {
            tokio::select! {
                () = sleep_until(until) => {}
                changed = self.0.changed() => if changed.is_err() {
                    // The election ended without giving up; the term ends by itself.
                    sleep_until(until).await;
                    return;
                }
            }
        }
    }
}
