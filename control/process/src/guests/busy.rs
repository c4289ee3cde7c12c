//! Keeps a connection busy for as long as its answer is on the way.

use super::Guest;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request that is served; its connection is idle again when this is dropped.
#[derive(Debug)]
pub struct Busy(Arc<Guest>);

impl Busy {
    pub(super) fn new(guest: Arc<Guest>) -> Self {
        Self(guest)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle();
    }
}

/// A body that keeps its connection busy: a watch lasts as long as its body.
#[derive(Debug)]
pub struct While<B> {
    body: B,
    _busy: Busy,
}

impl<B> While<B> {
    /// Busy until the body is gone.
    pub fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: Body + Unpin> Body for While<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
