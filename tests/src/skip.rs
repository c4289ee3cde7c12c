//! Says aloud what cannot be tested here.

use std::io::Write;

/// Reports a test that cannot run: `SKIPPED: <name>: <why>`, past the capture of the test harness,
/// so that `scripts/test` counts it and nobody takes it for a pass.
pub fn skipped(name: &str, why: &str) {
    // If standard error is closed, nobody counts.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {why}");
}
