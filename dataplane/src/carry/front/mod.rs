//! Requests to the Kubernetes API: control judges each of them, and says over which connection it
//! goes on.
//!
//! A connection to a server is kept for the next request, of the same client and as long as control
//! wants it for that: it is never another client's. It may end when it likes, and the client does
//! not see that. Until a client is known it gets little: time for one head, few bytes of it, and no
//! patience while it does not read.

mod forward;
mod next;
mod server;

use crate::carry::ending::Ending;
use crate::carry::exchange::{Exchange, Served, Then, concluded, fail, over};
use crate::carry::refusal::Form;
use crate::context::StreamContext;
use crate::leg::Leg;
use crate::limits::FRONT_IDLE;
use crate::seam::{Phase, Snapshot, StreamMode, StreamRecord};
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::stream::Event;
use rustls::pki_types::CertificateDer;
use server::Server;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use next::refuse;

/// The connection of a client of the Kubernetes API.
pub(crate) struct Front<'a> {
    cx: &'a Rc<StreamContext>,
    downstream: &'a Leg,
    peer: SocketAddr,
    /// What the client presented in its handshake. Nobody has validated it.
    chain: Option<Arc<[CertificateDer<'static>]>>,
    /// A request came on it whose user is known.
    known: Cell<bool>,
    /// Called when the first one did.
    introduce: &'a dyn Fn(),
    /// How long a client that is known may wait with its next request.
    patience: Cell<Duration>,
    /// The request that is under way, while it may be made again.
    again: RefCell<Option<RequestHead>>,
    /// What serves it now.
    server: Option<Server>,
}

impl<'a> Front<'a> {
    /// Of a client whose handshake is over; `introduce` is called when it is known.
    pub(crate) fn new(
        cx: &'a Rc<StreamContext>,
        downstream: &'a Leg,
        peer: SocketAddr,
        introduce: &'a dyn Fn(),
    ) -> Self {
        let chain = downstream.peer_chain().filter(|chain| !chain.is_empty());
        Self {
            cx,
            downstream,
            peer,
            chain: chain.map(Arc::from),
            known: Cell::new(false),
            introduce,
            patience: Cell::new(FRONT_IDLE),
            again: RefCell::default(),
            server: None,
        }
    }

    /// Serves requests until the connection ends or is upgraded.
    pub(crate) async fn serve(
        &mut self,
        record: &mut StreamRecord,
        snapshot: &mut Arc<Snapshot>,
    ) -> Served {
        let (cx, downstream) = (self.cx, self.downstream);
        loop {
            let next = {
                self.rest();
                let next = pin!(self.next_request(record.exchange == 0, snapshot));
                cx.until_aborted(Phase::Exchange, next).await
            };
            let head = match next {
                Ok(Some(head)) => head,
                Ok(None) => return Served::Closed(over(cx, Event::Served), None),
                Err(failure) if failure.status.is_none() => {
                    return Served::Closed(Ending::failed(cx, failure), None);
                }
                Err(failure) => {
                    record.exchange += 1;
                    let exchange = Exchange::begin(cx, record.exchange);
                    return fail(cx, downstream, exchange, (failure, Form::Status)).await;
                }
            };
            record.mode = StreamMode::Front;
            if snapshot.generation != cx.desk().generation() {
                *snapshot = cx.desk().snapshot();
            }
            record.exchange += 1;
            let mut exchange = Exchange::begin(cx, record.exchange);
            let result = {
                // Boxed, so that a client that waits costs no more than its wait.
                let asked = (head, &snapshot.admission);
                let mut work = Box::pin(self.exchange(record, &mut exchange, asked));
                cx.until_aborted(Phase::Exchange, work.as_mut()).await
            };
            if !matches!(result, Ok(Then::Switch)) {
                self.rest();
            }
            let outcome = (result, Form::Status);
            if let Some(served) = concluded(cx, downstream, record, exchange, outcome).await {
                return served;
            }
        }
    }

    /// Whether a request came on it whose user is known.
    pub(crate) fn is_known(&self) -> bool {
        self.known.get()
    }

    /// Gives up the connection to the server that serves it now, if there is one.
    pub(crate) fn into_upstream(self) -> Option<Box<Leg>> {
        self.server.map(|server| server.leg)
    }

    /// Its user is known.
    fn is_introduced(&self) {
        if !self.known.replace(true) {
            (self.introduce)();
        }
    }

    /// Puts the limit in force of a connection that carries no request: a client that is not known
    /// must take what it is sent.
    fn rest(&self) {
        let limit = (!self.known.get()).then_some(FRONT_IDLE);
        self.cx.set_idle(limit);
    }
}
