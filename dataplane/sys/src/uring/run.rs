//! Starts a ring on this thread, or epoll in its place, and ends it with no op in flight.

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use super::epoll::Reactor;
use super::op::{Current, Opened, current};
use super::ring::Ring;

/// How long [`run`] waits for the completions of ops that were cancelled at the end. The kernel
/// cancels at once; what takes longer was not cancelled, and waiting more would not help.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// What waits for descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Backend {
    /// io_uring: one-shot POLL_ADD.
    #[default]
    IoUring,
    /// epoll, which every sandbox allows.
    Epoll,
}

impl Backend {
    /// Both, the preferred one first.
    pub const ALL: [Self; 2] = [Self::IoUring, Self::Epoll];

    /// The word in configuration, log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// What does a thread's ops, and the sizes of its ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UringConfig {
    /// The rest is of io_uring alone.
    pub backend: Backend,
    /// Submission queue entries, a power of two. How many ops go to the kernel in one call, not how
    /// many may be in flight: a full queue is submitted early.
    pub entries: u32,
    /// Completion queue entries, a power of two larger than `entries`. More completions at once are
    /// not lost, only slower.
    pub cq_entries: u32,
}

impl UringConfig {
    /// Bytes of locked memory that such a ring takes from an ordinary user (io_uring_setup(2): the
    /// submission entries, and both queues with their header), in whole pages.
    pub fn locked_bytes(&self) -> u64 {
        // An entry of each queue, an index, and the kernel's `struct io_rings`.
        const SQE: u64 = 64;
        const CQE: u64 = 16;
        const INDEX: u64 = 4;
        const HEADER: u64 = 192;
        const PAGE: u64 = 4096;
        let (entries, completions) = (u64::from(self.entries), u64::from(self.cq_entries));
        let queues = HEADER + completions * CQE + entries * INDEX;
        (queues.div_ceil(PAGE) + (entries * SQE).div_ceil(PAGE)) * PAGE
    }
}

impl Default for UringConfig {
    fn default() -> Self {
        UringConfig {
            backend: Backend::default(),
            entries: 256,
            cq_entries: 4096,
        }
    }
}

/// What a ring ended with.
#[derive(Debug)]
#[must_use = "ops that are still in flight are a leak"]
pub struct Finished<T> {
    /// What the main future returned.
    pub output: T,
    /// Ops still in flight one second after the main future returned, because a task that still
    /// exists holds them; should be 0. Their addresses are leaked, since the kernel may still read.
    pub stray_ops: usize,
}

/// Runs `main` on this thread with a ring of its own; tokio's timers and tasks work inside.
///
/// Before it returns it waits up to a second for the completions of ops that were dropped or
/// cancelled. Tasks that still exist then are dropped.
///
/// The ring is set up with COOP_TASKRUN and SINGLE_ISSUER where the kernel knows them (5.19, 6.0).
/// DEFER_TASKRUN hangs with this runtime, which waits in epoll rather than in the ring.
///
/// # Errors
///
/// Those of io_uring_setup(2), most likely `EPERM` or `ENOSYS` where a sandbox denies it
/// ([`crate::probe`] names the remedy), and `AlreadyExists` inside another `run`.
pub fn run<F: Future>(config: &UringConfig, main: F) -> io::Result<Finished<F::Output>> {
    if current().is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let main = async {
        let output = main.await;
        // An elapsed limit shows in `stray_ops`.
        let _ = timeout(DRAIN_LIMIT, drained()).await;
        output
    };
    match config.backend {
        Backend::IoUring => {
            // Declared before `opened`, so dropped after it: see `Held::drop`.
            let runtime = start(config)?;
            let opened = Opened::new(Current::Ring(Ring::new()));
            let output = runtime.block_on(main);
            Ok(opened.finished(output))
        }
        Backend::Epoll => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let local = LocalSet::new();
            let reactor = Reactor::new()?;
            let opened = Opened::new(Current::Epoll(Rc::clone(&reactor)));
            let output = local.block_on(&runtime, async {
                tokio::select! {
                    biased;
                    output = main => Ok(output),
                    ended = spawn(reactor.drive()) => Err(match ended {
                        Ok(Err(error)) => error,
                        _ => io::ErrorKind::Other.into(),
                    }),
                }
            })?;
            Ok(opened.finished(output))
        }
    }
}

impl Opened {
    fn finished<T>(&self, output: T) -> Finished<T> {
        Finished {
            output,
            stray_ops: self.ops(),
        }
    }
}

/// Makes a ring as [`run`] does, and gives it back.
pub(crate) fn attempt(config: &UringConfig) -> io::Result<()> {
    start(config).map(drop)
}

fn start(config: &UringConfig) -> io::Result<tokio_uring::Runtime> {
    let with_flags = build(config, |ring| {
        ring.setup_coop_taskrun().setup_single_issuer()
    });
    match with_flags {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(config, |ring| ring),
        outcome => outcome,
    }
}

fn build(
    config: &UringConfig,
    flags: impl FnOnce(&mut io_uring::Builder) -> &mut io_uring::Builder,
) -> io::Result<tokio_uring::Runtime> {
    let mut ring = tokio_uring::uring_builder();
    flags(ring.setup_cqsize(config.cq_entries));
    let mut builder = tokio_uring::builder();
    builder.entries(config.entries).uring_builder(&ring);
    tokio_uring::Runtime::new(&builder)
}

/// Starts a task on this thread's ring.
///
/// # Panics
///
/// Outside [`run`].
pub fn spawn<T: Future + 'static>(task: T) -> JoinHandle<T::Output> {
    tokio::task::spawn_local(task)
}

/// Waits until no op is in flight on this thread's ring; at once without a ring.
pub async fn drained() {
    if let Some(current) = current() {
        poll_fn(|cx| current.poll_drained(cx)).await;
    }
}
