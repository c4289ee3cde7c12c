//! The end of a process that a test started.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long a condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a signal.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill(pid(child), signal).unwrap();
}

/// Waits for the end; a child that takes longer than anybody waits is killed, and fails the test.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let pid = pid(child);
    let (sender, status) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait()));
        status.recv_timeout(PATIENCE).map_or_else(
            |_| {
                kill(pid, Signal::SIGKILL).unwrap();
                panic!("the process {pid} did not end");
            },
            Result::unwrap,
        )
    })
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}
