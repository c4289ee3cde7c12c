//! The thread that writes: takes what waits, writes it in whole lines, and tries again what failed.

use super::limits::{LOOK, MAX_RETRY, MIN_RETRY, TELL_AGAIN};
use super::queue::{lines_in, portion};
use super::target::is_broken;
use super::{Event, Settings, Shared, State, Target};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the thread has.
pub(super) struct Writer {
    shared: Arc<Shared>,
    target: Target,
    settings: Settings,
    batch: Batch,
    failing: Option<Failing>,
}

/// Lines that were taken.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// How many bytes of them are written.
    at: usize,
    /// Where the line begins that `at` is in.
    line: usize,
}

/// A row of writes that failed.
struct Failing {
    wait: Duration,
    told: Instant,
}

/// What is to be done.
enum Work {
    Write,
    Reopen,
    End,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, target: Target, settings: Settings) -> Self {
        Self {
            shared,
            target,
            settings,
            batch: Batch::default(),
            failing: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Work::Write => self.write(),
                Work::Reopen => self.reopen(),
                Work::End => break,
            }
        }
        let mut state = self.shared.state.lock();
        state.ended = true;
        self.shared.ended.notify_all();
    }

    /// Waits for something to do.
    fn next(&mut self) -> Work {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            if state.abandoned {
                return Work::End;
            }
            if std::mem::take(&mut state.reopen) {
                return Work::Reopen;
            }
            if !self.batch.is_done() {
                return Work::Write;
            }
            self.batch.clear();
            if state.queue.take(&mut self.batch.bytes) {
                return Work::Write;
            }
            if state.closing {
                return Work::End;
            }
            state.idle = true;
            shared.wake.wait(&mut state);
            state.idle = false;
        }
    }

    fn write(&mut self) {
        let rest = &self.batch.bytes[self.batch.at..];
        let portion = portion(rest, self.target.chunk());
        match self.target.write(portion) {
            Ok(0) => self.failed(&io::ErrorKind::WriteZero.into()),
            Ok(count) => self.wrote(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => self.target.wait(LOOK),
                _ => self.failed(&error),
            },
        }
    }

    fn wrote(&mut self, count: usize) {
        let lines = self.batch.advance(count);
        let mut state = self.shared.state.lock();
        state.written += lines;
        state.queue.wrote(count, lines);
        state.trouble = None;
        self.shared.progress(&state);
        drop(state);
        if self.failing.take().is_some() {
            (self.settings.tell)(Event::Recovered);
        }
    }

    /// Counts a failure, tells of it, and waits until it is time for another try.
    fn failed(&mut self, error: &io::Error) {
        if is_broken(error) {
            // Whoever reads next begins with a line.
            self.begin_line_again();
        }
        let now = Instant::now();
        let (wait, tell) = match &mut self.failing {
            None => {
                self.failing = Some(Failing {
                    wait: MIN_RETRY,
                    told: now,
                });
                (MIN_RETRY, true)
            }
            Some(failing) => {
                failing.wait = (failing.wait * 2).min(MAX_RETRY);
                let tell = now.duration_since(failing.told) >= TELL_AGAIN;
                if tell {
                    failing.told = now;
                }
                (failing.wait, tell)
            }
        };
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        state.failures += 1;
        state.trouble = Some(error.to_string());
        let lines = state.queue.lines();
        drop(state);
        if tell {
            (self.settings.tell)(Event::Failed { error, lines });
        }
        let mut state = shared.state.lock();
        let closing = state.closing;
        // At the end of the process there is no time to wait.
        let wait = if closing { MIN_RETRY } else { wait };
        // There may be something new to do before.
        let calm =
            |state: &mut State| !(state.abandoned || state.reopen || state.closing && !closing);
        shared.wake.wait_while_for(&mut state, calm, wait);
    }

    fn reopen(&mut self) {
        match self.target.reopen() {
            Ok(()) => {
                // A line that was cut goes to the new file whole.
                self.begin_line_again();
                self.failing = None;
                (self.settings.tell)(Event::Reopened);
            }
            Err(error) => {
                self.shared.state.lock().failures += 1;
                (self.settings.tell)(Event::NotReopened(&error));
            }
        }
    }

    fn begin_line_again(&mut self) {
        let back = self.batch.rewind();
        self.shared.state.lock().queue.unwrote(back);
    }
}

impl Batch {
    fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Forgets what is written; what one burst needed is not kept for ever.
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(64 << 10);
        (self.at, self.line) = (0, 0);
    }

    /// Counts the lines that end within the next `count` bytes.
    fn advance(&mut self, count: usize) -> u64 {
        let wrote = &self.bytes[self.at..self.at + count];
        if let Some(last) = wrote.iter().rposition(|byte| *byte == b'\n') {
            self.line = self.at + last + 1;
        }
        let lines = lines_in(wrote);
        self.at += count;
        lines
    }

    /// Goes back to the start of the line; returns by how many bytes.
    fn rewind(&mut self) -> usize {
        let back = self.at - self.line;
        self.at = self.line;
        back
    }
}
