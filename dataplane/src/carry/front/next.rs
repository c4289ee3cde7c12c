//! The wait for a request, for as long as its client may wait.

use super::Front;
use crate::carry::ending::Ending;
use crate::carry::exchange::{self, failed, hostile};
use crate::carry::refusal::Form;
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::heads::{NoHead, Patience, Why, first_byte, read_head};
use crate::leg::Leg;
use crate::seam::{Phase, Reason, Side, Snapshot, StreamRecord};
use eyesplice_proto::causes::chain;
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::parse::{HeadLimits, Progress, parse_request};
use std::future::pending;
use std::time::Instant;
use tokio::time::sleep_until;

impl Front<'_> {
    /// Waits for a request head; `None` when the client ended between two requests, or has waited
    /// for too long.
    pub(super) async fn next_request(
        &mut self,
        first: bool,
        snapshot: &Snapshot,
    ) -> Result<Option<RequestHead>, End> {
        let (cx, downstream) = (self.cx, self.downstream);
        let limit = snapshot.admission.head_timeout;
        let (wait, bounds) = match self.is_known() {
            true => (self.patience.get(), HeadLimits::API),
            false => (limit, HeadLimits::STRANGER),
        };
        let until = Instant::now() + wait;
        let patience = Patience {
            until: None,
            once_begun: Some(limit),
        };
        let parse = |head: &[u8], progress: &mut Progress| parse_request(head, progress, &bounds);
        let idle = async || self.between_requests(first, until).await;
        let read = read_head(cx, downstream, patience, parse, idle).await;
        let NoHead { begun, why } = match read {
            Ok(head) => return Ok(Some(head)),
            Err(none) => none,
        };
        Err(match why {
            Why::Read(error) => {
                let failure = failed(error, Side::Downstream);
                // Nothing is under way, so nothing is lost by a cut.
                if !begun && !first && failure.reason != Reason::Protocol {
                    return Ok(None);
                }
                failure
            }
            Why::Wait(error) => failed(error, Side::Downstream).status(408),
            Why::Ended if begun => End::new(Reason::Truncated, Side::Downstream, Phase::Exchange),
            Why::Ended | Why::Stopped(None) => return Ok(None),
            Why::Malformed(error) => hostile(error.status(), chain(&error)),
            Why::Stopped(Some(failure)) => failure,
        })
    }

    /// Waits until the client may have sent something; fails where no request will be served, with
    /// nothing if that is no failure. A server that has gone meanwhile is let go.
    async fn between_requests(&mut self, first: bool, until: Instant) -> Result<(), Option<End>> {
        // What came before the drain is served, and a client that has just connected will ask.
        if !first && self.cx.is_draining() {
            return Err(None);
        }
        let left = tokio::select! {
            ready = self.downstream.readable() => {
                ready.map_err(|error| Some(failed(error.into(), Side::Downstream)))?;
                false
            }
            () = self.cx.draining(), if !first => false,
            () = sleep_until(until.into()) => return Err(self.silent()),
            () = async {
                match &self.server {
                    // An error is for the look at it to find.
                    Some(server) => drop(server.leg.readable().await),
                    None => pending().await,
                }
            } => true,
        };
        if left {
            self.look().await;
        }
        Ok(())
    }

    /// A client that sends no request: one that nobody knows costs no more.
    fn silent(&self) -> Option<End> {
        let failure = failed(LegError::TimedOut, Side::Downstream);
        (!self.is_known()).then(|| failure.detail("no request came; see timeouts.requestHead"))
    }
}

/// Lets a client that is over a limit read why: takes its request, and answers.
pub(crate) async fn refuse(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
    refusal: End,
) -> Result<Ending, End> {
    let at = |error: LegError| error.at(Side::Downstream, Phase::Request);
    let patience = Patience {
        until: Some(Instant::now() + snapshot.admission.handshake_timeout),
        once_begun: None,
    };
    let parse =
        |head: &[u8], progress: &mut Progress| parse_request(head, progress, &HeadLimits::STRANGER);
    let idle = async || first_byte(downstream, patience.until).await;
    let read = read_head(cx, downstream, patience, parse, idle).await;
    read.map_err(|NoHead { why, .. }| match why {
        Why::Read(error) | Why::Wait(error) | Why::Stopped(error) => at(error),
        Why::Ended => End::new(Reason::Cancelled, Side::Downstream, Phase::Request),
        Why::Malformed(error) => hostile(error.status(), chain(&error)),
    })?;
    let status = refusal.status.unwrap_or(503);
    record.status = Some(status);
    Ok(exchange::refuse(cx, downstream, refusal, (status, Form::Status)).await)
}
