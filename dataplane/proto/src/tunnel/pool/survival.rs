//! Finds out how many parked connections survive on the way to an agent. Some carriers and NATs cut
//! idle connections within seconds, others all but a few; a pool that fills up against that is a
//! handshake for nothing each time, and a dead connection for the next open.

use std::fmt;
use std::time::{Duration, Instant};

use crate::limits;

/// Counts parked connections that died young, and bounds the pool by those that did not.
#[derive(Debug)]
pub(super) struct Survival {
    /// Young deaths since one survived, at most as many as matter.
    run: u32,
    bound: Option<Bound>,
}

/// A bound of the pool.
#[derive(Debug, Clone, Copy)]
struct Bound {
    shrunk: Shrunk,
    /// When one more is tried.
    until: Instant,
}

/// Why a pool is smaller than the rate of opens asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shrunk {
    /// How many are kept: as many as were alive still when the last one died, and one more for
    /// each ten minutes since.
    pub kept: usize,
    /// How many died young in a row.
    pub died: u32,
    /// How long after it was parked the last one died.
    pub age: Duration,
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at most {} connections are kept waiting: {} in a row died within {} s, the last after \
             {:.1} s; a carrier or NAT between agent and gateway may cut idle connections",
            self.kept,
            self.died,
            limits::TUNNEL_POOL_YOUNG.as_secs(),
            self.age.as_secs_f64()
        )
    }
}

impl Survival {
    pub(super) const fn new() -> Self {
        Self {
            run: 0,
            bound: None,
        }
    }

    /// One was alive at this age. If it was young, that says nothing.
    pub(super) fn survived(&mut self, age: Duration) {
        if age >= limits::TUNNEL_POOL_YOUNG {
            self.run = 0;
        }
    }

    /// One died. The first bound needs a run of them; after that each lowers it.
    pub(super) fn died(&mut self, age: Duration, left: usize, now: Instant) {
        if age >= limits::TUNNEL_POOL_YOUNG {
            self.run = 0;
            return;
        }
        self.run = self.run.saturating_add(1);
        let kept = match self.shrunk(usize::MAX, now) {
            Some(shrunk) => shrunk.kept.min(left),
            None if self.run >= limits::TUNNEL_POOL_RUN => left,
            None => return,
        };
        self.bound = Some(Bound {
            shrunk: Shrunk {
                kept,
                died: self.run,
                age,
            },
            until: now + limits::TUNNEL_POOL_RELAX,
        });
    }

    /// Gives the bound of a pool of at most `most`, after it was relaxed for the time that passed.
    pub(super) fn shrunk(&mut self, most: usize, now: Instant) -> Option<Shrunk> {
        let bound = self.bound.as_mut()?;
        while bound.until <= now && bound.shrunk.kept < most {
            bound.shrunk.kept += 1;
            bound.until += limits::TUNNEL_POOL_RELAX;
        }
        if bound.shrunk.kept >= most {
            self.bound = None;
        }
        self.bound.map(|bound| bound.shrunk)
    }
}
