//! Tells the service manager how the process is doing (sd_notify(3)).
//!
//! Without a service manager all of this does nothing; with one that cannot be reached, it says so
//! at debug level: notifications never stop the gateway. A thread of its own sends them, for a
//! manager that does not read its socket makes who sends wait.

mod store;

pub use store::{forget, passed, store};

use sd_notify::NotifyState;
use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// What the manager waits beyond the drain deadline before it kills the process: the time that
/// aborted streams and the last audit lines need.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// The process takes streams; also ends a reload.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The process starts, and waits for something that may take longer than `patience`.
pub fn waiting(status: &str, patience: Duration) {
    let extend = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    send(&[
        NotifyState::ExtendTimeoutUsec(extend),
        NotifyState::Status(status),
    ]);
}

/// A reload begins; [`ready`] must follow.
pub fn reloading() {
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
pub fn stopping(deadline: Duration) {
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
pub async fn feed_watchdog() {
    let Some(limit) = watchdog() else {
        return;
    };
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        send(&[NotifyState::Watchdog]);
    }
}

/// Whether there is a service manager.
pub fn is_there() -> bool {
    store::manager().is_some()
}

/// How often the manager wants to hear of this process, if it does.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().or_else(|| WATCHED_EVERY.get().copied())
}

/// The manager wants to hear of this process so often, as of the one that it takes over from.
pub fn watched_every(interval: Duration) {
    WATCHED_EVERY.get_or_init(|| interval);
}

/// Another process speaks for the service from now on; returns when the manager has been told
/// which. 0 is no number of a process: then the manager is not told.
pub async fn hand_over(pid: i32) {
    let Some(pid) = u32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return;
    };
    main_process(pid).await;
    SILENT.store(true, Relaxed);
}

/// This process speaks for the service again.
pub async fn take_back() {
    SILENT.store(false, Relaxed);
    main_process(std::process::id()).await;
}

async fn main_process(pid: u32) {
    let told = spawn_blocking(move || sd_notify::notify(&[NotifyState::MainPid(pid)]));
    match timeout(TOLD_WITHIN, told).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => {
            tracing::warn!(%error, pid, "service manager was not told of its new main process");
        }
        _ => tracing::warn!(pid, "service manager does not hear of its new main process"),
    }
}

/// What a manager may take to read one message.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Another process speaks for the service.
static SILENT: AtomicBool = AtomicBool::new(false);

/// The watchdog's interval of the process before this one.
static WATCHED_EVERY: OnceLock<Duration> = OnceLock::new();

/// Messages that wait for the manager to read; beyond, they are dropped: what it did not read for
/// so long, a watchdog of its own has noticed.
const WAITING: usize = 16;

/// The way to the thread that sends; nothing without a service manager.
static SENDER: OnceLock<Option<SyncSender<String>>> = OnceLock::new();

fn send(states: &[NotifyState<'_>]) {
    if SILENT.load(Relaxed) {
        return;
    }
    let Some(sender) = SENDER.get_or_init(start) else {
        return;
    };
    let mut message = String::new();
    for state in states {
        // Writing to a String has no way to fail.
        let _ = writeln!(message, "{state}");
    }
    if sender.try_send(message).is_err() {
        tracing::debug!("service manager takes no notifications");
    }
}

fn start() -> Option<SyncSender<String>> {
    store::manager()?;
    let (sender, messages) = sync_channel::<String>(WAITING);
    let thread = std::thread::Builder::new().name("notify".to_owned());
    let started = thread.spawn(move || {
        for message in messages {
            let message = NotifyState::Custom(message.trim_end());
            if let Err(error) = sd_notify::notify(&[message]) {
                tracing::debug!(%error, "service manager cannot be notified");
            }
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "service manager is not notified: no thread for it");
        return None;
    }
    Some(sender)
}
