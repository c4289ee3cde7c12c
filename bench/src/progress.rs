//! A bar on a terminal, and nothing anywhere else.

use indicatif::{ProgressBar, ProgressStyle};

/// Steps of a bar.
const STEPS: u64 = 1000;

/// How far a measurement is.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar with a name; hidden unless standard error is a terminal.
    pub(crate) fn new(name: &str) -> Self {
        let bar = ProgressBar::new(STEPS).with_message(name.to_string());
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} % {eta:>4} {msg}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Says which share is done.
    pub(crate) fn share(&self, share: f64) {
        self.0
            .set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    }

    /// Changes the name.
    pub(crate) fn name(&self, name: &str) {
        self.0.set_message(name.to_string());
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}
