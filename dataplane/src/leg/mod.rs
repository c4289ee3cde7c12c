//! A leg: an owned socket, and how bytes pass it.
//!
//! A leg has a stack of TLS sessions, none for plain text, one for TLS, two for the API server's
//! TLS inside of a CONNECT that itself came over TLS. All socket calls are inline and non-blocking;
//! the only waits are [`Leg::readable`] and [`Leg::writable`], during which the leg holds no
//! buffer.

mod handshake;
mod lost;
mod parts;
mod peer;
mod read;
mod shed;
mod write;

pub(crate) use parts::{Bound, Parts};

use crate::end::LegError;
use crate::ktls::KernelTls;
use crate::limits::{SETTLED, UNIX_SEND};
use crate::liveness::Pulse;
use crate::pool::Buffer;
use crate::seam::Counted;
use eyesplice_proto::stream::Side;
use eyesplice_proto::tls::{Group, Layout, Session};
use eyesplice_sys::socket;
use eyesplice_sys::uring::{self, Fd, Interest, Op, Readiness, Watch};
use rustls::pki_types::CertificateDer;
use smallvec::SmallVec;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;

/// One leg of a stream.
pub(crate) struct Leg {
    fd: Fd,
    side: Side,
    state: State,
    /// Watches a TCP peer of an established stream.
    pulse: OnceCell<Rc<Pulse>>,
}

/// What a leg is beside its socket; belongs to no worker.
#[derive(Default)]
struct State {
    /// From the socket outwards: `[0]` makes the bytes on the wire.
    layers: RefCell<SmallVec<[Session; 1]>>,
    /// TLS below all layers, in the kernel.
    kernel: RefCell<Option<Box<KernelTls>>>,
    /// Payload that was read past a head: delivered before anything else.
    unread: RefCell<Vec<u8>>,
    /// Wire bytes that the peer must get (handshake, alerts, one answer to key updates) while the
    /// socket took no more: never over [`OWED`](crate::limits::OWED).
    owed: RefCell<Vec<u8>>,
    /// A writer is between two parts of one record: nobody else may write.
    writing: Cell<bool>,
    /// The write side was ended; the socket must not be reset any more.
    shut: Cell<bool>,
    /// The socket was asked to hold more for its reader.
    wide: Cell<bool>,
    /// The error that the socket reported when its connection was lost.
    lost: Cell<Option<i32>>,
    /// The key exchange group of the last handshake.
    group: Cell<Option<Group>>,
    /// The peer ended cleanly; the FIN that follows a close_notify is no truncation.
    ended: Cell<bool>,
    /// It is counted among the connections of its server.
    counted: OnceCell<Counted>,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadStep {
    /// Payload bytes in the buffer.
    pub(crate) payload: usize,
    /// How they lie there.
    pub(crate) layout: Layout,
    /// What to do next.
    pub(crate) next: Next,
}

/// What follows a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is probably more.
    Read,
    /// The socket was emptied: wait.
    Wait,
    /// The peer ended cleanly.
    End,
}

/// What the peer of a connection did that carries nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unused {
    /// Nothing.
    Quiet,
    /// It ended it cleanly.
    Ended,
    /// It is gone.
    Cut,
    /// It said something.
    Spoke,
}

/// Sealed bytes on their way out.
pub(crate) struct Wire {
    held: Held,
    len: usize,
    /// What the socket took of them.
    sent: usize,
}

/// Where bytes on their way out wait.
enum Held {
    /// In what sealed them.
    Pooled(Buffer),
    /// The little that was left, so that a reader that stalls holds no more.
    Rest(Box<[u8]>),
}

impl Wire {
    fn new(buffer: Buffer, len: usize) -> Self {
        let sent = 0;
        let held = Held::Pooled(buffer);
        Self { held, len, sent }
    }

    fn rest(&self) -> &[u8] {
        let bytes: &[u8] = match &self.held {
            Held::Pooled(buffer) => buffer,
            Held::Rest(rest) => rest,
        };
        bytes.get(self.sent..self.len).unwrap_or_default()
    }

    /// Before a wait of unknown length: gives the buffer back if little is left in it.
    fn settle(&mut self) {
        let rest = self.rest();
        if matches!(self.held, Held::Pooled(_)) && rest.len() <= SETTLED {
            let rest: Box<[u8]> = rest.into();
            (self.len, self.sent) = (rest.len(), 0);
            self.held = Held::Rest(rest);
        }
    }
}

impl ReadStep {
    /// Payload in one piece.
    pub(crate) fn dense(payload: usize, next: Next) -> Self {
        Self {
            payload,
            layout: Layout::Dense,
            next,
        }
    }

    /// No payload.
    pub(crate) fn nothing(next: Next) -> Self {
        Self::dense(0, next)
    }
}

impl Leg {
    pub(crate) fn new(fd: Fd, side: Side) -> Self {
        Self {
            fd,
            side,
            state: State::default(),
            pulse: OnceCell::new(),
        }
    }

