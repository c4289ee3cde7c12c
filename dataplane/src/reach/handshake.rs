//! Runs a TLS handshake on a leg, and hands the session to the kernel where that is wanted.

use crate::context::StreamContext;
use crate::counters::{Counter, WorkerCounters};
use crate::end::LegError;
use crate::ktls::Carrier;
use crate::leg::Leg;
use crate::seam::DownstreamTls;
use eyesplice_proto::tls::{Group, Session};
use eyesplice_sys::socket;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The role of this side.
pub(crate) enum TlsParty {
    /// We present a certificate.
    Server(DownstreamTls),
    /// We verify one.
    Client(Arc<ClientConfig>, ServerName<'static>),
}

/// Puts a TLS session on top of `leg`.
pub(crate) async fn run(
    cx: &StreamContext,
    leg: &Leg,
    party: TlsParty,
    limit: Duration,
) -> Result<(), LegError> {
    let deadline = Instant::now() + limit;
    let serves = matches!(party, TlsParty::Server(_));
    let (session, done) = match party {
        TlsParty::Server(DownstreamTls { config, clients }) => (
            Session::server_of(config, clients)?,
            &cx.counters().handshakes_server,
        ),
        TlsParty::Client(config, name) => (
            Session::client(config, name)?,
            &cx.counters().handshakes_client,
        ),
    };
    // Only the session next to the socket can move into the kernel.
    let kernel = leg.is_bare() && cx.desk().ktls.prepare(cx.counters(), leg.fd())?;
    leg.push(session.protected_by(cx.desk().library));
    let result = leg.handshake(cx.pools(), deadline, kernel).await;
    let resumed = leg.with_top(|top| top.is_resumed()).unwrap_or(false);
    leg.keep_group();
    let result = match result {
        Ok(()) if kernel => take_over(cx, leg),
        other => other,
    };
    match &result {
        Ok(()) => {
            if serves && !leg.has_unread() {
                // A client with Nagle's algorithm on keeps its request until its last flight is
                // acknowledged. Over UNIX nothing is.
                let _ = socket::acknowledge(leg.fd().as_fd());
            }
            done.inc();
            if let Some(group) = leg.group() {
                exchanged(cx.counters(), group).inc();
            }
            if resumed {
                cx.counters().handshakes_resumed.inc();
            }
        }
        Err(_) => cx.counters().handshake_failures.inc(),
    }
    result
}

/// Counts handshakes of one key exchange group.
fn exchanged(counters: &WorkerCounters, group: Group) -> &Counter {
    match group {
        Group::X25519MlKem768 => &counters.exchanges_x25519mlkem768,
        Group::X25519 => &counters.exchanges_x25519,
        Group::P256 => &counters.exchanges_p256,
        Group::P384 => &counters.exchanges_p384,
    }
}

/// Moves the only session of a leg into the kernel, if that takes it.
fn take_over(cx: &StreamContext, leg: &Leg) -> Result<(), LegError> {
    let Some(session) = leg.pop() else {
        return Ok(());
    };
    match cx.desk().ktls.take_over(cx.counters(), leg.fd(), session)? {
        Carrier::User(session) => leg.push(session),
        Carrier::Kernel(session) => leg.set_kernel(session),
    }
    Ok(())
}

/// Names the peer of the topmost session.
pub(crate) fn identity(cx: &StreamContext, leg: &Leg) -> Option<Arc<str>> {
    leg.peer_chain()
        .map(|chain| cx.desk().control.identify(&chain))
}
