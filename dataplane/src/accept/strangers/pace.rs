//! Says something at most once a second, and how often it was not said.

use std::fmt;
use std::time::{Duration, Instant};

/// The least time between two lines of one kind.
const EVERY: Duration = Duration::from_secs(1);

/// One kind of line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    said: Option<Instant>,
    unsaid: u64,
}

/// What happened since the last line of its kind. Shows as the end of a sentence, empty if nothing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsaid {
    /// How often it was not said.
    pub count: u64,
    /// In how long.
    pub during: Duration,
}

impl Pace {
    /// One that has said nothing.
    pub const fn new() -> Self {
        Self {
            said: None,
            unsaid: 0,
        }
    }

    /// Whether to say it this time.
    pub fn say(&mut self, now: Instant) -> Option<Unsaid> {
        let during = self.said.map(|said| now.saturating_duration_since(said));
        if during.is_some_and(|during| during < EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(Unsaid {
            count: std::mem::take(&mut self.unsaid),
            during: during.unwrap_or_default(),
        })
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => Ok(()),
            count => write!(
                f,
                "; {count} more like it since the last such line {} s ago",
                self.during.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_says_one_a_second_and_counts_the_rest() {
        let start = Instant::now();
        let mut pace = Pace::new();
        let first = pace.say(start).unwrap();
        assert_eq!((first.count, first.to_string()), (0, String::new()));
        for milli in 1..1000 {
            assert_eq!(pace.say(start + Duration::from_millis(milli)), None);
        }
        let next = pace.say(start + Duration::from_millis(1500)).unwrap();
        assert_eq!(next.count, 999);
        assert_eq!(
            next.to_string(),
            "; 999 more like it since the last such line 1 s ago"
        );
        let last = pace.say(start + Duration::from_secs(60)).unwrap();
        assert_eq!(last.to_string(), "");
    }
}
