//! Connects to a gateway, and makes a stream of a connection on which it opens one.

use crate::accept::admission;
use crate::accept::link::Link;
use crate::accept::placement::Connection;
use crate::agents::Hold;
use crate::config::{Listener, Role};
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::leg::{Bound, Leg};
use crate::reach::handshake::{self, TlsParty};
use crate::reach::out;
use crate::seam::{AgentDuties, GatewayPeer, GatewayWay, ListenerName, Phase, Reason, Side};
use crate::tunnel::{Inbox, broken, say};
use eyesplice_proto::tunnel::{ALPN, Instance, OpenId, ToAgent, ToGateway};
use eyesplice_sys::socket::Address;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What all connections to one gateway have in common.
pub(crate) struct Gateway {
    pub(crate) peer: Arc<GatewayPeer>,
    pub(crate) duties: Arc<AgentDuties>,
    pub(crate) hold: Rc<Hold>,
}

impl Gateway {
    pub(crate) fn instance(&self) -> Instance {
        Instance(self.duties.instance)
    }

    pub(crate) fn listener(&self) -> &ListenerName {
        &self.duties.listener
    }
}

/// Connects to a gateway, and validates it.
pub(crate) async fn connect(
    cx: &StreamContext,
    gateway: &Gateway,
    way: &GatewayWay,
) -> Result<(Box<Leg>, SocketAddr), End> {
    let (leg, address) = out(cx, way).await?;
    let leg = Box::new(leg);
    // It may wait for hours.
    cx.desk().sweep.keep_alive(leg.fd());
    let peer = &gateway.peer;
    let party = TlsParty::Client(Arc::clone(&peer.tls), peer.server_name.clone());
    let limit = cx.desk().snapshot().admission.handshake_timeout;
    let failed = |error: LegError| {
        let mut failure = error.at(Side::Downstream, Phase::Tunnel);
        let why = failure.detail.as_deref().unwrap_or(match failure.reason {
            Reason::Timeout => "it did not finish in time",
            _ => "the connection was cut",
        });
        let through = match way {
            GatewayWay::Dial(_) => String::new(),
            GatewayWay::Proxy(proxy, _) => format!(" through proxy {}", proxy.name),
        };
        let words = format!("TLS with gateway {}{through} failed: {why}", peer.name);
        failure.detail = Some(words.into());
        failure
    };
    handshake::run(cx, &leg, party, limit)
        .await
        .map_err(failed)?;
    if leg.with_top(|top| top.alpn() == Some(ALPN)) == Some(false) {
        let words = format!(
            "{way} has no tunnel listener of this version: it did not choose {}; is it the \
             address of the gateway's `tunnel` listener?",
            String::from_utf8_lossy(ALPN)
        );
        return Err(broken(&leg, words));
    }
    Ok((leg, address))
}

/// Makes a data connection, for an open that has this id or for a later one.
pub(crate) async fn data(
    cx: &StreamContext,
    gateway: &Gateway,
    way: &GatewayWay,
    id: Option<OpenId>,
) -> Result<(Box<Leg>, SocketAddr), End> {
    let (leg, address) = connect(cx, gateway, way).await?;
    let message = ToGateway::Data {
        instance: gateway.instance(),
        id,
    };
    say(cx, &leg, |out| message.write(out)).await?;
    Ok((leg, address))
}

/// Waits for the gateway's `open`, and has the connection admitted as a stream.
pub(crate) async fn opened(
    link: &Link,
    gateway: &Gateway,
    leg: Box<Leg>,
    (address, until): (SocketAddr, Option<Instant>),
) -> Result<(), End> {
    let cx = link.cx();
    let mut inbox = Inbox::default();
    let message = inbox.next(cx, &leg, until, ToAgent::parse).await?;
    if !matches!(message, ToAgent::Open { .. }) {
        return Err(broken(
            &leg,
            "gateway said no `open` on a data connection".into(),
        ));
    }
    if !inbox.is_empty() {
        return Err(broken(&leg, "gateway sent more than an `open`".into()));
    }
    // The stream begins with it.
    let mut frame = Vec::new();
    message.write(&mut frame);
    leg.unread(&frame);
    admit(link, gateway, leg, address);
    Ok(())
}

fn admit(link: &Link, gateway: &Gateway, leg: Box<Leg>, address: SocketAddr) {
    let worker = link.worker();
    let leg = match leg.into_parts() {
        Ok(leg) => leg,
        // All that waited on it was awaited.
        Err(Bound { leg, by }) => {
            tracing::error!("cannot take a stream of a gateway: {by}; this is a bug");
            return leg.cut();
        }
    };
    let connection = Connection {
        listener: Listener {
            name: Arc::clone(gateway.listener()),
            role: Role::Agent,
        },
        leg,
        peer: Address::Ip(address),
        since: Instant::now(),
        carried: gateway.hold.carry(),
    };
    if let Some(arrival) = worker.place(connection) {
        admission::arrived(worker, arrival);
    }
}
