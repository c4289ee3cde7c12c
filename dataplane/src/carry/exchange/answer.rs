//! What follows a request, and the answers that are our own.

use super::record::{Exchange, Served, Then};
use crate::carry::ending::Ending;
use crate::carry::refusal::{Form, Reply};
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::leg::Leg;
use crate::seam::{Phase, Reason, Side, StreamRecord};
use eyesplice_proto::stream::Event;
use std::pin::pin;

/// Takes note of how an exchange went; says how the connection ends, if it does.
pub(crate) async fn concluded(
    cx: &StreamContext,
    downstream: &Leg,
    record: &StreamRecord,
    exchange: Box<Exchange>,
    (result, form): (Result<Then, End>, Form),
) -> Option<Served> {
    let done = End::new(Reason::Completed, Side::Upstream, Phase::Exchange);
    match result {
        Ok(Then::Switch) => Some(Served::Upgraded(exchange)),
        Ok(Then::Next) => {
            cx.desk().emit(exchange.record(record, cx, &done));
            None
        }
        Ok(Then::Answered(why)) => {
            cx.desk().emit(exchange.record(record, cx, &why));
            None
        }
        Ok(Then::Close(rest)) => {
            cx.desk().emit(exchange.record(record, cx, &done));
            Some(Served::Closed(over(cx, rest), None))
        }
        Ok(Then::Refused(why)) => Some(Served::Closed(Ending::told(cx, why), Some(exchange))),
        Err(failure) => Some(fail(cx, downstream, exchange, (late(failure), form)).await),
    }
}

/// Ends the connection for what an exchange failed for, with an answer if it can have one.
pub(crate) async fn fail(
    cx: &StreamContext,
    downstream: &Leg,
    mut exchange: Box<Exchange>,
    (failure, form): (End, Form),
) -> Served {
    let ending = match failure.status {
        Some(status) if exchange.status.is_none() => {
            exchange.status = Some(status);
            exchange.is_answered(status);
            refuse(cx, downstream, failure, (status, form)).await
        }
        _ => Ending::failed(cx, failure),
    };
    Served::Closed(ending, Some(exchange))
}

/// Answers a request that does not reach its server, or whose reply does not reach the client.
pub(crate) async fn refuse(
    cx: &StreamContext,
    downstream: &Leg,
    failure: End,
    (status, form): (u16, Form),
) -> Ending {
    let detail = failure.detail.as_deref().unwrap_or("request refused");
    let bytes = Reply::error(status, detail, form).bytes();
    // For as long as the stream may last: a reader that stalls is owed it when it reads on. The
    // client may be gone, too; the failure stands either way.
    let write = pin!(async {
        let written = downstream.write(cx.pools(), &bytes).await;
        written.map_err(|error| failed(error, Side::Downstream))
    });
    match cx.until_aborted(Phase::Exchange, write).await {
        Ok(()) => Ending::told(cx, failure),
        Err(_) => Ending::failed(cx, failure),
    }
}

/// The end of a connection whose last exchange is over.
pub(crate) fn over(cx: &StreamContext, event: Event) -> Ending {
    let completed = End::new(Reason::Completed, Side::Downstream, Phase::Exchange);
    Ending::begin(cx, (event, Some(completed)))
}

/// What a client sent that no server may see.
pub(crate) fn hostile(status: u16, detail: String) -> End {
    End::new(Reason::Protocol, Side::Downstream, Phase::Exchange)
        .status(status)
        .detail(detail)
}

/// What went wrong on one leg of an exchange.
pub(crate) fn failed(error: LegError, side: Side) -> End {
    error.at(side, Phase::Exchange)
}

/// Gives what ended an exchange from outside the words of HTTP.
fn late(failure: End) -> End {
    match (failure.reason, failure.side) {
        (Reason::Idle, _) => failure
            .status(504)
            .detail("nothing moved for timeouts.idle"),
        (Reason::PeerLost, Side::Upstream) => failure.status(504),
        _ => failure,
    }
}
