//! What a listener does when it cannot accept.

use super::{Guests, SAY_AGAIN};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The wait after accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts that failed.
#[derive(Debug, Default)]
pub struct Trouble {
    said: Option<Instant>,
    unsaid: u64,
}

impl Trouble {
    /// Makes room, says what is wrong once a second at most, and waits a moment.
    pub async fn wait(&mut self, guests: &Guests, error: &io::Error) {
        guests.make_room();
        self.unsaid += 1;
        if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            let times = std::mem::take(&mut self.unsaid);
            tracing::warn!(server = guests.server, %error, times, "cannot accept");
            self.said = Some(Instant::now());
        }
        sleep(ACCEPT_PAUSE).await;
    }
}
