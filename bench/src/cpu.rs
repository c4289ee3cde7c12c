//! Pins threads to cores, and reads how much CPU time a process has used.

use crate::{Attempt, Error, Result};
use nix::errno::Errno;
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
        let mut cores = allowed()?;
        match cores.pop() {
            Some(proxy) if !cores.is_empty() => Ok(Self {
                proxy,
                generators: cores,
            }),
            _ => Err(one_is_too_few()),
        }
    }
}

/// What a machine with a single core is told.
pub(crate) fn one_is_too_few() -> Error {
    Error::Unfit("one core is too few: the proxy under test needs one of its own".into())
}

/// The cores that this process may use.
///
/// # Errors
/// If the kernel does not say.
pub(crate) fn allowed() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).attempt("read the CPU affinity")?;
    Ok(named(&allowed).collect())
}

fn named(set: &CpuSet) -> impl Iterator<Item = usize> {
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false))
}

/// Binds this thread, and the threads that it starts from now on, to `cores`.
///
/// # Errors
/// If a core does not exist or is not allowed.
pub fn pin(cores: &[usize]) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), &set(cores)?).attempt(format!("bind to cores {cores:?}"))
}

/// Binds a thread of another process to `cores` unless it is bound within them already. A thread that
/// has ended is no failure, nor is one whose binding is the kernel's own (io_uring's workers).
///
/// # Errors
/// If a core does not exist or is not allowed.
pub(crate) fn confine(thread: u32, cores: &[usize]) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(thread).unwrap_or(i32::MAX));
    let Ok(bound) = sched_getaffinity(pid) else {
        return Ok(());
    };
    if named(&bound).all(|core| cores.contains(&core)) {
        return Ok(());
    }
    match sched_setaffinity(pid, &set(cores)?) {
        Ok(()) | Err(Errno::ESRCH | Errno::EINVAL) => Ok(()),
        Err(error) => Err(error).attempt(format!("bind thread {thread} to cores {cores:?}")),
    }
}

fn set(cores: &[usize]) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).attempt(format!("name core {core}"))?;
    }
    Ok(set)
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
    fn thread_outside_of_its_cores_is_bound_and_one_inside_is_left_alone() {
        let cores = allowed().unwrap();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let bound = || {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            named(&sched_getaffinity(pid).unwrap()).collect::<Vec<_>>()
        };
        let last = *cores.last().unwrap();
        confine(child.id(), &[last]).unwrap();
        assert_eq!(bound(), [last]);
        confine(child.id(), &cores).unwrap();
        assert_eq!(bound(), [last]);
        drop(child.stdin.take());
        child.wait().unwrap();
        confine(child.id(), &[last]).unwrap();
    }

    #[test]
    fn pinning_to_no_core_is_refused() {
        assert!(pin(&[]).is_err());
    }
}
