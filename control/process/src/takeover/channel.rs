//! A connection between two processes at a hand-over: messages with their bounds, and descriptors.

use super::message::{MESSAGE_LIMIT, Message};
use eyesplice_sys::socket::{self, PeerCredentials};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

/// Between two tries while as many descriptors are on their way as the user may have open.
const CROWDED: Duration = Duration::from_millis(10);

/// One end of it.
#[derive(Debug)]
pub(super) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(socket::watched(fd)?))
    }

    /// Who has the other end.
    pub(super) fn peer(&self) -> io::Result<PeerCredentials> {
        socket::peer_credentials(self.0.as_fd())
    }

    /// Sends a message, within a time.
    pub(super) async fn send(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        within: Duration,
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let sent = async {
            loop {
                let give = |fd: &OwnedFd| socket::give(fd.as_fd(), &bytes, fds);
                match self.0.async_io(Interest::WRITABLE, give).await {
                    Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => {
                        sleep(CROWDED).await;
                    }
                    result => return result,
                }
            }
        };
        timeout(within, sent)
            .await
            .unwrap_or_else(|_| Err(silent()))
    }

    /// Receives a message, within a time; none: the other side is gone.
    pub(super) async fn receive(
        &self,
        within: Duration,
    ) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; MESSAGE_LIMIT];
        let take = |fd: &OwnedFd| socket::take(fd.as_fd(), &mut buffer);
        let received = timeout(within, self.0.async_io(Interest::READABLE, take));
        let (length, fds) = received.await.unwrap_or_else(|_| Err(silent()))?;
        if length == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
        Ok(Some((message, fds)))
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other process is silent")
}
