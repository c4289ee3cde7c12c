//! Asks somebody on the way, a proxy or a gateway, for a connection to a target: dials, speaks TLS
//! to it where it has it, and takes its answer.

use super::dial::{Dialled, dial, dial_unix};
use super::handshake::{self, TlsParty};
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::heads::{NoHead, Patience, Why, first_byte, read_head};
use crate::leg::Leg;
use crate::seam::{Phase, ProxyAddress, ProxyTls, Reason, Side};
use eyesplice_proto::causes::chain;
use eyesplice_proto::connect;
use eyesplice_proto::head::ResponseHead;
use eyesplice_proto::login::Login;
use eyesplice_proto::parse::{Parsed, Progress};
use eyesplice_proto::socks::{Client, SocksError, Step};
use eyesplice_proto::stream as legs;
use eyesplice_proto::target::Target;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

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

/// Who is asked, for what, and how.
pub(super) struct Hop<'a> {
    /// What it is: `proxy` or `gateway`.
    pub(super) noun: &'static str,
    pub(super) name: &'a Arc<str>,
    pub(super) at: &'a ProxyAddress,
    pub(super) tls: Option<&'a ProxyTls>,
    pub(super) target: &'a Target,
    pub(super) asks: Asks<'a>,
    /// The leg that comes of it.
    pub(super) side: legs::Side,
}

/// By what it is asked.
#[derive(Clone, Copy)]
pub(super) enum Asks<'a> {
    /// An HTTP CONNECT, with a login where there is one.
    Connect(Option<&'a Login>),
    /// A CONNECT that says that it was passed on.
    PassedOn,
    /// SOCKS5.
    Socks5(Option<&'a Login>),
}

impl fmt::Display for Hop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.noun, self.name)
    }
}

