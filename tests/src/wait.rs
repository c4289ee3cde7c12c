//! Waits for conditions, with bounded patience.

use std::time::{Duration, Instant};

/// How long a test waits for what must happen, on a machine that does thirty other things. Nothing
/// is ever measured by it: a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How long to stay off the core between two looks at a condition.
pub(crate) const LOOK: Duration = Duration::from_millis(1);

/// Looks until `condition` gives something.
///
/// # Panics
/// After [`PATIENCE`], with what `describe` says.
pub fn eventually<T>(
    mut condition: impl FnMut() -> Option<T>,
    describe: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "{} did not come", describe());
        std::thread::park_timeout(LOOK);
    }
}
