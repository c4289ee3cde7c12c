//! Reads and writes frames on a leg.

use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::leg::{Leg, Next};
use crate::limits::{TUNNEL_FAREWELL, TUNNEL_READS};
use crate::seam::{Phase, Reason};
use eyesplice_proto::causes::chain;
use eyesplice_proto::parse::{Parsed, Progress};
use eyesplice_proto::tunnel::FrameError;
use eyesplice_sys::uring;
use std::time::Instant;
use tokio::time::timeout;

/// Parses the first frame of some bytes.
type Parse<M> = fn(&[u8], &mut Progress) -> Result<Parsed<M>, FrameError>;

/// What has come on a leg and is no whole frame yet.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Reads since the last wait.
    reads: u8,
}

impl Inbox {
    /// The next frame. May be dropped and called again: what has come is kept.
    pub(crate) async fn next<M>(
        &mut self,
        cx: &StreamContext,
        leg: &Leg,
        until: Option<Instant>,
        parse: Parse<M>,
    ) -> Result<M, End> {
        let at = |error: LegError| error.at(leg.side().into(), Phase::Tunnel);
        loop {
            if let Some(message) = self.take(leg, parse)? {
                return Ok(message);
            }
            // A peer that never stops must not keep the others of its worker waiting.
            if self.reads < TUNNEL_READS {
                self.reads += 1;
                let step = {
                    let mut buffer = cx.pools().buffer();
                    let step = leg.read(cx.pools(), &mut buffer).map_err(at)?;
                    let read = buffer.get(..step.payload).unwrap_or_default();
                    self.bytes.extend_from_slice(read);
                    step
                };
                match step.next {
                    _ if step.payload > 0 => continue,
                    Next::Read => continue,
                    Next::End if !self.bytes.is_empty() => {
                        return Err(broken(leg, "it ended inside of a frame".to_owned()));
                    }
                    Next::End => {
                        return Err(End::new(
                            Reason::Completed,
                            leg.side().into(),
                            Phase::Tunnel,
                        ));
                    }
                    Next::Wait => {}
                }
            }
            uring::until(leg.readable(), until)
                .await
                .map_err(|error| at(error.into()))?;
            self.reads = 0;
        }
    }

    /// Gives the leg back what came behind the last frame: it is payload.
    pub(crate) fn leave(self, leg: &Leg) {
        leg.unread(&self.bytes);
    }

    /// Whether something came behind the last frame.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take<M>(&mut self, leg: &Leg, parse: Parse<M>) -> Result<Option<M>, End> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        match parse(&self.bytes, &mut Progress::default()) {
            Ok(Parsed::Complete { head, consumed }) => {
                self.bytes.drain(..consumed);
                if self.bytes.is_empty() {
                    // It may be hours until the next one.
                    self.bytes = Vec::new();
                }
                Ok(Some(head))
            }
            Ok(Parsed::Incomplete) => Ok(None),
            Err(error) => Err(broken(leg, chain(&error))),
        }
    }
}

/// What the peer of a leg said is against the protocol.
pub(crate) fn broken(leg: &Leg, words: String) -> End {
    End::new(Reason::Protocol, leg.side().into(), Phase::Tunnel).detail(words)
}

/// Sends a frame.
pub(crate) async fn say(
    cx: &StreamContext,
    leg: &Leg,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), End> {
    let mut frame = Vec::new();
    write(&mut frame);
    let result = leg.write(cx.pools(), &frame).await;
    result.map_err(|error| error.at(leg.side().into(), Phase::Tunnel))
}

/// Ends a connection so that its peer gets what it was sent: close_notify and FIN, and then what
/// the peer still says, until it ends as well.
pub(crate) async fn farewell(cx: &StreamContext, leg: &Leg) {
    let parted = async {
        if leg.shut_write(cx.pools()).await.is_err() {
            return;
        }
        loop {
            let step = leg.read(cx.pools(), &mut cx.pools().buffer());
            match step.map(|step| step.next) {
                Ok(Next::Read) => {}
                Ok(Next::Wait) if leg.readable().await.is_ok() => {}
                _ => return,
            }
        }
    };
    // One that stays is closed on all the same.
    let _ = timeout(TUNNEL_FAREWELL, parted).await;
}
