//! Decides when a direction waits a little instead of being woken by each small read.
//!
//! A followed log comes as one record per line. Each costs a wake-up, a receive, a record and a send,
//! whatever its size, so a steady flow of small reads in one direction is left to gather for a moment
//! and then taken in one read. As in adaptive interrupt coalescing, only the flow itself tells: what
//! answers or is answered (a terminal, a request and its reply) never waits.

use crate::limits::{
    BULKY_READ, COALESCE_LEAST, COALESCE_READ, COALESCE_READS, COALESCE_SHARE, COALESCE_WINDOW,
};
use std::time::{Duration, Instant};

/// What is known of one direction's reads.
#[derive(Debug)]
pub(crate) struct Coalesce {
    /// How long a read may be put off; zero: never.
    limit: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Reads are taken as they come.
    Off,
    /// One small read came: most of those are answered, so that the clock is not asked yet.
    First { answered: u64 },
    /// Small reads came one after the other, with nothing in the other direction.
    Flowing(Flow),
    /// Reads are put off.
    On {
        delay: Duration,
        /// A read that brings less was not worth the wait.
        worth: usize,
        answered: u64,
    },
}

/// Small reads in a row.
#[derive(Clone, Copy, Debug)]
struct Flow {
    since: Instant,
    reads: u32,
    bytes: usize,
    /// What the other direction had delivered when it began.
    answered: u64,
}

impl Coalesce {
    pub(crate) fn new(limit: Duration) -> Self {
        let state = State::Off;
        Self { limit, state }
    }

    /// Takes note of a read that emptied the socket, and returns for how long to put off the next
    /// one, if at all. `answered` counts what the other direction has delivered; `now` is asked only if
    /// it matters.
    pub(crate) fn saw_read(
        &mut self,
        bytes: usize,
        answered: u64,
        now: impl FnOnce() -> Instant,
    ) -> Option<Duration> {
        self.state = match self.state {
            _ if self.limit.is_zero() => State::Off,
            // What a watch told of may have been read before: the sender need not have paused.
            State::Off | State::First { .. } | State::Flowing(_) if bytes == 0 => self.state,
            State::On { .. } if bytes == 0 => State::Off,
            State::On {
                delay,
                worth,
                answered: before,
            } if before == answered && bytes >= worth => {
                // The sender must not wait for room, and a bulky flow needs no help.
                let delay = if bytes >= BULKY_READ {
                    delay / 2
                } else {
                    delay
                };
                if delay < COALESCE_LEAST {
                    State::Off
                } else {
                    State::On {
                        delay,
                        worth,
                        answered,
                    }
                }
            }
            _ if bytes >= COALESCE_READ => State::Off,
            State::Flowing(flow) if flow.answered == answered => {
                let flow = Flow {
                    reads: flow.reads + 1,
                    bytes: flow.bytes + bytes,
                    ..flow
                };
                self.flowing(flow, now())
            }
            State::First { answered: before } if before == answered => State::Flowing(Flow {
                since: now(),
                reads: 1,
                bytes,
                answered,
            }),
            _ => State::First { answered },
        };
        match self.state {
            State::On { delay, .. } => Some(delay),
            _ => None,
        }
    }

    fn flowing(&self, flow: Flow, now: Instant) -> State {
        let Flow {
            since,
            reads,
            bytes,
            answered,
        } = flow;
        let lasted = now.saturating_duration_since(since);
        let steady = reads >= COALESCE_READS && lasted >= self.limit * COALESCE_SHARE;
        let fast = lasted <= COALESCE_WINDOW * (reads / COALESCE_READS).max(1);
        match (steady, fast) {
            (true, true) => State::On {
                delay: self.limit,
                worth: 2 * bytes / reads as usize,
                answered,
            },
            // It is measured again, so that it may become faster.
            (_, false) => State::Flowing(Flow {
                since: now,
                reads: 1,
                bytes: bytes / reads as usize,
                answered,
            }),
            (false, true) => State::Flowing(flow),
        }
    }
}

#[cfg(test)]
mod tests;
