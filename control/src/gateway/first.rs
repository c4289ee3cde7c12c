//! Waits for the first certificates that come from an authority.
//!
//! A gateway without them would refuse every stream, so it does not listen; nor does it end, for what
//! is missing (an approval, an authority that starts later) comes without it. It says what it waits
//! for: in the log at each try, at `/readyz`, and to the service manager.

use super::files::Files;
use crate::enrol::{Progress, keep};
use eyesplice_process::admin::Readiness;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::signals::{Request, Signals};
use eyesplice_process::systemd;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Between two words to the service manager, which gives up on a start that is silent.
const TELL: Duration = Duration::from_secs(20);

/// Begins to keep what the configuration wants, and waits until it is there; false if a signal ended
/// the wait.
pub(super) async fn certificates(
    files: &Files,
    signals: &mut Signals,
    readiness: &Readiness,
    metrics: &Metrics,
) -> bool {
    let (sender, mut progress) = watch::channel(Progress::default());
    tokio::spawn(keep(files.wanted(), sender, metrics.enrolment.clone()));
    loop {
        let now = progress.borrow_and_update().clone();
        if now.is_complete() {
            readiness.await_certificates(None);
            return true;
        }
        let missing = if now.missing.is_empty() {
            "certificates are asked of the authority".to_owned()
        } else {
            now.missing.join("; ")
        };
        systemd::waiting(&missing, TELL * 3);
        readiness.await_certificates(Some(missing));
        tokio::select! {
            changed = progress.changed() => if changed.is_err() { return false },
            () = sleep(TELL) => {}
            request = signals.next() => match request {
                Request::Stop(signal) => {
                    tracing::info!(signal, "stopping; the first certificates have not come");
                    return false;
                }
                Request::Reload => {
                    let files = files.clone();
                    if let Ok(Err(errors)) = spawn_blocking(move || files.config()).await {
                        for error in errors {
                            tracing::error!(error, "configuration is not valid");
                        }
                    }
                }
            },
        }
    }
}
