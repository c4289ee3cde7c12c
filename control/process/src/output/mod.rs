//! Lines on their way out of the process: a bounded queue, and a thread of its own that writes them.
//!
//! A pipe whose reader stalls, a full disk, a reader that is gone: none of it is anybody's wait but this thread's.
//! Who has a line hands it over and goes on; what does not fit is lost and counted, and a line where it is missing
//! says so. `tracing-appender` was considered for the log: its queue counts lines and not bytes, its thread drops what
//! a failed write took without counting it, and it cannot say for how long it has been stuck.

pub mod limits;
mod queue;
mod target;
mod writer;

pub use queue::{Gap, Rank};
pub use target::Target;

use parking_lot::{Condvar, Mutex};
use queue::Queue;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use writer::Writer;

/// How an output behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Name of its thread.
    pub name: &'static str,
    /// Bytes that may wait.
    pub room: usize,
    /// Bytes beyond, for [`Rank::Important`] lines.
    pub reserve: usize,
    /// The line that tells of a loss.
    pub gap: Gap,
    /// Hears what happens, on the output's own thread.
    pub tell: fn(Event<'_>),
}

/// What happens to an output.
#[derive(Debug)]
pub enum Event<'a> {
    /// A write failed, and does so still; told at once and then every minute.
    Failed {
        /// What the kernel said.
        error: &'a io::Error,
        /// Lines that wait.
        lines: u64,
    },
    /// Writes succeed again.
    Recovered,
    /// The path was opened again.
    Reopened,
    /// It could not be; what was open stays in use.
    NotReopened(&'a io::Error),
}

/// How an output does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Lines that wait.
    pub lines: u64,
    /// Bytes that wait.
    pub bytes: usize,
    /// Lines that were written.
    pub written: u64,
    /// Writes and reopenings that failed.
    pub failures: u64,
    /// Lines that were given up.
    pub lost: u64,
    /// Since when nothing was written although lines wait.
    pub blocked: Option<Duration>,
    /// Ordinary lines are given up.
    pub full: bool,
    /// What is in the way, if it is known.
    pub trouble: Option<String>,
}

/// A handle to an output; the last one that goes does not end it, [`Output::finish`] does.
#[derive(Clone, derive_more::Debug)]
#[debug("Output({:?})", self.status())]
pub struct Output(Arc<Shared>);

/// The thread of an output, before it begins.
pub(crate) struct Pending {
    name: &'static str,
    writer: Writer,
}

impl Pending {
    /// Begins it.
    pub(crate) fn begin(self) -> io::Result<()> {
        let Self { name, writer } = self;
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || writer.run())?;
        Ok(())
    }
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// Wakes who waits for the writer's end.
    ended: Condvar,
    /// Microseconds from `epoch` to when the writer last got on, plus one; 0: nothing waits. Beside the state, for
    /// those who ask for each stream.
    blocked: AtomicU64,
    full: AtomicBool,
    epoch: Instant,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    written: u64,
    failures: u64,
    trouble: Option<String>,
    /// The writer waits for a line, so that one must wake it.
    idle: bool,
    reopen: bool,
    /// Nothing more comes; the writer ends when all is written.
    closing: bool,
    /// The writer's time is up.
    abandoned: bool,
    ended: bool,
}

impl Output {
    /// Starts the thread that writes to `target`.
    ///
    /// # Errors
    /// The limit of threads.
    pub fn start(target: Target, settings: Settings) -> io::Result<Self> {
        let (output, pending) = Self::waiting(target, settings);
        pending.begin()?;
        Ok(output)
    }

    /// One that takes lines, and writes them once its thread begins.
    pub(crate) fn waiting(target: Target, settings: Settings) -> (Self, Pending) {
        let Settings {
            room, reserve, gap, ..
        } = settings;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(room, reserve, gap),
                written: 0,
                failures: 0,
                trouble: None,
                idle: false,
                reopen: false,
                closing: false,
                abandoned: false,
                ended: false,
            }),
            wake: Condvar::new(),
            ended: Condvar::new(),
            blocked: AtomicU64::new(0),
            full: AtomicBool::new(false),
            epoch: Instant::now(),
        });
        let writer = Writer::new(Arc::clone(&shared), target, settings);
        let pending = Pending {
            name: settings.name,
            writer,
        };
        (Self(shared), pending)
    }

    /// Hands over a line, which ends with a line feed; false: it was lost. Never waits for the target.
    pub fn push(&self, line: &[u8], rank: Rank) -> bool {
        let mut state = self.0.state.lock();
        let State { queue, trouble, .. } = &mut *state;
        let taken = queue.push(line, rank, why(trouble.as_deref()));
        self.0.full.store(queue.is_full(), Relaxed);
        self.0.begin(&state);
        if std::mem::take(&mut state.idle) {
            self.0.wake.notify_one();
        }
        taken
    }

    /// Asks the writer to open its path again, after a rotation. Returns at once.
    pub fn reopen(&self) {
        self.0.state.lock().reopen = true;
        self.0.wake.notify_one();
    }

    /// For how long nothing was written although lines wait.
    pub fn blocked(&self) -> Option<Duration> {
        match self.0.blocked.load(Relaxed) {
            0 => None,
            since => {
                let since = self.0.epoch + Duration::from_micros(since - 1);
                Some(since.elapsed())
            }
        }
    }

    /// Whether ordinary lines are given up.
    pub fn is_full(&self) -> bool {
        self.0.full.load(Relaxed)
    }

    /// How it does.
    pub fn status(&self) -> Status {
        let state = self.0.state.lock();
        Status {
            lines: state.queue.lines(),
            bytes: state.queue.bytes(),
            written: state.written,
            failures: state.failures,
            lost: state.queue.lost(),
            blocked: self.blocked(),
            full: state.queue.is_full(),
            trouble: state.trouble.clone(),
        }
    }

    /// Lets the writer write what is left for at most `patience`, and gives up the rest; returns how many lines that
    /// is. Blocks. A writer that is stuck in a write stays there: it holds nothing, and ends with the process.
    pub fn finish(&self, patience: Duration) -> u64 {
        let mut state = self.0.state.lock();
        state.closing = true;
        self.0.wake.notify_one();
        let runs = |state: &mut State| !state.ended;
        self.0.ended.wait_while_for(&mut state, runs, patience);
        state.abandoned = true;
        self.0.wake.notify_one();
        self.0.blocked.store(0, Relaxed);
        state.queue.abandon()
    }
}

/// What a line about a loss says where no write has failed.
fn why(trouble: Option<&str>) -> &str {
    trouble.unwrap_or("its reader took no more")
}

impl Shared {
    /// Something waits from now on, if nothing did before.
    fn begin(&self, state: &State) {
        if self.blocked.load(Relaxed) == 0 && state.queue.bytes() > 0 {
            self.blocked.store(self.now(), Relaxed);
        }
    }

    /// The writer got on.
    fn progress(&self, state: &State) {
        let waits = state.queue.bytes() > 0;
        self.blocked
            .store(if waits { self.now() } else { 0 }, Relaxed);
        self.full.store(state.queue.is_full(), Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1
    }
}

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
