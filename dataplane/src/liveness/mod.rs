//! Tells a dead TCP peer from one that is alive and takes nothing.
//!
//! TCP_USER_TIMEOUT does not: it also ends a peer that answers every probe with a shut window. So a
//! worker looks by itself, with one timer for all of its streams, and only at legs that have bytes
//! outstanding: an idle leg is left to keepalive, which the kernel does not do while there are any.

use crate::config::EngineConfig;
use crate::counters::WorkerCounters;
use crate::end::End;
use crate::limits::{
    ASK_MAX, ASK_MIN, ASKS, GRACE_MIN, GRACE_SHARE, KEEPALIVE_COUNT_MAX, KEEPALIVE_INTERVAL,
    SWEEP_MAX, SWEEP_MIN, SWEEPS,
};
use crate::seam::{Phase, Reason, Side};
use eyesplice_sys::socket::{self, Keepalive, Progress};
use eyesplice_sys::uring::Fd;
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How sockets of both legs are watched for dead peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    pub(crate) keepalive_idle: Duration,
    /// How long a peer that is asked may say nothing.
    pub(crate) user_timeout: Duration,
}

impl Liveness {
    pub(crate) fn of(config: &EngineConfig) -> Self {
        Self {
            keepalive_idle: config.keepalive_idle,
            user_timeout: config.user_timeout,
        }
    }

    /// Sets the options on a TCP listener; what it accepts inherits them, without a system call each.
    /// A failure is not the listener's: streams work without, and the only cause is a kernel that
    /// lacks an option, which `probe` reports.
    pub(crate) fn apply_to_listener(self, fd: BorrowedFd<'_>) {
        let _ = socket::nodelay(fd);
        self.apply(fd);
    }

    /// Sets the options by which the kernel finds a dead peer of a connection that was dialled. It
    /// finds nothing before a look of the sweep, so that is when they are set: most connections are
    /// over by then.
    fn apply(self, fd: BorrowedFd<'_>) {
        let _ = socket::keepalive(fd, self.keepalive());
        let _ = socket::ask_at_least_every(fd, self.ask_every());
    }

    /// Ends an idle connection as soon as probes after the idle time were unanswered for the rest of
    /// the user timeout, and for one interval at least.
    fn keepalive(self) -> Keepalive {
        let rest = self.user_timeout.saturating_sub(self.keepalive_idle);
        let seconds = rest.as_secs() + u64::from(rest.subsec_nanos() > 0);
        let most = u64::from(KEEPALIVE_COUNT_MAX);
        let interval = KEEPALIVE_INTERVAL.as_secs().max(seconds.div_ceil(most));
        let count = seconds.div_ceil(interval).clamp(1, most);
        Keepalive {
            idle: self.keepalive_idle,
            interval: Duration::from_secs(interval),
            count: u32::try_from(count).unwrap_or(KEEPALIVE_COUNT_MAX),
        }
    }

    fn ask_every(self) -> Duration {
        (self.user_timeout / ASKS).clamp(ASK_MIN, ASK_MAX)
    }

    fn sweep_every(self) -> Duration {
        (self.user_timeout / SWEEPS).clamp(SWEEP_MIN, SWEEP_MAX)
    }
}

/// The peer of a leg that does not answer any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    side: Side,
    silence: Duration,
    bytes: usize,
}

impl Loss {
    pub(crate) fn at(self, phase: Phase) -> End {
        let peer = match self.side {
            Side::Downstream => "client",
            _ => "target",
        };
        End::new(Reason::PeerLost, self.side, phase).detail(format!(
            "{peer} has not acknowledged {} bytes and said nothing for {:.1} s \
             (timeouts.tcpUserTimeout); is its machine up, and the way to it?",
            self.bytes,
            self.silence.as_secs_f64()
        ))
    }
}

/// A stream, as far as the death of its peers concerns it.
pub(crate) trait Mortal {
    /// Ends it because one of its peers is dead.
    fn lose(&self, loss: Loss);
}

/// A worker's look at all peers that owe an acknowledgement.
pub(crate) struct Sweep {
    liveness: Liveness,
    counters: Arc<WorkerCounters>,
    /// Legs that have sent since they were looked at; what is dropped meanwhile goes with the next
    /// look.
    owing: RefCell<Vec<Weak<Pulse>>>,
    begun: Notify,
}

impl Sweep {
    pub(crate) fn new(liveness: Liveness, counters: Arc<WorkerCounters>) -> Rc<Self> {
        Rc::new(Self {
            liveness,
            counters,
            owing: RefCell::default(),
            begun: Notify::new(),
        })
    }

    /// Watches the peer of a TCP leg. Its first look sets the socket's options, unless the leg was
    /// accepted and has inherited them.
    pub(crate) fn pulse(self: &Rc<Self>, stream: Rc<dyn Mortal>, fd: &Fd, side: Side) -> Rc<Pulse> {
        let pulse = Rc::new(Pulse {
            fd: fd.clone(),
            side,
            stream,
            sweep: Rc::clone(self),
            since: Cell::new(None),
            asked: Cell::new(None),
            applied: Cell::new(side == Side::Downstream),
        });
        // What was sent before: the end of a handshake, the answer to the CONNECT.
        pulse.sent();
        pulse
    }

