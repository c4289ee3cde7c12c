//! Both TLS ends of a stream by the name that the downstream's ClientHello asks for.
//!
//! The API server dials services behind webhooks and aggregated APIs by address, and verifies their name.
//! That name comes with the ClientHello, behind the 200: what fails from there on is told by an alert.

use super::handshake::{self, TlsParty};
use super::secure::{handshake_failure, secure as secure_upstream};
use super::verdict::{settled, watched};
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::heads::{NoHead, Patience, Why, first_byte, read_head};
use crate::leg::Leg;
use crate::seam::{ByName, Phase, Reason, Side, StreamRecord};
use eyesplice_proto::causes::chain;
use eyesplice_proto::parse::{Parsed, Progress};
use eyesplice_proto::tls::{Hello, HelloReader, fatal_alert};
use rustls::AlertDescription;
use std::time::{Duration, Instant};

/// Both legs of the stream.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) downstream: &'a Leg,
    pub(crate) upstream: &'a Leg,
}

/// How long each step may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The ClientHello, and each handshake.
    pub(crate) handshake: Duration,
    /// Control's choice.
    pub(crate) decision: Duration,
}

/// Reads the name, verifies the upstream by it, and then speaks to the downstream.
pub(crate) async fn secure(
    cx: &StreamContext,
    record: &mut StreamRecord,
    ends: Ends<'_>,
    by_name: &dyn ByName,
    limits: Limits,
) -> Result<(), End> {
    let Ends {
        downstream,
        upstream,
    } = ends;
    let limit = limits.handshake;
    let name = read_name(cx, downstream, Instant::now() + limit).await?;
    let reached = watched(cx, downstream, async {
        let ends = settled(by_name.choose(name.as_deref()), limits.decision).await?;
        secure_upstream(cx, record, upstream, &ends.upstream, limit).await?;
        Ok(ends)
    })
    .await;
    let ends = match reached {
        Ok(ends) => ends,
        Err(failure) => {
            // Of a name that is not allowed, of a target that is not what it should be, of ourselves.
            let alert = match (failure.status, failure.side) {
                (Some(403), _) => AlertDescription::UnrecognisedName,
                (_, Side::Upstream) => AlertDescription::HandshakeFailure,
                _ => AlertDescription::InternalError,
            };
            tell(cx, downstream, &fatal_alert(alert)).await;
            return Err(failure);
        }
    };
    let party = TlsParty::Server(ends.downstream);
    handshake::run(cx, downstream, party, limit)
        .await
        .map_err(|error| handshake_failure(error, Side::Downstream))?;
    record.key_exchange.downstream = downstream.group();
    record.client = handshake::identity(cx, downstream);
    Ok(())
}

/// Reads the ClientHello, which the handshake then begins with.
async fn read_name(
    cx: &StreamContext,
    downstream: &Leg,
    deadline: Instant,
) -> Result<Option<String>, End> {
    let at = |error: LegError| error.at(Side::Downstream, Phase::DownstreamHandshake);
    let patience = Patience {
        until: Some(deadline),
        once_begun: None,
    };
    let mut reader = HelloReader::default();
    let mut seen = 0;
    // No longer than a ClientHello that rustls takes, and one read. All of it stays with the leg.
    let parse = |hello: &[u8], _: &mut Progress| {
        let piece = hello.get(seen..).unwrap_or_default();
        seen = hello.len();
        reader.read(piece).map(|found| match found {
            Some(Hello { server_name }) => Parsed::Complete {
                head: server_name,
                consumed: 0,
            },
            None => Parsed::Incomplete,
        })
    };
    let idle = async || first_byte(downstream, patience.until).await;
    match read_head(cx, downstream, patience, parse, idle).await {
        Ok(name) => Ok(name),
        Err(NoHead {
            why: Why::Malformed(error),
            ..
        }) => {
            tell(cx, downstream, &error.alert).await;
            let failure = End::new(
                Reason::HandshakeFailed,
                Side::Downstream,
                Phase::DownstreamHandshake,
            );
            Err(failure.detail(chain(&error)))
        }
        Err(NoHead { why, .. }) => Err(at(match why {
            Why::Read(error) | Why::Wait(error) | Why::Stopped(error) => error,
            Why::Ended | Why::Malformed(_) => LegError::Truncated,
        })),
    }
}

/// Sends an alert, if the downstream takes it.
async fn tell(cx: &StreamContext, downstream: &Leg, alert: &[u8]) {
    if downstream.write(cx.pools(), alert).await.is_ok() {
        let _ = downstream.shut_write(cx.pools()).await;
    }
    downstream.discard(cx.pools());
}
