//! The connection to a server that serves a client's requests, one after another.

use super::Front;
use crate::carry::exchange::of_no_server;
use crate::end::End;
use crate::leg::{Leg, Unused};
use crate::limits::LINGER;
use crate::reach::{self, watched};
use crate::seam::{
    AdmissionLimits, ConnectionKey, Fresh, Held, Phase, Side, StreamLimits, StreamRecord,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::timeout;

/// A connection to a server.
pub(super) struct Server {
    pub(super) leg: Box<Leg>,
    /// Who it is, in errors.
    pub(super) name: Arc<str>,
    /// For what control wants it again.
    key: Option<ConnectionKey>,
    address: Option<SocketAddr>,
}

impl Front<'_> {
    /// What the next request may go on over; a connection that is good for none is let go.
    pub(super) async fn held(&mut self) -> Option<Held> {
        self.look().await;
        let server = self.server.as_ref()?;
        Some(Held {
            key: server.key?,
            address: server.address,
        })
    }

    /// Looks at a server between two requests: session tickets are fine, all else ends the
    /// connection. Bytes that no request asked for are nobody's reply.
    pub(super) async fn look(&mut self) {
        let pools = self.cx.pools();
        let Some(server) = &self.server else {
            return;
        };
        if server.leg.is_still() {
            return;
        }
        match server.leg.unused(pools) {
            Unused::Quiet => {}
            Unused::Ended => self.part().await,
            Unused::Cut => drop(self.let_go()),
            Unused::Spoke => {
                let (stream, name) = (self.cx.id(), &server.name);
                tracing::warn!(%stream, "{name} sent bytes that no request asked for");
                server.leg.cut();
                drop(self.let_go());
            }
        }
    }

    /// Takes the connection to the server away, if there is one.
    pub(super) fn let_go(&mut self) -> Option<Server> {
        let server = self.server.take();
        if server.is_some() {
            // It may have been an agent's.
            self.cx.set_via(None);
        }
        server
    }

    /// Ends the connection to the server, which has had all that was its own.
    pub(super) async fn part(&mut self) {
        if let Some(server) = self.let_go() {
            // One that does not take it has seen the last of it all the same.
            drop(timeout(LINGER, server.leg.shut_write(self.cx.pools())).await);
        }
    }

    /// After a request: keeps the connection if it can serve another.
    pub(super) async fn keep(&mut self, last: bool) {
        if last || self.server.as_ref().is_some_and(|it| it.key.is_none()) {
            self.part().await;
        }
    }

    /// Makes a connection in place of the one before.
    pub(super) async fn reach(
        &mut self,
        record: &mut StreamRecord,
        fresh: Fresh,
        (limits, admission): (StreamLimits, &AdmissionLimits),
    ) -> Result<(), End> {
        self.part().await;
        of_no_server(record);
        record.node.clone_from(&fresh.node);
        let cx = self.cx;
        let reaching = async {
            let _pending = cx.desk().pending(admission, Phase::Dial)?;
            reach::server(cx, record, &fresh, limits).await
        };
        let leg = watched(cx, self.downstream, reaching)
            .await
            .map_err(|failure| of(&fresh.server, failure))?;
        if record.address.is_some() || !leg.is_unix() {
            cx.watch(&leg);
        }
        self.server = Some(Server {
            leg: Box::new(leg),
            name: fresh.server,
            key: fresh.key,
            address: record.address,
        });
        Ok(())
    }
}

/// Names the server in what a client reads.
fn of(server: &str, failure: End) -> End {
    match failure.detail.as_deref() {
        Some(detail) if failure.side == Side::Upstream => {
            let words = format!("{server}: {detail}");
            failure.detail(words)
        }
        _ => failure,
    }
}