    /// Sets the options of a socket that was dialled and may be idle for long, by which the kernel
    /// finds that its peer is dead.
    pub(crate) fn keep_alive(&self, fd: &Fd) {
        self.liveness.apply(fd.as_fd());
    }

    /// Looks at the legs that owe, again and again; sleeps for as long as none does.
    pub(crate) async fn run(self: Rc<Self>) {
        let every = self.liveness.sweep_every();
        let mut pause = every;
        loop {
            while self.owing.borrow().is_empty() {
                self.begun.notified().await;
                pause = every;
            }
            sleep(pause).await;
            pause = self.look(every);
        }
    }

    /// Looks once; returns how long the next look can wait.
    fn look(&self, every: Duration) -> Duration {
        self.counters.liveness_sweeps.inc();
        let now = Instant::now();
        let mut pause = every;
        self.owing.borrow_mut().retain(|pulse| {
            let Some(pulse) = pulse.upgrade() else {
                return false;
            };
            match pulse.look(now, self.liveness) {
                Look::Even => false,
                Look::Owes => true,
                Look::Suspect(due) => {
                    pause = pause.min(due);
                    true
                }
                Look::Lost(loss) => {
                    self.counters.peers_lost.inc();
                    pulse.stream.lose(loss);
                    false
                }
            }
        });
        pause.max(SWEEP_MIN.min(every))
    }
}

/// What the sweep knows of one leg.
pub(crate) struct Pulse {
    fd: Fd,
    side: Side,
    stream: Rc<dyn Mortal>,
    sweep: Rc<Sweep>,
    /// When bytes were sent after all had been acknowledged.
    since: Cell<Option<Instant>>,
    /// The first look that found the peer asked and has not been followed by an answer.
    asked: Cell<Option<Instant>>,
    /// The socket has its options.
    applied: Cell<bool>,
}

enum Look {
    /// The peer has all that was sent.
    Even,
    /// It has not, and nothing was asked of it that it has not answered.
    Owes,
    /// It may be dead, which is known after so long.
    Suspect(Duration),
    Lost(Loss),
}

impl Pulse {
    /// Bytes were sent.
    pub(crate) fn sent(self: &Rc<Self>) {
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
            let mut owing = self.sweep.owing.borrow_mut();
            if owing.is_empty() {
                self.sweep.begun.notify_one();
            }
            owing.push(Rc::downgrade(self));
        }
    }

    fn look(&self, now: Instant, liveness: Liveness) -> Look {
        if !self.applied.replace(true) {
            liveness.apply(self.fd.as_fd());
        }
        let bytes = socket::unacknowledged(self.fd.as_fd()).unwrap_or(0);
        let progress = socket::progress(self.fd.as_fd());
        let open = progress.ok().filter(|progress| !progress.closed);
        let (Some(since), Some(progress), 1..) = (self.since.get(), open, bytes) else {
            self.since.set(None);
            self.asked.set(None);
            return Look::Even;
        };
        let asked = asked(self.asked.get(), progress, now);
        self.asked.set(asked);
        let Some(asked) = asked else {
            return Look::Owes;
        };
        let due = dead_at(since, asked, progress, now, liveness.user_timeout);
        match due.checked_duration_since(now) {
            Some(rest) if !rest.is_zero() => Look::Suspect(rest),
            _ => Look::Lost(Loss {
                side: self.side,
                silence: progress.silence,
                bytes,
            }),
        }
    }
}

impl Drop for Pulse {
    /// Who is left to the kernel with bytes to take gets the kernel's own patience.
    fn drop(&mut self) {
        if self.applied.get() && self.since.get().is_some() {
            let _ = socket::ask_at_least_every(self.fd.as_fd(), ASK_MAX);
        }
    }
}

/// Since when a peer owes an answer, if it owes one: one that was heard of later owes nothing of
/// before.
fn asked(before: Option<Instant>, progress: Progress, now: Instant) -> Option<Instant> {
    if !progress.asked() {
        return None;
    }
    Some(match before {
        Some(at) if now.duration_since(at) <= progress.silence => at,
        _ => now,
    })
}

/// When a peer counts as dead: nothing came from it for the user timeout, in which there were bytes
/// outstanding, and a question of the last part of it had time to be answered. A window that is shut
/// is probed only now and then, so silence alone means little.
fn dead_at(
    since: Instant,
    asked: Instant,
    progress: Progress,
    now: Instant,
    user_timeout: Duration,
) -> Instant {
    let grace = (user_timeout / GRACE_SHARE)
        .max(GRACE_MIN)
        .max(progress.round_trip);
    let left = user_timeout.saturating_sub(progress.silence);
    (now + left).max(since + user_timeout).max(asked + grace)
}

#[cfg(test)]
mod tests;
