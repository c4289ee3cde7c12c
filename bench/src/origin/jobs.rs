//! What a far end does on a stream, one function for each job.

use crate::meter::{Arrivals, Pace, Schedule, boot, monotonic};
use crate::wire::{Frame, Incoming, Kind, Outgoing, Turn};
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// Takes frames until the client's End, and sends some meanwhile if that is wanted.
pub(super) async fn bulk<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    incoming: &mut Incoming<R>,
    out: &mut Outgoing<W>,
    down: bool,
    chunk: u32,
) -> Result<()> {
    let over = AtomicBool::new(false);
    let receive = async {
        let end = until_end(incoming).await;
        over.store(true, Ordering::Relaxed);
        end
    };
    let send = async {
        while down && !over.load(Ordering::Relaxed) {
            out.frame(Frame::new(Kind::Data, chunk)).await?;
        }
        Ok(())
    };
    tokio::try_join!(receive, send)?;
    goodbye(incoming, out).await
}

/// Answers messages of known sizes, in a cycle.
pub(super) async fn turns<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    incoming: &mut Incoming<R>,
    out: &mut Outgoing<W>,
    cycle: &[Turn],
) -> Result<()> {
    for turn in cycle.iter().cycle() {
        if !incoming.message(turn.ask).await? {
            break;
        }
        out.payload(turn.answer).await?;
    }
    out.close().await
}

/// Answers each frame with one of its kind.
pub(super) async fn sessions<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    incoming: &mut Incoming<R>,
    out: &mut Outgoing<W>,
    reply: u32,
) -> Result<()> {
    while let Some(frame) = incoming.frame().await? {
        let len = match frame.kind {
            Kind::End => {
                incoming.check(frame)?;
                return goodbye(incoming, out).await;
            }
            Kind::Data => reply,
            _ => 0,
        };
        out.frame(Frame { len, ..frame }).await?;
    }
    Err(Error::Ended("client"))
}

/// Sends records, each when it is due, until the client's End.
pub(super) async fn lines<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    incoming: &mut Incoming<R>,
    out: &mut Outgoing<W>,
    line: u32,
    rate: Option<f64>,
) -> Result<()> {
    let greeting = Frame {
        id: boot(),
        ..Frame::new(Kind::Greeting, 0)
    };
    out.frame(greeting).await?;
    let (began, began_at) = (Instant::now(), monotonic());
    let mut pace = match rate {
        None => Pace::Closed,
        Some(rate) => {
            // Random phase: followers do not all get their lines in the same instant.
            let seed = out.sent() ^ u64::from(began_at.subsec_nanos());
            let first = fastrand::Rng::with_seed(seed).f64();
            Pace::open(Schedule::share(began, rate, Arrivals::Constant, 0, 1).later(first))?
        }
    };
    let over = AtomicBool::new(false);
    let receive = async {
        let end = until_end(incoming).await;
        over.store(true, Ordering::Relaxed);
        end
    };
    let send = async {
        while !over.load(Ordering::Relaxed) {
            let due = pace.next().await?;
            let at = began_at + due.saturating_duration_since(began);
            let frame = Frame {
                at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
                ..Frame::new(Kind::Line, line)
            };
            out.frame(frame).await?;
        }
        Ok(())
    };
    tokio::try_join!(receive, send)?;
    goodbye(incoming, out).await
}

/// Takes payload up to the client's End, and compares the counts.
async fn until_end<R: AsyncRead + Unpin>(incoming: &mut Incoming<R>) -> Result<()> {
    while let Some(frame) = incoming.frame().await? {
        if frame.kind == Kind::End {
            return incoming.check(frame);
        }
    }
    Err(Error::Ended("client"))
}

/// Says how much was sent and received, and ends behind the client: a proxy that cannot close one
/// direction alone has nothing left to lose then.
async fn goodbye<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    incoming: &mut Incoming<R>,
    out: &mut Outgoing<W>,
) -> Result<()> {
    let end = Frame {
        id: out.sent(),
        at: incoming.received(),
        ..Frame::new(Kind::End, 0)
    };
    out.frame(end).await?;
    incoming.end().await?;
    out.close().await
}
