//! A network namespace of our own, and a thread in it that makes sockets there.

use crate::{Attempt, Error, Result};
use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// The far end's TCP is set as the near one's: a new namespace has the machine's settings, not those of
/// the namespace that it was made from.
const SETTINGS: [&str; 4] = [
    "tcp_congestion_control",
    "tcp_rmem",
    "tcp_wmem",
    "tcp_no_metrics_save",
];

type Job = Box<dyn FnOnce() + Send>;

/// A namespace; gone when this is dropped and all of its sockets are closed.
#[derive(Debug)]
pub(super) struct Space {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Space {
    /// Makes one, with loopback.
    pub(super) fn new() -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("far namespace".into())
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .attempt("start a thread for a network namespace")?;
        let space = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        let settings: Vec<_> = SETTINGS
            .iter()
            .filter_map(|name| {
                let path = format!("/proc/sys/net/ipv4/{name}");
                let value = std::fs::read_to_string(&path).ok()?;
                Some((path, value))
            })
            .collect();
        space.run(move || {
            unshare(CloneFlags::CLONE_NEWNET)
                .attempt("make a network namespace, which needs root")?;
            ip(&["link", "set", "lo", "up"])?;
            for (path, value) in settings {
                std::fs::write(&path, value.trim()).attempt(format!("write {path}"))?;
            }
            Ok(())
        })?;
        Ok(space)
    }

    /// Does something in it, and waits for that.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, answer) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Nobody waits if the caller is gone.
            let _ = done.send(job());
        });
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        match (sent, answer.recv()) {
            (Some(Ok(())), Ok(result)) => result,
            _ => Err(Error::Ended("thread of the far namespace")),
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It panicked: then it has ended, which is all that is wanted.
            let _ = thread.join();
        }
    }
}

/// Runs `ip` (iproute2) in this thread's namespace.
pub(super) fn ip(arguments: &[&str]) -> Result<()> {
    let what = format!("ip {}", arguments.join(" "));
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .attempt(format!("run {what}, of the package iproute2"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Unfit(format!("{what} failed: {}", said.trim())))
}
