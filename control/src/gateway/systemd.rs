//! Tells the service manager how the process is doing (sd_notify(3)).
//!
//! Without a service manager all of this does nothing; with one that cannot be reached, it says so
//! once per kind of message at debug level: notifications never stop the gateway.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// What the manager waits beyond the drain deadline before it kills the process: the time that
/// aborted streams and the last audit lines need.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// The process takes streams; also ends a reload.
pub(crate) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The process starts, and waits for something that may take longer than `patience`.
pub(crate) fn waiting(status: &str, patience: Duration) {
    let extend = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    send(&[
        NotifyState::ExtendTimeoutUsec(extend),
        NotifyState::Status(status),
    ]);
}

/// A reload begins; [`ready`] must follow.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => {
            send(&[
                NotifyState::Reloading,
                now,
                NotifyState::Status("reloading configuration"),
            ]);
        }
        Err(error) => tracing::debug!(%error, "monotonic clock cannot be read for sd_notify"),
    }
}

/// The process drains for at most `deadline`.
pub(crate) fn stopping(deadline: Duration) {
    let extend = u32::try_from((deadline + STOP_SLACK).as_micros()).unwrap_or(u32::MAX);
    let status = format!("draining for at most {} s", deadline.as_secs_f32());
    send(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(extend),
        NotifyState::Status(&status),
    ]);
}

/// Feeds the manager's watchdog at half of its interval from control's runtime: should that hang,
/// the manager restarts the process. Ends at once where there is no watchdog.
pub(crate) async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        send(&[NotifyState::Watchdog]);
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "service manager cannot be notified");
    }
}
