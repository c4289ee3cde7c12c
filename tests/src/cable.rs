//! A cable between two network namespaces, which a test can pull.

use crate::skip::skipped;
use nix::sched::{CloneFlags, unshare};
use std::fmt;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// This end's address, in the namespace of the test's own thread and of all that it starts from now on.
pub const NEAR: [u8; 4] = [10, 111, 0, 1];

/// The other end's.
pub const FAR: [u8; 4] = [10, 111, 0, 2];

type Job = Box<dyn FnOnce() + Send>;

/// The far end of a cable; gone with the test.
pub struct Cable {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cable").finish_non_exhaustive()
    }
}

impl Cable {
    /// Moves this thread into a namespace of its own and lays a cable to another one; `None`, said
    /// aloud, where that is not allowed.
    pub fn lay(name: &str) -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skipped(name, &format!("no network namespace: {error}; run as root"));
            return None;
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
        let cable = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        let far = cable.far(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            nix::unistd::gettid().to_string()
        });
        let laid = ip("link set lo up")
            .and_then(|()| ip("link add near type veth peer name far"))
            .and_then(|()| ip(&format!("link set far netns {far}")))
            .and_then(|()| ip("addr add 10.111.0.1/24 dev near"))
            .and_then(|()| ip("link set near up"))
            .and_then(|()| cable.far(|| ip("link set lo up")))
            .and_then(|()| cable.far(|| ip("addr add 10.111.0.2/24 dev far")))
            .and_then(|()| cable.far(|| ip("link set far up")));
        if let Err(why) = laid {
            skipped(name, &why);
            return None;
        }
        Some(cable)
    }

    /// Does something at the far end: a socket that is made there stays there.
    ///
    /// # Panics
    /// If `job` does.
    pub fn far<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, answer) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Nobody waits if the test has failed.
            let _ = done.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        answer.recv().unwrap()
    }

    /// Pulls it: what is sent from now on arrives nowhere.
    ///
    /// # Panics
    /// If the far end has gone.
    pub fn pull(&self) {
        self.far(|| ip("link set far down")).unwrap();
    }

    /// Plugs it in again.
    ///
    /// # Panics
    /// If the far end has gone.
    pub fn plug(&self) {
        self.far(|| ip("link set far up")).unwrap();
    }

    /// Loses what the far end sends from now on; what it is sent arrives.
    ///
    /// # Panics
    /// If the far end has gone.
    pub fn lose_from_far(&self) {
        // Nobody has this hardware address, so nobody takes the packets in.
        let neighbour = "neigh replace 10.111.0.1 lladdr 02:00:00:00:00:99 dev far nud permanent";
        self.far(move || ip(neighbour)).unwrap();
    }

    /// Whether the far end has sent something that is not acknowledged.
    ///
    /// # Panics
    /// If the far end has gone, or `ss` is not there.
    pub fn far_owes(&self) -> bool {
        let listed = self.far(|| Command::new("ss").args(["-Htn"]).output().unwrap());
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        // State, what was received, what was sent.
        let sent = |line: &str| {
            line.split_whitespace()
                .nth(2)
                .is_some_and(|sent| sent != "0")
        };
        listed.lines().any(sent)
    }

    /// Loses what the far end is sent from now on; what it sends arrives.
    ///
    /// # Panics
    /// If this end has gone.
    pub fn lose_to_far(&self) {
        ip("neigh replace 10.111.0.2 lladdr 02:00:00:00:00:99 dev near nud permanent").unwrap();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It has told of its panic.
            let _ = thread.join();
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("ip {arguments}: {error}")),
    }
}
