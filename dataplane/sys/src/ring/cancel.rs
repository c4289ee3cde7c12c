//! Stops all ops on one descriptor.

use std::io;

use io_uring::opcode::AsyncCancel2;
use io_uring::types::CancelBuilder;

use super::fd::Fd;
use super::op::{Op, Payload, number, submit};

/// Stops every op in flight on `fd`, also through other descriptors of the same file, and says how
/// many it found. Each completes with `ECANCELED` and must be awaited or dropped as usual.
///
/// To stop one op use [`Op::cancel`], which wakes nobody else and works before Linux 5.19 too.
///
/// The output is `EINVAL` on kernels before 5.19; [`crate::probe`] tells.
pub fn cancel_all(fd: &Fd) -> Op<io::Result<u32>> {
    let sqe = AsyncCancel2::new(CancelBuilder::fd(number(fd)).all()).build();
    // SAFETY: `submit` requires that `sqe` holds no address (a match by descriptor has none), names
    // `fd` and completes once.
    unsafe {
        submit(sqe, fd, Payload::Nothing, |_, result| {
            none_found_is_zero(result)
        })
    }
}

fn none_found_is_zero(result: io::Result<u32>) -> io::Result<u32> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(0),
        other => other,
    }
}

/// Says whether an op ended because it was cancelled.
#[must_use]
pub fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}
