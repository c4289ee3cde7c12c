//! Receives and sends through the ring, with buffers that the op owns meanwhile.

use std::io;
use std::ops::Range;

use io_uring::opcode::{Recv, Send};

use super::fd::Fd;
use super::op::{Op, Payload, number, submit};
use crate::buffer::AlignedBuf;

/// Receives into `range` of `buf`; gives the buffer back with the outcome. 0 is the end.
///
/// Not safe to drop: bytes that arrive before the cancellation are lost. Call [`Op::cancel`] and
/// await it instead.
///
/// # Panics
///
/// If `range` is not inside `buf`.
pub fn recv(
    fd: &Fd,
    mut buf: AlignedBuf,
    range: Range<usize>,
) -> Op<(io::Result<usize>, AlignedBuf)> {
    let target = &mut buf[range];
    let sqe = Recv::new(number(fd), target.as_mut_ptr(), op_len(target.len())).build();
    // SAFETY: `submit` requires that the address in `sqe` points into the payload's heap memory and
    // is as long as said: `target` is a slice of `buf`, which is the payload. `sqe` names `fd` and
    // completes once (the multishot flag is not set).
    unsafe { submit(sqe, fd, Payload::Buffer(buf), transferred) }
}

/// Sends `range` of `buf`, perhaps only its beginning; gives the buffer back with the outcome.
///
/// Not safe to drop: nobody would know how much was sent.
///
/// # Panics
///
/// If `range` is not inside `buf`.
pub fn send(fd: &Fd, buf: AlignedBuf, range: Range<usize>) -> Op<(io::Result<usize>, AlignedBuf)> {
    let source = &buf[range];
    let sqe = Send::new(number(fd), source.as_ptr(), op_len(source.len()))
        .flags(libc::MSG_NOSIGNAL)
        .build();
    // SAFETY: as for `recv`: `source` is a slice of `buf`, which is the payload.
    unsafe { submit(sqe, fd, Payload::Buffer(buf), transferred) }
}

/// An SQE has 32 bits for a length; a longer range is transferred in part, as any may be.
fn op_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(i32::MAX as u32)
}

fn transferred(payload: Payload, result: io::Result<u32>) -> (io::Result<usize>, AlignedBuf) {
    let Payload::Buffer(buf) = payload else {
        unreachable!("recv and send own a buffer")
    };
    (result.map(|count| count as usize), buf)
}
