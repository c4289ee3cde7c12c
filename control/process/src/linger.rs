//! A connection whose end waits for its peer, so that the last answer arrives.
//!
//! Closing a socket with unread bytes resets it, and a reset destroys what the peer has yet to read: an
//! answer that comes before the request is whole, a 413 above all, would be lost. So the write side ends
//! first, and what still comes is read and dropped, within bounds.

use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a peer may take to see the end.
const LINGER: Duration = Duration::from_secs(3);

/// Bytes that are dropped at most: enough for who sends all before it reads, and no gift to a flood.
const DROPPED: usize = 16 << 20;

/// A connection for hyper, whose shutdown lingers.
pub fn lingering<T: AsyncRead + AsyncWrite + Unpin>(stream: T) -> TokioIo<Lingering<T>> {
    TokioIo::new(Lingering {
        stream,
        dropped: 0,
        until: None,
    })
}

/// A connection whose shutdown lingers.
#[derive(Debug)]
pub struct Lingering<T> {
    stream: T,
    dropped: usize,
    /// Set when the write side has ended.
    until: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Lingering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream,
            dropped,
            until,
        } = &mut *self;
        if until.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let until = until.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scratch = [0; 8 << 10];
        while *dropped < DROPPED && until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            // A peer that is gone needs no more patience.
            if ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)).is_err() {
                break;
            }
            match buffer.filled().len() {
                0 => break,
                more => *dropped += more,
            }
        }
        Poll::Ready(Ok(()))
    }
}