    pub(crate) fn fd(&self) -> &Fd {
        &self.fd
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// Adds a TLS session on top.
    pub(crate) fn push(&self, session: Session) {
        self.state.layers.borrow_mut().push(session);
    }

    /// Lets `look` see the topmost session.
    pub(crate) fn with_top<T>(&self, look: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.state.layers.borrow_mut().last_mut().map(look)
    }

    /// The certificate chain that the peer of the topmost session presented.
    pub(crate) fn peer_chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        match self.state.layers.borrow().last() {
            Some(top) => top.peer_certificates().map(<[_]>::to_vec),
            None => self
                .state
                .kernel
                .borrow()
                .as_ref()
                .and_then(|kernel| kernel.peer_certificates()),
        }
    }

    /// The certificate chain that the peer of the session next to the socket presented.
    pub(crate) fn outer_chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        match self.state.kernel.borrow().as_ref() {
            Some(kernel) => kernel.peer_certificates(),
            None => {
                let layers = self.state.layers.borrow();
                let chain = layers.first().and_then(Session::peer_certificates);
                chain.map(<[_]>::to_vec)
            }
        }
    }

    /// The key exchange group of the last handshake that ended here.
    pub(crate) fn group(&self) -> Option<Group> {
        self.state.group.get()
    }

    /// Keeps the key exchange group of the topmost session, whose handshake is over.
    pub(crate) fn keep_group(&self) {
        self.state
            .group
            .set(self.with_top(|top| top.group()).flatten());
    }

    /// Puts a session below all layers that the kernel carries.
    pub(crate) fn set_kernel(&self, kernel: KernelTls) {
        *self.state.kernel.borrow_mut() = Some(Box::new(kernel));
    }

    /// Whether the kernel carries TLS on this socket.
    pub(crate) fn is_kernel(&self) -> bool {
        self.state.kernel.borrow().is_some()
    }

    /// Before a splice from this leg.
    pub(crate) fn before_splice(&self) -> Result<(), LegError> {
        match self.state.kernel.borrow().as_ref() {
            None => Ok(()),
            Some(kernel) => kernel.reading(&self.fd),
        }
    }

    /// After a splice from this leg: `Ok(true)` when it should be tried again rather than waited
    /// for.
    pub(crate) fn after_splice(&self, moved: bool) -> Result<bool, LegError> {
        match self.state.kernel.borrow().as_ref() {
            None => Ok(false),
            Some(kernel) if moved => {
                kernel.progressed();
                Ok(false)
            }
            Some(kernel) => kernel.blocked(&self.fd),
        }
    }

    /// Whether there is no TLS at all.
    pub(crate) fn is_bare(&self) -> bool {
        self.is_plain() && !self.is_kernel()
    }

    /// Whether payload is what the socket gives and takes, so that it can be spliced.
    pub(crate) fn is_plain(&self) -> bool {
        self.state.layers.borrow().is_empty()
    }

    /// The layout of payload that this leg seals without a copy.
    pub(crate) fn layout(&self) -> Layout {
        match self.state.layers.borrow().as_slice() {
            [only] => only.layout(),
            _ => Layout::Dense,
        }
    }

    /// Puts payload back that was read too far.
    pub(crate) fn unread(&self, payload: &[u8]) {
        let mut unread = self.state.unread.borrow_mut();
        unread.splice(0..0, payload.iter().copied());
    }

    /// How much payload waits that was read before.
    pub(crate) fn unread_len(&self) -> usize {
        self.state.unread.borrow().len()
    }

    /// Whether payload waits that was read before.
    pub(crate) fn has_unread(&self) -> bool {
        !self.state.unread.borrow().is_empty()
    }

    /// Makes the coming close a cut: TCP sends RST, so that no peer takes it for an end.
    pub(crate) fn cut(&self) {
        if !self.state.shut.get() {
            // A socket that cannot linger (UNIX) is closed without close_notify, which is a cut
            // too.
            let _ = socket::linger_zero(self.fd.as_fd());
        }
    }

    /// Ends the write side without close_notify: a TLS peer gets all that was sent, and takes the
    /// end for the cut that it is.
    pub(crate) fn truncate(&self) {
        self.state.shut.set(true);
        // A peer that is gone needs no telling.
        let _ = socket::shutdown(self.fd.as_fd(), Shutdown::Write);
        self.sent();
    }

    /// Prepares for bulk towards this leg: what a write would otherwise wait for, again and again.
    pub(crate) fn widen(&self) {
        if !self.state.wide.replace(true) {
            // It works without, in smaller steps.
            let _ = socket::widen_unix(self.fd.as_fd(), UNIX_SEND);
        }
    }

    /// Whether the write side was ended, and the socket must not be reset.
    pub(crate) fn is_shut(&self) -> bool {
        self.state.shut.get()
    }

    pub(crate) fn readable(&self) -> Op<io::Result<Readiness>> {
        uring::poll(&self.fd, Interest::READ)
    }

    /// Waits for what comes after a read that emptied the socket, again and again.
    pub(crate) fn watch(&self) -> io::Result<Watch> {
        Watch::new(&self.fd)
    }

    pub(crate) fn writable(&self) -> Op<io::Result<Readiness>> {
        uring::poll(&self.fd, Interest::WRITE)
    }

    pub(crate) fn hangup(&self) -> Op<io::Result<Readiness>> {
        uring::poll(&self.fd, Interest::HANGUP)
    }

    /// Takes the only session off a leg, for the hand-over to the kernel.
    pub(crate) fn pop(&self) -> Option<Session> {
        self.state.layers.borrow_mut().pop()
    }
}

#[cfg(test)]
mod tests;
