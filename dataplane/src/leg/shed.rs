//! Ends the topmost session of a leg and nothing else: the connection goes on without it.

use super::write::split_layer;
use super::{Leg, Next};
use crate::end::LegError;
use crate::pool::Pools;
use eyesplice_proto::tls::{RecordFault, Session};
use eyesplice_sys::uring;
use std::rc::Rc;
use std::time::Instant;

impl Leg {
    /// Prepares for [`Leg::shed`], before anything can come that follows the topmost session; false
    /// if that session cannot end alone, because the kernel carries it.
    pub(crate) fn goes_on(&self) -> bool {
        self.with_top(Session::goes_on).is_some()
    }

    /// Ends the topmost session by close_notify both ways. What the peer sent behind its own is
    /// payload afterwards, and nothing of it is lost.
    ///
    /// # Errors
    /// The peer sent payload inside of the session, or did not end it in time.
    pub(crate) async fn shed(&self, pools: &Rc<Pools>, until: Instant) -> Result<(), LegError> {
        self.owe_close(pools)?;
        self.flush_until(until).await?;
        loop {
            if self.has_unread() {
                return Err(out_of_place());
            }
            if let Some(behind) = self.with_top(Session::take_behind).flatten() {
                drop(self.pop());
                // It was the end of a session, and not of the connection.
                self.state.ended.set(false);
                self.unread(&behind);
                return Ok(());
            }
            let step = self.read(pools, &mut pools.buffer())?;
            match step.next {
                _ if step.payload > 0 => return Err(out_of_place()),
                Next::Wait => drop(uring::until(self.readable(), Some(until)).await?),
                Next::Read | Next::End => {}
            }
        }
    }

    /// Seals close_notify of the topmost session through those below it.
    fn owe_close(&self, pools: &Rc<Pools>) -> Result<(), LegError> {
        let mut layers = self.state.layers.borrow_mut();
        let top = layers.len().saturating_sub(1);
        let Some((session, below)) = split_layer(&mut layers, top) else {
            return Err(out_of_place());
        };
        let bytes = super::write::sealed_close(session, below, pools)?;
        drop(layers);
        self.owe(&bytes)
    }
}

/// Payload where the end of a session has to be, or no session.
fn out_of_place() -> LegError {
    LegError::Tls(RecordFault::Unexpected.into())
}
