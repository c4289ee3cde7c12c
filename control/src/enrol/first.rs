//! Waits for the first certificates that come from an authority.
//!
//! A gateway or an agent without them would refuse every stream, so it does not begin; nor does it end, for what
//! is missing (an approval, an authority that starts later) comes without it. It says what it waits
//! for: in the log at each try, at `/readyz`, and to the service manager.

use super::keep::{Progress, Wanted, keep};
use eyesplice_process::{Process, systemd};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Between two words to the service manager, which gives up on a start that is silent.
const TELL: Duration = Duration::from_secs(20);

/// Begins to keep what the configuration wants, and waits until it is there; false if a signal ended
/// the wait. At a hangup the configuration is read again, on a thread that may block.
pub(crate) async fn first_certificates(
    wanted: Wanted,
    process: &mut Process,
    reread: impl Fn() + Clone + Send + 'static,
) -> bool {
    let (sender, mut progress) = watch::channel(Progress::default());
    let metrics = process.host.metrics.enrolment.clone();
    tokio::spawn(keep(wanted, sender, metrics));
    let readiness = Arc::clone(&process.readiness);
    let complete = async {
        loop {
            let now = progress.borrow_and_update().clone();
            if now.is_complete() {
                readiness.await_certificates(None);
                return true;
            }
            let missing = if now.missing.is_empty() {
                "certificates are requested from the authority".to_owned()
            } else {
                now.missing.join("; ")
            };
            systemd::waiting(&missing, TELL * 3);
            readiness.await_certificates(Some(missing));
            if let Ok(Err(_)) = timeout(TELL, progress.changed()).await {
                return false;
            }
        }
    };
    let reread = || {
        spawn_blocking(reread.clone());
    };
    let waited = process.signals.unless_stopped(reread, complete).await;
    waited.unwrap_or_else(|signal| {
        tracing::info!(signal, "stopping; the first certificates have not arrived");
        false
    })
}
