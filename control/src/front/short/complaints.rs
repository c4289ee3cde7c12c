//! Says in the log what keeps streams off the short way and can be mended, each once a minute.

use super::Why;
use eyesplice_identity::access::AskError;
use eyesplice_proto::causes::chain;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same.
const PAUSE: Duration = Duration::from_secs(60);

/// When each was said last.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<Why, Instant>>);

impl Complaints {
    /// Gives the reason for a question without an answer, `why` unless no API server can be asked.
    pub(super) fn unanswered(&self, why: Why, error: &AskError) -> Why {
        let why = match error {
            AskError::Unreachable(..) | AskError::Timeout(_) if why != Why::AdmissionUnknown => {
                Why::Unreachable
            }
            _ => why,
        };
        // A client that asks for what is not there is no news.
        if !matches!(error, AskError::Missing(_)) && self.is_due(why, Instant::now()) {
            let error = chain(error);
            tracing::warn!(%why, error, "streams go through API servers");
        }
        why
    }

    fn is_due(&self, why: Why, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |last: &Instant| now.saturating_duration_since(*last) < PAUSE;
        let due = !said.get(&why).is_some_and(recent);
        if due {
            said.insert(why, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaint_is_due_once_a_minute_and_each_by_itself() {
        let complaints = Complaints::default();
        let now = Instant::now();
        assert!(complaints.is_due(Why::Access, now));
        assert!(!complaints.is_due(Why::Access, now + PAUSE / 2));
        assert!(complaints.is_due(Why::Pod, now + PAUSE / 2));
        assert!(complaints.is_due(Why::Access, now + PAUSE));
    }
}
