//! One direction of a line: a thread that reads packets of one device and writes them to the other
//! when they are due.

use super::queue::Queue;
use crate::{Attempt, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io::{ErrorKind, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tun_rs::SyncDevice;

/// The largest packet: 64 KiB of segments that the kernel leaves in one piece, and their virtio header.
const LARGEST: usize = 65_536 + 64;

/// Packets that are read before those that are due are looked after.
const BATCH: usize = 16;

/// What a direction works with.
pub(super) struct Direction {
    pub(super) from: Arc<SyncDevice>,
    pub(super) to: Arc<SyncDevice>,
    pub(super) queue: Queue,
    /// Packets that did not fit.
    pub(super) lost: Arc<AtomicU64>,
    /// Ends when the line shall.
    pub(super) stop: PipeReader,
}

impl Direction {
    /// Works until it is told to stop.
    pub(super) fn run(mut self) -> Result<()> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).attempt(TIMER)?;
        let mut buffer = vec![0; LARGEST];
        loop {
            self.read(&mut buffer)?;
            self.write()?;
            let left = self
                .queue
                .due()
                .map(|due| due.saturating_duration_since(Instant::now()));
            match left {
                Some(left) if left.is_zero() => continue,
                Some(left) => {
                    let expiration = Expiration::OneShot(TimeSpec::from(left));
                    timer.set(expiration, TimerSetTimeFlags::empty())
                }
                None => timer.unset(),
            }
            .attempt(TIMER)?;
            let mut wanted = [self.from.as_fd(), timer.as_fd(), self.stop.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut wanted, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).attempt("wait for packets"),
            }
            if wanted[2].any().unwrap_or(true) {
                return Ok(());
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        for _ in 0..BATCH {
            match self.from.recv(buffer) {
                Ok(len) => {
                    if !self.queue.arrive(Instant::now(), &buffer[..len]) {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).attempt("read a packet of a delayed line"),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        while let Some(packet) = self.queue.leave(Instant::now()) {
            match self.to.send(&packet) {
                Ok(_) => {}
                // A packet that the other side's kernel does not understand.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error).attempt("write a packet of a delayed line"),
            }
        }
        Ok(())
    }
}

const TIMER: &str = "use a timer";
