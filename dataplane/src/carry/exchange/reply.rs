//! The reply of a server on its way to the client.

use super::answer::failed;
use super::pass::Pass;
use super::record::{Exchange, Then};
use crate::carry::relay::pump;
use crate::end::{End, LegError};
use crate::heads::{NoHead, Patience, Why, first_byte, read_head};
use crate::seam::{Phase, Reason, Side};
use eyesplice_proto::body::BodyDecoder;
use eyesplice_proto::causes::chain;
use eyesplice_proto::framing::Framing;
use eyesplice_proto::head::{Method, ResponseHead};
use eyesplice_proto::hop::{self, After};
use eyesplice_proto::limits::INTERIM_REPLIES;
use eyesplice_proto::parse::{HeadLimits, Progress, parse_response};
use eyesplice_proto::serialize::write_response;
use eyesplice_proto::stream::Event;
use eyesplice_proto::upgrade::{BadReply, Reply, Upgrade, judge_reply};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

impl Pass<'_> {
    /// Passes on the reply. With `keep_alive` the client wants to go on, which it can if the cell
    /// says that its request is complete.
    pub(super) async fn reply(
        &self,
        exchange: &mut Exchange,
        method: &Method,
        asked: Option<&Upgrade>,
        keep_alive: Option<&Cell<bool>>,
    ) -> Result<Then, End> {
        let patience = asked.and(self.upgrade_timeout);
        let deadline = patience.map(|limit| Instant::now() + limit);
        for _ in 0..=INTERIM_REPLIES {
            let mut head = self.reply_head(deadline).await?;
            let (judged, framing) = judge_reply(asked, method, &head);
            let status = head.status;
            let goes_on =
                framing != Framing::UntilClose && hop::keeps_alive(head.version, &head.headers);
            let (after, then) = match judged {
                Reply::Interim if asked.is_some() => continue,
                Reply::Interim => (After::KeepAlive, None),
                Reply::Relay101 => {
                    let Some(asked) = asked else { continue };
                    (After::Switch(asked), Some(Then::Switch))
                }
                Reply::Relay
                    if keep_alive.is_some_and(Cell::get)
                        && !self.cx.is_draining()
                        && framing != Framing::UntilClose
                        && self.may_go_on(goes_on) =>
                {
                    (After::KeepAlive, Some(Then::Next))
                }
                Reply::Relay | Reply::RelayAndClose => {
                    (After::Close, Some(Then::Close(Event::Served)))
                }
                Reply::BadGateway(BadReply::NotSwitched(_)) if self.any_answer => {
                    (After::Close, Some(Then::Close(Event::Served)))
                }
                Reply::BadGateway(why) => {
                    let reason = if asked.is_some() {
                        Reason::BadUpgrade
                    } else {
                        Reason::Protocol
                    };
                    return Err(End {
                        reason,
                        ..broken(chain(&why))
                    });
                }
            };
            if then.is_some() && self.only.is_some_and(|only| only != status) {
                let server = self.server;
                return Err(broken(format!("{server} answered with status {status}")));
            }
            for (name, value) in self.headers {
                head.headers.set(name.clone(), value.clone());
            }
            hop::rewrite_response(&mut head, framing, after)
                .map_err(|error| broken(chain(&error)))?;
            if then.is_some() {
                exchange.status = Some(status);
                self.seen.last.set(!goes_on);
                (self.heard)(status);
            }
            self.cx.touch();
            let mut bytes = Vec::new();
            write_response(&head, &mut bytes);
            drop(head);
            let mut body = BodyDecoder::new(framing);
            // A 101 goes out alone: Go's SPDY client loses what rides with it.
            let begun = match then {
                Some(Then::Switch) | None => 0,
                Some(_) => self.ride(self.upstream, (framing, &mut body), &mut bytes),
            };
            self.downstream
                .write(self.cx.pools(), &bytes)
                .await
                .map_err(|error| failed(error, Side::Downstream))?;
            drop(bytes);
            let Some(then) = then else { continue };
            if begun > 0 {
                self.cx.moved(self.upstream.side(), begun, false);
            }
            if !body.ended() && !matches!(then, Then::Switch) {
                pump(self.way(self.upstream, self.downstream), Some(&mut body)).await?;
            }
            return Ok(then);
        }
        let server = self.server;
        Err(broken(format!(
            "{server} sends interim replies without end"
        )))
    }

    /// Whether another request may follow this reply.
    fn may_go_on(&self, goes_on: bool) -> bool {
        self.tied
            .is_none_or(|generation| goes_on && self.cx.desk().generation() <= generation)
    }

    async fn reply_head(&self, deadline: Option<Instant>) -> Result<ResponseHead, End> {
        let patience = Patience {
            until: deadline,
            once_begun: Some(self.head_timeout),
        };
        let parse = |head: &[u8], progress: &mut Progress| {
            parse_response(head, progress, &HeadLimits::RESPONSE)
        };
        let idle = async || first_byte(self.upstream, deadline).await;
        let read = read_head(self.cx, self.upstream, patience, parse, idle).await;
        let NoHead { begun, why } = match read {
            Ok(head) => {
                self.seen.reply.set(true);
                return Ok(head);
            }
            Err(none) => none,
        };
        let begun = begun || self.seen.reply.get();
        self.seen.reply.set(begun);
        // A server may close an idle connection just when the next request arrives. The client
        // repeats such a request by itself if it sees the same: a close without an answer.
        let status = (begun || !self.kept).then_some(502);
        Err(match why {
            Why::Read(error) => End {
                status,
                ..failed(error, Side::Upstream)
            },
            Why::Ended => {
                let words = format!(
                    "{} closed the connection without a complete reply",
                    self.server
                );
                let failure = End::new(Reason::Truncated, Side::Upstream, Phase::Exchange);
                End { status, ..failure }.detail(words)
            }
            Why::Malformed(error) => broken(chain(&error)),
            Why::Wait(error) | Why::Stopped(error) => self.no_reply(error, begun),
        })
    }

    /// A server may take its time to begin a reply, save for a kubelet that is asked to upgrade: a
    /// command may run for long before it says anything. A reply that has begun costs memory until
    /// its head is complete.
    fn no_reply(&self, error: LegError, begun: bool) -> End {
        let timed_out = matches!(error, LegError::TimedOut);
        let failure = failed(error, Side::Upstream);
        if !timed_out {
            return failure.status(502);
        }
        let missing = match begun {
            true => "finish the head of its reply",
            false => "answer the upgrade",
        };
        failure.status(504).detail(format!(
            "{} did not {missing} within {} s; see timeouts.requestHead",
            self.server,
            self.head_timeout.as_secs_f64()
        ))
    }
}

/// What a server sent that breaks HTTP.
fn broken(detail: impl Into<Arc<str>>) -> End {
    End::new(Reason::Protocol, Side::Upstream, Phase::Exchange)
        .status(502)
        .detail(detail)
}
