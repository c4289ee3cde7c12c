//! When operations are due: at once, one after the other (closed loop), or at given instants (open
//! loop).

use crate::{Attempt, Result};
use clap::ValueEnum;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// How arrivals of an open loop are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// As independent users come: at exponentially distributed distances.
    Poisson,
}

/// The instants at which operations are due.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Instant,
    gap: Duration,
    arrivals: Arrivals,
    random: fastrand::Rng,
}

impl Schedule {
    /// From `first` on, every `gap`; `seed` decides the distances of random arrivals.
    pub(crate) fn new(first: Instant, gap: Duration, arrivals: Arrivals, seed: u64) -> Self {
        Self {
            next: first,
            gap,
            arrivals,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// For stream `index` of `streams` that share `rate` operations a second: evenly out of step.
    pub(crate) fn share(
        first: Instant,
        rate: f64,
        arrivals: Arrivals,
        index: usize,
        streams: usize,
    ) -> Self {
        let gap = Duration::from_secs_f64(streams as f64 / rate);
        let phase = gap.mul_f64(index as f64 / streams as f64);
        Self::new(first + phase, gap, arrivals, index as u64)
    }

    /// The same, later by a share of its distance.
    pub(crate) fn later(mut self, share: f64) -> Self {
        self.next += self.gap.mul_f64(share);
        self
    }

    /// The next instant.
    pub(crate) fn next(&mut self) -> Instant {
        let due = self.next;
        self.next += match self.arrivals {
            Arrivals::Constant => self.gap,
            // 1 - f64() is in (0, 1], so its logarithm is finite.
            Arrivals::Poisson => self.gap.mul_f64(-(1.0 - self.random.f64()).ln()),
        };
        due
    }
}

/// Waits until operations are due.
#[derive(Debug)]
pub(crate) enum Pace {
    /// The next is due when the last one ended.
    Closed,
    /// They are due whether or not the last one ended.
    Open {
        /// When.
        schedule: Schedule,
        /// An instant that was drawn and not yet waited for.
        drawn: Option<Instant>,
        /// tokio's timers are a millisecond coarse, which would count as latency.
        timer: Box<Timer>,
    },
}

impl Pace {
    /// Follows a schedule.
    pub(crate) fn open(schedule: Schedule) -> Result<Self> {
        Ok(Self::Open {
            schedule,
            drawn: None,
            timer: Box::new(Timer::new()?),
        })
    }

    /// Waits until the next operation is due and says when that was. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Instant> {
        let Self::Open {
            schedule,
            drawn,
            timer,
        } = self
        else {
            return Ok(Instant::now());
        };
        let due = *drawn.get_or_insert_with(|| schedule.next());
        timer.wait_until(due).await?;
        *drawn = None;
        Ok(due)
    }

    /// The instants before `ends` that nobody waited for.
    pub(crate) fn rest(&mut self, ends: Instant) -> Vec<Instant> {
        let Self::Open {
            schedule, drawn, ..
        } = self
        else {
            return Vec::new();
        };
        let first = drawn.take();
        first
            .into_iter()
            .chain(std::iter::repeat_with(|| schedule.next()))
            .take_while(|&due| due < ends)
            .collect()
    }
}

/// A timer of the kernel, exact to tens of microseconds.
#[derive(Debug)]
pub(crate) struct Timer(AsyncFd<Descriptor>);

#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// A timer that is not set.
    pub(crate) fn new() -> Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).attempt(TIMER)?;
        #[expect(
            deprecated,
            reason = "its successor is an unsafe fn, whose condition holds: a Descriptor owns its one \
                      descriptor and always names that"
        )]
        let timer = AsyncFd::new(Descriptor(timer)).attempt(TIMER)?;
        Ok(Self(timer))
    }

    /// Waits until `due`, not at all if that was.
    pub(crate) async fn wait_until(&self, due: Instant) -> Result<()> {
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            if left.is_zero() {
                break;
            }
            let expiration = Expiration::OneShot(TimeSpec::from(left));
            let timer = &self.0.get_ref().0;
            timer
                .set(expiration, TimerSetTimeFlags::empty())
                .attempt(TIMER)?;
            let mut ready = self.0.readable().await.attempt(TIMER)?;
            // Setting it took back what an earlier, dropped wait had left.
            ready.clear_ready();
        }
        Ok(())
    }
}

const TIMER: &str = "use a timer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_a_rate_out_of_step() {
        let start = Instant::now();
        let mut due: Vec<_> = (0..4)
            .flat_map(|index| {
                let mut share = Schedule::share(start, 1000.0, Arrivals::Constant, index, 4);
                std::iter::repeat_with(move || share.next()).take(250)
            })
            .map(|due| due.duration_since(start).as_micros())
            .collect();
        due.sort_unstable();
        let expected: Vec<_> = (0..1000).map(|ms| ms * 1000).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn random_arrivals_keep_the_rate_and_not_the_distance() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, Duration::from_millis(1), Arrivals::Poisson, 1);
        let due: Vec<_> = (0..100_000).map(|_| schedule.next()).collect();
        let seconds = due[99_999].duration_since(start).as_secs_f64();
        assert!((95.0..105.0).contains(&seconds), "{seconds}");
        // Of exponential distances 1 - 1/e are shorter than the mean.
        let short = due
            .windows(2)
            .filter(|pair| pair[1] - pair[0] < Duration::from_millis(1))
            .count();
        assert!((62_000..65_000).contains(&short), "{short}");
    }

    #[tokio::test]
    async fn what_nobody_waited_for_is_told_at_the_end() {
        let start = Instant::now();
        let gap = Duration::from_millis(1);
        let mut pace = Pace::open(Schedule::new(start, gap, Arrivals::Constant, 0)).unwrap();
        assert_eq!(pace.next().await.unwrap(), start);
        assert_eq!(pace.next().await.unwrap(), start + gap);
        assert!(Instant::now() >= start + gap);
        let rest = pace.rest(start + 4 * gap);
        assert_eq!(rest, [start + 2 * gap, start + 3 * gap]);
    }
}
