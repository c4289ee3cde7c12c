//! Serves a control connection at a gateway: the registration of an agent, for as long as it
//! answers.

use super::inbox::{Inbox, broken, say};
use crate::agents::{Order, Registration};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::limits::TUNNEL_SILENCES;
use crate::seam::{Phase, Reason, Side, TunnelLimits};
use eyesplice_proto::tunnel::{Registered, ToAgent, ToGateway};
use std::future::pending;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

/// Serves until the agent ends, is silent, or is not wanted any more; says why.
pub(crate) async fn serve(
    cx: &StreamContext,
    leg: &Leg,
    inbox: &mut Inbox,
    seat: (&Registration, mpsc::Receiver<Order>),
    limits: &TunnelLimits,
) -> End {
    let (registration, orders) = seat;
    let mut served = Served {
        cx,
        leg,
        registration,
        patience: limits.ping * TUNNEL_SILENCES,
        asked: None,
        pings: 0,
    };
    let work = pin!(served.run(inbox, orders, limits));
    match cx.until_aborted(Phase::Tunnel, work).await {
        Ok(end) | Err(end) => end,
    }
}

struct Served<'a> {
    cx: &'a StreamContext,
    leg: &'a Leg,
    registration: &'a Registration,
    /// How long the agent may say nothing, or take nothing.
    patience: Duration,
    /// The last ping, while it has no answer.
    asked: Option<(u64, Instant)>,
    pings: u64,
}

impl Served<'_> {
    async fn run(
        &mut self,
        inbox: &mut Inbox,
        mut orders: mpsc::Receiver<Order>,
        limits: &TunnelLimits,
    ) -> Result<End, End> {
        let park = self.registration.park(limits).unwrap_or(0);
        self.say(&ToAgent::Registered(Registered {
            gateway: self.cx.desk().agents.registry.instance,
            advertise: limits.advertise,
            ping: limits.ping,
            park,
        }))
        .await?;
        self.tell_gateways().await?;
        let mut heard = Instant::now();
        let mut next_ping = heard;
        let mut drained = false;
        loop {
            tokio::select! {
                biased;
                () = self.cx.draining(), if !drained => {
                    drained = true;
                    self.registration.drain();
                    self.say(&ToAgent::Drain).await?;
                }
                order = orders.recv() => match order {
                    Some(Order::Dial { id, within }) => {
                        self.say(&ToAgent::Dial { id, deadline: within }).await?;
                    }
                    Some(Order::Park(count)) => self.say(&ToAgent::Park { count }).await?,
                    // Its worker has taken the registration off, and is about to say why.
                    None if self.cx.is_aborted() => pending().await,
                    None => return Ok(replaced()),
                },
                message = inbox.next(self.cx, self.leg, None, ToGateway::parse) => {
                    heard = Instant::now();
                    self.hear(message?)?;
                }
                () = sleep_until(next_ping.min(heard + self.patience).into()) => {
                    if heard.elapsed() >= self.patience {
                        return Ok(silent(heard.elapsed()));
                    }
                    if Instant::now() < next_ping {
                        continue;
                    }
                    next_ping = Instant::now() + limits.ping;
                    self.ping().await?;
                    self.tell_gateways().await?;
                    if let Some(count) = self.registration.park(limits) {
                        self.say(&ToAgent::Park { count }).await?;
                    }
                }
            }
        }
    }

    fn hear(&mut self, message: ToGateway) -> Result<(), End> {
        match message {
            ToGateway::Pong(number) => {
                if let Some((asked, at)) = self.asked
                    && asked == number
                {
                    self.asked = None;
                    self.registration.answered(at.elapsed());
                }
            }
            ToGateway::Draining => self.registration.drain(),
            ToGateway::CannotDial { id, words } => self.registration.cannot_dial(id, words),
            _ => {
                let words = "agent said what belongs to no control connection";
                return Err(broken(self.leg, words.to_owned()));
            }
        }
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), End> {
        self.pings += 1;
        if self.asked.is_none() {
            self.asked = Some((self.pings, Instant::now()));
        }
        self.say(&ToAgent::Ping(self.pings)).await
    }

    /// Says with each ping which gateways there are, changed or not: whoever missed a change hears
    /// of it all the same.
    async fn tell_gateways(&self) -> Result<(), End> {
        let gateways = self.cx.desk().control.gateways();
        if gateways.is_empty() {
            return Ok(());
        }
        let addresses = gateways.to_vec();
        self.say(&ToAgent::Gateways { addresses }).await
    }

    async fn say(&self, message: &ToAgent) -> Result<(), End> {
        let said = say(self.cx, self.leg, |out| message.write(out));
        match timeout(self.patience, said).await {
            Ok(result) => result,
            Err(_) => Err(silent(self.patience)),
        }
    }
}

fn replaced() -> End {
    End::new(Reason::Completed, Side::Local, Phase::Tunnel)
        .detail("the agent has registered on another connection")
}

fn silent(silence: Duration) -> End {
    End::new(Reason::PeerLost, Side::Downstream, Phase::Tunnel).detail(format!(
        "agent has said nothing for {:.1} s; is its machine up, and the way to it?",
        silence.as_secs_f64()
    ))
}
