//! Reaches a target through another HTTP CONNECT proxy, or through another gateway.
//!
//! What it answers is for the user: its status and reason phrase go on in ours.

use super::dial::{dial, dial_unix};
use super::handshake::{self, TlsParty};
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::heads::{NoHead, Patience, Why, first_byte, read_head};
use crate::leg::Leg;
use crate::seam::{Phase, Proxy, ProxyAddress, Reason, Side, StreamLimits, StreamRecord};
use eyesplice_proto::causes::chain;
use eyesplice_proto::connect;
use eyesplice_proto::head::ResponseHead;
use eyesplice_proto::parse::Progress;
use eyesplice_proto::stream as legs;
use eyesplice_proto::target::Target;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Why a target was not reached.
pub(super) enum Unreached {
    /// Nobody has answered.
    Unanswered(End),
    /// The answer was this status.
    Refused(u16, End),
}

impl From<Unreached> for End {
    fn from(why: Unreached) -> Self {
        match why {
            Unreached::Unanswered(end) | Unreached::Refused(_, end) => end,
        }
    }
}

/// Dials the proxy, and asks it for the target.
pub(super) async fn through(
    cx: &StreamContext,
    record: &mut StreamRecord,
    proxy: &Proxy,
    limits: StreamLimits,
) -> Result<Leg, End> {
    let hop = Hop {
        noun: "proxy",
        proxy,
        write: connect::write_connect,
    };
    hop.ask(cx, record, limits).await.map_err(End::from)
}

/// Dials another gateway, and passes the stream on to it.
pub(super) async fn passed_on(
    cx: &StreamContext,
    record: &mut StreamRecord,
    gateway: &Proxy,
    limits: StreamLimits,
) -> Result<Leg, Unreached> {
    let hop = Hop {
        noun: "gateway",
        proxy: gateway,
        write: connect::write_passed_on,
    };
    hop.ask(cx, record, limits).await
}

/// Who is asked, and by what.
struct Hop<'a> {
    noun: &'static str,
    proxy: &'a Proxy,
    write: fn(&Target, &mut Vec<u8>),
}

impl fmt::Display for Hop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.noun, self.proxy.name)
    }
}

impl Hop<'_> {
    async fn ask(
        &self,
        cx: &StreamContext,
        record: &mut StreamRecord,
        limits: StreamLimits,
    ) -> Result<Leg, Unreached> {
        let asked = self.asked(cx, record, limits).await;
        let (leg, head) = asked.map_err(Unreached::Unanswered)?;
        if (200..300).contains(&head.status) {
            return Ok(leg);
        }
        let target = &self.proxy.target;
        let words = format!("{self} refused {target}: {} {}", head.status, head.reason);
        let status = match head.status {
            403 | 502..=504 => head.status,
            _ => 502,
        };
        let failure = end(Reason::DialFailed).status(status).detail(words);
        Err(Unreached::Refused(head.status, failure))
    }

    /// Its answer; what follows it is the target's.
    async fn asked(
        &self,
        cx: &StreamContext,
        record: &mut StreamRecord,
        limits: StreamLimits,
    ) -> Result<(Leg, ResponseHead), End> {
        let deadline = Instant::now() + limits.dial_timeout;
        let fd = match &self.proxy.at {
            ProxyAddress::Tcp(addresses) => dial(cx, addresses, limits.dial_timeout).await?.fd,
            ProxyAddress::Unix(path) => dial_unix(cx, path)?,
        };
        record.via = Some(Arc::clone(&self.proxy.name));
        let leg = Leg::new(fd, legs::Side::Upstream);
        if let Some(tls) = &self.proxy.tls {
            let party = TlsParty::Client(Arc::clone(&tls.config), tls.server_name.clone());
            let shaken = handshake::run(cx, &leg, party, limits.handshake_timeout).await;
            shaken.map_err(|error| {
                let failure = super::handshake_failure(error, Side::Upstream);
                let cause = failure.detail.clone();
                let cause = cause.unwrap_or_else(|| "connection was cut".into());
                let words = format!("TLS with {self} failed: {cause}");
                failure.status(502).detail(words)
            })?;
        }
        let mut request = Vec::new();
        (self.write)(&self.proxy.target, &mut request);
        let lost = |error: LegError| self.failed(error);
        leg.write(cx.pools(), &request).await.map_err(lost)?;
        let head = self.answer(cx, &leg, deadline).await?;
        Ok((leg, head))
    }

    async fn answer(
        &self,
        cx: &StreamContext,
        leg: &Leg,
        deadline: Instant,
    ) -> Result<ResponseHead, End> {
        let patience = Patience {
            until: Some(deadline),
            once_begun: None,
        };
        let parse = |head: &[u8], progress: &mut Progress| connect::parse_answer(head, progress);
        let idle = async || first_byte(leg, patience.until).await;
        let read = read_head(cx, leg, patience, parse, idle).await;
        read.map_err(|NoHead { why, .. }| match why {
            Why::Read(error) | Why::Wait(error) | Why::Stopped(error) => self.failed(error),
            Why::Ended => self.failed(LegError::Truncated),
            Why::Malformed(error) => end(Reason::Protocol).status(502).detail(format!(
                "{self} sent no answer to a CONNECT: {}",
                chain(&error)
            )),
        })
    }

    fn failed(&self, error: LegError) -> End {
        let failure = error.at(Side::Upstream, Phase::Tunnel);
        let (status, what) = match failure.reason {
            Reason::Timeout => (504, "did not answer in time when it was asked for"),
            Reason::Truncated | Reason::Reset => {
                (502, "closed the connection when it was asked for")
            }
            _ => (502, "could not be asked for"),
        };
        let mut words = format!("{self} {what} {}", self.proxy.target);
        if let Some(cause) = &failure.detail {
            words.push_str(": ");
            words.push_str(cause);
        }
        failure.status(status).detail(words)
    }
}

fn end(reason: Reason) -> End {
    End::new(reason, Side::Upstream, Phase::Tunnel)
}
