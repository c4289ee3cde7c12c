//! Both TLS ends of a stream by the name that the downstream's ClientHello asks for.
//!
//! The API server dials services behind webhooks and aggregated APIs by address, and verifies their name.
//! That name comes with the ClientHello, behind the 200: what fails from there on is told by an alert.

use super::{handshake_failure, secure as secure_upstream, settled, watched};
use crate::context::StreamContext;
use crate::failure::{Failure, LegError};
use crate::handshake::{self, TlsParty};
use crate::leg::{Leg, Next};
use crate::seam::{ByName, Phase, Reason, Side, StreamRecord};
use eyesplice_proto::tls::{Hello, HelloReader, fatal_alert};
use eyesplice_sys::ring;
use rustls::AlertDescription;
use std::time::{Duration, Instant};

/// Reads the name, verifies the upstream by it, and then speaks to the downstream.
pub(super) async fn secure(
    cx: &StreamContext,
    record: &mut StreamRecord,
    (downstream, upstream): (&Leg, &Leg),
    by_name: &dyn ByName,
    (limit, admit): (Duration, Duration),
) -> Result<(), Failure> {
    let name = read_name(cx, downstream, Instant::now() + limit).await?;
    let reached = watched(cx, downstream, async {
        let ends = settled(by_name.choose(name.as_deref()), admit).await?;
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
    record.client = handshake::identity(cx, downstream);
    Ok(())
}

/// Reads the ClientHello, which the handshake then begins with.
async fn read_name(
    cx: &StreamContext,
    downstream: &Leg,
    deadline: Instant,
) -> Result<Option<String>, Failure> {
    let at = |error: LegError| error.at(Side::Downstream, Phase::DownstreamHandshake);
    let mut reader = HelloReader::default();
    // No longer than a ClientHello that rustls takes, and one read.
    let mut hello = Vec::new();
    loop {
        let (found, next) = {
            let mut buffer = cx.pools().buffer();
            let step = downstream.read(cx.pools(), &mut buffer).map_err(at)?;
            let piece = buffer.get(..step.payload).unwrap_or_default();
            hello.extend_from_slice(piece);
            (reader.read(piece), step.next)
        };
        match found {
            Ok(Some(Hello { server_name })) => {
                downstream.unread(&hello);
                return Ok(server_name);
            }
            Ok(None) => {}
            Err(error) => {
                tell(cx, downstream, &error.alert).await;
                let failure = Failure::new(
                    Reason::HandshakeFailed,
                    Side::Downstream,
                    Phase::DownstreamHandshake,
                );
                return Err(failure.detail(super::words(&error)));
            }
        }
        match next {
            Next::End => return Err(at(LegError::Truncated)),
            Next::Read => {}
            Next::Wait => {
                ring::until(downstream.readable(), Some(deadline))
                    .await
                    .map_err(|error| at(error.into()))?;
            }
        }
    }
}

/// Sends an alert, if the downstream takes it.
async fn tell(cx: &StreamContext, downstream: &Leg, alert: &[u8]) {
    if downstream.write(cx.pools(), alert).await.is_ok() {
        let _ = downstream.shut_write(cx.pools()).await;
    }
    downstream.discard(cx.pools());
}
