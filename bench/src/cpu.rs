//! Pins threads to cores, and reads how much CPU time a process has used.

use crate::{Attempt, Error, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::time::Duration;

/// Which cores do what.
#[derive(Clone, Debug)]
pub struct Cores {
    /// Runs the proxy under test, alone.
    pub proxy: usize,
    /// Run clients and servers.
    pub generators: Vec<usize>,
}

impl Cores {
    /// Gives the proxy the last core that this process may use, the generators the others.
    ///
    /// # Errors
    /// If there is only one core: generators would take the proxy's time.
    pub fn split() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).attempt("read the CPU affinity")?;
        let mut cores: Vec<_> = (0..CpuSet::count())
            .filter(|&core| allowed.is_set(core).unwrap_or(false))
            .collect();
        match cores.pop() {
            Some(proxy) if !cores.is_empty() => Ok(Self {
                proxy,
                generators: cores,
            }),
            _ => Err(Error::Unfit(
                "one core is too few: the proxy under test needs one of its own".into(),
            )),
        }
    }
}

/// Binds this thread, and the threads that it starts from now on, to `cores`.
///
/// # Errors
/// If a core does not exist or is not allowed.
pub fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).attempt(format!("name core {core}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).attempt(format!("bind to cores {cores:?}"))
}

/// A process's CPU clock: user and system time of all its threads, ended ones and its io_uring
/// workers included, in nanoseconds. What the kernel does for it in a soft interrupt counts when
/// that runs in its time, which is the usual case on loopback.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock(ClockId);

impl CpuClock {
    /// The clock of process `pid`; 0 is this one.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
        Ok(Self(
            clock_getcpuclockid(pid).attempt(format!("find the CPU clock of process {pid}"))?,
        ))
    }

    /// CPU time used so far.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn used(self) -> Result<Duration> {
        Ok(clock_gettime(self.0).attempt("read a CPU clock")?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_clock_advances_with_work() {
        let clock = CpuClock::of(std::process::id()).unwrap();
        let before = clock.used().unwrap();
        let mut sum = 0u64;
        while clock.used().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn pinning_to_no_core_is_refused() {
        assert!(pin(&[]).is_err());
    }
}
