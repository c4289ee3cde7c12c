//! Connects to a gateway of an agent: directly, or through the proxy on the way out.

use super::dial::dial;
use super::hop::{Asks, Hop};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::limits::TUNNEL_DIAL;
use crate::seam::{GatewayWay, Phase, ProxyAddress, ProxyProtocol, Reason, Side, WayOut};
use eyesplice_proto::stream as legs;
use eyesplice_proto::target::Target;
use std::net::SocketAddr;
use std::time::Instant;

/// The leg that leads to the gateway, and where its socket is connected.
pub(crate) async fn out(cx: &StreamContext, way: &GatewayWay) -> Result<(Leg, SocketAddr), End> {
    match way {
        GatewayWay::Dial(addresses) => {
            let dialled = dial(cx, addresses, TUNNEL_DIAL).await?;
            let leg = Leg::new(dialled.fd, legs::Side::Downstream);
            Ok((leg, dialled.address))
        }
        GatewayWay::Proxy(proxy, target) => through(cx, proxy, target).await,
    }
}

async fn through(
    cx: &StreamContext,
    proxy: &WayOut,
    target: &Target,
) -> Result<(Leg, SocketAddr), End> {
    let until = Instant::now() + TUNNEL_DIAL;
    let addresses = proxy.at.load_full();
    let failed = |words: &str| {
        let failure = End::new(Reason::DialFailed, Side::Upstream, Phase::Dial);
        failure.detail(format!("proxy {}: {words}", proxy.name))
    };
    if addresses.is_empty() {
        return Err(failed("its name is not resolved; check DNS on this host"));
    }
    let login = proxy.login.as_ref();
    let (tls, asks) = match &proxy.protocol {
        ProxyProtocol::Http(tls) => (tls.as_ref(), Asks::Connect(login)),
        ProxyProtocol::Socks5 => (None, Asks::Socks5(login)),
    };
    let hop = Hop {
        noun: "proxy",
        name: &proxy.name,
        at: &ProxyAddress::Tcp(addresses.to_vec()),
        tls,
        target,
        asks,
        side: legs::Side::Downstream,
    };
    let (leg, address) = hop.dial(cx, TUNNEL_DIAL).await.map_err(|mut failure| {
        let words = failure.detail.as_deref().unwrap_or("it was not reached");
        failure.detail = Some(format!("proxy {}: {words}", proxy.name).into());
        failure
    })?;
    let address = address.ok_or_else(|| failed("it has no address"))?;
    let handshake = cx.desk().snapshot().admission.handshake_timeout;
    let handshake = handshake.min(until.saturating_duration_since(Instant::now()));
    hop.ask(cx, &leg, (until, handshake)).await?;
    Ok((leg, address))
}
