//! Lets the workers of a process that stops leave in order. What agents connect to, and what is
//! there for streams, is of use to the streams of all workers: it ends when none of them needs it.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// A stream is being opened, perhaps by a connection that an agent has yet to make.
    Opens,
    /// Streams run, or a peer has yet to hear that the process stops.
    Carries,
    /// Nothing is left but what was there for streams.
    Done,
}

/// How far all workers are.
pub(crate) struct Departure {
    stages: Mutex<Vec<Stage>>,
    news: Notify,
}

impl Departure {
    /// Of so many workers; each leaves by what it gets here.
    pub(crate) fn of(workers: usize) -> Vec<Leaver> {
        let departure = Arc::new(Self {
            stages: Mutex::new(vec![Stage::Opens; workers]),
            news: Notify::new(),
        });
        let leaver = |worker| Leaver {
            departure: Arc::clone(&departure),
            worker,
        };
        (0..workers).map(leaver).collect()
    }
}

/// One worker's part in it; it is done when dropped, however it ends.
pub(crate) struct Leaver {
    departure: Arc<Departure>,
    worker: usize,
}

impl Leaver {
    /// This worker is so far; tells how far all of them are.
    pub(crate) fn reaches(&self, stage: Stage) -> Stage {
        let stages = &self.departure.stages;
        let mut stages = stages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = stages.get_mut(self.worker) else {
            return stage;
        };
        let changed = std::mem::replace(own, stage) != stage;
        let least = stages.iter().copied().min().unwrap_or(stage);
        drop(stages);
        if changed {
            self.departure.news.notify_waiters();
        }
        least
    }

    /// Waits until another worker is elsewhere; from its first poll on, or from `enable`.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.departure.news.notified()
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        self.reaches(Stage::Done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_as_far_as_the_last_of_them_and_one_that_ends_is_done() {
        let mut leavers = Departure::of(3);
        let [a, b] = [leavers.remove(0), leavers.remove(0)];
        assert_eq!(a.reaches(Stage::Done), Stage::Opens);
        assert_eq!(b.reaches(Stage::Carries), Stage::Opens);
        drop(leavers);
        assert_eq!(a.reaches(Stage::Done), Stage::Carries);
        assert_eq!(b.reaches(Stage::Opens), Stage::Opens, "it may go back");
        assert_eq!(b.reaches(Stage::Done), Stage::Done);
        assert_eq!(a.reaches(Stage::Done), Stage::Done);
    }
}