impl Hop<'_> {
    /// Connects to it; over TCP says where.
    pub(super) async fn dial(
        &self,
        cx: &StreamContext,
        limit: Duration,
    ) -> Result<(Leg, Option<SocketAddr>), End> {
        let (fd, address) = match self.at {
            ProxyAddress::Tcp(addresses) => {
                let Dialled { fd, address } = dial(cx, addresses, limit).await?;
                (fd, Some(address))
            }
            ProxyAddress::Unix(path) => (dial_unix(cx, path)?, None),
        };
        Ok((Leg::new(fd, self.side), address))
    }

    /// Asks for the target, until then; what follows the answer is the target's. A handshake has a
    /// limit of its own.
    pub(super) async fn ask(
        &self,
        cx: &StreamContext,
        leg: &Leg,
        (until, handshake): (Instant, Duration),
    ) -> Result<(), Unreached> {
        let secured = self.secure(cx, leg, handshake).await;
        secured.map_err(Unreached::Unanswered)?;
        match self.asks {
            Asks::Connect(login) => {
                let mut request = Zeroizing::new(Vec::new());
                connect::write_connect(self.target, login, &mut request);
                self.http(cx, leg, &request, until).await
            }
            Asks::PassedOn => {
                let mut request = Vec::new();
                connect::write_passed_on(self.target, &mut request);
                self.http(cx, leg, &request, until).await
            }
            Asks::Socks5(login) => {
                let asked = self.socks(cx, leg, login, until).await;
                asked.map_err(Unreached::Unanswered)
            }
        }
    }

    async fn secure(&self, cx: &StreamContext, leg: &Leg, limit: Duration) -> Result<(), End> {
        let Some(tls) = self.tls else {
            return Ok(());
        };
        let party = TlsParty::Client(Arc::clone(&tls.config), tls.server_name.clone());
        let shaken = handshake::run(cx, leg, party, limit).await;
        shaken.map_err(|error| {
            let failure = super::handshake_failure(error, Side::Upstream);
            let cause = failure.detail.clone();
            let cause = cause.unwrap_or_else(|| "connection was cut".into());
            let words = format!("TLS with {self} failed: {cause}");
            failure.status(502).detail(words)
        })
    }

    async fn http(
        &self,
        cx: &StreamContext,
        leg: &Leg,
        request: &[u8],
        until: Instant,
    ) -> Result<(), Unreached> {
        let parse = |head: &[u8], progress: &mut Progress| connect::parse_answer(head, progress);
        let head = self.answer(cx, leg, (request, until), parse).await;
        let head: ResponseHead = head.map_err(|why| {
            Unreached::Unanswered(why.unwrap_or_else(|error| {
                self.protocol(&format!("sent no answer to a CONNECT: {}", chain(&error)))
            }))
        })?;
        if (200..300).contains(&head.status) {
            return Ok(());
        }
        let (target, status, reason) = (self.target, head.status, &head.reason);
        let mut words = format!("{self} refused {target}: {status} {reason}");
        if let (PROXY_AUTHENTICATION_REQUIRED, Asks::Connect(login)) = (status, self.asks) {
            words.push_str(remedy(login));
        }
        let told = match status {
            403 | 502..=504 => status,
            _ => 502,
        };
        let failure = end(Reason::DialFailed).status(told).detail(words);
        Err(Unreached::Refused(status, failure))
    }

    async fn socks(
        &self,
        cx: &StreamContext,
        leg: &Leg,
        login: Option<&Login>,
        until: Instant,
    ) -> Result<(), End> {
        let (mut client, greeting) = Client::new(self.target, login);
        let mut say = Zeroizing::new(greeting);
        loop {
            let parse = |bytes: &[u8], _: &mut Progress| client.on(bytes);
            match self.answer(cx, leg, (&say, until), parse).await {
                Ok(Step::Say(more)) => say = more,
                Ok(Step::Connected) => return Ok(()),
                Err(Ok(failure)) => return Err(failure),
                Err(Err(error @ SocksError::Refused(_))) => {
                    let words = format!("{self} refused {}: {error}", self.target);
                    return Err(end(Reason::DialFailed).status(502).detail(words));
                }
                Err(Err(error)) if error.is_of_the_login() => {
                    let words = format!("{self} refused this agent: {error}{}", remedy(login));
                    return Err(end(Reason::Denied).status(502).detail(words));
                }
                Err(Err(error)) => {
                    return Err(self.protocol(&format!("does not speak SOCKS5: {error}")));
                }
            }
        }
    }

    /// Says something, and takes the answer to it. An answer that is none is the caller's to name.
    async fn answer<H, E: Error>(
        &self,
        cx: &StreamContext,
        leg: &Leg,
        (say, until): (&[u8], Instant),
        parse: impl FnMut(&[u8], &mut Progress) -> Result<Parsed<H>, E>,
    ) -> Result<H, Result<End, E>> {
        let lost = |error: LegError| Ok(self.failed(error));
        leg.write(cx.pools(), say).await.map_err(lost)?;
        let patience = Patience {
            until: Some(until),
            once_begun: None,
        };
        let idle = async || first_byte(leg, patience.until).await;
        let read = read_head(cx, leg, patience, parse, idle).await;
        read.map_err(|NoHead { why, .. }| match why {
            Why::Read(error) | Why::Wait(error) | Why::Stopped(error) => lost(error),
            Why::Ended => lost(LegError::Truncated),
            Why::Malformed(error) => Err(error),
        })
    }

    fn protocol(&self, what: &str) -> End {
        let words = format!("{self} {what}");
        end(Reason::Protocol).status(502).detail(words)
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
        let mut words = format!("{self} {what} {}", self.target);
        if let Some(cause) = &failure.detail {
            words.push_str(": ");
            words.push_str(cause);
        }
        failure.status(status).detail(words)
    }
}

/// The status of a proxy that wants to know who asks.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// What may help where a proxy does not take whoever asks.
fn remedy(login: Option<&Login>) -> &'static str {
    match login {
        Some(_) => "; check user and password in its credentialsFile",
        None => "; set its credentialsFile",
    }
}

fn end(reason: Reason) -> End {
    End::new(reason, Side::Upstream, Phase::Tunnel)
}
