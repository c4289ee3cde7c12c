//! Reads the head of a message off a leg: in pieces as they come, up to a deadline, and not a byte of
//! what follows it.

use crate::context::StreamContext;
use crate::end::LegError;
use crate::leg::{Leg, Next};
use eyesplice_proto::parse::{Parsed, Progress};
use eyesplice_sys::uring;
use std::time::{Duration, Instant};

/// How long a head may take.
#[derive(Clone, Copy, Default)]
pub(crate) struct Patience {
    /// When it must be complete.
    pub(crate) until: Option<Instant>,
    /// How long after its first byte.
    pub(crate) once_begun: Option<Duration>,
}

/// Why there is no head.
pub(crate) struct NoHead<E, S> {
    /// Some of it had come.
    pub(crate) begun: bool,
    pub(crate) why: Why<E, S>,
}

/// What was in the way of a head.
pub(crate) enum Why<E, S> {
    /// A read failed.
    Read(LegError),
    /// A wait for more failed, or was too long.
    Wait(LegError),
    /// The peer ended cleanly.
    Ended,
    /// It is no such head.
    Malformed(E),
    /// Whoever waited for its first byte waits no more.
    Stopped(S),
}

/// Reads until `parse` has a head; what was read past it stays with the leg. `idle` waits while nothing
/// has come.
pub(crate) async fn read_head<H, E, S>(
    cx: &StreamContext,
    leg: &Leg,
    patience: Patience,
    mut parse: impl FnMut(&[u8], &mut Progress) -> Result<Parsed<H>, E>,
    mut idle: impl AsyncFnMut() -> Result<(), S>,
) -> Result<H, NoHead<E, S>> {
    let mut head = Vec::new();
    let mut progress = Progress::default();
    let mut deadline = patience.until;
    loop {
        let begun = !head.is_empty();
        let step = {
            let mut buffer = cx.pools().buffer();
            let step = leg
                .read(cx.pools(), &mut buffer)
                .map_err(|error| no_head(begun, Why::Read(error)))?;
            head.extend_from_slice(buffer.get(..step.payload).unwrap_or_default());
            step
        };
        if step.payload > 0 {
            if let (false, Some(limit)) = (begun, patience.once_begun) {
                let complete_by = Instant::now() + limit;
                deadline = Some(deadline.map_or(complete_by, |until| until.min(complete_by)));
            }
            match parse(&head, &mut progress) {
                Ok(Parsed::Complete {
                    head: parsed,
                    consumed,
                }) => {
                    leg.unread(head.get(consumed..).unwrap_or_default());
                    return Ok(parsed);
                }
                Ok(Parsed::Incomplete) => {}
                Err(error) => return Err(no_head(true, Why::Malformed(error))),
            }
        }
        let begun = !head.is_empty();
        match step.next {
            Next::Read => {}
            Next::End => return Err(no_head(begun, Why::Ended)),
            Next::Wait if begun => {
                uring::until(leg.readable(), deadline)
                    .await
                    .map_err(|error| no_head(true, Why::Wait(error.into())))?;
            }
            Next::Wait => idle()
                .await
                .map_err(|stop| no_head(false, Why::Stopped(stop)))?,
        }
    }
}

fn no_head<E, S>(begun: bool, why: Why<E, S>) -> NoHead<E, S> {
    NoHead { begun, why }
}

/// Waits for the first byte and for nothing else.
pub(crate) async fn first_byte(leg: &Leg, until: Option<Instant>) -> Result<(), LegError> {
    uring::until(leg.readable(), until).await?;
    Ok(())
}
