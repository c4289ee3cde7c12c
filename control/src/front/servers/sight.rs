//! How an API server looked from one place, look after look. Time is an argument.

use std::fmt;
use std::time::{Duration, Instant};

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It answered.
    Well,
    /// It did not, or said that it is not well.
    Failed(String),
    /// Nobody says which.
    Unclear(String),
}

/// The looks from one place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// Those that failed in a row, and when the first of them had.
    failures: u32,
    since: Option<Instant>,
    last: Option<(Seen, Instant)>,
}

/// What it takes to be down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Looks in a row that failed.
    pub(crate) failures: u32,
    /// For how long.
    pub(crate) after: Duration,
    /// How old the last look may be.
    pub(crate) fresh: Duration,
}

/// How an API server stands from one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has failed often and long enough.
    Down,
    /// It answers.
    Answers,
    /// It fails, and not often enough yet.
    Few(u32, u32),
    /// It fails, and not long enough yet.
    Short(Duration, Duration),
    /// Nobody says how it is.
    Unclear(String),
    /// Nobody has looked lately.
    Unseen,
}

impl Sight {
    /// Notes a look that has ended.
    pub(crate) fn see(&mut self, seen: Seen, now: Instant) {
        match seen {
            Seen::Failed(_) => {
                self.failures = self.failures.saturating_add(1);
                self.since.get_or_insert(now);
            }
            // What is not clear is no failure: whoever keeps it from being clear gains nothing.
            Seen::Well | Seen::Unclear(_) => (self.failures, self.since) = (0, None),
        }
        self.last = Some((seen, now));
    }

    /// Says how it stands.
    pub(crate) fn standing(&self, need: &Need, now: Instant) -> Standing {
        let Some((seen, at)) = &self.last else {
            return Standing::Unseen;
        };
        if now.saturating_duration_since(*at) > need.fresh {
            return Standing::Unseen;
        }
        let lasted = self.since.map(|since| now.saturating_duration_since(since));
        match (seen, lasted) {
            (Seen::Well, _) => Standing::Answers,
            (Seen::Unclear(why), _) => Standing::Unclear(why.clone()),
            (Seen::Failed(_), _) if self.failures < need.failures => {
                Standing::Few(self.failures, need.failures)
            }
            (Seen::Failed(_), Some(lasted)) if lasted >= need.after => Standing::Down,
            (Seen::Failed(_), lasted) => Standing::Short(lasted.unwrap_or_default(), need.after),
        }
    }

    /// Why the last look failed, or was not clear.
    pub(crate) fn trouble(&self) -> Option<&str> {
        match &self.last {
            Some((Seen::Failed(why) | Seen::Unclear(why), _)) => Some(why),
            Some((Seen::Well, _)) | None => None,
        }
    }
}

impl Standing {
    /// The word of it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Answers => "answers",
            Self::Few(..) | Self::Short(..) => "failing",
            Self::Unclear(_) => "unclear",
            Self::Unseen => "unseen",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("is down"),
            Self::Answers => f.write_str("answers"),
            Self::Few(failures, of) => write!(f, "has failed {failures} of {of} checks"),
            Self::Short(lasted, of) => {
                write!(f, "fails for {} of {} s", lasted.as_secs(), of.as_secs())
            }
            Self::Unclear(why) => write!(f, "may be well: {why}"),
            Self::Unseen => f.write_str("was not looked at lately"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need {
        failures: 3,
        after: Duration::from_secs(10),
        fresh: Duration::from_secs(20),
    };

    fn failed() -> Seen {
        Seen::Failed("refused".to_owned())
    }

    fn unclear() -> Seen {
        Seen::Unclear("no proxy".to_owned())
    }

    /// How it stands after looks at these seconds, at the second behind them.
    fn after(looks: &[(u64, Seen)], now: u64) -> Standing {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut sight = Sight::default();
        for (second, seen) in looks {
            sight.see(seen.clone(), at(*second));
        }
        sight.standing(&NEED, at(now))
    }

    #[test]
    fn sight_is_down_after_enough_failures_for_long_enough() {
        let looks: Vec<(u64, Seen)> = [0, 5, 10].map(|second| (second, failed())).into();
        let of = Duration::from_secs;
        assert_eq!(after(&[], 0), Standing::Unseen);
        assert_eq!(after(&looks[..1], 9), Standing::Few(1, 3));
        assert_eq!(after(&looks[..2], 19), Standing::Few(2, 3));
        assert_eq!(after(&looks, 10), Standing::Down);
        let quick: Vec<(u64, Seen)> = [0, 1, 2].map(|second| (second, failed())).into();
        assert_eq!(after(&quick, 9), Standing::Short(of(9), of(10)));
        assert_eq!(after(&quick, 10), Standing::Down);
    }

    #[test]
    fn sight_begins_again_after_one_good_or_unclear_look() {
        for between in [Seen::Well, unclear()] {
            let mut looks: Vec<(u64, Seen)> = [0, 5, 10, 15].map(|at| (at, failed())).into();
            looks[2].1 = between;
            assert_eq!(after(&looks, 20), Standing::Few(1, 3));
        }
        let back = [
            (0, failed()),
            (5, failed()),
            (10, failed()),
            (15, Seen::Well),
        ];
        assert_eq!(after(&back, 15), Standing::Answers);
        let silent = [
            (0, failed()),
            (5, failed()),
            (10, failed()),
            (15, unclear()),
        ];
        let why = "no proxy".to_owned();
        assert_eq!(after(&silent, 15), Standing::Unclear(why));
    }

    #[test]
    fn sight_that_is_old_says_nothing() {
        let looks: Vec<(u64, Seen)> = [0, 5, 10].map(|second| (second, failed())).into();
        assert_eq!(after(&looks, 30), Standing::Down);
        assert_eq!(after(&looks, 31), Standing::Unseen);
    }
}
